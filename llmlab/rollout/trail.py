"""How the evidence of a rollout went, moment by moment: what a picture of it is drawn from.

Verdicts are kept only where something followed from them. What led there would be lost with the
next look, and the gateway's log is rotated away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from llmlab.rollout.observed import Arm
from llmlab.rollout.pairs import Pairs
from llmlab.rollout.state import Verdict

MOST = 240  # moments; when there are as many, every second one goes and the next come half as often
CLOSEST = 1.0  # seconds between two of them, at first


@dataclass(frozen=True)
class Told:
    """What was known of one deployment.

    Args:
        requests: of clients, since the rollout began.
        errors: of them.
        p50, p95: seconds, of its newest answers; None if there are none.
    """

    requests: int
    errors: int
    p50: float | None
    p95: float | None

    @classmethod
    def of(cls, arm: Arm) -> Told:
        return cls(arm.total.requests, arm.total.errors, *arm.quantiles((0.5, 0.95)))


@dataclass(frozen=True)
class Wealths:
    """What the bets on one metric had come to, beside what they have to come to.

    Args:
        worse: that the candidate is worse than allowed, of the whole rollout.
        as_good: that it is not, of this step.
    """

    worse: float
    fail_at: float
    as_good: float
    pass_at: float


@dataclass(frozen=True)
class Means:
    """What pairs of the whole rollout had shown in one measure.

    Args:
        candidate, stable: means, from 0 to 1.
        n: pairs.
    """

    candidate: float
    stable: float
    n: int


@dataclass(frozen=True)
class Moment:
    """Args:
    at: seconds since 1970.
    tested, base: the candidate, and what it is held against.
    wealth: {metric: of its bets}; only of metrics that are bet on.
    pairs: {measure: of all pairs so far}; nothing where nothing is paired.
    """

    at: float
    step: int
    tested: Told
    base: Told
    wealth: Mapping[str, Wealths] = field(default_factory=dict)
    pairs: Mapping[str, Means] = field(default_factory=dict)


@dataclass
class Trail:
    """The moments of one rollout, the oldest first. The newest is always among them."""

    moments: list[Moment] = field(default_factory=list)
    closest: float = CLOSEST

    def note(
        self, at: float, step: int, tested: Arm, base: Arm, verdict: Verdict, pairs: Pairs
    ) -> None:
        """One more. It takes the place of the last one if that was only just before."""
        both = Told.of(tested), Told.of(base)
        moment = Moment(at, step, *both, _wealth(verdict), _means(pairs))
        if self._is_close(moment):
            self.moments[-1] = moment
            return
        if len(self.moments) >= MOST:
            self.closest *= 2
            del self.moments[1::2]
        self.moments.append(moment)

    def _is_close(self, moment: Moment) -> bool:
        if len(self.moments) < 2:
            return False
        before, last = self.moments[-2:]
        return last.at - before.at < self.closest and before.step == last.step == moment.step


def _wealth(verdict: Verdict) -> dict[str, Wealths]:
    found = {}
    for one in verdict.findings:
        figures = one.figures
        if "fail_wealth" in figures:
            found[one.metric] = Wealths(
                figures["fail_wealth"], figures["fail_at"],
                figures["pass_wealth"], figures["pass_at"],
            )  # fmt: skip
    return found


def _means(pairs: Pairs) -> dict[str, Means]:
    return {measure: Means(*one.means, one.n) for measure, one in pairs.total.items()}
