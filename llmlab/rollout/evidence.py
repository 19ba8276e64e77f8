"""What is known of a candidate and of what it is held against, from the gateway's access log.

Answers of the two are compared with those of the other one that came at about the same time:
so whatever slows the whole machine down for a while tells against neither. They are taken in
as they come and not kept; what stays are counts, and the wealth of the bets (``sequential``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from llmlab.rollout.sequential import Wealth, upper_bound
from llmlab.rollout.state import ROUTE, Finding, Kind, Rollout
from llmlab.service.schemas import OWN_LIMIT

RECENT = 200  # answers that a quantile, or a reference from before, is made of
FEWEST = 20  # answers of the base, below which it has no quantile yet
PENDING = 200  # answers that wait for one of the other deployment; older ones are dropped
NOT_SLOW = 0.05  # seconds; what answers within them is slow for nobody, whatever the ratio
ROUTED = ("stable", "split")  # not those who asked for a deployment by name or flag
CLIENT_LEFT, TOO_MANY = 499, 429


@dataclass(frozen=True, slots=True)
class Seen:
    """An answer of a deployment. ``seconds`` is None where it says nothing of the model."""

    deployment: str
    error: bool
    seconds: float | None = None


def seen_in(line: str) -> Seen | None:
    """What a line of the gateway's access log tells of a deployment; None for nothing.

    Errors are answers from 500 on. An API's own 429 is one too: the deployment had no place
    for the request. Nobody blames a deployment for a client that left (499), for the gateway's
    rate limit, for a request that was wrong, or for a client that gave it too little time: whoever
    has a token could else decide a rollout. Nor do seconds have in them how slowly a client sends.
    """
    try:
        told: Mapping[str, Any] = json.loads(line)
        name, status = str(told["deployment"]), int(told["status"])
        # A line of an earlier nginx.conf says no more than the path, as the client spelled it.
        endpoint = told.get("endpoint", told["path"])
        if endpoint != ROUTE or told["method"] != "POST" or told["route"] not in ROUTED:
            return None
        overloaded = status == TOO_MANY and str(told["upstream_status"]).endswith(str(TOO_MANY))
        seconds = _upstream_seconds(told)
        impatient = OWN_LIMIT in str(told["timing"])
    except (ValueError, KeyError, TypeError):
        return None
    if not name or impatient or (400 <= status < 500 and not overloaded):
        return None
    if status >= 400:
        return Seen(name, True)
    # An answer that was kept from before says nothing of the model, and the candidate, being
    # new, has none.
    return Seen(name, False, None if told.get("cache") == "hit" else seconds)


def _upstream_seconds(told: Mapping[str, Any]) -> float:
    """Of all tries; a list like "0.003, 0.120", with a dash for one that was never sent."""
    tries = re.split(r", | : ", str(told["upstream_seconds"]))
    return sum(float(one) for one in tries if one != "-")


@dataclass
class Count:
    """Answers, and what they were like; probes are counted apart from what clients asked."""

    requests: int = 0
    errors: int = 0
    probes: int = 0
    probe_errors: int = 0
    timed: int = 0
    slow: int = 0

    @property
    def answers(self) -> int:
        return self.requests + self.probes

    @property
    def error_rate(self) -> float:
        return (self.errors + self.probe_errors) / self.answers if self.answers else 0.0

    @property
    def slow_rate(self) -> float:
        return self.slow / self.timed if self.timed else 0.0

    def add(self, seen: Seen, probe: bool) -> None:
        if probe:
            self.probes += 1
            self.probe_errors += seen.error
        else:
            self.requests += 1
            self.errors += seen.error


@dataclass
class Arm:
    """One deployment's answers: of the whole rollout, of this step, and the newest ones."""

    total: Count = field(default_factory=Count)
    step: Count = field(default_factory=Count)
    latencies: list[float] = field(default_factory=list)
    probe_latencies: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    slow: list[float] = field(default_factory=list)

    def count(self, seen: Seen, probe: bool) -> None:
        self.total.add(seen, probe)
        self.step.add(seen, probe)

    def time(self, seconds: float, slow: bool | None, probe: bool) -> None:
        if slow is not None:
            for count in (self.total, self.step):
                count.timed += 1
                count.slow += slow
        _push(self.probe_latencies if probe else self.latencies, seconds, RECENT)

    def quantile(self, share: float) -> float | None:
        """Of the newest answers' seconds, clients' before probes; None if there are none."""
        return quantile(self.latencies or self.probe_latencies, share)


@dataclass
class Bets:
    """One metric: 0 or 1 for each answer, compared in pairs of about the same time.

    Args:
        worse: for whoever bets that the candidate is worse by more than the margin.
        as_good: for whoever bets that it is not.
        tested, base: outcomes that wait for one of the other deployment.
    """

    worse: Wealth
    as_good: Wealth
    tested: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)

    @classmethod
    def against(cls, margin: float) -> Bets:
        return cls(Wealth("above", margin), Wealth("below", margin))

    def see(self, tested: bool, value: float) -> None:
        """Pair an outcome with those of the other one that came since the last pair."""
        _push(self.tested if tested else self.base, value, PENDING)
        if self.tested and self.base:
            self.pair(_mean(self.tested), _mean(self.base))
            self.tested, self.base = [], []

    def pair(self, tested: float, base: float) -> None:
        self.worse.bet(tested - base)
        self.as_good.bet(tested - base)

    def alone(self, value: float, before: Sequence[float]) -> None:
        """An outcome of the candidate where nothing else takes traffic any more: against the
        base's from before. What is not sure about them speaks for the candidate."""
        self.worse.bet(value - upper_bound(sum(before), len(before)))
        self.as_good.bet(value - _mean(before))


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
class Evidence:
    """All that is known, and how far the gateway's log has been read (``cursor``)."""

    tested_name: str
    base_name: str
    errors: Bets
    latency: Bets
    compares: bool = False
    cursor: str = ""
    step: int = 0
    tested: Arm = field(default_factory=Arm)
    base: Arm = field(default_factory=Arm)
    texts: Texts = field(default_factory=Texts)

    @classmethod
    def of(cls, rollout: Rollout) -> Evidence:
        """None yet. For ab nothing is allowed for: the question is whether there is a
        difference."""
        ab = rollout.kind is Kind.AB
        rules = rollout.rules
        return cls(
            rollout.candidate.deployment, rollout.base.deployment,
            Bets.against(0.0 if ab else rules.error_margin),
            Bets.against(0.0 if ab else rules.latency_margin),
            compares=ab,
        )  # fmt: skip

    def begin(self, step: int) -> None:
        """Ask anew at each step whether the candidate is as good; nothing that speaks against
        it is forgotten."""
        if step == self.step:
            return
        self.step = step
        self.tested.step, self.base.step = Count(), Count()
        if not self.compares:
            for bets in (self.errors, self.latency):
                bets.as_good = Wealth("below", bets.as_good.bound)

    def add(self, seen: Seen, *, alone: bool, ratio: float) -> None:
        """Take in a client's answer.

        Args:
            alone: the base takes no traffic at this step.
            ratio: to the base's p95, above which an answer is slow.
        """
        if seen.deployment not in (self.tested_name, self.base_name):
            return
        tested = seen.deployment == self.tested_name
        arm = self.tested if tested else self.base
        arm.count(seen, probe=False)
        self._outcome(self.errors, tested, float(seen.error), self.base.errors, alone)
        if seen.seconds is None:
            return
        slow = self._slow(seen.seconds, self.base.latencies, ratio)
        arm.time(seen.seconds, slow, probe=False)
        if slow is not None:
            self._outcome(self.latency, tested, float(slow), self.base.slow, alone)

    def add_probe(self, tested: Seen, base: Seen, *, ratio: float) -> None:
        """Take in what both made of the same text, asked directly."""
        for arm, seen in ((self.tested, tested), (self.base, base)):
            arm.count(seen, probe=True)
        self.errors.pair(float(tested.error), float(base.error))
        if tested.seconds is None or base.seconds is None:
            return
        before = self.base.probe_latencies
        slow = [self._slow(one.seconds, before, ratio) for one in (tested, base) if one.seconds]
        self.tested.time(tested.seconds, slow[0], probe=True)
        self.base.time(base.seconds, slow[1], probe=True)
        if slow[0] is not None and slow[1] is not None:
            self.latency.pair(float(slow[0]), float(slow[1]))

    def limit(self, ratio: float) -> float | None:
        """Seconds above which an answer is slow now; None as long as the base has no p95."""
        return _limit(self.base.latencies, ratio) or _limit(self.base.probe_latencies, ratio)

    def _outcome(
        self, bets: Bets, tested: bool, value: float, before: list[float], alone: bool
    ) -> None:
        if not tested:
            _push(before, value, RECENT)
        if tested and alone:
            if len(before) >= FEWEST:
                bets.alone(value, before)
        else:
            bets.see(tested, value)

    def _slow(self, seconds: float, before: list[float], ratio: float) -> bool | None:
        """By the base's answers before this one, which therefore has no say in it."""
        limit = _limit(before, ratio)
        return None if limit is None else seconds > limit

    def dump(self) -> dict[str, Any]:
        document: dict[str, Any] = _EVIDENCE.dump_python(self, mode="json")
        return document

    @classmethod
    def parse(cls, document: object) -> Evidence:
        return _EVIDENCE.validate_python(document)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that so large a share of all is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _limit(before: list[float], ratio: float) -> float | None:
    if len(before) < FEWEST:
        return None
    p95 = quantile(before, 0.95)
    assert p95 is not None
    return max(ratio * p95, NOT_SLOW)


def _push(values: list[float], value: float, most: int) -> None:
    values.append(value)
    del values[:-most]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)
