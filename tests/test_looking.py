"""The thread in which answers are held against their formats: bounded, and waited for by nobody
for long."""

from __future__ import annotations

import asyncio
from threading import Event

from llmlab.service.chat.looking import Looking


def test_what_is_found_is_told() -> None:
    assert asyncio.run(Looking().at(lambda: True)) is True


def test_where_too_much_waits_nothing_is_judged_and_later_it_is_again() -> None:
    looking, begun, go = Looking(waiting=2, patience=60), Event(), Event()

    def slow() -> bool:
        begun.set()
        return go.wait(60)

    async def several() -> None:
        first = asyncio.ensure_future(looking.at(slow))
        await asyncio.to_thread(begun.wait, 60)
        second = asyncio.ensure_future(looking.at(lambda: False))
        await asyncio.sleep(0)
        assert await looking.at(lambda: True) is None
        second.cancel()  # its client has gone, and so has what it waited for
        await asyncio.gather(second, return_exceptions=True)
        third = asyncio.ensure_future(looking.at(lambda: False))
        await asyncio.sleep(0)
        go.set()
        assert (await first, await third) == (True, False)

    asyncio.run(several())


def test_an_answers_end_waits_only_so_long() -> None:
    looking, go = Looking(patience=0.01), Event()

    async def one() -> bool | None:
        found = await looking.at(lambda: go.wait(60))
        go.set()
        return found

    assert asyncio.run(one()) is None
