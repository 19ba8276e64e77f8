"""The same texts or questions through several models, side by side: what to show of it, and the
document."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypedDict

from llmlab.errors import LlmlabError
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.facts import Kind, Mention
from llmlab.evaluate.measures import METRICS, Measures, measure
from llmlab.evaluate.suite import Case
from llmlab.evaluate.text import fold, words

# What is measured without a reference, as it is shown, best known first.
SHOWN = (
    "length", "compression", "latency", "names_kept", "numbers_kept", "unsupported",
    "novelty", "copy_rate", "repetition", "truncated", "cut_off", "checks",
)  # fmt: skip
SHARES = (
    "names_kept", "numbers_kept", "novelty", "copy_rate", "repetition", "truncated", "cut_off",
    "checks",
)  # fmt: skip
# Below this, two summaries have so little in common that marking the rest shows nothing.
IN_COMMON = 0.3
_WORD = re.compile(r"\S+")


class Mark(StrEnum):
    """What is special about a stretch of a text."""

    PLAIN = "plain"
    ALONE = "alone"  # a word of a summary that the one it is compared with does not have
    UNSUPPORTED = "unsupported"  # a name or number of a summary that its source does not have
    KEPT = "kept"  # ... of a source that the summary has
    MISSING = "missing"  # ... of a source that it does not have


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of a text, all of it marked the same way; pieces put together are the text."""

    text: str
    mark: Mark


@dataclass(frozen=True)
class Result:
    """One model's summary of one text, measured."""

    model: str
    answer: Answer
    measures: Measures
    marked: tuple[Stretch, ...]
    source: tuple[Stretch, ...]

    def missing(self, kind: Kind) -> list[str]:
        return [one.text for one in self.measures.details.missing if one.kind is kind]

    def kept(self, kind: Kind) -> list[str]:
        return [one.text for one in self.measures.details.kept if one.kind is kind]


@dataclass(frozen=True)
class Failure:
    """A model that had no summary of a text."""

    model: str
    error: LlmlabError


@dataclass(frozen=True)
class Row:
    """A text, or what was asked, and what each model made of it, in the order of the models."""

    name: str
    text: str
    results: tuple[Result | Failure, ...]
    is_text: bool = True


class ComparedModel(TypedDict):
    name: str
    model_id: str
    runtime: str


class MentionDocument(TypedDict):
    """A name or a number in a text; ``start`` and ``end`` in its characters."""

    kind: str
    text: str
    start: int
    end: int


class ResultDocument(TypedDict):
    """Args:
    usage: as in an answer over HTTP.
    measures: {metric: value}; null where there is none.
    kept, missing: names and numbers of the source that the summary has, and has not.
    unsupported: those of the summary that the source does not have.
    """

    model: str
    summary: str
    request_id: str
    usage: dict[str, Any]
    measures: dict[str, float | None]
    kept: list[MentionDocument]
    missing: list[MentionDocument]
    unsupported: list[MentionDocument]


class FailureDocument(TypedDict):
    model: str
    error: str


class ComparedText(TypedDict):
    """Args:
    words: of the text, or of all that was asked.
    results: in the order of the models.
    """

    input: str
    words: int
    results: list[ResultDocument | FailureDocument]


class ComparedTexts(TypedDict):
    """The same texts through several models.

    Args:
        means: {model: {metric: mean over the texts that it answered}}.
        failed: how many summaries are missing.
    """

    models: list[ComparedModel]
    texts: list[ComparedText]
    means: dict[str, dict[str, float | None]]
    failed: int


@dataclass(frozen=True)
class Comparison:
    """All of it. ``means`` are over the texts that a model answered; None: nothing to measure."""

    models: tuple[Respondent, ...]
    rows: tuple[Row, ...]

    def values(self, model: str, metric: str) -> list[float]:
        found = (
            one.measures.values.get(metric)
            for row in self.rows
            for one in row.results
            if isinstance(one, Result) and one.model == model
        )
        return [value for value in found if value is not None]

    def mean(self, model: str, metric: str) -> float | None:
        values = self.values(model, metric)
        return math.fsum(values) / len(values) if values else None

    @property
    def failures(self) -> list[Failure]:
        return [one for row in self.rows for one in row.results if isinstance(one, Failure)]

    def as_json(self) -> ComparedTexts:
        return {
            "models": [
                {"name": one.name, "model_id": one.model_id, "runtime": one.runtime}
                for one in self.models
            ],
            "texts": [_row_as_json(row) for row in self.rows],
            "means": {
                one.name: {name: self.mean(one.name, name) for name in SHOWN} for one in self.models
            },
            "failed": len(self.failures),
        }


def compare(cases: Mapping[str, Case], models: Sequence[Respondent]) -> Comparison:
    """Measure every answer, and mark what is different.

    Args:
        cases: by the name that the answers have.

    Each summary is compared with the first model's, and the first one's with the second's.
    """
    rows = []
    for name, case in cases.items():
        answers = [one.answers[name] for one in models]
        summaries = [one.text if isinstance(one, Answer) else "" for one in answers]
        results = tuple(
            _result(model.name, case, answer, against=_other(summaries, number))
            for number, (model, answer) in enumerate(zip(models, answers, strict=True))
        )
        rows.append(Row(name, case.given, results, not case.messages))
    return Comparison(tuple(models), tuple(rows))


def _other(summaries: Sequence[str], number: int) -> str:
    return summaries[0] if number else summaries[min(1, len(summaries) - 1)]


def _result(
    model: str, case: Case, answer: Answer | LlmlabError, *, against: str
) -> Result | Failure:
    if isinstance(answer, LlmlabError):
        return Failure(model, answer)
    measured = measure(
        case, answer.text, seconds=answer.seconds, cut_off=answer.cut_off,
        truncated=None if case.messages else answer.truncated,
    )  # fmt: skip
    details = measured.details
    places = [*_places(details.kept, Mark.KEPT), *_places(details.missing, Mark.MISSING)]
    return Result(
        model, answer, measured,
        marked=marked(answer.text, details.unsupported, against),
        source=stretches(case.given, places),
    )  # fmt: skip


def marked(text: str, unsupported: Iterable[Mention], against: str) -> tuple[Stretch, ...]:
    """An answer with what its source does not have, and what the answer beside it does not say.

    Args:
        against: that one; "" for none.
    """
    alone = [(start, end, Mark.ALONE) for start, end in only_in(text, against)]
    return stretches(text, [*_places(unsupported, Mark.UNSUPPORTED), *alone])


def _places(mentions: Iterable[Mention], mark: Mark) -> list[tuple[int, int, Mark]]:
    return [(one.start, one.end, mark) for one in mentions]


def only_in(text: str, other: str) -> list[tuple[int, int]]:
    """Where ``text`` has words that ``other`` does not have in that order, in characters.

    Nothing if they are altogether different.
    """
    found = list(_WORD.finditer(text))
    ours = [_bare(one[0]) for one in found]
    theirs = [_bare(one) for one in other.split()]
    matcher = difflib.SequenceMatcher(None, theirs, ours, autojunk=False)
    if matcher.ratio() < IN_COMMON:
        return []
    return [
        (found[start].start(), found[end - 1].end())
        for what, _, _, start, end in matcher.get_opcodes()
        if what in ("insert", "replace") and end > start
    ]


def steps_to_compare(text: str, other: str) -> int:
    """How long ``only_in`` may take, in steps that a machine does some ten millions of a second.

    It looks for a stretch in common among all pairs of the same word, and once more on both sides
    of each that it finds. Pairs are few among words of a language, and as many as the product of
    both lengths where a model says one word over and over.
    """
    ours, theirs = (Counter(_bare(one) for one in both.split()) for both in (text, other))
    pairs = sum(many * theirs[word] for word, many in ours.items())
    return pairs * min(ours.total(), theirs.total())


def _bare(word: str) -> str:
    """A word without the punctuation around it."""
    return " ".join(words(word)) or fold(word)


def stretches(text: str, marks: Iterable[tuple[int, int, Mark]]) -> tuple[Stretch, ...]:
    """Cut a text where its marks change; of marks that overlap, the first given wins."""
    owner: list[Mark] = [Mark.PLAIN] * len(text)
    for start, end, mark in marks:
        for place in range(start, min(end, len(text))):
            if owner[place] is Mark.PLAIN:
                owner[place] = mark
    found: list[Stretch] = []
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or owner[place] is not owner[start]:
            found.append(Stretch(text[start:place], owner[start]))
            start = place
    return tuple(found)


def shown(metric: str, value: float | None) -> str:
    """A value for people."""
    if value is None:
        return "-"
    if metric in SHARES:
        return f"{value:.0%}"
    if metric == "latency":
        return f"{value:.2f} s"
    if metric == "compression":
        return f"{value:.1f} : 1"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def means(metric: str) -> str:
    """What a metric is, in a few words."""
    return METRICS[metric].means


def _row_as_json(row: Row) -> ComparedText:
    return {
        "input": row.name,
        "words": len(words(row.text)),
        "results": [
            _result_as_json(one)
            if isinstance(one, Result)
            else FailureDocument(model=one.model, error=one.error.message)
            for one in row.results
        ],
    }


def _result_as_json(one: Result) -> ResultDocument:
    details = one.measures.details
    return {
        "model": one.model,
        "summary": one.answer.text,
        "request_id": one.answer.request_id,
        "usage": {
            "input_tokens": one.answer.input_tokens, "output_tokens": one.answer.output_tokens,
            "windows": one.answer.windows, "truncated": one.answer.truncated,
        },
        "measures": {name: one.measures.values.get(name) for name in SHOWN},
        "kept": [_mention(mention) for mention in details.kept],
        "missing": [_mention(mention) for mention in details.missing],
        "unsupported": [_mention(mention) for mention in details.unsupported],
    }  # fmt: skip


def _mention(one: Mention) -> MentionDocument:
    return {"kind": one.kind.value, "text": one.text, "start": one.start, "end": one.end}
