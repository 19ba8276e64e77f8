"""What drives a rollout: python -m llmlab.rollout.controller LAB

Supervised for as long as a rollout is unfinished; ends with 0 when none is. All that it knows
is in the delivery database: after a kill -9 the next one goes on where it stood. A person's
verbs change the same database, and are seen within a tick.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmlab.errors import LlmlabError, unreadable
from llmlab.evaluate.suite import Case, find_suite, load_suite
from llmlab.lab import Lab
from llmlab.names import SUMMARIZE
from llmlab.rollout import shadowing, texts
from llmlab.rollout.background import Background, Done
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.judge_asking import JudgeAsking, LabJudge
from llmlab.rollout.judging import judge
from llmlab.rollout.machine import Tick, step
from llmlab.rollout.pairing import Pairing
from llmlab.rollout.process import only_driver
from llmlab.rollout.routes import TRIES
from llmlab.rollout.running import Running, RunningLab
from llmlab.rollout.seen import Seen, seen_in
from llmlab.rollout.settling import Clock, route, settle
from llmlab.rollout.state import Finding, Kind, Phase, Rollout
from llmlab.rollout.store import CONTROLLER, Kept, Rollouts
from llmlab.rollout.worst_pair import WorstPairs
from llmlab.saying import say

TICK = 1.0  # seconds
RETRY = 5.0  # seconds until what failed is tried again
LIVES = 1.5  # seconds at least: the supervisor takes less for a failed start
BEFORE = 1800.0  # seconds before a rollout, whose answers say what is usual ...
LINES = 20_000  # ... as far as they are among so many lines of the gateway's log
LATE = 1.0  # seconds that a line of the log may come after its time
LOOKS_AGAIN = 30.0  # seconds at least between two looks at the texts of one step


@dataclass
class Controller:
    """Drives what is under way on one route.

    Args:
        say: takes what is worth a line in the log, as a document.
    """

    rollouts: Rollouts
    running: Running
    background: Background
    root: Path
    clock: Clock
    say: Callable[[dict[str, Any]], None]
    route: str = SUMMARIZE
    retry_at: float = 0.0
    looked_at: float = 0.0
    probe_at: float = 0.0
    pairing: Pairing | None = None
    unpaired: str = ""

    def tick(self) -> bool:
        """Take what is under way a little further. Returns whether anything is."""
        kept = self.rollouts.unfinished(self.route)
        if kept is None:
            self.background.only(None)
            with self._complaining("the gateway does not take the routes"):
                if self.running.alive():
                    route(self.rollouts, self.running)
            return False
        if self.clock() < self.retry_at:
            return True
        if not self.running.alive():
            self._complain("the lab does not run", "llmlab up")
            return True
        if kept.rollout.phase in TRIES:
            self._try(kept)
        else:
            self._settle(kept.rollout)
        return True

    def _settle(self, rollout: Rollout) -> None:
        self.background.only(None)
        if rollout.rules.pairs and self.pairing:
            with self._unless_unpaired():
                self.pairing.end(rollout.route)
        with self._complaining(f"rollout {rollout.number} cannot be {rollout.phase} now"):
            after = settle(
                self.rollouts, self.running, rollout, self.clock,
                lambda text: self.say({"message": text, "rollout": rollout.number}),
            )  # fmt: skip
            self._say_change(rollout, after)

    def _try(self, kept: Kept) -> None:
        rollout, evidence = kept.rollout, kept.evidence
        self.background.only(rollout)
        with self._complaining("the gateway does not take the routes"):
            route(self.rollouts, self.running)
        evidence.begin(rollout.step, rollout.percent)
        heard = self._hear(rollout, evidence)
        heard |= self._collect(rollout, evidence)
        heard |= self._pair(rollout, evidence)
        self._begin_work(rollout, evidence)
        verdict = judge(rollout, evidence, self._text(rollout, evidence))
        now = self.clock()
        evidence.trail.note(
            now, rollout.step, evidence.tested, evidence.base, verdict, evidence.pairs
        )

        def ticked(one: Rollout) -> Rollout:
            # A person may have moved it since; the verdict was on where it stood before.
            moved = (one.phase, one.step, one.since) != (
                rollout.phase, rollout.step, rollout.since,
            )  # fmt: skip
            return one if moved else step(one, Tick(verdict), now)

        if not heard and verdict == rollout.verdict and ticked(rollout) == rollout:
            return
        after = self.rollouts.change(
            rollout.number, "judged", ticked, evidence=evidence, who=CONTROLLER
        )
        self._say_change(rollout, after)
        if after.phase not in TRIES or after.step != rollout.step:
            with self._complaining("the gateway does not take the routes"):
                route(self.rollouts, self.running)  # at once, not at the next tick

    # --- evidence -------------------------------------------------------------------------

    def _hear(self, rollout: Rollout, evidence: Evidence) -> bool:
        """Take in what the gateway has logged since. Returns whether that was anything."""
        with self._complaining("the gateway's log cannot be read"):
            if not evidence.cursor:
                self._look_back(rollout, evidence)
            lines, cursor = self.running.requests_since(evidence.cursor)
            for seen in self._seen(lines):
                evidence.add(seen)
            evidence.until(self.clock() - LATE)
            moved, evidence.cursor = cursor != evidence.cursor, cursor
            return moved
        return False

    def _look_back(self, rollout: Rollout, evidence: Evidence) -> None:
        """Learn what is usual from what the gateway has logged before this step began."""
        lines, evidence.cursor = self.running.requests_since("0", after=rollout.created - BEFORE)
        for seen in self._seen(lines[-LINES:]):
            if seen.at >= rollout.since:
                evidence.add(seen)
            elif seen.at >= rollout.created - BEFORE:
                evidence.learn(seen)

    def _seen(self, lines: Sequence[str]) -> Iterator[Seen]:
        """What of it happened on this route."""
        return (seen for seen in map(seen_in, lines) if seen and seen.route == self.route)

    def _collect(self, rollout: Rollout, evidence: Evidence) -> bool:
        done = self.background.collect(lambda text: self._complain(text))
        if done is None or (done.rollout, done.step) != (rollout.number, rollout.step):
            return False
        if rollout.kind is Kind.SHADOW:
            shadowing.take_in(rollout, evidence, done.pairs)
            return True
        if rollout.rules.probe_rate > 0:
            for pair in done.pairs:
                evidence.add_probe(pair.tested.seen, pair.base.seen)
        if done.look:
            self._look(rollout, evidence, done)
        return bool(done.pairs)

    def _look(self, rollout: Rollout, evidence: Evidence, done: Done) -> None:
        # Too long for this lab: whoever sends it is told so by either.
        pairs = [pair for pair in done.pairs if not 400 <= pair.base.status < 500]
        if any(pair.base.summary is None for pair in pairs):
            return  # nothing to hold it against; later again
        evidence.texts = texts.look(rollout, evidence.texts, pairs)

    def _begin_work(self, rollout: Rollout, evidence: Evidence) -> None:
        now, rules = self.clock(), rollout.rules
        if self.background.busy or rollout.phase is not Phase.PROGRESSING:
            return
        if rollout.kind is Kind.SHADOW:
            with self._complaining("the copies cannot be read", quiet=True):
                shadowing.begin(rollout, evidence, self.running, self.background, now)
            return
        cases = self._cases(rollout)
        again = max(rules.interval, LOOKS_AGAIN)
        due = evidence.texts.step != rollout.step or now - self.looked_at >= again
        if rules.text_gate and cases and due:
            self.looked_at = now
            self.background.begin(rollout, cases, look=True, now=now)
        elif rules.probe_rate > 0 and cases and now >= self.probe_at:
            number = evidence.tested.total.probes
            # So many in one go as the tick is long; the rate is what is asked for on average.
            count = max(1, round(rules.probe_rate * TICK))
            chosen = [cases[(number + one) % len(cases)] for one in range(count)]
            self.probe_at = now + count / rules.probe_rate
            self.background.begin(rollout, chosen, look=False, now=now)

    def _pair(self, rollout: Rollout, evidence: Evidence) -> bool:
        """Have the candidate answer some of what the stable version was asked."""
        if not rollout.rules.pairs or self.pairing is None:
            return False
        with self._unless_unpaired():
            found, self.unpaired = self.pairing.tick(rollout, evidence), ""
            return found
        return False

    @contextmanager
    def _unless_unpaired(self) -> Iterator[None]:
        """A failure is told once; the rollout goes on by what else is known. So it does after a
        fault of llmlab's own: what a client may have written ends no other route's rollouts."""
        try:
            yield
        except LlmlabError as error:
            self._tell_unpaired("warning", error.message, fix=error.fix)
        except Exception as error:
            told = unreadable(error) if isinstance(error, OSError) else type(error).__name__
            places = [
                f"{Path(one.filename).name}:{one.lineno} {one.name}"
                for one in traceback.extract_tb(error.__traceback__)
            ]
            self._tell_unpaired("error", told, trace=places)

    def _tell_unpaired(self, level: str, message: str, **more: Any) -> None:
        if message != self.unpaired:
            self.unpaired = message
            self.say({"level": level, "message": f"nothing is paired: {message}", **more})

    def _cases(self, rollout: Rollout) -> tuple[Case, ...]:
        with self._complaining("the texts cannot be read"):
            return texts.with_long(
                load_suite(find_suite(rollout.rules.probe_suite, self.root)).cases
            )
        return ()

    def _text(self, rollout: Rollout, evidence: Evidence) -> Finding | None:
        found = evidence.texts
        if not rollout.rules.text_gate:
            return None
        if rollout.kind is Kind.SHADOW:
            return found.finding or texts.not_yet(
                f"{len(found.rows)} copies are answered by both, {texts.FIRST_COPIES} are needed"
            )
        if found.finding and found.step == rollout.step:
            return found.finding
        return texts.not_yet(f"both are asked for the texts of {rollout.rules.probe_suite}")

    # --- what it says ---------------------------------------------------------------------

    def _say_change(self, before: Rollout, after: Rollout) -> None:
        if (before.phase, before.step) != (after.phase, after.step):
            self.say({
                "message": f"rollout {after.number}: {after.phase}", "rollout": after.number,
                "phase": after.phase, "step": after.step, "percent": after.percent,
                "paused": after.paused, "why": after.ending or None,
            })  # fmt: skip

    def _complain(self, message: str, fix: str | None = None) -> None:
        self.retry_at = self.clock() + RETRY
        self.say({"level": "warning", "message": message, "fix": fix})

    @contextmanager
    def _complaining(self, what: str, *, quiet: bool = False) -> Iterator[None]:
        """A failure is told, and tried again later."""
        try:
            yield
        except LlmlabError as error:
            if not quiet:
                self._complain(f"{what}: {error.message}", error.fix)


def control(lab: Lab, *, at_least: float = 0.0) -> None:
    """Drive the lab's rollouts until none is unfinished, or leave it to the one who does.

    Args:
        at_least: seconds that it stays, whether there is anything to do or not.
    """
    rollouts, leaves = Rollouts(lab), time.monotonic() + at_least
    while True:
        with only_driver(lab) as alone, ThreadPoolExecutor(1, "asking") as executor:
            running = RunningLab(lab)

            make = partial(_controller, rollouts, running, executor, lab)
            controllers = {SUMMARIZE: make(SUMMARIZE)}
            start = time.monotonic()
            while alone and (_tick(rollouts, controllers, make) or time.monotonic() < leaves):
                time.sleep(max(0.0, TICK - (time.monotonic() - start)))
                start = time.monotonic()
        # Whoever begins a rollout looks afterwards whether somebody holds the lock. So who has
        # let it go looks once more whether anything was begun meanwhile: one of both sees it.
        if not rollouts.routes():
            return
        time.sleep(0 if alone else TICK)


def _controller(
    rollouts: Rollouts, running: RunningLab, executor: Executor, lab: Lab, on: str
) -> Controller:
    background = Background(running, executor)
    asking = JudgeAsking(LabJudge(lab, time.time), time.time)
    pairing = Pairing(running, WorstPairs(lab), time.time, judge=asking)
    return Controller(rollouts, running, background, lab.root, time.time, say, on, pairing=pairing)


def _tick(
    rollouts: Rollouts, controllers: dict[str, Controller], make: Callable[[str], Controller]
) -> bool:
    """Take every rollout a little further. Returns whether there is any."""
    for on in rollouts.routes():
        if on not in controllers:
            controllers[on] = make(on)
    return any([one.tick() for one in controllers.values()])  # noqa: C419  each of them


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        control(Lab(Path(sys.argv[1])), at_least=LIVES)
