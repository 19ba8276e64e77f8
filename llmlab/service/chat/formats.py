"""Whether an answer is of the format that was asked for: JSON, of a schema, or calls of tools.

The schema is a client's, and what is held against it a model's: neither can keep this process
busy. Patterns are matched in a time that grows with the text alone, nothing is ever fetched, and
a schema with more than a few of them, or whose references unfold to very many, is looked at no
further than whether the answer is JSON; so is one that refers to itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.chat.tools import offered

if TYPE_CHECKING:
    from jsonschema_rs import Validator

LONGEST = 100_000  # characters of an answer that are looked at
UNFOLDED = 2_000  # schemas within a schema, each reference as what it leads to
A_PATTERN = 100  # schemas that a pattern counts as: each is held against all of the text
LARGEST = 1 << 16  # bytes that a compiled pattern may take
# What leads elsewhere, or to where only the instance tells.
ELSEWHERE = frozenset({"$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"})


@dataclass(frozen=True)
class Format:
    """What a request asks of the form of its answer.

    Args:
        is_json: the text has to be JSON.
        schema: that it has to fit, as JSON; "" for any.
        tools: names that calls may have.
    """

    is_json: bool = False
    schema: str = ""
    tools: frozenset[str] = frozenset()

    @classmethod
    def of(cls, asked: object) -> Format | None:
        """None where it may be of any."""
        if not isinstance(asked, ChatRequest):
            return None
        tools = frozenset(one.name for one in offered(asked)) if asked.offers_tools else frozenset()
        wanted = asked.response_format
        if wanted is None or wanted.type == "text":
            return cls(tools=tools) if tools else None
        schema = wanted.json_schema.schema_ if wanted.json_schema else {}
        return cls(True, json.dumps(schema) if schema else "", tools)

    def broken_by(self, text: str, calls: Iterable[tuple[str, str]]) -> bool | None:
        """Whether an answer that came to its end is of another form; None where nothing can be
        said, as of one in words beside tools that it need not call.

        Args:
            calls: (name, arguments) of each.
        """
        there = list(calls)
        if there:
            return any(name not in self.tools or not _is_object(said) for name, said in there)
        if not self.is_json or len(text) > LONGEST:
            return None
        return not fits(text, self.schema)


def fits(text: str, schema: str) -> bool:
    """Whether a text is JSON, nothing around it, and fits a schema as far as that is looked at."""
    try:
        document = _parsed(text)
    except (ValueError, RecursionError):
        return False
    validator = _validator(schema) if schema else None
    return validator is None or validator.is_valid(document)


def _is_object(text: str) -> bool:
    try:
        return len(text) <= LONGEST and isinstance(_parsed(text), dict)
    except (ValueError, RecursionError):
        return False


def _parsed(text: str) -> Any:
    # Halves of surrogate pairs are in no UTF-8, and in no JSON that travels.
    return json.loads(text.encode("utf-8", "replace"), parse_constant=_no_number)


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


@lru_cache(64)
def _validator(schema: str) -> Validator | None:
    """None of one that is not looked at, or is none."""
    from jsonschema_rs import ReferencingError, RegexOptions, ValidationError, validator_for

    document = json.loads(schema)
    try:
        unfolded(document, document, frozenset())
        options = RegexOptions(size_limit=LARGEST)
        return validator_for(document, pattern_options=options, offline=True)
    except (ValidationError, ReferencingError, ValueError, RecursionError):
        return None


def unfolded(part: Any, root: Any, within: frozenset[str], left: int = UNFOLDED) -> int:
    """How many schemas there still may be, of so many, after those of this part.

    Raises:
        ValueError: it has more of them, refers to itself or elsewhere, or to nothing.
    """
    if isinstance(part, list):
        for one in part:
            left = unfolded(one, root, within, left)
        return left
    if not isinstance(part, Mapping):
        return left
    left -= 1 + A_PATTERN * _patterns(part)
    if left < 0 or not ELSEWHERE.isdisjoint(part):
        raise ValueError("it is not looked at")
    for name, value in part.items():
        if name == "$ref":
            if not isinstance(value, str) or value in within:
                raise ValueError("it refers to itself")
            left = unfolded(_at(root, value), root, within | {value}, left)
        elif name not in ("$defs", "definitions"):  # which count where something refers to them
            left = unfolded(value, root, within, left)
    return left


def _patterns(part: Mapping[str, Any]) -> int:
    by_name = part.get("patternProperties")
    return isinstance(part.get("pattern"), str) + (
        len(by_name) if isinstance(by_name, Mapping) else 0
    )


def _at(root: Any, pointer: str) -> Any:
    """What a reference within a document leads to (RFC 6901)."""
    begin, *steps = pointer.split("/")
    if begin != "#":
        raise ValueError("it refers elsewhere")
    for step in steps:
        if not isinstance(root, Mapping):
            raise ValueError("it refers to nothing")
        step = step.replace("~1", "/").replace("~0", "~")
        if step not in root:
            raise ValueError("it refers to nothing")
        root = root[step]
    return root
