"""Training data: a suite in which every text, or question, has a reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case, Wrong, load_suite


@dataclass(frozen=True)
class Pairs:
    """Texts with good summaries, or conversations with good answers. ``digest`` is
    "sha256:<64 hex digits>" of the file."""

    name: str
    cases: tuple[Case, ...]
    digest: str

    def refuse_chats(self, base: str) -> None:
        """
        Raises:
            UsageError: there are conversations, and the base only summarizes texts.
        """
        if found := [case for case in self.cases if case.messages]:
            raise UsageError(
                f"{self.name}: line {found[0].line} is a conversation, and {base} only summarizes "
                "texts",
                fix="--base with a language model, such as smollm2; or texts with their summaries",
            )


def load_pairs(file: Path) -> Pairs:
    """Read and check training data: JSONL as a suite's, so that a suite is training data too.

    A line has a text to summarize, or what a language model is asked: ``prompt`` or ``messages``.
    ``reference`` must be there, and may be called ``summary``; ``id`` may be missing, and is the
    line's number then.

    Raises:
        UsageError: there is no such file; or names each line and field that is wrong.
    """
    if not file.is_file():
        raise UsageError(
            f"there is no file {file} with training data",
            fix='write one {"text": "...", "summary": "..."} a line',
        )
    suite = load_suite(file, _as_case)
    return Pairs(suite.name, suite.cases, suite.digest)


def _as_case(found: dict[str, Any], line: int) -> dict[str, Any]:
    given = dict(found)
    if "summary" in given:
        if "reference" in given:
            raise Wrong("summary: is the same as reference, and there are both")
        given["reference"] = given.pop("summary")
    if given.get("reference") is None:
        raise Wrong("reference: is missing; it is what the model should write (or: summary)")
    return {"id": f"line-{line}", **given}
