"""The addresses under /v1, and the one that Hugging Face's clients post to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from pydantic import Field

from llmlab.service.chat import errors
from llmlab.service.chat.endpoint import ChatEndpoint
from llmlab.service.schemas import TIMEOUT

Timeout = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Header(alias=TIMEOUT)
]


def add_routes(app: FastAPI, loaded: Callable[[], ChatEndpoint]) -> None:
    """
    Args:
        loaded: what answers; it raises Problem before the model is there.
    """
    app.add_exception_handler(errors.ApiError, errors.answer)

    @app.get("/v1/models", include_in_schema=False)
    async def models(connection: Request) -> dict[str, Any]:
        return loaded().models(connection)

    @app.get("/v1/models/{name:path}", include_in_schema=False)
    async def model(name: str, connection: Request) -> dict[str, Any]:
        return loaded().model(name, connection)

    @app.post("/v1/chat/completions", include_in_schema=False)
    async def chat(connection: Request, timeout: Timeout = None) -> Response:
        return await loaded().chat(connection, timeout)

    @app.post("/v1/completions", include_in_schema=False)
    async def completions(connection: Request, timeout: Timeout = None) -> Response:
        return await loaded().completion(connection, timeout)

    @app.post("/v1/embeddings", include_in_schema=False)
    async def embeddings(connection: Request, timeout: Timeout = None) -> Response:
        return await loaded().embeddings(connection, timeout)
