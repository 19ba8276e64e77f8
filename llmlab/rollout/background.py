"""What takes longer than a tick: asking both deployments for texts, and judging those.

One piece of work at a time; the controller's ticks begin it, go on, and collect it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass

from llmlab.errors import LlmlabError
from llmlab.evaluate.suite import Case
from llmlab.rollout.asking import Pair, ask_both
from llmlab.rollout.running import Running
from llmlab.rollout.state import Rollout


@dataclass(frozen=True)
class Done:
    """Answers of both to some texts. ``look``: they are all texts of the suite, to be judged."""

    rollout: int
    step: int
    pairs: list[Pair]
    look: bool
    begun: float


class Background:
    """Args:
    executor: runs one thing at a time, beside the ticks.
    """

    def __init__(self, running: Running, executor: Executor) -> None:
        self._running = running
        self._executor = executor
        self._future: Future[Done] | None = None
        self._wanted = (0, 0)

    @property
    def busy(self) -> bool:
        return self._future is not None

    def begin(self, rollout: Rollout, cases: Sequence[Case], *, look: bool, now: float) -> None:
        """Ask both for these texts."""
        tested, base = rollout.candidate.deployment, rollout.base.deployment
        place = self._place(rollout)

        def work() -> Done:
            pairs = ask_both(
                self._running, cases, tested, base, goes_on=lambda: self._wanted == place
            )
            return Done(*place, pairs, look and len(pairs) == len(cases), now)

        self._begin(place, work)

    def do(self, rollout: Rollout, ask: Callable[[], list[Pair]], now: float) -> None:
        """Ask in a way of one's own."""
        place = self._place(rollout)
        self._begin(place, lambda: Done(*place, ask(), False, now))

    def _begin(self, place: tuple[int, int], work: Callable[[], Done]) -> None:
        self._wanted = place
        self._future = self._executor.submit(work)

    @staticmethod
    def _place(rollout: Rollout) -> tuple[int, int]:
        return rollout.number, rollout.step

    def only(self, rollout: Rollout | None) -> None:
        """Nothing but work for this rollout's step is wanted any more."""
        self._wanted = self._place(rollout) if rollout else (0, 0)

    def collect(self, complain: Callable[[str], None]) -> Done | None:
        """What was finished since it was asked last."""
        if self._future is None or not self._future.done():
            return None
        future, self._future = self._future, None
        try:
            return future.result()
        except LlmlabError as error:
            complain(error.message)
            return None
