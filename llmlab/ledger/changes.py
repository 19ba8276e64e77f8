"""What differs between two documents, value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmlab.ledger.chain import canonical
from llmlab.traffic import Traffic

NAMES = ("name", "deployment")  # by which members of a list are known again
NUMBER = "revision"  # of the entry itself


@dataclass(frozen=True)
class Difference:
    """A value that is another one. ``before`` and ``after`` null where there is none."""

    path: tuple[str, ...]
    before: Any
    after: Any


def of_traffic(before: Any, after: Any) -> list[Difference]:
    """What a change has made of the routes.

    Args:
        before: None where there were none.
    """
    old, new = _as_of_today(before or {}), _as_of_today(after)
    return [one for one in differences(old, new) if one.path != (NUMBER,)]


def differences(before: Any, after: Any, path: tuple[str, ...] = ()) -> Iterator[Difference]:
    """In the order of the paths. What is new or gone and says nothing, like an empty list, is
    none."""
    if before == after:
        return
    old, new = _members(before), _members(after)
    if old is None or new is None:
        if (before or after) or (before is not None and after is not None):
            yield Difference(path, before, after)
        return
    for name in sorted(old.keys() | new.keys()):
        yield from differences(old.get(name), new.get(name), (*path, name))


def _members(value: Any) -> Mapping[str, Any] | None:
    """What it is made of; None for what is one value."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, list) or not value or not all(
        isinstance(one, Mapping) for one in value
    ):  # fmt: skip
        return {} if value == [] else None
    for key in NAMES:
        names = [one.get(key) for one in value]
        if all(isinstance(one, str) for one in names) and len(set(names)) == len(names):
            return {
                str(one[key]): {name: said for name, said in one.items() if name != key} or True
                for one in value
            }
    return None


def _as_of_today(traffic: Any) -> Any:
    """However an earlier llmlab spelled it."""
    try:
        return json.loads(Traffic.parse(canonical(traffic)).dump())
    except ValueError:
        return traffic
