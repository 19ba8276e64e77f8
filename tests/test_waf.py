"""What the gateway asks a WAF, and what it makes of the answer: a real NGINX in front of models,
and of an inspector that writes down what it hears. What ModSecurity finds: test_waf_live.py.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from llmlab.config.budgets import Budget
from llmlab.config.waf import Waf
from llmlab.errors import ConfigError, EnvironmentFailure
from llmlab.gateway import WafFront, fitting, render
from llmlab.observe.samples import Samples
from llmlab.observe.waf import WafFigures
from llmlab.traffic import Traffic
from llmlab.waf import findings
from llmlab.waf.installed import RULES, VERSION_FILE, find_installed
from llmlab.waf.rules import NGINX_CONF, RULES_CONF, Place
from llmlab.waf.rules import render as render_waf
from tests.routing import Routed, routed
from tests.test_gateway import EchoServer, Reply, assert_problem
from tests.test_gateway_rendering import NGINX_CONF as CONF
from tests.test_gateway_rendering import ONE_MODEL, PLUS_PLANS

CHAT = "/v1/chat/completions"
FOUND = "/found?10&sqli=0&xss=10&rfi=0&lfi=0&rce=0&php=0&http=0&session=0"


@dataclass
class Inspector:
    """Stands where the WAF is. ``status`` and ``where`` are its answer."""

    socket: Path
    status: int = 204
    where: str = ""
    heard: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        inspector = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.do_GET = self.do_POST = self.do_HEAD = self._answer
                super().handle_one_request()

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                inspector.heard.append((self.command, self.path, headers, body))
                self.send_response(inspector.status)
                if inspector.where:
                    self.send_header("Location", f"http://x{inspector.where}")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Answers


@dataclass
class Guarded:
    """A gateway that asks an inspector."""

    gateway: Routed
    inspector: Inspector

    def chat(self, said: Any, *headers: tuple[str, str], **more: Any) -> Reply:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return self.gateway.ask(*headers, **{"path": CHAT, "body": body, "sub": "anna", **more})

    def line(self, reply: Reply) -> tuple[str, str]:
        told = self.gateway.line(reply)
        return told["waf"], told["waf_kinds"]


@contextlib.contextmanager
def guarded(folder: Path, mode: str, **plan: Any) -> Iterator[Guarded]:
    folder.mkdir(exist_ok=True)
    inspector = Inspector(folder / "waf.sock")
    metrics = f"unix:{folder}/metrics.sock"
    with EchoServer(str(inspector.socket), inspector.handler()) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        front = WafFront(f"unix:{inspector.socket}", mode)  # type: ignore[arg-type]
        with routed(folder / "lab", Traffic(), waf=front, metrics=metrics, **plan) as gateway:
            yield Guarded(gateway, inspector)
        server.shutdown()


@pytest.fixture(scope="module")
def blocking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    budgets = (Budget(name="few", who=["spender"], requests_per_day=1),)
    with guarded(tmp_path_factory.mktemp("block"), "block", budgets=budgets) as one:
        yield one


@pytest.fixture(scope="module")
def detecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("detect"), "detect") as one:
        yield one


@pytest.fixture(autouse=True)
def finds_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in {"blocking", "detecting"} & set(request.fixturenames):
        inspector = request.getfixturevalue(name).inspector
        inspector.status, inspector.where = 204, ""


# --- What it is asked ------------------------------------------------------------------


def test_it_hears_the_request_as_it_was_sent_but_for_what_lets_it_in(blocking: Guarded) -> None:
    sent = [("X-Note", "a;b"), ("Referer", "../x"), ("Cookie", "a=b"), ("X-Api-Key", "k"),
            ("Proxy-Authorization", "Basic eA=="), ("Content-Type", "text/x")]  # fmt: skip
    reply = blocking.chat({"messages": []}, *sent, path=f"{CHAT}?q=%2e%2e%2fx")
    method, path, headers, body = blocking.inspector.heard[-1]
    assert (method, path, body) == ("POST", f"{CHAT}?q=%2e%2e%2fx", b'{"messages": []}')
    assert headers["x-note"] == "a;b"
    assert headers["referer"] == "../x"
    assert headers["x-request-id"] == reply.header("X-Request-ID")
    assert (headers["content-type"], headers["x-content-type"]) == ("application/json", "text/x")
    withheld = {"authorization", "cookie", "x-api-key", "proxy-authorization"}
    assert withheld.isdisjoint(headers)


def test_who_has_no_token_is_not_looked_at(blocking: Guarded) -> None:
    before = len(blocking.inspector.heard)
    assert blocking.chat({}, token=None).status == 401
    assert len(blocking.inspector.heard) == before


def chat(content: Any, **more: Any) -> dict[str, Any]:
    return {"model": "dummy", "messages": [{"role": "user", "content": content, **more}]}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "ab"}}
WITHOUT_TEXTS = {
    "a text in a message": (chat("drop table"), chat(10)),
    "with quotes and escapes": (chat('a "b" \\ \\"'), chat(15)),
    "in bytes, as it was sent": (chat("aé"), chat(7)),
    "a part": (chat([{"type": "text", "text": "abc"}]), chat([{"type": "text", "text": 3}])),
    "an address of a picture stays": (
        chat([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]),
        chat([{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]),
    ),
    "a picture in the message": (
        chat([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]),
        chat([{"type": "image_url", "image_url": {"url": 24}}]),
    ),
    "arguments of a call": (
        chat(None, tool_calls=[CALL]),
        chat(None, tool_calls=[{**CALL, "function": {"name": "f", "arguments": 2}}]),
    ),
    "all of a tool": (
        {"tools": [{"type": "function", "function": {"description": "abc"}}]},
        {"tools": [{"type": 8, "function": {"description": 3}}]},
    ),
    "prompts": ({"prompt": ["ab", "c"]}, {"prompt": [2, 1]}),
    "a text to be summarized": ({"text": "abc", "max_length": 5}, {"text": 3, "max_length": 5}),
    "inputs": ({"inputs": "ab", "parameters": {"a": "b"}}, {"inputs": 2, "parameters": {"a": "b"}}),
    "not a field of another name": ({"metadata": {"text": "ab"}}, {"metadata": {"text": "ab"}}),
    "not a role": ({"messages": [{"role": "x"}]}, {"messages": [{"role": "x"}]}),
    "not a name that objects have": ({"constructor": "x"}, {"constructor": "x"}),
}


@pytest.mark.parametrize("what", WITHOUT_TEXTS)
def test_of_a_body_it_hears_all_but_the_texts(blocking: Guarded, what: str) -> None:
    sent, heard = WITHOUT_TEXTS[what]
    assert blocking.chat(sent, path="/").status == 200
    assert json.loads(blocking.inspector.heard[-1][3]) == heard


def test_a_key_that_is_spelled_with_escapes_hides_nothing(blocking: Guarded) -> None:
    blocking.chat(b'{"t\\u0065xt": "a", "text": "ab"}', path="/")
    assert blocking.inspector.heard[-1][3] == b'{"t\\u0065xt": "a", "text": 2}'


@pytest.mark.parametrize("body", [b"a text", b'["text"]', b"text=a", b"\xff\xfe{", b""])
def test_of_what_is_no_json_object_it_hears_no_body(blocking: Guarded, body: bytes) -> None:
    blocking.chat(body, path="/")
    assert blocking.inspector.heard[-1][3] == b""


def test_a_long_text_costs_it_nothing(blocking: Guarded) -> None:
    assert blocking.chat(chat('x\n"' * 100_000), path="/").status == 200
    assert len(blocking.inspector.heard[-1][3]) < 100


TOO_MUCH = {
    "long": {"metadata": {"note": "x" * 140_000}},
    "deep": {"a": json.loads("[" * 70 + "]" * 70)},
    "many": {"a": [[]] * 60_000},
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_is_beyond_all_measure_beside_its_texts_is_a_finding(
    blocking: Guarded, what: str
) -> None:
    before = len(blocking.inspector.heard)
    reply = blocking.chat(TOO_MUCH[what])
    assert reply.status == 403
    assert blocking.line(reply) == ("found", "size")
    assert len(blocking.inspector.heard) == before


# --- What comes of it --------------------------------------------------------------------


def test_a_finding_is_refused_in_the_shape_of_openai(blocking: Guarded) -> None:
    blocking.inspector.status, blocking.inspector.where = 302, FOUND
    reply = blocking.chat(chat("x"))
    assert reply.status == 403
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "waf_blocked")
    assert reply.all("WWW-Authenticate") == []
    assert reply.header("X-Should-Retry") == "false"
    assert blocking.line(reply) == ("found", "xss")


def test_a_finding_is_a_problem_elsewhere(blocking: Guarded) -> None:
    blocking.inspector.status, blocking.inspector.where = 302, FOUND
    problem = assert_problem(blocking.chat({"text": "x"}, path="/summarize/"), 403)
    assert "WAF" in problem["detail"]
    assert_problem(blocking.chat({}, method="GET", path="/x"), 403)


def test_what_it_cannot_read_is_no_json(blocking: Guarded) -> None:
    blocking.inspector.status = 400
    problem = assert_problem(blocking.chat({"text": "x"}, path="/summarize/"), 400)
    assert "no JSON" in problem["detail"]


@pytest.mark.parametrize("status", [200, 302, 403, 500])
def test_an_answer_that_no_waf_gives_is_none(blocking: Guarded, status: int) -> None:
    blocking.inspector.status, blocking.inspector.where = status, "/elsewhere"
    reply = blocking.chat(chat("x"))
    assert reply.status == 503
    assert reply.header("Retry-After") == "1"
    assert reply.json()["error"]["code"] == "unavailable"
    assert blocking.line(reply)[0] == "unavailable"


def test_budgets_reserve_for_what_goes_on_alone(blocking: Guarded) -> None:
    blocking.inspector.status, blocking.inspector.where = 302, FOUND
    assert [blocking.chat(chat("x"), sub="spender").status for _ in range(2)] == [403, 403]
    blocking.inspector.status, blocking.inspector.where = 204, ""
    assert [blocking.chat(chat("x"), sub="spender").status for _ in range(2)] == [200, 429]


def test_where_it_only_detects_a_finding_goes_on(detecting: Guarded) -> None:
    detecting.inspector.status, detecting.inspector.where = 302, FOUND
    reply = detecting.chat(chat("x"))
    assert reply.status == 200
    assert detecting.line(reply) == ("found", "xss")


def test_where_it_only_detects_nobody_misses_it(detecting: Guarded, tmp_path: Path) -> None:
    detecting.inspector.status = 500
    reply = detecting.chat(chat("x"))
    assert reply.status == 200
    assert detecting.line(reply) == ("unavailable", "")


def test_one_that_is_away_lets_nobody_through_where_it_blocks(tmp_path: Path) -> None:
    front = WafFront(f"unix:{tmp_path}/nobody.sock", "block")
    with routed(tmp_path / "lab", Traffic(), waf=front) as gateway:
        reply = gateway.ask(sub="anna")
        assert_problem(reply, 503)
        assert gateway.line(reply)["waf"] == "unavailable"
        assert reply.header("Retry-After") == "1"


# --- Rendering -----------------------------------------------------------------------------


def test_nginx_plus_has_none() -> None:
    plan = PLUS_PLANS["plus"]
    with pytest.raises(ConfigError, match="njs"):
        render(type(plan)(**{**vars(plan), "waf": WafFront("unix:/x", "block")}))


def test_without_one_nobody_is_asked() -> None:
    files = render(ONE_MODEL)
    assert "lab_waf " not in files["lab/http.conf"].replace("$lab_waf ", "")
    assert "/.waf" not in files["lab/models.conf"]
    assert {"lab/waf.js", "lab/admission.js"}.isdisjoint(files)


def test_an_nginx_conf_from_before_is_refused() -> None:
    plan = replace(ONE_MODEL, waf=WafFront("unix:/w", "block"))
    assert fitting(CONF.read_text(), plan)
    with pytest.raises(ConfigError, match=r"\$lab_waf"):
        fitting(re.sub(r"\$lab_waf\b", "$x", CONF.read_text()), plan)


def test_its_rules_go_by_what_is_configured() -> None:
    files = render_waf(Waf(paranoia=3, threshold=7), Place("unix:/w", "r.conf", "nobody nogroup"))
    assert "tx.paranoia_level=3" in files[RULES_CONF]
    assert 'TX:ANOMALY_SCORE "@ge 7"' in files[RULES_CONF]
    assert "user nobody nogroup;" in files[NGINX_CONF]


def test_what_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="/usr/sbin/nginx") as missing:
        find_installed(tmp_path)
    assert "apt-get install" in str(missing.value.fix)


def test_another_series_of_the_rule_set_is_refused(tmp_path: Path) -> None:
    for one in ("usr/sbin/nginx", "usr/lib/nginx/modules/ngx_http_modsecurity_module.so"):
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / one).touch()
    rules = tmp_path / RULES.relative_to("/")
    rules.mkdir(parents=True)
    (rules / VERSION_FILE).write_text('SecComponentSignature "OWASP_CRS/4.0.0"\n')
    with pytest.raises(EnvironmentFailure, match=r"4\.0\.0"):
        find_installed(tmp_path)
    (rules / VERSION_FILE).write_text('SecComponentSignature "OWASP_CRS/3.3.7"\n')
    assert find_installed(tmp_path).rule_set == "3.3.7"


# --- What is shown of it ---------------------------------------------------------------------


def line(*messages: tuple[str, str, str]) -> str:
    said = [{"message": text, "details": {"ruleId": rule, "data": data, "match": ""}}
            for rule, text, data in messages]  # fmt: skip
    return json.dumps({"transaction": {
        "time_stamp": "Mon Nov 30 11:36:22 2026", "unique_id": "r1", "messages": said,
        "request": {"method": "POST", "uri": "/x?secret=1"}, "response": {"http_code": 302},
    }})  # fmt: skip


def test_a_finding_is_shown_without_what_matched() -> None:
    told = findings.told_of(line(
        ("941100", "XSS Attack", "Matched Data: XSS data found within ARGS:json.x: <script>hush"),
        ("200100", "Score 5", ""),
    ))  # fmt: skip
    assert told == "Mon Nov 30 11:36:22 2026  r1  POST /x  941100 XSS Attack in ARGS:json.x"


def test_what_could_not_be_looked_at_is_shown_as_such() -> None:
    assert findings.told_of(line(("200002", "The body cannot be read", ""))).endswith(
        "200002 The body cannot be read"
    )


def test_another_line_is_shown_as_it_is() -> None:
    assert findings.told_of("[notice] started") == "[notice] started"


def test_the_gateway_counts_what_it_did(detecting: Guarded) -> None:
    detecting.inspector.status, detecting.inspector.where = 302, FOUND
    before = figures(detecting)
    detecting.chat(chat("x"))
    after = figures(detecting)
    assert after.inspected - before.inspected == 1
    assert after.found - before.found == 1
    assert after.refused == 0


def figures(one: Guarded) -> WafFigures:
    import httpx2

    socket = one.inspector.socket.parent / "metrics.sock"
    over = httpx2.HTTPTransport(uds=str(socket), verify=False)
    with httpx2.Client(transport=over, base_url="http://gateway") as client:
        found = WafFigures.of(Samples.parse(client.get("/metrics").text))
    assert found is not None
    return found
