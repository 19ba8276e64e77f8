"""Several streams as one, in the order in which their chunks come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
AHEAD = 64  # chunks that may wait for whoever reads them


def merged(streams: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[T]:
    """The first failure of one ends all of them."""
    # One, as nearly always: no tasks, no queue.
    return streams[0] if len(streams) == 1 else _together(streams)


async def _together(streams: Sequence[AsyncGenerator[T]]) -> AsyncGenerator[T]:
    came: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue(AHEAD)

    async def read(stream: AsyncGenerator[T]) -> None:
        try:
            async with aclosing(stream):
                async for one in stream:
                    await came.put((one,))
        except Exception as error:
            await came.put(error)
        else:
            await came.put(None)

    tasks = [asyncio.create_task(read(stream)) for stream in streams]
    try:
        left = len(tasks)
        while left:
            match await came.get():
                case None:
                    left -= 1
                case BaseException() as error:
                    raise error
                case (one,):
                    yield one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
