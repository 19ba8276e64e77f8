"""Shadow requests: what a gateway mirrors to a deployment that nobody sees the answers of.

A request is answered at once with 202, and its text read when the model has nothing else to do;
see ``Batcher``. Texts and answers are kept for whoever compares versions: some of the newest
ones, in memory only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from llmlab.guards.rules import Blocked, GuardFailed, applying
from llmlab.names import SUMMARIZE
from llmlab.runtimes import Generation, TextTooLong
from llmlab.runtimes.chat import ChatFailure
from llmlab.service.aside import SUBJECT
from llmlab.service.chat.copies import CallsTool, Copied
from llmlab.service.chat.errors import ApiError
from llmlab.service.drill import Drills, Struck, spoiled, strike
from llmlab.service.guarding import Guarding, as_problem
from llmlab.service.metrics import Metrics
from llmlab.service.problems import FAILED
from llmlab.service.queued import Queued
from llmlab.service.reader import Reader
from llmlab.service.summarizer import TooSlow

log = logging.getLogger("llmlab.service")

WAITING = 8  # texts that may wait
KEPT, KEPT_CHARACTERS = 200, 4_000_000


@dataclass(frozen=True, slots=True)
class Mirrored:
    """A text that was mirrored here.

    Args:
        subject: who asked, for drills; it waits for its turn as everybody's.
        pair: as ``ShadowAnswer``.
    """

    request_id: str
    text: str
    generation: Generation
    subject: str = ""
    pair: bool = False


@dataclass(frozen=True, slots=True)
class ShadowAnswer:
    """What became of it: a summary, or an error.

    Args:
        n: grows from answer to answer, and from one process to the next: it begins with the
            milliseconds of the epoch.
        seconds: from its turn to its end.
        ended: how the answer to a conversation did; see ``chat.copies``.
        left_out: it says nothing that could be compared.
        pair: whoever compares versions has sent it, no gateway. A client chooses its request's id,
            but not this.
    """

    n: int
    request_id: str
    text: str
    seconds: float
    summary: str | None = None
    error: str | None = None
    truncated: bool = False
    ended: Mapping[str, Any] | None = None
    left_out: bool | None = None
    pair: bool | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def size(self) -> int:
        return len(self.text) + len(self.summary or "")


class Shadow:
    """Reads mirrored texts one after the other. It belongs to the event loop.

    Args:
        seconds: that one text may take.
        clock: gives seconds.
    """

    def __init__(
        self,
        reader: Reader,
        batcher: Queued,
        metrics: Metrics,
        drills: Drills,
        guarding: Guarding,
        *,
        seconds: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._reader, self._batcher, self._metrics = reader, batcher, metrics
        self._drills, self._guarding = drills, guarding
        self._patience = seconds
        self._clock = clock
        self._queue: asyncio.Queue[Mirrored | Copied] = asyncio.Queue(WAITING)
        self._kept: deque[ShadowAnswer] = deque()
        self._n = time.time_ns() // 1_000_000
        self.dropped = 0
        self._working = asyncio.create_task(self._work())

    @property
    def waiting(self) -> int:
        return self._queue.qsize()

    def offer(self, mirrored: Mirrored | Copied) -> bool:
        """Take a text, unless too many wait already."""
        try:
            self._queue.put_nowait(mirrored)
        except asyncio.QueueFull:
            self._drop()
            return False
        return True

    def answers(self, after: int = 0) -> list[ShadowAnswer]:
        """Those that are kept of the answers that came after the one with this number."""
        return [one for one in self._kept if one.n > after]

    async def close(self) -> None:
        self._working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._working

    # --- one text after the other ------------------------------------------------

    async def _work(self) -> None:
        while True:
            mirrored = await self._queue.get()
            start = self._clock()
            try:
                told = await self._read(mirrored)
            except (TimeoutError, TooSlow):
                self._drop()  # the model is busy with others, or too slow for what it gets
                continue
            except CallsTool:
                told = {"left_out": True}
            except (TextTooLong, ChatFailure) as error:
                told = {"error": error.message}
            except ApiError as error:
                told = {"error": error.message}
            except Struck:
                told = {"error": FAILED}
            except (Blocked, GuardFailed) as error:
                told = {"error": as_problem(error, "summary").detail}
            except Exception as error:
                log.exception("shadow request %s failed", mirrored.request_id)
                told = {"error": f"{FAILED} ({type(error).__name__})"}
            self._metrics.shadow.labels("failed" if "error" in told else "answered").inc()
            self._keep(mirrored, round(self._clock() - start, 4), told)

    async def _read(self, mirrored: Mirrored | Copied) -> dict[str, Any]:
        if isinstance(mirrored, Copied):
            async with asyncio.timeout(self._patience):
                told = await mirrored.write(self._patience)
            return {"summary": told["text"], "ended": told["ended"]}
        drill = self._drills.strikes(mirrored.subject, mirrored.text)
        place = self._batcher.enter_aside(SUBJECT)
        try:
            async with asyncio.timeout(self._patience):
                await strike(drill, self._patience)
                summary = await self._reader.read(
                    mirrored.text, mirrored.generation, place, lambda _: None
                )
        finally:
            self._batcher.leave(place)
        # As a client would have it: it is kept, and compared with what clients have got.
        rules = applying(self._guarding.rules, "answer", SUMMARIZE)
        text = await self._guarding.text(
            spoiled(drill, summary.text, mirrored.text), rules, "answer",
            {"request_id": mirrored.request_id}, asked=mirrored.text,
        )  # fmt: skip
        return {"summary": text, "truncated": summary.truncated}

    def _drop(self) -> None:
        self.dropped += 1
        self._metrics.shadow.labels("dropped").inc()

    def _keep(self, mirrored: Mirrored | Copied, seconds: float, told: dict[str, Any]) -> None:
        self._n += 1
        is_pair = isinstance(mirrored, Copied) or mirrored.pair
        answer = ShadowAnswer(
            self._n, mirrored.request_id, mirrored.text, seconds, pair=is_pair or None, **told
        )
        self._kept.append(answer)
        size = sum(one.size for one in self._kept)
        while len(self._kept) > KEPT or size > KEPT_CHARACTERS:
            size -= self._kept.popleft().size
