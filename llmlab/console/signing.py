"""Signing in and out: a browser's token is put into a cookie, and taken out of it.

Nobody is let in here. Each request is judged by the gateway, by what is in the cookie: so a key or
a subject that is revoked ends what was signed in with it. Whom the gateway refuses, it leads here,
and says why.
"""

from __future__ import annotations

import re
import time

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from llmlab.auth import api_keys
from llmlab.auth.unverified import expires_at, has_claims
from llmlab.console import codes
from llmlab.console.arriving import check_own, form_of
from llmlab.console.desk import Desk
from llmlab.console.pages import PREFIX, rendered
from llmlab.errors import AuthError
from llmlab.lab import Lab

REFUSED = "X-Refused"  # of the gateway: why who has a token is led here
# Of a cookie, with its name and attributes: https://www.rfc-editor.org/rfc/rfc6265#section-6.1
LONGEST = 3900  # bytes
TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
SAID = {
    "token": "You are signed out: your session has ended, or your token is not valid here.",
    "cookies": "Your browser has sent two cookies of this console's name: something else on this "
    "host has set one. Delete this host's cookies in your browser, and sign in again.",
    "scope": "Your token is valid, and not for the console: its scope has neither llmlab:viewer "
    "nor llmlab:operator.",
}


def routes(lab: Lab) -> list[Route]:
    """What a browser asks for without a token, below the console's prefix."""

    async def show(request: Request) -> Response:
        refused = request.headers.get(REFUSED, "")
        answer = _page(lab, SAID.get(refused, ""))
        if refused:
            _forget(answer, lab)
        return answer

    async def sign_in(request: Request) -> Response:
        check_own(request)  # or a page of another site could sign somebody in as somebody else
        said = (await form_of(request)).get("token", "")
        token = said.strip().removeprefix("Bearer ").strip()
        if problem := _problem(token):
            return _page(lab, problem, 400)
        answer = RedirectResponse(PREFIX, status_code=303)
        session = Desk(lab).running.console.session
        _keep(answer, request, lab, token, min(session, _left(token, session)))
        return answer

    async def enter(request: Request) -> Response:
        if request.method != "GET":  # who only looks at the address uses no code up
            raise HTTPException(405, "Ask for this address by GET.")
        try:
            token = await run_in_threadpool(codes.take, lab, request.query_params.get("code", ""))
        except AuthError as error:
            return _page(lab, error.message, 403)
        # No redirect: a browser that comes from elsewhere would not send a new cookie with it.
        answer = HTMLResponse(rendered("entered.html.j2", **_values(lab)))
        _keep(answer, request, lab, token, _left(token, Desk(lab).running.console.session))
        return answer

    async def sign_out(request: Request) -> Response:
        check_own(request)
        answer = RedirectResponse(f"{PREFIX}sign-in", status_code=303)
        _forget(answer, lab)
        return answer

    return [
        Route("/sign-in", show, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/enter", enter, methods=["GET"]),
        Route("/sign-out", sign_out, methods=["POST"]),
    ]


def _problem(token: str) -> str:
    """What is wrong with it before anybody has judged it; "" if nothing."""
    is_token = TOKEN.fullmatch(token) and has_claims(token)
    if not (is_token or api_keys.is_api_key(token)):
        return "That is neither a token nor an API key of this lab."
    if len(token) > LONGEST:
        return (
            f"That token has {len(token):,} characters, and a cookie has room for {LONGEST:,}: "
            "have one made that says less."
        )
    if _left(token, 1) <= 0:
        return "That token is expired."
    return ""


def _left(token: str, otherwise: int) -> int:
    """Seconds that a token is still valid by its own word."""
    ends = expires_at(token)
    return otherwise if ends is None else int(ends - time.time())


def _keep(answer: Response, request: Request, lab: Lab, token: str, seconds: int) -> None:
    answer.set_cookie(
        Desk(lab).cookie, token, max_age=seconds, path=PREFIX, httponly=True, samesite="strict",
        secure=request.headers.get("X-Forwarded-Proto") == "https",
    )  # fmt: skip


def _forget(answer: Response, lab: Lab) -> None:
    answer.delete_cookie(Desk(lab).cookie, path=PREFIX, httponly=True, samesite="strict")


def _page(lab: Lab, problem: str = "", status: int = 200) -> HTMLResponse:
    return HTMLResponse(rendered("sign_in.html.j2", problem=problem, **_values(lab)), status)


def _values(lab: Lab) -> dict[str, object]:
    return {"page": None, "visitor": None, "menu": [], "lab": lab.root.name}
