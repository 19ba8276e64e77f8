"""What the OpenAPI document says of /v1: its requests, its answers and its errors."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import models_json_schema

from llmlab.service import description
from llmlab.service.chat.answers import ErrorDocument
from llmlab.service.chat.schemas import ChatRequest, CompletionRequest, EmbeddingRequest
from llmlab.service.schemas import EVENTS

PREFIX = "/v1/"
TAG = {
    "name": "openai",
    "description": """OpenAI's dialect, for clients that speak it already. Each of these is also at
`/openai/v1/...`, and at `/models/{deployment}/v1/...` for one deployment. Fields of a request that
nobody here knows are ignored; a known one that the model cannot honour, and that would change the
answer, is refused with 400 and its name in `param`. Every answer but 200 is an `ErrorDocument`.
Nothing else of OpenAI's API is here: the rest of `/v1` is 404, with the code `unknown_url`.""",
}
REQUESTS = (ChatRequest, CompletionRequest, EmbeddingRequest)
ABOUT = {"id": "chatcmpl-5f0c", "object": "chat.completion.chunk", "created": 1790000000,
         "model": "chat", "system_fingerprint": "smollm2@1c0ffee1c0ff"}  # fmt: skip
CHUNKS: tuple[dict[str, Any], ...] = (
    {"delta": {"role": "assistant", "content": "A"}, "finish_reason": None},
    {"delta": {"content": " short text."}, "finish_reason": None},
    {"delta": {}, "finish_reason": "stop"},
)
STREAMED = """With `stream`, the answer comes as events: chunks, the last of each choice with its
`finish_reason`; with `stream_options.include_usage` one more, whose `choices` are empty, with the
`usage`; then `[DONE]`. What fails at once has its status; what fails later is an event
`{"error": ...}` before `[DONE]`. A comment every 15 s says that it goes on."""
ERRORS = {
    400: "A header is malformed, the body is no JSON object, or a field is wrong, or none that "
    "this model can honour (`param`). `context_length_exceeded`: the prompt does not fit.",
    403: "`guard_blocked`: a guard of this lab found something in the request; `param` says where. "
    "Of an answer, a choice ends with `content_filter`.",
    404: "`model_not_found`: `model`, `X-Model` or the path names nothing of this lab; the message "
    "says what there is. `unknown_url`: there is nothing at this address.",
    422: "`X-Request-Timeout` is no number of seconds.",
    413: "The body is larger than `gateway.max_body`.",
    502: "The API is away (from the gateway), or a model elsewhere failed. `upstream_...`: what "
    "went wrong there.",
}  # fmt: skip


def body(of: type) -> dict[str, Any]:
    """Of an operation that reads its body by itself."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{of.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}


def schemas() -> dict[str, Any]:
    """{component's name: schema} of the requests, and of an error."""
    _, found = models_json_schema(
        [*((one, "validation") for one in REQUESTS), (ErrorDocument, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    named: dict[str, Any] = found["$defs"]
    return named


def error(status: int) -> str:
    """The name of an error's component."""
    return f"Error{status}"


def responses() -> dict[str, Any]:
    """{component's name: response} of every error."""
    return {error(status): _error(status) for status in description.PROBLEMS}


def answered() -> dict[str, dict[str, Any]]:
    """{operation: what else there is to say of its answer 200}."""
    return {
        "models": {"description": "The routes, then the deployments that are called otherwise."},
        "chat": {
            "description": STREAMED,
            "headers": description.named("X-Recorded"),
            "content": {EVENTS: _events()},
        },
        "completions": {"description": STREAMED, "content": {EVENTS: _events()}},
    }


def _events() -> dict[str, Any]:
    told = [json.dumps({**ABOUT, "choices": [{"index": 0, **one}]}) for one in CHUNKS]
    # No schema: OpenAPI 3.1 has none of a stream, and its readers do not agree on what one means.
    return {"example": "".join(f"data: {one}\n\n" for one in [*told, "[DONE]"])}


def _error(status: int) -> dict[str, Any]:
    said = description.problem_response(status)
    headers = {**said["headers"], **description.named("X-Should-Retry")}
    schema = {"$ref": f"#/components/schemas/{ErrorDocument.__name__}"}
    return {
        "description": ERRORS.get(status, description.PROBLEMS[status]),
        "headers": headers,
        "content": {"application/json": {"schema": schema}},
    }
