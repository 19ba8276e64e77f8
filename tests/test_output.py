"""What is printed, into streams of any encoding, with a terminal behind them and without."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.text import Text
from typer.core import TyperGroup
from typer.main import get_command

from llmlab.cli.app import app
from llmlab.cli.output import (
    err,
    out,
    print_json,
    printable,
    progress,
    show_error,
    show_warning,
    take_any_text,
)
from llmlab.cli.table import fitted, print_table
from llmlab.cli.use.writing import as_markdown
from llmlab.client.snippets import as_curl, as_python
from llmlab.client.sources import collect
from llmlab.errors import UsageError
from tests.test_cli import TIDES, Start, Upstream, run, start

__all__ = ["start"]
ODD = os.fsdecode(b"caf\xe9.txt")  # a name that is no UTF-8
DOCUMENT = {"input": ODD, "summary": "„Schön“ ✓ 🦊", "n": 1}


class Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def stream(encoding: str = "utf-8", kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> io.BytesIO:
    """What is written to stdout and stderr from now on, in strict encoding."""
    written = io.BytesIO()
    sys.stdout = sys.stderr = kind(written, encoding=encoding, write_through=True)
    return written


def test_an_answer_on_a_terminal_steers_it_nowhere_and_is_there_though_it_was_interrupted() -> None:
    written = stream(kind=Terminal)
    with pytest.raises(KeyboardInterrupt), as_markdown(out()) as show:
        for piece in ("\n\n- a lamp", "\x1b[2J\x1b]0;title\x07 that is *lit*", " \u202eat dusk"):
            show(piece)
        raise KeyboardInterrupt
    shown = written.getvalue().decode()
    assert not re.search(r"\x1b\[2J|\x1b\]|\x07|\u202e", shown)
    last = re.split(r"\x1b\[\?25h", shown)[-1]  # what is printed once nothing is drawn any more
    assert r"a lamp\x1b[2J" in last and "lit" in last and "*" not in last
    assert last.lstrip("\r").startswith("\x1b[1A\x1b[2K"), "no empty line before it"


@pytest.fixture(autouse=True)
def _streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are put back in the end."""
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.setattr(sys, "stderr", sys.stderr)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8", "utf-16"])
def test_json_is_valid_in_every_encoding(encoding: str) -> None:
    written = stream(encoding)
    take_any_text()
    print_json(DOCUMENT)
    assert json.loads(written.getvalue().decode(encoding)) == DOCUMENT


STEERS = "a\x1b[2J \x9b1m \x07 \u202eb"  # clears the screen, colours, rings, turns around


def test_text_from_outside_does_not_steer_a_terminal() -> None:
    written = stream(kind=Terminal)
    out().print(STEERS, Text(STEERS), Panel(STEERS), markup=False)
    err().print(STEERS)
    show_error(UsageError(STEERS, fix=STEERS))
    show_warning(STEERS)
    with progress(STEERS) as tell:
        tell(STEERS)
    shown = written.getvalue().decode()
    assert "\\x1b[2J" in shown
    assert not {"\x1b[2J", "\x9b", "\x07", "\u202e"} & set(re.findall(r"\x1b\[2J|[^ -~]", shown))


def test_json_keeps_what_steers_a_terminal_as_codes() -> None:
    written = stream()
    print_json({"summary": STEERS})
    text = written.getvalue().decode()
    assert json.loads(text) == {"summary": STEERS}
    assert text.replace("\n", "").isprintable()


def test_letters_marks_and_spaces_are_printed_as_they_are() -> None:
    text = "नहीं क्\u200dष می\u200cخواهم Leucht\u00adturm 40\u00a0km, 1\u202f000 ❤️\n\t"
    assert printable(text) == text


def test_letters_that_a_stream_has_are_written_as_they_are() -> None:
    written = stream()
    print_json({"summary": "„Schön“"})
    assert "„Schön“" in written.getvalue().decode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_text_that_a_stream_lacks_loses_nothing(encoding: str) -> None:
    written = stream(encoding)
    take_any_text()
    print(f"== {ODD} ✓")
    out().print("✓ Schön", soft_wrap=True)
    err().print("✓ done")
    show_warning("✓ look")
    assert b"== caf" in written.getvalue()
    assert written.getvalue().decode(encoding).count("✓" if encoding == "utf-8" else "\\u2713") == 4


@pytest.mark.slow
def test_summaries_reach_a_stream_of_ascii_from_a_file_with_an_odd_name(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / ODD).write_text(TIDES)
    env = {"LLMLAB_URL": start(Upstream()).url, "LLMLAB_TOKEN": "a.b.c", "PYTHONUTF8": "0",
           "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}  # fmt: skip
    for output in ("text", "json"):
        done = run("summarize", ODD, ODD, "-o", output, cwd=tmp_path, **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.count("Short.") == 2


def test_a_file_with_an_odd_name_can_be_read_by_the_printed_requests(tmp_path: Path) -> None:
    (tmp_path / ODD).write_text(TIDES)
    shown = as_curl("http://127.0.0.1:8000", Path(ODD), {})
    reading = "cat " + shown[shown.index("$'") : shown.index(" |")]
    done = subprocess.run(["bash", "-c", reading], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == TIDES
    assert r"open('caf\udce9.txt'" in as_python("http://127.0.0.1:8000", Path(ODD), {})


@pytest.mark.parametrize(
    ("given", "told", "fix"),
    [
        ("Some text here.", "there is no file 'Some text here.'", "echo 'Some text here.' |"),
        ("word " * 100, "there is no file 'word word", "echo 'word word"),
        ("nope.txt", "nope.txt cannot be read: No such file or directory", ""),
    ],
)
def test_a_text_instead_of_a_file_is_told_where_texts_go(given: str, told: str, fix: str) -> None:
    with pytest.raises(UsageError) as caught:
        collect([given])[0].read()
    assert caught.value.message.startswith(told)
    assert len(caught.value.message) < 70
    assert fix in (caught.value.fix or "")


# --- pipes and terminals ------------------------------------------------------------------

LONG = "A line for grep " * 20


@pytest.mark.parametrize("environ", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_the_environment_can_bring_colours_into_a_pipe_and_nothing_else(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "80")
    written = stream()
    for console in (out(), err()):
        assert not console.is_terminal  # no bars, no views
        console.print(f"[bold]{LONG}[/]", highlight=False)
    show_warning("Look.\nFix: so")
    text = written.getvalue().decode()
    assert text.count("\n") == 4
    assert ("\x1b[1m" in text) == bool(environ)


def test_on_a_terminal_lines_and_notes_are_laid_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    written = stream(kind=Terminal)
    assert out().is_terminal
    out().print(LONG)
    show_warning("Look.")
    assert written.getvalue().decode().count("\n") > 5


def test_a_terminal_that_takes_no_codes_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    written = stream(kind=Terminal)
    assert not out().is_terminal
    out().print("[bold]so[/]")
    assert written.getvalue() == b"so\n"


def test_consoles_are_made_in_one_place() -> None:
    package = Path(__file__).parent.parent / "llmlab"
    texts = {file.name: file.read_text() for file in package.rglob("*.py")}
    made = [name for name, text in texts.items() if "from rich" in text and "Console(" in text]
    assert made == ["output.py"]


# --- tables and help ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("least", "most", "room", "widths"),
    [
        ([3, 5], [3, 5], 80, [3, 5]),
        ([3, 5], [3, 90], 80, [3, 77]),
        ([3, 5, 5], [6, 90, 90], 80, [6, 37, 37]),
        ([3, 5, 5], [6, 10, 90], 80, [6, 10, 64]),
        ([40, 40], [60, 60], 80, [40, 40]),
        ([40, 41], [60, 60], 80, None),
    ],
)
def test_the_columns_of_a_table_share_what_their_words_leave(
    least: list[int], most: list[int], room: int, widths: list[int] | None
) -> None:
    assert fitted(least, most, room) == widths


@pytest.mark.parametrize("columns", [30, 80, 120])
def test_no_word_of_a_table_is_cut_or_broken(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    cells = ["falconsai", "hub:Falconsai/text", "a reason of many words, " * 5, ""]
    written = stream(kind=Terminal)
    print_table(("model", "source", "why", "alias"), [cells, cells])
    text = re.sub(r"\x1b\[[0-9;]*m", "", written.getvalue().decode())
    assert "alias" not in text  # nobody has one
    for cell in cells:
        assert all(text.count(word) >= 2 for word in cell.split())
    assert all(len(line) <= columns for line in text.splitlines())


def test_help_breaks_where_a_terminal_ends_and_not_where_the_source_does() -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for verb in (*group.commands.values(), *group.commands["flag"].commands.values()):
        assert verb.help
        assert "\n" not in verb.help.replace("\n\n", ""), verb.name
        assert verb.name == "llmlab" or not any(
            "--install-completion" in one.opts for one in verb.params
        )
