"""A report as one page of HTML that needs nothing else: no script, no network."""

from __future__ import annotations

from datetime import datetime
from itertools import groupby

from llmlab.proving.findings import Report, Result, Verdict
from llmlab.report.page import rendered

MARKS = {Verdict.FAILED: "✗", Verdict.UNDECIDED: "?", Verdict.PASSED: "✓",
         Verdict.NOT_APPLICABLE: "–"}  # fmt: skip
# Of the page's colours: good, wrong, unsure.
CLASSES = {Verdict.FAILED: "fail", Verdict.UNDECIDED: "inconclusive", Verdict.PASSED: "pass",
           Verdict.NOT_APPLICABLE: "none"}  # fmt: skip


def page(report: Report, now: datetime | None = None) -> str:
    by_group = sorted(report.results, key=lambda one: one.group)
    groups: list[tuple[str, list[Result]]] = [
        (name, sorted(found, key=lambda one: list(Verdict).index(one.verdict)))
        for name, found in groupby(by_group, key=lambda one: one.group)
    ]
    return rendered(
        "probe.html.j2", now=now, report=report, groups=groups, verdicts=list(Verdict),
        marks=MARKS, classes=CLASSES, wrong=report.of(Verdict.FAILED),
    )  # fmt: skip
