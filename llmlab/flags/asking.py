"""Which flags are on for a subject, as the gateway says: asked now and then, and kept between."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx2
from pydantic import ValidationError

from llmlab.auth.unverified import subject_of
from llmlab.client.bounds import Bounds
from llmlab.client.connection import connect
from llmlab.client.credentials import Credentials, LabTokens, TokenSource, resolve
from llmlab.errors import AuthError, LlmlabError, UpstreamError, UsageError
from llmlab.service.schemas import Flags

PATH = "/flags"
SUBJECTS = 1000  # whose flags are kept
LARGEST = 1 << 16  # bytes of an answer

Freshness = Literal["new", "kept", "stale"]


class OtherSubject(UsageError):
    """The flags of somebody whose token is not at hand."""


@dataclass(frozen=True)
class Known:
    """Flags, and how they come to be known: asked for just now, kept since a moment ago, or
    kept for longer than they should be, as the gateway does not answer."""

    flags: Mapping[str, bool]
    freshness: Freshness


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    flags: Mapping[str, bool] | None = None
    at: float = 0.0
    error: LlmlabError | None = None
    failed_at: float = 0.0


class Asker:
    """Asks a lab for flags. Threads may share it.

    Args:
        url, token, lab: as of ``Client``; found out when they are needed first.
        keep: seconds for which an answer counts, and for which a gateway that did not answer is
            left alone.
        stale: seconds for which an answer is used while there is no newer one to be had.
        timeout: seconds for one answer.
        clock: gives seconds.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        lab: str | Path | None = None,
        keep: float = 5.0,
        stale: float = 60.0,
        timeout: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = (url, token, Path(lab) if lab else None)
        self._keep, self._stale, self._timeout = keep, stale, timeout
        self._clock = clock
        self._lock = threading.Lock()
        self._found: Credentials | None = None
        self._http: httpx2.Client | None = None
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def flags(self, subject: str = "") -> Known:
        """The flags of a subject; "" for the token's own.

        Raises:
            OtherSubject: the token is somebody else's, and none can be minted here.
            LlmlabError: there is no answer, and no kept one.
        """
        tokens = self._tokens(subject)
        kept = self._of(subject)
        with kept.lock:
            now = self._clock()
            if kept.flags is not None and now - kept.at < self._keep:
                return Known(kept.flags, "kept")
            if kept.error is None or now - kept.failed_at >= self._keep:
                try:
                    kept.flags, kept.at, kept.error = self._ask(tokens), now, None
                    return Known(kept.flags, "new")
                except LlmlabError as error:
                    kept.error, kept.failed_at = error, now
            if kept.flags is not None and now - kept.at < self._stale:
                return Known(kept.flags, "stale")
            raise kept.error

    def close(self) -> None:
        with self._lock:
            if self._http:
                self._http.close()
            self._http, self._found = None, None

    def _of(self, subject: str) -> _Kept:
        with self._lock:
            kept = self._kept.setdefault(subject, _Kept())
            self._kept.move_to_end(subject)
            while len(self._kept) > SUBJECTS:
                self._kept.popitem(last=False)
            return kept

    def _credentials(self) -> Credentials:
        with self._lock:
            if self._found is None:
                self._found = resolve(*self._given)
            return self._found

    def _tokens(self, subject: str) -> TokenSource:
        """Tokens of a subject: the lab's own keys can mint one for anybody."""
        tokens = self._credentials().token
        if not subject or subject == subject_of(tokens()):
            return tokens
        if isinstance(tokens, LabTokens):
            return tokens.of(subject)
        raise OtherSubject(
            "a flag is evaluated at the gateway for the subject of the token, and this token is "
            f"not one of {subject!r}",
            fix="leave the targeting key out, or use a token of that subject",
        )

    def _client(self, url: str) -> httpx2.Client:
        trust = self._credentials().trust
        with self._lock:
            if self._http is None:
                self._http = connect(httpx2.Client, url, trust=trust, timeout=self._timeout)
            return self._http

    def _ask(self, tokens: TokenSource) -> Mapping[str, bool]:
        url = self._credentials().url
        status, content = self._answer(url, tokens)
        if status == 401 and tokens.renew():
            status, content = self._answer(url, tokens)
        if status == 401:
            raise AuthError(f"{url}{PATH} refuses the token", fix=tokens.advice)
        if status != 200:
            raise UpstreamError(f"{url}{PATH} answers {status}", fix="llmlab status")
        try:
            return Flags.model_validate_json(content, strict=True).flags
        except ValidationError:
            raise UpstreamError(
                f"{url}{PATH} answers, but not like a lab", fix="check the URL: llmlab status"
            ) from None

    def _answer(self, url: str, tokens: TokenSource) -> tuple[int, bytes]:
        try:
            with self._client(url).stream(
                "GET", PATH, headers={"Authorization": f"Bearer {tokens()}"}
            ) as response:
                content = Bounds(self._timeout, LARGEST).bounded(response).read()
        except httpx2.HTTPError as error:
            raise UpstreamError(f"{url}{PATH} cannot be asked: {error}", fix="llmlab up") from None
        return response.status_code, content
