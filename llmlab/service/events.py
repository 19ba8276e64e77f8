"""Server-sent events: a response whose parts arrive when they happen."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llmlab.service.connection import while_connected
from llmlab.service.schemas import EVENTS, OWN_LIMIT

# Comments are no events, and readers pass over them.
COMMENT = ": it goes on\n\n"
# What comes next says that the model failed, or that the client would wait no longer. The gateway's
# log has it from here: the head said 200.
BROKEN, GIVEN_UP = ": broken off\n\n", ": given up\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, with a JSON object for its data."""

    name: str
    data: dict[str, Any]

    def __str__(self) -> str:
        # JSON without indentation has no line breaks, which would end the data.
        return f"event: {self.name}\ndata: {json.dumps(self.data, ensure_ascii=False)}\n\n"


def warning(status: int, headers: Mapping[str, str]) -> str:
    """What comes before an event with which a stream ends before its time; "" for nothing.

    Args:
        status, headers: that the answer would have had, had nothing been sent before.
    """
    if OWN_LIMIT in headers.get("Server-Timing", ""):
        return GIVEN_UP
    return BROKEN if status >= 500 or status == 429 else ""


class EventStream(StreamingResponse):
    """Sends events until there are no more, or nobody reads them.

    Args:
        after: called at the end, however it came about.
    """

    def __init__(
        self,
        events: AsyncIterator[Event | str],
        *,
        headers: Mapping[str, str],
        after: Callable[[], object],
    ) -> None:
        # A gateway must not hold events back until a buffer is full.
        unbuffered = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        texts = (str(event) async for event in events)
        super().__init__(texts, headers={**unbuffered, **headers}, media_type=EVENTS)
        self._after = after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_connected(receive, self.stream_response(send))
        finally:
            self._after()
