"""What a model made of a text, or answered in a conversation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llmlab.errors import LlmlabError


@dataclass(frozen=True, slots=True)
class Answer:
    """A summary or an answer, and what it took.

    ``seconds`` passed for the one who asked. ``truncated``: something of the text was not
    read. ``cut_off``: it ended at the most tokens that it may have; None where nobody knows.
    Tokens are the model's own (words for an extractive one).
    """

    text: str
    seconds: float
    truncated: bool = False
    windows: int = 1
    input_tokens: int = 0
    output_tokens: int = 0
    request_id: str = ""
    cut_off: bool | None = None


@dataclass(frozen=True)
class Respondent:
    """A model and its answers, by the id of the text; an error where there was none.

    ``model_id`` is "" for a rule that is no model (lead-3), or if no answer told it.
    """

    name: str
    model_id: str
    runtime: str
    answers: Mapping[str, Answer | LlmlabError]
