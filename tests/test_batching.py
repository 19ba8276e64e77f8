"""Batches, equal requests and the cache: first beside a model made of words, then in a real
process with a tiny T5."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from llmlab.runtimes import Generation, Summary
from llmlab.service.batcher import Batcher
from llmlab.service.metrics import Metrics
from llmlab.service.queued import QueueFull
from llmlab.service.reader import Reader
from llmlab.service.schemas import Progress
from llmlab.service.summarizer import Answer, Summarizer, TooSlow
from tests.api import T5, Api, as_http, wait_until
from tests.words import PATIENCE, Words

T = TypeVar("T")
LONG_ENOUGH = 60.0  # seconds that a request waits


def run(work: Awaitable[T]) -> T:
    async def in_time() -> T:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(in_time())


# --- The batcher -------------------------------------------------------------


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def batcher_of(words: Words, **options: Any) -> AsyncIterator[Batcher]:
    bounds: dict[str, Any] = {"limit": 100, "budget": 1000, "most": 8}
    batcher = Batcher(words, Metrics(), **(bounds | options))
    try:
        yield batcher
    finally:
        words.release()
        await batcher.close()


async def ask(
    batcher: Batcher, *texts: str, subject: str = "a", length: int | None = None
) -> list[Summary]:
    """One request with these texts."""
    encoded = [batcher._runtime.encode(text, Generation(max_length=length)) for text in texts]
    place = batcher.enter(subject, LONG_ENOUGH)
    try:
        return await batcher.generate(place, encoded)
    finally:
        batcher.leave(place)


async def started(*requests: Awaitable[T]) -> list[asyncio.Future[T]]:
    """Requests that have come as far as they can without the model."""
    tasks = [asyncio.ensure_future(request) for request in requests]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def at_work(batcher: Batcher, words: Words, text: str = "first") -> asyncio.Future[Any]:
    """The model is held, and works on this text."""
    words.hold()
    (task,) = await started(ask(batcher, text))
    await asyncio.to_thread(words.until_batches, len(words.batches) or 1)
    return task


def test_what_comes_while_the_model_works_is_its_next_batch_the_shortest_first() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            others = await started(ask(batcher, "c c c"), ask(batcher, "a"), ask(batcher, "b b"))
            words.release()
            await asyncio.gather(first, *others)

    run(scene())
    assert words.batches == [["first"], ["a", "b b", "c c c"]]


def test_a_text_that_comes_to_an_idle_model_waits_for_nobody() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            for text in ("one", "two"):
                await ask(batcher, text)

    run(scene())
    assert words.batches == [["one"], ["two"]]


def test_each_gets_the_summary_of_its_own_text_in_its_own_order() -> None:
    words = Words()

    async def scene() -> list[list[Summary]]:
        async with batcher_of(words) as batcher:
            return await asyncio.gather(ask(batcher, "c c c", "a", "b b"), ask(batcher, "d"))

    one, other = run(scene())
    assert [summary.text for summary in one] == ["c c c", "a", "b b"]
    assert [summary.text for summary in other] == ["d"]


def test_texts_with_other_limits_are_not_put_together() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            others = await started(
                ask(batcher, "a a a", length=1), ask(batcher, "b b b", length=2),
                ask(batcher, "c c c", length=1),
            )  # fmt: skip
            words.release()
            await asyncio.gather(first, *others)

    run(scene())
    assert words.batches == [["first"], ["a a a", "c c c"], ["b b b"]]


def test_idle_threads_share_what_waits() -> None:
    words = Words(parallel=2)

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            words.hold()
            tasks = await started(ask(batcher, "a", "b", "c", "d"))
            await asyncio.to_thread(words.until_batches, 2)
            words.release()
            await asyncio.gather(*tasks)

    run(scene())
    assert sorted(len(batch) for batch in words.batches) == [2, 2]


def test_a_thread_leaves_the_rest_to_the_one_that_has_less_to_do() -> None:
    words = Words(parallel=2)

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            others = await started(ask(batcher, "a", "b", "c", "d", "e"))
            await asyncio.to_thread(words.until_batches, 2)
            assert words.batches[1] == ["a", "b", "c"]  # of six texts that are there
            words.release()
            await asyncio.gather(first, *others)

    run(scene())
    assert sorted(words.read) == ["a", "b", "c", "d", "e", "first"]


def test_clients_that_ask_again_once_they_are_answered_stay_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmlab.service.batcher.MOMENT", 1e6)
    monkeypatch.setattr("llmlab.service.batcher.LONGEST_MOMENT", PATIENCE)
    words = Words()

    async def client(batcher: Batcher, name: str, times: int) -> None:
        for number in range(times):
            await ask(batcher, f"{name}{number}")

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            words.hold()
            clients = await started(client(batcher, "a", 3))
            await asyncio.to_thread(words.until_batches, 1)
            clients += await started(client(batcher, "b", 2), client(batcher, "c", 2))
            words.release()
            await asyncio.gather(*clients)

    run(scene())
    assert [sorted(batch) for batch in words.batches] == [
        ["a0"], ["a1", "b0", "c0"], ["a2", "b1", "c1"],
    ]  # fmt: skip


def test_a_client_that_is_back_before_the_thread_looks_is_not_waited_for_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llmlab.service.batcher.MOMENT", 1e6)
    monkeypatch.setattr("llmlab.service.batcher.LONGEST_MOMENT", 2 * PATIENCE)
    words = Words()
    look = Batcher._next_batch

    def look_late(batcher: Batcher, expected: int, moment: float) -> Any:
        if len(words.batches) == 1:
            wait_until(lambda: batcher.texts[0] == 2, "both ask")
        return look(batcher, expected, moment)

    monkeypatch.setattr(Batcher, "_next_batch", look_late)

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words, "a0")
            (other,) = await started(ask(batcher, "b0"))
            words.release()
            await first
            await asyncio.gather(ask(batcher, "a1"), other)

    run(scene())
    assert [sorted(batch) for batch in words.batches] == [["a0"], ["a1", "b0"]]


def test_a_text_that_the_model_fails_on_does_not_fail_the_others_of_its_batch() -> None:
    words = Words()

    async def scene() -> list[Any]:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            texts = ("good", "a kaboom", "fine")
            others = await started(*(ask(batcher, text) for text in texts))
            words.release()
            await first
            return await asyncio.gather(*others, return_exceptions=True)

    good, bad, fine = run(scene())
    assert (good[0].text, fine[0].text) == ("good", "fine")
    assert isinstance(bad, ValueError)


def test_a_request_that_fails_in_the_middle_takes_the_rest_of_its_texts_along() -> None:
    words = Words()

    async def scene() -> int:
        async with batcher_of(words, most=1) as batcher:
            with pytest.raises(ValueError, match="kaboom"):
                await ask(batcher, "a kaboom", "b", "c", "d", "e", "f", "g", "h")
            waiting, _ = batcher.texts
            return waiting

    assert run(scene()) == 0


def test_a_batcher_goes_on_after_a_model_that_answers_too_little() -> None:
    words = Words()
    honest = words._summary

    async def scene() -> list[Summary]:
        async with batcher_of(words) as batcher:
            words.generate = lambda batch, abandoned: []  # type: ignore[method-assign]
            with pytest.raises(RuntimeError, match="0 summaries of 1 texts"):
                await ask(batcher, "one")
            words.generate = lambda batch, abandoned: [honest(batch[0])]  # type: ignore[method-assign]
            return await ask(batcher, "two")

    assert run(scene())[0].text == "two"


# --- Clients that leave, and a full queue ------------------------------------


def test_a_client_that_left_before_its_turn_costs_the_model_nothing() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            leaving, staying = await started(ask(batcher, "gone", "too"), ask(batcher, "stays"))
            leaving.cancel()
            await asyncio.wait([leaving])
            assert batcher.texts == (1, 1)
            words.release()
            await asyncio.gather(first, staying)

    run(scene())
    assert words.read == ["first", "stays"]


def test_a_model_is_told_who_has_left_while_it_works() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words) as batcher:
            first = await at_work(batcher, words)
            first.cancel()
            await asyncio.wait([first])
            words.release()
            await ask(batcher, "second")

    run(scene())
    assert words.left == ["first"]


def test_a_full_queue_says_no_at_once_and_only_what_waits_counts() -> None:
    words = Words()

    async def scene() -> None:
        async with batcher_of(words, limit=2) as batcher:
            first = await at_work(batcher, words)
            waiting = await started(ask(batcher, "two"), ask(batcher, "three"))
            with pytest.raises(QueueFull):
                batcher.enter("a", LONG_ENOUGH)
            waiting[0].cancel()
            await asyncio.wait([waiting[0]])
            batcher.leave(batcher.enter("a", LONG_ENOUGH))  # the place is free again
            words.release()
            await asyncio.gather(first, waiting[1])

    run(scene())


async def measured(batcher: Batcher, words: Words, clock: Clock, seconds: float) -> None:
    """One text that takes the model so many seconds."""
    first = await at_work(batcher, words, "measured")
    clock.now += seconds
    words.release()
    await first


@pytest.mark.parametrize(("seconds", "expected"), [(4.0, 12), (0.1, 1), (90.0, 60)])
def test_retry_after_is_the_time_that_the_measured_rate_needs_for_what_is_there(
    seconds: float, expected: int
) -> None:
    words, clock = Words(), Clock()

    async def scene() -> int:
        async with batcher_of(words, limit=2, clock=clock) as batcher:
            await measured(batcher, words, clock, seconds)
            words.hold()
            tasks = await started(ask(batcher, "runs"))
            await asyncio.to_thread(words.until_batches, 2)
            for text in ("waits", "waits too"):
                place = batcher.enter("a", 1e9)
                encoded = words.encode(text, Generation())
                tasks += await started(batcher.generate(place, [encoded]))
            with pytest.raises(QueueFull) as full:
                batcher.enter("a", LONG_ENOUGH)
            words.release()
            await asyncio.gather(*tasks)
            return full.value.retry_after

    assert run(scene()) == expected  # 1 runs and 2 wait; between 1 and 60 s


def test_who_could_only_time_out_is_turned_away_and_a_flood_is_no_reason_to() -> None:
    words, clock = Words(), Clock()

    async def scene() -> None:
        async with batcher_of(words, clock=clock, most=1) as batcher:
            await measured(batcher, words, clock, 1.0)
            words.hold()
            tasks = await started(ask(batcher, "runs", subject="flood"))
            await asyncio.to_thread(words.until_batches, 2)
            tasks += await started(*(ask(batcher, f"{n}", subject="flood") for n in range(9)))
            with pytest.raises(QueueFull) as full:
                batcher.enter("flood", seconds=9.5)  # 9 come before it, and 1 runs
            assert full.value.retry_after == 10
            batcher.leave(batcher.enter("flood", seconds=10.5))
            batcher.leave(batcher.enter("other", seconds=2.5))
            words.release()
            await asyncio.gather(*tasks)

    run(scene())


def test_a_batcher_that_is_closed_leaves_no_thread_behind() -> None:
    words = Words(parallel=3)

    async def scene() -> Batcher:
        async with batcher_of(words) as batcher:
            await ask(batcher, "one")
        return batcher

    assert not any(thread.is_alive() for thread in run(scene())._threads)


# --- Equal requests and the cache --------------------------------------------


@asynccontextmanager
async def summarizer_of(words: Words, cache: int = 8, **options: Any) -> AsyncIterator[Summarizer]:
    async with batcher_of(words, **options) as batcher:
        metrics = Metrics()
        reader = Reader(words, batcher, metrics, longest=4)
        yield Summarizer(reader, batcher, metrics, cache=cache)


async def summarize(
    summarizer: Summarizer,
    text: str,
    generation: Generation | None = None,
    seconds: float = LONG_ENOUGH,
    listener: Callable[[Progress], None] | None = None,
    subject: str = "a",
) -> Answer:
    return await summarizer.summarize(
        text, generation or Generation(), subject=subject, seconds=seconds, listener=listener
    )


async def waits(summarizer: Summarizer, words: Words, *texts: str) -> list[asyncio.Future[Answer]]:
    """Requests for these texts, of which the model has got the first."""
    words.hold()
    tasks = await started(*(summarize(summarizer, text) for text in texts))
    await asyncio.to_thread(words.until_batches, 1)
    return tasks


def test_equal_requests_in_flight_are_computed_once() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words) as summarizer:
            tasks = await waits(summarizer, words, "same", "same", "same")
            words.release()
            return await asyncio.gather(*tasks)

    answers = run(scene())
    assert [answer.source for answer in answers] == ["miss", "coalesced", "coalesced"]
    assert {answer.summary.text for answer in answers} == {"same"}
    assert words.read == ["same"]


def test_an_answer_is_kept_for_the_next_equal_request() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words) as summarizer:
            return [await summarize(summarizer, "same") for _ in range(2)]

    answers = run(scene())
    assert [answer.source for answer in answers] == ["miss", "hit"]
    assert answers[0].summary == answers[1].summary
    assert words.read == ["same"]


@pytest.mark.parametrize(
    ("text", "generation"),
    [("Same", Generation()), ("same ", Generation()), ("same", Generation(max_length=3))],
)
def test_another_text_or_other_limits_are_another_request(
    text: str, generation: Generation
) -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words) as summarizer:
            return list(
                await asyncio.gather(
                    summarize(summarizer, "same"), summarize(summarizer, text, generation)
                )
            )

    assert [answer.source for answer in run(scene())] == ["miss", "miss"]


def test_a_subject_cannot_find_out_that_another_one_has_sent_a_text() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words) as summarizer:
            words.hold()
            tasks = await started(
                summarize(summarizer, "secret", subject="a"),
                summarize(summarizer, "secret", subject="b"),
            )
            words.release()
            first = await asyncio.gather(*tasks)
            later = [await summarize(summarizer, "secret", subject=one) for one in ("a", "c")]
            return [*first, *later]

    assert [answer.source for answer in run(scene())] == ["miss", "miss", "hit", "miss"]


def test_equal_requests_that_wait_together_are_no_more_than_the_queue_takes() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words, limit=3) as summarizer:
            tasks = await waits(summarizer, words, *["same"] * 3)
            with pytest.raises(QueueFull):
                await summarize(summarizer, "same")
            words.release()
            return await asyncio.gather(*tasks)

    assert len(run(scene())) == 3


def test_an_answer_as_long_as_a_book_is_not_kept() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words) as summarizer:
            return [await summarize(summarizer, "x" * 100_000) for _ in range(2)]

    assert [answer.source for answer in run(scene())] == ["miss", "miss"]


def test_the_cache_keeps_the_answers_that_were_used_last() -> None:
    words = Words()

    async def scene() -> list[str]:
        async with summarizer_of(words, cache=2) as summarizer:
            texts = ("a", "b", "a", "c", "a", "b")  # c drives b out
            return [(await summarize(summarizer, text)).source for text in texts]

    assert run(scene()) == ["miss", "miss", "hit", "miss", "hit", "miss"]


def test_without_a_cache_every_request_is_computed_unless_one_is_in_flight() -> None:
    words = Words()

    async def scene() -> list[Answer]:
        async with summarizer_of(words, cache=0) as summarizer:
            tasks = await waits(summarizer, words, "same", "same")
            words.release()
            return [*await asyncio.gather(*tasks), await summarize(summarizer, "same")]

    assert [answer.source for answer in run(scene())] == ["miss", "coalesced", "miss"]
    assert words.read == ["same", "same"]


def test_the_client_that_came_first_may_leave_without_harm_to_the_second() -> None:
    words = Words()

    async def scene() -> Answer:
        async with summarizer_of(words) as summarizer:
            first, second = await waits(summarizer, words, "same", "same")
            first.cancel()
            await asyncio.wait([first])
            words.release()
            return await second

    assert run(scene()).source == "coalesced"
    assert words.read == ["same"]
    assert words.left == []


def test_when_all_have_left_the_text_is_dropped_and_asked_for_again_it_is_computed_anew() -> None:
    words = Words()

    async def scene() -> Answer:
        async with summarizer_of(words) as summarizer:
            tasks = await waits(summarizer, words, "same", "same")
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            (again,) = await started(summarize(summarizer, "same"))
            words.release()
            return await again

    assert run(scene()).source == "miss"
    assert words.left == ["same"]
    assert words.read == ["same", "same"]


def test_a_failure_reaches_all_who_wait_and_is_not_kept() -> None:
    words = Words()

    async def scene() -> list[Any]:
        async with summarizer_of(words) as summarizer:
            tasks = await waits(summarizer, words, "kaboom", "kaboom")
            words.release()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            with pytest.raises(ValueError, match="kaboom"):
                await summarize(summarizer, "kaboom")
            return outcomes

    assert [type(outcome) for outcome in run(scene())] == [ValueError, ValueError]
    assert words.read == ["kaboom", "kaboom"]


def test_who_waits_less_than_another_for_the_same_text_is_told_so_alone() -> None:
    words = Words()

    async def scene() -> Answer:
        async with summarizer_of(words) as summarizer:
            (patient,) = await waits(summarizer, words, "same")
            with pytest.raises(TooSlow):
                await summarize(summarizer, "same", seconds=0.01)
            words.release()
            return await patient

    assert run(scene()).summary.text == "same"
    assert words.left == []


def test_after_its_deadline_a_text_gives_its_place_back() -> None:
    words = Words()

    async def scene() -> None:
        async with summarizer_of(words, limit=1) as summarizer:
            (running,) = await waits(summarizer, words, "first")
            for number in range(3):  # each takes the only place
                with pytest.raises(TooSlow):
                    await summarize(summarizer, f"late {number}", seconds=0.01)
            words.release()
            await running

    run(scene())
    assert words.read == ["first"]


# --- A tiny T5 in a process of its own ---------------------------------------


@pytest.fixture(scope="module")
def batching(make_api: Callable[..., Api], tiny_t5: Path) -> Api:
    return make_api(T5, tiny_t5, queue=20).start().until_ready()


@pytest.fixture
def api(batching: Api) -> Api:
    wait_until(lambda: batching.waiting == 0, "the model is idle")
    return batching


@pytest.fixture(scope="module")
def singly(make_api: Callable[..., Api], tiny_t5: Path) -> Api:
    """One text at a time, and no cache."""
    return make_api(T5, tiny_t5, batch_texts=1, cache=0).start().until_ready()


@pytest.fixture
def together() -> Iterator[Callable[..., Future[httpx2.Response]]]:
    with ThreadPoolExecutor(40) as pool:
        yield pool.submit


_numbers = iter(range(1_000_000))


def some_texts(count: int) -> list[str]:
    """Texts of several lengths, within a window, that nobody has asked for before."""
    ships = ("sloop", "brig", "barque with three masts", "schooner", "cutter that was late")
    ends = (".", " with the tide.", ", and the keeper of the lamp saw it from his rock.")
    return [
        f"The {ships[n % 5]} number {next(_numbers)} came home{ends[n % 3]}" for n in range(count)
    ]


def engine(api: Api) -> tuple[float, float]:
    """Batches and texts that the model has worked on."""
    return api.metric("llmlab_batch_texts_count"), api.metric("llmlab_batch_texts_sum")


def answers(api: Api, source: str) -> float:
    return api.metric("llmlab_answers_total", source=source)


Together = Callable[..., Future[httpx2.Response]]


def queued(api: Api, texts: int) -> None:
    wait_until(lambda: api.metric("llmlab_queue_texts") == texts, f"{texts} texts in the queue")


def test_requests_that_wait_are_answered_by_one_batch_as_each_by_itself(
    api: Api, singly: Api, together: Together
) -> None:
    batches, texts = engine(api)
    asked = some_texts(6)
    with api.held():
        waiting = [together(api.summarize, text) for text in asked]
        queued(api, 6)
    found = [future.result().json() for future in waiting]
    assert engine(api) == (batches + 2, texts + 7)  # the one that held it, and one of six
    assert found == [singly.summarize(text).json() for text in asked]


def test_equal_requests_do_not_touch_the_model(api: Api, together: Together) -> None:
    (text,) = some_texts(1)
    before = {source: answers(api, source) for source in ("miss", "coalesced", "hit")}
    batches, texts = engine(api)
    with api.held():
        futures = [together(api.summarize, text) for _ in range(5)]
        wait_until(lambda: api.waiting == 6, "all of them wait")
        queued(api, 1)
    responses = [future.result() for future in futures]
    sources = sorted(response.headers["x-cache"] for response in responses)
    assert sources == ["coalesced"] * 4 + ["miss"]
    assert api.summarize(text).headers["x-cache"] == "hit"
    assert len({response.json()["summary"] for response in responses}) == 1
    assert engine(api) == (batches + 2, texts + 2)  # the one that held it, and one of one
    after = {"miss": 1, "coalesced": 4, "hit": 1}
    assert {source: answers(api, source) - before[source] for source in after} == after


def test_a_hit_is_the_same_answer_and_has_not_waited(api: Api) -> None:
    (text,) = some_texts(1)
    first, second = (api.summarize(text) for _ in range(2))
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("miss", "hit")
    assert first.json() == second.json()
    assert second.headers["server-timing"] == "queue;dur=0.0"


def test_with_a_cache_of_0_nothing_is_kept(singly: Api) -> None:
    (text,) = some_texts(1)
    before = engine(singly)[1]
    assert [singly.summarize(text).headers["x-cache"] for _ in range(2)] == ["miss", "miss"]
    assert engine(singly)[1] == before + 2


def as_subject(api: Api, subject: str, request_id: str = "") -> httpx2.Response:
    headers = {"X-Subject": subject} | ({"X-Request-ID": request_id} if request_id else {})
    return api.request(
        "POST", "/summarize/", json={"text": some_texts(1)[0]}, headers=headers
    )  # fmt: skip


def test_a_subject_that_floods_the_model_does_not_make_another_wait(
    singly: Api, together: Together
) -> None:
    with singly.held():
        flood = [together(as_subject, singly, "flood", f"flood-{n}") for n in range(12)]
        queued(singly, 12)
        other = together(as_subject, singly, "other", "the-other")
        queued(singly, 13)
    assert {future.result().status_code for future in (*flood, other)} == {200}
    singly.logged("the-other")
    logged = [json.loads(line).get("request_id", "") for line in singly.stdout.splitlines()]
    order = [one for one in logged if one.startswith(("flood-", "the-other"))]
    assert order.index("the-other") <= 1


def test_a_subject_that_floods_the_queue_leaves_room_for_another(
    api: Api, together: Together
) -> None:
    with api.held():
        flood = [together(as_subject, api, "flood") for _ in range(30)]
        wait_until(lambda: sum(one.done() for one in flood) == 14, "the rest was turned away")
        queued(api, 16)  # four fifths of 20
        other = together(as_subject, api, "other")
        queued(api, 17)
    assert other.result().status_code == 200
    refused = [one.result() for one in flood if one.result().status_code != 200]
    assert [response.status_code for response in refused] == [429] * 14
    assert all(1 <= int(response.headers["retry-after"]) <= 60 for response in refused)


def test_a_text_whose_client_has_gone_is_never_read(api: Api) -> None:
    before = engine(api)[1]
    with api.held():
        with api.connect() as bare:
            bare.sendall(as_http({"text": some_texts(1)[0]}))
            queued(api, 1)
        queued(api, 0)
    wait_until(lambda: api.waiting == 0, "the model is idle")
    assert engine(api)[1] == before + 1


def with_deadline(api: Api, seconds: str, body: dict[str, Any]) -> httpx2.Response:
    headers = {"X-Request-Timeout": seconds}
    return api.request("POST", "/summarize/", json=body, headers=headers)


def test_a_deadline_of_the_client_ends_the_work_on_its_text(api: Api) -> None:
    body = {"text": some_texts(1)[0], "max_length": 4000, "min_length": 4000}
    response = with_deadline(api, "0.2", body)
    assert response.status_code == 504
    assert response.json()["detail"] == "No summary within 0.2 s (X-Request-Timeout)."
    wait_until(lambda: api.metric("llmlab_running_texts") == 0, "the model is free", 5)


def test_a_deadline_that_the_queue_cannot_meet_is_429_at_once(api: Api) -> None:
    assert api.summarize(some_texts(1)[0]).status_code == 200  # so that it knows its pace
    with api.held():
        response = with_deadline(api, "0.0001", {"text": some_texts(1)[0]})
        assert response.status_code == 429, response.text
        assert int(response.headers["retry-after"]) >= 1


def test_a_deadline_that_can_be_met_is_no_hindrance(api: Api) -> None:
    assert with_deadline(api, "60", {"text": some_texts(1)[0]}).status_code == 200


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "inf", ""])
def test_a_deadline_that_is_none_is_a_problem_that_names_the_header(api: Api, seconds: str) -> None:
    response = with_deadline(api, seconds, {"text": "A."})
    assert response.status_code == 422
    assert "X-Request-Timeout" in response.json()["detail"]


def test_metrics_say_where_the_time_goes_and_what_was_read(api: Api) -> None:
    (text,) = some_texts(1)
    names = ("llmlab_stage_seconds_count", "llmlab_stage_seconds_sum")
    stages = ("encode", "queue", "generate")
    before = {(n, s): api.metric(n, stage=s) for n in names for s in stages}
    read, tokens = api.metric("llmlab_input_tokens_total"), api.metric("llmlab_batch_tokens_sum")
    usage = api.summarize(text).json()["usage"]
    for stage in stages:
        assert api.metric(names[0], stage=stage) == before[names[0], stage] + 1
        assert api.metric(names[1], stage=stage) > before[names[1], stage]
    assert api.metric("llmlab_input_tokens_total") == read + usage["input_tokens"]
    assert api.metric("llmlab_batch_tokens_sum") == tokens + usage["input_tokens"]
