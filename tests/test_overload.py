"""A lab with more to do than it can: what is answered without the model, what is turned away,
and what is dropped. Through the real gateway, with a tiny T5. Nothing here is about speed;
benchmarks/ is."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from llmlab import Client
from llmlab.client import Progress, RetryPolicy, Summary, UpstreamError
from tests.conftest import LabUnderTest
from tests.test_gateway import eventually

QUEUE = 5
_numbers = itertools.count()


def new_text() -> str:
    return f"The brig number {next(_numbers)} came home with the tide, and the keeper saw it."


def slow(length: int) -> dict[str, Any]:
    """A request that takes as long as so many tokens."""
    return {"text": new_text(), "max_length": length, "min_length": length}


@pytest.fixture(scope="module")
def _lab(make_tiny_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """One text at a time, and a short queue."""
    one = make_tiny_lab(
        "transformers", service__queue=str(QUEUE), service__batch_texts="1",
        service__spare="false",
    )  # fmt: skip
    one.ok("up")
    return one


def idle(lab: LabUnderTest) -> bool:
    return not (lab.metric("tiny", "llmlab_queue_waiting") or running(lab))


def running(lab: LabUnderTest) -> float:
    return lab.metric("tiny", "llmlab_running_texts")


@pytest.fixture
def lab(_lab: LabUnderTest) -> LabUnderTest:
    eventually(lambda: idle(_lab), within=60)
    return _lab


@pytest.fixture
def together() -> Iterator[Callable[..., Future[Any]]]:
    with ThreadPoolExecutor(80) as pool:
        yield pool.submit


Together = Callable[..., "Future[httpx2.Response]"]


def ask(
    lab: LabUnderTest, body: dict[str, Any], *, sub: str = "tester", **headers: str
) -> httpx2.Response:
    """A request on a connection of its own, without any retries."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with lab.client(sub) as client:
        return client.post("/summarize/", json=body, headers=named)


@dataclass(frozen=True)
class Engine:
    """What the model has done so far."""

    texts: float
    tokens: float

    @classmethod
    def of(cls, lab: LabUnderTest) -> Engine:
        names = ("llmlab_batch_texts_sum", "llmlab_output_tokens_total")
        return cls(*(lab.metric("tiny", name) for name in names))


def answers(lab: LabUnderTest) -> Counter[str]:
    sources = ("hit", "miss", "coalesced")
    return Counter({
        one: int(lab.metric("tiny", "llmlab_answers_total", source=one)) for one in sources
    })  # fmt: skip


def queued(lab: LabUnderTest, texts: int) -> None:
    eventually(lambda: lab.metric("tiny", "llmlab_queue_texts") == texts, within=30)


@contextlib.contextmanager
def sent(lab: LabUnderTest, body: dict[str, Any], sub: str = "tester") -> Iterator[None]:
    """A request whose client hangs up at the end of the block."""
    content = json.dumps(body).encode()
    head = (
        f"POST /summarize/ HTTP/1.1\r\nHost: lab\r\nAuthorization: Bearer {lab.token(sub)}\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", lab.port), 20) as connection:
        connection.sendall(head.encode() + content)
        yield


@contextlib.contextmanager
def held(lab: LabUnderTest) -> Iterator[None]:
    """The model is at work until the end of the block."""
    with sent(lab, slow(4000), sub="holder"):
        eventually(lambda: running(lab) == 1, within=30)
        yield


# --- Without touching the model -------------------------------------------------------


def test_the_second_equal_request_is_a_hit_and_costs_the_model_nothing(lab: LabUnderTest) -> None:
    body, before = {"text": new_text(), "max_length": 9}, answers(lab)
    first = ask(lab, body)
    engine = Engine.of(lab)
    second = ask(lab, body)
    assert [one.headers["x-cache"] for one in (first, second)] == ["miss", "hit"]
    assert first.json() == second.json()
    assert Engine.of(lab) == engine
    assert answers(lab) - before == Counter(miss=1, hit=1)


def test_two_equal_requests_at_once_are_read_once(lab: LabUnderTest, together: Together) -> None:
    body, before, engine = slow(20), answers(lab), Engine.of(lab)
    with held(lab):
        pair = [together(ask, lab, body, Accept=accept) for accept in ("*/*", "text/event-stream")]
        eventually(lambda: lab.metric("tiny", "llmlab_queue_waiting") == 3)
        queued(lab, 1)
    document, stream = found = [one.result() for one in pair]
    assert {one.status_code for one in found} == {200}
    assert document.headers["x-cache"] in ("miss", "coalesced")
    # They may have been sent before anybody knew.
    assert stream.headers.get("x-cache", "coalesced") in ("miss", "coalesced")
    assert answers(lab) - before == Counter(miss=1, coalesced=1)
    assert Engine.of(lab).texts == engine.texts + 2  # this one, and the one that held it


def test_what_differs_is_no_hit(lab: LabUnderTest) -> None:
    body = {"text": new_text(), "max_length": 9}
    assert ask(lab, body).headers["x-cache"] == "miss"
    for other in ({"max_length": 8}, {"min_length": 7}, {"strategy": "truncate"},
                  {"text": body["text"] + " "}):  # fmt: skip
        assert ask(lab, body | other).headers["x-cache"] == "miss", other
    assert ask(lab, body).headers["x-cache"] == "hit"


def test_nobody_learns_from_a_hit_what_another_subject_has_sent(lab: LabUnderTest) -> None:
    body = {"text": new_text(), "max_length": 9}
    assert ask(lab, body, sub="alice").headers["x-cache"] == "miss"
    assert ask(lab, body, sub="bob").headers["x-cache"] == "miss"
    assert ask(lab, body, sub="bob", X_Subject="alice").headers["x-cache"] == "hit"
    assert ask(lab, body, sub="carol", X_Subject="alice").headers["x-cache"] == "miss"


def test_each_answer_says_how_long_its_text_has_waited(
    lab: LabUnderTest, together: Together
) -> None:
    def waited(response: httpx2.Response) -> float:
        name, _, milliseconds = response.headers["server-timing"].partition(";dur=")
        assert name == "queue"
        return float(milliseconds)

    body = slow(9)
    with held(lab):
        waiting = together(ask, lab, body)
        queued(lab, 1)
        since = time.monotonic()
        time.sleep(0.5)
        at_least = time.monotonic() - since
    assert waited(waiting.result()) >= 1000 * at_least
    assert waited(ask(lab, body)) == 0.0


def test_with_a_cache_of_0_equal_requests_are_read_again(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__rate_limit__enabled="false", service__cache="0")
    lab.ok("up")
    before = lab.metric("textrank", "llmlab_batch_texts_sum")
    assert [ask(lab, {"text": "The lamp is lit."}).headers["x-cache"] for _ in range(2)] == [
        "miss", "miss",
    ]  # fmt: skip
    assert lab.metric("textrank", "llmlab_batch_texts_sum") == before + 2
    assert lab.metric("textrank", "llmlab_answers_total", source="hit") == 0


# --- Who asks, and how long they wait -------------------------------------------------


def test_a_client_cannot_take_the_turns_of_another_subject(
    lab: LabUnderTest, together: Together
) -> None:
    """The queue is fair between subjects, and the gateway says who they are."""
    limited = lab.metric("tiny", "llmlab_rejected_total", reason="queue_full")
    with held(lab):
        flood = [
            together(ask, lab, slow(9), X_Subject=f"nobody-{n}", X_Request_ID=f"flood-{n}")
            for n in range(12)
        ]
        # Four fifths of the queue for one subject, however it calls itself.
        eventually(lambda: sum(one.done() for one in flood) == 12 - (QUEUE - 1))
        asked = together(ask, lab, slow(9), sub="other")
        queued(lab, QUEUE)
    assert asked.result().status_code == 200
    assert Counter(one.result().status_code for one in flood) == {200: QUEUE - 1, 429: 13 - QUEUE}
    assert lab.metric("tiny", "llmlab_rejected_total", reason="queue_full") == limited + 13 - QUEUE
    told = (lab.lab.logs / "api-tiny.log").read_text()
    subjects = [json.loads(line)["subject"] for line in told.splitlines() if "flood-" in line]
    assert set(subjects) == {"tester"}


def test_a_deadline_reaches_the_model_through_the_gateway(lab: LabUnderTest) -> None:
    engine = Engine.of(lab)
    late = ask(lab, slow(4000), X_Request_Timeout="0.3")
    assert late.status_code == 504
    assert late.json()["detail"] == "No summary within 0.3 s (X-Request-Timeout)."
    eventually(lambda: running(lab) == 0)
    assert Engine.of(lab).tokens < engine.tokens + 4000


def test_a_deadline_that_cannot_be_met_is_429_and_says_so(lab: LabUnderTest) -> None:
    assert ask(lab, slow(300)).status_code == 200  # so that the queue knows its pace
    with held(lab):
        hopeless = ask(lab, slow(300), X_Request_Timeout="0.001")
    assert hopeless.status_code == 429
    assert "No turn within 0.001 s (X-Request-Timeout)" in hopeless.json()["detail"]
    assert hopeless.headers["retry-after"] in hopeless.json()["detail"]
    assert lab.metric("tiny", "llmlab_rejected_total", reason="deadline") >= 1


def test_clients_that_hang_up_give_their_places_back_and_are_never_read(
    lab: LabUnderTest,
) -> None:
    engine = Engine.of(lab)
    with held(lab):
        with contextlib.ExitStack() as waiting:
            for number in range(QUEUE):
                waiting.enter_context(sent(lab, slow(50), sub=f"leaver-{number}"))
            queued(lab, QUEUE)
            assert ask(lab, slow(9)).status_code == 429
        queued(lab, 0)
        assert lab.metric("tiny", "llmlab_queue_waiting") == 1
    eventually(lambda: idle(lab), within=30)
    assert ask(lab, slow(9)).status_code == 200
    assert Engine.of(lab).texts == engine.texts + 2  # this one, and the one that held it


# --- A flood --------------------------------------------------------------------------


def test_in_a_flood_each_answer_is_a_summary_or_429_and_health_is_told_throughout(
    lab: LabUnderTest, together: Together
) -> None:
    """Open loop: requests come at their times, whatever became of those before."""
    over = threading.Event()

    def watch() -> list[int]:
        found = []
        with httpx2.Client(base_url=lab.url, timeout=20, trust_env=False) as client:
            while not over.is_set():
                found.append(client.get("/health").status_code)
                over.wait(0.1)
        return found

    watching = together(watch)
    flood = []
    for _ in range(60):
        flood.append(together(ask, lab, slow(100)))
        time.sleep(0.02)
    found = [one.result() for one in flood]
    over.set()
    statuses = Counter(one.status_code for one in found)
    assert set(statuses) == {200, 429}
    assert statuses[200] >= QUEUE
    for one in found:
        if one.status_code == 429:
            assert one.headers["content-type"] == "application/problem+json"
            assert 1 <= int(one.headers["retry-after"]) <= 60
            assert one.headers["x-model"] == "tiny"
        else:
            assert one.json()["usage"]["output_tokens"] == 100
    health = watching.result()  # type: ignore[var-annotated]
    assert len(health) > 5
    assert set(health) == {200}
    assert eventually(lambda: idle(lab), within=30)
    assert ask(lab, slow(9)).status_code == 200


def test_clients_that_ask_again_all_get_their_summary(
    lab: LabUnderTest, together: Together
) -> None:
    def asking() -> str:
        with Client(lab=lab.root, retry=RetryPolicy(60)) as client:
            return client.summarize(**slow(60)).text

    def turned_away() -> float:
        return lab.metric("tiny", "llmlab_rejected_total", reason="queue_full")

    before = turned_away()
    with held(lab):
        found = [together(asking) for _ in range(3 * QUEUE)]
        eventually(lambda: turned_away() >= before + QUEUE)
    assert all(one.result() for one in found)


def test_who_does_not_ask_again_is_told_what_429_means(lab: LabUnderTest) -> None:
    with held(lab), contextlib.ExitStack() as waiting:
        for number in range(QUEUE):
            waiting.enter_context(sent(lab, slow(50), sub=f"waiter-{number}"))
        queued(lab, QUEUE)
        with (
            Client(lab=lab.root, retry=RetryPolicy(0)) as client,
            pytest.raises(UpstreamError, match="429: Too many requests wait") as caught,
        ):
            client.summarize(new_text())
    assert caught.value.fix == "ask less often, or wait longer (--retry, --timeout)"


def test_a_first_small_event_passes_the_gateway_before_the_model_has_begun(
    lab: LabUnderTest, together: Together
) -> None:
    """A gateway that gathers what is sent would hold it back: there is nothing more to send."""
    told: list[Progress] = []

    def asking() -> Summary:
        with Client(lab=lab.root) as client:
            text = " ".join(new_text() for _ in range(20))
            return client.summarize(text, max_length=9, progress=told.append)

    with held(lab):
        asked = together(asking)
        eventually(lambda: told)
        assert [one.done for one in told] == [0]
    assert asked.result().usage.windows == told[0].windows > 1  # type: ignore[attr-defined]


def test_status_says_how_many_wait(lab: LabUnderTest) -> None:
    with held(lab):
        shown, told = lab.ok("status"), lab.json("status")
    assert "1 waiting" in shown
    assert [one["waiting"] for one in told["deployments"]] == [1, 0]
    assert "waiting" not in lab.ok("status")


def test_every_series_is_there_before_it_rises(make_lab: Callable[..., LabUnderTest]) -> None:
    """Or a monitoring system would not see the first rise."""
    lab = make_lab()
    lab.ok("up")
    with httpx2.Client(
        transport=httpx2.HTTPTransport(uds=str(lab.lab.api_socket("textrank")), verify=False),
        base_url="http://api",
    ) as client:
        exposed = client.get("/metrics").text
    for series in (
        'llmlab_rejected_total{deployment="textrank",reason="queue_full"} 0.0',
        'llmlab_rejected_total{deployment="textrank",reason="deadline"} 0.0',
        'llmlab_rejected_total{deployment="textrank",reason="timeout"} 0.0',
        'llmlab_answers_total{deployment="textrank",source="hit"} 0.0',
        'llmlab_answers_total{deployment="textrank",source="miss"} 0.0',
        'llmlab_answers_total{deployment="textrank",source="coalesced"} 0.0',
        'llmlab_stage_seconds_count{deployment="textrank",stage="encode"} 0.0',
        'llmlab_stage_seconds_count{deployment="textrank",stage="queue"} 0.0',
        'llmlab_stage_seconds_count{deployment="textrank",stage="generate"} 0.0',
        'llmlab_windows_count{deployment="textrank"} 0.0',
        'llmlab_batch_texts_count{deployment="textrank"} 0.0',
        'llmlab_batch_tokens_count{deployment="textrank"} 0.0',
        'llmlab_queue_waiting{deployment="textrank"} 0.0',
        'llmlab_queue_texts{deployment="textrank"} 0.0',
        'llmlab_running_texts{deployment="textrank"} 0.0',
    ):
        assert series in exposed.splitlines()
