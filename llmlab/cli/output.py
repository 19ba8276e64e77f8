"""How answers, progress and errors look. Answers go to stdout, all else to stderr."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from io import TextIOWrapper
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from llmlab.cli.options import switch
from llmlab.durations import duration as duration
from llmlab.errors import LlmlabError


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="text for people, json for programs.")
]


DryRunOption = Annotated[bool, switch("--dry-run", "Print the commands instead of running them.")]
_STEERING = re.compile("[\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
WIDE = 1000  # columns; what is piped is for grep, so a line stays a line


def take_any_text() -> None:
    """From here on, what a stream's encoding lacks is written as its code, and loses no work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def out(piped: int = WIDE) -> Console:
    """Args:
    piped: columns where there is no terminal.
    """
    return _console(sys.stdout, piped)


def err() -> Console:
    return _console(sys.stderr, WIDE)


def _console(stream: TextIO, piped: int) -> Console:
    """The one place where consoles are made. Layout, bars and notes are for a person who
    watches; FORCE_COLOR and TTY_COMPATIBLE can bring colours into a pipe, and nothing else."""
    compatible = os.environ.get("TTY_COMPATIBLE")
    if stream.isatty() and compatible != "0":
        return SafeConsole(file=stream, force_terminal=True)
    coloured = os.environ.get("FORCE_COLOR") or compatible == "1"
    return Console(
        file=stream, force_terminal=False, width=piped,
        color_system="standard" if coloured else None,
    )  # fmt: skip


class SafeConsole(Console):
    """The one place where text from outside (names of files, texts, answers, logs) meets a
    terminal: characters that would steer it are shown. Pipes and JSON get them as they are."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def print_json(document: Any) -> None:
    """One JSON document on stdout, plain, whatever the terminal is, and valid in any encoding."""
    text = json.dumps(document, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(document, indent=2, default=str)
    # JSON itself asks for codes below U+0020 only; what is above steers terminals as well.
    sys.stdout.write(f"{harmless(text)}\n")


def harmless(text: str) -> str:
    """The same JSON, with what steers a terminal as escapes."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


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

    console = err()
    if console.is_terminal:
        note = Panel(escaped(text), border_style="yellow", title="Note", title_align="left")
        console.print(note)
    else:
        console.print(f"[yellow]Note:[/] {escaped(text)}", highlight=False, soft_wrap=True)


@contextmanager
def progress(first: str) -> Iterator[Callable[[str], None]]:
    """A spinner on stderr while something takes its time; plain lines without a terminal."""
    console = err()
    if not console.is_terminal:
        yield lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
        return
    with console.status(first) as status:
        yield lambda text: status.update(escaped(text))


_IN_WORDS = "\u00ad\u200c\u200d"  # soft hyphen, joiners


def printable(text: str) -> str:
    """Text without the characters that steer a terminal or turn its lines around. Line breaks,
    tabs and what is part of words stay."""
    if text.isprintable():
        return text
    return "".join(repr(letter)[1:-1] if _steers(letter) else letter for letter in text)


def _steers(letter: str) -> bool:
    kept = letter in "\n\t" or letter in _IN_WORDS
    return not kept and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def escaped(text: str) -> str:
    """Text as it is, for where rich expects markup."""
    from rich.markup import escape

    return escape(printable(text))
