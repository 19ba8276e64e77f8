"""An answer that comes as events: progress, then the summary or a problem. No I/O here.

httpx2 takes the stream apart; this says what its events mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import httpx2
from pydantic import BaseModel, ValidationError

from llmlab.client.retry import Attempts, Outcome
from llmlab.service.schemas import CACHE, DEPLOYMENT, EVENTS, ProblemDocument, Progress

Tell = Callable[[Progress], None]
M = TypeVar("M", bound=BaseModel)
_CUT = (httpx2.NetworkError, httpx2.RemoteProtocolError)


class BrokenOff(httpx2.TransportError):
    """An answer had begun, and its end did not come."""


def is_stream(response: httpx2.Response) -> bool:
    """Whether an answer comes as events."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    return response.status_code == 200 and kind.strip().lower() == EVENTS


@dataclass
class Listening:
    """One stream of events, as it is heard.

    Args:
        head: the response whose body it is.
        tell: told how far the text is.
        attempts: after the first news of a text there is no other one.
    """

    head: httpx2.Response
    tell: Tell
    attempts: Attempts
    answer: httpx2.Response | None = None

    def hear(self, event: httpx2.ServerSentEvent) -> None:
        """Raises SSEError: this is none of a lab's events."""
        if self.answer:
            raise httpx2.SSEError(f"an event {event.event!r} after the last one")
        match event.event:
            case "progress":
                self.attempts.begun = True
                self.tell(_read(Progress, event))
            case "summary":
                self.answer = self._document(200, event.data)
            case "problem":
                problem = _read(ProblemDocument, event)
                self.answer = self._document(problem.status, event.data, problem.retry_after)
            case other:
                raise httpx2.SSEError(f"an event {other!r}")

    def outcome(self, error: httpx2.RequestError | None = None) -> Outcome:
        """What the stream came to: the document that would have been the answer without events.

        Args:
            error: what ended it, if it did not end by itself.
        """
        if self.answer:
            return self.answer
        if error and not (self.attempts.begun and isinstance(error, _CUT)):
            return error
        return BrokenOff("the stream ended before the summary")

    def _document(self, status: int, data: str, retry_after: int | None = None) -> httpx2.Response:
        names = ("X-Request-ID", DEPLOYMENT, CACHE)
        told = {name: self.head.headers[name] for name in names if name in self.head.headers}
        if retry_after is not None:
            told["Retry-After"] = str(retry_after)
        return httpx2.Response(
            status, headers=told, content=data.encode(), request=self.head.request
        )


def _read(model: type[M], event: httpx2.ServerSentEvent) -> M:
    try:
        return model.model_validate_json(event.data, strict=True)
    except ValidationError:
        raise httpx2.SSEError(f"an event {event.event!r} with {event.data[:80]!r}") from None
