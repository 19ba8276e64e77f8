"""The console's way through the gateway: who gets in, by what, and what it is told of them."""

from __future__ import annotations

from collections.abc import Callable

import httpx2
import pytest

from llmlab.gateway.console import cookie
from tests.conftest import LabUnderTest, wait_until

PAGE = "/console/overview"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab with a console, which answers."""
    one = make_lab(console__enabled='"auto"')
    one.ok("up")
    wait_until(lambda: ask(one, "/console/static/console.css").status_code == 200)
    return one


def ask(lab: LabUnderTest, path: str, token: str = "", **more: str) -> httpx2.Response:
    """With a token as a program sends it; ``more`` are headers, with _ for -."""
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx2.get(f"{lab.url}{path}", headers=headers, timeout=30, trust_env=False)


def by_cookie(lab: LabUnderTest, path: str, token: str, **more: str) -> httpx2.Response:
    """As a browser sends it."""
    return ask(lab, path, Cookie=f"{cookie(lab.port)}={token}", **more)


def token(lab: LabUnderTest, scope: str, sub: str = "tester") -> str:
    return lab.token(sub, extra={"scope": f"llmlab:{scope}"})


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
