"""The API's contract: what a request may say and what an answer holds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.json_schema import SkipJsonSchema

from llmlab.bounds import LONGEST_SUMMARY
from llmlab.runtimes.base import Strategy

PROBLEM_TYPE = "application/problem+json"
EVENTS = "text/event-stream"
TIMEOUT = "X-Request-Timeout"
DEPLOYMENT = "X-Deployment"  # of an answer; the gateway's
CACHE = "X-Cache"  # of an answer: miss where the model has worked for this very request
# In Server-Timing, where a request ended because of that: for whoever judges deployments by
# the gateway's log, to whom a client's impatience is to tell nothing.
OWN_LIMIT = "limit;desc=client"


class SummarizeRequest(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"text": "A long text.", "max_length": 60}]},
    )

    text: Annotated[
        str,
        Field(strict=True, description="The text to summarize: not blank.",
              json_schema_extra={"pattern": r"\S"}),
    ]  # fmt: skip
    max_length: Annotated[
        int | None,
        Field(strict=True, ge=1, le=LONGEST_SUMMARY,
              description="Longest summary, in the model's tokens (extractive: words)."),
    ] = None  # fmt: skip
    min_length: Annotated[
        int | None,
        Field(strict=True, ge=0, le=LONGEST_SUMMARY,
              description="Shortest summary, in the same unit."),
    ] = None  # fmt: skip
    strategy: Annotated[
        Strategy,
        Field(
            description="auto: read all of it, a long text window by window; truncate: read the "
            "model's first window only; full: read all of it at once."
        ),
    ] = Strategy.AUTO

    @field_validator("text")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("the text is empty or blank")
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise ValueError("the text holds half of a surrogate pair, which is no character")
        return text

    @model_validator(mode="after")
    def _lengths_in_order(self) -> Self:
        if None not in (self.min_length, self.max_length) and self.min_length > self.max_length:  # type: ignore[operator]
            raise ValueError(f"min_length {self.min_length} is above max_length {self.max_length}")
        return self


class ModelInfo(BaseModel):
    """The model that really answered."""

    name: str
    id: str
    runtime: str


class Usage(BaseModel):
    """In the model's tokens; words for the extractive runtime.

    A text of more than one window was read in so many pieces. ``truncated`` says that
    something was left out.
    """

    input_tokens: int
    output_tokens: int
    windows: int
    truncated: bool


class SummarizeResponse(BaseModel):
    summary: str
    model: ModelInfo
    usage: Usage


class Hello(BaseModel):
    message: Literal["Hello World"] = "Hello World"


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    status: Literal["ready"] = "ready"
    model: ModelInfo


class Flags(BaseModel):
    """The lab's feature flags, and whether each is on for whoever asks."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"flags": {"short-summaries": True}}]}
    )

    flags: dict[str, bool]


class Progress(BaseModel):
    """How far a long text is: so many of its windows are read.

    ``reading`` counts from 1; in the second one, the summaries of the first are read.
    """

    model_config = ConfigDict(frozen=True)

    done: Annotated[int, Field(ge=0)]
    windows: Annotated[int, Field(ge=1)]
    reading: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _not_beyond_the_end(self) -> Self:
        if self.done > self.windows:
            raise ValueError(f"{self.done} of {self.windows} windows are done")
        return self


class FieldError(BaseModel):
    path: str
    message: str


def never_null(schema: dict[str, Any]) -> None:
    """What is None is left out of the document."""
    schema.pop("default", None)


class ProblemDocument(BaseModel):
    """RFC 9457: what went wrong, for machines and for people."""

    type: str = "about:blank"
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    message: Annotated[
        str, Field(description="The detail once more, where clients of OpenAI's look for it.")
    ] = ""
    request_id: str
    errors: Annotated[
        list[FieldError] | SkipJsonSchema[None], Field(json_schema_extra=never_null)
    ] = None
    retry_after: Annotated[
        int | SkipJsonSchema[None],
        Field(
            description="In a stream: seconds, as Retry-After elsewhere.",
            json_schema_extra=never_null,
        ),
    ] = None
