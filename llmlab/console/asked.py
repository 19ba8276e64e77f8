"""What is asked in the playground: whom, what and how, out of its form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from llmlab.config.budgets import Price
from llmlab.console.pages import Query
from llmlab.engines.base import Plan
from llmlab.errors import UsageError
from llmlab.names import SUMMARIZE

MOST_TURNS = 200
NUMBERS: Mapping[str, type[int] | type[float]] = {
    "temperature": float, "top_p": float, "max_tokens": int, "seed": int,
    "max_length": int, "min_length": int,
}  # fmt: skip
OPTIONS = {
    "chat": ("temperature", "top_p", "max_tokens", "seed"),
    "summary": ("max_length", "min_length", "strategy"),
}
NOT_SO = "the page asks for what there is: open it anew"


class Kind(StrEnum):
    CHAT = "chat"
    SUMMARY = "summary"


@dataclass(frozen=True)
class Choice:
    """Whom one may ask.

    Args:
        deployment: of a route, the stable one.
        price: of a million of its tokens.
    """

    what: Literal["route", "deployment"]
    name: str
    deployment: str
    model: str
    runtime: str
    chats: bool
    price: Price = field(default=Price(), repr=False)

    @property
    def key(self) -> str:
        """A route and a deployment may have the same name."""
        return f"{self.what}:{self.name}"

    def can(self, kind: Kind) -> bool:
        """Every model summarizes: as a deployment, and behind that one route. Not all chat."""
        if kind is Kind.CHAT:
            return self.chats
        return self.what == "deployment" or self.name == SUMMARIZE


def choices(plan: Plan) -> tuple[Choice, ...]:
    """All routes of a running lab, and all deployments. Which of them a token may ask, says the
    gateway."""
    found = []
    for route in plan.routes:
        found.append(_choice(plan, "route", route, plan.leading(route)))
    for name in plan.names:
        found.append(_choice(plan, "deployment", name, name))
    return tuple(found)


def _choice(plan: Plan, what: Literal["route", "deployment"], name: str, deployment: str) -> Choice:
    settings = plan.settings(deployment)
    model = settings.model
    return Choice(what, name, deployment, settings.name, model.runtime, model.chats, model.price)


@dataclass(frozen=True)
class Turn:
    """What was said, and what each has answered; "" for one that did not."""

    said: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """
    Args:
        whom: one, or two beside each other.
        said: the question, or the text to summarize.
        source: what a conversation is about; "" for nothing.
        options: as the client calls them, those that were given.
        turns: the conversation so far.
    """

    kind: Kind
    whom: tuple[Choice, ...]
    said: str
    system: str = ""
    source: str = ""
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    turns: tuple[Turn, ...] = ()

    @property
    def given(self) -> str:
        """What the names and numbers of an answer are held against; "" for nothing."""
        if self.kind is Kind.SUMMARY:
            return self.said
        said = [*(one.said for one in self.turns), self.said, self.system]
        return "\n\n".join([self.source, *said]) if self.source else ""

    def messages(self, side: int) -> list[dict[str, str]]:
        """The conversation with one of them. What it did not answer, it was not asked."""
        had = [
            (one.said, one.answers[side]) for one in self.turns
            if side < len(one.answers) and one.answers[side]
        ]  # fmt: skip
        found: list[dict[str, str]] = []
        if self.system:
            found.append({"role": "system", "content": self.system})
        for said, answer in [*had, (self.said, "")]:
            # The source stands once, at the beginning, where it is the same for all that follows.
            first = self.source and all(one["role"] == "system" for one in found)
            content = f"{self.source}\n\n{said}" if first else said
            found.append({"role": "user", "content": content})
            if answer:
                found.append({"role": "assistant", "content": answer})
        return found


def kind_of(form: Query) -> Kind:
    """
    Raises:
        UsageError: there is no such kind.
    """
    try:
        return Kind(form.get("kind") or Kind.CHAT)
    except ValueError:
        raise UsageError("one asks for a chat or for a summary", fix=NOT_SO) from None


def asked_of(form: Query, known: Sequence[Choice]) -> Asked:
    """
    Raises:
        UsageError: nothing is asked, nobody that is there, or not as it may be.
    """
    kind = kind_of(form)
    said = _text(form, "said")
    if not said.strip():
        what = "there is no text to summarize" if kind is Kind.SUMMARY else "there is no question"
        raise UsageError(what, fix="write one into the field, and send it again")
    whom = tuple(
        _chosen(form[name], known, kind) for name in ("one", "two") if form.get(name)
    )  # fmt: skip
    if not whom:
        raise UsageError("nobody is asked", fix="choose a route or a deployment")
    options = {name: _option(name, form[name]) for name in OPTIONS[kind] if form.get(name)}
    if kind is Kind.SUMMARY:
        return Asked(kind, whom, said, options=options)
    return Asked(
        kind, whom, said, _text(form, "system").strip(), _text(form, "source").strip(), options,
        turns_of(form.get("turns", "")),
    )  # fmt: skip


def _text(form: Query, name: str) -> str:
    return form.get(name, "").replace("\r\n", "\n")


def _chosen(key: str, known: Sequence[Choice], kind: Kind) -> Choice:
    found = next((one for one in known if one.key == key and one.can(kind)), None)
    if found is None:
        there = ", ".join(one.name for one in known if one.can(kind))
        raise UsageError(
            f"{key.partition(':')[2]!r} cannot be asked for a {kind}; there is {there or 'nobody'}",
            fix=NOT_SO,
        )
    return found


def _option(name: str, value: str) -> str | int | float:
    """A number, which the API judges."""
    if name not in NUMBERS:
        return value
    try:
        found = NUMBERS[name](value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):  # "nan" and "inf" are numbers to Python alone
        raise UsageError(f"{name} should be a number", fix="a number, or nothing")
    return found


_TURNS = TypeAdapter(tuple[Turn, ...])


def turns_of(text: str) -> tuple[Turn, ...]:
    """The conversation so far, which travels with its page, and is kept nowhere else.

    Raises:
        UsageError: it is none.
    """
    try:
        found = _TURNS.validate_json(text or "[]")
    except ValidationError:
        raise UsageError("that is no conversation", fix="begin a new one") from None
    if len(found) > MOST_TURNS:
        raise UsageError(
            f"a conversation has at most {MOST_TURNS} questions", fix="begin a new one"
        )
    return found


def told_turns(turns: Sequence[Turn]) -> str:
    """What ``turns_of`` reads."""
    return _TURNS.dump_json(tuple(turns)).decode()
