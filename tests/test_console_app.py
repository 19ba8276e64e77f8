"""The console's frame: who is let in, what every answer says, what becomes of errors and forms."""

from __future__ import annotations

import asyncio
import base64
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jinja2 import ChoiceLoader, DictLoader
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.testclient import TestClient

from llmlab.config import read_config
from llmlab.console import arriving, codes
from llmlab.console.app import build_app
from llmlab.console.desk import Desk
from llmlab.console.front_door import FrontDoor
from llmlab.console.guarding import is_own
from llmlab.console.live import PARTS_OF_ONE
from llmlab.console.pages import Change, Page, Query, sentence, templates
from llmlab.console.visitor import Role, Visitor, visitor_of
from llmlab.engines.base import Plan
from llmlab.engines.console import read_secret, secret_of
from llmlab.engines.record import Record
from llmlab.errors import (
    AuthError,
    ConfigError,
    EnvironmentFailure,
    GateFailure,
    LlmlabError,
    ModelUnavailable,
    UpstreamError,
    UsageError,
)
from llmlab.gateway import ConsoleFront
from llmlab.lab import Lab, init_lab

EVIL = "<script>alert(1)</script>"
SECRET = "/root/.llmlab/keys and a password"
TEMPLATE = """{% extends "page.html.j2" %}
{% block live %}<p>{{ found.said }} for {{ visitor.role }}</p>{% endblock %}"""
OWN = {"Sec-Fetch-Site": "same-origin"}
COOKIE = "llmlab_console_8080"


@dataclass(frozen=True)
class Said:
    said: str


def says(desk: Desk, query: Query, visitor: Visitor) -> Said:
    return Said(f"{desk.lab.root.name} {query.get('q', '')} {visitor.subject}")


def raising(error: Exception) -> Callable[[Desk, Query, Visitor], Any]:
    def gather(desk: Desk, query: Query, visitor: Visitor) -> Any:
        raise error

    return gather


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that says that it runs."""
    root = tmp_path_factory.mktemp("lab")
    init_lab(root)
    config = read_config(root / "configs" / "lab.toml", environ={}).config
    (root / ".llmlab").mkdir(exist_ok=True)
    Record.of(Plan(config, "textrank", ()), "local", "1.31").write(Lab(root))
    return root


@pytest.fixture
def done() -> list[tuple[Query, Visitor]]:
    """What was changed: by which form, by whom."""
    return []


@pytest.fixture
def client(
    root: Path, done: list[tuple[Query, Visitor]], monkeypatch: pytest.MonkeyPatch
) -> TestClient:
    def change(desk: Desk, form: Query, visitor: Visitor) -> str:
        if form.get("why") == "unexpected":
            raise ZeroDivisionError(SECRET)
        if form.get("why") == "refused":
            raise UsageError(f"no {EVIL}", fix="llmlab rollout status")
        done.append((form, visitor))
        return "made?changed=1"

    known = templates()
    monkeypatch.setattr(
        known, "loader", ChoiceLoader([DictLoader({"made.html.j2": TEMPLATE}), known.loader])
    )
    pages = [
        Page(
            "made",
            "Made",
            "made.html.j2",
            says,
            live=lambda query: query.get("q") != "costly",
            asks=("q",),
        ),
        *(Page(path, "", "made.html.j2", raising(error)) for path, error in ERRORS.items()),
    ]
    app = build_app(Lab(root), lambda: "one", pages=pages, changes=[Change("made/do", change)])
    return TestClient(
        app, "http://lab.local", raise_server_exceptions=False, follow_redirects=False,
        headers={"X-Subject": "alice", "X-Role": "operator"},
    )  # fmt: skip


ERRORS: dict[str, Exception] = {
    "usage": UsageError(f"no rollout {EVIL}", fix="llmlab rollout start"),
    "config": ConfigError("a value is out of range"), "auth": AuthError("not yours"),
    "upstream": UpstreamError("it is away"), "model": ModelUnavailable("no such model"),
    "machine": EnvironmentFailure("no room on the disk"), "gate": GateFailure("it is worse"),
    "any": LlmlabError("it failed"), "unexpected": ZeroDivisionError(SECRET),
}  # fmt: skip
STATUS = {"usage": 400, "config": 400, "auth": 403, "upstream": 502, "model": 502, "machine": 503,
          "gate": 500, "any": 500, "unexpected": 500}  # fmt: skip


# --- what every answer says -----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status"),
    [("made", 200), ("made.json", 200), ("", 307), ("nowhere", 404), ("nowhere.json", 404),
     ("usage", 400), ("unexpected", 500), ("unexpected.json", 500), ("static/console.css", 200),
     ("static/nowhere.js", 404)],
)  # fmt: skip
def test_every_answer_has_a_browser_trust_nothing_but_this_host(
    client: TestClient, path: str, status: int
) -> None:
    answer = client.get(f"/console/{path}")
    assert answer.status_code == status
    policy = dict(
        one.strip().partition(" ")[::2]
        for one in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy.pop("default-src") == policy.pop("base-uri") == "'none'"
    assert policy.pop("frame-ancestors") == "'none'"
    assert set(policy.values()) == {"'self'"} and "script-src" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    kept = path == "static/console.css"  # asked for anew each time, and sent only when it changed
    assert answer.headers["Cache-Control"] == ("no-cache" if kept else "no-store")
    if kept:
        again = client.get(f"/console/{path}", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and again.headers["Cache-Control"] == "no-cache"


def test_head_says_what_get_would_and_a_stream_does_not_begin(client: TestClient) -> None:
    for path in ("made", "made.json", "static/console.css", "nowhere"):
        asked, told = client.get(f"/console/{path}"), client.head(f"/console/{path}")
        assert told.status_code == asked.status_code and not told.content
        assert told.headers["Content-Type"] == asked.headers["Content-Type"]
    told = client.head("/console/made/live")
    assert told.status_code == 200 and told.headers["Content-Type"].startswith("text/event-stream")


def test_whether_a_page_is_there_is_told_without_making_it(client: TestClient) -> None:
    for path in ("unexpected", "unexpected.json"):
        assert client.head(f"/console/{path}").status_code == 200
        assert client.head(f"/console/{path}", headers={"X-Role": ""}).status_code == 401


@pytest.mark.parametrize("path", ["/console/made/", "/console/made.json/", "/console", "/made"])
def test_nobody_is_led_to_a_host_that_a_client_has_named(client: TestClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 404 and "Location" not in answer.headers
    assert "evil.example" not in answer.text


@pytest.mark.parametrize("path", ["../app.py", "..%2fapp.py", "%2e%2e/app.py", "..%2f..%2flab.py",
                                  "%2fetc%2fpasswd", "..\\app.py", "console.css/..%2f..%2fapp.py",
                                  ""])  # fmt: skip
def test_files_are_only_those_that_ship_with_the_console(client: TestClient, path: str) -> None:
    answer = client.get(f"/console/static/{path}")
    assert answer.status_code in (404, 405) and "import" not in answer.text


def test_a_page_and_its_document_show_the_same_and_escape_it(
    client: TestClient, root: Path
) -> None:
    said = f"{root.name} {EVIL} alice"
    assert client.get("/console/made.json", params={"q": EVIL}).json() == {"said": said}
    page = client.get("/console/made", params={"q": EVIL}).text
    assert EVIL not in page and "&lt;script&gt;alert(1)" in page
    assert " style=" not in page and "onclick" not in page


# --- who is let in --------------------------------------------------------------------


def request(method: str = "GET", **headers: str) -> Request:
    raw = Headers({name.replace("_", "-"): value for name, value in headers.items()}).raw
    return Request({"type": "http", "method": method, "headers": raw, "path": "/", "scheme": "http",
                    "query_string": b"", "server": ("lab.local", 80)})  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "token"),
    [({"X_Role": "viewer"}, ""),
     ({"X_Role": "operator", "Authorization": "Bearer abc"}, "abc"),
     ({"X_Role": "operator", "Authorization": "bearer  abc "}, "abc"),
     ({"X_Role": "operator", "Authorization": "Basic abc"}, ""),
     ({"X_Role": "operator", "Cookie": f"{COOKIE}=abc"}, "abc"),
     ({"X_Role": "viewer", "Cookie": f"{COOKIE}=abc", "Authorization": "Bearer other"}, "abc"),
     ({"X_Role": "viewer", "Cookie": "llmlab_console_9=abc"}, "")],
)  # fmt: skip
def test_a_visitor_is_who_the_gateway_says(headers: dict[str, str], token: str) -> None:
    found = visitor_of(request(X_Subject="alice", **headers), COOKIE)
    assert found == Visitor("alice", Role(headers["X_Role"]), token)
    assert found and (not token or token not in repr(found))


@pytest.mark.parametrize("role", ["", "Operator", "admin", "operator viewer", "operator, viewer"])
def test_whoever_has_another_role_is_nobody(client: TestClient, role: str) -> None:
    assert visitor_of(request(X_Role=role, X_Subject="alice"), COOKIE) is None
    for path in ("made", "made.json", "made/live"):
        answer = client.get(f"/console/{path}", headers={"X-Role": role})
        assert answer.status_code == 401 and "alice" not in answer.text
    answer = client.post("/console/made/do", data={"why": "a"}, headers={"X-Role": role} | OWN)
    assert answer.status_code == 401


@pytest.mark.parametrize("subject", [None, "", " ", "\xff", "Zo\xeb"])
def test_whoever_has_no_name_is_nobody_and_changes_nothing(
    client: TestClient, done: list[tuple[Query, Visitor]], subject: str | None
) -> None:
    said = {} if subject is None else {"X_Subject": subject}
    assert visitor_of(request(X_Role="operator", **said), COOKIE) is None
    if not (subject or "").strip():
        headers = OWN | {"X-Subject": subject or ""}
        answer = client.post("/console/made/do", data={"why": "a"}, headers=headers)
        assert answer.status_code == 401 and done == []


def test_a_name_is_as_its_token_has_it() -> None:
    found = visitor_of(request(X_Role="viewer", X_Subject="Zo\xc3\xab"), COOKIE)
    assert found and found.subject == "Zoë"


@pytest.mark.parametrize(
    ("kept", "said", "status"),
    [("a" * 43, "a" * 43, 200), ("a" * 43, "b" * 43, 403), ("a" * 43, "", 403),
     (None, "", 403), ("", "", 403), ("short", "short", 403),
     ("a" * 43, None, 403)],
)  # fmt: skip
def test_nobody_but_the_gateway_is_heard(
    root: Path, tmp_path: Path, kept: str | None, said: str | None, status: int
) -> None:
    lab = Lab(tmp_path)
    if kept is not None:
        lab.console_secret.parent.mkdir(parents=True)
        lab.console_secret.write_text(kept)
    asking = TestClient(FrontDoor(build_app(Lab(root), lambda: "one"), lab))
    headers = {} if said is None else {"X-Gateway": said}
    for path in ("sign-in", "static/console.css"):
        assert asking.get(f"/console/{path}", headers=headers).status_code == status


def test_what_the_gateway_proves_itself_by_is_kept_and_for_its_owner_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    made = secret_of(lab)
    assert len(made) == 43 and secret_of(lab) == read_secret(lab) == made
    assert lab.console_secret.stat().st_mode & 0o777 == 0o600
    lab.console_secret.write_text("")  # cut off
    assert secret_of(lab) not in ("", made)
    assert made not in repr(ConsoleFront("unix:/a", COOKIE, made))


HERE = {"Host": "lab.local"}


@pytest.mark.parametrize(
    ("method", "headers", "own"),
    [("GET", {}, True), ("HEAD", {"Sec_Fetch_Site": "cross-site"}, True),
     ("POST", {}, False), ("DELETE", {}, False), ("OPTIONS", {}, False), ("get", {}, False),
     ("POST", {"Sec_Fetch_Site": "same-origin"}, True),
     ("POST", {"Sec_Fetch_Site": "same-site"}, False),
     ("POST", {"Sec_Fetch_Site": "cross-site"}, False),
     ("POST", {"Sec_Fetch_Site": "none"}, False),
     ("POST", {"Sec_Fetch_Site": "cross-site", "Origin": "http://lab.local"}, False),
     ("POST", {"Origin": "http://lab.local"}, True),
     ("POST", {"Origin": "https://lab.local"}, True),
     ("POST", {"Origin": "http://lab.local:81"}, False),
     ("POST", {"Origin": "http://lab.local.evil.example"}, False),
     ("POST", {"Origin": "http://evil.example"}, False),
     ("POST", {"Origin": "null"}, False), ("POST", {"Origin": ""}, False),
     ("POST", {"Origin": "lab.local"}, False)],
)  # fmt: skip
def test_a_change_comes_from_a_page_of_this_console(
    method: str, headers: dict[str, str], own: bool
) -> None:
    assert is_own(request(method, **HERE, **headers)) is own


@pytest.mark.parametrize("kept", ["", "{", "[]", "{}", '{"until": null, "token": "a"}', "\xff"])
def test_a_code_that_is_not_whole_stands_for_nothing_and_is_gone(tmp_path: Path, kept: str) -> None:
    lab = Lab(tmp_path)
    code = codes.make(lab, "a.b.c")
    (file,) = (codes.folder_of(lab) / "codes").iterdir()
    file.write_text(kept, encoding="latin-1")
    with pytest.raises(AuthError, match="signed somebody in already"):
        codes.take(lab, code)
    assert not list(file.parent.iterdir())


def test_what_nobody_has_used_is_forgotten_with_the_next_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    codes.make(lab, "a.b.c")
    (old,) = (codes.folder_of(lab) / "codes").iterdir()
    taken = old.with_name("taken-0")
    taken.write_text("{}")
    for file in (old, taken):
        os.utime(file, (0, 0))
    with pytest.raises(AuthError):
        codes.take(lab, "A" * 43)
    assert not list(old.parent.iterdir())


@pytest.mark.parametrize(
    "claims", ['{"exp": 1e400}', '{"exp": NaN}', "[1]", "[[[[", "{}", "1", '"a"', "\xff"]
)
def test_what_cannot_be_a_token_is_refused_where_one_signs_in(
    client: TestClient, claims: str
) -> None:
    body = base64.urlsafe_b64encode(claims.encode("latin-1")).decode().rstrip("=")
    answer = client.post("/console/sign-in", data={"token": f"e30.{body}.AAAA"}, headers=OWN)
    whole = "exp" in claims  # what the gateway thinks of it, it says itself
    assert answer.status_code == (303 if whole else 400)
    assert ("Set-Cookie" in answer.headers) is whole


# --- what is changed ------------------------------------------------------------------


def test_a_change_is_done_once_by_whom_the_gateway_names_and_leads_back(
    client: TestClient, done: list[tuple[Query, Visitor]]
) -> None:
    answer = client.post("/console/made/do", data={"why": "ä & b", "empty": ""}, headers=OWN)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/made?changed=1")
    assert done == [({"why": "ä & b", "empty": ""}, Visitor("alice", Role.OPERATOR))]


@pytest.mark.parametrize(
    ("headers", "said"),
    [({"X-Role": "viewer"} | OWN, "llmlab:operator"), ({"Sec-Fetch-Site": "cross-site"}, "another"),
     ({"Origin": "http://evil.example"}, "another"), ({}, "another")],
)  # fmt: skip
def test_a_viewer_or_another_page_changes_nothing(
    client: TestClient, done: list[tuple[Query, Visitor]], headers: dict[str, str], said: str
) -> None:
    answer = client.post("/console/made/do", data={"why": "a"}, headers=headers)
    assert answer.status_code == 403 and said in answer.text and done == []


def test_a_change_is_never_a_get(client: TestClient, done: list[tuple[Query, Visitor]]) -> None:
    assert client.get("/console/made/do", headers=OWN).status_code == 405
    assert client.post("/console/made", headers=OWN).status_code == 405
    assert done == []


TYPE = {"Content-Type": arriving.FORM}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(b"why=a", {"Content-Type": "application/json"}, 415),
     (b"why=a", {"Content-Type": "multipart/form-data; boundary=a"}, 415), (b"why=a", {}, 415),
     (b"why=" + b"a" * arriving.LONGEST_FORM, TYPE, 413),
     (b"a=b&" * (arriving.MOST_FIELDS + 1), TYPE, 400),
     (b"why=\xff", TYPE, 400), (b"why=%ff", TYPE, 400),
     (b"why=refused", TYPE, 400), (b"why=unexpected", TYPE, 500),
     (b"why=a&why=b", {"Content-Type": f"{arriving.FORM.upper()}; charset=utf-8"}, 303),
     (b"", TYPE, 303)],
)  # fmt: skip
def test_a_form_is_one_of_the_consoles_or_refused(
    client: TestClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/console/made/do", content=body, headers=headers | OWN)
    assert answer.status_code == status
    assert SECRET not in answer.text and EVIL not in answer.text
    assert status < 400 or 'role="alert"' in answer.text


# --- what goes wrong ------------------------------------------------------------------


@pytest.mark.parametrize("path", ERRORS)
def test_an_error_has_its_status_and_says_what_to_do(client: TestClient, path: str) -> None:
    page, document = client.get(f"/console/{path}"), client.get(f"/console/{path}.json")
    assert page.status_code == document.status_code == STATUS[path]
    assert document.headers["Content-Type"] == "application/problem+json"
    problem, error = document.json(), ERRORS[path]
    assert problem["status"] == STATUS[path]
    if isinstance(error, LlmlabError):
        assert (problem["detail"], problem["fix"]) == (error.message, error.fix)
        assert (error.fix or "") in page.text
    assert EVIL not in page.text and "Traceback" not in page.text


def test_what_nobody_expects_is_told_in_the_log_and_nowhere_else(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("unexpected", "unexpected.json"):
        answer = client.get(f"/console/{path}")
        assert answer.status_code == 500 and "llmlab logs console" in answer.text
        assert SECRET not in answer.text and "ZeroDivision" not in answer.text
    assert "ZeroDivisionError" in caplog.text and "/console/unexpected" in caplog.text


def test_an_unknown_address_is_told_as_it_was_asked_for(client: TestClient) -> None:
    page = client.get(f"/console/{EVIL}")
    assert page.status_code == 404 and page.headers["Content-Type"].startswith("text/html")
    assert EVIL not in page.text and "<h1>" in page.text and "alice" in page.text
    document = client.get("/console/nowhere.json")
    assert document.headers["Content-Type"] == "application/problem+json"
    assert document.json()["status"] == 404


@pytest.mark.parametrize(
    ("path", "current", "back"),
    [("flags/nowhere", "flags", "flags"), ("ledger?before=x", "ledger", "ledger"),
     ("models/", "models", "models"), ("nowhere", "", ""), ("usage", "usage", "")],
)  # fmt: skip
def test_an_error_leads_back_to_the_page_that_it_belongs_to(
    root: Path, monkeypatch: pytest.MonkeyPatch, path: str, current: str, back: str
) -> None:
    wrong = [
        Page(one, "", "made.html.j2", raising(UsageError("say why", fix="a reason")))
        for one in ("ledger", "usage")
    ]
    asking = TestClient(
        build_app(Lab(root), lambda: "", pages=wrong, changes=[]),
        headers={"X-Subject": "alice", "X-Role": "operator"},
    )
    text = asking.get(f"/console/{path}").text
    marked = re.findall(r'<a href="/console/([a-z]+)"[^>]*\saria-current="page"', text)
    assert marked == ([current] if current else [])
    assert re.findall(r'<a href="/console/([a-z]+)">Back to', text) == ([back] if back else [])
    (title,), (heading,) = re.findall("<title>(.*?) · ", text), re.findall("<h1>(.*?)</h1>", text)
    assert title == heading and "as JSON" not in text


@pytest.mark.parametrize(
    ("said", "told"),
    [("say why", "Say why."), ("Not for you.", "Not for you."), ("which model?", "Which model?"),
     ("rollout.text_gate: no gate", "rollout.text_gate: no gate."), ("'x' is none", "'x' is none."),
     ("pairs: 2 is too much", "Pairs: 2 is too much."), ("", "")],
)  # fmt: skip
def test_what_went_wrong_is_said_in_sentences(said: str, told: str) -> None:
    assert sentence(said) == told


def test_what_to_do_is_a_command_only_where_it_is_one(client: TestClient) -> None:
    assert "<code>llmlab rollout start</code>" in client.get("/console/usage").text
    assert "<code>" not in client.get("/console/nowhere").text


def test_a_lab_that_does_not_run_says_so(tmp_path: Path) -> None:
    init_lab(tmp_path)
    asking = TestClient(
        build_app(Lab(tmp_path), lambda: ""), headers={"X-Role": "operator", "X-Subject": "a"}
    )
    for path in ("overview", "overview.json"):
        answer = asking.get(f"/console/{path}")
        assert answer.status_code == 502 and "llmlab up" in answer.text


# --- live -----------------------------------------------------------------------------


async def events(app: Any, number: int, query: bytes = b"q=<b>", **headers: str) -> list[str]:
    """The first events of a live part, and then its browser goes."""
    got: list[bytes] = []
    enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        got.append(message.get("body", b""))
        if sum(one.startswith(b"data:") for one in got) == number:
            enough.set()

    raw = Headers({"X-Subject": "alice", "X-Role": "viewer"} | headers).raw
    await app({"type": "http", "method": "GET", "path": "/console/made/live", "root_path": "",
               "raw_path": b"", "query_string": query, "headers": raw, "scheme": "http",
               "server": None, "client": None, "http_version": "1.1",
               "asgi": {"version": "3.0", "spec_version": "2.3"}}, receive, send)  # fmt: skip
    return [one.decode() for one in got if one.startswith(b"data:")]


def test_a_live_part_is_that_of_the_page_but_of_nobody_in_particular(
    client: TestClient, root: Path
) -> None:
    said = asyncio.run(events(client.app, 1))
    assert said == [f"data: <p>{root.name} &lt;b&gt;  for viewer</p>\n\n"]
    live = client.app.state.live  # type: ignore[attr-defined]
    assert len(live) == 0 == len(live.room)


def test_whatever_else_an_address_says_a_part_is_the_same_one(client: TestClient) -> None:
    live = client.app.state.live  # type: ignore[attr-defined]
    keys = set()
    live.room.take = lambda subject, key: keys.add((subject, key))
    live.room.give = lambda subject, key: None
    for query in (b"q=a", b"q=a&x=1", b"x=2&q=a&y=", b"q=b&q=a"):
        asyncio.run(events(client.app, 1, query))
    assert len(keys) == 1 and "alice" in keys.pop()


def test_a_page_that_is_not_live_as_it_was_asked_for_has_no_stream(client: TestClient) -> None:
    assert client.get("/console/made/live?q=costly").status_code == 204
    assert "data-live" not in client.get("/console/made?q=costly").text
    assert "data-live" in client.get("/console/made?q=b").text


def test_one_who_looks_at_too_much_is_told_what_to_do(client: TestClient) -> None:
    room = client.app.state.live.room  # type: ignore[attr-defined]
    for number in range(PARTS_OF_ONE):
        room.take("alice", f"{number}")
    answer = client.get("/console/made/live")
    assert answer.status_code == 429 and "close some of them" in answer.text
    assert client.head("/console/made/live").status_code == 429  # before a browser asks for why
    assert len(room) == PARTS_OF_ONE


def test_the_socket_is_at_a_path_of_any_length(tmp_path: Path) -> None:
    from llmlab.console.__main__ import listen

    folder, before = tmp_path / ("long" * 40), os.getcwd()
    folder.mkdir()
    for _ in range(2):  # the second is that of a process whose first was killed
        with listen(folder / "console.sock"):
            assert (folder / "console.sock").is_socket() and os.getcwd() == before
