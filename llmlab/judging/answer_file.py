"""Answers in a file, as somebody else may have got them: a line {"id", "answer"} for each case."""

from __future__ import annotations

import json
from pathlib import Path

from llmlab.errors import LlmlabError, UsageError, unreadable
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.suite import Suite
from llmlab.near import hint

ENDING = ".jsonl"
FIELDS = {"id", "answer"}


def is_file(name: str) -> bool:
    """Whether a file is meant, and no deployment: those have no dot in their name."""
    return name.endswith(ENDING)


def read_answers(file: Path, suite: Suite) -> Respondent:
    """The answers to cases of a suite, by whoever gave them.

    Raises:
        UsageError: names the line that is not as it must be.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{file} cannot be read: {unreadable(error)}", fix=f"ls -l {file}"
        ) from None
    ids = {case.id for case in suite.cases}
    found: dict[str, Answer | LlmlabError] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        id_, answer = _line(line, f"{file}:{number}")
        if id_ not in ids:
            raise UsageError(
                f"{file}:{number}: {suite.name} has no case {id_!r}{hint(id_, ids)}",
                fix="name the suite that was answered: --suite NAME",
            )
        if id_ in found:
            raise UsageError(f"{file}:{number}: {id_!r} is there twice", fix=f"correct {file}")
        found[id_] = Answer(answer, 0.0)
    return Respondent(str(file), "", "file", found)


def _line(line: str, place: str) -> tuple[str, str]:
    fix = 'a line for each case: {"id": "...", "answer": "..."}'
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{place}: {unreadable(error)}", fix=fix) from None
    if not isinstance(found, dict) or found.keys() != FIELDS:
        raise UsageError(f"{place}: should be an object with id and answer", fix=fix)
    id_, answer = found["id"], found["answer"]
    if not isinstance(id_, str) or not isinstance(answer, str):
        raise UsageError(f"{place}: id and answer should be texts", fix=fix)
    return id_, answer.strip()
