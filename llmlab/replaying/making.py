"""Makes a suite of a recording, in a lab."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import UsageError
from llmlab.evaluate.suite import FOLDER, Suite, load_suite
from llmlab.lab import Lab
from llmlab.recording.redacting import Redacting, guards
from llmlab.recording.store import Recordings
from llmlab.registry import Registry
from llmlab.replaying.cases import questions
from llmlab.replaying.choosing import MadeSuite, choose, write
from llmlab.tune.data import load_pairs

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True)
class Wish:
    """
    Args:
        data: training data that no case may be a near copy of.
        redact: whether texts are looked at that were recorded as they are.
    """

    recording: str
    name: str
    count: int
    data: tuple[Path, ...] = ()
    with_answers: bool = False
    redact: bool = True
    seed: int = 1


def make_suite(lab: Lab, registry: Registry, wish: Wish) -> MadeSuite:
    """
    Raises:
        UsageError: there is no such recording, nothing of it is new, or there is such a suite.
        AuthError, LlmlabError: the recording cannot be opened.
    """
    file = _file(lab, wish.name)
    recordings = Recordings(lab)
    recorded = recordings.get(wish.recording)
    given = [load_pairs(one) for one in wish.data]
    known = [Suite(one.name, one.cases, one.digest) for one in given]
    known += [load_suite(one) for one in sorted((lab.root / FOLDER).glob("*.jsonl"))]
    asked = questions(wish.recording, recordings.records(wish.recording))
    choice = choose(asked, wish.count, known, seed=wish.seed)
    redacting = Redacting(guards()) if wish.redact and not recorded.redacted else None
    suite, labels = write(choice, file, redacting=redacting, with_answers=wish.with_answers)
    return MadeSuite(
        name=wish.name, file=str(file.relative_to(lab.root)), recording=wish.recording,
        digest=suite.digest, cases=len(suite.cases), left_out=dict(choice.left_out),
        labels=labels, without_schema=asked.without_schema,
        unseen_data=_unseen(registry, {one.name for one in given}),
    )  # fmt: skip


def _file(lab: Lab, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name[:80]!r} cannot be a suite's name",
            fix="lower-case letters, digits, - and _, beginning with a letter or digit",
        )
    file = lab.root / FOLDER / f"{name}.jsonl"
    if file.exists():
        raise UsageError(f"there is a suite {name} already, {file}", fix="--name ANOTHER")
    return file


def _unseen(registry: Registry, given: set[str]) -> list[str]:
    """Training data of registered models, of which the registry has names and hashes only."""
    return [
        f"{record.reference}: {one.name or one.sha256[:19]}"
        for record in registry.records()
        for one in record.facts.data
        if one.role in ("train", "validation") and one.name not in given
    ]
