"""A conversation of a suite as a request in OpenAI's dialect, and what its answer says.

How it is decoded is left to the model's version: decoding is a part of what is judged. But each
case has a seed of its own, so that versions that decode alike draw alike, and one that is asked
again says the same again, as far as its runtime honours a seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmlab.errors import unreadable
from llmlab.evaluate.suite import Case

PATH = "/v1/chat/completions"
MOST_TOKENS = 256  # of an answer: one that does not end is cut off there, which is measured


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. ``cut_off``: it ended at the most tokens that it may have."""

    text: str
    cut_off: bool
    read: int = 0
    written: int = 0


def sampling(case: Case, seed: int = 1, most: int = MOST_TOKENS) -> dict[str, Any]:
    """What a request says beside its messages."""
    digest = hashlib.sha256(f"{seed}/{case.id}".encode()).digest()
    return {"seed": int.from_bytes(digest[:4]) >> 1, "max_tokens": most}


def messages(case: Case) -> list[dict[str, str]]:
    return [one.as_json() for one in case.messages]


def request(case: Case, seed: int = 1, most: int = MOST_TOKENS) -> dict[str, Any]:
    """The body of a request for a whole answer."""
    return {"messages": messages(case), **sampling(case, seed, most)}


def reply_of(document: Mapping[str, Any]) -> Reply:
    """
    Raises:
        ValueError: this is no answer in that dialect.
    """
    try:
        choice, usage = document["choices"][0], document.get("usage") or {}
        text = str(choice["message"]["content"] or "")
        cut_off = choice["finish_reason"] == "length"
        read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        return Reply(text.strip(), cut_off, int(read), int(written))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no chat completion: {unreadable(error)}") from None
