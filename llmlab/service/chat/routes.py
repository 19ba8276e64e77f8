"""The addresses under /v1, and the one that Hugging Face's clients post to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, TypeAdapter, ValidationError
from starlette.routing import Match, Route
from starlette.types import Scope

from llmlab.service.chat import errors
from llmlab.service.chat.endpoint import ChatEndpoint
from llmlab.service.schemas import TIMEOUT

_SECONDS = TypeAdapter(Annotated[float, Field(gt=0, allow_inf_nan=False)])


class Bare(Route):
    """Its handler gets the request as it is. What FastAPI does for the others, which is to find
    parameters and to describe them, is a sixth of the work of an answer that is passed on."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        return match, {**child, "route": self}  # as FastAPI's do: log and metrics go by it


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

    async def chat(connection: Request) -> Response:
        return await loaded().chat(connection, _timeout(connection))

    async def completions(connection: Request) -> Response:
        return await loaded().completion(connection, _timeout(connection))

    async def embeddings(connection: Request) -> Response:
        return await loaded().embeddings(connection, _timeout(connection))

    # First of all: a router looks at one after the other.
    for path, handler in {
        "/v1/chat/completions": chat, "/v1/completions": completions, "/v1/embeddings": embeddings,
    }.items():  # fmt: skip
        app.router.routes.insert(0, Bare(path, handler, methods=["POST"]))


def _timeout(connection: Request) -> float | None:
    """Seconds that the client waits; None if it does not say.

    Raises:
        RequestValidationError: what it says is no number of seconds.
    """
    given = connection.headers.get(TIMEOUT)
    if given is None:
        return None
    try:
        return _SECONDS.validate_python(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        told = [{**one, "loc": ("header", TIMEOUT)} for one in found]
        raise RequestValidationError(told) from None
