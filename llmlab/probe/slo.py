"""The highest rate at which a lab keeps a promise, such as `p95<2s`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Any

from llmlab.errors import GateFailure, UsageError
from llmlab.probe.figures import Figures
from llmlab.probe.load import MOST_RATE, Generator, Listener, Profile, Run

PROMISE = re.compile(
    r"((?:(?:first_token|gaps)\.)?(?:p50|p90|p95|p99|max|mean)|failed)"
    r"\s*<\s*(\d+(?:\.\d+)?)\s*(ms|s|%)"
)
UNITS = {"ms": 0.001, "s": 1.0, "%": 0.01}
FIRST_RATE = 1.0
FACTOR = 2.0
LOWEST = 1 / 16  # of the first rate; where that is too much, nothing is promised
PRECISION = 0.1  # the rate is found to so much of itself
# Requests that fail keep no promise on latency, so only few may.
MOST_FAILED = 0.01
# A percentile of a handful of requests says nothing: a slow trial lasts longer, within limits.
FEWEST_REQUESTS, LONGEST_TRIAL = 20, 60.0


@dataclass(frozen=True)
class Promise:
    """A measure by its name in the report: of ``latency``, or with a dot of ``streams``. ``limit``
    in seconds, or as a share for ``failed``."""

    measure: str
    limit: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Promise:
        """``p95<2s``, ``max<800ms``, ``first_token.p95<500ms`` or ``failed<1%``.

        Raises:
            UsageError: it is none of these.
        """
        found = PROMISE.fullmatch(text.strip())
        measure, number, unit = found.groups() if found else ("", "0", "")
        if not float(number) or (measure == "failed") != (unit == "%"):
            raise UsageError(
                f"--until {text!r} is no promise: it takes a measure, < and a limit",
                fix="--until 'p95<2s', 'max<800ms', 'failed<1%', or of a chat "
                "'first_token.p95<500ms' or 'gaps.p99<100ms', in quotes",
            )
        return cls(measure, float(number) * UNITS[unit], f"{measure}<{number}{unit}")

    @property
    def of_streams(self) -> bool:
        """Whether only a chat has it."""
        return "." in self.measure

    def kept(self, figures: Figures) -> bool:
        """Whether a run kept it. One that measured nothing, or in which many failed, did not."""
        return not self.broken_by(figures)

    def broken_by(self, figures: Figures) -> str:
        """What a run broke it with, in words; "" if it kept it."""
        if not figures.requests:
            return "nothing was answered"
        if figures.missed:
            return "this machine could not send so fast"
        if self.measure == "failed":
            return "" if figures.failed < self.limit else f"{figures.failed:.1%} failed"
        if figures.failed > MOST_FAILED:
            return f"{figures.failed:.1%} failed, and at most {MOST_FAILED:.0%} may"
        of = figures.streams if self.of_streams else figures.latency
        value: float = attrgetter(self.measure)(of)
        if math.isnan(value):
            return f"nothing of {self.measure.partition('.')[0]} was measured"
        return "" if value < self.limit else f"{self.measure} was {value:.3g} s"


@dataclass(frozen=True)
class Trial:
    """A run at one rate, in requests/s."""

    rate: float
    why: str  # it was broken; "" if it was kept
    figures: Figures
    run: Run

    @property
    def kept(self) -> bool:
        return not self.why

    def as_json(self) -> dict[str, Any]:
        told = {"rate": self.rate, "kept": self.kept, "broken_by": self.why}
        return told | self.figures.as_json()


@dataclass
class Search:
    """Double the rate until the promise breaks (or halve it until it holds), then bisect.

    ``trials`` holds what was measured even if the search is cancelled.

    Args:
        profile: what all trials share; its rate is the first to try, by default 1 request/s.
    """

    promise: Promise
    profile: Profile
    trials: list[Trial] = field(default_factory=list)

    @property
    def first(self) -> float:
        return self.profile.rate or FIRST_RATE

    @property
    def best(self) -> Trial | None:
        """The trial with the highest rate that kept the promise, if any did."""
        kept = [trial for trial in self.trials if trial.kept]
        return max(kept, key=lambda trial: trial.rate, default=None)

    @property
    def broken(self) -> Trial | None:
        """The trial with the lowest rate that broke it; None if the lab kept up with them all."""
        broken = [trial for trial in self.trials if not trial.kept]
        return min(broken, key=lambda trial: trial.rate, default=None)

    def next_rate(self) -> float | None:
        """The rate to try next; None when the answer is known."""
        best, broken = self.best, self.broken
        if not best and not broken:
            return self.first
        if not broken:
            highest = max(trial.rate for trial in self.trials)
            return min(MOST_RATE, highest * FACTOR) if highest < MOST_RATE else None
        if not best:
            return broken.rate / FACTOR if broken.rate > self.first * LOWEST else None
        gap = broken.rate - best.rate
        return best.rate + gap / 2 if gap > PRECISION * best.rate else None

    def profile_at(self, rate: float) -> Profile:
        """The trial at so many requests/s."""
        seconds = max(self.profile.seconds, min(LONGEST_TRIAL, FEWEST_REQUESTS / rate))
        return replace(self.profile, rate=rate, seconds=seconds)

    async def run(self, generator: Generator, listener: Listener) -> None:
        """Try rates until the answer is known."""
        while (rate := self.next_rate()) is not None:
            run = Run(self.profile_at(rate))
            await generator.run(run, listener)
            self.add(rate, run)

    def add(self, rate: float, run: Run) -> None:
        """What a trial at that rate measured."""
        figures = Figures.of(run)
        self.trials.append(Trial(rate, self.promise.broken_by(figures), figures, run))

    def insist(self) -> None:
        """Raises GateFailure if no rate kept the promise."""
        if self.best or not self.broken:
            return
        refused = self.broken.figures.refusals.by_gateway
        raise GateFailure(
            f"{self.promise.text} is not kept even at {self.broken.rate:.3g} requests/s: "
            f"{self.promise.broken_by(self.broken.figures)}",
            fix="the gateway's rate limit turned requests away: ask as more --subjects, or raise "
            "gateway.rate_limit" if refused else None,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        best, broken = self.best, self.broken
        return {
            "promise": self.promise.text,
            "rate": best.rate if best else None,
            "broken_at": broken.rate if broken else None,
            "trials": [trial.as_json() for trial in self.trials],
        }
