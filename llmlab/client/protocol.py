"""A summarize call without the I/O: what is sent, and what an answer means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import ValidationError

from llmlab import scopes
from llmlab.client.bounds import TooMuch
from llmlab.client.connection import proxy_variable
from llmlab.client.events import BrokenOff, Tell
from llmlab.client.retry import Outcome
from llmlab.config.schema import MODEL_NAME
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.network import is_loopback
from llmlab.service.schemas import (
    CACHE,
    DEPLOYMENT,
    EVENTS,
    TIMEOUT,
    ModelInfo,
    SummarizeResponse,
    Usage,
)

NOT_LIKE_A_LAB = (httpx2.DecodingError, httpx2.SSEError, TooMuch)


@dataclass(frozen=True)
class Summary:
    """A summary, the model that wrote it, and what it cost. ``str()`` gives the text.

    ``deployment`` is the one that the gateway asked; "" without a gateway. ``computed``: the model
    has worked for this very request; the lab may have kept the answer to one that was the same.
    """

    text: str
    model: ModelInfo
    usage: Usage
    request_id: str
    deployment: str = ""
    computed: bool = True

    def __str__(self) -> str:
        return self.text


# Neither taken from what is kept, nor recorded: who asks so measures, and is no traffic.
FRESH = {"Cache-Control": "no-cache, no-store"}
ASKS = "X-Model"  # the deployment that is asked for


@dataclass(frozen=True)
class Question:
    """A request without its token.

    Args:
        progress: who wants to hear how far the text is.
        fresh: the answer is made for this request, and not one that was kept from before.
        deployment: the one that is to answer; "" where the path or the body says what is asked.
    """

    path: str
    body: dict[str, Any]
    progress: Tell | None = None
    fresh: bool = False
    deployment: str = ""

    def headers(self, timeout: float) -> dict[str, str]:
        """Args:
        timeout: seconds after which nobody waits for the answer.
        """
        events = {"Accept": EVENTS} if self.progress else {}
        asks = {ASKS: checked_name(self.deployment)} if self.deployment else {}
        return {TIMEOUT: str(timeout)} | events | asks | (FRESH if self.fresh else {})


def path_for(model: str | None) -> str:
    """The stable model's path, or that of a named one."""
    return f"/models/{checked_name(model)}/summarize/" if model else "/summarize/"


def checked_name(model: str) -> str:
    """Raises UsageError: no route and no deployment can have this name."""
    if not MODEL_NAME.fullmatch(model):
        raise UsageError(f"{model!r} is no model's name", fix="llmlab models list")
    return model


def body(
    text: str,
    *,
    max_length: int | None = None,
    min_length: int | None = None,
    strategy: str | None = None,
) -> dict[str, Any]:
    """The JSON body; what is not given is left to the server's defaults."""
    given = {"max_length": max_length, "min_length": min_length, "strategy": strategy}
    return {"text": text} | {name: value for name, value in given.items() if value is not None}


def summary_of(outcome: Outcome, url: str, advice: str = "") -> Summary:
    """The summary in an answer.

    Args:
        advice: what to do if the token was refused.

    Raises:
        AuthError: 401, or 403 where the token lacks a scope.
        UsageError: another 4xx but 429: the request has to change.
        UpstreamError: the lab could not answer.
    """
    outcome = answered(outcome, url, advice)
    request_id = outcome.headers.get("X-Request-ID", "")
    try:
        answer = SummarizeResponse.model_validate_json(outcome.content)
    except ValidationError:
        raise refused(outcome, url) from None
    deployment = outcome.headers.get(DEPLOYMENT, "")
    computed = outcome.headers.get(CACHE, "miss") == "miss"
    return Summary(answer.summary, answer.model, answer.usage, request_id, deployment, computed)


def answered(outcome: Outcome, url: str, advice: str = "") -> httpx2.Response:
    """The answer, if it is one. Raises as ``summary_of``."""
    if isinstance(outcome, httpx2.RequestError):
        raise _unreachable(outcome, url)
    if outcome.status_code != 200:
        raise _refusal(outcome, outcome.headers.get("X-Request-ID", ""), advice)
    return outcome


def refused(outcome: Outcome, url: str, advice: str = "") -> LlmlabError:
    """The error that an outcome is; also of an answer that is none of those that were asked for."""
    try:
        answer = answered(outcome, url, advice)
    except LlmlabError as error:
        return error
    return UpstreamError(
        f"{url} answered, but not like a lab: {answer.text[:80]!r}",
        fix="check the URL: llmlab status",
    )


@contextmanager
def explained(url: str) -> Iterator[None]:
    """What goes wrong inside, where an answer has begun, is told as an error of the lab's."""
    try:
        yield
    except httpx2.RequestError as error:
        cut = isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
        raise _unreachable(BrokenOff(str(error)) if cut else error, url) from None


def _unreachable(error: httpx2.RequestError, url: str) -> UpstreamError:
    if isinstance(error, httpx2.TimeoutException):
        return UpstreamError(
            f"{url} did not answer in time", fix="llmlab status; or ask with a longer --timeout"
        )
    if isinstance(error, BrokenOff):
        return UpstreamError(
            f"{url} broke off its answer: {error}", fix="ask again; llmlab logs says what happened"
        )
    if isinstance(error, NOT_LIKE_A_LAB):
        return UpstreamError(
            f"{url} answered, but not like a lab: {error}", fix="check the URL: llmlab status"
        )
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UpstreamError(
            f"{url} cannot be trusted: {error}",
            fix="LLMLAB_CA_FILE=FILE with the certificate of who signed it; in that lab: "
            "llmlab tls trust --pem",
        )
    if is_loopback(url) or not url.startswith("http"):  # or a socket
        return UpstreamError(f"{url} cannot be reached: {error}", fix="llmlab up")
    if variable := proxy_variable(url):
        return UpstreamError(
            f"{url} cannot be reached through the proxy of {variable}: {error}",
            fix=f"check {variable}; NO_PROXY names hosts that need no proxy",
        )
    return UpstreamError(
        f"{url} cannot be reached: {error}", fix="check the URL, and over there: llmlab status"
    )


def _refusal(response: httpx2.Response, request_id: str, advice: str) -> LlmlabError:
    status = response.status_code
    message = f"{status}: {_detail(response)}"
    if request_id:
        message += f" (request {request_id})"
    if status == 401:
        return AuthError(message, fix=advice or "a fresh token: llmlab token")
    if status == 403:
        return _forbidden(response, message)
    if status == 429:
        return UpstreamError(message, fix=_of_429(response))
    if status == 504:
        return UpstreamError(
            message, fix="a longer --timeout or service.timeout, or a shorter text"
        )
    if status < 400:
        return UpstreamError(
            f"{response.url} answered with a redirect: that is no lab's gateway ({message})",
            fix="check the URL: llmlab status",
        )
    if status == 404 and (name := re.search("/models/([^/]+)/", str(response.url))):
        return UsageError(
            f"{name[1]} is not deployed: {message}",
            fix="llmlab status shows what is; llmlab models list what could be",
        )
    if status == 413:
        return UsageError(
            message, fix="a shorter text; or a higher limit in configs/lab.toml, then llmlab up"
        )
    if status < 500:
        return UsageError(message)
    return UpstreamError(message, fix="llmlab status; llmlab logs")


def _forbidden(response: httpx2.Response, message: str) -> LlmlabError:
    """It is the gateway whom a scope is missing, and the API whose guards refuse a text."""
    challenge = response.headers.get("WWW-Authenticate", "")
    if not challenge:
        return UsageError(
            message, fix="change the text; [[guards]] in configs/lab.toml say what is refused"
        )
    lacks = re.search(rf'scope="{scopes.PREFIX}({scopes.NAME.pattern})"', challenge)
    return AuthError(
        message,
        fix=f"a token that may: llmlab token --scope {lacks[1] if lacks else 'NAME'}, and "
        "LLMLAB_TOKEN is that",
    )


def _of_429(response: httpx2.Response) -> str:
    """It is the gateway that limits rates and holds budgets, and the API whose queue is full."""
    if _detail(response).startswith("The budget "):
        return "llmlab usage shows what was used; [[budgets]] in configs/lab.toml say what may be"
    if "X-Model" in response.headers:
        return "ask less often, or wait longer (--retry, --timeout)"
    return "ask less often, wait longer (--retry), or raise gateway.rate_limit.rate"


def _detail(response: httpx2.Response) -> str:
    try:
        document = response.json()
        # A problem document, or OpenAI's shape.
        return str(document["error"]["message"] if "error" in document else document["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase or "no reason given"
