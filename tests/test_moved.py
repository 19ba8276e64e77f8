"""Verbs that moved from the top into a group: what was typed before goes on working."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from llmlab.cli.app import app
from llmlab.cli.moved import MOVED
from llmlab.reference.verbs import markdown, verbs
from tests.conftest import LabUnderTest, clean_env

CALLS = [
    ("openapi",),
    ("suite", "stats", "founding", "-o", "json"),
    ("suite", "lint", "nowhere"),
    ("scale", "next", "2"),
    ("scale", "next", "many"),
    ("undeploy", "next", "--force", "--why", "it is old"),
    ("undeploy",),
    ("class", "status"),
    ("class", "frob"),
]


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that nobody brought up."""
    return make_lab()


def test_every_one_of_them_is_called_below() -> None:
    assert {call[0] for call in CALLS} == set(MOVED)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_the_old_spelling_does_what_the_new_one_does(
    idle: LabUnderTest, call: tuple[str, ...]
) -> None:
    old, new = idle.run(*call), idle.run(*MOVED[call[0]].split(), *call[1:])
    assert (old.returncode, old.stdout, old.stderr) == (new.returncode, new.stdout, new.stderr)


@pytest.mark.slow
@pytest.mark.parametrize("old", MOVED)
def test_the_new_spelling_is_a_verb_or_a_group_and_the_old_one_is_not_shown(old: str) -> None:
    assert MOVED[old] in {one.name for one in verbs()}
    command = get_command(app)
    assert old not in command.list_commands(command.make_context("llmlab", ["status"]))  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_person_at_a_terminal_is_told_the_new_spelling(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "llmlab", "class", "create", "--help"],
        cwd=tmp_path, env=clean_env(), stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    told = os.read(ours, 1000).decode()
    os.close(ours)
    assert told.splitlines() == ["llmlab class is llmlab course class now; both work."]
    assert "Usage: llmlab course class create" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "offered"),
    [("llmlab unde", ""), ("llmlab open", ""), ("llmlab cl", ""), ("llmlab depl", "deploy")],
)
def test_the_shell_does_not_offer_the_old_spelling(
    tmp_path: Path, words: str, offered: str
) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "llmlab"], cwd=tmp_path, text=True, capture_output=True,
        env=clean_env(_LLMLAB_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="1"),
    )  # fmt: skip
    assert shown.stdout.split()[:1] == ([offered] if offered else [])
    assert shown.stderr == ""


@pytest.mark.slow
def test_after_an_old_spelling_the_shell_offers_what_belongs_there(tmp_path: Path) -> None:
    words = {"COMP_WORDS": "llmlab class ", "COMP_CWORD": "2"}
    shown = subprocess.run(
        [sys.executable, "-m", "llmlab"], cwd=tmp_path, text=True, capture_output=True,
        env=clean_env(_LLMLAB_COMPLETE="complete_bash", **words),
    )  # fmt: skip
    assert {"create", "up", "status", "down"} <= set(shown.stdout.split())


def test_the_reference_has_them_in_one_table() -> None:
    before, _, table = markdown().partition("## Moved")
    for old, new in MOVED.items():
        assert f"| `llmlab {old}` | `llmlab {new}` |" in table
        assert f"llmlab {old}`" not in before
