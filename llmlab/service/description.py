"""What /docs and the OpenAPI document say of answers: headers, events and problems."""

from __future__ import annotations

from typing import Any

from llmlab.service.events import Event
from llmlab.service.schemas import (
    DEPLOYMENT,
    EVENTS,
    PROBLEM_TYPE,
    TIMEOUT,
    ProblemDocument,
    Progress,
)

EXAMPLE: dict[str, Any] = {
    "summary": "A short text.",
    "model": {"name": "falconsai", "id": "sha256:...", "runtime": "ctranslate2"},
    "usage": {"input_tokens": 1490, "output_tokens": 58, "windows": 4, "truncated": False},
}
STREAM = (
    Event("progress", Progress(done=0, windows=4, reading=1).model_dump()),
    Event("progress", Progress(done=3, windows=4, reading=1).model_dump()),
    Event("progress", Progress(done=4, windows=4, reading=1).model_dump()),
    Event("summary", EXAMPLE),
)
SUMMARY = f"""The summary. To a request with `Accept: {EVENTS}` it comes as events: `progress`
while the windows of a long text are read (`done` of `windows`; `reading` 2 reads the summaries
of the first), then `summary` with the document, or `problem` with a problem document. What
fails at once is answered as without them. A comment every 15 s says that it goes on."""
PROBLEMS = {
    400: "The body is not JSON.",
    401: "No valid token (from the gateway).",
    413: "The text is longer than `service.max_text_chars`, or the body than `gateway.max_body`.",
    415: "The body is said to be something else than JSON, or compressed.",
    422: "A field or a header is wrong.",
    429: f"Too many requests, be it of this subject at the gateway or in the model's queue; or the "
    f"queue is so long that there could be no summary within `{TIMEOUT}` or `service.timeout`.",
    502: "The API is away (from the gateway).",
    503: "The model is being loaded, or its API is away.",
    504: f"No summary within `{TIMEOUT}` or `service.timeout`; the model has dropped the text.",
}
WAIT = (429, 502, 503)


def summary_responses() -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of everything that a summarize request can be answered with."""
    ok = {
        "description": SUMMARY,
        "headers": {
            "X-Cache": _header(
                "Made for this request (miss), together with an equal one (coalesced), or for one "
                "before (hit), of the same subject. Not on a stream that had to wait for it.",
                enum=["miss", "coalesced", "hit"],
            ),
            "Server-Timing": _header("`queue;dur=`: milliseconds until the text had its turn."),
            "X-Model": _header("The name of the model that answered."),
            DEPLOYMENT: _header("The deployment that was asked (from the gateway)."),
            "X-Request-ID": _header("The request's id, here and in the logs."),
        },
        "content": {
            EVENTS: {"schema": {"type": "string"}, "example": "".join(str(one) for one in STREAM)}
        },
    }
    return {200: ok, **problem_responses(*PROBLEMS)}


def flags_responses() -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the answers to a question for flags."""
    ok = {
        "description": "Evaluated at the gateway, for the token's subject and claims. A name "
        "that is missing is no flag of this lab.",
        "content": {"application/json": {"example": {"flags": {"short-summaries": True}}}},
    }
    return {200: ok, **problem_responses(401, 429)}


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI entries of the problems that an operation can answer with."""
    # Inlined: a "#/$defs/..." of its own would point nowhere in the OpenAPI document.
    schema = ProblemDocument.model_json_schema(mode="serialization")
    schema["properties"]["errors"] = {"type": "array", "items": schema.pop("$defs")["FieldError"]}
    content = {PROBLEM_TYPE: {"schema": schema}}
    after = {"Retry-After": _header("Seconds after which to ask again.", kind="integer")}
    return {
        status: {"description": PROBLEMS[status], "content": content}
        | ({"headers": after} if status in WAIT else {})
        for status in statuses
    }


def _header(description: str, *, kind: str = "string", **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind, **schema}}
