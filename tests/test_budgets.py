"""Budgets at the gateway: real NGINX in front of deployments that say what they have used."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmlab.config import Model
from llmlab.config.budgets import Budget, Price
from llmlab.errors import ConfigError
from llmlab.gateway import render
from llmlab.gateway.budgets import data
from llmlab.traffic import Flag, Route, Shadow, Traffic
from tests.conftest import wait_until
from tests.routing import CANARY, STABLE, THIRD, Deployment, Routed, routed
from tests.test_gateway import Reply, assert_problem
from tests.test_gateway_rendering import ONE_MODEL, PLUS_PLANS

CHAT = "/v1/chat/completions"
SUMMARIZE = f"/models/{CANARY}/summarize/"
PLENTY = 10**12  # tokens
LARGE = "y" * 70_000
DEEP: Any = []
for _ in range(40):
    DEEP = [DEEP]
MIDNIGHT = 1000 * (int(time.time()) // 86_400) * 86_400
# Keys of counts are told apart by line ends: the first would be one more, of somebody else.
ODD_TEAMS = (f"x\nsubject tokens_per_day {MIDNIGHT} mallory", f"x\n{'y' * 400}", "red\n")
PRICED = Model(runtime="openai", base_url="http://x/v1", model="m", context=4096,
               price=Price(input=0.5, output=2.0))  # fmt: skip
BUDGETS = (
    # By the day where sums are looked at: a minute may end in between.
    Budget(tokens_per_day=PLENTY, requests_per_day=50),
    Budget(name="bursts", who=["burst"], tokens_per_day=1000),
    Budget(name="small", who=["thrifty"], tokens_per_minute=1000),
    Budget(name="teams", by="claim:team", who=["red", ""], requests_per_day=3),
    Budget(name="money", who=["rich"], money_per_month=0.001, currency="EUR"),
    Budget(name="crowds", by="claim:team", who=[*ODD_TEAMS], tokens_per_day=PLENTY),
    Budget(name="trial", who=["watched"], tokens_per_day=10, shadow=True),
)


def over(place: Path, method: str, path: str) -> tuple[int, str]:
    """Status and body of what the gateway answers on a socket of its own."""
    with contextlib.closing(http.client.HTTPConnection("gateway")) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(place))
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


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
        return over(self.desk, "POST", f"/settlements?{query}")[0]

    def written(self) -> float:
        """Tokens that the canary has written, as Prometheus hears it."""
        page = over(self.desk.with_suffix(".metrics"), "GET", "/metrics")[1]
        counted = f'deployment="{CANARY}",direction="output"}}'
        found = [one for one in page.splitlines() if counted in one]
        return sum(float(one.rpartition(" ")[2]) for one in found)

    @property
    def canary(self) -> Deployment:
        return self.gateway.deployments[CANARY]


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    folder = tmp_path_factory.mktemp("budgets")
    desk = folder / "desk.sock"
    more: dict[str, Any] = {"budgets": BUDGETS, "further": {"chat": CANARY},
                            "settlements": f"unix:{desk}"}  # fmt: skip
    models = {CANARY: PRICED, THIRD: PRICED.model_copy(update={"price": Price(input=5, output=20)})}
    wordy = Flag("wordy", audience=(("team", "wordy"),), decoding={"max_length": 700})
    shadow = Route(shadow=Shadow(deployment=THIRD, percent=100))
    traffic = Traffic(routes={"summarize": shadow}, flags=(wordy,))
    with routed(
        folder / "gateway", traffic, models=models, fallbacks={CANARY: THIRD}, **more
    ) as gateway:
        yield Counting(gateway, desk)


@pytest.fixture(autouse=True)
def says_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "counting" in request.fixturenames:
        canary = request.getfixturevalue("counting").canary
        canary.usage = ""
        canary.hands_on = ""
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
    assert {one.status for one in replies} == {200, 429}
    assert len(passed) in (fitting, fitting - 1)  # one that would fit may meet one that does not
    # Nothing was said of what they used, so all that was reserved stands.
    assert counting.left("burst") == 1000 - len(passed) * reserved
    counting.canary.usage = "7 5"
    # Each question settles as 12 itself, a moment after its answer: once its line is logged.
    before, asked = counting.left("burst"), itertools.count(1)
    wait_until(lambda: counting.left("burst") == before - 12 * next(asked))


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
        ({"text": "a", "max_length": 9}, SUMMARIZE, 9),
        ({"text": "a"}, SUMMARIZE, 100),
        ({"text": "a", "min_length": 5}, SUMMARIZE, 100),
        ({"prompt": "a", "max_completion_tokens": 1}, "/v1/completions", 4096),
        # What means nothing at an address makes no room there.
        ({"messages": [], "max_length": 1, "parameters": {"max_length": 1}}, CHAT, 4096),
        ({"text": "a", "max_tokens": 1}, f"/models/{CANARY}/summarize/", 100),
        ({"text": "a b " * 3000}, f"/models/{CANARY}/summarize/", 100 + 4004 + 2002),
        ({"inputs": ["a", "b"], "parameters": {"max_new_tokens": 9}}, f"/models/{CANARY}/", 18),
        ({"messages": [], "max_tokens": 2_000_000_000}, CHAT, 2_000_000_000),
        ({"messages": [], "max_tokens": 5, "n": 99}, CHAT, 80),  # the API takes 16
        ({"prompt": ["a"] * 99, "max_tokens": 5, "n": 9}, "/v1/completions", 320),
        # Too large to be read as JSON: the most that any part of it says, however it is spelled.
        ({"messages": [], "max_tokens": 5, "x": LARGE}, CHAT, 4096),
        ({"messages": [], "max_tokens": 9000, "x": LARGE}, CHAT, 9000),
        ({"messages": [], "max_tokens": 5, "n": 3, "x": LARGE}, CHAT, 3 * 4096),
        ({"messages": [], "max_tokens": 5, "n": 10**9, "x": LARGE}, CHAT, 16 * 4096),
        ({"prompt": ["a"], "max_tokens": 5, "x": LARGE}, "/v1/completions", 64 * 4096),
        ({"prompt": [1, 2], "max_tokens": 5, "x": LARGE}, "/v1/completions", 4096),
        ({"inputs": ["a"], "x": LARGE}, f"/models/{CANARY}/", 1600 + 23342 + 11671),
        ({"text": LARGE, "max_length": 9}, SUMMARIZE, 100 + 23343 + 11672),
        ({"text": LARGE, "min_length": 900}, SUMMARIZE, 900 + 23344 + 11672),
        ({"messages": [], "max_tokens": None, "x": LARGE}, CHAT, 4096),
        ({"messages": [], "x": [{"n": 1}] * 90, "y": LARGE}, CHAT, 4096),
        ({"messages": [], "x": [{"n": 1}] * 9000}, CHAT, 16 * 4096),
        # What is spelled by numbers may be a name, and then the body is looked at.
        ({"input": "ä", "max_tokens": 5}, "/v1/embeddings", 0),
        ({"messages": [], "x": "ä"}, CHAT, 4096),
        ({"messages": [], "max_tokens": [3]}, CHAT, 4096),  # no limit, and the API refuses it
        # Nested deeper than the gateway's JSON goes, and no deeper than the API's.
        ({"messages": [], "n": 2, "max_tokens": 9000, "x": DEEP}, CHAT, 18_000),
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
    assert PLENTY - left == -(-len(text) // 3) + written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        # Whoever spells a name so is taken to say the most.
        (rb'"n": 3, "max_tok\u0065n\u0073": 9000', 3 * 2_147_483_647),
        (rb'"\u006E" : 3, "max_tokens":9000', 16 * 9000),
        (rb'"x": "\"n\": 3"', 4096),  # in a text it is no field
        (rb'"x": "\u0061", "z": "the \\\\u006e of \u00e4"', 4096),
        # Nobody looks further than 64 bytes behind a name.
        (b'"max_tokens":%b100000' % (b" " * 70), 2_147_483_647),
        (b'"max_tokens"%b:1' % (b"\n" * 64), 2_147_483_647),
        (b'"max_tokens":%b100000' % (b" " * 60), 2_147_483_647),  # of which 100 would be seen
        (b'"max_tokens":%b9000' % (b" " * 50), 9000),
        (b'"n":%b2' % (b" " * 64), 16 * 4096),
    ],
)
def test_a_large_body_says_as_much_by_the_numbers_of_its_letters(
    counting: Counting, text: bytes, written: int
) -> None:
    counting.canary.usage = "0 0"
    body = b'{"messages": [], %b, "y": "%b"}' % (text, LARGE.encode())
    reply = counting.gateway.ask(path=CHAT, body=body, sub=f"spells-{written}-{len(text)}",
                                 team="blue")  # fmt: skip
    left = int(reply.header("x-ratelimit-remaining-tokens"))
    assert PLENTY - left == -(-len(body) // 3) + written


@pytest.mark.parametrize(
    "piece",
    [b'"max_tokens":1,', b'"data:image/",', b'"url":"data:image/",', rb'"m\u0061x_tokens":1,'],
)
def test_a_body_that_says_something_without_end_keeps_no_worker_busy(
    counting: Counting, piece: bytes
) -> None:
    # Read without a bound, it took a minute; the client here waits for 20 s.
    body = b"{" + piece * (900_000 // len(piece)) + b'"x": 1}'
    reply = counting.gateway.ask(path=CHAT, body=body, sub="endless", team="blue")
    assert reply.status in (200, 429)


def test_of_held_requests_with_large_bodies_little_more_than_those_is_kept(
    counting: Counting,
) -> None:
    # 10 times as much was, of a text with numbers in it.
    many, body = 16, b'{"messages": [], "max_tokens": 5, "x": "%b"}' % (b"y" * 900_000)
    begun, over = threading.Semaphore(0), threading.Event()

    def hold(_: str) -> None:
        begun.release()
        over.wait(60)

    (pid,) = counting.gateway.log.parent.rglob("nginx.pid")
    workers = psutil.Process(int(pid.read_text())).children()
    before = sum(one.memory_info().rss for one in workers)
    counting.canary.stream, counting.canary.ends = [b"data: 1\n\n"], hold
    try:
        with ThreadPoolExecutor(many) as pool:
            try:
                asked = [pool.submit(counting.gateway.ask, path=CHAT, body=body, sub="held",
                                     team="blue") for _ in range(many)]  # fmt: skip
                assert all(begun.acquire(timeout=30) for _ in asked)
                grown = sum(one.memory_info().rss for one in workers) - before
            finally:
                over.set()
            assert [one.result().status for one in asked] == [200] * many
    finally:
        counting.canary.stream, counting.canary.ends = [], lambda _: None
    assert grown < 4 * many * len(body)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ({}, 700),
        ({"max_length": 9}, 9),  # which is the request's own
        ({"min_length": 900}, 900),  # the preset yields to it
        ({"min_length": 5}, 700),
        ({"text": LARGE}, 700 + 23338 + 11669),
    ],
)
def test_what_a_flag_presets_of_summaries_is_reserved(
    counting: Counting, said: dict[str, Any], written: int
) -> None:
    counting.canary.usage = "0 0"
    body = json.dumps({"text": "a", **said}).encode()
    sub = f"wordy-{len(body)}-{written}"
    reply = counting.gateway.ask(path=SUMMARIZE, body=body, sub=sub, team="wordy")
    left = int(reply.header("x-ratelimit-remaining-tokens"))
    assert PLENTY - left == -(-len(body) // 3) + written


def test_what_a_claim_holds_gives_nobody_anything_back(counting: Counting) -> None:
    ask, told = counting.gateway.ask, "x-ratelimit-remaining-tokens"
    counting.canary.usage = "1 1"
    before = int(ask(path=CHAT, sub="mallory", team="blue").header(told))
    for team in ODD_TEAMS:
        assert ask(path=CHAT, sub="somebody", team=team).status == 200
    after = int(ask(path=CHAT, sub="mallory", team="blue").header(told))
    assert before - after == 2


@pytest.mark.parametrize("size", [60_000, 600_000])
@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ('{"type": "image_url", "image_url": {"url": "%s"}}', False),
        ('{"type": "image_url", "image_url" :{"detail": "low", "url": "%s"}}', False),
        # Nowhere else is it a picture: this is read as a text.
        ('{"function": {"parameters": {"url": "%s"}}}', True),
        ('{"image_url": "%s"}', True),
        (r'{"text": "\"image_url\": {\"url\": \"%s\"}"}', True),
    ],
)
def test_a_picture_counts_as_one_whatever_its_bytes(
    counting: Counting, size: int, place: str, counts: bool
) -> None:
    part = place % ("data:image/png;base64," + "A" * size)
    body = f'{{"messages": [{{"role": "user", "content": [{part}]}}], "max_tokens": 4096}}'
    reply = counting.gateway.ask(path=CHAT, body=body.encode(), team="blue",
                                 sub=f"pictures-{len(body)}")  # fmt: skip
    used = PLENTY - int(reply.header("x-ratelimit-remaining-tokens")) - 4096
    assert used == -(-len(body) // 3) if counts else 1500 < used < 1600


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
    used = PLENTY - counting.left("later")
    assert counting.settle(**said) == 204
    assert PLENTY - counting.left("later") == used + 1 - 85  # 92 were reserved, 7 are used
    # Valid once: an id that was settled, or never given, settles nothing.
    used = PLENTY - counting.left("later")
    for number in (said["id"], "0" * 32):
        counting.settle(**{**said, "id": number, "in": "99999"})
        assert counting.settle(**{**said, "id": number, "in": "99999"}) == 410
    assert PLENTY - counting.left("later") == used + 1
    late = next(
        json.loads(one) for one in counting.gateway.log.read_text().splitlines()
        if f'"settles":"{line["request_id"]}"' in one
    )  # fmt: skip
    assert line["tokens_in"] + late["tokens_in"] == 3
    assert line["tokens_out"] + late["tokens_out"] == 4
    assert line["cost"] + late["cost"] == 10  # 1.5 + 8, rounded up
    assert (late["subject"], late["deployment"], late["settled"]) == ("later", CANARY, 1)


def test_what_the_first_one_took_before_another_answered_is_charged_as_well(
    counting: Counting,
) -> None:
    third = counting.gateway.deployments[THIRD]
    counting.canary.usage, counting.canary.hands_on, third.usage = "7 5", "@fallback_third", "3 2"
    reply = counting.chat("handed-on")
    third.usage = ""
    line = counting.gateway.line(reply)
    assert (line["deployment"], line["handed_on"]) == (THIRD, CANARY)
    assert (line["tokens_in"], line["tokens_out"], line["settled"]) == (10, 7, 1)
    assert line["cost"] == 14 + 55  # by the price of each
    counting.canary.hands_on = ""
    counting.canary.usage = "0 0"
    assert counting.left("handed-on") == PLENTY - 17


def test_a_copy_for_the_shadow_settles_nothing(counting: Counting) -> None:
    third = counting.gateway.deployments[THIRD]
    before = len(third.settlements)
    stable = counting.gateway.deployments[STABLE]
    assert counting.gateway.ask(sub="copied", team="blue").status == 200
    assert stable.settlements[-1]
    wait_until(lambda: len(third.settlements) > before)
    assert third.settlements[before:] == [""]


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


def test_who_cannot_be_counted_for_want_of_memory_is_refused_and_whoever_has_a_count_goes_on(
    tmp_path: Path,
) -> None:
    def small(files: dict[str, str]) -> dict[str, str]:
        text = files["lab/http.conf"].replace("zone=lab_budget_counts:16m",
                                              "zone=lab_budget_counts:32k")  # fmt: skip
        return {**files, "lab/http.conf": text}

    budget = Budget(tokens_per_day=PLENTY, requests_per_day=50)
    with routed(tmp_path / "gateway", Traffic(), change=small, budgets=(budget,)) as gateway:
        first = gateway.ask(sub="first")
        assert first.status == 200
        number = 0
        while (reply := gateway.ask(sub=f"{number}-{'x' * 200}")).status == 200:
            number += 1
            assert number < 1000
        assert "no memory left to count" in assert_problem(reply, 503)["detail"]
        assert reply.header("Retry-After") == "1"
        assert gateway.line(reply)["deployment"] == ""
        again = gateway.ask(sub="first")
        assert again.status == 200
        assert again.header("x-ratelimit-remaining-requests") == "48"
        assert "budgets: the memory for counts is full" in gateway.log.read_text()


# --- Without budgets -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    """Without prices as well: there, no script adds up what a whole answer says."""
    folder = tmp_path_factory.mktemp("free")
    desk = folder / "desk.sock"
    more: dict[str, Any] = {"further": {"chat": CANARY}, "settlements": f"unix:{desk}",
                            "metrics": f"unix:{desk.with_suffix('.metrics')}"}  # fmt: skip
    with routed(folder / "gateway", Traffic(), fallbacks={CANARY: THIRD}, **more) as gateway:
        yield Counting(gateway, desk)


def used(line: dict[str, Any]) -> tuple[int, int, int, int, str]:
    return (line["tokens_in"], line["tokens_out"], line["cost"], line["settled"], line["claims"])


@pytest.mark.parametrize(
    ("said", "found"),
    [("3 4", (3, 4, 1)), ("0 0", (0, 0, 1)), ("3 <9", (3, 9, 0)), ("- -", (0, 0, 0)),
     ("", (0, 0, 0)), ("1 2 3", (0, 0, 0))],
)  # fmt: skip
def test_without_budgets_what_an_answer_says_is_logged_all_the_same(
    free: Counting, said: str, found: tuple[int, int, int]
) -> None:
    free.canary.usage = said
    before = free.written()
    line = free.gateway.line(free.chat("ada"))
    free.canary.usage = ""
    assert free.written() - before == found[1]
    assert used(line) == (*found[:2], 0, found[2], "")


def test_without_budgets_what_asks_no_model_has_used_nothing(free: Counting) -> None:
    free.canary.usage = "3 4"
    asked = [free.gateway.ask(path=f"/models/{CANARY}/", method="GET"),
             free.gateway.ask(path="/nowhere", token=None)]  # fmt: skip
    free.canary.usage = ""
    assert [one.status for one in asked] == [200, 401]
    assert [used(free.gateway.line(one)) for one in asked] == [(0, 0, 0, 1, "")] * 2


def test_without_budgets_several_who_were_asked_are_added_up(free: Counting) -> None:
    third = free.gateway.deployments[THIRD]
    free.canary.usage, free.canary.hands_on, third.usage = "7 5", "@fallback_third", "3 2"
    line = free.gateway.line(free.chat("ada"))
    free.canary.usage = free.canary.hands_on = third.usage = ""
    assert used(line) == (10, 7, 0, 1, "")


def test_without_budgets_a_stream_settles_later(free: Counting) -> None:
    line = free.gateway.line(free.chat("ada"))
    assert line["settled"] == 0
    number = free.canary.settlements[-1]
    said = {"id": number, "in": "3", "out": "4", "by": CANARY}
    assert free.settle(**said) == 204
    late = next(
        json.loads(one) for one in free.gateway.log.read_text().splitlines()
        if f'"settles":"{line["request_id"]}"' in one
    )  # fmt: skip
    assert (late["tokens_in"], late["tokens_out"], late["settled"]) == (3, 4, 1)


# --- Where it cannot be -----------------------------------------------------------------------


def test_the_edition_without_scripts_refuses_budgets() -> None:
    with pytest.raises(ConfigError, match="njs"):
        render(replace(PLUS_PLANS["plus"], budgets=BUDGETS[:1]))


def test_without_budgets_nothing_looks_at_a_request() -> None:
    files = render(ONE_MODEL)
    assert "js_access" not in "".join(files[name] for name in files if name.endswith(".conf"))
    assert data(ONE_MODEL)["budgets"] == []
    assert THIRD not in data(ONE_MODEL)["models"]
