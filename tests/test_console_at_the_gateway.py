"""The console's addresses at a gateway of both editions, in front of a server that says what it
hears."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlab.gateway import ConsoleFront
from llmlab.gateway.console import BURST, GUESS_BURST, RATE
from tests.test_gateway import (
    BAD_TOKENS,
    EchoGateway,
    Files,
    Reply,
    ask,
    assert_problem,
    echo_gateway,
    headers_of,
)
from tests.test_routes import EDITIONS, both

COOKIE, SECRET = "llmlab_console_8000", "proof-of-the-gateway"
PEOPLE = ("Accept", "text/html,application/xhtml+xml")
# What of a request the console hears; the rest is none of its business.
HEARD = {
    "host", "connection", "x-request-id", "x-forwarded-proto", "x-subject", "x-role", "cookie",
    "authorization", "accept", "content-type", "origin", "sec-fetch-site", "if-none-match",
    "if-modified-since", "last-event-id", "content-length", "x-gateway",
}  # fmt: skip


@contextlib.contextmanager
def opened(folder: Path, edition: str, socket: str = "api.sock") -> Iterator[EchoGateway]:
    front = ConsoleFront(f"unix:{folder / socket}", COOKIE, SECRET)
    with echo_gateway(folder, console=front, **EDITIONS[edition]) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, EchoGateway]]:
    """One of each edition."""
    with contextlib.ExitStack() as stack:
        yield {
            edition: stack.enter_context(opened(tmp_path_factory.mktemp(edition), edition))
            for edition in EDITIONS
        }


@pytest.fixture
def gateway(gateways: dict[str, EchoGateway], edition: str) -> EchoGateway:
    return gateways[edition]


def signed_in(
    gateway: EchoGateway, *headers: tuple[str, str], scope: str = "llmlab:viewer", path: str = "x",
    sub: str = "tester", method: str = "GET",
) -> Reply:  # fmt: skip
    """As a browser asks."""
    cookie = "Cookie", f"theme=dark; {COOKIE}={gateway.forge.token(sub=sub, scope=scope)}; a=b"
    return ask(gateway.port, f"/console/{path}", cookie, *headers, method=method)


@both
def test_it_is_told_who_asks_and_as_what(gateway: EchoGateway) -> None:
    for scope, role in (
        ("llmlab:viewer", "viewer"), ("llmlab:operator", "operator"),
        ("llmlab:viewer llmlab:operator", "operator"), ("openid llmlab:viewer llmlab:*", "viewer"),
    ):  # fmt: skip
        heard = headers_of(signed_in(gateway, scope=scope, sub="Jürgen"))
        assert heard["x-role"] == [role]
        assert heard["x-subject"][0].encode("latin-1").decode() == "Jürgen"
    for scope in ("", "llmlab:*", "llmlab:viewers", "viewer", "llmlab:chat"):
        assert_problem(signed_in(gateway, scope=scope), 403)
        assert 'scope="llmlab:viewer"' in signed_in(gateway, scope=scope).header("WWW-Authenticate")


@both
def test_nothing_that_a_client_says_of_itself_gets_there(gateway: EchoGateway) -> None:
    forged = [(name, "forged") for name in (
        "X-Subject", "X-Role", "x_role", "X-Refused", "X-Forwarded-For", "X-Forwarded-Proto",
        "X-Forwarded-Host", "X-Remote-User", "X-Original-URL", "X-HTTP-Method-Override",
        "X-Model", "Proxy", "Te", "Upgrade", "X-Gateway",
    )]  # fmt: skip
    passed = [("Origin", "http://a.example"), ("Sec-Fetch-Site", "same-origin"), PEOPLE]
    heard = headers_of(signed_in(gateway, *forged, *passed))
    assert heard.keys() <= HEARD
    assert "forged" not in str(heard)
    assert heard["x-role"] == ["viewer"]
    assert heard["x-gateway"] == [SECRET]
    assert heard["origin"] == ["http://a.example"]
    assert heard["sec-fetch-site"] == ["same-origin"]
    # Of its cookies the browser's one, and no other.
    (cookie,) = heard["cookie"]
    assert cookie.startswith(f"{COOKIE}=ey")
    assert ";" not in cookie


@both
def test_what_one_may_ask_models_is_no_matter_here(tmp_path: Path, edition: str) -> None:
    console = ConsoleFront(f"unix:{tmp_path / 'api.sock'}", COOKIE, SECRET)
    with echo_gateway(tmp_path, console=console, default_scopes=(), **EDITIONS[edition]) as gateway:
        for method in ("GET", "POST"):
            assert signed_in(gateway, method=method).status == 200
        viewer = gateway.forge.token(scope="llmlab:viewer")
        assert ask(gateway.port, "/", method="POST", body=b"", token=viewer).status == 403


@both
def test_who_sends_a_token_goes_by_that_one(gateway: EchoGateway) -> None:
    viewer = gateway.forge.token(scope="llmlab:viewer", sub="header")
    reply = signed_in(gateway, ("Authorization", f"Bearer {viewer}"), scope="llmlab:operator")
    heard = headers_of(reply)
    assert (heard["x-subject"], heard["x-role"]) == (["header"], ["viewer"])
    assert "cookie" not in heard
    assert_problem(signed_in(gateway, ("Authorization", "Bearer x.y.z")), 401)
    assert_problem(signed_in(gateway, ("Authorization", "Basic YTpi")), 401)


@both
def test_a_bad_token_is_none_in_a_cookie_either(gateway: EchoGateway, edition: str) -> None:
    # What Plus does not see without njs its own tests tell.
    seen = (
        "garbage",
        "the wrong key",
        "expired",
        "no exp",
        "crit",
        "an unknown kid",
        "no signature",
    )
    for what in seen if edition == "plus" else BAD_TOKENS:
        cookie = f"{COOKIE}={BAD_TOKENS[what](gateway.forge)}".encode("latin-1", "replace")
        reply = ask(gateway.port, "/console/x", ("Cookie", cookie.decode("latin-1")))
        assert reply.status in (400, 401), what


@both
def test_a_cookie_opens_nothing_but_the_console(gateway: EchoGateway) -> None:
    cookie = "Cookie", f"{COOKIE}={gateway.forge.token(scope='llmlab:operator llmlab:*')}"
    for path in (
        "/", "/summarize/", "/v1/models", "/models/echo/", "/models/echo/console/x", "//v1/models",
        "/console/../summarize/", "/console/%2e%2e/v1/models", "/consolex", "/CONSOLE/x",
    ):  # fmt: skip
        for method in ("GET", "POST"):
            reply = ask(gateway.port, path, cookie, method=method, body=b"")
            assert reply.status == 401, (method, path)
    assert ask(gateway.port, "/models/../console/x", cookie).status == 200


@both
def test_of_two_cookies_of_its_name_none_is_taken(gateway: EchoGateway) -> None:
    first, other = (gateway.forge.token(sub=sub, scope="llmlab:viewer") for sub in ("ada", "eve"))
    for sent in (f"{COOKIE}={other}; {COOKIE}={first}", f"a=b; {COOKIE}=; c=d;{COOKIE}={first}",
                 f"{COOKIE.upper()}={other}; {COOKIE}={first}"):  # fmt: skip
        assert ask(gateway.port, "/console/x", ("Cookie", sent)).status == 401, sent
    led = ask(gateway.port, "/console/x", ("Cookie", sent), PEOPLE)
    assert (led.status, headers_of(led)["x-refused"]) == (401, ["cookies"])
    apart = ("Cookie", f"{COOKIE}={other}"), ("Cookie", f"{COOKIE}={first}")
    assert ask(gateway.port, "/console/x", *apart).status in (400, 401)
    alike = f"x{COOKIE}=a; {COOKIE}={first}; {COOKIE}1={other}"
    assert ask(gateway.port, "/console/x", ("Cookie", alike)).status == 200
    by_token = ask(gateway.port, "/console/x", ("Cookie", sent), token=first)
    assert headers_of(by_token)["x-subject"] == ["ada"]


@both
def test_people_are_led_to_sign_in_and_programs_are_told(gateway: EchoGateway) -> None:
    shown = ask(gateway.port, "/console/models?a=b", PEOPLE)
    assert shown.status == 401
    assert shown.json()["path"] == "/console/sign-in"
    assert shown.header("WWW-Authenticate").startswith("Bearer")
    assert "x-refused" not in headers_of(shown)
    assert headers_of(signed_in(gateway, PEOPLE, scope="llmlab:*"))["x-refused"] == ["scope"]
    refused = ask(gateway.port, "/console/x", PEOPLE, ("Cookie", f"{COOKIE}=a.b.c"))
    assert (refused.status, headers_of(refused)["x-refused"]) == (401, ["token"])
    assert_problem(ask(gateway.port, "/console/x"), 401)
    assert_problem(ask(gateway.port, "/console/x", ("Accept", "text/event-stream")), 401)


@both
def test_what_everybody_may_ask_for_is_just_that(gateway: EchoGateway) -> None:
    for path in ("sign-in", "sign-out", "enter?code=abc", "static/console.css?0.1"):
        heard = ask(
            gateway.port, f"/console/{path}", ("Cookie", f"{COOKIE}=x"), ("X-Role", "viewer")
        )
        assert heard.json()["path"] == f"/console/{path}"
        assert not {"x-role", "x-subject", "cookie", "authorization"} & headers_of(heard).keys()
    for path in ("static/", "static/../models", "static/%2e%2e/models", "sign-in/x", "enter/",
                 "static/a/b", "static/%0aX"):  # fmt: skip
        assert ask(gateway.port, f"/console/{path}").status in (400, 401), path
    # The address goes on as it was found, and not as it was sent.
    assert (
        ask(gateway.port, "/console/models/../static/a.css").json()["path"]
        == "/console/static/a.css"
    )
    moved = ask(gateway.port, "/console")
    assert (moved.status, moved.header("Location")) == (308, "/console/")


@pytest.mark.parametrize("edition", ["open"])
def test_while_it_is_away_people_see_a_page_that_asks_again(tmp_path: Path, edition: str) -> None:
    with opened(tmp_path, edition, "gone.sock") as gateway:
        shown = signed_in(gateway, PEOPLE)
        assert shown.status == 503
        assert shown.header("Content-Type") == "text/html"
        assert b'http-equiv="refresh" content="1"' in shown.body
        assert ask(gateway.port, "/console/", PEOPLE).status == 503  # who is to sign in as well
        problem = assert_problem(signed_in(gateway), 503)
        assert problem["detail"] == "The console does not answer right now; try again in 1 s."
        assert ask(gateway.port, token=gateway.forge.token()).status == 200


def test_without_a_console_there_is_nothing(tmp_path: Path) -> None:
    with echo_gateway(tmp_path) as gateway:
        for path in (
            "/console",
            "/console/",
            "/console/x",
            "/console/sign-in",
            "/console/static/a",
        ):
            assert_problem(ask(gateway.port, path, PEOPLE), 404)
        assert_problem(signed_in(gateway, scope="llmlab:operator"), 404)


@both
def test_a_page_with_its_files_meets_no_limit_and_a_flood_does(
    tmp_path: Path, edition: str
) -> None:
    said = f"zone=console:1m rate={RATE}"

    def slower(files: Files) -> Files:
        """So that a slow machine sees the limit as well."""
        before: Files = EDITIONS[edition].get("change", lambda same: same)(files)  # type: ignore[operator]
        assert said in before["lab/http.conf"]
        changed = before["lab/http.conf"].replace(said, "zone=console:1m rate=1r/m")
        for kind in ("guess", "way_in"):
            zone = f"zone=console_{kind}:1m rate="
            assert zone in changed
            changed = re.sub(f"{zone}[0-9]+r/s", f"{zone}1r/m", changed)
        return before | {"lab/http.conf": changed}

    console = ConsoleFront(f"unix:{tmp_path / 'api.sock'}", COOKIE, SECRET)
    plan = {**EDITIONS[edition], "change": slower, "console": console}
    with echo_gateway(tmp_path, **plan) as gateway:
        statuses = [signed_in(gateway, sub="flood").status for _ in range(BURST + 3)]
        assert statuses == [200] * (BURST + 1) + [429] * 2
        # Nobody uses up another one's by a token that is forged.
        head, _, _ = gateway.forge.token(sub="victim", scope="llmlab:viewer").rpartition(".")
        forged = "Cookie", f"{COOKIE}={head}.AAAA"
        assert {ask(gateway.port, "/console/x", forged).status for _ in range(BURST + 2)} == {401}
        assert signed_in(gateway, sub="victim").status == 200
        # People who send no valid token are led to sign in, and a flood of guesses is not. It takes
        # the way in from nobody at that address, and neither do the files of many pages.
        led = [
            ask(gateway.port, "/console/x", forged, PEOPLE).status for _ in range(GUESS_BURST + 3)
        ]
        assert led == [401] * (GUESS_BURST + 1) + [429] * 2
        files = {ask(gateway.port, "/console/static/a.css").status for _ in range(BURST + 5)}
        assert files == {200}
        assert ask(gateway.port, "/console/sign-in").status == 200
