"""The JSON of a token, as the gateway's module for tokens (nginx-auth-jwt) reads it.

It is stricter than Python's: RFC 8259 in UTF-8, no name twice, no NUL, no half of a surrogate
pair, integers of 64 bits, numbers that are finite; and it bounds what it takes. Whoever explains a
token, or makes one, has to know that; the figures were measured on version 0.14.2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

LONGEST_TEXT = 4096  # bytes of a name or a text
MOST_ITEMS = 100  # of a list
MOST_MEMBERS = 256  # of an object
DEEPEST = 10  # levels below the whole
LARGEST = 2**63  # of an integer, this one excluded


class Refused(ValueError):
    """The gateway would not take this; the message completes "it has ..."."""


def read(data: bytes) -> dict[str, Any]:
    """A header, or claims.

    Raises:
        Refused: the gateway would not take it, and why.
        ValueError: it is no JSON object at all.
    """
    found = json.loads(
        data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number
    )  # what begins with a byte order mark is no JSON either
    if not isinstance(found, dict):
        raise ValueError("no object")
    check(found)
    return found


def check(document: dict[str, Any]) -> None:
    """
    Raises:
        Refused: the gateway would not take it, and why.
    """
    for problem in _problems(document, 0):
        raise Refused(problem)


def _problems(value: Any, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        yield f"more than {DEEPEST} levels in it"
        return
    match value:
        case str():
            yield from _of_text(value)
        case bool() | None:
            pass
        case int() if not -LARGEST <= value < LARGEST:
            yield "an integer of more than 64 bits"
        case float() if not math.isfinite(value):
            yield "a number that is not finite"
        case list():
            if len(value) > MOST_ITEMS:
                yield f"a list of more than {MOST_ITEMS} items"
            for one in value:
                yield from _problems(one, depth + 1)
        case dict():
            if len(value) > MOST_MEMBERS:
                yield f"more than {MOST_MEMBERS} members in one object"
            for name, one in value.items():
                yield from _of_text(name)
                yield from _problems(one, depth + 1)


def _of_text(text: str) -> Iterator[str]:
    if "\0" in text:
        yield "a NUL in a text"
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        yield "half of a surrogate pair in a text"
        return
    if size > LONGEST_TEXT:
        yield f"a text or name of more than {LONGEST_TEXT:,} bytes"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Refused("a name twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise Refused(f"{text}, which is no number of JSON")
