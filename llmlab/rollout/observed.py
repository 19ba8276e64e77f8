"""What was observed of the two deployments of a rollout, as plain data: answers, and units of them.

``evidence`` says what a unit is, and takes them in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from llmlab.rollout.sequential import Wealth, lower_bound, upper_bound
from llmlab.rollout.state import Finding
from llmlab.rollout.subjects import SUBJECTS

RECENT = 200  # answers that a quantile is made of
LATELY = 30  # slices: a minute, in which something may have broken
SELDOM = 0.2  # of the stable version's answers, below which a respect need not be decided
PENDING = 200  # units that wait for one of the other deployment; older ones are dropped


@dataclass
class Count:
    """Answers, and what they were like; probes are counted apart from what clients asked.
    ``slow``: one number for each condition on the latency. ``refused``: requests that the API found
    wrong; they are no answers. ``told``: by respect, answers that say something of it, and how many
    of them are of those that are to be few."""

    requests: int = 0
    errors: int = 0
    probes: int = 0
    probe_errors: int = 0
    timed: int = 0
    slow: list[int] = field(default_factory=list)
    refused: int = 0
    told: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def answers(self) -> int:
        return self.requests + self.probes

    @property
    def error_rate(self) -> float:
        return (self.errors + self.probe_errors) / self.answers if self.answers else 0.0

    @property
    def refused_rate(self) -> float:
        asked = self.requests + self.refused
        return self.refused / asked if asked else 0.0

    def slow_rate(self, condition: int) -> float:
        return self.slow[condition] / self.timed if self.timed else 0.0

    def tells(self, respect: str) -> tuple[float, int]:
        """The share of those that are to be few, and of how many answers."""
        n, hits = self.told.get(respect, (0, 0))
        return (hits / n if n else 0.0), n

    def tell(self, respect: str, hit: bool) -> None:
        n, hits = self.told.get(respect, (0, 0))
        self.told[respect] = n + 1, hits + hit

    def add(self, error: bool, probe: bool) -> None:
        if probe:
            self.probes += 1
            self.probe_errors += error
        else:
            self.requests += 1
            self.errors += error

    def time(self, slow: Sequence[bool]) -> None:
        self.timed += 1
        self.slow = [a + b for a, b in zip(self.slow or [0] * len(slow), slow, strict=True)]


@dataclass
class Arm:
    """One deployment's answers: of the whole rollout, of this step, and the newest ones.
    ``subjects``: how many answers of this step each has got."""

    total: Count = field(default_factory=Count)
    step: Count = field(default_factory=Count)
    latencies: list[float] = field(default_factory=list)
    probe_latencies: list[float] = field(default_factory=list)
    subjects: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        self.step, self.subjects = Count(), {}

    def add(self, subject: str) -> None:
        if subject in self.subjects or len(self.subjects) < SUBJECTS:
            self.subjects[subject] = self.subjects.get(subject, 0) + 1

    def quantiles(self, shares: Sequence[float]) -> list[float | None]:
        """Of the newest answers' seconds, clients' before probes; None if there are none."""
        ordered = sorted(self.latencies or self.probe_latencies)
        return [quantile_of(ordered, one) if ordered else None for one in shares]


@dataclass
class Unit:
    """What a subject got from a deployment within a slice."""

    answers: int = 0
    errors: int = 0
    timed: int = 0
    slow: list[int] = field(default_factory=list)


@dataclass
class Value:
    """A unit in one respect.

    Args:
        share: of its answers, that failed or were slow.
        usual: the share that is usual for its subject.
        most: the share that may well be usual for it.
        tells: it may speak against the candidate.
    """

    share: float
    usual: float = 0.0
    most: float = 0.0
    tells: bool = True


@dataclass
class Bets:
    """One respect.

    Args:
        worse: of whoever bets that the candidate is worse than allowed; of the whole rollout.
        as_good: of whoever bets that it is not; of this step.
        tested, base: units that wait for one of the other deployment.
    """

    worse: Wealth = field(default_factory=Wealth.watching)
    as_good: Wealth = field(default_factory=Wealth)
    tested: list[Value] = field(default_factory=list)
    base: list[Value] = field(default_factory=list)

    def groups(self) -> Iterator[tuple[list[Value], list[Value]]]:
        """Units of both that wait: as many groups as the fewer of the two make, with at least
        one of each."""
        count = min(len(self.tested), len(self.base))
        if not count:
            del self.tested[:-PENDING], self.base[:-PENDING]
            return
        tested, base, self.tested, self.base = self.tested, self.base, [], []
        for number in range(count):
            yield tested[number::count], base[number::count]


@dataclass
class Texts:
    """How the texts of the two were judged.

    Args:
        looks: judgements so far whose answers were not those of the one before.
        digest: of the answers that were judged last.
        step: that they were judged at.
        copies: shadow only: the number of the newest answer that was read.
        rows: shadow only: what was measured of either's answer to the same text.
    """

    looks: int = 0
    digest: str = ""
    step: int = 0
    finding: Finding | None = None
    copies: int = 0
    rows: list[tuple[dict[str, float | None], dict[str, float | None]]] = field(
        default_factory=list
    )


@dataclass
class Moved:
    """What a subject got from the candidate, in the whole rollout."""

    answers: int = 0
    errors: int = 0


@dataclass
class Slice:
    """Units of a slice, and the sums of their shares of errors."""

    number: int
    tested: int
    tested_errors: float
    base: int
    base_errors: float


@dataclass
class Lately:
    """The slices of the last minute."""

    slices: list[Slice] = field(default_factory=list)

    def note(self, number: int, tested: Mapping[str, Unit], base: Mapping[str, Unit]) -> None:
        """One more is over."""
        mine, theirs = (
            [one.errors / one.answers for one in units.values() if one.answers]
            for units in (tested, base)
        )
        self.slices.append(Slice(number, len(mine), sum(mine), len(theirs), sum(theirs)))
        self.slices = [one for one in self.slices if one.number > number - LATELY]

    def broke(self, margin: float, usual: float) -> str:
        """What looks as if something broke, in words; "" for nothing.

        It is no proof at any level, and ends no rollout: it is why one takes traffic back while
        it looks on.

        Args:
            margin: that the candidate's share of errors may be above the other's.
            usual: the other's share of errors, at any time.
        """
        n, m = sum(one.tested for one in self.slices), sum(one.base for one in self.slices)
        if not n or not m:
            return ""
        mine = sum(one.tested_errors for one in self.slices)
        theirs = sum(one.base_errors for one in self.slices)
        if lower_bound(mine, n) <= upper_bound(max(theirs, m * usual), m, z=1.0) + margin:
            return ""
        mine, theirs = 100 * mine / n, 100 * theirs / m
        return f"{mine:.1f} % errors within the last minute, against {theirs:.1f} %"


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of all is not above."""
    return quantile_of(sorted(values), share) if values else None


def quantile_of(ordered: Sequence[float], share: float) -> float:
    """The same of values that are in order, of which there are some."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def push(values: list[float], value: float, most: int) -> None:
    """Add one and keep the newest."""
    values.append(value)
    del values[:-most]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
