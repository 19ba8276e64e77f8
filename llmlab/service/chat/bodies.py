"""Bodies of requests as JSON: what is in one can be written anew, and its numbers are some."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from llmlab.errors import unreadable
from llmlab.service.chat.errors import ApiError

# Of a body, so that whoever writes it anew for a model server can do so as well.
DEEPEST = 100


def parsed_json(body: bytes) -> dict[str, Any]:
    """
    Raises:
        ApiError: 400, it is no JSON object.
    """
    try:
        # Decoded here: of bytes, json takes other encodings, and half a surrogate pair.
        document = json.loads(body.decode(), parse_constant=_no_number, parse_float=_finite)
        if b"\\ud" in body.lower():  # by which the other half may be missing as well
            json.dumps(document, ensure_ascii=False).encode()
    except _TooLarge as error:
        param = next(_infinite(json.loads(body)), "").removeprefix(".")
        raise ApiError(400, f"{param}: {error} is beyond what a number can be.",
                       code="invalid_value", param=param) from None  # fmt: skip
    except (ValueError, RecursionError) as error:
        why = getattr(error, "msg", None) or unreadable(error)
        raise ApiError(400, f"The body is not valid JSON: {why}.", code="invalid_json") from None
    if not isinstance(document, dict):
        raise ApiError(400, "The body is no JSON object.", code="invalid_json")
    if body.count(b"[") + body.count(b"{") > DEEPEST and _is_deeper(document, DEEPEST):
        raise ApiError(400, f"The body is nested more than {DEEPEST} deep.", code="invalid_json")
    return document


def _is_deeper(document: Any, levels: int) -> bool:
    here = [document]
    for _ in range(levels):
        inner = (one.values() if isinstance(one, dict) else one for one in here)
        here = [one for several in inner for one in several if isinstance(one, dict | list)]
    return bool(here)


def _no_number(name: str) -> None:
    raise json.JSONDecodeError(f"{name} is no number", name, 0)


class _TooLarge(ValueError):
    """A number such as 1e400."""


def _finite(said: str) -> float:
    number = float(said)
    if not math.isfinite(number):
        raise _TooLarge(said)
    return number


def _infinite(document: Any, path: str = "") -> Iterator[str]:
    """Where a document holds numbers that are none."""
    if isinstance(document, float) and not math.isfinite(document):
        yield path
    elif isinstance(document, dict):
        for name, value in document.items():
            yield from _infinite(value, f"{path}.{name}")
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield from _infinite(value, f"{path}[{number}]")
