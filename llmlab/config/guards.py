"""[[guards]] of lab.toml: what texts are looked at for, and what happens where it is found.

Which keys there are depends on the kind: one that would have no effect is an error. Whether a
kind of somebody else's is installed, and takes its options, is found out when it is loaded.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from llmlab.config.section import Section

Where = Literal["request", "answer"]
Action = Literal["allow", "redact", "block"]
BUILT_IN = ("secrets", "pii", "language", "deny")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
# Keys that mean something to these kinds only.
ONLY: dict[str, tuple[str, ...]] = {
    "find": ("secrets", "pii"),
    "words": ("deny",),
    "patterns": ("deny",),
    "longest": ("deny",),
    "languages": ("language",),
    "least": ("language",),
}


class Guard(Section):
    """One each. They look at texts before a model is asked and before its answer leaves."""

    kind: str = Field(
        description="secrets (keys, tokens, private keys), pii (cards, IBANs, tax numbers), "
        "language (an answer in another language than its request), deny (words and patterns of "
        "your own), or the name under which an installed package offers one."
    )
    name: str = Field("", description='What logs and metrics call it; "" = its kind.')
    on: list[Where] = Field(
        [],
        description='What it looks at: "request", "answer"; [] = both (language: the answer).',
    )
    action: Action = Field(
        "block",
        description="block: the request is refused, or the answer held back; redact: what was "
        "found is replaced by its kind in brackets; allow: it is only counted.",
    )
    routes: list[str] = Field(
        [],
        description="Only what is asked of these routes; [] = all. What is asked of a deployment "
        "by its name under /v1 is always looked at.",
    )
    timeout: float = Field(
        2.0, gt=0, le=60, description="Seconds for one look; one that takes longer is a refusal."
    )
    find: list[str] = Field(
        [], description="secrets, pii: which of their formats; [] = all (pii: all but email).",
    )  # fmt: skip
    words: list[str] = Field(
        [], description="deny: whole words or phrases, in any case and spacing."
    )
    patterns: list[str] = Field(
        [], description="deny: regular expressions of RE2, which take no more time than a text "
        "is long."
    )  # fmt: skip
    longest: int = Field(
        200, ge=1, le=10_000,
        description="deny: characters that a pattern's match has at most; so much of a streamed "
        "answer is held back.",
    )  # fmt: skip
    languages: list[str] = Field(
        [], description="language: those that are allowed (ISO 639-1); [] = the request's."
    )
    least: int = Field(
        120, ge=40, le=2000,
        description="language: characters of prose that it takes to tell, and in which a stream "
        "is looked at.",
    )  # fmt: skip
    options: dict[str, str | int | float | bool | list[str]] = Field(
        {}, description="Another kind's own keys, which it checks itself."
    )

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for name in (self.kind, self.named):
            if not NAME.fullmatch(name):
                raise ValueError(
                    f"{name[:80]!r} cannot be its name: use lower-case letters, digits, - and _"
                )
        for key, field in type(self).model_fields.items():
            if getattr(self, key) == field.default:  # as its own JSON has it, too
                continue
            kinds = ONLY.get(key, (self.kind,))
            if self.kind not in kinds or (key == "options" and self.kind in BUILT_IN):
                whose = "kinds of other packages" if key == "options" else " and ".join(kinds)
                raise ValueError(f"{key} is for {whose}, not for {self.kind}")
        if self.kind == "deny" and not (self.words or self.patterns):
            raise ValueError("deny without words and patterns denies nothing")
        if self.kind == "language":
            if self.action == "redact":
                raise ValueError("language cannot redact: all of the text is in its language")
            if "request" in self.where and not self.languages:
                raise ValueError("language on requests needs languages: those that are allowed")
        return self

    @property
    def named(self) -> str:
        return self.name or self.kind

    @property
    def where(self) -> tuple[Where, ...]:
        if self.on:
            return tuple(dict.fromkeys(self.on))
        return ("answer",) if self.kind == "language" else ("request", "answer")


def problem_of(guards: Iterable[Guard], routes: Iterable[str]) -> str:
    """What is wrong with several of them together; "" if nothing is.

    Args:
        routes: that there are.
    """
    guards, known = list(guards), set(routes)
    for name, times in Counter(one.named for one in guards).items():
        if times > 1:
            return f"{times} are called {name!r}: give each a name of its own"
    for one in guards:
        for route in one.routes:
            if route not in known:
                return f"{one.named}: there is no route {route!r}, only {', '.join(sorted(known))}"
    return ""
