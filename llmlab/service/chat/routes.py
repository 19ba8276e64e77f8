"""The addresses under /v1, and the one that Hugging Face's clients post to."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.json_schema import SkipJsonSchema
from starlette.routing import request_response

from llmlab.service.chat import described, errors
from llmlab.service.chat.answers import (
    ChatCompletion,
    Embeddings,
    PublicModel,
    PublicModels,
    TextCompletion,
)
from llmlab.service.chat.endpoint import ChatEndpoint
from llmlab.service.chat.schemas import ChatRequest, CompletionRequest, EmbeddingRequest
from llmlab.service.schemas import TIMEOUT

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Timeout = Annotated[
    # Not | None in the document: no header can say null.
    Seconds | SkipJsonSchema[None],
    Header(alias=TIMEOUT, examples=[30.0],
           description="Seconds that the client waits for all of the answer: one that is not "
           "written by then is given up. The service may wait less (`service.timeout`)."),
]  # fmt: skip

_SECONDS = TypeAdapter(Seconds)


class Bare(APIRoute):
    """It is described as all others are, and its handler gets the request as it is. What FastAPI
    does for the others, which is to find parameters and to look at answers, is a sixth of the work
    of an answer that is passed on."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **how: Any) -> None:
        super().__init__(path, endpoint, **how)

        async def handle(connection: Request) -> Response:
            answer: Response = await endpoint(connection, _timeout(connection))
            return answer

        self.app = request_response(handle)


def add_routes(app: FastAPI, loaded: Callable[[], ChatEndpoint]) -> None:
    """
    Args:
        loaded: what answers; it raises Problem before the model is there.
    """
    app.add_exception_handler(errors.ApiError, errors.answer)
    tags: list[str | Enum] = [described.TAG["name"]]

    def asked(path: str, **how: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(endpoint: Callable[..., Any]) -> Callable[..., Any]:
            app.router.add_api_route(
                path, endpoint, methods=["POST"], tags=tags, route_class_override=Bare, **how
            )
            return endpoint

        return add

    @app.get("/v1/models", summary="Which models may I name?", tags=tags,
             response_model=PublicModels)  # fmt: skip
    async def models(connection: Request) -> dict[str, Any]:
        """Routes go by their rules; a deployment answers itself."""
        return loaded().models(connection)

    @app.get("/v1/models/{name:path}", summary="Is there a model of that name?", tags=tags,
             response_model=PublicModel)  # fmt: skip
    async def model(
        name: Annotated[str, Path(description="A route, or a deployment.", examples=["chat"])],
        connection: Request,
    ) -> dict[str, Any]:
        """It says no more than that it is there."""
        return loaded().model(name, connection)

    @asked("/v1/chat/completions", summary="Have a conversation",
           response_model=ChatCompletion, openapi_extra=described.body(ChatRequest))  # fmt: skip
    async def chat(connection: Request, timeout: Timeout = None) -> Response:
        """`model` names a route or a deployment; without it, the lab chooses. A model that only
        summarizes takes the last message of the user for its text."""
        return await loaded().chat(connection, timeout)

    @asked("/v1/completions", summary="Complete a text",
           response_model=TextCompletion,
           openapi_extra=described.body(CompletionRequest))  # fmt: skip
    async def completions(connection: Request, timeout: Timeout = None) -> Response:
        """The older form: a prompt, and what follows it."""
        return await loaded().completion(connection, timeout)

    @asked("/v1/embeddings", summary="Turn texts into vectors",
           response_model=Embeddings, openapi_extra=described.body(EmbeddingRequest))  # fmt: skip
    async def embeddings(connection: Request, timeout: Timeout = None) -> Response:
        """Of a model that gives embeddings; any other one says 400 `unsupported_model`."""
        return await loaded().embeddings(connection, timeout)


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
