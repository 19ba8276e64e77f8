"""What a request of OpenAI's dialect may say.

Fields that nobody here knows are passed over, as OpenAI's own clients expect. Those that are
known are checked, and one that this model cannot honour is refused by whoever finds out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from llmlab.bounds import MOST_ANSWERS, MOST_CHOICES
from llmlab.service.chat.bodies import parsed_json
from llmlab.service.chat.errors import ApiError

MOST_INPUTS = 2048  # of embeddings; OpenAI's own bound
# Items of lists that a request may have: OpenAI's own bounds where it tells them.
MOST_MESSAGES, MOST_PARTS, MOST_TOOLS, MOST_BIASES = 2048, 256, 128, 1024
T = TypeVar("T", bound="Asked")
# Fields that would change what an answer is, and that nothing here can honour.
NEVER = ("functions", "function_call", "audio", "web_search_options")


# huggingface_hub says so where it was given an address and no name.
UNNAMED = "dummy"
PublicName = Annotated[str | None, AfterValidator(lambda name: None if name == UNNAMED else name)]


# What a model server still reads as a number of its own: 32 bits of tokens, 64 of a seed.
MOST_TOKENS, LARGEST_SEED = (1 << 31) - 1, (1 << 63) - 1
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
TokenId = Annotated[int, Field(ge=0, le=MOST_TOKENS)]
# Said of a schema only: who checks it says so in fewer words than a union of types does.
NOT_EMPTY = {"minLength": 1}
Prompt = Annotated[str, Field(json_schema_extra=NOT_EMPTY)]
SOME = Field(json_schema_extra={"minItems": 1})


class Lenient(BaseModel):
    """Fields that nobody knows are passed over; of those that are known, a text is no number."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class StreamOptions(Lenient):
    include_usage: bool = False


class Function(Lenient):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Lenient):
    type: Literal["function"]
    function: Function


class CalledFunction(Lenient):
    name: str
    arguments: str


class ToolCall(Lenient):
    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class Part(Lenient):
    """One of several parts of a message. What is no text is kept as it came."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str
    text: str | None = None

    @property
    def picture(self) -> str:
        """The address of a picture; "" where there is none."""
        said = (self.model_extra or {}).get("image_url")
        url = said.get("url") if isinstance(said, dict) else said
        return url if isinstance(url, str) else ""


class Message(Lenient):
    role: Literal["developer", "system", "user", "assistant", "tool"]
    content: str | Annotated[list[Part], Field(max_length=MOST_PARTS)] | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall] | None, Field(max_length=MOST_TOOLS)] = None
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.content is None and not (self.role == "assistant" and self.tool_calls):
            raise ValueError("content is missing")
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("tool_call_id is missing")
        return self

    @property
    def text(self) -> str:
        """All that it says in words."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.text)
        return self.content or ""


class JsonSchema(Lenient):
    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any], Field(alias="schema")] = {}
    strict: bool | None = None


class ResponseFormat(Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class NamedFunction(Lenient):
    name: str


class NamedTool(Lenient):
    type: Literal["function"]
    function: NamedFunction


class Asked(Lenient):
    """What requests for a chat and for a completion have in common."""

    model: PublicName = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(ge=0, le=1)] = None
    n: Annotated[int | None, Field(ge=1, le=MOST_CHOICES)] = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: Annotated[int | None, Field(ge=-LARGEST_SEED, le=LARGEST_SEED)] = None
    frequency_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    presence_penalty: Annotated[float | None, Field(ge=-2, le=2)] = None
    logit_bias: Annotated[
        dict[str, Annotated[float, Field(ge=-100, le=100)]] | None, Field(max_length=MOST_BIASES)
    ] = None
    user: str | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def choices(self) -> int:
        return self.n or 1

    @property
    def wants_usage(self) -> bool:
        """At the end of a stream; every other answer has it."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """How it is to be decoded: those fields that the request itself has."""
        names = ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty",
                 "logit_bias")  # fmt: skip
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ChatRequest(Asked):
    model_config = ConfigDict(json_schema_extra={
        "examples": [{"model": "chat", "messages": [{"role": "user", "content": "Say hello."}]}]
    })  # fmt: skip

    messages: Annotated[list[Message], Field(min_length=1, max_length=MOST_MESSAGES)]
    max_completion_tokens: Tokens | None = None
    tools: Annotated[list[Tool] | None, Field(max_length=MOST_TOOLS)] = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int | None, Field(ge=0, le=20)] = None
    reasoning_effort: str | None = None
    modalities: Annotated[list[str] | None, Field(max_length=8)] = None

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs = true")
        if isinstance(self.tool_choice, NamedTool):
            offered = [tool.function.name for tool in self.tools or ()]
            if self.tool_choice.function.name not in offered:
                raise ValueError(f"tool_choice names no tool of this request: {offered}")
        if self.tool_choice == "required" and not self.tools:
            raise ValueError("tool_choice is required, and there are no tools")
        return self

    @property
    def most(self) -> int | None:
        """Tokens of the answer, at most."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def offers_tools(self) -> bool:
        return bool(self.tools) and self.tool_choice != "none"


class CompletionRequest(Asked):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "chat", "prompt": "Once upon a"}]}
    )

    prompt: (
        Prompt
        | Annotated[list[Prompt], SOME]
        | Annotated[list[TokenId], SOME]
        | Annotated[list[Annotated[list[TokenId], SOME]], SOME]
    )
    echo: bool | None = None
    suffix: str | None = None
    best_of: int | None = None
    logprobs: Annotated[int | None, Field(ge=0, le=5)] = None

    @field_validator("prompt")
    @classmethod
    def _is_there(cls, prompt: Any) -> Any:
        if not prompt or (isinstance(prompt, list) and not all(one != "" for one in prompt)):
            raise ValueError("the prompt is empty")
        return prompt

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        if len(self.prompts) * (self.n or 1) > MOST_ANSWERS:
            raise ValueError(f"prompt: more than {MOST_ANSWERS} answers, over all prompts")
        return self

    @property
    def most(self) -> int | None:
        return self.max_tokens

    @property
    def prompts(self) -> Sequence[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt


class EmbeddingRequest(Lenient):
    model_config = ConfigDict(json_schema_extra={"examples": [{"input": ["A text."]}]})

    model: PublicName = None
    input: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MOST_INPUTS)]
        | Annotated[list[TokenId], Field(min_length=1)]
        | Annotated[list[list[TokenId]], Field(min_length=1, max_length=MOST_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


def parsed(kind: type[T], body: bytes) -> T:
    """A request, from its body.

    Raises:
        ApiError: 400, with the field that is at fault.
    """
    return checked(kind, parsed_document(body))


def parsed_document(body: bytes) -> dict[str, Any]:
    """The JSON of a request for a chat or a completion, before its fields are looked at.

    Raises:
        ApiError: 400, it is no JSON object, or wants what nothing here can do.
    """
    document = parsed_json(body)
    for name in NEVER:
        if document.get(name) is not None:
            raise ApiError(400, f"{name} is nothing that this model can do.",
                           code="unsupported_parameter", param=name)  # fmt: skip
    return document


M = TypeVar("M", bound=BaseModel)


def checked(kind: type[M], document: dict[str, Any]) -> M:
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        # Of a union, every alternative complains; the shortest path is the field itself.
        first = error.errors(include_input=False, include_url=False)[0]
        param = "".join(_spelled(first["loc"], document)).removeprefix(".")
        said = first["msg"].removeprefix("Value error, ")
        if not param and (named := said.partition(" ")[0]) in kind.model_fields:
            param = named  # of a rule over several fields, whose message begins with one
        missing = first["type"] == "missing"
        code = "missing_required_parameter" if missing else "invalid_value"
        where = f"{param}: " if param and not said.startswith(param) else ""
        raise ApiError(400, f"{where}{said}", code=code, param=param or None) from None


def _spelled(loc: Sequence[int | str], document: Any) -> Iterator[str]:
    """``messages[0].content``: the part of pydantic's path that the document has, or lacks."""
    for step in loc:
        if isinstance(step, int):
            yield f"[{step}]"
            document = document[step] if isinstance(document, list) else None
        elif isinstance(document, dict):
            yield f".{step}"
            document = document.get(step)
        else:  # the name of a union's alternative
            return
