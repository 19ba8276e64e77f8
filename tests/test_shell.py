"""Programs that are run, and one that is talked with."""

from __future__ import annotations

import sys
import time

import pytest

from llmlab.errors import EnvironmentFailure
from llmlab.shell import Dialogue

ECHO = "import sys\nfor line in sys.stdin: print(line.strip().upper(), flush=True)"
LAST_WORDS = "import sys\nsys.stdin.readline()\nsys.stderr.write('cannot')"
SILENT = "import sys\nsys.stdin.read()"


def talk(program: str) -> Dialogue:
    return Dialogue([sys.executable, "-I", "-S", "-c", program])


def test_each_line_is_answered_by_a_line_however_long() -> None:
    one = talk(ECHO)
    assert [one.ask(text, timeout=20) for text in ("a", "", "ü" * 300_000)] == [
        "A", "", "Ü" * 300_000
    ]  # fmt: skip
    assert not one.is_over
    one.close()
    assert one.is_over


def test_who_has_ended_is_over_and_its_last_words_are_told() -> None:
    one = talk(LAST_WORDS)
    with pytest.raises(EnvironmentFailure, match="it ended: cannot"):
        one.ask("a", timeout=20)
    assert one.is_over


def test_who_does_not_answer_is_ended() -> None:
    one, start = talk(SILENT), time.monotonic()
    with pytest.raises(EnvironmentFailure, match="no answer in time"):
        one.ask("a", timeout=0.1)
    assert one.is_over and time.monotonic() - start < 20


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(EnvironmentFailure, match="no-such-program cannot be run"):
        Dialogue(["no-such-program"])
