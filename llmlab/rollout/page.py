"""A rollout as one page of HTML: what came of it, how it went, and what is written down of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from llmlab.ledger.telling import told
from llmlab.report.chart import ABOVE, BELOW, LEFT, RIGHT, WIDTH
from llmlab.report.page import rendered
from llmlab.rollout import picture
from llmlab.rollout.report import Report, moment_of
from llmlab.rollout.state import Finding, Judged, Kind, Outcome, Phase, Rollout

SIZE = {"width": WIDTH, "left": LEFT, "right": RIGHT, "above": ABOVE, "below": BELOW}
MARKS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.INCONCLUSIVE: "?", Outcome.NONE: "?"}
LOOKS = {Phase.COMPLETED: "pass", Phase.COMPLETING: "pass", Phase.ABORTED: "fail",
         Phase.ABORTING: "fail", Phase.PAUSED: "inconclusive"}  # fmt: skip
KINDS = {
    Kind.CANARY: "a growing part of the requests", Kind.BLUEGREEN: "all requests at once",
    Kind.AB: "two versions, until a person chooses", Kind.SHADOW: "copies of requests",
    Kind.UNDO: "back to what was before",
}  # fmt: skip
CALLED = {Kind.BLUEGREEN: "blue-green", Kind.AB: "A/B"}


def called(kind: Kind) -> str:
    """A kind as people write it."""
    return CALLED.get(kind, str(kind))


@dataclass(frozen=True)
class Row:
    """A verdict that something followed from. Cells are texts; "" where nothing is known."""

    at: str
    step: str
    share: str
    outcome: str
    mark: str
    answers: str
    errors: str
    p50: str
    p95: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Line:
    """An entry of the ledger."""

    seq: int
    after: str
    who: str
    kind: str
    what: str
    why: str


def page(report: Report, *, now: datetime | None = None) -> str:
    """Args:
    now: what it is dated with.
    """
    one = report.rollout
    return rendered(
        "rollout.html.j2",
        now=now,
        report=report,
        one=one,
        called=called(one.kind),
        means=KINDS[one.kind],
        look=LOOKS.get(one.phase, "soft"),
        began=f"{datetime.fromtimestamp(one.created, UTC):%Y-%m-%d %H:%M} UTC",
        took=took(report.took),
        ending=_ending(one),
        verdict=one.verdict,
        marks=MARKS,
        panels=list(picture.panels(report)),
        wealth=list(picture.wealth(report)),
        events=picture.marks(report),
        rows=[row(report, judged) for judged in one.judged],
        lines=list(lines(report)),
        rules=list(_rules(one)),
        size=SIZE,
    )


def _ending(one: Rollout) -> str:
    """Why, where the findings do not say it already."""
    verdict = one.verdict
    return "" if verdict and one.ending == verdict.reason else one.ending


def row(report: Report, judged: Judged) -> Row:
    one, verdict = report.rollout, judged.verdict
    figures = {each.metric: each.figures for each in verdict.findings}
    names = ("a", "b") if one.kind is Kind.AB else ("candidate", "stable")
    errors = figures.get("errors", {})
    timed = next((each for name, each in figures.items() if name.startswith("latency")), {})
    share = one.share_at(judged.step) if one.kind is Kind.CANARY else one.percent

    def seconds(which: str) -> str:
        known = [timed[key] for name in ("candidate", "stable")
                 if (key := f"{name}_{which}") in timed]  # fmt: skip
        return _beside([picture.seconds(float(f"{value:.2g}")) for value in known])

    return Row(
        at=took(judged.at - one.created), step=str(judged.step),
        share=f"{share:g} %" if share else "", outcome=verdict.outcome,
        mark=MARKS[verdict.outcome], answers=str(verdict.samples),
        errors=_beside([f"{100 * errors[name]:.1f} %" for name in names if name in errors]),
        p50=seconds("p50"), p95=seconds("p95"), findings=verdict.findings,
    )  # fmt: skip


def lines(report: Report, *, newest_first: bool = False) -> Iterator[Line]:
    """A verdict, and what followed from it, have one reason; it is told once, where a reader who
    begins at the top meets it first."""
    before = ""
    for entry in reversed(report.entries) if newest_first else report.entries:
        why = "" if entry.why == before else entry.why
        before = entry.why
        after = took(max(0.0, moment_of(entry) - report.rollout.created))
        yield Line(entry.seq, after, entry.who, entry.kind, told(entry), why)


def took(seconds: float) -> str:
    """``8 s``, ``2 min 5 s``, ``3 h 10 min``, ``2 d 4 h``."""
    whole = int(seconds)
    parts = [(whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "min"),
             (whole % 60, "s")]  # fmt: skip
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    shown = [f"{count} {unit}" for count, unit in parts[first : first + 2] if count]
    return " ".join(shown) or "0 s"


def _beside(values: list[str]) -> str:
    return " / ".join(values)


def _rules(one: Rollout) -> Iterator[tuple[str, str]]:
    for name, value in asdict(one.rules).items():
        if name == "steps" and one.kind is not Kind.CANARY:
            continue
        told = ", ".join(f"{each:g}" for each in value) if isinstance(value, tuple) else str(value)
        yield name, told
