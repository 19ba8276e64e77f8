"""Evidence of pairs: what the stable version answered a client, and what the candidate, whose
answer nobody saw, made of the same request.

A pair is one unit: of a subject's requests within a slice (``evidence.SLICE``) one is taken at
most, and of requests with the same text one; others are no independent samples. Somebody bets on
the bounded difference of each (``sequential``): against the candidate in the whole rollout, in its
favour in each step. For ab the question is whether there is a difference at all, in whichever
direction, of what callers of A ask. No text is kept here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from llmlab.rollout.betting import against, in_favour
from llmlab.rollout.judged_pairs import JudgeCounts
from llmlab.rollout.lately import MOST, noted, too_many
from llmlab.rollout.observed import SELDOM, Bets
from llmlab.rollout.pairs_gate import JUDGED, ONE_SIDED, Bound, parse_pairs_gate
from llmlab.rollout.sequential import Wealth
from llmlab.rollout.speed import FEWEST
from llmlab.rollout.state import Finding, Outcome, Rollout, Rules

KEPT = 1000  # units and texts that are known again
TESTED, BASE = 0, 1


@dataclass
class Sums:
    """Of one measure: the candidate's, the stable version's, and of how many pairs.

    Args:
        above, below: by how much, all together, the candidate's was more where it was more, and
            less where it was less; where each is 0 or 1, in how many pairs.
        known: of how many pairs these are: rollouts of before have none of their first ones.
    """

    tested: float = 0.0
    base: float = 0.0
    n: int = 0
    above: float = 0.0
    below: float = 0.0
    known: int = 0

    def add(self, tested: float, base: float) -> None:
        self.tested += tested
        self.base += base
        self.n += 1
        self.above += max(0.0, tested - base)
        self.below += max(0.0, base - tested)
        self.known += 1

    @property
    def means(self) -> tuple[float, float]:
        return (self.tested / self.n, self.base / self.n) if self.n else (0.0, 0.0)

    @property
    def figures(self) -> dict[str, float]:
        """What an interval of the difference is made of; none where not all of it is known."""
        return {"above": self.above, "below": self.below} if self.n == self.known else {}


@dataclass
class Pairs:
    """
    Args:
        gate: as lab.toml has it; "" where nothing is paired.
        bets, total, step: by measure; of the whole rollout, and of this step.
        met: units and texts that were taken, the newest of them.
        read: the number of the newest request that was taken over from each deployment.
        pairs: of the whole rollout; ``step_pairs``: of this step.
        step_untold: of those, how many the stable version's answer says nothing of, by measure.
        dropped: that were too long, that the candidate was too busy for, or did not answer in time.
        missed: that it failed, refused, or called a tool for: they speak against neither version.
        lately: of the newest copies, whether they are a pair.
        worst: how far the worst pair was beyond the gate.
        compares: the question is whether there is a difference.
        judge: what became of pairs that a judge was to look at.
    """

    gate: str = ""
    bets: dict[str, Bets] = field(default_factory=dict)
    total: dict[str, Sums] = field(default_factory=dict)
    step: dict[str, Sums] = field(default_factory=dict)
    met: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    step_pairs: int = 0
    step_untold: dict[str, int] = field(default_factory=dict)
    dropped: int = 0
    missed: int = 0
    lately: list[bool] = field(default_factory=list)
    worst: float | None = None
    compares: bool = False
    judge: JudgeCounts = field(default_factory=JudgeCounts)

    @classmethod
    def of(cls, rules: Rules, *, compares: bool = False) -> Pairs:
        """None yet."""
        if not rules.pairs:
            return cls()
        one = cls(rules.pairs_gate, compares=compares)
        one.bets = {bound.measure: Bets() for bound in one.bounds}
        return one

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """Of what is asked; a difference is not to be had of what has one direction only."""
        found = _bounds(self.gate)
        return tuple(one for one in found if not (self.compares and one.measure in ONE_SIDED))

    def begin(self) -> None:
        """Another step: what speaks for it is asked for anew."""
        self.step, self.step_pairs, self.step_untold = {}, 0, {}
        self.judge.begin()
        for bets in self.bets.values():
            bets.as_good = Wealth()

    def watch_from_now(self) -> None:
        for bets in self.bets.values():
            bets.worse.watch_from_now()

    def is_new(self, unit: str, text: str) -> bool:
        """Whether neither was met before.

        Args:
            unit: of a subject and a slice; ``text``: a digest.
        """
        return unit not in self.met and text not in self.met

    def meet(self, unit: str, text: str) -> None:
        """It is taken."""
        self.met += [unit, text]
        del self.met[:-KEPT]

    def add(self, values: Mapping[str, tuple[float, float]], untold: Collection[str] = ()) -> bool:
        """Take in a pair.

        Args:
            values: (the candidate's, the stable version's), of each measure that it shows.
            untold: see ``Measured``.

        Returns:
            Whether it is worse than any before.
        """
        self.pairs += 1
        self.step_pairs += 1
        self._note(True)
        for name in untold:
            self.step_untold[name] = self.step_untold.get(name, 0) + 1
        return self._take(values)

    def miss(self) -> None:
        """Take note of a copy that is no pair, as the candidate made nothing of it that could be
        compared."""
        self.missed += 1
        self._note(False)

    def _note(self, is_pair: bool) -> None:
        self.lately = noted(self.lately, is_pair)

    @property
    def holds(self) -> str:
        """Why no step passes as things are: pairs are what the candidate has chosen; "" for
        nothing."""
        if not (missed := too_many(self.lately)):
            return ""
        return (
            f"{missed} of the last {len(self.lately)} copies were failed, refused, or answered by "
            f"a tool call: {100 * MOST:g} % may be"
        )

    def add_judged(self, shown: tuple[float, float], *, of_step: bool) -> bool:
        """Take in what a judge says of a pair that was taken in before.

        Args:
            of_step: it was in this step; of an earlier one, nothing speaks for this one.

        Returns:
            As ``add``.
        """
        return self._take({JUDGED: shown}, of_step=of_step)

    def _take(self, values: Mapping[str, tuple[float, float]], *, of_step: bool = True) -> bool:
        beyond = [0.0]
        for bound in self.bounds:
            if bound.measure not in values:
                continue
            mine, theirs = values[bound.measure]
            for sums in (self.total, self.step) if of_step else (self.total,):
                sums.setdefault(bound.measure, Sums()).add(mine, theirs)
            bets = self.bets[bound.measure]
            margin = 0.0 if self.compares else bound.margin
            against(bets, mine, theirs, margin)
            if of_step:
                in_favour(bets, mine, theirs, margin, 0.0)
            beyond.append(mine - theirs - bound.margin)
        if max(beyond) <= (self.worst or 0.0):
            return False
        self.worst = max(beyond)
        return True


_bounds = lru_cache(maxsize=16)(parse_pairs_gate)


def findings(rollout: Rollout, pairs: Pairs, level: float, needed: float) -> list[Finding]:
    """What pairs say, measure by measure; nothing where nothing is paired.

    They speak against a candidate as soon as they can. Where they need not speak for it, only what
    leans against it keeps a step from passing: how many come is up to clients.

    Args:
        level: at which any of them fails, all together.
        needed: at which a step passes.
    """
    bounds = pairs.bounds
    if pairs.compares:
        return [_difference(rollout, pairs, one.measure, level / len(bounds)) for one in bounds]
    return [_finding(rollout.rules, pairs, one, level / len(bounds), needed) for one in bounds]


def _finding(rules: Rules, pairs: Pairs, bound: Bound, level: float, needed: float) -> Finding:
    bets = pairs.bets[bound.measure]
    worse, as_good = bets.worse.value, bets.as_good.value
    failed = bets.worse.reached(level)
    sums = (pairs.total if failed else pairs.step).get(bound.measure, Sums())
    mine, theirs = sums.means
    allowed = f"{100 * bound.margin:g} points above"
    if failed:
        outcome = Outcome.FAIL
        told = (
            f"more than {allowed}: evidence {_w(worse)} > {_w(1 / level)}; "
            "llmlab rollout pairs shows the worst one"
        )
    elif bets.as_good.reached(needed) and not _held(pairs, bound):
        outcome, told = (
            Outcome.PASS,
            f"less than {allowed}: evidence {_w(as_good)} > {_w(1 / needed)}",
        )
    elif held := _held(pairs, bound):
        outcome, told = Outcome.INCONCLUSIVE, f"not decided: {held}"
    else:
        leans = sums.n > 0 and mine - theirs > bound.margin
        seldom = _is_seldom(pairs, bound.measure)
        waits = leans or (rules.pairs_required and not seldom)
        outcome = Outcome.INCONCLUSIVE if waits else Outcome.PASS
        why = "not decided" if waits else "nothing speaks against it yet"
        if rules.pairs_required and seldom and not leans:
            why = f"not judged, fewer than {100 * SELDOM:g} % of the pairs tell"
        told = f"{why}: evidence " + (
            f"{_w(as_good)} of {_w(1 / needed)} that it passes, "
            f"{_w(worse)} of {_w(1 / level)} that it fails"
        )
    figures = {
        "candidate": mine, "stable": theirs, "n": sums.n, "margin": bound.margin,
        "fail_wealth": worse, "fail_at": 1 / level, "pass_wealth": as_good, "pass_at": 1 / needed,
        **sums.figures,
    }  # fmt: skip
    if outcome is Outcome.PASS and not bets.as_good.reached(needed):
        figures["unjudged"] = 1.0
    name = f"pairs {bound.measure}"
    of = f"{100 * mine:.1f} % of {sums.n} against {100 * theirs:.1f} %" if sums.n else "none yet"
    if bound.measure == JUDGED:
        figures |= pairs.judge.figures
        told += f"; {pairs.judge.told}"
        of = _judged(mine, theirs, sums.n) if sums.n else of
    return Finding(name, outcome, f"{name}: {of}, {told}", figures)


def _difference(rollout: Rollout, pairs: Pairs, measure: str, level: float) -> Finding:
    """Whether A and B differ in what both make of what callers of A ask."""
    bets, sums = pairs.bets[measure], pairs.total.get(measure, Sums())
    p = min(1.0, 2 / max(bets.worse.value, bets.as_good.value))
    told = "they differ" if p <= level else "no difference is shown"
    b, a = sums.means
    reason = (
        f"pairs {measure}: {rollout.base.deployment} {100 * a:.1f} %, "
        f"{rollout.candidate.deployment} {100 * b:.1f} % of {sums.n}: {told} "
        f"(p = {p:.2g}, to be at most {level:.2g})"
    )
    figures = {"a": a, "b": b, "n": sums.n, "p": p, "level": level, **sums.figures}
    if measure == JUDGED:
        figures |= pairs.judge.figures
        silent = f"; the judge {pairs.judge.silent}" if pairs.judge.silent else ""
        reason += f"{silent}; {pairs.judge.told}"
    return Finding(f"pairs {measure}", Outcome.INCONCLUSIVE, reason, figures)


def _judged(worse: float, better: float, n: int) -> str:
    return (
        f"the judge finds {100 * worse:.0f} % of {n} answers worse than the stable version's and "
        f"{100 * better:.0f} % better"
    )


def _held(pairs: Pairs, bound: Bound) -> str:
    """Why a step does not pass, whatever the bets say; "" where it may."""
    if pairs.holds or bound.measure != JUDGED:
        return pairs.holds
    return pairs.judge.holds(pairs.step.get(JUDGED, Sums()).n, pairs.step_pairs)


def _is_seldom(pairs: Pairs, measure: str) -> bool:
    """Whether the stable version's answers show it in so few of the step's pairs that nobody could
    wait for it to speak for the candidate: where no client asks for JSON, none is broken. The
    candidate's do not count: else one that says nothing had nothing to show."""
    told = pairs.step_pairs - pairs.step_untold.get(measure, 0)
    return pairs.step_pairs >= FEWEST and told < SELDOM * pairs.step_pairs


def _w(wealth: float) -> str:
    if wealth >= 1e6:
        return "10⁶+"
    return f"{wealth:.1f}" if wealth < 10 else f"{wealth:.0f}"


def unit_of(subject: str, at: float, seconds: float) -> str:
    """Args:
    seconds: that a slice takes.
    """
    return f"{int(at // seconds)} {subject}"


def worst_measures(values: Mapping[str, tuple[float, float]], gate: Sequence[Bound]) -> list[str]:
    """The measures in which a pair is beyond its bound, the worst first."""
    beyond = {
        one.measure: values[one.measure][TESTED] - values[one.measure][BASE] - one.margin
        for one in gate
        if one.measure in values
    }
    return sorted((name for name, by in beyond.items() if by > 0), key=lambda name: -beyond[name])
