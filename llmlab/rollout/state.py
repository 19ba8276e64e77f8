"""A rollout, as it is written down: what is rolled out, how far it is, and why. Plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from pydantic import TypeAdapter

from llmlab.names import SUMMARIZE


class Kind(StrEnum):
    """How traffic gets to a candidate: in steps, all at once, for comparison, as copies, back."""

    CANARY = "canary"
    BLUEGREEN = "bluegreen"
    AB = "ab"
    SHADOW = "shadow"
    UNDO = "undo"


class Phase(StrEnum):
    """Where a rollout is. ``completing`` and ``aborting``: the routes are decided, and what is
    not needed any more is drained."""

    STARTING = "starting"
    PROGRESSING = "progressing"
    PAUSED = "paused"
    COMPLETING = "completing"
    COMPLETED = "completed"
    ABORTING = "aborting"
    ABORTED = "aborted"


OVER = frozenset({Phase.COMPLETED, Phase.ABORTED})


class Paused(StrEnum):
    """Why a rollout waits for a person."""

    PERSON = "a person paused it"
    INCONCLUSIVE = "the gate cannot decide"
    NO_TRAFFIC = "no traffic reached the candidate"
    DEADLINE = "the gate did not decide in time"
    PREVIEW = "the gate passed; the switch is a person's"
    BROKE = "something broke again and again"


class Outcome(StrEnum):
    """What evidence says of a candidate. ``none``: there is no evidence at all."""

    PASS = "pass"  # noqa: S105  no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NONE = "none"


@dataclass(frozen=True)
class Finding:
    """What the evidence says in one respect: ``errors``, ``latency`` or ``text``.

    Args:
        reason: one sentence with the numbers.
        waiting: more requests or more time may decide it.
    """

    metric: str
    outcome: Outcome
    reason: str
    figures: Mapping[str, float] = field(default_factory=dict)
    waiting: bool = True


@dataclass(frozen=True)
class Verdict:
    """What the evidence of a step says.

    Args:
        samples: answers of the candidate in this step that it rests on, probes included.
        broke: what looks as if something broke just now; "" for nothing.
        above: its errors in this step are above what is allowed, be it by chance.
    """

    outcome: Outcome
    reason: str
    findings: tuple[Finding, ...] = ()
    samples: int = 0
    broke: str = ""
    above: bool = False

    @property
    def waiting(self) -> bool:
        """Whether more requests may decide anything. Where one respect is left to a person, another
        may still end it: who is asked too early never learns that."""
        undecided = [one for one in self.findings if one.outcome is not Outcome.PASS]
        return not undecided or any(one.waiting for one in undecided)


@dataclass(frozen=True)
class Judged:
    """A verdict that something followed from. ``at``: seconds since 1970."""

    at: float
    step: int
    verdict: Verdict


@dataclass(frozen=True)
class Version:
    """A deployment, and the model version that it serves: a name of lab.toml, or NAME:VERSION."""

    deployment: str
    model: str


@dataclass(frozen=True)
class Rules:
    """What the steps and the gate of one rollout are; lab.toml may say otherwise by now.

    Each means what it means there, in the section rollout. ``text_gate`` "" judges no texts, and
    ``answer_gate`` "" not how answers come and end; ``pairs`` 0 pairs nothing.
    """

    steps: tuple[float, ...] = (5.0, 25.0, 50.0, 100.0)
    interval: float = 60.0
    progress_deadline: float = 1800.0
    on_deadline: Literal["pause", "abort"] = "pause"
    on_inconclusive: Literal["pause", "wait"] = "wait"
    alpha: float = 0.05
    min_samples: int = 20
    error_margin: float = 0.01
    latency_gate: str = "p50<=1.25x p95<=1.5x"
    holdback: float = 5.0
    bake: float = 600.0
    text_gate: str = ""
    probe_suite: str = "news"
    probe_rate: float = 0.0
    answer_gate: str = ""
    pairs: float = 0.0
    pairs_gate: str = ""
    pairs_required: bool = False
    judge_rate: float = 20.0


@dataclass(frozen=True)
class Rollout:
    """One rollout. All times in seconds since 1970, 0 for never.

    Args:
        stable: what had the traffic when it began.
        stable_before: what an earlier promotion had made stable when it began; "" where that was
            the configured deployment.
        arms: what it tries: the candidate; for ab, A and B. For undo, what the traffic goes
            back to.
        configured: the stable deployment of lab.toml, which no rollout ends.
        started: those of its deployments that it starts itself, and ends if they are not needed.
        retired: the deployment that was kept for `undo` so far; a promotion ends it.
        percent: of the requests, for the candidate (shadow: copies of so many; ab: for A).
        by: what the split is a function of: subject, cookie:NAME or claim:NAME.
        auto_promote: a blue-green rollout switches by itself once its gate passed.
        step: from 1; 0 before the first.
        since: when its step, or its phase, began.
        baking: it has passed all steps, and is watched for a while before it is promoted.
        setbacks: how often it gave traffic back because something looked broken.
        promoted: the deployment that got the traffic for good; "" for none (yet).
        ending: why it ended, in one sentence.
        verdict: the newest.
        judged: the verdicts that something followed from, the oldest first.
        route: the public name whose traffic it moves.
    """

    number: int
    kind: Kind
    stable: Version
    stable_before: str
    arms: tuple[Version, ...]
    configured: str
    rules: Rules = Rules()
    started: tuple[str, ...] = ()
    retired: str = ""
    percent: float = 0.0
    by: str = "subject"
    auto_promote: bool = False
    phase: Phase = Phase.STARTING
    step: int = 0
    since: float = 0.0
    baking: bool = False
    setbacks: int = 0
    paused: Paused | None = None
    promoted: str = ""
    who: str = ""
    why: str = ""
    created: float = 0.0
    ended: float = 0.0
    ending: str = ""
    verdict: Verdict | None = None
    judged: tuple[Judged, ...] = ()
    route: str = SUMMARIZE

    @property
    def candidate(self) -> Version:
        """The version that is tried; for ab, B."""
        return self.arms[-1]

    @property
    def base(self) -> Version:
        """What the candidate is held against."""
        return self.arms[0] if self.kind is Kind.AB else self.stable

    @property
    def over(self) -> bool:
        return self.phase in OVER

    @property
    def last_step(self) -> int:
        return len(self.rules.steps) if self.kind is Kind.CANARY else 1

    def share_at(self, number: int) -> float:
        """Percent of the requests at a step of a canary; 0 for none yet. What is held back stays
        with the stable version until the rollout is over: the two are compared to the end."""
        most = 100 - self.rules.holdback
        return min(self.rules.steps[number - 1], most) if number else 0.0

    def held_at(self, number: int) -> str:
        """Why a step has less than was asked for, to be said after its share; else ""."""
        if self.share_at(number) == self.rules.steps[number - 1]:
            return ""
        return f", {self.rules.holdback:g} % held back"

    @property
    def target(self) -> str:
        """What it is about, for a sentence."""
        return " or ".join(one.deployment for one in self.arms)

    def as_json(self) -> dict[str, Any]:
        document: dict[str, Any] = _ROLLOUT.dump_python(self, mode="json")
        return document

    @classmethod
    def parse(cls, document: object) -> Rollout:
        """Raises ValueError: it is no such document."""
        rollout = _ROLLOUT.validate_python(document)
        # Before there were several, the one route was called by its address.
        return replace(rollout, route=rollout.route.strip("/"))


_ROLLOUT: TypeAdapter[Rollout] = TypeAdapter(Rollout)
