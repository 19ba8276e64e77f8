"""The OpenAPI document: what FastAPI knows of the routes, and all that it does not.

The same for everybody who asks a lab of this version, and for `llmlab config openapi`: it
describes the lab as it is behind its gateway, not one API process.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from llmlab.config.schema import MODEL_NAME
from llmlab.service import description
from llmlab.service.chat import described
from llmlab.service.schemas import DEPLOYMENT

INTRODUCTION = """Every answer but 200 is a problem document (RFC 9457); under `/v1`, an error in
OpenAI's shape. Where one has a `Retry-After`, the same request may go well after that many
seconds."""
TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "`llmlab token` prints one.",
}
TAGS = [
    {"name": "texts", "description": "What the models do."},
    described.TAG,
    {"name": "lab", "description": "What the lab tells whoever has a token."},
    {"name": "health", "description": "What it tells everybody."},
]
EVERYWHERE = (400, 413, 414, 429, 431, 500, 502, 503, 504)
WITH_A_TOKEN = (401, 404)
WITH_A_BODY = (403, 415, 422)
BY_THE_GATEWAY = ("models", "model")  # which knows the names without asking an API


class DescribedApi(FastAPI):
    """FastAPI, with the whole document."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema


def completed(routes: dict[str, Any]) -> dict[str, Any]:
    """
    Args:
        routes: the document that FastAPI makes of the routes.
    """
    paths = {}
    for path, item in routes["paths"].items():
        paths[path] = item
        if path == "/health/ready":  # the gateway's short way to it
            paths["/health"] = _also(item, "health")
        if path == "/summarize/":
            paths["/models/{deployment}/summarize/"] = _by_deployment(item)
    answered = description.answered() | described.answered()
    for path, item in paths.items():
        for operation in item.values():
            problem = described.error if path.startswith(described.PREFIX) else description.problem
            _complete(operation, answered.get(operation["operationId"], {}), problem)
    schemas = routes["components"]["schemas"]
    ours = {name: one for name, one in schemas.items() if "ValidationError" not in name}
    theirs = description.problem_schemas() | described.schemas()
    components = {
        "schemas": dict(sorted((ours | theirs).items())),
        "responses": description.responses() | described.responses(),
        "parameters": {
            name: {"name": name, **one} for name, one in description.parameters().items()
        },
        "headers": description.headers(),
        "securitySchemes": {"token": TOKEN},
    }
    return {
        "openapi": routes["openapi"],
        "info": routes["info"],
        # Where the document came from: a lab is reached by more names than it knows of.
        "servers": [{"url": "/", "description": "The lab's gateway"}],
        "security": [{"token": []}],
        "tags": TAGS,
        "paths": paths,
        "components": components,
    }


def _also(item: dict[str, Any], name: str, **said: Any) -> dict[str, Any]:
    """The same operation at another address."""
    return {
        method: copy.deepcopy(one) | {"operationId": name, **said} for method, one in item.items()
    }


def _by_deployment(item: dict[str, Any]) -> dict[str, Any]:
    there = _also(item, "summarize_by", summary="Summarize a text by a deployment of your choice")
    which = {
        "name": "deployment",
        "in": "path",
        "required": True,
        "description": "Its name, as in `X-Model`.",
        "schema": {
            "type": "string",
            "pattern": f"^{MODEL_NAME.pattern}$",
            "examples": ["textrank"],
        },
    }
    for operation in there.values():
        operation["parameters"] = [which, *operation.get("parameters", [])]
    return there


def _complete(
    operation: dict[str, Any], answered: dict[str, Any], problem: Callable[[int], str]
) -> None:
    """Say of an operation what holds for all of its kind.

    Args:
        problem: the name of the component that says what an answer of that status is.
    """
    is_open = "health" in operation["tags"]
    by_name = operation["operationId"] in (*BY_THE_GATEWAY, "summarize_by")
    texts = "requestBody" in operation
    wanted = ["X-Request-ID"]
    wanted += [] if is_open or by_name else ["X-Model"]
    wanted += ["Cache-Control"] if texts and operation["operationId"] != "embeddings" else []
    shared = [{"$ref": f"#/components/parameters/{name}"} for name in wanted]
    statuses = {*EVERYWHERE}
    statuses |= set() if is_open else {*WITH_A_TOKEN}
    statuses |= {*WITH_A_BODY} if texts else set()
    operation["parameters"] = [*operation.get("parameters", []), *shared]
    operation["responses"] = {"200": _ok(operation, answered)} | {
        str(status): {"$ref": f"#/components/responses/{problem(status)}"}
        for status in sorted(statuses)
    }
    if is_open:
        operation["security"] = []


def _ok(operation: dict[str, Any], answered: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = operation["responses"]["200"]
    by = () if operation["operationId"] in BY_THE_GATEWAY else ("X-Model", DEPLOYMENT)
    headers = description.named("X-Request-ID", *by) | answered.get("headers", {})
    content = found["content"] | answered.get("content", {})
    return found | answered | {"headers": headers, "content": content}
