"""Live parts of the console: gathered once for all who look, sent when they change, and nothing is
left of those who have gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from llmlab.console import live
from llmlab.console.live import Live, Room, TooMany, Watched, event

PACE = 0.01
PATIENCE = 20.0
HELLO, AGAIN = b"retry: 1000\n\n", event("", "again")


class Lab:
    """What a part is made from."""

    def __init__(self) -> None:
        self.shown, self.release, self.looks, self.asked = "first", "one", 0, 0
        self.at_once, self._within = 0, 0
        self._lock = threading.Condition()

    def until(self, looks: int) -> None:
        """Until it has been looked at that often."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.looks >= looks, PATIENCE)

    def look(self) -> str:
        with self._lock:
            self.looks += 1
            self._lock.notify_all()
            self._within += 1
            self.at_once = max(self.at_once, self._within)
        shown = self.shown
        with self._lock:
            self._within -= 1
        if shown == "fails":
            raise ZeroDivisionError("a secret of the lab")
        return shown

    def current(self) -> str:
        self.asked += 1
        return self.release

    def live(self, pace: float = PACE) -> Live:
        return Live(self.current, lambda error: f"failed: {type(error).__name__}", pace)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """In a loop of its own, which may end with no other task left."""

    async def alone() -> None:
        async with asyncio.timeout(PATIENCE):
            await work()
            await gone()

    asyncio.run(alone())


async def gone() -> None:
    """Until nothing of what was begun is at work."""
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


async def following(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    assert await anext(stream) == HELLO
    return stream


async def looked(lab: Lab, more: int) -> None:
    """Until a part has been looked at that often again."""
    await asyncio.to_thread(lab.until, lab.looks + more)


async def left(stream: AsyncIterator[bytes]) -> None:
    await stream.aclose()  # type: ignore[attr-defined]


def test_an_event_is_what_the_standard_says_whatever_stands_in_it() -> None:
    assert event("one") == b"data: one\n\n"
    assert event("one\n\ntwo") == b"data: one\ndata: \ndata: two\n\n"
    assert event("", "again") == b"event: again\ndata: \n\n"
    assert event("a\r\n\revent: evil") == b"data: a\ndata: event: evil\n\n"
    assert event("zwölf\u2028mehr").decode() == "data: zwölf\u2028mehr\n\n"


def test_all_who_look_at_a_part_see_what_one_look_has_found() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        streams = [await following(parts.stream("a", lab.look)) for _ in range(20)]
        for shown in ("first", "second"):
            lab.shown = shown
            got = await asyncio.gather(*(anext(one) for one in streams))
            assert set(got) == {event(shown)}
        assert len(parts) == 1 and lab.at_once == 1
        before = lab.looks
        await looked(lab, 3)
        assert lab.looks - before < 20  # not one for each who looks
        for one in streams:
            await left(one)
        assert len(parts) == 0

    run(work)


def test_parts_of_others_are_others() -> None:
    async def work() -> None:
        one, two = Lab(), Lab()
        two.shown = "of two"
        parts = one.live()
        first = await following(parts.stream("a viewer", one.look))
        second = await following(parts.stream("a operator", two.look))
        assert (await anext(first), await anext(second)) == (event("first"), event("of two"))
        assert len(parts) == 2
        await left(first)
        await left(second)

    run(work)


def test_what_has_not_changed_is_not_sent_and_one_who_comes_later_gets_it_all_the_same() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        waiting = asyncio.ensure_future(anext(stream))
        await looked(lab, 5)
        assert not waiting.done()
        later = await following(parts.stream("a", lab.look))
        assert await anext(later) == event("first")
        assert not waiting.done()
        lab.shown = "second"
        assert await waiting == event("second") == await anext(later)
        await left(stream)
        await left(later)

    run(work)


def test_one_who_reads_slowly_gets_the_newest_and_holds_up_nobody() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        slow = await following(parts.stream("a", lab.look))
        quick = await following(parts.stream("a", lab.look))
        for number in range(5):
            lab.shown = f"number {number}"
            assert await anext(quick) == event(lab.shown)
        assert await anext(slow) == event("number 4")
        await left(slow)
        await left(quick)

    run(work)


def test_a_stream_ends_with_the_release_that_let_it_in_and_the_next_goes_on() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        lab.release = "two"
        assert [one async for one in stream] == [AGAIN]
        assert len(parts) == 0
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        await left(stream)

    run(work)


def test_a_stream_ends_after_its_time_so_that_a_token_is_judged_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "SETTLED", 0.0)

    async def work() -> None:
        lab = Lab()
        stream = await following(lab.live().stream("a", lab.look))
        assert await anext(stream) == event("first")
        monkeypatch.setattr(live, "LONGEST", 0.0)
        assert [one async for one in stream] == [AGAIN]

    run(work)


def test_a_stream_that_begins_right_after_a_reload_is_judged_again_once_that_has_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker of NGINX of before may have let it in, on a connection that the browser had."""

    monkeypatch.setattr(live, "SETTLED", 100 * PACE)

    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        lab.release = "two"
        assert [one async for one in stream] == [AGAIN]
        stream = await following(parts.stream("a", lab.look))
        assert [one async for one in stream] == [event("first"), AGAIN]
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        waiting = asyncio.ensure_future(anext(stream))
        await looked(lab, 10)
        assert not waiting.done()  # this one stays
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await left(stream)

    run(work)


def test_a_quiet_stream_says_now_and_then_that_it_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "QUIET", PACE)

    async def work() -> None:
        lab = Lab()
        stream = await following(lab.live().stream("a", lab.look))
        assert await anext(stream) == event("first")
        assert await anext(stream) == b": still here\n\n" == await anext(stream)
        await left(stream)

    run(work)


def test_nobody_who_looks_nothing_that_is_gathered() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        one = await following(parts.stream("a", lab.look))
        two = await following(parts.stream("a", lab.look))
        await anext(one)
        await left(one)
        await looked(lab, 2)  # for the other one
        await left(two)
        await gone()
        assert len(parts) == 0

    run(work)


def test_a_look_that_fails_is_told_once_and_is_not_the_last() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live()
        stream = await following(parts.stream("a", lab.look))
        assert await anext(stream) == event("first")
        lab.shown = "fails"
        assert await anext(stream) == event("failed: ZeroDivisionError")
        waiting = asyncio.ensure_future(anext(stream))
        await looked(lab, 3)
        assert not waiting.done()
        lab.shown = "first"
        assert await waiting == event("first")
        await left(stream)

    run(work)


def test_however_many_look_the_release_is_asked_for_once_a_pace() -> None:
    async def work() -> None:
        lab = Lab()
        parts = lab.live(pace=3600)
        streams = [await following(parts.stream(f"{one}", lab.look)) for one in range(50)]
        for one in streams:
            await anext(one)
        assert lab.asked == 1
        for one in streams:
            await left(one)

    run(work)


def test_what_takes_long_is_looked_at_less_often() -> None:
    async def work() -> None:
        lab, long, begun = Lab(), 20 * PACE, list[float]()
        clock = asyncio.get_running_loop().time

        def look() -> str:
            begun.append(clock())
            time.sleep(long)
            return f"{len(begun)}"

        stream = await following(lab.live().stream("a", look))
        for number in ("1", "2", "3"):
            assert await anext(stream) == event(number)
        first, second, third = begun[:3]
        assert min(second - first, third - second) >= (1 + live.REST) * long


@pytest.mark.parametrize(
    ("took", "rest"),
    [([], 1.0), ([0.001] * 10, 1.0), ([0.04], 1.0), ([0.06], 1.5), ([0.06, 0.06, 0.02], 3.5),
     ([0.06] * 50, 10.0)],
)  # fmt: skip
def test_what_takes_long_to_gather_is_gathered_less_often(took: list[float], rest: float) -> None:
    parts = Live(str, str)
    parts._parts = {f"{n}": Watched(str, took=one) for n, one in enumerate(took)}
    assert parts.rest() == pytest.approx(rest)


def test_a_look_is_measured_by_what_it_computes_and_not_by_what_it_waits_for() -> None:
    async def work() -> None:
        parts, go = Lab().live(), threading.Event()

        def look() -> str:
            until = time.thread_time() + 0.02
            while time.thread_time() < until:
                pass
            go.wait(0.2)
            return "looked"

        stream = await following(parts.stream("a", look))
        assert await anext(stream) == event("looked")
        assert 0.02 <= parts._parts["a"].took < 0.1
        await left(stream)

    run(work)


def test_looks_that_hang_hold_up_no_page_and_are_few_at_once() -> None:
    async def work() -> None:
        lab, may_end, within = Lab(), threading.Event(), list[str]()
        begun = threading.Semaphore(0)

        def look() -> str:
            within.append(threading.current_thread().name)
            begun.release()
            may_end.wait(PATIENCE)
            return "it ends"

        parts = lab.live()
        streams = [await following(parts.stream(f"{one}", look)) for one in range(40)]
        waiting = [asyncio.ensure_future(anext(one)) for one in streams]
        for _ in range(live.AT_ONCE):
            assert await asyncio.to_thread(begun.acquire, timeout=PATIENCE)
        assert await asyncio.to_thread(lambda: "a page") == "a page"
        assert len(within) == live.AT_ONCE and all(one.startswith("look") for one in within)
        may_end.set()
        assert set(await asyncio.gather(*waiting)) == {event("it ends")}
        for one in streams:
            await left(one)

    run(work)


def test_a_release_that_is_slow_to_tell_holds_up_no_stream() -> None:
    async def work() -> None:
        lab, may_tell = Lab(), threading.Event()
        may_tell.set()

        def current() -> str:
            may_tell.wait(PATIENCE)
            return lab.current()

        stream = await following(Live(current, str, PACE).stream("a", lab.look))
        assert await anext(stream) == event("first")
        may_tell.clear()
        waiting = asyncio.ensure_future(anext(stream))
        await looked(lab, 5)  # the loop goes on
        may_tell.set()
        lab.shown = "second"
        assert await waiting == event("second")
        await left(stream)

    run(work)


def test_one_subject_leaves_room_for_the_others() -> None:
    room = Room()
    for number in range(live.PARTS_OF_ONE):
        room.take("eve", f"part {number}")
    with pytest.raises(TooMany, match="eve") as refused:
        room.take("eve", "one more")
    assert refused.value.fix
    room.take("eve", "part 0")  # another stream of the same part
    room.take("alice", "one more")
    room.give("eve", "part 0")
    with pytest.raises(TooMany):
        room.take("eve", "one more")  # the other stream of it is there
    room.give("eve", "part 0")
    room.take("eve", "one more")
    assert len(room) == live.PARTS_OF_ONE + 1


def test_a_console_keeps_only_so_many_parts_up_to_date_but_as_many_streams_of_them() -> None:
    room, subjects = Room(), -(-live.PARTS // live.PARTS_OF_ONE)
    for number in range(live.PARTS):
        room.take(f"subject {number % subjects}", f"part {number}")
    with pytest.raises(TooMany, match="this console"):
        room.take("late", "one more")
    for _ in range(live.STREAMS_OF_ONE):
        room.take("late", "part 0")
    with pytest.raises(TooMany, match="late"):
        room.take("late", "part 0")
    for _ in range(live.STREAMS_OF_ONE):
        room.give("late", "part 0")
    for number in range(live.PARTS):
        room.give(f"subject {number % subjects}", f"part {number}")
    assert len(room) == 0


@pytest.mark.slow
def test_of_ten_thousand_streams_nothing_is_left() -> None:
    """As a day of pages that are opened and closed: some left at once, some within an event, some
    cancelled while they wait, some forgotten."""

    async def work() -> None:
        lab = Lab()
        parts = lab.live()

        async def visit(number: int) -> None:
            stream = await following(parts.stream(f"page {number % 7}", lab.look))
            match number % 4:
                case 0:
                    await left(stream)
                case 1:
                    await anext(stream)
                    await left(stream)
                case 2:
                    waiting = asyncio.ensure_future(anext(stream))
                    await asyncio.sleep(0)
                    waiting.cancel()
                    await asyncio.gather(waiting, return_exceptions=True)
                    await left(stream)

        for begin in range(0, 10_000, 100):
            await asyncio.gather(*(visit(begin + one) for one in range(100)))
        while len(parts):  # those that nobody has closed, the loop closes
            await asyncio.sleep(0)

    run(work)
