"""Asking models for the playground: as any client of the gateway, with the visitor's own token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from llmlab.client.chat import Reply
from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.client.retry import RetryPolicy
from llmlab.compare.comparison import Mark, Stretch, marked, steps_to_compare
from llmlab.console.asked import Asked, Choice, Kind
from llmlab.console.desk import Desk
from llmlab.console.visitor import Visitor
from llmlab.errors import AuthError, LlmlabError
from llmlab.evaluate.facts import Mention, details
from llmlab.names import SUMMARIZE
from llmlab.service.schemas import Progress

# What is looked through for marks, in the process that shows everybody their pages: an answer of so
# many characters, and what was given of so many and so many words that may be names. Two answers
# are compared where that takes about a second at the worst.
LONGEST_MARKED, LONGEST_GIVEN, MOST_NAMES = 40_000, 100_000, 8_000
MOST_STEPS = 50_000_000
NOT_SEARCHED = "too long to look for names and numbers that were not given"
NOT_COMPARED = "too long, or too repetitive, to be compared with the other answer"
MILLION = 1e6
AT_ONCE = 0.02  # seconds: what came within them tells of no pace


@dataclass(frozen=True)
class Answered:
    """A whole answer, and what it took.

    Args:
        model_id: the content id of the version that has answered; "" where nobody knows.
        unit: of its tokens: what an extractive model counts are words.
        cost: by the price of the model; None for one without.
        first: seconds until its first piece came; None for one that comes as a whole.
        rate: tokens per second after the first one; None for one that comes as a whole, or at once.
        notes: what else is to be known of it.
    """

    text: str
    model: str
    model_id: str
    deployment: str
    unit: str
    tokens_in: int
    tokens_out: int
    cost: float | None
    first: float | None
    total: float
    rate: float | None
    request_id: str
    notes: tuple[str, ...] = ()


Outcome = Answered | LlmlabError


@dataclass(frozen=True)
class Event:
    """Of one of those that were asked: a piece of its answer, how far it has read, or its end."""

    side: int
    piece: str = ""
    progress: Progress | None = None
    outcome: Outcome | None = None


def client_for(desk: Desk, visitor: Visitor) -> AsyncClient:
    """One that asks once: what the gateway refuses is shown, and not tried again.

    Raises:
        AuthError: nobody's token is here. The lab's own is no substitute: it may more.
    """
    if not visitor.token:
        raise AuthError(
            "you were let in without a token, and models are asked with one",
            fix="llmlab console, or sign in with a token",
        )
    return AsyncClient(desk.record.url, visitor.token, lab=desk.lab.root, retry=RetryPolicy(0))


async def events(
    asked: Asked, client: AsyncClient, known: Sequence[Choice]
) -> AsyncGenerator[Event, None]:
    """As they come, of all that are asked at once. Whoever closes this ends the models' work."""
    told: asyncio.Queue[Event] = asyncio.Queue()
    tasks = [
        asyncio.create_task(_one(asked, side, client, known, told.put_nowait))
        for side in range(len(asked.whom))
    ]
    left = len(tasks)
    try:
        while left:
            event = await told.get()
            left -= event.outcome is not None
            yield event
    finally:
        for task in tasks:
            task.cancel()


async def _one(
    asked: Asked, side: int, client: AsyncClient, known: Sequence[Choice],
    tell: Callable[[Event], None],
) -> None:  # fmt: skip
    try:
        ask = _summary if asked.kind is Kind.SUMMARY else _reply
        tell(Event(side, outcome=await ask(asked, side, client, known, tell)))
    except LlmlabError as error:
        tell(Event(side, outcome=error))
    except Exception as error:
        # The other one goes on, and the log has this one.
        tell(Event(side, outcome=LlmlabError(f"this failed: {type(error).__name__}",
                                             fix="llmlab logs console")))  # fmt: skip
        raise


async def _reply(
    asked: Asked, side: int, client: AsyncClient, known: Sequence[Choice],
    tell: Callable[[Event], None],
) -> Answered:  # fmt: skip
    choice, began = asked.whom[side], time.monotonic()
    first: float | None = None
    async with client.stream(asked.messages(side), **_named(choice), **asked.options) as stream:
        async for piece in stream:
            if first is None:
                first = time.monotonic() - began
            tell(Event(side, piece))
        reply: Reply = stream.reply()
    total = time.monotonic() - began
    used = reply.usage
    deployment = reply.deployment or choice.deployment
    notes = {"length": "it was cut off at the most tokens that it may have",
             "content_filter": "a guard has ended it"}  # fmt: skip
    said = [notes[reply.finish_reason]] if reply.finish_reason in notes else []
    said += ["a guard has changed what was asked"] if reply.redacted else []
    return Answered(
        reply.text, _model_of(deployment, known), reply.fingerprint.partition("@")[2], deployment,
        "tokens", used.prompt, used.completion,
        _cost(deployment, known, used.prompt, used.completion), first, total,
        _rate(used.completion - 1, total - (first or 0.0)), reply.request_id, tuple(said),
    )  # fmt: skip


def _named(choice: Choice) -> dict[str, str]:
    return {"model" if choice.what == "route" else "deployment": choice.name}


async def _summary(
    asked: Asked, side: int, client: AsyncClient, known: Sequence[Choice],
    tell: Callable[[Event], None],
) -> Answered:  # fmt: skip
    choice, began = asked.whom[side], time.monotonic()
    by_route = choice.what == "route" and choice.name == SUMMARIZE
    found: Summary = await client.summarize(
        asked.said, model=None if by_route else choice.name,
        progress=lambda progress: tell(Event(side, progress=progress)), **asked.options,  # type: ignore[arg-type]
    )  # fmt: skip
    total, used = time.monotonic() - began, found.usage
    deployment = found.deployment or choice.deployment
    said = [f"read in {used.windows} windows"] if used.windows > 1 else []
    said += ["parts of the text were not read"] if used.truncated else []
    said += [] if found.computed else ["the lab had kept this answer to the same request"]
    return Answered(
        found.text, found.model.name, found.model.id, deployment,
        "words" if found.model.runtime == "extractive" else "tokens",
        used.input_tokens, used.output_tokens,
        _cost(deployment, known, used.input_tokens, used.output_tokens, found.computed),
        None, total, None, found.request_id, tuple(said),
    )  # fmt: skip


def _of(deployment: str, known: Sequence[Choice]) -> Choice | None:
    """By what it is now; None for one that has come since."""
    return next((one for one in known if one.key == f"deployment:{deployment}"), None)


def _model_of(deployment: str, known: Sequence[Choice]) -> str:
    found = _of(deployment, known)
    return found.model if found else deployment


def _cost(
    deployment: str, known: Sequence[Choice], read: int, written: int, computed: bool = True
) -> float | None:
    """What the lab has kept, nobody pays for, as budgets have it."""
    found = _of(deployment, known)
    if found is None or not (found.price.input or found.price.output):
        return None
    return computed * (read * found.price.input + written * found.price.output) / MILLION


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > AT_ONCE else None


@dataclass(frozen=True)
class Marked:
    """An answer as it is shown.

    Args:
        parts: all of its text.
        unsupported: names and numbers that what was given does not have; None where nothing was.
        notes: what it was not looked through for.
    """

    parts: tuple[Stretch, ...]
    unsupported: tuple[str, ...] | None
    notes: tuple[str, ...] = ()


class Marking:
    """What is marked of the answers to one ask. Each is looked through for names once."""

    def __init__(self, asked: Asked) -> None:
        self._given = asked.given
        self._found: dict[str, tuple[Mention, ...] | None] = {}

    def of(self, text: str, other: str) -> Marked:
        """
        Args:
            other: the answer beside it; "" for none.
        """
        if text not in self._found:
            self._found[text] = self._unsupported(text)
        found, notes = self._found[text], []
        if found is None and self._given:
            notes.append(NOT_SEARCHED)
        if not _can_be_compared(text, other):
            notes.append(NOT_COMPARED)
            other = ""
        names = None if found is None else tuple(dict.fromkeys(one.text for one in found))
        if found is None and not other:
            return Marked((Stretch(text, Mark.PLAIN),) if text else (), None, tuple(notes))
        return Marked(marked(text, found or (), other), names, tuple(notes))

    def _unsupported(self, text: str) -> tuple[Mention, ...] | None:
        """None where nothing was given, or where it would take too long."""
        long = len(text) > LONGEST_MARKED or len(self._given) > LONGEST_GIVEN
        if not self._given or long or max(map(_names, (self._given, text))) > MOST_NAMES:
            return None
        return details(self._given, text).unsupported


def _names(text: str) -> int:
    """Words that may be names or numbers, or at the most that."""
    return sum(not word[0].islower() for word in text.split())


def _can_be_compared(text: str, other: str) -> bool:
    if max(len(text), len(other)) > LONGEST_MARKED:
        return not other
    return steps_to_compare(text, other) <= MOST_STEPS
