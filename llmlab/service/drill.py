"""Fault drills: a deployment misbehaves on purpose, so that a gate, or a class, can catch it.

What to do is in a small file beside the deployment's settings, which `llmlab drill` writes and
removes. It is looked at twice a second, beside the requests; without one a drill costs nothing.
It outlives a restart of the process. Shares are exact and in turn, not drawn: of a drill on
20 percent, every fifth text is struck.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Annotated, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmlab.service.other_language import in_other_language

log = logging.getLogger("llmlab.service")

LOOK = 0.5  # seconds between two looks at the file
LARGEST = 16_384  # bytes of the file
LONGEST_DELAY = 600.0
CRASHED = 70  # sysexits.h EX_SOFTWARE; a supervisor starts the process again
LONGEST_TEXT = 1_000_000  # words that a drill may be above
MOST_SUBJECTS, LONGEST_SUBJECT = 20, 256  # and its characters
LONGEST_PATTERN = 256  # characters
WORDS_LEFT = 12  # of a text that is made worse
TIMES = 5  # that a repeated one is said
INVENTED = 7418  # a number that is told where there is none, or one near it

MARK = re.compile(r"[.!?…][\"'”’)\]]*$")
DIGIT = re.compile(r"\d")


class Kind(StrEnum):
    """How a deployment misbehaves."""

    SLOW = "slow"  # each text takes ``seconds`` more
    ERRORS = "errors"  # texts are answered with 500
    WORSE_TEXT = "worse-text"  # summaries lose their end and their names, and numbers change
    EMPTY = "empty"  # summaries are empty
    REPEAT = "repeat"  # summaries are said five times over
    INVENT = "invent"  # summaries tell a number that is nowhere in their texts
    OTHER_LANGUAGE = "other-language"  # answers are in another language than was asked for
    CRASH = "crash"  # the process ends
    # Of answers in OpenAI's dialect only.
    LATE = "late-first-token"  # the first token comes ``seconds`` later
    STALLS = "stalls"  # the second one comes ``seconds`` after it
    TRUNCATED = "truncated"  # it ends after a few words, as at a limit of tokens
    REFUSALS = "refusals"  # it is a refusal


# What each does, for people.
MEANS: Mapping[Kind, str] = {
    Kind.SLOW: "Have its texts take longer.",
    Kind.ERRORS: "Have it answer with 500.",
    Kind.WORSE_TEXT: "Have its summaries stop early, lose their names and tell wrong numbers.",
    Kind.EMPTY: "Have its summaries be empty.",
    Kind.REPEAT: "Have its summaries said five times over.",
    Kind.INVENT: "Have its summaries tell a number that is nowhere in their texts.",
    Kind.OTHER_LANGUAGE: "Have its answers be in another language than was asked for.",
    Kind.CRASH: "Have its process end in the middle of a request; it is started again each time.",
    Kind.TRUNCATED: "Have its chat answers end after a few words, as at a limit of tokens.",
    Kind.REFUSALS: "Have its chat answers be refusals.",
    Kind.LATE: "Have the first token of its chat answers come later.",
    Kind.STALLS: "Have its chat answers pause after their first token.",
}

# What has ``seconds``.
TIMED = frozenset({Kind.SLOW, Kind.LATE, Kind.STALLS})


class Drill(BaseModel):
    """A fault drill, as its file says it.

    Args:
        seconds: that ``slow``, ``late-first-token`` and ``stalls`` add.
        percent: of the texts that are struck.
        subjects: whose texts are struck; everybody's if there is none.
        longer_than: words that a text has more of if it is struck.
        containing: what stands in a text that is struck, in large letters or small.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: Annotated[Kind, Field(strict=False)]
    seconds: Annotated[float, Field(ge=0, le=LONGEST_DELAY, allow_inf_nan=False)] = 0.0
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = 100.0
    subjects: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=LONGEST_SUBJECT)], ...],
        Field(max_length=MOST_SUBJECTS, strict=False),
    ] = ()
    longer_than: Annotated[int, Field(ge=0, le=LONGEST_TEXT)] = 0
    containing: Annotated[str, Field(max_length=LONGEST_PATTERN)] = ""

    @model_validator(mode="after")
    def _seconds_where_they_mean_something(self) -> Self:
        if (self.kind in TIMED) is not (self.seconds > 0):
            named = ", ".join(sorted(TIMED))
            raise ValueError(f"{named}, and nothing else, have seconds, and more than none")
        return self

    def strikes(self, subject: str, text: str) -> bool:
        """Whether this text is one of those of which it strikes a share."""
        if self.subjects and subject not in self.subjects:
            return False
        if self.containing.lower() not in text.lower():
            return False
        return not self.longer_than or len(text.split()) > self.longer_than

    def __str__(self) -> str:
        """``slow, 2 s more for 20 % of the texts of more than 900 words by alice``"""
        what = f"{self.kind}, {self.seconds:g} s more for" if self.seconds else f"{self.kind} for"
        which = f"{'all' if self.percent == 100 else f'{self.percent:g} % of the'} texts"
        if self.longer_than:
            which += f" of more than {self.longer_than} words"
        if self.containing:
            which += f" with {self.containing!r}"
        return f"{what} {which}" + (f" by {', '.join(self.subjects)}" if self.subjects else "")


class Struck(Exception):
    """This text is one of those that a drill has fail."""


def drill_file(settings: Path, deployment: str) -> Path:
    """Where a deployment's drill stands: beside its settings, be it in a folder of their own,
    as in a container, or in one that several deployments share."""
    name = "drill.json" if settings.name == "settings.json" else f"{deployment}.drill.json"
    return settings.with_name(name)


class Drills:
    """The drill that is on, if any. It belongs to the event loop.

    Args:
        file: may appear, change and go at any time; None for a process without drills.
        changed: told of the drill that is on from now on, if any.
    """

    def __init__(
        self,
        file: Path | None = None,
        *,
        changed: Callable[[Drill | None], None] = lambda _: None,
    ) -> None:
        self._file = file
        self._changed = changed
        self._seen: tuple[int, int, int] | None = None
        self._due = 0.0  # percent that were not struck yet
        self.current: Drill | None = None

    async def watch(self) -> None:
        """Look at the file for ever."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """Take note of what the file says now, if it is another one than before."""
        if self._file is None:
            return
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        except OSError:
            seen = None
        if seen == self._seen:
            return
        self._seen = seen
        before, self.current = self.current, self._read() if seen else None
        if self.current != before:
            self._due = 0.0
            log.warning("fault drill: %s", self.current or "over")
            self._changed(self.current)

    def _read(self) -> Drill | None:
        assert self._file is not None
        try:
            with self._file.open("rb") as file:
                return Drill.model_validate_json(file.read(LARGEST))
        except OSError as error:
            log.error("%s cannot be read: %s", self._file, error.strerror)
        except ValidationError as error:
            said = "; ".join(f"{_path(one['loc'])}: {one['msg']}" for one in error.errors())
            log.error("%s is no drill, so there is none: %s", self._file, said)
        return None

    def strikes(self, subject: str, text: str) -> Drill | None:
        """The drill, if this text is one of those that it strikes. Asked once for each."""
        drill = self.current
        if drill is None or not drill.strikes(subject, text):
            return None
        self._due += drill.percent
        if self._due < 100:
            return None
        self._due -= 100
        return drill


async def strike(drill: Drill | None, patience: float) -> float:
    """Do to a text what a drill does before it is read.

    Args:
        patience: seconds that its client waits.

    Returns:
        Seconds that are left of them; none if the delay alone takes them all.

    Raises:
        Struck: it is to fail.
    """
    if drill is None:
        return patience
    match drill.kind:
        case Kind.SLOW:
            await asyncio.sleep(min(drill.seconds, patience))
            return max(0.0, patience - drill.seconds)
        case Kind.ERRORS:
            raise Struck
        case Kind.CRASH:
            _crash()
    return patience


def spoiled(drill: Drill | None, summary: str, source: str = "") -> str:
    """A summary after what a drill does to it: always the same of the same one.

    Args:
        source: what it is a summary of.
    """
    match drill and drill.kind:
        case Kind.WORSE_TEXT:
            return worse(summary)
        case Kind.EMPTY:
            return ""
        case Kind.REPEAT:
            return " ".join([summary] * TIMES)
        case Kind.INVENT:
            return f"{summary} There were {_number_beside(source + summary)} of them."
        case Kind.OTHER_LANGUAGE:
            return in_other_language(summary, source)
    return summary


def worse(summary: str) -> str:
    """The first words of a summary, less one at least, without names and with other numbers.

    A name is what begins with a capital within a sentence.
    """
    words = summary.split()
    if len(words) == 1:  # of a language without spaces, say
        words = [summary[: len(summary) // 2] or summary]
    kept: list[str] = []
    begins = True
    for word in words[: max(1, min(WORDS_LEFT, len(words) - 1))]:
        if begins or not word[:1].isupper():
            kept.append(DIGIT.sub(lambda digit: "7418529630"[int(digit[0])], word))
        begins = bool(MARK.search(word))
    return " ".join(kept)


def _number_beside(text: str) -> int:
    """One that it does not have."""
    digits = set(re.findall(r"\d+", text))
    return next(number for number in count(INVENTED) if str(number) not in digits)


def _crash() -> NoReturn:
    log.warning("fault drill: this process ends now")
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(CRASHED)


def _path(loc: tuple[int | str, ...]) -> str:
    return ".".join(map(str, loc)) or "the file"
