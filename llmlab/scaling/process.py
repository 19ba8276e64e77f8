"""What moves the replicas of deployments that have bounds: python -m llmlab.scaling.process LAB

Supervised for as long as there is such a deployment; ends with 0 when there is none. It changes
replicas as `llmlab deployment scale` does, with an entry of the ledger for each change. What it has
seen it keeps in its memory alone: a new one begins with a look, and takes its time.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmlab.delivery.applying import change
from llmlab.delivery.deploying import resized
from llmlab.engines.base import Engine, Plan
from llmlab.engines.choice import running_engine
from llmlab.engines.record import Record
from llmlab.engines.resting import needed
from llmlab.engines.scale_bounds import are_scaled, bounds_of
from llmlab.engines.turns import processes_turn
from llmlab.errors import LlmlabError, UsageError
from llmlab.lab import Lab
from llmlab.rollout.store import Rollouts
from llmlab.saying import say
from llmlab.scaling import looking
from llmlab.scaling.decide import Decision, Look, Memory, decide
from llmlab.traffic import Traffic

WHO = "scaler"
LOOK = 2.0  # seconds between two looks, or ...
PART = 5  # ... so many within the shortest `up_after`
IDLE = 4  # times as long as a look took it pauses at least
RETRY, LONGEST_RETRY = 30.0, 600.0  # seconds until a change that failed is tried again
LIVES = 1.5  # seconds at least: the supervisor takes less for a failed start


@dataclass
class Scaler:
    """Looks at the deployments of one lab, and changes how many replicas they have.

    Args:
        clock: steady seconds.
        say: takes what is worth a line in the log, as a document.
    """

    lab: Lab
    clock: Callable[[], float]
    say: Callable[[dict[str, Any]], None]
    memories: dict[str, Memory] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    pause: float = LOOK

    def look(self) -> bool:
        """Look once, and do what follows. Returns whether there is anything to scale."""
        record = Record.read(self.lab)
        if record is None:
            return True  # it is being brought up, or down: nobody knows yet
        plan = record.plan()
        names = are_scaled(plan)
        if not names:
            return False
        self.pause = min(LOOK, *(bounds_of(plan, name).up_after / PART for name in names))
        engine = running_engine(self.lab)
        if engine is None or engine.name != record.engine:
            return True
        for decided, name in self._decided(engine, plan, names):
            if decided.why and self.clock() >= self.not_before.get(name, 0.0):
                self._change(plan, name, decided)
                break  # it has taken its time: what is known of the others is of before
        return True

    def _decided(self, engine: Engine, plan: Plan, names: list[str]) -> list[tuple[Decision, str]]:
        resting = [name for name in names if not plan.replicas(name)]
        in_vain = looking.in_vain(engine, resting)
        under_way = Rollouts(self.lab).needed()
        found = []
        for name in names:
            scale, replicas = bounds_of(plan, name), plan.replicas(name)
            load = looking.load(engine, name, replicas)
            held = "a rollout that is under way names it" if name in under_way else ""
            look = Look(
                self.clock(), replicas, load.ready, load.in_flight, load.requests,
                in_vain.get(name, 0), needed(plan, name) or held, held,
            )  # fmt: skip
            decided = decide(self.memories.get(name, Memory()).seen(look, scale), scale)
            self.memories[name] = decided.memory
            found.append((decided, name))
        return found

    def _change(self, plan: Plan, name: str, decided: Decision) -> None:
        before = plan.replicas(name)

        def to(traffic: Traffic) -> Traffic:
            return resized(plan, traffic, name, decided.replicas, was=before)

        what = {"did": "scale", "deployment": name, "replicas": decided.replicas}
        try:
            changed = change(self.lab, "deployment", what, to, decided.why, _nobody, who=WHO)
        except UsageError as error:  # it was routed to, or changed, in the same moment
            self.say({"message": f"{name} stays as it is: {error.message}", "deployment": name})
            return
        except LlmlabError as error:
            count = self.failures[name] = self.failures.get(name, 0) + 1
            wait = min(LONGEST_RETRY, RETRY * 2 ** (count - 1))
            self.not_before[name] = self.clock() + wait
            self.say({
                "level": "warning", "deployment": name, "fix": error.fix,
                "message": f"{name} cannot have {decided.replicas} replicas, next try in "
                f"{wait:.0f} s: {error.message}",
            })  # fmt: skip
            return
        self.failures.pop(name, None)
        if changed:
            self.say({
                "message": f"{name}: {before} -> {decided.replicas}, {decided.why}",
                "deployment": name, "replicas": decided.replicas,
            })  # fmt: skip

    def tick(self) -> bool:
        """As ``look``; what fails is told, and tried again at the next one."""
        try:
            return self.look()
        except (LlmlabError, OSError) as error:
            self.say({
                "level": "warning", "message": f"nothing is scaled now: {error}",
                "fix": getattr(error, "fix", None),
            })  # fmt: skip
            return True


def scale(lab: Lab, *, at_least: float = 0.0) -> None:
    """Scale the lab's deployments until none has bounds.

    Args:
        at_least: seconds that it stays, whether there is anything to do or not.
    """
    scaler, leaves = Scaler(lab, time.monotonic, say), time.monotonic() + at_least
    while True:
        began = time.monotonic()
        if not scaler.tick() and began >= leaves:
            # Whoever gives a deployment bounds starts this process in the same turn, and must
            # not find one that is about to leave.
            with processes_turn(lab):
                if not scaler.tick():
                    return
        took = time.monotonic() - began
        time.sleep(max(scaler.pause - took, IDLE * took if took < LOOK else 0.0, 0.05))


def _nobody(_: str) -> None:
    """The steps of a change stand in no log."""


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        scale(Lab(Path(sys.argv[1])), at_least=LIVES)
