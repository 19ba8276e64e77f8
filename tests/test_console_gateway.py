"""The console of a real lab: who gets in, by what, for how long; and what becomes of it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from llmlab.auth.store import KeyStore
from llmlab.config import Config, Gateway
from llmlab.config.console import Console
from llmlab.engines import probe
from llmlab.engines.console import NAME, active_release, unserved, why_none
from llmlab.engines.local.supervisor import Supervisor
from llmlab.gateway.console import cookie
from llmlab.lab import Lab, init_lab
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, configure, wait_until
from tests.test_auth import signed

PAGE = "/console/overview"
PEOPLE = "text/html"
# Writes down what it is told on its command line, and follows where that leads.
BROWSER = """#!{python}
import re, sys, urllib.request as web
open("{seen}", "w").write(" ".join(sys.argv[1:]))
page = web.urlopen(sys.argv[1]).read().decode()
web.build_opener(web.ProxyHandler({{}})).open(re.search('url=([^"]+)', page)[1]).read()
"""


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab with a console, which answers."""
    one = make_lab(console__enabled='"auto"', gateway__rate_limit__rate='"100r/s"')
    one.ok("up")
    wait_until(lambda: is_there(one))
    return one


def is_there(lab: LabUnderTest) -> bool:
    return ask(lab, "/console/static/console.css").status_code == 200


def ask(
    lab: LabUnderTest, path: str, token: str = "", method: str = "GET",
    data: dict[str, str] | None = None, **more: str,
) -> httpx2.Response:  # fmt: skip
    """With a token as a program sends it; ``more`` are headers, with _ for -."""
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.request(
        method, f"{lab.url}{path}", headers=headers, data=data, timeout=30, trust_env=False
    )


def by_cookie(lab: LabUnderTest, path: str, token: str, **more: str) -> httpx2.Response:
    """As a browser sends it."""
    return ask(lab, path, Cookie=f"{cookie(lab.port)}={token}", **more)


def token(lab: LabUnderTest, scope: str, sub: str = "tester") -> str:
    return lab.token(sub, extra={"scope": f"llmlab:{scope}"})


def kept(lab: LabUnderTest, answer: httpx2.Response) -> str:
    """The token that an answer has put into a browser's cookie, with what guards it there."""
    (said,) = answer.headers.get_list("Set-Cookie")
    value, *marks = said.split("; ")
    assert {"HttpOnly", "SameSite=strict", "Path=/console/"} <= {*marks}
    name, _, found = value.partition("=")
    assert name == cookie(lab.port)
    return found


# --- who gets in ---------------------------------------------------------------------


def test_a_token_with_a_scope_for_people_opens_it_and_no_other_does(lab: LabUnderTest) -> None:
    for scope, status in (("viewer", 200), ("operator", 200), ("*", 403), ("summarize", 403)):
        for way in (ask, by_cookie):
            assert way(lab, f"{PAGE}.json", token(lab, scope)).status_code == status, scope
    assert ask(lab, f"{PAGE}.json").status_code == 401


def test_a_cookie_is_a_token_for_the_console_and_for_nothing_else(lab: LabUnderTest) -> None:
    given = token(lab, "operator")
    for path in ("/v1/models", "/summarize/", "/metrics", "/models/textrank/console/overview"):
        assert by_cookie(lab, path, given).status_code == 401, path
        assert ask(lab, path, given).status_code != 401, path


def test_a_page_says_whose_token_it_was_and_no_client_can_say_otherwise(lab: LabUnderTest) -> None:
    shown = by_cookie(lab, PAGE, token(lab, "viewer", "ada"), X_Role="operator", X_Subject="root")
    assert shown.status_code == 200
    assert 'class="role">viewer<' in shown.text
    assert "ada" in shown.text
    assert "root" not in shown.text.partition("<main")[0]


def test_whoever_else_opens_its_socket_is_not_heard(lab: LabUnderTest) -> None:
    at = httpx2.HTTPTransport(uds=str(lab.lab.console_socket))
    claimed = {"X-Role": "operator", "X-Subject": "mallory", "Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(transport=at, base_url="http://lab", trust_env=False) as beside:
        for headers in (claimed, claimed | {"X-Gateway": "A" * 43}):
            assert beside.get(f"{PAGE}.json", headers=headers).status_code == 403
            assert beside.get("/console/static/console.css", headers=headers).status_code == 403
        secret = lab.lab.console_secret.read_text()
        heard = beside.get(f"{PAGE}.json", headers=claimed | {"X-Gateway": secret})
    assert heard.status_code == 200
    printed = lab.ok("config", "gateway")  # which people show to others
    assert secret not in printed and "X-Gateway ********;" in printed


def test_whose_token_has_no_name_or_an_empty_one_is_not_let_in(lab: LabUnderTest) -> None:
    assert ask(lab, f"{PAGE}.json", token(lab, "operator", "Zoë")).status_code == 200
    key = KeyStore(lab.lab.keys_file).read().signing
    for claims in ({}, {"sub": ""}, {"sub": " "}):
        given = signed(key, {"scope": "llmlab:operator", "exp": time.time() + 60, **claims})
        assert ask(lab, f"{PAGE}.json", given).status_code == 401, claims
        assert ask(lab, PAGE, given, Accept=PEOPLE).status_code == 401, claims


def test_the_verb_signs_in_once_and_soon(lab: LabUnderTest) -> None:
    made = lab.json("console", "--viewer", "--ttl", "10m")
    assert (made["role"], made["session"], made["expires_in"]) == ("viewer", 600, 300)
    path = made["url"].removeprefix(lab.url)
    assert ask(lab, path, method="HEAD").status_code == 405  # uses nothing up
    entered = ask(lab, path)
    assert entered.status_code == 200
    assert 'http-equiv="refresh" content="0; url=/console/"' in entered.text
    assert entered.headers["Cache-Control"] == "no-store"
    given = kept(lab, entered)
    shown = by_cookie(lab, PAGE, given)
    assert 'class="role">viewer<' in shown.text
    assert made["sub"] in shown.text
    again = ask(lab, path)
    assert again.status_code == 403
    assert "older than 5 minutes" in again.text
    assert "Set-Cookie" not in again.headers
    # What is on the disk of it is for the lab's owner alone, and lets nobody in who only sees it.
    old = lab.json("console")["url"]
    code = old.partition("code=")[2]
    file = lab.lab.state / "console" / "codes" / hashlib.sha256(code.encode()).hexdigest()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text(json.dumps(json.loads(file.read_text()) | {"until": time.time() - 1}))
    assert ask(lab, old.removeprefix(lab.url)).status_code == 403
    assert not file.exists()


def test_without_a_browser_the_address_alone_is_on_stdout(lab: LabUnderTest) -> None:
    done = lab.run("console", env={"BROWSER": "true-is-no-browser-here", "DISPLAY": ""})
    assert done.returncode == 0
    assert done.stdout.startswith(f"{lab.url}/console/enter?code=")
    assert "There is no browser here" in done.stderr
    assert "signs in once, as operator" in done.stderr
    assert not (lab.lab.state / "console" / "open.html").exists()


def test_a_browser_is_opened_without_the_code_on_its_command_line(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(BROWSER.format(python=sys.executable, seen=seen))
    browser.chmod(0o755)
    done = lab.run("console", env={"BROWSER": str(browser)})
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "The console is open" in done.stderr
    assert seen.read_text().startswith("file://")
    assert "code" not in seen.read_text()
    assert not (lab.lab.state / "console" / "open.html").exists()


# --- signing in and out --------------------------------------------------------------


def test_a_token_or_an_api_key_signs_in_by_a_form(lab: LabUnderTest) -> None:
    own = {"Sec_Fetch_Site": "same-origin"}
    made = lab.json("keys", "api", "create", "--sub", "ada", "--scope", "viewer")
    for given in (token(lab, "operator"), made["key"]):
        answer = ask(lab, "/console/sign-in", method="POST", data={"token": f" {given}\n"}, **own)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/console/")
        assert kept(lab, answer) == given
        assert by_cookie(lab, PAGE, given).status_code == 200
    for wrong in ("", "garbage", "a.b", "x" * 40_000):
        answer = ask(lab, "/console/sign-in", method="POST", data={"token": wrong}, **own)
        assert answer.status_code == 400, wrong[:10]
        assert "Set-Cookie" not in answer.headers
    # What the gateway alone can judge, it judges at the next request, and says so.
    refused = by_cookie(lab, "/console/", "a.b.c", Accept=PEOPLE)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert "your token is not valid here" in refused.text
    assert kept(lab, refused) == '""'
    unscoped = by_cookie(lab, "/console/", token(lab, "*"), Accept=PEOPLE)
    assert unscoped.status_code == 403
    assert "neither llmlab:viewer nor llmlab:operator" in unscoped.text
    assert "insufficient_scope" in unscoped.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site", "Origin": "http://evil.example"},
     {"Sec_Fetch_Site": "same-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {}],
)  # fmt: skip
def test_another_site_signs_nobody_in_or_out(lab: LabUnderTest, headers: dict[str, str]) -> None:
    data = {"token": token(lab, "operator")}
    for path in ("sign-in", "sign-out"):
        answer = ask(lab, f"/console/{path}", method="POST", data=data, **headers)
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers


def test_signing_out_takes_the_cookie_away(lab: LabUnderTest) -> None:
    answer = ask(lab, "/console/sign-out", method="POST", Origin=lab.url)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/sign-in")
    assert kept(lab, answer) == '""'


def test_what_is_revoked_opens_nothing_more(lab: LabUnderTest) -> None:
    made = lab.json("keys", "api", "create", "--sub", "bob", "--scope", "viewer")
    eve = token(lab, "viewer", "eve")
    assert by_cookie(lab, PAGE, made["key"]).status_code == 200
    assert by_cookie(lab, PAGE, eve).status_code == 200
    lab.ok("keys", "api", "revoke", made["id"])
    assert by_cookie(lab, PAGE, made["key"]).status_code == 401
    lab.ok("token", "revoke", "--sub", "eve")
    assert by_cookie(lab, PAGE, eve).status_code == 401


# --- what becomes of it --------------------------------------------------------------


def test_a_page_of_the_console_is_no_request_to_a_model(lab: LabUnderTest) -> None:
    def lines() -> list[str]:
        return (lab.lab.logs / "gateway.log").read_text().splitlines()

    ended = token(lab, "*", "nobody-of-the-console")
    before = len(lines())
    assert ask(lab, PAGE, token(lab, "viewer")).status_code == 200
    assert ask(lab, PAGE, ended).status_code == 403
    wait_until(lambda: len(lines()) > before)
    (line,) = (json.loads(one) for one in lines()[before:])
    assert (line["status"], line["subject"]) == (403, "nobody-of-the-console")
    assert (line["deployment"], line["rule"], line["route"]) == ("", "", "")
    assert 'deployment=""' not in lab.ok("metrics")


@contextmanager
def streaming(lab: LabUnderTest) -> Iterator[Iterator[str]]:
    """The lines of a live part, as long as it lasts."""
    headers = {"Authorization": f"Bearer {token(lab, 'viewer')}"}
    with httpx2.stream(
        "GET", f"{lab.url}{PAGE}/live", headers=headers, timeout=30, trust_env=False
    ) as answer:
        assert answer.status_code == 200
        yield answer.iter_lines()


def test_a_reload_ends_what_is_live_and_waits_for_nobody(lab: LabUnderTest) -> None:
    release = active_release(lab.lab)
    with streaming(lab) as lines:
        assert next(lines).startswith("retry")
        lab.ok("keys", "rotate")
        assert active_release(lab.lab) != release
        assert "event: again" in list(lines)  # its browser asks anew
    with streaming(lab) as lines:
        assert next(lines).startswith("retry")


def test_a_console_that_is_killed_is_back_and_nobody_else_notices(lab: LabUnderTest) -> None:
    viewer, pid = token(lab, "viewer"), Supervisor(lab.lab).pid(NAME)
    assert pid is not None
    assert lab.json("status")["console"] == {
        "url": f"{lab.url}/console/", "state": "RUNNING", "healthy": True,
    }  # fmt: skip
    os.kill(pid, signal.SIGKILL)
    away = by_cookie(lab, PAGE, viewer, Accept=PEOPLE)
    assert away.status_code in (200, 503)
    if away.status_code == 503:
        assert 'http-equiv="refresh"' in away.text
    with lab.client() as client:
        assert client.post("/summarize/", json={"text": "A lamp. A door."}).status_code == 200
    wait_until(lambda: ask(lab, PAGE, viewer).status_code == 200)
    assert Supervisor(lab.lab).pid(NAME) != pid
    assert "INFO" in lab.ok("logs", NAME)


def test_switched_off_it_is_gone_and_switched_on_it_is_back(lab: LabUnderTest) -> None:
    configure(lab.root, lab.port, console__enabled='"off"')
    lab.ok("up")
    assert ask(lab, "/console/", token(lab, "operator")).status_code == 404
    assert Supervisor(lab.lab).pid(NAME) is None
    assert lab.json("status")["console"] is None
    refused = lab.run("console")
    assert refused.returncode == 2
    assert "it is switched off" in refused.stderr
    assert 'Fix: enabled = "on" in [console]' in refused.stderr
    configure(lab.root, lab.port, console__enabled='"auto"')
    lab.ok("up")
    wait_until(lambda: is_there(lab))


# --- whether there is one ------------------------------------------------------------


@pytest.mark.parametrize(
    ("enabled", "host", "is_on"),
    [("auto", "127.0.0.1", True), ("auto", "::1", True), ("auto", "0.0.0.0", False),
     ("on", "0.0.0.0", True), ("off", "127.0.0.1", False)],
)  # fmt: skip
def test_by_itself_it_is_there_where_only_this_machine_can_ask(
    enabled: str, host: str, is_on: bool
) -> None:
    assert Console(enabled=enabled).is_on(Gateway(host=host)) is is_on  # type: ignore[arg-type]


def test_files_of_an_earlier_lab_have_no_place_for_it_and_that_is_told(tmp_path: Path) -> None:
    init_lab(tmp_path)
    lab, config = Lab(tmp_path), Config()
    assert why_none(lab, config, "local") is why_none(lab, config, "compose") is None
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(compose.read_text().replace("/run/console", "/run/other"))
    assert why_none(lab, config, "local") is None
    (warning,) = unserved(lab, config, "compose")
    assert "docker-compose.yml is that of an earlier lab" in warning
    lab.nginx_conf.write_text("# include lab/console.conf;\n")
    (warning,) = unserved(lab, config, "local")
    assert "nginx.conf is that of an earlier lab" in warning
    assert "Fix: llmlab init FOLDER" in warning
    # Where nobody wants one, nothing is missing.
    off = Config(console=Console(enabled="off"))
    assert unserved(lab, off, "local") == ()


def test_a_lab_that_does_not_run_has_no_console_to_open(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    refused = make_lab(console__enabled='"auto"').run("console")
    assert refused.returncode == 5
    assert "Fix: llmlab up" in refused.stderr


def test_down_ends_it_although_nobody_watches_it_any_more(lab: LabUnderTest) -> None:
    assert lab_processes(lab.lab.state, "llmlab.console")
    for mark in ("supervisor.supervisord", "llmlab.engines.local.keeper"):
        for one in lab_processes(lab.lab.state, mark):
            one.kill()
    lab.ok("down")
    assert lab_processes(lab.lab.state) == []
    assert not probe.can_be_reached(lab.lab.console_socket)
    lab.ok("up")
    wait_until(lambda: is_there(lab))
