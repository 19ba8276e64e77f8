"""Budgets at the gateway: real NGINX in front of deployments that say what they have used."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Model
from llmlab.config.budgets import Budget, Price
from llmlab.errors import ConfigError
from llmlab.gateway import render
from llmlab.gateway.budgets import data
from llmlab.traffic import Traffic
from tests.routing import CANARY, STABLE, THIRD, Deployment, Routed, routed
from tests.test_gateway import Reply, assert_problem
from tests.test_gateway_rendering import ONE_MODEL, PLUS_PLANS

CHAT = "/v1/chat/completions"
PRICED = Model(runtime="openai", base_url="http://x/v1", model="m", context=4096,
               price=Price(input=0.5, output=2.0))  # fmt: skip
BUDGETS = (
    Budget(tokens_per_minute=100_000, requests_per_day=50),
    Budget(name="small", who=["burst", "thrifty"], tokens_per_minute=1000),
    Budget(name="teams", by="claim:team", who=["red", ""], requests_per_minute=3),
    Budget(name="money", who=["rich"], money_per_month=0.001, currency="EUR"),
    Budget(name="trial", who=["watched"], tokens_per_day=10, shadow=True),
)


@dataclass
class Counting:
    """A gateway with budgets, and the socket where an API settles."""

    gateway: Routed
    desk: Path

    def chat(self, sub: str, *, size: int = 30, path: str = CHAT, **more: Any) -> Reply:
        said = {"messages": [{"role": "user", "content": "x" * size}], "max_tokens": 60, **more}
        claims = {"team": said.pop("team")} if "team" in said else {"team": "blue"}
        return self.gateway.ask(path=path, body=json.dumps(said).encode(), sub=sub, **claims)

    def left(self, sub: str) -> int:
        """Tokens that are left of the tightest budget, before a request that asks for nothing."""
        body = b"{}"
        reply = self.gateway.ask(path="/v1/embeddings", body=body, sub=sub, team="blue")
        return int(reply.header("x-ratelimit-remaining-tokens")) + 1  # of two bytes

    def settle(self, **said: str) -> int:
        query = "&".join(f"{name}={value}" for name, value in said.items())
        with contextlib.closing(http.client.HTTPConnection("gateway")) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(str(self.desk))
            connection.request("POST", f"/settlements?{query}")
            return connection.getresponse().status

    @property
    def canary(self) -> Deployment:
        return self.gateway.deployments[CANARY]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    folder = tmp_path_factory.mktemp("budgets")
    desk = folder / "desk.sock"
    more = {"budgets": BUDGETS, "further": {"chat": CANARY}, "settlements": f"unix:{desk}"}
    with routed(folder / "gateway", Traffic(), models={CANARY: PRICED}, **more) as gateway:
        yield Counting(gateway, desk)


@pytest.fixture(autouse=True)
def says_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "counting" in request.fixturenames:
        canary = request.getfixturevalue("counting").canary
        canary.usage = ""
        canary.breaks.clear()


# --- How much is let in ----------------------------------------------------------------


def test_of_a_burst_of_32_those_are_let_in_that_fit_and_each_is_settled_to_the_token(
    counting: Counting,
) -> None:
    reserved = -(-len(json.dumps({"messages": [{"role": "user", "content": "x" * 30}],
                                  "max_tokens": 60})) // 3) + 60  # fmt: skip
    fitting = 1000 // reserved
    assert fitting == 10
    with ThreadPoolExecutor(32) as pool:
        replies = list(pool.map(lambda _: counting.chat("burst"), range(32)))
    passed = [one for one in replies if one.status == 200]
    refused = [one for one in replies if one.status == 429]
    assert len(passed) + len(refused) == 32
    assert len(passed) in (fitting, fitting - 1)  # one that would fit may meet one that does not
    # Nothing was said of what they used, so all that was reserved stands.
    assert counting.left("burst") == 1000 - len(passed) * reserved
    counting.canary.usage = "7 5"
    before = counting.left("burst") - 12  # which settles as 12 itself
    assert counting.left("burst") == before


def test_what_does_not_fit_is_refused_before_the_model_is_asked(counting: Counting) -> None:
    asked = len(counting.canary.settlements)
    reply = counting.chat("thrifty", max_tokens=990)
    assert len(counting.canary.settlements) == asked
    assert reply.status == 429
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert error["message"].startswith(
        "The budget small (tokens_per_minute) has no room for this request: limit 1000, used 0, "
        "this one up to 1022 tokens."
    )
    # Waiting is of no use to one that is larger than the whole of it.
    assert reply.all("Retry-After") == []
    assert reply.all("X-Should-Retry") == ["false"]
    assert reply.header("x-ratelimit-remaining-tokens") == "1000"


def test_when_there_is_room_again_is_told_truly(counting: Counting) -> None:
    counting.chat("thrifty", max_tokens=900)
    reply = counting.chat("thrifty", max_tokens=900)
    if reply.status == 200:  # a new minute has begun in between
        reply = counting.chat("thrifty", max_tokens=900)
    assert reply.status == 429
    seconds = int(reply.header("Retry-After"))
    assert 1 <= seconds <= 60
    resets = reply.header("x-ratelimit-reset-tokens")
    assert resets in (f"{seconds}s", "1m0s") or resets.endswith("ms")
    assert reply.header("X-Should-Retry") == "true"
    plain = counting.gateway.ask(body=b'{"text": "' + b"x" * 2000 + b'"}', sub="thrifty")
    assert "The budget small" in assert_problem(plain, 429)["detail"]
    assert "at any time" in plain.json()["detail"]
    assert (plain.all("Retry-After"), plain.all("X-Should-Retry")) == ([], ["false"])


def test_requests_are_counted_by_claim_and_tokens_without_it_share_one(counting: Counting) -> None:
    for team in ("red", ""):
        claims = {"team": team} if team else {"team": None}
        subjects = [f"{team}-{number}" for number in range(4)]
        asked = [counting.gateway.ask(path=CHAT, body=b"{}", sub=sub, **claims) for sub in subjects]
        assert [one.status for one in asked] == [200, 200, 200, 429], team
        assert asked[0].header("x-ratelimit-remaining-requests") == "2"
        assert asked[3].json()["error"]["type"] == "requests"
    assert counting.chat("anybody", team="green").status == 200


def test_money_is_that_of_the_deployment_that_is_asked(counting: Counting) -> None:
    counting.canary.usage = "100 300"  # 50 + 600 millionths
    assert counting.chat("rich").status == 200
    reply = counting.chat("rich", max_tokens=400)  # up to 814 more
    assert reply.status == 429
    assert reply.json()["error"]["code"] == "insufficient_quota"
    assert "limit 1000, used 650" in reply.json()["error"]["message"]
    assert "millionths of EUR" in reply.json()["error"]["message"]
    assert counting.chat("rich", path=f"/models/{STABLE}{CHAT}").status == 200  # which is free


def test_a_shadow_refuses_nobody_and_says_whom_it_would_have(counting: Counting) -> None:
    reply = counting.chat("watched")
    assert reply.status == 200
    assert counting.gateway.line(reply)["over"] == "trial tokens_per_day"


@pytest.mark.parametrize(
    ("body", "path", "written"),
    [
        ({"messages": []}, CHAT, 4096),  # the context of the model
        ({"messages": [], "max_tokens": 9000}, CHAT, 9000),  # elsewhere there may be more
        ({"messages": [], "max_tokens": 5, "max_completion_tokens": 7}, CHAT, 7),
        ({"messages": [], "max_tokens": 5, "n": 3}, CHAT, 15),
        ({"prompt": ["a", "b"], "max_tokens": 5, "n": 3}, "/v1/completions", 30),
        ({"prompt": [1, 2, 3], "max_tokens": 5}, "/v1/completions", 5),
        ({"input": "a"}, "/v1/embeddings", 0),
        ({"messages": [], "max_tokens": -5, "n": 0}, CHAT, 4096),
        ({"messages": [], "max_tokens": "5"}, CHAT, 4096),
        ({"text": "a", "max_length": 9}, f"/models/{CANARY}/summarize/", 9),
        ({"text": "a"}, f"/models/{CANARY}/summarize/", 100),
        ({"prompt": "a", "max_completion_tokens": 1}, "/v1/completions", 4096),
        # What means nothing at an address makes no room there.
        ({"messages": [], "max_length": 1, "parameters": {"max_length": 1}}, CHAT, 4096),
        ({"text": "a", "max_tokens": 1}, f"/models/{CANARY}/summarize/", 100),
        ({"text": "a b " * 3000}, f"/models/{CANARY}/summarize/", 100 + 4004 + 2002),
        ({"inputs": ["a", "b"], "parameters": {"max_new_tokens": 9}}, f"/models/{CANARY}/", 18),
        # Too large to be read as JSON: the most that any part of it says.
        ({"messages": [], "max_tokens": 5, "x": "y" * 70_000}, CHAT, 4096),
    ],
)
def test_a_request_reserves_its_body_and_all_that_it_may_have_written(
    counting: Counting, body: dict[str, Any], path: str, written: int
) -> None:
    counting.canary.usage = "0 0"
    text = json.dumps(body).encode()
    sub = f"reserves-{abs(hash((path, text)))}"
    reply = counting.gateway.ask(path=path, body=text, sub=sub, team="blue")
    left = int(reply.header("x-ratelimit-remaining-tokens"))
    assert 100_000 - left == -(-len(text) // 3) + written


def test_a_picture_counts_as_one_whatever_its_bytes(counting: Counting) -> None:
    content = [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 60_000}}]
    said = {"messages": [{"role": "user", "content": content}], "max_tokens": 1}
    reply = counting.gateway.ask(path=CHAT, body=json.dumps(said).encode(), sub="pictures",
                                 team="blue")  # fmt: skip
    left = int(reply.header("x-ratelimit-remaining-tokens"))
    assert 1500 < 100_000 - left < 1600


# --- What it comes to ----------------------------------------------------------------------


def reserved(counting: Counting, sub: str) -> tuple[int, int]:
    """(tokens of the prompt, of the answer) that `chat` reserves."""
    line = counting.gateway.line(counting.chat(sub))
    assert line["settled"] == 0
    return line["tokens_in"], line["tokens_out"]


@pytest.mark.parametrize(
    ("said", "read", "written", "settled"),
    [
        ("3 4", 3, 4, 1),
        ("500 900", 500, 900, 1),  # more than was reserved counts as well
        ("0 0", 0, 0, 1),
        ("- 4", None, 4, 0),
        ("3 -", 3, None, 0),
        ("- -", None, None, 0),
        ("3 <9", 3, 9, 0),
        ("3 <9999", 3, None, 0),  # bounded by what it was let to write
        ("", None, None, 0),
        ("rubbish", None, None, 0),
        ("-3 4", None, None, 0),
    ],
)
def test_what_an_api_says_takes_the_place_of_what_was_reserved(
    counting: Counting, said: str, read: int | None, written: int | None, settled: int
) -> None:
    sub = f"settles-{said.replace(' ', '-') or 'nothing'}"
    expected = reserved(counting, f"{sub}-before")
    before = counting.left(sub)
    counting.canary.usage = said
    reply = counting.chat(sub)
    counting.canary.usage = "0 0"
    assert reply.all("X-Usage") == []
    line = counting.gateway.line(reply)
    wanted = [expected[0] if read is None else read, expected[1] if written is None else written]
    assert [line["tokens_in"], line["tokens_out"], line["settled"]] == [*wanted, settled]
    assert counting.left(sub) == before - 1 - sum(wanted)  # and the one that asked `before`


def test_what_breaks_off_or_says_nothing_stays_reserved(counting: Counting) -> None:
    counting.canary.breaks.set()
    reply = counting.chat("broken")
    assert reply.status == 502
    line = counting.gateway.line(reply)
    assert (line["settled"], line["tokens_out"]) == (0, 60)


def test_an_api_settles_later_once_and_the_log_says_the_difference(counting: Counting) -> None:
    line = counting.gateway.line(counting.chat("later"))
    number = counting.canary.settlements[-1]
    assert re.fullmatch(r"[0-9a-f]{32}", number)
    said = {"id": number, "in": "3", "out": "4", "by": CANARY}
    assert counting.settle(**{**said, "in": "x"}) == 400
    assert counting.settle(**{**said, "by": "a.b"}) == 400
    used = 100_000 - counting.left("later")
    assert counting.settle(**said) == 204
    assert 100_000 - counting.left("later") == used + 1 - 85  # 92 were reserved, 7 are used
    # Valid once: an id that was settled, or never given, settles nothing.
    used = 100_000 - counting.left("later")
    for number in (said["id"], "0" * 32):
        counting.settle(**{**said, "id": number, "in": "99999"})
        assert counting.settle(**{**said, "id": number, "in": "99999"}) == 410
    assert 100_000 - counting.left("later") == used + 1
    late = next(
        json.loads(one) for one in counting.gateway.log.read_text().splitlines()
        if f'"settles":"{line["request_id"]}"' in one
    )  # fmt: skip
    assert line["tokens_in"] + late["tokens_in"] == 3
    assert line["tokens_out"] + late["tokens_out"] == 4
    assert line["cost"] + late["cost"] == 10  # 1.5 + 8, rounded up
    assert (late["subject"], late["deployment"], late["settled"]) == ("later", CANARY, 1)


def test_each_request_to_a_model_has_an_id_of_its_own_that_no_client_chooses(
    counting: Counting,
) -> None:
    body = b'{"messages": [], "max_tokens": 1}'
    for _ in range(3):
        counting.gateway.ask(("X-Settlement", "0" * 32), path=CHAT, body=body, sub="ids",
                             team="blue")  # fmt: skip
    ids = counting.canary.settlements[-3:]
    assert len(set(ids)) == 3
    assert "0" * 32 not in ids


# --- Where it cannot be -----------------------------------------------------------------------


def test_the_edition_without_scripts_refuses_budgets() -> None:
    with pytest.raises(ConfigError, match="njs"):
        render(replace(PLUS_PLANS["plus"], budgets=BUDGETS[:1]))


def test_without_budgets_nothing_looks_at_a_request() -> None:
    files = render(ONE_MODEL)
    assert "js_access" not in "".join(files[name] for name in files if name.endswith(".conf"))
    assert data(ONE_MODEL)["budgets"] == []
    assert THIRD not in data(ONE_MODEL)["models"]
