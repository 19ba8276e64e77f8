"""What happens while a round trains: somebody is told how far it is, and the time runs out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Step:
    """How far a round is. ``left``: seconds to its end, at the pace so far and within the
    budget; None while that is unknown. Losses are None until they are taken."""

    step: int
    steps: int
    loss: float | None
    validation_loss: float | None
    left: float | None


class Clock:
    """The time that a tune has taken, over all its calls, and may take.

    Args:
        spent: seconds of the calls before this one.
        budget: None for no limit.
        keep: called with the time spent, to be written down.
    """

    def __init__(
        self, spent: float, budget: float | None, keep: Callable[[float], None] = lambda _: None
    ) -> None:
        self._before, self._budget, self._keep = spent, budget, keep
        self._start = time.monotonic()

    @property
    def spent(self) -> float:
        return self._before + time.monotonic() - self._start

    @property
    def left(self) -> float | None:
        return None if self._budget is None else self._budget - self.spent

    @property
    def is_over(self) -> bool:
        return self.left is not None and self.left <= 0

    def write_down(self) -> None:
        self._keep(self.spent)


def watcher(clock: Clock, tell: Callable[[Step], None]) -> Any:
    """A callback of transformers' trainer."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.loss: float | None = None
            self.checked: float | None = None
            self.first = 0
            self.start = 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.first, self.start = state.global_step, time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            self.loss = (logs or {}).get("loss", self.loss)

        def on_evaluate(
            self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
        ) -> None:
            self.checked = (metrics or {}).get("eval_loss", self.checked)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.write_down()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            done = state.global_step - self.first
            pace = (time.monotonic() - self.start) / done
            left = pace * (state.max_steps - state.global_step)
            if clock.left is not None:
                left = max(0.0, min(left, clock.left))
            tell(Step(state.global_step, state.max_steps, self.loss, self.checked, left))
            if clock.is_over:  # look once more, so that the best of what there is counts
                control.should_evaluate = control.should_save = True
                control.should_training_stop = True

    return Watcher()
