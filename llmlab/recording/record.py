"""Whether what was sealed is a record: whoever has the public key may seal anything."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    """It has more, which nothing here reads."""

    model_config = ConfigDict(strict=True)


class _Choice(_Part):
    text: str
    finish_reason: str | None


class _Message(_Part):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _Schema(_Part):
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class _Format(_Part):
    type: str
    json_schema: _Schema | None = None

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing")
        return self


class _Request(_Part):
    """What a replay asks it with; either a text or messages."""

    text: str | None = None
    messages: Annotated[list[_Message], Field(min_length=1)] | None = None
    response_format: _Format | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    frequency_penalty: Number | None = None
    presence_penalty: Number | None = None
    logit_bias: dict[str, Number] | None = None
    reasoning_effort: str | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_length: int | None = None
    min_length: int | None = None
    strategy: str | None = None


class _Record(_Part):
    at: str
    seconds: Number
    subject: str
    deployment: str
    model_id: str
    kind: Literal["text", "chat"]
    request: _Request
    choices: list[_Choice]
    broken: bool

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if datetime.fromisoformat(self.at).tzinfo is None:
            raise ValueError("at: has no zone")
        said = self.request.text if self.kind == "text" else self.request.messages
        if said is None:
            raise ValueError("request: asks nothing")
        return self


def record_in(content: bytes) -> dict[str, Any] | None:
    """None where it is none that an API of this lab makes."""
    try:
        _Record.model_validate_json(content)
        found: dict[str, Any] = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return found
