"""What the OpenAPI document says of answers: headers, events and problems.

The document describes the lab as its clients meet it, so the gateway's own answers are in it,
too: whoever reads a 401 does not care who wrote it.
"""

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
FLAGS = """Evaluated at the gateway, for the token's subject and claims. A name that is missing is
no flag of this lab."""
PROBLEMS = {
    400: "The request line or a header is malformed, or the body is not JSON.",
    401: "No valid token (from the gateway).",
    403: "A guard of this lab (`[[guards]]`) found something in the text, or in its summary.",
    404: "`X-Model` or the path names no deployment of this lab.",
    413: "The text is longer than `service.max_text_chars`, or the body than `gateway.max_body`.",
    414: "The address is longer than the gateway reads.",
    415: "The body is said to be something else than JSON, or compressed.",
    422: "A field or a header is wrong.",
    429: f"Too many requests, be it of this subject at the gateway or in the model's queue; or the "
    f"queue is so long that there could be no summary within `{TIMEOUT}` or `service.timeout`; "
    "or a budget has no room, and without `Retry-After` will have none at any time.",
    431: "A header is longer than the gateway reads.",
    500: "The API failed on this request, or a guard on its text; its log says why.",
    502: "The API is away (from the gateway).",
    503: "The model is being loaded, or its API is away.",
    504: f"No summary within `{TIMEOUT}` or `service.timeout`; the model has dropped the text.",
}
BY_THE_SAME = {
    "operationId": "summarize_by",
    "parameters": {"deployment": f"$response.header.{DEPLOYMENT}"},
    "description": "A text of your own, for the deployment that answered this.",
}
WAIT = (429, 502, 503)
BY_THE_API = (403, 422, 500)  # the others may come from the gateway, which is no model


def responses() -> dict[str, Any]:
    """{component's name: response} of every problem."""
    return {problem(status): problem_response(status) for status in PROBLEMS}


def problem(status: int) -> str:
    """The name of a problem's component."""
    return f"Problem{status}"


def problem_schemas() -> dict[str, Any]:
    """{component's name: schema} of a problem document."""
    schema = ProblemDocument.model_json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    return {**schema.pop("$defs"), ProblemDocument.__name__: schema}


def headers() -> dict[str, Any]:
    """{component's name: header} of every answer's headers."""
    return {
        "X-Request-ID": _header("The request's id, here and in the logs.", required=True),
        "X-Model": _header("The name of the model that answered.", required=True),
        DEPLOYMENT: _header("The deployment that was asked (from the gateway)."),
        "X-Recorded": _header(
            "The recording in which whoever runs the lab may keep this request and its answer; see "
            "`Cache-Control`. Not there where nothing is kept."
        ),
        "X-Cache": _header(
            "Made for this request (miss), together with an equal one (coalesced), or for one "
            "before (hit), of the same subject. Not on a stream that had to wait for it.",
            enum=["miss", "coalesced", "hit"],
        ),
        "Server-Timing": _header("`queue;dur=`: milliseconds until the text had its turn."),
        "Cache-Control": _header("These answers are somebody's own.", enum=["no-store"]),
        "Retry-After": _header(
            "Seconds after which to ask again.", kind="integer", required=True, minimum=1
        ),
        "RateLimit-Policy": _header(
            "The limit of this subject, where it was that one: `q` requests in `w` seconds "
            "(draft-ietf-httpapi-ratelimit-headers)."
        ),
        "X-Should-Retry": _header(
            "Whether the same request may go well later: OpenAI's clients go by it.",
            enum=["true", "false"],
            required=True,
        ),
        "WWW-Authenticate": _header(
            'RFC 6750: `Bearer`, and `error="invalid_token"` where one was sent.', required=True
        ),
    }


def parameters() -> dict[str, Any]:
    """{component's name: parameter} of the request headers that no operation declares itself."""
    return {
        "X-Request-ID": _parameter(
            "An id of your own for this request, of up to 128 of `A-Za-z0-9._:-`. Another one, or "
            "none, gets a new one.",
            like="order-4711",
        ),
        "X-Model": _parameter(
            "The name of the deployment that is to answer. Without it, the lab chooses.",
            like="textrank",
        ),
        "Cache-Control": _parameter(
            "`no-cache`: an answer that is made anew, not one from before. `no-store`: nothing of "
            "this request is kept in a recording.",
            like="no-cache",
        ),
    }


def named(*names: str) -> dict[str, Any]:
    """An answer's headers, by their components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def answered() -> dict[str, dict[str, Any]]:
    """{operation: what else there is to say of its answer 200}."""
    events = {"schema": {"type": "string"}, "example": "".join(str(one) for one in STREAM)}
    summary = {
        "description": SUMMARY,
        "headers": named("X-Cache", "Server-Timing", "X-Recorded"),
        "content": {EVENTS: events},
        "links": {
            "SummarizeTheSummary": {
                "operationId": "summarize",
                "requestBody": {"text": "$response.body#/summary"},
                "description": "A summary is a text like any other.",
            },
            "SummarizeByTheSame": BY_THE_SAME,
        },
    }
    ready = {"links": {"SummarizeByTheSame": BY_THE_SAME}}
    return {
        "summarize": summary,
        "summarize_by": summary,
        "flags": {"description": FLAGS, "headers": named("Cache-Control")},
        "ready": ready,
        "health": ready,
    }


def problem_response(status: int) -> dict[str, Any]:
    """What is said of one problem."""
    after = ["Retry-After"] if status in WAIT else []
    challenge = ["WWW-Authenticate"] if status == 401 else []
    model = ["X-Model"] if status in BY_THE_API else []
    limit = ["RateLimit-Policy"] if status == 429 else []
    return {
        "description": PROBLEMS[status],
        "headers": named("X-Request-ID", *model, DEPLOYMENT, *after, *limit, *challenge),
        "content": {
            PROBLEM_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
        },
    }


def _header(
    description: str, *, kind: str = "string", required: bool = False, **schema: Any
) -> dict[str, Any]:
    there = {"required": True} if required else {}
    return {"description": description, **there, "schema": {"type": kind, **schema}}


def _parameter(description: str, *, like: str) -> dict[str, Any]:
    # An `example` of the parameter itself would be filled in by /docs, and sent.
    schema = {"type": "string", "examples": [like]}
    return {"in": "header", "description": description, "schema": schema}
