"""How answers, progress and errors look. Answers go to stdout, all else to stderr."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from llmlab.errors import LlmlabError


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="text for people, json for programs.")
]


DryRunOption = Annotated[
    bool, typer.Option("--dry-run", metavar="", help="Print the commands instead of running them.")
]
WIDE = 1000  # columns; what is piped is for grep, so a line stays a line


def out() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=WIDE)


def err() -> Console:
    return Console(stderr=True)


def print_json(document: Any) -> None:
    """One JSON document on stdout, plain, whatever the terminal is."""
    json.dump(document, sys.stdout, indent=2, ensure_ascii=False, default=str)
    sys.stdout.write("\n")


def print_commands(commands: Iterable[Sequence[str]]) -> None:
    """Commands as a shell takes them, one a line."""
    for command in commands:
        print(shlex.join(command))


def show_error(error: LlmlabError) -> None:
    """What happened, the log that explains it, and how to go on; on stderr."""
    console = err()
    console.print(f"[bold red]Error:[/] {escaped(error.message)}", soft_wrap=True)
    if error.log:
        console.print()
        for line in error.log.splitlines():
            console.print(f"  [dim]│[/] {escaped(line)}", soft_wrap=True, highlight=False)
        console.print()
    if error.fix:
        console.print(f"[bold green]Fix:[/] {escaped(error.fix)}", soft_wrap=True, highlight=False)


def show_warning(text: str) -> None:
    """Something a person should know, on stderr, that does not stop the work."""
    from rich.panel import Panel

    err().print(Panel(escaped(text), border_style="yellow", title="Note", title_align="left"))


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while something takes its time; plain lines without a terminal."""
    console = err()
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    with console.status(first) as status:
        yield lambda text: status.update(escaped(text))


def printable(text: str) -> str:
    """Text without the characters that steer a terminal; line breaks and tabs stay."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else repr(letter)[1:-1]
        for letter in text
    )


def duration(seconds: float) -> str:
    """``42 s``, ``5 min``, ``3 h 10 min``, ``2 d 4 h``."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def escaped(text: str) -> str:
    """Text as it is, for where rich expects markup."""
    from rich.markup import escape

    return escape(printable(text))
