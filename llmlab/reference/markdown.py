"""Markdown as these pages need it: tables, and text that stays text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MADE = "<!-- Made by `make reference` from the code. What is changed here is lost. -->"
_STEERING = {**{one: f"\\{one}" for one in "\\[]*"}, "<": "&lt;", ">": "&gt;"}
_STEERS = re.compile(r"[\\\[\]*<>]")


def page(title: str, *parts: str) -> str:
    """A whole page. Parts are paragraphs, tables and sections, in their order."""
    return "\n\n".join([f"# {title}", MADE, *(part.strip("\n") for part in parts if part)]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def code(text: str) -> str:
    """A span of code; "" for no text."""
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def text(said: str) -> str:
    """Text for people: what would steer Markdown is shown as it is, but spans of code stay."""
    parts = re.split(r"(`[^`]*`)", said)
    return "".join(
        one if one.startswith("`") else _STEERS.sub(lambda found: _STEERING[found[0]], one)
        for one in parts
    )


def anchor(heading: str) -> str:
    """Where a heading is, as GitHub and MkDocs number them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(said: str) -> str:
    return re.sub(r"\s*\n\s*", " ", said).replace("|", r"\|")
