"""The two clients: one blocking, one for asyncio. They differ in how they wait, nothing else."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Self

import httpx2

from llmlab import __version__
from llmlab.client import credentials, protocol
from llmlab.client.protocol import Summary
from llmlab.client.retry import RetryPolicy
from llmlab.network import is_loopback

TIMEOUT = 150.0  # seconds; above the gateway's own limit, so that its answer is what one sees


class _Base:
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        lab: str | Path | None = None,
        timeout: float = TIMEOUT,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Args:
        url: the gateway, such as ``http://127.0.0.1:8000``.
        token: a JWT.
        lab: folder of a lab to take URL and token from; default: the one around here.
        timeout: seconds for one try.
        retry: when to ask again; default: for up to 60 s.
        """
        found = credentials.resolve(url, token, Path(lab) if lab else None)
        self.url = found.url
        self._token = found.token
        self._retry = retry or RetryPolicy()
        self._options: dict[str, Any] = {
            "base_url": found.url,
            "timeout": httpx2.Timeout(timeout, connect=5.0),
            "headers": {"User-Agent": f"llmlab/{__version__}"},
            # A proxy that is set for the internet must not see a lab on this machine.
            "trust_env": not is_loopback(found.url),
        }

    def headers(self) -> dict[str, str]:
        """The Authorization header, with a token that is valid now, for a request of one's own."""
        return {"Authorization": f"Bearer {self._token()}"}


class Client(_Base):
    """A blocking client. Threads may share it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = httpx2.Client(**self._options)

    def summarize(
        self,
        text: str,
        *,
        model: str | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        strategy: str | None = None,
    ) -> Summary:
        """Summarize a text with the stable model, or with a named one.

        Lengths are in the model's tokens (words for the extractive runtime).

        Raises:
            AuthError: the token was refused.
            UsageError: the text or a parameter was refused.
            UpstreamError: no answer within the timeout and the retry policy.
        """
        body = protocol.body(text, max_length=max_length, min_length=min_length, strategy=strategy)
        attempts = self._retry.attempts()
        while True:
            outcome = self._try(protocol.path_for(model), body)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return protocol.summary_of(outcome, self.url)
            time.sleep(pause)

    def _try(self, path: str, body: dict[str, Any]) -> httpx2.Response | httpx2.RequestError:
        try:
            return self._http.post(path, json=body, headers=self.headers())
        except httpx2.RequestError as error:
            return error

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Base):
    """The same for asyncio."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = httpx2.AsyncClient(**self._options)

    async def summarize(
        self,
        text: str,
        *,
        model: str | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        strategy: str | None = None,
    ) -> Summary:
        """See ``Client.summarize``."""
        body = protocol.body(text, max_length=max_length, min_length=min_length, strategy=strategy)
        attempts = self._retry.attempts()
        while True:
            outcome = await self._try(protocol.path_for(model), body)
            pause = attempts.pause_after(outcome)
            if pause is None:
                return protocol.summary_of(outcome, self.url)
            await asyncio.sleep(pause)

    async def _try(self, path: str, body: dict[str, Any]) -> httpx2.Response | httpx2.RequestError:
        try:
            return await self._http.post(path, json=body, headers=self.headers())
        except httpx2.RequestError as error:
            return error

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
