"""The pages of the course, as a class does them: every block of each, in order, in one lab.

``sh`` blocks are run by bash; a ``text`` block is what the one before it prints, with ``...`` for
what differs from time to time. Before its page an objective is not reached, and after it it is.
"""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmlab.config.edit import with_value
from llmlab.course.checks import look, look_at_all
from llmlab.course.evidence import Evidence
from llmlab.course.objectives import OBJECTIVES
from llmlab.course.pages import SECTIONS, pages, parse
from llmlab.course.resetting import planned
from llmlab.engines.choice import running_engine
from llmlab.errors import UsageError
from llmlab.lab import init_lab
from llmlab.registry import Registry
from tests.conftest import LabUnderTest, clean_env, configure, free_port
from tests.nodes import addresses

BLOCK = re.compile(r"(?m)^```(sh|text)\n(.*?)^```$", re.DOTALL)
MACHINES = 9  # the objective that takes a Ray cluster
LONGEST = 120  # seconds for one block, on a machine that has more to do


@dataclass(frozen=True)
class Block:
    """Commands, and what they print, if the page says so."""

    commands: str
    printed: str = ""


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    for kind, body in BLOCK.findall(text):
        if kind == "sh":
            found.append(Block(body))
        else:
            found[-1] = Block(found[-1].commands, found[-1].printed + body)
    return found


def fresh(folders: pytest.TempPathFactory) -> LabUnderTest:
    """A lab as `llmlab init` lays it out, on a free port; no way to a hub."""
    port = free_port()
    root = folders.mktemp(f"course-{port}-")
    init_lab(root)
    configure(root, port)
    one = LabUnderTest(root, port, clean_env(HF_HUB_OFFLINE="1", HF_HOME=str(root / "hub")))
    commands = Path(sys.executable).parent
    one.env["PATH"] = f"{commands}{os.pathsep}{one.env['PATH']}"
    return one


@pytest.fixture
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    one = fresh(tmp_path_factory)
    yield one
    one.run("down")


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> LabUnderTest:
    """One that was never up."""
    return fresh(tmp_path_factory)


def bash(lab: LabUnderTest, commands: str, left: list[int] | None = None) -> str:
    """Run a block; what it has left running in the background ends with it, or is ``left``."""
    process = subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", commands], cwd=lab.root, env=lab.env, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        printed, _ = process.communicate(timeout=LONGEST)
    finally:
        if left is None:
            end(process.pid)
        else:
            left.append(process.pid)
    assert process.returncode == 0, f"{commands}\nexit code {process.returncode}\n{printed}"
    return printed


def end(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 15)


def compare(printed: str, expected: str) -> None:
    alike = doctest.OutputChecker().check_output(
        expected, printed, doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    assert alike, f"expected:\n{expected}\nprinted:\n{printed}"


def test_who_does_what_the_pages_say_reaches_each_objective_and_a_reset_keeps_the_models(
    lab: LabUnderTest,
) -> None:
    """One test: the pages build on each other, and a lab is not brought up for each of them."""
    for page in (one for one in pages() if one.number != MACHINES):
        before = look(Evidence(lab.lab), page.number)
        assert not before.done, f"objective {page.number} leaves nothing to do"
        assert all(one.fix for one in before.findings if not one.done)
        for block in blocks(page.at(lab.url).text):
            started = time.monotonic()
            printed = bash(lab, block.commands)
            print(f"{time.monotonic() - started:5.1f} s\n{block.commands}\n{printed}")
            if block.printed:
                compare(printed, block.printed)
    assert all(one["done"] or one["number"] == MACHINES for one in lab.json("course", "list"))
    asked = lab.run("course", "reset")
    assert asked.returncode == 2 and "nobody can be asked" in asked.stderr
    assert "the ledger" in asked.stderr and "kept: mine:1" in asked.stderr
    assert running_engine(lab.lab), "nothing was done without a yes"
    did = lab.json("course", "reset", "--yes")
    assert did["stops"] == "local" and did["kept"] == ["mine:1"]
    assert {"keys", "delivery.db", "logs"} <= set(did["removed"])
    assert running_engine(lab.lab) is None
    registry = Registry(lab.lab)
    assert [registry.verify(one).verdict for one in registry.records()] == ["ok"]
    reached = [one.number for one in look_at_all(Evidence(lab.lab)) if one.passed]
    assert reached == [7], "a model that stays is still registered and judged"
    assert "5r/s" in (lab.root / "configs" / "lab.toml.before").read_text()
    assert f"port = {lab.port}" in (lab.root / "configs" / "lab.toml").read_text()
    assert planned(lab.lab).nothing


@pytest.mark.machines
def test_who_does_the_page_on_machines_loses_one_and_no_request(lab: LabUnderTest) -> None:
    """By addresses and ports that no other test has; in a lab in which more is deployed than the
    gateway's machine has room for, as the pages before leave it."""
    port, left = free_port(), list[int]()
    lab.env |= {"LLMLAB_RAY_PORT": str(port), "LLMLAB_RAY_LINK_PORT": str(free_port())}
    (page,) = [one for one in pages() if one.number == MACHINES]
    text = page.text.replace("127.0.0.2", f"{addresses(lab.port)}.2").replace("6379", str(port))
    lab.ok("up", "--model", "textrank")
    lab.ok("deploy", "textrank", "--name", "next")
    assert not any(one.done for one in look(Evidence(lab.lab), MACHINES).findings)
    try:
        for block in blocks(text):
            printed = bash(lab, block.commands, left)
            print(f"{block.commands}\n{printed}")
            if block.printed:
                compare(printed, block.printed)
    finally:
        lab.run("down")
        for group in left:
            end(group)


def test_what_is_missing_is_told_with_the_next_command_and_exit_code_8(idle: LabUnderTest) -> None:
    done = idle.run("course", "check", "2")
    assert done.returncode == 8
    assert done.stdout.splitlines() == [
        "2. Serve it with FastAPI",
        "✗ no API process runs",
        "  Next: llmlab up",
        "✗ no text was summarized yet",
        "  Next: llmlab summarize configs/texts/founding.txt",
    ]
    told = json.loads(idle.run("course", "check", "-o", "json").stdout)
    assert (told["number"], told["done"], told["of"]) == (1, False, 2), "the first that is missing"
    assert "falconsai" in told["checks"][0]["told"] and told["checks"][0]["fix"]


def test_a_page_has_the_address_of_the_lab_in_which_it_is_printed(idle: LabUnderTest) -> None:
    told = idle.json("course", "start", "3")
    assert told["title"] == "Put NGINX in front" and told["question"].endswith("?")
    assert f"{idle.url}/summarize/" in told["steps"] and ":8000" not in told["steps"]
    assert idle.ok("course", "start", "3").startswith("# 3. Put NGINX in front\n")


def test_a_page_has_the_address_that_the_environment_gives_the_lab(idle: LabUnderTest) -> None:
    done = idle.run("course", "start", "3", env={"LLMLAB_PORT": "8123"})
    assert "http://127.0.0.1:8123/summarize/" in done.stdout and idle.url not in done.stdout


def test_there_is_no_tenth_objective(idle: LabUnderTest) -> None:
    for verb in ("start", "check"):
        done = idle.run("course", verb, "10")
        assert done.returncode == 2 and "there are 1 to 9" in done.stderr


def test_every_objective_has_a_page_with_the_same_sections_and_its_own_check() -> None:
    assert [page.number for page in pages()] == list(OBJECTIVES)
    for page in pages():
        assert tuple(page.sections) == SECTIONS
        assert f"llmlab course check {page.number}\n" in page.sections["Check"]
        assert page.sections["Question"].endswith("?")
        assert len(page.text) < 4500, "it has to fit into a lesson"


def test_a_page_that_is_not_built_as_the_others_is_not_read() -> None:
    with pytest.raises(AssertionError, match="no title"):
        parse("Find a model\n")
    with pytest.raises(AssertionError, match="sections"):
        parse("# 1. Find a model\n\n## Goal\n\nOne.\n")


def test_a_value_of_lab_toml_is_set_where_it_stands_and_all_else_stays() -> None:
    text = '[a]\nport = 1 # one\n[gateway]\nport = 2  # two\nhost = "x#y" # three\n'
    changed = with_value(with_value(text, "gateway.port", 9), "gateway.host", "z")
    assert changed == '[a]\nport = 1 # one\n[gateway]\nport = 9  # two\nhost = "z" # three\n'
    with pytest.raises(UsageError, match="no table"):
        with_value(text, "b.port", 1)
    with pytest.raises(UsageError, match=r"no line for gateway\.rate"):
        with_value(text, "gateway.rate", 1)
