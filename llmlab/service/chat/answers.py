"""What an answer of OpenAI's dialect holds: for its description, nothing is built by these."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from llmlab.service.schemas import never_null

Reason = Literal["stop", "length", "tool_calls", "content_filter"]
Fingerprint = Annotated[str, Field(description="deployment@content-id of what answered.")]
Logprobs = Annotated[dict[str, Any] | None, Field(description="Where they were asked for.")]
# A field that an answer has, or has not; it never says null.
Absent = Field(json_schema_extra=never_null)


class PublicModel(BaseModel):
    """A name that `model` may say: a route, or a deployment. Asked at its own address, a deployment
    tells what it is as well: its `content_id` and `runtime`."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class PublicModels(BaseModel):
    object: Literal["list"]
    data: list[PublicModel]


class CachedTokens(BaseModel):
    cached_tokens: int


class TokenUsage(BaseModel):
    """In the model's tokens; words for the extractive runtime."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class CalledFunctionAnswer(BaseModel):
    name: str
    arguments: Annotated[str, Field(description="A JSON object, as a text.")]


class ToolCallAnswer(BaseModel):
    id: str
    type: Literal["function"]
    function: CalledFunctionAnswer


class AssistantMessage(BaseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: str | None
    reasoning_content: Annotated[str | SkipJsonSchema[None], Absent] = None
    tool_calls: Annotated[list[ToolCallAnswer] | SkipJsonSchema[None], Absent] = None


class ChatChoice(BaseModel):
    index: int
    message: AssistantMessage
    logprobs: Logprobs
    finish_reason: Reason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: Annotated[str, Field(description="As the request calls it.")]
    system_fingerprint: Fingerprint
    choices: list[ChatChoice]
    usage: TokenUsage


class TextChoice(BaseModel):
    index: int
    text: str
    logprobs: Logprobs
    finish_reason: Reason


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"]
    created: int
    model: Annotated[str, Field(description="As the request calls it.")]
    system_fingerprint: Fingerprint
    choices: list[TextChoice]
    usage: TokenUsage


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: Annotated[
        list[float] | str, Field(description="A text with `encoding_format` base64.")
    ]


class Embeddings(BaseModel):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: dict[str, int]


class ErrorSaid(BaseModel):
    message: str
    type: Annotated[
        str, Field(description="invalid_request_error, rate_limit_error or server_error.")
    ]
    param: Annotated[str | None, Field(description="The field that is at fault.")]
    code: Annotated[str | None, Field(description="What a program may tell it by.")]


class ErrorDocument(BaseModel):
    """What every answer under /v1 but 200 says: OpenAI's clients read no other shape."""

    error: ErrorSaid
