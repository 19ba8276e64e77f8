"""What an API says of its work: its queue, its tokens, its batches."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from llmlab.names import ASKS_MODEL
from llmlab.observe.samples import Samples


@dataclass(frozen=True)
class ApiFigures:
    """One page of an API's metrics.

    Args:
        waiting: requests that have no answer yet; ``waiting_texts`` and ``running_texts`` are
            what they consist of.
        queue: how many requests may wait; 0 where the API does not tell.
        requests: for a summary, since the API started, as are all below.
        tokens_in, tokens_out: read and written by the model.
        batches, batched: how often the model was called, and with how many texts in all.
        answers: summaries by where they are from: miss (made), coalesced (shared), hit (kept).
        rejected: requests turned away, by reason.
        memory: bytes of its process; 0 where the system does not tell.
    """

    model: str = ""
    model_id: str = ""
    runtime: str = ""
    waiting: int = 0
    queue: int = 0
    waiting_texts: int = 0
    running_texts: int = 0
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    batches: int = 0
    batched: int = 0
    answers: Mapping[str, int] | None = None
    rejected: Mapping[str, int] | None = None
    memory: int = 0

    @classmethod
    def of(cls, page: Samples) -> ApiFigures:
        told = page.labels("llmlab_model_info")

        def number(name: str) -> int:
            return int(page.total(name))

        def counted(label: str, name: str) -> dict[str, int]:
            return {value: int(count) for value, count in page.by(label, name).items()}

        by_route = counted("route", "llmlab_requests_total")
        return cls(
            model=told.get("model", ""), model_id=told.get("model_id", ""),
            runtime=told.get("runtime", ""), waiting=number("llmlab_queue_waiting"),
            queue=number("llmlab_queue_limit"), waiting_texts=number("llmlab_queue_texts"),
            running_texts=number("llmlab_running_texts"),
            requests=sum(count for route, count in by_route.items() if route in ASKS_MODEL),
            tokens_in=number("llmlab_input_tokens_total"),
            tokens_out=number("llmlab_output_tokens_total"),
            batches=number("llmlab_batch_texts_count"), batched=number("llmlab_batch_texts_sum"),
            answers=counted("source", "llmlab_answers_total"),
            rejected=counted("reason", "llmlab_rejected_total"),
            memory=number("process_resident_memory_bytes"),
        )  # fmt: skip


@dataclass(frozen=True)
class ApiRates:
    """What an API did within a while; nan where it did nothing of the kind.

    Args:
        batch: texts in a batch, on average.
        hits: percent of the answers that were there already, or shared with another request.
    """

    tokens_in: float
    tokens_out: float
    rejected: float
    batch: float
    hits: float

    @classmethod
    def between(cls, before: ApiFigures, after: ApiFigures, seconds: float) -> ApiRates:
        """Per second, of two pages of the same process."""
        batches = after.batches - before.batches
        answers = _sum(after.answers) - _sum(before.answers)
        made = (after.answers or {}).get("miss", 0) - (before.answers or {}).get("miss", 0)
        return cls(
            tokens_in=(after.tokens_in - before.tokens_in) / seconds,
            tokens_out=(after.tokens_out - before.tokens_out) / seconds,
            rejected=(_sum(after.rejected) - _sum(before.rejected)) / seconds,
            batch=(after.batched - before.batched) / batches if batches else math.nan,
            hits=100 * (1 - made / answers) if answers else math.nan,
        )


class Progress:
    """Looks at an API again and again, and tells its rates over the last so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks: deque[tuple[float, ApiFigures]] = deque(maxlen=1000)

    def look(self, figures: ApiFigures, now: float) -> ApiRates | None:
        """None at first: a rate needs two looks. An API that was started anew begins again."""
        looks = self._looks
        if looks and _went_back(looks[-1][1], figures):
            looks.clear()
        looks.append((now, figures))
        while len(looks) > 2 and looks[1][0] <= now - self._seconds:
            looks.popleft()
        then, before = looks[0]
        return ApiRates.between(before, figures, now - then) if now > then else None


def _went_back(before: ApiFigures, after: ApiFigures) -> bool:
    return (
        after.model_id != before.model_id
        or after.batches < before.batches
        or after.requests < before.requests
        or _sum(after.answers) < _sum(before.answers)
    )


def _sum(counts: Mapping[str, int] | None) -> int:
    return sum((counts or {}).values())
