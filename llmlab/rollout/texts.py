"""Is what the candidate writes as good? Judged by the evaluation's paired gate.

A model that does not sample gives the same answers to the same texts again: then there is
nothing new to judge, and the verdict stands. Only where answers changed is it another look, and
the k-th look has the level alpha / 2^k: so whatever the number of looks, all together err with a
probability of at most alpha.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace

from llmlab.evaluate.gate import Condition, Gate, parse_gate
from llmlab.evaluate.measures import METRICS, Scores, measure
from llmlab.evaluate.suite import Case
from llmlab.evaluate.verdict import Finding as Judgement
from llmlab.evaluate.verdict import Outcome as Judged
from llmlab.evaluate.verdict import Verdict, judge
from llmlab.rollout.asking import Pair
from llmlab.rollout.judging import fail_levels
from llmlab.rollout.observed import Texts
from llmlab.rollout.problems import PASS_ALPHA
from llmlab.rollout.state import Finding, Kind, Outcome, Rollout

METRIC = "text"
LONG, LONGS = 1600, 8  # words of a long text at least, and how many are asked for beside a suite
COPIES = 320  # of a shadow rollout's requests; so many texts decide, or nothing does
FIRST_COPIES = 10  # texts; then looked at again when there are twice as many

Row = tuple[dict[str, float | None], dict[str, float | None]]


def rows_of(pairs: Iterable[Pair]) -> list[Row]:
    """What is measured of both answers to each text. One that failed, also when it was asked for
    again, is an empty one: whoever asks has nothing in either case."""
    found = []
    for pair in pairs:
        mine, theirs = (
            dict(
                measure(
                    pair.case,
                    one.summary or "",
                    seconds=one.seconds,
                    cut_off=one.cut_off,
                    truncated=None if pair.case.messages else one.truncated,
                ).values
            )
            for one in (pair.tested, pair.base)
        )
        found.append((mine, theirs))
    return found


def with_long(cases: Sequence[Case]) -> tuple[Case, ...]:
    """A suite's cases, and long texts made of its texts, one after the other: a version may do well
    with each and fail at what is longer. Of these nothing is expected but a summary."""
    found: list[Case] = []
    texts: list[str] = []
    for case in cases:
        if case.messages:
            continue
        texts.append(case.text)
        if sum(len(text.split()) for text in texts) >= LONG and len(found) < LONGS:
            found.append(Case(f"long-{len(found) + 1}", "\n\n".join(texts)))
            texts = []
    return (*cases, *found)


def beside_empty(gate: Gate, rows: Sequence[Row]) -> list[Row]:
    """Rows in which an empty answer of the candidate counts once, as empty, where the gate looks
    at that: in what cannot be measured of it, it is taken to be like the other's."""
    if not any(one.metric.name == "empty" for one in gate.conditions):
        return list(rows)
    return [
        (theirs | {name: value for name, value in mine.items() if value is not None}, theirs)
        if mine.get("empty")
        else (mine, theirs)
        for mine, theirs in rows
    ]


def applicable(gate: Gate, rows: Sequence[Row]) -> tuple[Gate | None, tuple[str, ...]]:
    """The conditions that these texts can say anything about, and the metrics of the others.

    Without a reference, say, there is no ROUGE, for either model.
    """
    measured = [one for one in gate.conditions if _is_measured(one, rows)]
    left_out = tuple(one.metric.name for one in gate.conditions if one not in measured)
    return (Gate(tuple(measured)) if measured else None), left_out


def _is_measured(condition: Condition, rows: Sequence[Row]) -> bool:
    column = condition.metric.column
    return any(side.get(column) is not None for row in rows for side in row)


def look(rollout: Rollout, texts: Texts, pairs: Sequence[Pair]) -> Texts:
    """Judge the answers to a suite."""
    digest = _digest(pairs)
    if texts.finding and digest == texts.digest:
        return replace(texts, step=rollout.step)
    return _judged(rollout, texts, rows_of(pairs), digest)


def look_at_rows(rollout: Rollout, texts: Texts, rows: Sequence[Row]) -> Texts:
    """Judge answers that are measured already."""
    return _judged(rollout, texts, rows, "")


def look_at_copies(rollout: Rollout, texts: Texts) -> Texts:
    """Judge what there is of a shadow's answers, if there are enough for the next look."""
    n = len(texts.rows)
    due = FIRST_COPIES * 2**texts.looks
    if n < due and not (n >= COPIES and texts.digest != str(n)):
        return texts
    return _judged(rollout, texts, texts.rows, str(n))


def _judged(rollout: Rollout, texts: Texts, rows: Sequence[Row], digest: str) -> Texts:
    number = texts.looks + 1
    finding = _finding(rollout, rows, fail_levels(rollout.rules).text / 2**number)
    return replace(texts, looks=number, digest=digest, step=rollout.step, finding=finding)


def _finding(rollout: Rollout, rows: Sequence[Row], alpha: float) -> Finding:
    gate, left_out = applicable(parse_gate(rollout.rules.text_gate), rows)
    if gate is None:
        return Finding(
            METRIC, Outcome.INCONCLUSIVE,
            f"text: none of {' '.join(left_out)} can be measured on these texts", waiting=False,
        )  # fmt: skip
    rows = beside_empty(gate, rows)
    mine, theirs = (_scores([row[side] for row in rows]) for side in (0, 1))
    strict = judge(gate, mine, theirs, seed=rollout.number, alpha=alpha)
    if strict.outcome is Judged.FAIL:
        return _told(Outcome.FAIL, strict, alpha, left_out)
    usual = judge(gate, mine, theirs, seed=rollout.number, alpha=PASS_ALPHA, rare=True)
    if usual.outcome is Judged.PASS:
        return _told(Outcome.PASS, usual, alpha, left_out)
    more = rollout.kind is Kind.SHADOW and len(rows) < COPIES
    # A fail at the usual level is none at the strict one, which many looks ask for.
    found = usual if usual.outcome is Judged.INCONCLUSIVE else strict
    return replace(_told(Outcome.INCONCLUSIVE, found, alpha, left_out), waiting=more)


def _told(outcome: Outcome, verdict: Verdict, alpha: float, left_out: tuple[str, ...]) -> Finding:
    of_outcome = [one for one in verdict.findings if str(one.outcome) == str(outcome)]
    n = max((one.n for one in verdict.findings), default=0)
    if outcome is Outcome.PASS:
        reason = f"{', '.join(map(_change, of_outcome))} on {n} texts, within {verdict.gate}"
    else:
        reason = "; ".join(one.reason for one in of_outcome or verdict.findings)
    if left_out:
        reason += f"; not measured on these texts: {', '.join(left_out)}"
    figures = {
        f"{one.condition}:{name}": float(value)
        for one in verdict.findings
        for name, value in (
            ("candidate", one.candidate), ("stable", one.baseline), ("estimate", one.estimate),
            ("low", one.told.low if one.told else None),
            ("high", one.told.high if one.told else None),
            ("level", one.told.level if one.told else None),
        )
        if value is not None
    }  # fmt: skip
    return Finding(
        METRIC, outcome, f"text: {reason}", {**figures, "n": n, "alpha": alpha}, waiting=False
    )


def _change(one: Judgement) -> str:
    name = parse_gate(one.condition).conditions[0].metric.name
    against = "" if one.baseline is None else f" against {one.baseline:.3f}"
    return f"{name} {one.candidate:.3f}{against}"


def _scores(values: Sequence[dict[str, float | None]]) -> Scores:
    names = sorted({metric.column for metric in METRICS.values()})
    columns = {name: tuple(row.get(name) for row in values) for name in names}
    return Scores(tuple(str(number) for number in range(len(values))), columns)


def _digest(pairs: Sequence[Pair]) -> str:
    said = [[one.case.id, one.tested.summary, one.base.summary] for one in pairs]
    return hashlib.sha256(json.dumps(said).encode("utf-8", "surrogatepass")).hexdigest()


def not_yet(reason: str) -> Finding:
    """While there is no judgement at this step."""
    return Finding(METRIC, Outcome.INCONCLUSIVE, f"text: {reason}")


def kept_of(rows: Sequence[Row], gate: str) -> list[Row]:
    """Rows with no more than the gate looks at: they are written down."""
    columns = {"empty", *(one.metric.column for one in parse_gate(gate).conditions)}
    return [
        tuple({name: side.get(name) for name in columns} if side else {} for side in row)  # type: ignore[misc]
        for row in rows
    ]


def case_of(number: int, text: str) -> Case:
    """A client's text, of which nothing is known."""
    return Case(id=f"copy-{number}", text=text)


def number_of(case: Case) -> int:
    """Which copy it is."""
    return int(case.id.rpartition("-")[2])
