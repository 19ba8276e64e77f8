"""From a recording to a suite: what people did ask becomes what the next version is judged by.

Chosen are questions no two of which are near copies, and none of which is one of what a model may
have been trained on, or of another suite. Compared is what the callers have said: a prompt that an
application puts before all of them would make them all alike.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from llmlab.errors import UsageError
from llmlab.evaluate import checks
from llmlab.evaluate.suite import Case, Suite, load_suite
from llmlab.files import write_atomically
from llmlab.recording.redacting import Redacting
from llmlab.replaying.cases import Question, Questions
from llmlab.tune.overlap import apart, shared

NEAR, KNOWN, NOT_DRAWN = "near a copy of another one", "in other suites or data", "not drawn"


class MadeSuite(TypedDict):
    """A suite that was made of a recording.

    Args:
        left_out: {why: how many requests of the recording}.
        labels: {check: cases that have it}.
        without_schema: requests of the recording whose JSON schema is not taken.
        unseen_data: training data of registered models that the requests were not held against,
            as MODEL and NAME with a colon between.
    """

    name: str
    file: str
    recording: str
    digest: str
    cases: int
    left_out: dict[str, int]
    labels: dict[str, int]
    without_schema: int
    unseen_data: list[str]


@dataclass(frozen=True)
class Choice:
    """Args:
    left_out: {why: how many}.
    """

    questions: tuple[Question, ...]
    left_out: Mapping[str, int]


def choose(asked: Questions, count: int, known: Sequence[Suite], *, seed: int) -> Choice:
    """Draw questions, so many at most; in the order in which they were asked.

    Args:
        known: what none of them may be a near copy of.

    Raises:
        UsageError: none is left.
    """
    drawn = list(asked.asked)
    random.Random(seed).shuffle(drawn)  # noqa: S311  a choice, and no secret
    said = {one.case.id: _said(one.case) for one in drawn}
    held = [replace(suite, cases=tuple(map(_said, suite.cases))) for suite in known]
    taken = {one.id for one in shared(said.values(), held)}
    free = [said[one.case.id] for one in drawn if one.case.id not in taken]
    distinct = {one.id for one in apart(free)}
    chosen = [one for one in drawn if one.case.id in distinct][:count]
    left_out = {
        **asked.left_out, KNOWN: len(taken), NEAR: len(free) - len(distinct),
        NOT_DRAWN: len(distinct) - len(chosen),
    }  # fmt: skip
    if not chosen:
        raise UsageError(
            f"nothing of {asked.suite.name} is new: all of it is {KNOWN} already",
            fix="llmlab record start, for longer",
        )
    chosen.sort(key=lambda one: one.case.id)
    return Choice(tuple(chosen), {why: many for why, many in left_out.items() if many})


def write(
    choice: Choice, file: Path, *, redacting: Redacting | None, with_answers: bool
) -> tuple[Suite, dict[str, int]]:
    """Write a suite, and read it as it will be read.

    Args:
        redacting: what looks at texts that were recorded as they are.
        with_answers: whether what was answered then is the reference.

    Returns:
        The suite, and {check: cases that have it}.

    Raises:
        UsageError: there is such a file.
    """
    if file.exists():
        raise UsageError(f"there is {file} already", fix="--name ANOTHER")
    lines = [
        _line(f"{file.stem}-{number:04}", one, redacting, with_answers)
        for number, one in enumerate(choice.questions, start=1)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines)
    write_atomically(file, content)
    labels = {
        name: count
        for name in ("json_schema", "language", "reference")
        if (count := sum(name in one for one in lines))
    }
    return load_suite(file), labels


def _line(
    name: str, one: Question, redacting: Redacting | None, with_answers: bool
) -> dict[str, Any]:
    case = one.case
    found: dict[str, Any] = {"id": name}
    if not case.messages:
        found["text"] = case.text
    elif len(case.messages) == 1 and case.messages[0].role == "user":
        found["prompt"] = case.messages[0].content
    else:
        found["messages"] = [message.as_json() for message in case.messages]
    if with_answers and one.answer.strip():
        found["reference"] = one.answer
    if case.checks.language:
        found["language"] = case.checks.language
    if case.checks.json_schema:
        found["json_schema"] = json.loads(case.checks.json_schema)
    if redacting:
        found = redacting.document(found)
    # A client's schema may be one that no judge here takes, or none any more without what was
    # redacted: then the case has no such check.
    wrong = {problem.partition(":")[0] for problem in checks.problems(found)}
    return {key: value for key, value in found.items() if key not in wrong}


def _said(case: Case) -> Case:
    """What its caller has said, as one text."""
    users = [one.content for one in case.messages if one.role == "user"]
    return Case(case.id, case.text or "\n\n".join(users))
