"""A report as SARIF 2.1.0, which code scanning reads.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from typing import Any

from llmlab.proving.findings import Report, Result, Verdict
from llmlab.proving.junit import told
from llmlab.version import __version__

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
# 3.27.9: what is no fault has the level none.
KINDS = {Verdict.FAILED: "fail", Verdict.UNDECIDED: "open", Verdict.PASSED: "pass",
         Verdict.NOT_APPLICABLE: "notApplicable"}  # fmt: skip


def document(report: Report) -> dict[str, Any]:
    rules = sorted(report.results, key=lambda one: one.id)
    places = {one.id: number for number, one in enumerate(rules)}
    driver = {
        "name": "llmlab probe",
        "version": __version__,
        "rules": [_rule(one) for one in rules],
    }
    found = [_result(one, report.target, places[one.id]) for one in report.results]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, "startTimeUtc": _utc(report.started)}],
        "results": found,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(one: Result) -> dict[str, Any]:
    return {
        "id": one.id,
        "name": "".join(word.capitalize() for word in one.id.replace(".", "-").split("-")),
        "shortDescription": {"text": one.proves},
        "help": {"text": one.fix},
        "properties": {"tags": ["security", one.group]},
    }


def _result(one: Result, target: str, rule: int) -> dict[str, Any]:
    failed = one.verdict is Verdict.FAILED
    place = {"physicalLocation": {"artifactLocation": {"uri": target}}}
    return {
        "ruleId": one.id,
        "ruleIndex": rule,
        "kind": KINDS[one.verdict],
        "level": "error" if failed else "none",
        "message": {"text": told(one) if failed else one.why},
        "locations": [place],
        "partialFingerprints": {"check/v1": one.id},
    }


def _utc(when: str) -> str:
    return when.replace("+00:00", "Z")
