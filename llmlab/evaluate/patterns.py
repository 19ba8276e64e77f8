"""Regular expressions and JSON schemas that a suite brings, and that a model's answer is held
against. Neither can keep this process busy: what a model writes is nothing to be trusted.

Both are jsonschema-rs's. Its expressions are those of RE2 and Rust: matched in a time that
grows with the text alone, and so without look-around and back-references. What a schema may cost is
bounded by ``json_schemas``, for it may be one that a client once sent.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from llmlab.json_schemas import LONGEST as LONGEST_ANSWER
from llmlab.json_schemas import NotTaken, parsed, taken

if TYPE_CHECKING:
    from jsonschema_rs import Validator

LONGEST_PATTERN = 1000  # characters
LARGEST = 1 << 20  # bytes that a compiled expression may take


def problem_of_pattern(pattern: str) -> str:
    """Why it cannot be matched; "" if it can."""
    if len(pattern) > LONGEST_PATTERN:
        return f"has {len(pattern)} characters, and at most {LONGEST_PATTERN} are taken"
    try:
        _compiled(_as_schema(pattern))
    except ValueError:
        return _why_no_pattern(pattern)
    return ""


def _why_no_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression: {error}"
    return (
        "cannot be matched in bounded time: look-around and back-references are not taken, nor "
        "repetitions of many repetitions"
    )


def matches(pattern: str, answer: str) -> bool:
    """Whether an answer holds what a pattern describes, anywhere in it."""
    return _compiled(_as_schema(pattern)).is_valid(_plain(answer)[:LONGEST_ANSWER])


def problem_of_schema(schema: str) -> str:
    """Why nothing can be held against it; "" if it can.

    Args:
        schema: the schema as JSON.
    """
    try:
        taken(schema)
    except NotTaken as error:
        return f"is no JSON schema that is taken: {error}"
    return ""


def fits(schema: str, answer: str) -> bool:
    """Whether an answer as it stands is JSON, nothing around it, and fits a schema. One that is too
    long to be held against it does not."""
    try:
        document = parsed(answer)
        return len(answer) <= LONGEST_ANSWER and bool(taken(schema).fits(document, len(answer)))
    except ValueError:
        return False


@lru_cache(256)
def _compiled(schema: str) -> Validator:
    """Raises ValueError: it is no schema, or one of its patterns cannot be matched."""
    from jsonschema_rs import ReferencingError, RegexOptions, ValidationError, validator_for

    try:
        return validator_for(
            json.loads(schema), pattern_options=RegexOptions(size_limit=LARGEST), offline=True
        )
    except (ValidationError, ReferencingError, RecursionError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _as_schema(pattern: str) -> str:
    return json.dumps({"type": "string", "pattern": pattern})


def _plain(text: str) -> str:
    """Without halves of surrogate pairs, which no UTF-8 has."""
    return text.encode("utf-8", "replace").decode()
