"""What is measured of one answer, what the measures are called, and the table of them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from llmlab.evaluate.chrf import chrf
from llmlab.evaluate.facts import Details, Kind, Mention, Mentions, details, mentions
from llmlab.evaluate.rouge import rouge
from llmlab.evaluate.style import Style, style
from llmlab.evaluate.suite import Case


class Better(Enum):
    """Which way a metric gets better."""

    HIGHER = 1
    LOWER = -1
    NEITHER = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """A number about a model on a suite.

    Args:
        name: As gates and reports call it.
        better: Which way it gets better.
        means: What it is, in a few words.
        column: The value of a text that it is made of.
        quantile: It is this quantile over the texts; None: their mean.
        proxy: It compares strings, and does not know what they mean.
    """

    name: str
    better: Better
    means: str
    column: str
    quantile: float | None = None
    proxy: bool = True


def _metrics() -> Iterable[Metric]:
    up, down, free = Better.HIGHER, Better.LOWER, Better.NEITHER
    for name, better, means in (
        ("rouge1", up, "F1 of words shared with the reference"),
        ("rouge2", up, "F1 of word pairs shared with the reference"),
        ("rougeL", up, "F1 of the longest common subsequence with the reference"),
        ("rougeLsum", up, "the same, sentence by sentence"),
        ("chrf", up, "F2 of runs of characters shared with the reference; for any script"),
        ("coverage", up, "share of the must_mention facts that are mentioned"),
        ("forbidden", down, "must_not_mention facts that are mentioned, per summary"),
        ("unsupported", down, "names and numbers that the source does not have, per summary"),
        ("unsupported_names", down, "names that the source does not have, per summary"),
        ("unsupported_numbers", down, "numbers that the source does not have, per summary"),
        ("names_kept", free, "share of the source's names that the summary has"),
        ("numbers_kept", free, "share of the source's numbers that the summary has"),
        ("novelty", free, "share of word pairs that are not in the source"),
        ("copy_rate", free, "share of words in spans of five and more copied from the source"),
        ("repetition", down, "share of word triples that occurred before in the summary"),
        ("repetitive", down, "share of summaries that repeat a fifth of themselves and more"),
        ("unfinished", down, "share of summaries that do not end as a sentence does"),
    ):
        yield Metric(name, better, means, name)
    for name, means in (
        ("checks", "share of answers that pass all that they are checked for"),
        ("must_mention", "share of answers that mention all that they must"),
        ("must_not_mention", "share of answers that mention nothing that they must not"),
        ("matches", "share of answers that match the pattern"),
        ("json_schema", "share of answers that are JSON of the schema"),
        ("equals", "share of answers that are the expected one, notation aside"),
        ("max_words", "share of answers that are no longer than they may be"),
        ("language", "share of answers in the language that is asked for, by their letters"),
    ):
        yield Metric(name, up, means, name, proxy=name not in ("json_schema", "max_words"))
    for name, better, means in (
        ("length", free, "words per summary"),
        ("compression", free, "words of the source for each word of the summary"),
        ("empty", down, "share of summaries without a word"),
        ("truncated", down, "share of texts of which the model read only the beginning"),
        ("cut_off", down, "share of answers that ended at the most tokens that they may have"),
        ("latency", down, "seconds per text, mean"),
    ):
        yield Metric(name, better, means, name, proxy=False)
    for percent in (50, 95, 99):
        means = f"seconds within which {percent} of 100 texts are done"
        yield Metric(f"p{percent}", down, means, "latency", percent / 100, proxy=False)


# Columns of what happens or not, or so many times, in each text.
COUNTED = frozenset({
    "empty", "truncated", "cut_off", "repetitive", "unfinished", "forbidden", "unsupported",
    "unsupported_names", "unsupported_numbers",
})  # fmt: skip
# Columns of what each answer passes or does not.
PASSED = frozenset({
    "checks", "must_mention", "must_not_mention", "matches", "json_schema", "equals", "max_words",
    "language",
})  # fmt: skip
# Columns that hold an answer against a source; and a right one of a word ends as it likes.
OF_A_SOURCE = (
    "compression", "novelty", "copy_rate", "unsupported", "unsupported_names",
    "unsupported_numbers", "unfinished",
)  # fmt: skip
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _metrics()}


@dataclass(frozen=True, slots=True)
class Measures:
    """All that is measured of one summary, or of one answer in a conversation.

    Args:
        values: Column name -> value; None where there is nothing to measure. Without a
            reference there is no ROUGE, without must_mention no coverage. An empty summary
            scores 0 on these two and has no value where it would look good for saying
            nothing (``unsupported``, ``forbidden``, ``repetition``, ...). It passes no check.
            A conversation is no source, so nothing is held against it as against a text.
        details: Names and numbers kept, missing and unsupported, with their places.
        mentions: The facts asked for, with their places.
        style: Copied spans, novelty, repetition, compression.
    """

    values: Mapping[str, float | None]
    details: Details
    mentions: Mentions
    style: Style


def measure(
    case: Case,
    summary: str,
    *,
    seconds: float | None = None,
    truncated: bool | None = None,
    cut_off: bool | None = None,
) -> Measures:
    """Measure one answer to a case.

    Args:
        case: What is given, and what is expected of the answer.
        summary: What a model made of it.
        seconds: How long that took.
        truncated: Whether the model read only the beginning of the text.
        cut_off: Whether the answer ended at the most tokens that it may have.
    """
    found = Details((), (), ()) if case.messages else details(case.text, summary)
    said = mentions(summary, case.must_mention, case.must_not_mention)
    form = style(case.text, summary)
    values: dict[str, float | None] = {
        "coverage": said.coverage,
        "names_kept": _kept(found, Kind.NAME),
        "numbers_kept": _kept(found, Kind.NUMBER),
        "length": form.length,
        "compression": form.compression,
        "novelty": form.novelty,
        "empty": float(form.empty),
        "latency": seconds,
        "truncated": None if truncated is None else float(truncated),
        "cut_off": None if cut_off is None else float(cut_off),
        **dict(_checked(case, summary, said, form)),
    }
    scores = rouge(case.reference, summary) if case.reference else {}
    for name in ("rouge1", "rouge2", "rougeL", "rougeLsum"):
        values[name] = scores[name].f1 if scores else None
    values["chrf"] = chrf(case.reference, summary) if case.reference else None
    for name, value in {
        "forbidden": len(said.forbidden) if case.must_not_mention else None,
        "unsupported": len(found.unsupported),
        "unsupported_names": _count(found.unsupported, Kind.NAME),
        "unsupported_numbers": _count(found.unsupported, Kind.NUMBER),
        "copy_rate": form.copy_rate,
        "repetition": form.repetition,
        "repetitive": float(form.repetitive),
        "unfinished": float(form.unfinished),
    }.items():
        values[name] = None if form.empty else value
    for name in OF_A_SOURCE if case.messages else ():
        values[name] = None
    return Measures(values, found, said, form)


def _checked(
    case: Case, summary: str, said: Mentions, form: Style
) -> Iterator[tuple[str, float | None]]:
    """Of each check 1.0 for an answer that passes, 0.0 for one that does not, and None where
    there is none."""
    passed = case.checks.outcomes(summary)
    if case.must_mention:
        passed["must_mention"] = not said.missing
    if case.must_not_mention:
        passed["must_not_mention"] = not said.forbidden
    passed |= {"checks": all(passed.values())} if passed else {}
    for name in PASSED:
        yield name, float(passed[name] and not form.empty) if name in passed else None


def _count(found: tuple[Mention, ...], kind: Kind) -> int:
    return sum(one.kind is kind for one in found)


def _kept(found: Details, kind: Kind) -> float | None:
    kept, missing = _count(found.kept, kind), _count(found.missing, kind)
    return kept / (kept + missing) if kept + missing else None


@dataclass(frozen=True, slots=True)
class Scores:
    """One model's values over a suite: a column per value, a row per text.

    ``columns[name][i]`` belongs to ``ids[i]``; None where there is no value.
    """

    ids: tuple[str, ...]
    columns: Mapping[str, tuple[float | None, ...]]

    @classmethod
    def of(cls, measured: Mapping[str, Measures | None]) -> Scores:
        """From id -> measures; None for a text that the model failed to answer."""
        names = {metric.column for metric in METRICS.values()}
        rows = [one.values if one else {} for one in measured.values()]
        columns = {name: tuple(row.get(name) for row in rows) for name in sorted(names)}
        return cls(tuple(measured), columns)

    def values(self, metric: Metric) -> dict[str, float | None]:
        """id -> the value that a metric is made of."""
        empty = (None,) * len(self.ids)
        return dict(zip(self.ids, self.columns.get(metric.column, empty), strict=True))
