"""POST /: a summary in the shape that Hugging Face's clients send and read.

    {"inputs": "...", "parameters": {"max_length": 60}}  ->  [{"summary_text": "..."}]

https://huggingface.co/docs/inference-providers/tasks/summarization
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmlab.bounds import LONGEST_SUMMARY, MOST_TEXTS
from llmlab.runtimes.base import Strategy
from llmlab.service.endpoint import Endpoint, headers_of
from llmlab.service.problems import Problem
from llmlab.service.schemas import SummarizeRequest

# What its clients call how a long text is cut; none of them is what they say of it by default.
TRUNCATIONS = {
    "do_not_truncate": Strategy.FULL, "longest_first": Strategy.TRUNCATE,
    "only_first": Strategy.TRUNCATE, "only_second": Strategy.TRUNCATE,
}  # fmt: skip

Length = Annotated[int, Field(strict=True, ge=1, le=LONGEST_SUMMARY)]


class Parameters(BaseModel):
    """What its clients may say; what else there is, such as how spaces are cleaned up, is passed
    over."""

    model_config = ConfigDict(extra="ignore")

    max_length: Length | None = None
    max_new_tokens: Length | None = None
    min_length: Annotated[int, Field(strict=True, ge=0, le=LONGEST_SUMMARY)] | None = None
    truncation: str | None = None
    generate_parameters: dict[str, Any] | None = None


class Inputs(BaseModel):
    model_config = ConfigDict(extra="ignore")

    inputs: str | Annotated[list[str], Field(min_length=1, max_length=MOST_TEXTS)]
    parameters: Parameters = Parameters()

    @property
    def texts(self) -> list[str]:
        return [self.inputs] if isinstance(self.inputs, str) else self.inputs

    def requests(self) -> list[SummarizeRequest]:
        """
        Raises:
            Problem: 422, a text is blank, or the lengths contradict each other.
        """
        said = self.parameters
        try:
            more = Parameters.model_validate(said.generate_parameters or {})
            fields: dict[str, Any] = {
                "max_length": said.max_length or said.max_new_tokens or more.max_length
                or more.max_new_tokens,
                "min_length": said.min_length if said.min_length is not None else more.min_length,
            }  # fmt: skip
            if said.truncation:
                fields["strategy"] = TRUNCATIONS.get(said.truncation, Strategy.AUTO)
            return [SummarizeRequest(text=text, **fields) for text in self.texts]
        except ValidationError as error:
            first = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise Problem(422, first) from None


async def summaries(
    asked: Inputs, endpoint: Endpoint, connection: Request, timeout: float | None
) -> JSONResponse:
    """The summary of each text, in their order."""
    answers = [await endpoint.answer(request, connection, timeout) for request in asked.requests()]
    told = [{"summary_text": answer.summary.text} for answer in answers]
    return JSONResponse(told, headers=headers_of(answers[-1], connection))
