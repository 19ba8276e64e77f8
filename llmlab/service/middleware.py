"""ASGI middleware, one concern each."""

from __future__ import annotations

import logging
import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.config import Service
from llmlab.names import ASKS_MODEL
from llmlab.service.connection import ClientGone
from llmlab.service.metrics import Metrics
from llmlab.service.problems import FAILED, answer

log = logging.getLogger("llmlab.access")
errors = logging.getLogger("llmlab.service")
CLIENT_CLOSED_REQUEST = 499  # NGINX's word for it
# No line each time that it goes well.
POLLED = ("/health", "/metrics", "/shadow/answers", "/shadow/asked")
LONGEST_TOLD = 80  # characters of a header that is told again
_SANE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
# https://www.w3.org/TR/trace-context/: later versions may add to it; ids are never all zeros.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
_REVISION = re.compile(r"[0-9]{1,18}")


class RequestId:
    """Every request has an id: the client's, if it is a sane one, or a new one."""

    def __init__(self, app: ASGIApp, model: str) -> None:
        self.app, self.model = app, model

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = request_id
                headers["X-Model"] = self.model
            await send(message)

        await self.app(scope, receive, named)


class PlainBody:
    """Refuses a compressed body and says so, instead of reading it as broken text.

    What little time a compressed text saves on its way is nothing beside that of its model, and
    a small body could unfold into any size.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = ", ".join(Headers(scope=scope).getlist("content-encoding"))
        if given.strip().lower() in ("", "identity"):
            return await self.app(scope, receive, send)
        detail = f"Send the body as it is, without Content-Encoding: {given[:LONGEST_TOLD]}."
        # RFC 9110, 15.5.16: which ones would do.
        refused = answer(scope["state"]["request_id"], 415, detail,
                         headers={"Accept-Encoding": "identity"})  # fmt: skip
        await refused(scope, receive, send)


class BodyLimit:
    """Refuses a body above the limit, announced or not, before it fills the memory."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.limit = app, service.max_body
        self.longest = service.max_text_chars

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > self.limit:
            return await self._refuse(scope, receive, send)
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise ClientGone
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                return await self._refuse(scope, receive, send)
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = (
            f"The body is larger than {self.limit} bytes, so its text has more than "
            f"{self.longest} characters (service.max_text_chars)."
        )
        await answer(scope["state"]["request_id"], 413, detail)(scope, receive, send)


class Observe:
    """One metric observation and one log line per request; never the text itself."""

    def __init__(self, app: ASGIApp, metrics: Metrics, deployment: str) -> None:
        self.app, self.metrics, self.deployment = app, metrics, deployment

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, started = time.perf_counter(), 500, False
        counts = scope["path"] in ASKS_MODEL
        self.metrics.in_flight.inc(counts)

        async def watched(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientGone:
            status = CLIENT_CLOSED_REQUEST
        except Exception:
            # Here rather than in Starlette's outermost handler, which would answer
            # without our headers and then have uvicorn close the connection.
            request_id = scope["state"]["request_id"]
            errors.exception("request %s failed", request_id)
            if not started:
                await answer(request_id, 500, FAILED)(scope, receive, watched)
        finally:
            self.metrics.in_flight.dec(counts)
            self._record(scope, scope["state"].get("status", status), time.perf_counter() - start)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's template, not the path: a client must not be able to make new series.
        route: Any = scope.get("route")
        name = getattr(route, "path", "unmatched")
        self.metrics.requests.labels(name, status).inc()
        self.metrics.seconds.labels(name).observe(seconds)
        if name.startswith(POLLED) and status in (200, 503):
            return
        headers = Headers(scope=scope)
        line = {
            "request_id": scope["state"]["request_id"],
            "subject": _utf8(headers.get("x-subject", "")),
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "seconds": round(seconds, 4),
            "deployment": self.deployment,
        }
        if model_id := scope["state"].get("model_id"):
            line["model_id"] = model_id
        if usage := scope["state"].get("usage"):
            line["usage"] = usage
        if upstream := scope["state"].get("upstream"):
            line["upstream"] = upstream
        if trace := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
            line["trace_id"] = trace[1]
        if (revision := headers.get("x-revision", "")) and _REVISION.fullmatch(revision):
            line["revision"] = int(revision)
        log.info(line)


def _utf8(value: str) -> str:
    """A header that the gateway sent in UTF-8; ASGI hands headers over as Latin-1."""
    return value.encode("latin-1").decode(errors="replace")
