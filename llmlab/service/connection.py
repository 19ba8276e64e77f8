"""What becomes of a request whose client hangs up."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

T = TypeVar("T")


class ClientGone(Exception):
    """The client hung up; nobody waits for the answer."""


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, and drop it when the client hangs up.

    Args:
        receive: of a request whose body was read, so that the end of the connection is next.

    Raises:
        ClientGone: nobody waits for the answer.
    """
    working = asyncio.current_task()
    assert working
    leaving = asyncio.ensure_future(receive())
    over = gone = False

    def drop(_: object) -> None:
        nonlocal gone
        if not over:  # it may have ended in the same moment
            gone = working.cancel()

    leaving.add_done_callback(drop)
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not working.uncancel():  # else somebody else wants it to end, too
            raise ClientGone from None
        raise
    finally:
        over = True
        leaving.cancel()
