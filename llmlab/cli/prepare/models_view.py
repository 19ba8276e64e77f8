"""What is known of a model, as a page for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmlab.cli.output import WIDE, out, printable
from llmlab.delivery.model_sections import Row, sections

if TYPE_CHECKING:
    from rich.text import Text

    from llmlab.delivery.using import Used


def show(facts: Mapping[str, Any], used: Used) -> None:
    """Print the facts of ``llmlab.models.inspect``, with the ``record`` of the registry."""
    from rich.text import Text
    from rich.tree import Tree

    ready = ("● ready", "green") if facts["ready"] else ("● not ready", "yellow")
    title = Text.assemble((printable(str(facts["name"])), "bold"), "  ", ready)
    tree = Tree(title, guide_style="dim")
    for section in sections(facts, used):
        branch = tree.add(Text(section.title, style="bold"))
        width = max(2 * one.depth + len(one.name) for one in section.rows) + 2
        for one in section.rows:
            branch.add(_line(one, width))
    # A tree cuts its lines at the terminal's width, and an id that is cut is none.
    console = out()
    console.width = WIDE
    console.print(tree, highlight=False, soft_wrap=True)


def _line(one: Row, width: int) -> Text:
    from rich.text import Text

    label = ("  " * one.depth + one.name).ljust(width)
    return Text.assemble((label, "dim"), (printable(one.text), one.style))
