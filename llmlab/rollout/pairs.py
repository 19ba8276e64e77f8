"""Evidence of pairs: what the stable version answered a client, and what the candidate, whose
answer nobody saw, made of the same request.

A pair is one unit: of a subject's requests within a slice (``evidence.SLICE``) one is taken at
most, and of requests with the same text one; others are no independent samples. Somebody bets on
the bounded difference of each (``sequential``): against the candidate in the whole rollout, in its
favour in each step. No text is kept here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from llmlab.rollout.betting import against, in_favour
from llmlab.rollout.observed import Bets
from llmlab.rollout.pairs_gate import Bound, parse_pairs_gate
from llmlab.rollout.sequential import Wealth
from llmlab.rollout.state import Finding, Outcome, Rollout, Rules

KEPT = 1000  # units and texts that are known again
TESTED, BASE = 0, 1


@dataclass
class Sums:
    """Of one measure: the candidate's, the stable version's, and of how many pairs."""

    tested: float = 0.0
    base: float = 0.0
    n: int = 0

    def add(self, tested: float, base: float) -> None:
        self.tested += tested
        self.base += base
        self.n += 1

    @property
    def means(self) -> tuple[float, float]:
        return (self.tested / self.n, self.base / self.n) if self.n else (0.0, 0.0)


@dataclass
class Pairs:
    """
    Args:
        gate: as lab.toml has it; "" where nothing is paired.
        bets, total, step: by measure; of the whole rollout, and of this step.
        met: units and texts that were taken, the newest of them.
        read: the number of the newest request that was taken over from each deployment.
        pairs: of the whole rollout; ``step_pairs``: of this step.
        dropped: that the candidate was too busy for, or that it did not answer in time.
        worst: how far the worst pair was beyond the gate.
    """

    gate: str = ""
    bets: dict[str, Bets] = field(default_factory=dict)
    total: dict[str, Sums] = field(default_factory=dict)
    step: dict[str, Sums] = field(default_factory=dict)
    met: list[str] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    pairs: int = 0
    step_pairs: int = 0
    dropped: int = 0
    worst: float | None = None

    @classmethod
    def of(cls, rules: Rules) -> Pairs:
        """None yet."""
        if not rules.pairs:
            return cls()
        names = [one.measure for one in parse_pairs_gate(rules.pairs_gate)]
        return cls(rules.pairs_gate, {name: Bets() for name in names})

    @property
    def bounds(self) -> tuple[Bound, ...]:
        return _bounds(self.gate)

    def begin(self) -> None:
        """Another step: what speaks for it is asked for anew."""
        self.step, self.step_pairs = {}, 0
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

    def add(self, values: Mapping[str, tuple[float, float]]) -> bool:
        """Take in a pair.

        Args:
            values: (the candidate's, the stable version's), of each measure that it shows.

        Returns:
            Whether it is worse than any before.
        """
        self.pairs += 1
        self.step_pairs += 1
        beyond = [0.0]
        for bound in self.bounds:
            if bound.measure not in values:
                continue
            mine, theirs = values[bound.measure]
            for sums in (self.total, self.step):
                sums.setdefault(bound.measure, Sums()).add(mine, theirs)
            bets = self.bets[bound.measure]
            against(bets, mine, theirs, bound.margin)
            in_favour(bets, mine, theirs, bound.margin, 0.0)
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
            f"more than {allowed}: wealth {_w(worse)} > {_w(1 / level)}; "
            "llmlab rollout pairs shows the worst one"
        )
    elif bets.as_good.reached(needed):
        outcome, told = (
            Outcome.PASS,
            f"less than {allowed}: wealth {_w(as_good)} > {_w(1 / needed)}",
        )
    else:
        leans = sums.n > 0 and mine - theirs > bound.margin
        waits = rules.pairs_required or leans
        outcome = Outcome.INCONCLUSIVE if waits else Outcome.PASS
        told = f"{'not decided' if waits else 'nothing speaks against it yet'}: wealth " + (
            f"{_w(as_good)} of {_w(1 / needed)} to pass, {_w(worse)} of {_w(1 / level)} to fail"
        )
    figures = {
        "candidate": mine, "stable": theirs, "n": sums.n, "margin": bound.margin,
        "fail_wealth": worse, "fail_at": 1 / level, "pass_wealth": as_good, "pass_at": 1 / needed,
    }  # fmt: skip
    name = f"pairs {bound.measure}"
    of = f"{100 * mine:.1f} % of {sums.n} against {100 * theirs:.1f} %" if sums.n else "none yet"
    return Finding(name, outcome, f"{name}: {of}, {told}", figures)


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
