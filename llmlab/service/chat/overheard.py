"""Talking, where what is asked is told as well what the API has heard of the request: for the
runtime ``scripted`` only, which tells it again to whoever asks."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

from fastapi import Request

from llmlab.runtimes.chat import Chunk
from llmlab.runtimes.scripted import HEARD
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.talking import Part, Talking


class Overheard(Talking):
    """Each part of a request carries what ``heard`` gives."""

    async def _placed(
        self, parts: list[Part], connection: Request, seconds: float, usage: Usage, calls: bool
    ) -> AsyncGenerator[Chunk]:
        told = heard(connection)
        parts = [replace(one, body={**one.body, HEARD: told}) for one in parts]
        async for chunk in super()._placed(parts, connection, seconds, usage, calls):
            yield chunk


def heard(connection: Request) -> dict[str, Any]:
    """Method, path, query and headers of a request as they came; headers in pairs, for a name may
    stand there twice."""
    return {
        "method": connection.method,
        "path": connection.url.path,
        "query": connection.url.query,
        "headers": [
            [name.decode("latin-1"), value.decode("utf-8", "replace")]
            for name, value in connection.headers.raw
        ],
    }
