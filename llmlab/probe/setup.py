"""From what a person asked for to what is run; what contradicts itself is refused here."""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.client.chat import PATH
from llmlab.client.protocol import checked_name, path_for
from llmlab.client.sources import Source
from llmlab.errors import UsageError
from llmlab.probe.load import MOST_REQUESTS, MOST_SECONDS, Profile
from llmlab.probe.slo import Promise
from llmlab.probe.streams import Talk
from llmlab.probe.texts import (
    BUILT_IN,
    BUILT_IN_QUESTIONS,
    Texts,
    built_in,
    own,
    questions,
    repeated,
)

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
UNITS = {"ms": 0.001, "s": 1.0, None: 1.0, "m": 60.0, "h": 3600.0}
CLIENTS, SECONDS, TRIAL_SECONDS = 4, 30.0, 10.0


def parse_duration(option: str, text: str) -> float:
    """``500ms``, ``30s``, ``2m``, ``1h`` or a number of seconds; an hour at most.

    Raises:
        UsageError: it is none of these.
    """
    found = DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else -1.0
    if not 0 <= seconds <= MOST_SECONDS:
        raise UsageError(
            f"{option} {text!r} is no duration of at most {MOST_SECONDS / 3600:g} h",
            fix=f"{option} 500ms, 30s, 2m or 1h",
        )
    return seconds


@dataclass(frozen=True)
class Wishes:
    """The options as they were given; None where one was left out."""

    model: str | None = None
    concurrency: int | None = None
    rate: float | None = None
    duration: str | None = None
    requests: int | None = None
    warm_up: str = "2s"
    retry: float = 0.0
    timeout: float = 120.0
    until: Promise | None = None
    seed: int | None = None
    chat: bool = False
    route: str | None = None
    max_tokens: int | None = None

    def profile(self) -> Profile:
        """What to run; of a search, what all its trials share.

        Raises:
            UsageError: two options contradict each other, or one makes no sense.
        """
        self._agree()
        seconds = SECONDS
        if self.duration is not None:
            seconds = parse_duration("--duration", self.duration)
        elif self.until:
            seconds = TRIAL_SECONDS
        elif self.requests:
            seconds = MOST_SECONDS
        if not seconds:
            raise UsageError("--duration 0 leaves no time to measure", fix="--duration 30s")
        return Profile(
            path=PATH if self.chat else path_for(self.model),
            concurrency=self.concurrency or CLIENTS,
            rate=self.rate or 0.0,
            seconds=seconds,
            requests=self.requests or MOST_REQUESTS,
            warm_up=parse_duration("--warm-up", self.warm_up),
            retry=self.retry,
            timeout=self.timeout,
            seed=random.SystemRandom().randrange(10**6) if self.seed is None else self.seed,
            talk=self._talk() if self.chat else None,
        )

    def _talk(self) -> Talk:
        name = self.route or self.model
        most = {} if self.max_tokens is None else {"most": self.max_tokens}
        return Talk(checked_name(name) if name else "", **most)

    def _agree(self) -> None:
        if not self.chat and (self.route or self.max_tokens):
            other = "--route" if self.route else "--max-tokens"
            raise UsageError(f"{other} is for a chat", fix=f"llmlab load --chat {other} ...")
        if self.until and self.until.of_streams and not self.chat:
            raise UsageError(
                f"{self.until.text} is about streams, and summaries are none",
                fix=f"llmlab load --chat --until '{self.until.text}'",
            )
        if self.route and self.model:
            raise UsageError(
                "--route goes by the split of its deployments, and --model to one of them",
                fix="leave one of them out",
            )
        if self.rate and self.concurrency:
            raise UsageError(
                "--rate sends at its own pace, however many requests are under way; "
                "--concurrency waits for answers: they cannot both hold",
                fix="leave one of them out",
            )
        if self.until and (self.concurrency or self.requests):
            other = "--concurrency" if self.concurrency else "--requests"
            raise UsageError(
                f"--until looks for a rate, in trials of --duration each, and {other} is none",
                fix=f"leave {other} out; --rate is the first rate to try",
            )


@dataclass(frozen=True)
class Supply:
    """The texts, and in a few words what they are."""

    texts: Texts
    told: str


def supply(sources: Sequence[Source], repeat: int, seed: int, chat: bool = False) -> Supply:
    """Own texts, or built-in ones where there are none; ``repeat`` of them again and again.

    Args:
        chat: they are questions, and no texts to summarize.

    Raises:
        UsageError: a text cannot be read or is empty.
    """
    run = secrets.token_hex(3)
    if not sources:
        make, told = (questions, BUILT_IN_QUESTIONS) if chat else (built_in, BUILT_IN)
        if not repeat:
            return Supply(make(seed, run), told)
        endless = make(seed, str(seed))
        few = [endless(number) for number in range(repeat)]
        return Supply(repeated(few), f"{repeat} of those {told}; repeated")
    texts = [_read(source) for source in sources]
    told = f"{len(texts)} of one's own"
    if repeat:
        return Supply(repeated(texts[:repeat]), f"{len(texts[:repeat])} of one's own; repeated")
    return Supply(own(texts, run), f"{told}, each time with another last line")


def _read(source: Source) -> str:
    text = source.read()
    if not text.strip():
        raise UsageError(f"{source.name} is empty")
    return text


def described(profile: Profile) -> dict[str, Any]:
    """The profile, for a program that reads the figures."""
    open_loop = bool(profile.rate)
    return {
        "path": profile.path,
        "model": profile.talk.model if profile.talk else None,
        "max_tokens": profile.talk.most if profile.talk else None,
        "loop": "open" if open_loop else "closed",
        "concurrency": None if open_loop else profile.concurrency,
        "rate": profile.rate or None,
        "warm_up": profile.warm_up,
        "retry": profile.retry,
        "seed": profile.seed,
    }
