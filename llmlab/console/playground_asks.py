"""Asking from the playground: the answers as they come, for its script or as a whole page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from llmlab.client.connection import trust_in
from llmlab.console.answering import Answered, Event, Marking, Outcome, client_for, events
from llmlab.console.arriving import check_own, form_of, visitor_from
from llmlab.console.asked import Asked, Choice, Kind, Turn, asked_of, choices, told_turns
from llmlab.console.desk import Desk
from llmlab.console.pages import Query, rendered, told
from llmlab.console.playground import PAGES, PATH, Shown, gather
from llmlab.console.same_request import as_code
from llmlab.console.visitor import Visitor
from llmlab.errors import LlmlabError
from llmlab.service.schemas import Progress

MOST, MOST_OF_ONE = 32, 4  # asks under way at a time: of all visitors, of each
LINES = "application/x-ndjson"


class Places:
    """How many asks may be under way at a time. No visitor has all of them."""

    def __init__(self, most: int, of_one: int) -> None:
        self._most, self._of_one = most, of_one
        self._taken: Counter[str] = Counter()

    @contextmanager
    def one(self, subject: str) -> Iterator[None]:
        """
        Raises:
            HTTPException: 429; there is none left, or none for them.
        """
        if self._taken[subject] >= self._of_one:
            raise HTTPException(
                429, f"You have {self._of_one} questions under way, and that is all: wait for one."
            )
        if self._taken.total() >= self._most:
            raise HTTPException(429, "The console has as many answers under way as it may; wait.")
        self._taken[subject] += 1
        try:
            yield
        finally:
            self._taken[subject] -= 1
            self._taken += Counter()  # forgets who has none


places = Places(MOST, MOST_OF_ONE)


class Closing(StreamingResponse):
    """Closes what it streams whatever ends it: a browser that leaves ends the models' work."""

    def __init__(
        self, body: AsyncGenerator[bytes, None] | AsyncGenerator[str, None], **options: Any
    ) -> None:
        super().__init__(body, **options)
        self._body = body

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._body):
            await super().stream_response(send)


async def ask(request: Request) -> Response:
    """The answers as lines of JSON while they come, to the page's script; without it, all of the
    page once they are there. Viewers may: what their token may ask, says the gateway."""
    desk = Desk(request.app.state.lab)
    visitor = visitor_from(request, desk)
    check_own(request)
    form = await form_of(request)
    known = await run_in_threadpool(lambda: choices(desk.record.plan()))
    asked = asked_of(form, known)
    lines = LINES in request.headers.get("Accept", "")
    body = (
        _lines(asked, desk, visitor, known) if lines else _page(asked, desk, visitor, form, known)
    )
    return Closing(
        body, media_type=LINES if lines else "text/html", headers={"X-Accel-Buffering": "no"}
    )


async def _answers(
    asked: Asked, desk: Desk, visitor: Visitor, known: Sequence[Choice]
) -> AsyncGenerator[Event, None]:
    with places.one(visitor.subject):
        client = await run_in_threadpool(client_for, desk, visitor)
        async with client, aclosing(events(asked, client, known)) as coming:
            async for event in coming:
                yield event


async def _lines(
    asked: Asked, desk: Desk, visitor: Visitor, known: Sequence[Choice]
) -> AsyncGenerator[bytes, None]:
    outcomes: dict[int, Outcome] = {}
    marking = Marking(asked)
    try:
        async with aclosing(_answers(asked, desk, visitor, known)) as coming:
            async for event in coming:
                if event.outcome is None:
                    yield _line(side=event.side, **_news(event))
                    continue
                outcomes[event.side] = event.outcome
                alone = {event.side: event.outcome}
                shown = await run_in_threadpool(_shown, asked, alone, event.side, desk, marking)
                yield _line(side=event.side, html=_card(shown), ended=shown.error is None)
        # What only one of them says is known when both are there.
        for side in outcomes if len(asked.whom) > 1 else ():
            shown = await run_in_threadpool(_shown, asked, outcomes, side, desk, marking)
            yield _line(side=side, html=_card(shown), ended=shown.error is None)
    except (HTTPException, LlmlabError) as error:
        said, fix = told(error) if isinstance(error, LlmlabError) else (str(error.detail), "")
        for side in range(len(asked.whom)):
            yield _line(
                side=side, html=rendered("error_part.html.j2", said=said, fix=fix), ended=False
            )


def _news(event: Event) -> dict[str, str]:
    if event.progress is None:
        return {"piece": event.piece}
    return {"progress": so_far(event.progress)}


def so_far(progress: Progress) -> str:
    again = " of the summaries" if progress.reading > 1 else ""
    return f"{progress.done} of {progress.windows} windows{again} read"


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _card(shown: Shown) -> str:
    return rendered("playground_answer.html.j2", one=shown)


def _shown(
    asked: Asked, outcomes: Mapping[int, Outcome], side: int, desk: Desk, marking: Marking
) -> Shown:
    """
    Args:
        outcomes: this one, and the one that it is to be compared with.
    """
    choice, outcome = asked.whom[side], outcomes[side]
    if isinstance(outcome, LlmlabError):
        return Shown(choice, error=told(outcome))
    others = [one.text for other, one in outcomes.items()
              if other != side and isinstance(one, Answered)]  # fmt: skip
    return Shown(
        choice, outcome,
        marked=marking.of(outcome.text, next(iter(others), "")),
        code=as_code(asked, side, desk.record.url, trust_in(desk.lab)),
    )  # fmt: skip


async def _page(
    asked: Asked, desk: Desk, visitor: Visitor, form: Query, known: Sequence[Choice]
) -> AsyncGenerator[str, None]:
    """One piece, when all answers are there."""
    outcomes: dict[int, Outcome] = {}
    try:
        async with aclosing(_answers(asked, desk, visitor, known)) as coming:
            async for event in coming:
                if event.outcome is not None:
                    outcomes[event.side] = event.outcome
    except (HTTPException, LlmlabError) as error:
        failure = error if isinstance(error, LlmlabError) else LlmlabError(str(error.detail))
        outcomes = dict.fromkeys(range(len(asked.whom)), failure)
    yield await run_in_threadpool(_whole, asked, outcomes, desk, visitor, form)


def _whole(
    asked: Asked, outcomes: Mapping[int, Outcome], desk: Desk, visitor: Visitor, form: Query
) -> str:
    from llmlab.console import menu  # which has this page

    page, sides = PAGES[0], range(len(asked.whom))
    marking = Marking(asked)
    shown = tuple(_shown(asked, outcomes, side, desk, marking) for side in sides)
    found = gather(desk, {"kind": asked.kind}, visitor)
    if asked.kind is Kind.CHAT:
        texts = [one.answered.text if one.answered else "" for one in shown]
        turns = (*asked.turns, Turn(asked.said, tuple(texts))) if any(texts) else asked.turns
        form = {**form, "turns": told_turns(turns), "said": "" if any(texts) else asked.said}
    found = replace(found, form=form, turns=asked.turns, said=asked.said, shown=shown)
    return rendered(
        page.template, page=page, visitor=visitor, query={}, menu=menu.named(),
        lab=desk.lab.root.name, found=found,
    )  # fmt: skip


MORE = (Route(f"/{PATH}/ask", ask, methods=["POST"]),)
