"""What a token's scope lets its bearer do: a real NGINX of both editions in front of deployments
that say what they hear."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmlab import scopes
from llmlab.config.auth import Auth
from llmlab.traffic import Traffic
from tests.routing import CANARY, STABLE, THIRD, Routed, routed
from tests.test_gateway import assert_problem
from tests.test_routes import EDITIONS, both

CHAT = "/v1/chat/completions"


@contextlib.contextmanager
def opened(folder: Path, edition: str, **plan: Any) -> Iterator[Routed]:
    """A gateway of this edition: chat is the canary's."""
    plan = {**EDITIONS[edition], "further": {"chat": CANARY}, **plan}
    with routed(folder, Traffic(), metrics=f"unix:{folder}/metrics.sock", **plan) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Routed]]:
    """One of each edition."""
    with contextlib.ExitStack() as stack:
        yield {
            edition: stack.enter_context(opened(tmp_path_factory.mktemp(edition), edition))
            for edition in EDITIONS
        }


@pytest.fixture
def gateway(gateways: dict[str, Routed], edition: str) -> Routed:
    return gateways[edition]


only_open = pytest.mark.parametrize("edition", ["open"])


def asked(model: str) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
    return {"path": CHAT, "body": json.dumps(body).encode()}


# What is asked -> the scope that it needs, "" for none.
ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a summary": ({}, "summarize"),
    "a summary in Hugging Face's dialect": ({"path": "/"}, "summarize"),
    "the start page": ({"path": "/", "method": "GET"}, ""),
    "the list of models": ({"path": "/v1/models", "method": "GET"}, ""),
    "a deployment by its address": ({"path": f"/models/{THIRD}/summarize/"}, THIRD),
    "a deployment's chat by its address": ({"path": f"/models/{THIRD}{CHAT}"}, THIRD),
}
BY_BODY = {"a chat": (asked("chat"), "chat"), "a deployment by its name": (asked(THIRD), THIRD)}


def granted(scope: str) -> set[str]:
    return set(scopes.names(scope)) - {*scopes.PEOPLE}


SCOPES = [
    "", "openid profile", "llmlab:*", "llmlab:summarize", "openid llmlab:chat email",
    f"llmlab:{THIRD}", f"llmlab:chat llmlab:{THIRD}", "llmlab:operator",
    "llmlab:operator llmlab:chat", "llmlab:viewer", "llmlab:viewer llmlab:operator",
    "llmlab:viewer llmlab:chat", "llmlab:summarize-not-this", "llmlab:ummarize",
    "not-llmlab:summarize llmlab:none", "LLMLAB:SUMMARIZE llmlab:none",
]  # fmt: skip


@both
def test_a_scope_opens_what_it_names(gateway: Routed, edition: str) -> None:
    wanted = ASKED if edition == "plus" else ASKED | BY_BODY
    for scope, (what, (request, needs)) in itertools.product(SCOPES, wanted.items()):
        reply = gateway.ask(scope=scope, **request)
        names = granted(scope)
        if not needs or not names or "*" in names or needs in names:
            assert reply.status == 200, f"{what} with {scope!r}"
        else:
            assert reply.status == 403, f"{what} with {scope!r}"
            challenge = f'error="insufficient_scope", scope="llmlab:{needs}"'
            assert challenge in reply.header("WWW-Authenticate")


@both
def test_a_header_that_asks_for_a_deployment_needs_its_scope(gateway: Routed) -> None:
    wish = ("X-Model", THIRD)
    assert gateway.ask(wish, scope="llmlab:summarize").status == 403
    assert gateway.ask(wish, scope=f"llmlab:{THIRD}").status == 200
    # The address says it, whatever a header wishes.
    path = f"/models/{CANARY}/summarize/"
    assert gateway.ask(wish, scope=f"llmlab:{THIRD}", path=path).status == 403
    assert_problem(gateway.ask(("X-Model", "nobody"), scope="llmlab:summarize"), 404)


@only_open
def test_a_body_that_is_refused_is_told_in_its_dialect(gateway: Routed) -> None:
    reply = gateway.ask(scope="llmlab:summarize", **asked("chat"))
    assert reply.status == 403
    assert reply.json()["error"] == {
        "message": "This token may not ask for this: its scope lacks llmlab:chat.",
        "type": "invalid_request_error", "param": None, "code": "missing_scope",
    }  # fmt: skip
    problem = assert_problem(gateway.ask(scope="llmlab:chat"), 403)
    assert problem["title"] == "Forbidden"
    # A wish in a header leads elsewhere than the body says.
    assert gateway.ask(("X-Model", THIRD), scope="llmlab:chat", **asked("chat")).status == 403


@both
@pytest.mark.parametrize(
    "claims",
    [{"scp": "openid llmlab:chat"}, {"roles": ["Reader", "llmlab:chat"]},
     {"scope": ["openid", "llmlab:chat"]}, {"scope": "openid", "roles": ["llmlab:chat"]}],
)  # fmt: skip
def test_scopes_are_read_where_identity_providers_put_them(
    gateway: Routed, claims: dict[str, Any]
) -> None:
    assert gateway.ask(**claims).status == 403
    assert gateway.ask(path=f"/models/{THIRD}/summarize/", **claims).status == 403
    assert gateway.ask(path="/v1/models", method="GET", **claims).status == 200


@only_open
@pytest.mark.parametrize(
    "claims",
    [{"scope": "x,llmlab:operator"}, {"roles": ["x llmlab:operator"]},
     {"roles": {"x": " llmlab:operator "}}, {"scp": [{"a": "b,llmlab:operator,c"}]},
     {"roles": [["llmlab:operator"]]}, {"scope": "llmlab:operator\n"}, {"scope": 5},
     {"groups": ["llmlab:operator"]}],
)  # fmt: skip
def test_what_only_reads_like_a_scope_is_none(gateway: Routed, claims: dict[str, Any]) -> None:
    assert gateway.ask(path="/metrics", method="GET", **claims).status == 403
    assert gateway.ask(**claims).status == 200


@both
def test_any_method_needs_the_scope(gateway: Routed) -> None:
    for method in ("PUT", "M-SEARCH", "X_Y", "post"):
        path = f"/models/{THIRD}/summarize/"
        assert gateway.ask(path=path, method=method, scope="llmlab:chat").status in (400, 403)


@both
def test_the_lab_says_what_a_token_without_scopes_may(tmp_path: Path, edition: str) -> None:
    by_name = {"path": f"/models/{THIRD}/summarize/"}
    with opened(tmp_path / "one", edition, default_scopes=(THIRD,)) as gateway:
        assert gateway.ask().status == 403
        assert gateway.ask(**by_name).status == 200
        assert gateway.ask(scope="llmlab:summarize").status == 200
        assert gateway.ask(scope="llmlab:summarize", **by_name).status == 403


@only_open
def test_nothing_may_be_asked_where_the_default_is_nothing(tmp_path: Path, edition: str) -> None:
    with opened(tmp_path / "one", edition, default_scopes=()) as gateway:
        assert gateway.ask().status == 403
        assert gateway.ask(path="/v1/models", method="GET").status == 200
        assert gateway.to(scope="llmlab:*") == STABLE


@only_open
def test_the_gateways_metrics_are_for_operators(gateway: Routed) -> None:
    get = {"path": "/metrics", "method": "GET"}
    assert_problem(gateway.ask(token=None, **get), 401)
    for scope in ("", "llmlab:*", "llmlab:operators", "operator"):
        assert_problem(gateway.ask(scope=scope, **get), 403)
    page = gateway.ask(scope="openid llmlab:operator", **get)
    assert page.status == 200
    assert b"llmlab_gateway_requests_total" in page.body
    # Those of the APIs are for nobody who comes this way.
    for path in (f"/models/{THIRD}/metrics", "/metrics/", "/shadow"):
        reply = gateway.ask(path=path, method="GET", scope="llmlab:operator")
        assert_problem(reply, 404)


def test_a_claim_is_made_of_names_and_of_nothing_else() -> None:
    assert scopes.claim([]) == ""
    assert scopes.claim(["chat", "small-2", "chat"]) == "llmlab:chat llmlab:small-2"
    assert scopes.names("openid llmlab:chat x:llmlab:y llmlab:*") == ["chat", "*"]
    for wrong in ("Chat", "a b", "", "llmlab:chat", "a,b"):
        with pytest.raises(ValueError, match="is no scope"):
            scopes.claim([wrong])


def test_nobody_is_an_operator_by_default() -> None:
    with pytest.raises(ValueError, match="without a token that says so"):
        Auth(default_scopes=["*", "operator"])
