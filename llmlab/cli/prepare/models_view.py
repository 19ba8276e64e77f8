"""What is known of a model, as a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.cli.output import out, printable

INDENT = 2
REGISTERED = ("reference", "id", "created")  # of the record; the rest says the same of itself


@dataclass(frozen=True, slots=True)
class Row:
    """A line: how deep it stands, its name, and what is said under that name; "" for a heading."""

    depth: int
    name: str
    text: str = ""


def show(facts: Mapping[str, Any]) -> None:
    """Print the facts of ``llmlab.models.inspect``, with the ``record`` of the registry."""
    own = {name: value for name, value in facts.items() if name not in ("record", "name")}
    page = [*rows(own)]
    if record := facts.get("record"):
        news = {
            name: value for name, value in record.items()
            if name != "files" and (name in REGISTERED or facts.get(name) != value)
        }  # fmt: skip
        page += [Row(0, "registered"), *rows(news, depth=1)]
    console = out()
    console.print(printable(str(facts["name"])), style="bold", markup=False, highlight=False)
    width = max(INDENT * one.depth + len(one.name) for one in page) + 2
    for one in page:
        label = " " * INDENT * (one.depth + 1) + one.name
        console.print(label.ljust(width + INDENT), style="dim", end="", highlight=False)
        console.print(printable(one.text), markup=False, highlight=False, soft_wrap=True)


def rows(facts: Mapping[str, Any], depth: int = 0) -> Iterator[Row]:
    """The lines of a document: what it has of its own under its name, what is in it below that.
    What says nothing (``""``, None, nothing in a list) has none."""
    for key, value in facts.items():
        if value is None or value == "" or value == [] or value == {} or value == ():
            continue
        name = str(key).replace("_", " ")
        if isinstance(value, Mapping):
            yield Row(depth, name)
            yield from rows(value, depth + 1)
        elif _is_list(value) and any(isinstance(one, Mapping) for one in value):
            yield Row(depth, name)
            for one in value:
                title, text = _in_one_line(one)
                yield Row(depth + 1, title, text)
        else:
            yield Row(depth, name, _told(value))


def _in_one_line(item: Mapping[str, Any]) -> tuple[str, str]:
    """A file, a set of data, an evaluation: its first member is its name."""
    first, *rest = item.items()
    parts = (f"{key.replace('_', ' ')} {_told(value)}" for key, value in rest
             if value not in ("", None))  # fmt: skip
    return _told(first[1]), ", ".join(parts)


def _told(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}" if value >= 10_000 else str(value)
        case float():
            return f"{value:.4g}"
        case Mapping():
            return "(" + ", ".join(f"{name} {_told(one)}" for name, one in value.items()) + ")"
        case _ if _is_list(value):
            return ", ".join(_told(one) for one in value)
        case _:
            return str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
