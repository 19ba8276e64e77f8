"""OpenAI's dialect at the gateway: real NGINX in front of deployments that say what they hear.
Which route a request goes by, what the gateway answers itself, and who may ask from a browser."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from llmlab.config import RateLimit
from llmlab.service.events import BROKEN, GIVEN_UP
from llmlab.traffic import Flag, Match, Route, Share, Split, Traffic
from tests.routing import CANARY, STABLE, THIRD, Routed, routed
from tests.summarizing import summarizing
from tests.test_budgets import over
from tests.test_gateway import Reply, assert_problem, headers_of
from tests.test_routes import EDITIONS, SUBJECTS, both

Open = Callable[..., Routed]
CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
NAMES = ["summarize", "chat", "support", STABLE, CANARY, THIRD]
ORIGIN = "https://chat.example.org"
OTHER = "https://evil.example.org"


@pytest.fixture
def start(tmp_path: Path, edition: str) -> Iterator[Open]:
    """Start a gateway of the edition under test: chat is the canary's, support the third's."""
    with contextlib.ExitStack() as stack:
        started = iter(range(100))

        def one(traffic: Traffic = Traffic(), **plan: Any) -> Routed:
            further = {"further": {"chat": CANARY, "support": THIRD}}
            plan = {**EDITIONS[edition], **further, **plan}
            return stack.enter_context(routed(tmp_path / str(next(started)), traffic, **plan))

        yield one


opened = pytest.mark.parametrize("edition", ["open"])


def workers_memory(gateway: Routed) -> int:
    """Bytes that NGINX's workers have."""
    listening = (one for one in psutil.net_connections("tcp") if one.status == "LISTEN")
    pid = next(one.pid for one in listening if one.laddr.port == gateway.port)
    holder = psutil.Process(pid)
    master = holder if holder.children() else holder.parent()
    assert master
    return sum(one.memory_info().rss for one in master.children())


def body(model: object = None, **more: Any) -> bytes:
    named = {} if model is None else {"model": model}
    messages = [{"role": "user", "content": "Hello."}]
    return json.dumps({**named, "messages": messages, **more}).encode()


def assert_refused(reply: Reply, status: int, code: str) -> str:
    """An error as OpenAI's clients read it; gives its message."""
    assert reply.status == status, reply.body
    assert reply.header("Content-Type") == "application/json"
    document = reply.json()
    assert list(document) == ["error"]
    assert set(document["error"]) == {"message", "type", "param", "code"}
    assert document["error"]["code"] == code
    assert reply.header("X-Request-ID")
    return str(document["error"]["message"])


# --- Which names there are -------------------------------------------------------------


@both
@pytest.mark.parametrize("prefix", ["", "/openai"])
def test_models_are_the_routes_and_the_deployments(start: Open, prefix: str) -> None:
    gateway = start()
    reply = gateway.ask(path=f"{prefix}/v1/models", method="GET")
    assert reply.status == 200
    assert reply.header("Content-Type") == "application/json"
    document = reply.json()
    assert document["object"] == "list"
    assert [one["id"] for one in document["data"]] == NAMES
    assert {one["object"] for one in document["data"]} == {"model"}
    for one in document["data"]:
        single = gateway.ask(path=f"{prefix}/v1/models/{one['id']}", method="GET")
        assert (single.status, single.json()) == (200, one)


@both
@pytest.mark.parametrize("name", ["nobody", "SUMMARIZE", "summarize%0a", "summarize%22", "x" * 500])
def test_a_name_that_is_none_is_not_found(start: Open, name: str) -> None:
    reply = start().ask(path=f"/v1/models/{name}", method="GET")
    assert "/v1/models lists those" in assert_refused(reply, 404, "model_not_found")
    assert reply.json()["error"]["param"] == "model"
    assert reply.all("X-Should-Retry") == ["false"]


@both
@pytest.mark.parametrize("prefix", ["", "/openai"])
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/chat"])
def test_names_can_only_be_read(start: Open, prefix: str, path: str) -> None:
    gateway = start()
    for method in ("POST", "DELETE", "PUT"):
        reply = gateway.ask(path=prefix + path, method=method, body=b"{}")
        assert reply.status == 405
        assert reply.all("Allow") == ["GET, HEAD"]
        assert reply.json()["error"]["type"] == "invalid_request_error"
    assert gateway.ask(path=prefix + path, method="HEAD").status == 200


@both
def test_a_name_that_is_both_is_listed_once(start: Open) -> None:
    gateway = start(further={"chat": CANARY, CANARY: THIRD})
    listed = gateway.ask(path="/v1/models", method="GET").json()["data"]
    assert [one["id"] for one in listed] == ["summarize", "chat", CANARY, STABLE, THIRD]


@both
def test_who_has_no_token_learns_no_names(start: Open) -> None:
    gateway = start()
    for path in ("/v1/models", "/v1/models/chat", "/v1/models/nobody", "/openai/v1/models"):
        reply = gateway.ask(path=path, method="GET", token=None)
        assert_refused(reply, 401, "invalid_api_key")
        assert not [name for name in NAMES if name.encode() in reply.body]


# --- Which route a request goes by -----------------------------------------------------


@opened
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS, EMBEDDINGS])
@pytest.mark.parametrize("prefix", ["", "/openai"])
def test_the_model_in_a_body_names_a_route_or_a_deployment(
    start: Open, path: str, prefix: str
) -> None:
    gateway = start()
    ways = {
        "summarize": (STABLE, "stable", "summarize"), "chat": (CANARY, "stable", "chat"),
        "support": (THIRD, "stable", "support"), STABLE: (STABLE, "model", ""),
        CANARY: (CANARY, "model", ""), THIRD: (THIRD, "model", ""),
    }  # fmt: skip
    for name, (deployment, rule, route) in ways.items():
        reply = gateway.ask(path=prefix + path, body=body(name))
        assert reply.header("X-Answered-By") == reply.header("X-Deployment") == deployment
        assert reply.json()["path"] == path  # the API hears it as it is spelled without a prefix
        line = gateway.line(reply)
        assert (line["deployment"], line["rule"], line["route"]) == (deployment, rule, route)
        assert line["endpoint"] == path


@both
@pytest.mark.parametrize(
    "sent",
    [
        body(),
        body(""),
        body("dummy"),
        b'{"model": null}',
        b"",
        b"{",
        b"[1]",
        b'"chat"',
        b"\xff\xfe",
        b"null",
    ],
)
def test_a_body_that_names_no_model_goes_by_the_route_chat(start: Open, sent: bytes) -> None:
    """What is wrong with it, the API says."""
    gateway = start()
    reply = gateway.ask(path=CHAT, body=sent)
    assert reply.header("X-Answered-By") == CANARY
    assert gateway.line(reply)["route"] == "chat"


@both
def test_without_a_route_chat_it_goes_by_summarize(start: Open) -> None:
    gateway = start(further={})
    reply = gateway.ask(path=CHAT, body=body())
    assert reply.header("X-Answered-By") == STABLE
    assert gateway.line(reply)["route"] == "summarize"


@opened
@pytest.mark.parametrize(
    ("model", "said"),
    [("gpt-4o", "gpt-4o"), ("Chat", "Chat"), ("chat ", "chat "), ('a"b\\', 'a"b\\'),
     ("Jürgen 東京", "Jürgen 東京"), ("x" * 500, "x" * 100), (42, "number"), (True, "boolean"),
     (["chat"], "object")],
)  # fmt: skip
def test_a_model_that_is_none_is_told_which_there_are(
    start: Open, model: object, said: str
) -> None:
    gateway = start()
    reply = gateway.ask(path=CHAT, body=body(model))
    message = assert_refused(reply, 404, "model_not_found")
    assert reply.all("X-Should-Retry") == ["false"]
    assert message == f"The model '{said}' does not exist; there are: {', '.join(NAMES)}."
    line = gateway.line(reply)
    assert (line["status"], line["deployment"], line["rule"], line["route"]) == (404, "", "", "")


@pytest.mark.parametrize("edition", ["plus"])
def test_without_a_script_every_such_request_goes_by_chat(start: Open) -> None:
    gateway = start()
    for model in ("support", "gpt-4o", STABLE):
        reply = gateway.ask(path=CHAT, body=body(model))
        assert reply.header("X-Answered-By") == CANARY
        assert gateway.line(reply)["route"] == "chat"


@both
def test_a_deployments_own_address_and_x_model_lead_to_it_whatever_the_body_says(
    start: Open,
) -> None:
    gateway = start()
    reply = gateway.ask(path=f"/models/{THIRD}{CHAT}", body=body("chat"))
    assert (reply.header("X-Answered-By"), reply.json()["path"]) == (THIRD, CHAT)
    assert gateway.line(reply)["rule"] == "model"
    reply = gateway.ask(("X-Model", STABLE), path=CHAT, body=body("chat"))
    assert reply.header("X-Answered-By") == STABLE
    assert gateway.line(reply)["rule"] == "header"
    unknown = gateway.ask(("X-Model", "nobody"), path=CHAT, body=body("chat"))
    assert "X-Model" in assert_refused(unknown, 404, "model_not_found")


@opened
def test_a_large_body_arrives_whole(start: Open) -> None:
    gateway = start()
    sent = body("support", padding="x" * 1_000_000)
    reply = gateway.ask(path=CHAT, body=sent)
    assert reply.header("X-Answered-By") == THIRD
    assert headers_of(reply)["content-length"] == [str(len(sent))]


# --- Shares of a route -----------------------------------------------------------------


@opened
@pytest.mark.parametrize("first", [True, False])
def test_a_large_body_is_not_made_into_a_document_that_fills_the_gateway(
    start: Open, first: bool
) -> None:
    gateway = start()
    named = f'"model":"{CANARY}"'
    told = f'said \\"model\\":\\"{THIRD}\\"'  # within a text: no key
    rest = f'"messages":[{{"role":"user","content":"{told}"}}]'
    many = '"x":[' + ",".join(["[]"] * 300_000) + "]"
    sent = "{" + ",".join([named, rest, many] if first else [rest, many, named]) + "}"
    before = workers_memory(gateway)
    reply = gateway.ask(path=CHAT, body=sent.encode())
    assert reply.header("X-Deployment") == CANARY
    assert workers_memory(gateway) - before < 16 << 20


@opened
@pytest.mark.parametrize("piece", ['"model":"a",', '"model",', '"model":"', '\u00e4"model":'])
def test_a_body_that_names_models_without_end_keeps_no_worker_busy(start: Open, piece: str) -> None:
    gateway = start()
    size = 1_000_000 // len(piece.encode())
    # Read without a bound, it took a minute; the client here waits for 20 s.
    reply = gateway.ask(path=CHAT, body=(piece * size).encode())
    assert reply.status in (200, 404)


def on_chat(**route: Any) -> Traffic:
    return Traffic(revision=5).with_route("chat", Route(**route))


def sides(gateway: Routed, model: str, subjects: list[str]) -> dict[str, str]:
    with contextlib.closing(gateway.connection()) as connection:
        return {
            sub: gateway.on(connection, path=CHAT, body=body(model), sub=sub).header(
                "X-Answered-By"
            )
            for sub in subjects
        }


@opened
def test_a_split_of_a_route_moves_its_own_requests_and_no_others(start: Open) -> None:
    gateway = start(on_chat(split=Split((Share(THIRD, 25),), salt="rollout-4")))
    some = SUBJECTS[:600]
    of_chat = sides(gateway, "chat", some)
    assert set(of_chat.values()) == {CANARY, THIRD}
    assert 19 < 100 * list(of_chat.values()).count(THIRD) / len(some) < 31
    assert sides(gateway, "chat", some[:200]) == {sub: of_chat[sub] for sub in some[:200]}
    assert set(sides(gateway, "summarize", some[:50]).values()) == {STABLE}
    assert set(gateway.sides(some[:50]).values()) == {STABLE}
    moved = next(sub for sub in some if of_chat[sub] == THIRD)
    line = gateway.line(gateway.ask(path=CHAT, body=body("chat"), sub=moved))
    assert (line["rule"], line["route"], line["revision"]) == ("split", "chat", 5)


@both
def test_each_route_has_its_own_shares(start: Open) -> None:
    half = Split((Share(THIRD, 50),), salt="rollout-1")
    traffic = summarizing(split=half).with_route(
        "chat", Route(split=Split((Share(THIRD, 50),), salt="rollout-2"))
    )
    gateway = start(traffic)
    some = SUBJECTS[:300]
    of_summarize, of_chat = gateway.sides(some), sides(gateway, "chat", some)
    assert set(of_summarize.values()) == {STABLE, THIRD}
    assert set(of_chat.values()) == {CANARY, THIRD}
    same = sum((of_summarize[sub] == THIRD) == (of_chat[sub] == THIRD) for sub in some)
    assert 110 < same < 190, "who is first on one route is not first on the other"


@opened
def test_two_splits_by_different_claims_do_not_get_mixed_up(start: Open) -> None:
    traffic = summarizing(split=Split((Share(THIRD, 50),), by="claim:team")).with_route(
        "chat", Route(split=Split((Share(THIRD, 50),), by="claim:city"))
    )
    gateway = start(traffic)
    for path, by, other in (("/summarize/", "team", "city"), (CHAT, "city", "team")):
        for value in "abcdef":
            there = {
                gateway.to(path=path, body=body("chat"), sub=sub, **{by: value, other: sub})
                for sub in "klm"
            }
            assert len(there) == 1, (path, value)


@both
def test_a_promoted_deployment_answers_for_its_route_alone(start: Open) -> None:
    gateway = start(further={"chat": THIRD, "support": THIRD})
    assert gateway.to(path=CHAT, body=body()) == THIRD
    assert gateway.to() == STABLE


@opened
def test_matches_and_flags_are_those_of_their_route(start: Open) -> None:
    traffic = Traffic(
        flags=(Flag("beta", audience=(("sub", "quotes"),), deployment=STABLE, route="chat"),)
    ).with_route("support", Route(matches=(Match("claim", "tenant", "acme", CANARY),)))
    gateway = start(traffic)
    assert gateway.to(path=CHAT, body=body("chat"), sub="quotes") == STABLE
    assert gateway.to(path=CHAT, body=body("support"), sub="quotes") == THIRD
    assert gateway.to(path=CHAT, body=body("support"), tenant="acme") == CANARY
    assert gateway.to(path=CHAT, body=body("chat"), tenant="acme") == CANARY
    assert gateway.to(tenant="acme", sub="quotes") == STABLE


# --- What the API is told --------------------------------------------------------------


@opened
def test_the_api_is_told_the_route(start: Open) -> None:
    gateway = start()
    for model in ("chat", "support", "summarize", THIRD):
        heard = headers_of(gateway.ask(path=CHAT, body=body(model)))
        assert heard["x-route"] == [model]
    assert headers_of(gateway.ask(path=CHAT, body=body()))["x-route"] == ["chat"]


@both
def test_who_names_a_deployment_in_a_header_asks_no_route_whatever_the_body_says(
    start: Open,
) -> None:
    gateway = start()
    for model in ("chat", "support", None):
        reply = gateway.ask(("X-Model", THIRD), path=CHAT, body=body(model))
        assert (reply.status, headers_of(reply).get("x-route", [])) == (200, [])


@both
def test_what_a_client_claims_of_the_route_does_not_reach_the_api(start: Open) -> None:
    gateway = start()
    for name in ("X-Route", "x-route", "X_Route"):
        for path in ("/summarize/", CHAT, f"/models/{THIRD}{CHAT}", "/health"):
            method = "GET" if path == "/health" else "POST"
            reply = gateway.ask((name, "forged"), path=path, body=body(), method=method)
            assert reply.status == 200
            assert b"forged" not in reply.body
            told = headers_of(reply).get("x-route", [])
            assert told == (["chat"] if path == CHAT else [])


@both
def test_how_often_a_client_s_library_has_tried_before_is_in_the_log(start: Open) -> None:
    gateway = start()
    for said, noted in {"0": 0, "2": 2, '1","status":"500': 0, "-1": 0, "1e9": 0}.items():
        reply = gateway.ask(("x-stainless-retry-count", said), path=CHAT, body=body())
        assert gateway.line(reply)["retry"] == noted
    assert gateway.line(gateway.ask(path=CHAT, body=body()))["retry"] == 0


TOLD = b'data: {"choices":[{"delta":{"content":"\\n: broken off\\n"}}]}\n\n'
FAILURE = BROKEN.encode() + b'data: {"error":{"message":"gone"}}\n\n'
CUT = len(TOLD) + 9  # within the comment


@opened
@pytest.mark.parametrize("path", ["/summarize/", CHAT])
@pytest.mark.parametrize(
    ("pieces", "broken"),
    [([TOLD, FAILURE], 1), ([TOLD + FAILURE], 1), ([FAILURE], 1),
     ([(TOLD + FAILURE)[:CUT], (TOLD + FAILURE)[CUT:]], 1),
     ([TOLD, b":", b" broken", b" off\n", b"\n"], 1), ([TOLD, TOLD], 0),
     ([TOLD, GIVEN_UP.encode()], 2)],
    ids=["an event", "together", "at once", "in two", "in many", "never", "given up"],
)  # fmt: skip
def test_a_stream_that_its_model_broke_off_is_so_in_the_log(
    start: Open, path: str, pieces: list[bytes], broken: int
) -> None:
    gateway = start()
    for one in gateway.deployments.values():
        one.stream = pieces
    reply = gateway.ask(path=path, body=body())
    assert (reply.status, reply.body) == (200, b"".join(pieces))
    assert gateway.line(reply)["broken"] == broken


@both
def test_an_answer_that_is_no_stream_is_never_broken_off(start: Open) -> None:
    gateway = start()
    assert gateway.line(gateway.ask(path="/summarize/"))["broken"] == 0


# --- What an answer was like -----------------------------------------------------------

LIKE = "first:412,gap:96,writing:2310,tokens:87,cut:0,refused:0,invalid:-"
UNLIKE = ["", f"{LIKE}0", f"{LIKE} ", f"x{LIKE}", LIKE.replace("412", "99999999"), "a" * 1000,
          LIKE.replace("cut:0", "cut:2"), LIKE.replace("412", "-1"), '","status":"500']  # fmt: skip


@both
def test_what_an_api_says_of_its_answer_is_in_the_log_and_goes_no_further(start: Open) -> None:
    gateway = start()
    for said in (LIKE, *UNLIKE):
        gateway.deployments[CANARY].answer = said
        reply = gateway.ask(path=CHAT, body=body())
        assert (reply.status, reply.all("X-Answer")) == (200, [])
        assert gateway.line(reply)["answer"] == (LIKE if said.strip() == LIKE else "")


@opened
def test_of_a_stream_it_says_so_at_the_desk_for_settlements(start: Open, tmp_path: Path) -> None:
    desk = tmp_path / "desk"
    gateway = start(settlements=f"unix:{desk}")
    one = gateway.deployments[CANARY]
    one.stream = [TOLD, b"data: [DONE]\n\n"]
    for said in (LIKE, *UNLIKE):

        def tell(number: str, said: str = said) -> None:
            asked = urlencode({"id": number, "in": 3, "out": 4, "by": CANARY, "answer": said})
            assert over(desk, "POST", f"/settlements?{asked}")[0] == 204

        one.ends = tell
        reply = gateway.ask(path=CHAT, body=body())
        assert reply.body == b"".join(one.stream)
        line = gateway.line(reply)
        assert (line["answer"], line["tokens_out"]) == (LIKE if said == LIKE else "", 4)


# --- When the gateway says no ----------------------------------------------------------

OF_OPENAI = [CHAT, f"/openai{CHAT}", f"/models/{THIRD}{CHAT}"]


@both
@pytest.mark.parametrize("path", OF_OPENAI)
def test_without_a_token_the_error_is_one_of_openais(start: Open, path: str) -> None:
    gateway = start()
    for token in (None, "a.b.c"):
        reply = gateway.ask(path=path, body=body(), token=token)
        assert "Authorization: Bearer" in assert_refused(reply, 401, "invalid_api_key")
        assert reply.json()["error"]["type"] == "invalid_request_error"
        assert reply.header("WWW-Authenticate").startswith('Bearer realm="LLM API"')
        assert reply.header("X-Should-Retry") == "false"
    assert_problem(gateway.ask(token=None), 401)


@both
@pytest.mark.parametrize("path", OF_OPENAI)
def test_a_body_that_is_too_large_is_refused(start: Open, path: str) -> None:
    gateway = start(max_body="1k")
    reply = gateway.ask(path=path, body=body(padding="x" * 2000))
    assert "1k (gateway.max_body)" in assert_refused(reply, 413, "request_too_large")
    assert reply.header("X-Should-Retry") == "false"
    assert_problem(gateway.ask(body=body(padding="x" * 2000)), 413)


@both
def test_above_the_rate_limit_a_client_is_to_try_again(start: Open) -> None:
    gateway = start(rate_limit=RateLimit(rate="1r/m", burst=0))
    for path in OF_OPENAI:
        assert gateway.ask(path=path, body=body(), sub=path).status == 200
        reply = gateway.ask(path=path, body=body(), sub=path)
        assert "rate limit" in assert_refused(reply, 429, "rate_limit_exceeded")
        assert reply.json()["error"]["type"] == "rate_limit_error"
        assert (reply.header("X-Should-Retry"), reply.header("Retry-After")) == ("true", "60")
        assert reply.header("RateLimit-Policy")
    assert_problem(gateway.ask(sub=CHAT), 429)


@both
@pytest.mark.parametrize("path", OF_OPENAI)
def test_an_api_that_is_away_is_worth_another_try(start: Open, path: str) -> None:
    gateway = start(further={"chat": THIRD})
    gateway.deployments[THIRD].socket.unlink()
    reply = gateway.ask(path=path, body=body())
    assert_refused(reply, 502, "bad_gateway")
    assert reply.json()["error"]["type"] == "server_error"
    assert (reply.header("X-Should-Retry"), reply.header("Retry-After")) == ("true", "1")
    assert reply.header("X-Deployment") == THIRD
    problem = assert_problem(gateway.ask(path=f"/models/{THIRD}/summarize/"), 502)
    assert "not answering" in problem["detail"]


@both
def test_an_api_that_broke_off_is_not_asked_again_by_the_client(start: Open) -> None:
    """Nobody knows whether it was worked on."""
    gateway = start()
    gateway.deployments[CANARY].breaks.set()
    reply = gateway.ask(path=CHAT, body=body())
    assert "broke off" in assert_refused(reply, 502, "bad_gateway")
    assert reply.header("X-Should-Retry") == "false"
    assert reply.all("Retry-After") == []


@both
@pytest.mark.parametrize(
    "path", ["/v1/", "/v1/chat", "/v1/responses", "/v1/messages", "/openai/v1/files"]
)
def test_an_address_of_openais_that_is_none_is_not_found_and_told_which_there_are(
    start: Open, path: str
) -> None:
    gateway = start()
    for method in ("GET", "POST"):
        reply = gateway.ask(path=path, method=method, body=body("chat"))
        message = assert_refused(reply, 404, "unknown_url")
        assert message == (
            "There is nothing at this address. Of OpenAI's API there are /v1/models, "
            "/v1/chat/completions, /v1/completions and /v1/embeddings."
        )
        assert reply.json()["error"]["param"] is None
        assert reply.all("X-Should-Retry") == ["false"]
    assert_refused(gateway.ask(path=path, token=None), 401, "invalid_api_key")


# --- From a browser --------------------------------------------------------------------

ASKED = [
    ("Origin", ORIGIN),
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "authorization,content-type"),
]
CORS = ["Access-Control-Allow-Origin", "Access-Control-Allow-Methods",
        "Access-Control-Allow-Headers", "Access-Control-Max-Age",
        "Access-Control-Expose-Headers"]  # fmt: skip


@both
@pytest.mark.parametrize("path", [CHAT, "/openai/v1/models", "/summarize/", "/models/third/"])
def test_a_page_of_a_configured_origin_may_ask_first_without_a_token(
    start: Open, path: str
) -> None:
    gateway = start(cors_origins=(ORIGIN, "http://localhost:3000"))
    reply = gateway.ask(*ASKED, path=path, method="OPTIONS", token=None)
    assert (reply.status, reply.body) == (204, b"")
    assert [reply.header(name) for name in CORS[:4]] == [
        ORIGIN, "GET, POST", "authorization,content-type", "600",
    ]  # fmt: skip
    assert reply.header("Vary") == "Origin"
    assert reply.all("X-Answered-By") == []


@both
@pytest.mark.parametrize("origin", [OTHER, f"{ORIGIN}.evil.example", f"{ORIGIN}:8080", "null",
                                    "http://chat.example.org", f"x{ORIGIN}"])  # fmt: skip
def test_a_page_of_another_origin_is_told_nothing(start: Open, origin: str) -> None:
    gateway = start(cors_origins=(ORIGIN,))
    asked = [("Origin", origin), *ASKED[1:]]
    for reply in (
        gateway.ask(*asked, path=CHAT, method="OPTIONS", token=None),
        gateway.ask(("Origin", origin), path=CHAT, body=body()),
    ):
        assert [reply.all(name) for name in CORS] == [[]] * len(CORS)
        assert reply.header("Vary") == "Origin"
    assert_refused(gateway.ask(*asked, path=CHAT, method="OPTIONS", token=None), 401,
                   "invalid_api_key")  # fmt: skip


@both
def test_whatever_the_answer_is_a_page_may_read_it(start: Open) -> None:
    gateway = start(cors_origins=(ORIGIN,), rate_limit=RateLimit(rate="1r/m", burst=8))
    gateway.deployments[THIRD].socket.unlink()
    origin = ("Origin", ORIGIN)
    answers = {
        200: gateway.ask(origin, path=CHAT, body=body()),
        401: gateway.ask(origin, path=CHAT, token=None),
        404: gateway.ask(origin, path="/v1/nothing"),
        502: gateway.ask(origin, path=f"/models/{THIRD}/summarize/"),
    }
    with contextlib.closing(gateway.connection()) as connection:
        while (last := gateway.on(connection, origin, path=CHAT, body=body())).status == 200:
            pass
    answers[429] = last
    for status, reply in answers.items():
        assert reply.status == status
        assert reply.header("Access-Control-Allow-Origin") == ORIGIN
        assert "X-Request-ID" in reply.header("Access-Control-Expose-Headers")
        assert reply.header("Vary") == "Origin"


@both
def test_a_request_that_only_looks_like_a_question_needs_a_token(start: Open) -> None:
    gateway = start(cors_origins=(ORIGIN,))
    for headers in ([ASKED[0]], [ASKED[1]], []):
        reply = gateway.ask(*headers, path="/summarize/", method="OPTIONS", token=None)
        assert reply.status == 401


@both
def test_where_no_origin_is_configured_no_page_may_ask(start: Open) -> None:
    gateway = start()
    reply = gateway.ask(*ASKED, path=CHAT, method="OPTIONS", token=None)
    assert reply.status == 401
    assert [reply.all(name) for name in [*CORS, "Vary"]] == [[]] * (len(CORS) + 1)
