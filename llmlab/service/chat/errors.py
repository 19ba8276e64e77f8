"""Errors in OpenAI's shape, for all that is refused under /v1; its clients read no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.runtimes.chat import BrokenOff, ChatFailure, Refused, Unreachable
from llmlab.service.problems import FAILED
from llmlab.service.schemas import PROBLEM_TYPE

PREFIX = "/v1/"
INVALID, SERVER, LIMIT = "invalid_request_error", "server_error", "rate_limit_error"
TOO_LONG = "context_length_exceeded"
UNSUPPORTED = "unsupported_model"
# What llama.cpp calls it.
_TOO_LONG = ("exceed_context_size_error", TOO_LONG)
# What a document of RFC 9457 becomes: by its status, what a program may tell it by.
CODES = {
    404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large",
    415: "unsupported_media_type", 429: "rate_limit_exceeded", 503: "unavailable", 504: "timeout",
}  # fmt: skip
# Said of an address where there is nothing: clients of later APIs look for theirs.
THERE_IS = (
    "Of OpenAI's API there are /v1/models, /v1/chat/completions, /v1/completions and "
    "/v1/embeddings."
)
# The same request may go well later; what is a fault of the request will not.
RETRIED = (429, 502, 503, 504)


class ApiError(Exception):
    """Raised to answer with an error in OpenAI's shape.

    Args:
        param: the field that is at fault, as OpenAI spells it: ``messages[0].content``.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def document(self) -> dict[str, Any]:
        return document(self.status, self.message, code=self.code, param=self.param)


def document(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    kind = LIMIT if status == 429 else SERVER if status >= 500 else INVALID
    return {"error": {"message": message, "type": kind, "param": param,
                      "code": code or CODES.get(status)}}  # fmt: skip


def cannot(param: str, what: str) -> ApiError:
    """A known field that the model cannot honour, and that would change what the answer means."""
    return ApiError(400, what, code="unsupported_parameter", param=param)


async def answer(_: Request, error: Any) -> JSONResponse:
    """The handler of ApiError."""
    return JSONResponse(error.document, error.status, _with_retry(error.status, error.headers))


def of_failure(failure: ChatFailure, *, prompt: str) -> ApiError:
    """What a client is told of a model server's failure.

    Args:
        prompt: the field that holds what the model reads: "messages", "prompt" or "input".
    """
    match failure:
        case Refused(status=429):
            after = f"{failure.retry_after or 1:g}"
            said = f"The model's server takes no more: {failure.message}"
            return ApiError(429, said, headers={"Retry-After": after})
        case Refused(status=400 | 413 | 422):
            if failure.kind in _TOO_LONG or failure.code in _TOO_LONG:
                return ApiError(400, failure.message, code=TOO_LONG, param=prompt)
            return ApiError(400, failure.message, code=failure.code or None,
                            param=failure.param or None)  # fmt: skip
        case Refused(status=502):  # in words of our own already
            told: dict[str, str] = {}
            if failure.retry_after is not None:
                told["Retry-After"] = f"{failure.retry_after:g}"
            if failure.code != "upstream_failed":  # it will not go well later
                told["x-should-retry"] = "false"
            return ApiError(502, failure.message, code=failure.code, headers=told)
        case Refused():  # its key, its name for the model: matters of the lab
            said = f"The model's server answered {failure.status}: {failure.message}"
            return ApiError(502, said, code="upstream_error")
        case Unreachable():
            said = f"The model's server cannot be reached: {failure.message}"
            return ApiError(503, said, headers={"Retry-After": "2"})
        case BrokenOff():
            return ApiError(502, f"The model's answer broke off: {failure.message}",
                            code="upstream_error")  # fmt: skip
    return ApiError(500, FAILED)


def _with_retry(status: int, headers: Mapping[str, str]) -> dict[str, str]:
    """openai's clients go by it, rather than by a status alone."""
    return {"x-should-retry": "true" if status in RETRIED else "false", **headers}


class OpenAiErrors:
    """Middleware: what is refused under /v1, wherever that was, is said in OpenAI's shape."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return await self.app(scope, receive, send)
        head: Message | None = None
        body = b""

        async def translated(message: Message) -> None:
            nonlocal head, body
            if message["type"] == "http.response.start":
                if Headers(raw=message["headers"]).get("content-type") != PROBLEM_TYPE:
                    return await send(message)
                head = message
            elif head is None:
                return await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await _translate(head, body, send)

        await self.app(scope, receive, translated)


async def _translate(head: Message, body: bytes, send: Send) -> None:
    said = json.loads(body)
    errors = said.get("errors") or [{}]
    detail = f"{said['detail']} {THERE_IS}" if head["status"] == 404 else said["detail"]
    told = document(head["status"], detail, param=errors[0].get("path"))
    content = json.dumps(told).encode()
    headers = MutableHeaders(scope=head)
    headers["content-type"] = "application/json"
    headers["content-length"] = str(len(content))
    headers.update(_with_retry(head["status"], {}))
    await send(head)
    await send({"type": "http.response.body", "body": content})
