"""The console as an application: its pages, their documents and live parts, and what is changed."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from llmlab.console import menu, signing
from llmlab.console.arriving import check_own, form_of, query_of, visitor_from
from llmlab.console.desk import Desk
from llmlab.console.guarding import Hardened
from llmlab.console.live import Live, TooMany
from llmlab.console.pages import PREFIX, Change, Missing, Page, Query, live_part, rendered, told
from llmlab.console.visitor import Visitor, visitor_of
from llmlab.errors import AuthError, EnvironmentFailure, LlmlabError, UpstreamError, UsageError
from llmlab.lab import Lab

log = logging.getLogger("llmlab.console")
STATIC = Path(__file__).parent / "static"
# The first that an error is one of; else 500.
STATUS = {Missing: 404, TooMany: 429, UsageError: 400, AuthError: 403, UpstreamError: 502,
          EnvironmentFailure: 503}  # fmt: skip
# What is told of a request that no page has said anything of.
PHRASES = {
    404: ("The console has no such page.", "one of those in the menu"),
    405: ("This address is not asked so.", "one of the pages in the menu"),
}
EVENTS = "text/event-stream"
FAILED = "The console failed on this; its log says why."
LOG = "llmlab logs console"
Answer = Callable[[Request], Awaitable[Response]]


def build_app(
    lab: Lab,
    release: Callable[[], str],
    *,
    pages: Sequence[Page] = menu.PAGES,
    changes: Sequence[Change] = menu.CHANGES,
    more: Sequence[Route] = menu.MORE,
) -> Starlette:
    """
    Args:
        release: names the configuration that the gateway goes by.
        more: what is neither a page nor a change, such as streams.
    """
    live = Live(release, _failed)
    routes: list[Route | Mount] = [
        Mount("/static", StaticFiles(directory=STATIC), name="static"),
        Route("/", _first(pages)),
        *signing.routes(lab),
        *more,
    ]
    for page in pages:
        path = f"/{page.path}"
        routes += [
            Route(f"{path}.json", _document(lab, page)),
            Route(path, _page(lab, page)),
        ]
        if page.csv:
            routes.append(Route(f"{path}.csv", _table(lab, page, page.csv)))
        if page.live:
            routes.append(Route(f"{path}/live", _live(lab, page, live)))
    routes += [Route(f"/{one.path}", _changed(lab, one), methods=["POST"]) for one in changes]
    app = Starlette(
        # A redirection to the address without its last slash would name the host and the scheme
        # that a client or a gateway in front has said, which may be others than a browser's.
        routes=[Mount(PREFIX.rstrip("/"), Router(routes, redirect_slashes=False))],
        # Starlette's own one for what nobody expects stands outside of all middleware.
        middleware=[
            Middleware(Hardened), Middleware(ServerErrorMiddleware, handler=_said(lab)),
        ],
        exception_handlers={HTTPException: _said(lab), LlmlabError: _said(lab)},
    )  # fmt: skip
    app.router.redirect_slashes = False
    app.state.live, app.state.lab = live, lab
    return app


def _first(pages: Sequence[Page]) -> Answer:
    async def answer(request: Request) -> Response:
        del request
        return RedirectResponse(f"{PREFIX}{pages[0].path}")

    return answer


# --- the four kinds of requests -----------------------------------------------------------------


def _page(lab: Lab, page: Page) -> Answer:
    async def answer(request: Request) -> Response:
        desk = Desk(lab)
        visitor, query = visitor_from(request, desk), query_of(request, page)
        if request.method == "HEAD":  # as tabs ask whether the console is back: all at once
            return HTMLResponse()

        def text() -> str:
            return rendered(page.template, **_values(page, desk, visitor, query))

        return HTMLResponse(await run_in_threadpool(text))

    return answer


def _document(lab: Lab, page: Page) -> Answer:
    async def answer(request: Request) -> Response:
        desk = Desk(lab)
        visitor, query = visitor_from(request, desk), query_of(request, page)
        if request.method == "HEAD":
            return Response(media_type="application/json")
        found = await run_in_threadpool(page.gather, desk, query, visitor)
        return JSONResponse(page.as_json(found))

    return answer


def _table(lab: Lab, page: Page, csv: Callable[[Any], str]) -> Answer:
    async def answer(request: Request) -> Response:
        desk, query = Desk(lab), query_of(request, page)
        visitor = visitor_from(request, desk)
        if request.method == "HEAD":
            return Response(media_type="text/csv")
        found = await run_in_threadpool(page.gather, desk, query, visitor)
        name = f"{lab.root.name}-{page.path}.csv".encode("ascii", "replace").decode()
        name = "".join(one if one.isalnum() or one in "-_." else "_" for one in name)
        return Response(
            csv(found), media_type="text/csv",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )  # fmt: skip

    return answer


def _live(lab: Lab, page: Page, live: Live) -> Answer:
    async def answer(request: Request) -> Response:
        visitor, query = visitor_from(request, Desk(lab)), query_of(request, page)
        # What differs from visitor to visitor is no part of a live block but by their role.
        anybody = Visitor("", visitor.role)

        def look() -> str:
            try:
                return live_part(page.template, **_values(page, Desk(lab), anybody, query))
            except LlmlabError as error:
                return rendered("error_part.html.j2", said=error.message, fix=error.fix or "")

        if not page.is_live(query):
            return Response(status_code=204)  # by which a browser knows not to ask again
        key = f"{page.path}?{sorted(query.items())} {visitor.role}"
        if request.method == "HEAD":  # as tabs ask why they get no stream
            live.room.check(visitor.subject, key)
            return Response(media_type=EVENTS)
        live.room.take(visitor.subject, key)
        return Stream(live.stream(key, look), lambda: live.room.give(visitor.subject, key))

    return answer


class Stream(StreamingResponse):
    """Gives back its room whatever ends it, and closes what it streams."""

    def __init__(self, body: AsyncGenerator[bytes, None], done: Callable[[], None]) -> None:
        super().__init__(body, media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        self._body, self._done = body, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._body):
                await super().__call__(scope, receive, send)
        finally:
            self._done()


def _changed(lab: Lab, change: Change) -> Answer:
    async def answer(request: Request) -> Response:
        visitor = visitor_from(request, Desk(lab))
        check_own(request)
        if not visitor.operates:
            raise HTTPException(
                403, "A viewer may look, and change nothing: that takes the scope llmlab:operator."
            )
        form = await form_of(request)
        log.info("%s by %s", change.path, visitor.subject)
        where = await run_in_threadpool(change.do, Desk(lab), form, visitor)
        return RedirectResponse(f"{PREFIX}{where}", status_code=303)

    return answer


def _values(page: Page, desk: Desk, visitor: Visitor, query: Query) -> dict[str, Any]:
    return {
        "page": page, "visitor": visitor, "query": query, "menu": menu.named(),
        "lab": desk.lab.root.name, "found": page.gather(desk, query, visitor),
    }  # fmt: skip


# --- what goes wrong ----------------------------------------------------------------------------


def _said(lab: Lab) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        fix = ""
        match error:
            case HTTPException():
                status, said = error.status_code, str(error.detail)
                if said == HTTPStatus(status).phrase:
                    said, fix = PHRASES.get(status, (f"{said}.", ""))
            case LlmlabError():
                status = next(
                    (code for kind, code in STATUS.items() if isinstance(error, kind)), 500
                )
                said, fix = told(error)
            case _:
                log.exception("%s %s", request.method, request.url.path, exc_info=error)
                status, said, fix = 500, FAILED, LOG
        if request.url.path.endswith(".json"):
            problem = {"type": "about:blank", "status": status, "detail": said, "fix": fix or None}
            return JSONResponse(problem, status, media_type="application/problem+json")
        near = _near(request)
        here = near and near.path == request.url.path.removeprefix(PREFIX) and not request.url.query
        values = {
            # The page that it belongs to is marked in the menu; a document there is none.
            "page": near and replace(near, path="", menu=near.path),
            "back": None if here else near,
            "visitor": _maybe_visitor(request, lab), "menu": menu.named(),
            "lab": lab.root.name, "status": status, "said": said, "fix": fix,
        }  # fmt: skip
        return HTMLResponse(rendered("error.html.j2", **values), status)

    return answer


def _near(request: Request) -> Page | None:
    """The page of the menu that an address is below."""
    first = request.url.path.removeprefix(PREFIX).partition("/")[0]
    return next((one for one in menu.named() if one.path == first), None)


def _failed(error: Exception) -> str:
    """A live part in whose place nobody knows what to show."""
    log.error("a live part", exc_info=error)
    return rendered("error_part.html.j2", said=FAILED, fix=LOG)


def _maybe_visitor(request: Request, lab: Lab) -> Visitor | None:
    try:
        return visitor_of(request, Desk(lab).cookie)
    except LlmlabError:
        return None
