"""How much and how long an answer may be, whoever it is that answers."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

import httpx2

LONGEST_ANSWER = 8 << 20  # bytes; progress on a text of ten million characters has half of it
# Of the body as it was sent; what comes out of here is decoded.
_SENT = ("content-encoding", "content-length", "transfer-encoding")


class TooMuch(httpx2.TransportError):
    """An answer was longer than any of a lab."""


@dataclass
class Bounds:
    """What is left to one answer.

    Args:
        seconds: from now to its end. A single read may wait as long again.
        left: bytes.
    """

    seconds: float
    left: int = LONGEST_ANSWER
    clock: Callable[[], float] = time.monotonic
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()

    def bounded(self, response: httpx2.Response) -> httpx2.Response:
        """The same answer, whose body raises what it comes to."""
        return self._with(response, self._parts(response))

    def abounded(self, response: httpx2.Response) -> httpx2.Response:
        """``bounded`` for asyncio."""
        return self._with(response, self._aparts(response))

    def _with(
        self, response: httpx2.Response, body: Iterator[bytes] | AsyncIterator[bytes]
    ) -> httpx2.Response:
        headers = {k: v for k, v in response.headers.items() if k.lower() not in _SENT}
        return httpx2.Response(
            response.status_code, headers=headers, content=body, request=response.request
        )

    def _parts(self, response: httpx2.Response) -> Iterator[bytes]:
        for part in response.iter_bytes():
            yield self._checked(part)

    async def _aparts(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        async for part in response.aiter_bytes():
            yield self._checked(part)

    def _checked(self, part: bytes) -> bytes:
        """Raises TooMuch or ReadTimeout."""
        self.left -= len(part)
        if self.left < 0:
            raise TooMuch(f"its answer has more than {LONGEST_ANSWER >> 20} MiB")
        if self.clock() - self._start > self.seconds:
            raise httpx2.ReadTimeout("the answer did not end in time")
        return part
