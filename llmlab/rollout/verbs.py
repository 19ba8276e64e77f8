"""What a person can do with a rollout. Each verb changes what is wanted in one transaction, and
then has the gateway follow at once, whether there is a controller or not."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmlab.engines.base import Say
from llmlab.errors import UpstreamError, UsageError
from llmlab.names import SUMMARIZE
from llmlab.rollout import planning
from llmlab.rollout.judge_at_start import refuse_unless_judged
from llmlab.rollout.judged_pairs import asks_judge
from llmlab.rollout.machine import Abort, Promote, Verb, step
from llmlab.rollout.planning import Known, Wish, rollout_of, rules_of, undo_of
from llmlab.rollout.problems import refuse
from llmlab.rollout.routes import TRIES
from llmlab.rollout.running import Running
from llmlab.rollout.settling import Clock, route, settle
from llmlab.rollout.state import Kind, Phase, Rollout
from llmlab.rollout.store import Kept, Rollouts

LOOKS = 0.2  # seconds between two looks at whether a candidate answers
PATIENCE = 60.0  # seconds


@dataclass(frozen=True)
class Desk:
    """Where a person's verbs are done.

    Args:
        start_controller: have it running; returns whether it does.
        say: progress.
        patience: seconds, for a candidate that starts while it is promoted.
        route: whose rollout is meant; "" for the only one under way.
    """

    rollouts: Rollouts
    running: Running
    start_controller: Callable[[], bool]
    say: Say
    clock: Clock = time.time
    patience: float = PATIENCE
    route: str = ""

    # --- beginning ------------------------------------------------------------------------

    def start(self, wish: Wish, known: Known) -> Rollout:
        """Begin a rollout.

        Raises:
            UsageError: another one is under way, or this one makes no sense.
            GateFailure: its gate asks a judge that may not judge.
            UpstreamError: the lab does not run.
        """
        self._refuse_down()
        if wish.kind is Kind.AB:
            planning.checked_by(wish.by)
        rules = rules_of(known.config, wish)
        refuse(rules, known.root)
        if asks_judge(rules):
            refuse_unless_judged(self._planned(wish, known), known)
        rollout = self.rollouts.create(
            lambda number, traffic, history: rollout_of(
                wish, known, number, traffic, history, self.clock()
            )
        )
        return self._follow(rollout)

    def _planned(self, wish: Wish, known: Known) -> Rollout:
        rollouts = self.rollouts
        return rollout_of(wish, known, 0, rollouts.traffic(), rollouts.history(), self.clock())

    def undo(self, known: Known, *, to: int | None, who: str, why: str) -> Rollout:
        """Give all traffic back to what had it before: of a rollout that is under way, as abort
        does; else by a new rollout.

        Raises:
            UsageError: there is nothing to undo.
        """
        self._refuse_down()
        kept = self.rollouts.unfinished(self.route)
        if kept and to is not None:
            raise UsageError(
                f"rollout {kept.rollout.number} is under way", fix="llmlab rollout abort, first"
            )
        if kept:
            return self.do("undo", Abort(why), who=who)
        rollout = self.rollouts.create(
            lambda number, traffic, history: undo_of(
                known,
                number,
                traffic,
                history,
                self.clock(),
                to=to,
                who=who,
                why=why,
                route=self.route or SUMMARIZE,
            )
        )
        return self._follow(rollout)

    # --- going on -------------------------------------------------------------------------

    def do(self, name: str, event: Verb, *, who: str) -> Rollout:
        """Promote, pause, resume or abort the rollout that is under way.

        Raises:
            UsageError: none is, or the verb makes no sense now; nothing is changed.
        """
        if isinstance(event, Promote):
            self._until_started(event)
        kept = self._current(event)
        rollout = self.rollouts.change(
            kept.rollout.number, name, lambda one: step(one, event, self.clock()),
            who=who, why=event.why,
        )  # fmt: skip
        return self._follow(rollout)

    def _until_started(self, event: Promote) -> None:
        """Whoever promotes right after the start means the candidate once it answers. What makes
        no sense then either is refused at once."""
        until, told = time.monotonic() + self.patience, False
        while time.monotonic() < until and self.running.alive():
            kept = self.rollouts.unfinished(self.route)
            if kept is None or kept.rollout.phase is not Phase.STARTING:
                return
            if not told:
                started = replace(kept.rollout, phase=Phase.PROGRESSING, step=1)
                step(started, event, self.clock())
                self.say(f"waiting: {kept.rollout.target} does not answer yet")
            told = True
            time.sleep(LOOKS)

    def _current(self, event: Verb) -> Kept:
        kept = self.rollouts.current(self.route)
        if kept is None:
            raise UsageError("there was no rollout yet", fix="llmlab rollout start canary MODEL")
        step(kept.rollout, event, self.clock())  # says why, if it makes no sense
        return kept

    def _follow(self, rollout: Rollout) -> Rollout:
        """Have the lab follow what was decided: weights at once, the rest by the controller, or
        here if there is none."""
        if rollout.over:
            return rollout
        if not self.running.alive():
            self.say("the lab does not run; it is as decided once it is up")
            return rollout
        if rollout.phase is not Phase.STARTING:
            route(self.rollouts, self.running)
        controlled = self.start_controller()
        if controlled or rollout.phase in TRIES:
            return rollout
        self.say("no supervisor answers, so this is done here")
        return settle(self.rollouts, self.running, rollout, self.clock, self.say)

    def _refuse_down(self) -> None:
        if not self.running.alive():
            raise UpstreamError("the lab does not run", fix="llmlab up")
