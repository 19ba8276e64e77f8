"""The guide's pages, walked as a reader walks them: every block runs, in order, in a fresh lab.

In ``docs/guide``, a block marked ``sh`` or ``python`` is run in the page's lab and has to end well;
a block marked ``text`` right behind it is what it prints, with ``...`` for what differs from run
to run. A block that no test can run has a reason before it: ``<!-- skip: next "why" -->``.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from doctest import ELLIPSIS, OutputChecker
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from tests.conftest import LabUnderTest, clean_env, free_port, lay_out

GUIDE = Path(__file__).parent.parent / "docs" / "guide"
PAGES = sorted(GUIDE.glob("*.md"))
NEEDS = {
    "containers.md": pytest.mark.containers,
    "machines.md": pytest.mark.machines,
    "waf.md": pytest.mark.waf,
}
NEEDS_LANGUAGE_MODEL = {"chat"}
RUN = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
SHOWN = {"text", "toml", "yaml", "json", "nginx"}  # never run
NOT_RUN_AT_MOST = 22  # blocks of the whole guide
SECONDS = 300  # for one block: images are built in one of them
AS_WRITTEN = "http://127.0.0.1:8000", "/home/alice/lab"  # what the pages say of the lab's own


@dataclass
class Walk:
    """One page in one lab: what the last block printed, and where it ended."""

    lab: LabUnderTest
    printed: str = ""
    end: int | None = None
    env: dict[str, str] = field(default_factory=dict)
    groups: list[int] = field(default_factory=list)

    def run(self, example: Example) -> str | None:
        language = str(example.region.lexemes["arguments"])
        source = str(example.parsed).replace(AS_WRITTEN[0], self.lab.url)
        process = subprocess.Popen(
            [*RUN[language], source], cwd=self.lab.root, env=self.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        self.groups.append(process.pid)
        printed, _ = process.communicate(timeout=SECONDS)
        self.printed, self.end = self.as_written(printed), example.end
        return f"exit code {process.returncode}\n{printed}" if process.returncode else None

    def compare(self, example: Example) -> str | None:
        between = None if self.end is None else example.document.text[self.end : example.start]
        if between is None or between.strip():
            return None  # a sample on its own, not the output of the block before it
        expected = plain(str(example.parsed))
        if OutputChecker().check_output(expected, plain(self.printed), ELLIPSIS):
            return None
        return f"it should print\n{expected}\nand prints\n{self.printed}"

    def as_written(self, printed: str) -> str:
        here = self.lab.url, str(self.lab.root)
        for one, other in zip(here, AS_WRITTEN, strict=True):
            printed = printed.replace(one, other)
        return printed

    def over(self) -> None:
        """End what blocks have left running behind them, such as a load."""
        self.lab.run("down")
        for group in self.groups:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)


def plain(text: str) -> str:
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def parsed(page: Path, walk: Walk | None = None) -> Document:
    run, compare = (walk.run, walk.compare) if walk else (None, None)
    runners = [CodeBlockParser(language, run or no_op) for language in RUN]
    return Sybil([SkipParser(), *runners, CodeBlockParser("text", compare or no_op)]).parse(page)


def no_op(example: Example) -> None:
    return None


@pytest.fixture
def walk(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    values = {}
    if request.node.callspec.id in NEEDS_LANGUAGE_MODEL:  # fetched before: see the page's skip
        folder = request.getfixturevalue("smollm2")
        values = {"routes__chat": '"smollm2"', "models__smollm2__source": f'"path:{folder}"'}
    if request.node.callspec.id == "machines":
        values |= {"ray__port": str(free_port()), "ray__link_port": str(free_port())}
    lab = lay_out(tmp_path_factory, **values)
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = clean_env(PATH=commands, LLMLAB_HOME=str(lab.root / "home"), TZ="UTC")
    walk = Walk(lab, env=env)
    try:
        yield walk
    finally:
        walk.over()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.stem,
            marks=[NEEDS[page.name]] if page.name in NEEDS else [],
        )
        for page in PAGES
    ],
)
def test_every_block_of_a_page_runs_and_prints_what_the_page_shows(page: Path, walk: Walk) -> None:
    for example in parsed(page, walk).examples():
        try:
            example.evaluate()
        except SkipTest:
            walk.end = None  # what it would print is not compared


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    skips = [
        (page.name, line) for page in PAGES for line in page.read_text().splitlines()
        if line.startswith("<!-- skip")
    ]  # fmt: skip
    for page, line in skips:
        assert re.fullmatch(r'<!-- skip: next "[^"]{15,}" -->', line), f"{page}: {line}"
    assert len(skips) <= NOT_RUN_AT_MOST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_says_what_it_is(page: Path) -> None:
    """So that none is left out because it is written another way."""
    text = page.read_text()
    opened = re.findall(r"(?m)^ *```(\S*)$", text)[::2]
    assert set(opened) <= SHOWN | set(RUN), page.name
    assert not re.search(r"(?m)\n\n {4,}(\$ |llmlab )", text), f"{page.name}: an indented block"
