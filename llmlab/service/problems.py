"""Every failure leaves the API as an RFC 9457 problem document; never a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llmlab.service.schemas import PROBLEM_TYPE

log = logging.getLogger("llmlab.service")
# RFC 9110's phrases; http.HTTPStatus says them from Python 3.13 on.
TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
FAILED = "The API failed on this request; its log says why."
MOST_ERRORS = 10  # in one answer
LONGEST_PATH = 100


class Problem(Exception):
    """Raised by an endpoint to answer with a problem document."""

    def __init__(
        self, status: int, detail: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers or {})


def install(app: FastAPI) -> None:
    """Register the handlers that turn exceptions into problem documents."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def document(request_id: str, status: int, detail: str) -> dict[str, Any]:
    """A problem document."""
    return {
        "type": "about:blank",
        "title": TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "message": detail,
        "request_id": request_id,
    }


def answer(
    request_id: str,
    status: int,
    detail: str,
    *,
    errors: list[dict[str, str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = document(request_id, status, detail) | ({"errors": errors} if errors else {})
    return JSONResponse(body, status, dict(headers or {}), media_type=PROBLEM_TYPE)


async def _problem(request: Request, error: Any) -> JSONResponse:
    return answer(_id(request), error.status, error.detail, headers=error.headers)


async def _http(request: Request, error: Any) -> JSONResponse:
    details = {
        400: _unreadable(error),
        # Not request.url: without a good Host header it holds the socket's path.
        404: f"There is nothing at {request.scope['path']}.",
        405: f"{request.method} is not allowed at {request.scope['path']}.",
    }
    detail = details.get(error.status_code, str(error.detail))
    return answer(_id(request), error.status_code, detail, headers=error.headers)


def _unreadable(error: Exception) -> str:
    match error.__cause__:
        case UnicodeDecodeError():
            return "The body is not UTF-8."
        case RecursionError():
            return "The body is not valid JSON: it is nested too deeply."
    return "The body is not valid JSON: it holds a number with too many digits."


async def _validation(request: Request, error: Any) -> JSONResponse:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind != "application/json" and not kind.endswith("+json"):
        return answer(_id(request), 415, f"Send JSON: Content-Type: application/json, not {kind}.")
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        why = problems[0].get("ctx", {}).get("error", "syntax error").removesuffix(" at")
        return answer(
            _id(request), 400,
            f"The body is not valid JSON: {why} (character {problems[0]['loc'][-1]}).",
        )  # fmt: skip
    if any(problem["loc"] == ("body",) and problem["type"] == "missing" for problem in problems):
        return answer(_id(request), 422, 'The body is empty; send {"text": "..."}.')
    # The offending input is left out: it may be long, or not representable in JSON.
    errors = [
        {
            "path": ".".join(str(part) for part in problem["loc"][1:])[:LONGEST_PATH] or "body",
            "message": problem["msg"].removeprefix("Value error, "),
        }
        for problem in problems[:MOST_ERRORS]
    ]
    detail = "; ".join(f"{one['path']}: {one['message']}" for one in errors)
    if len(problems) > MOST_ERRORS:
        detail += f"; and {len(problems) - MOST_ERRORS} more"
    return answer(_id(request), 422, detail, errors=errors)


def _id(request: Request) -> str:
    return str(request.scope.get("state", {}).get("request_id", ""))
