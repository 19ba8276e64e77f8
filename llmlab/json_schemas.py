"""JSON schemas that somebody else brings, held against what a model writes: neither can keep a
process busy, though what holds them is one call that nothing interrupts.

What a schema can cost is known before it is held against anything: each value of it, references as
what they lead to, may meet each value of the answer once, and each of its patterns each character.
A schema is not taken if it is large, unfolds to very much, refers to itself or elsewhere, or has a
keyword that looks at its parts again; an answer is not looked at if all of that meets too often.
``format`` is a remark, as the standard has it, and nothing is ever fetched.

Validation is jsonschema-rs's. Its expressions are matched in a time that grows with the text alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema_rs import Validator

LONGEST = 100_000  # characters of an answer that are looked at
LONGEST_SCHEMA = 1 << 16  # characters
UNFOLDED = 10_000  # values of a schema, each reference as what it leads to
PATTERNS = 20  # of a schema, unfolded
IN_PATTERNS = 1_000  # characters: to read \w or \p{L} takes a millisecond each time
# Comparing two numbers took up to 1.4 microseconds, a character of a pattern up to 6.5.
STEPS = 500_000
A_CHARACTER = 8  # steps
LONGEST_WHY = 200  # characters
LARGEST_PATTERN = 1 << 16  # bytes that a compiled one may take
DFA = 1 << 18  # bytes that a pattern may remember while it matches
# What leads elsewhere, or to where only the instance tells; and what looks at all beside it again,
# which doubles the work with each level.
NOT_TAKEN = frozenset({
    "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef",
    "unevaluatedProperties", "unevaluatedItems",
})  # fmt: skip
# Where ``id`` is no base of references, as it was in draft 4.
DRAFTS = ("draft-06", "draft-07", "draft/2019-09", "draft/2020-12")
POINTER = re.compile(r"#(?:/[\w$.:,+@~-]*)*")
TEXTUAL = ("pattern", "contentEncoding", "contentMediaType")


def parsed(text: str) -> Any:
    """The document that a text is, nothing around it.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        # Halves of surrogate pairs are in no UTF-8, and in no JSON that travels.
        return json.loads(text.encode("utf-8", "replace"), parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number")


class NotTaken(ValueError):
    """Why a schema is not taken, for whoever brought it: of its own words it may hold a few."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a schema.

    Args:
        values: that an answer's values may be held against.
        patterns: that its texts may be.
        written: characters of these patterns.
    """

    values: int = 0
    patterns: int = 0
    written: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.values + other.values,
            self.patterns + other.patterns,
            self.written + other.written,
        )


@dataclass(frozen=True)
class Schema:
    """One that is taken."""

    cost: Cost
    validator: Validator

    def fits(self, document: Any, length: int, *, share: int = 1) -> bool | None:
        """Whether a document fits; None where to tell would take too many steps.

        Args:
            length: characters of its text.
            share: of how many that are looked at together it is one.
        """
        left = STEPS // share - A_CHARACTER * self.cost.patterns * length
        for weight in _weights(document):
            left -= weight * self.cost.values
            if left < 0:
                return None
        try:
            return self.validator.is_valid(document)
        except ValueError:  # halves of surrogate pairs, or nested too deeply
            return False


def taken(schema: str) -> Schema:
    """
    Args:
        schema: as JSON.

    Raises:
        NotTaken: why it is no schema, or is not taken.
    """
    if len(schema) > LONGEST_SCHEMA:
        raise NotTaken(f"it has more than {LONGEST_SCHEMA} characters")
    found = _looked_at(schema)
    if isinstance(found, str):
        raise NotTaken(found)
    return found


@lru_cache(16)
def _looked_at(schema: str) -> Schema | str:
    """It, or what is wrong with it."""
    from jsonschema_rs import ReferencingError, RegexOptions, ValidationError, validator_for

    try:
        document = json.loads(schema)
        cost = _Unfolding(document).cost(document)
        options = RegexOptions(size_limit=LARGEST_PATTERN, dfa_size_limit=DFA)
        validator = validator_for(
            document, pattern_options=options, validate_formats=False, offline=True
        )
    except (ValidationError, ReferencingError, ValueError) as error:
        return str(error).partition("\n")[0][:LONGEST_WHY]  # it may hold all of the schema
    except RecursionError:
        return "it is nested too deeply"
    return Schema(cost, validator)


class _Unfolding:
    """What a schema costs. Each part is walked once, however many references lead to it."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.known: dict[int, Cost | None] = {}  # by id; None of what is being walked

    def cost(self, part: Any) -> Cost:
        """
        Raises:
            ValueError: why it is not taken.
        """
        if not isinstance(part, list | dict):
            return Cost(_weight(part))
        if id(part) not in self.known:
            self.known[id(part)] = None
            self.known[id(part)] = self._walked(part)
        found = self.known[id(part)]
        if found is None:
            raise ValueError("it refers to itself")
        return found

    def _walked(self, part: list[Any] | dict[str, Any]) -> Cost:
        found = Cost(1)
        if isinstance(part, dict):
            patterns = _patterns(part)
            found += Cost(0, len(patterns), sum(map(len, patterns)))
            _refuse_keywords(part)
        for one in part.values() if isinstance(part, dict) else part:
            found = self._bounded(found + self.cost(one))
        if isinstance(part, dict) and "$ref" in part:
            found = self._bounded(found + self.cost(_at(self.root, part["$ref"])))
        return found

    def _bounded(self, cost: Cost) -> Cost:
        if cost.values > UNFOLDED:
            raise ValueError(f"it unfolds to more than {UNFOLDED} values")
        if cost.patterns > PATTERNS:
            raise ValueError(f"it unfolds to more than {PATTERNS} patterns")
        if cost.written > IN_PATTERNS:
            raise ValueError(f"its patterns unfold to more than {IN_PATTERNS} characters")
        return cost


def _refuse_keywords(part: Mapping[str, Any]) -> None:
    if found := NOT_TAKEN & part.keys():
        raise ValueError(f"it has {min(found)}, which is not taken")
    draft = part.get("$schema", DRAFTS[-1])
    if not isinstance(draft, str) or not any(one in draft for one in DRAFTS):
        raise ValueError(f"its $schema is none of {', '.join(DRAFTS)}")


def _patterns(part: Mapping[str, Any]) -> list[str]:
    by_name = part.get("patternProperties")
    found = [part[one] for one in TEXTUAL if isinstance(part.get(one), str)]
    return [*found, *by_name] if isinstance(by_name, Mapping) else found


def _at(root: Any, pointer: Any) -> Any:
    """What a reference within a document leads to (RFC 6901)."""
    # Of other characters (a percent sign, a tab) the validator may make another name than we do.
    if not isinstance(pointer, str) or not POINTER.fullmatch(pointer):
        raise ValueError("it refers elsewhere, or in other words than #/NAME/NAME")
    for step in pointer.split("/")[1:]:
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(root, Mapping) or step not in root:
            raise ValueError("it refers to nothing")
        root = root[step]
    return root


def _weights(document: Any) -> Iterator[int]:
    """Of each value of a document, in the time of as many as are asked for."""
    todo = [iter((document,))]
    while todo:
        for one in todo[-1]:
            yield _weight(one)
            if isinstance(one, list | dict):
                todo.append(iter(one.values() if isinstance(one, dict) else one))
                break
        else:
            todo.pop()


def _weight(value: Any) -> int:
    """What a value counts as. Arithmetic of thousands of digits takes milliseconds; and where items
    have to be unique, whole numbers that are the same floating-point number (53 bits) are held
    against each other one by one."""
    if not isinstance(value, int):
        return 1
    bits = value.bit_length()
    return (bits // 64) ** 2 + (1 << min(max(bits - 56, 0), 9))
