"""A chat model's turns: as many at once as it has slots, fair, and none for who has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from llmlab.runtimes import Encoded, Summary
from llmlab.service.metrics import Metrics
from llmlab.service.queued import QueueFull, TooLate
from llmlab.service.turns import Turns

TEXT = Encoded("text", 1, 1, 0, None)


async def nothing(_: Encoded) -> Summary:
    return Summary("", 0, 0, False)


def turns(slots: int = 1, limit: int = 8, **more: object) -> Turns:
    write: Callable[[Encoded], Awaitable[Summary]] = nothing
    return Turns(write, Metrics(), slots=slots, limit=limit, **more)  # type: ignore[arg-type]


def test_no_more_at_once_than_there_are_slots() -> None:
    most = now = 0

    async def one(model: Turns) -> None:
        nonlocal most, now
        place = model.enter("", 9)
        async with model.turn(place):
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1
        model.leave(place)

    async def work() -> None:
        model = turns(slots=2)
        await asyncio.gather(*(one(model) for _ in range(6)))
        assert model.texts == (0, 0)

    asyncio.run(work())
    assert most == 2


def test_subjects_take_turns() -> None:
    order: list[str] = []

    async def one(model: Turns, subject: str) -> None:
        place = model.enter(subject, 9)
        async with model.turn(place):
            order.append(subject)
            await asyncio.sleep(0)
        model.leave(place)

    async def work() -> None:
        model = turns()
        await asyncio.gather(*(one(model, name) for name in ("a", "a", "a", "a", "b")))

    asyncio.run(work())
    assert order.index("b") <= 2


def test_who_does_not_fit_or_would_come_too_late_is_turned_away() -> None:
    async def work() -> None:
        now = [0.0]
        model = turns(limit=2, clock=lambda: now[0])
        first = model.enter("a", 9)
        async with model.turn(first):
            now[0] = 10.0  # that is how long one takes
        holding = model.turn(first)
        await holding.__aenter__()
        with pytest.raises(TooLate):
            model.enter("a", 9)
        places = [model.enter(name, 99) for name in ("b", "c")]
        with pytest.raises(QueueFull) as raised:
            model.enter("d", 99)
        assert raised.value.retry_after >= 10
        for place in places:
            model.leave(place)
        await holding.__aexit__(None, None, None)

    asyncio.run(work())


def test_a_turn_of_who_was_cancelled_is_given_to_the_next() -> None:
    async def work() -> None:
        model = turns()
        places = [model.enter("a", 9) for _ in range(3)]
        came: list[int] = []

        async def one(number: int) -> None:
            try:
                async with model.turn(places[number]):
                    came.append(number)
                    await asyncio.sleep(0.01)
            finally:
                model.leave(places[number])

        tasks = [asyncio.create_task(one(number)) for number in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert came == [0, 2]
        assert model.texts == (0, 0)

    asyncio.run(work())


def test_what_nobody_waits_for_has_its_turn_when_the_model_is_idle() -> None:
    async def work() -> None:
        model, order = turns(slots=4), []
        aside, place = model.enter_aside("shadow"), model.enter("a", 9)

        async def one(name: str, which: object) -> None:
            async with model.turn(which):  # type: ignore[arg-type]
                order.append(name)
                await asyncio.sleep(0.02)

        await asyncio.gather(one("a", place), one("shadow", aside))
        assert order == ["a", "shadow"]

    asyncio.run(work())


def test_texts_of_a_request_are_written_in_their_order_and_told() -> None:
    async def work() -> None:
        told: list[int] = []
        model = turns(slots=2)
        place = model.enter("", 9)
        summaries = await model.generate(place, [TEXT, TEXT, TEXT], lambda: told.append(1))
        assert (len(summaries), len(told)) == (3, 3)
        model.leave(place)

    asyncio.run(work())
