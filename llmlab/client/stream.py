"""Answers that are being written: one for blocking code, one for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2

from llmlab.client import protocol
from llmlab.client.chat import Reply, Talking


class Stream:
    """An answer that is being written. Iterate over its pieces, then ask for the ``reply``."""

    def __init__(self, talking: Talking, url: str) -> None:
        self._talking = talking
        self._url = url

    def __iter__(self) -> Iterator[str]:
        with protocol.explained(self._url):
            for event in httpx2.EventSource(self._talking.head):
                if piece := self._talking.hear(event):
                    yield piece

    def reply(self) -> Reply:
        """All of it, once the last piece has come."""
        with protocol.explained(self._url):
            return self._talking.reply()


class AsyncStream:
    """``Stream`` for asyncio."""

    def __init__(self, talking: Talking, url: str) -> None:
        self._talking = talking
        self._url = url

    async def __aiter__(self) -> AsyncIterator[str]:
        with protocol.explained(self._url):
            async for event in httpx2.EventSource(self._talking.head):
                if piece := self._talking.hear(event):
                    yield piece

    def reply(self) -> Reply:
        """All of it, once the last piece has come."""
        with protocol.explained(self._url):
            return self._talking.reply()
