"""The lab does what its OpenAPI document says: schemathesis asks, through the gateway.

It asks the same each time (tests/conformance/schemathesis.toml), and follows the links from one
answer to the next request. What it finds has to be explained in tests/conformance/explained.py.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.explained import EXPLAINED, Failure
from tests.conftest import LabUnderTest, clean_env

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
DEADLINE = 150  # seconds; it takes some 10


@dataclass(frozen=True)
class Run:
    report: dict[str, Any]
    scenarios: list[dict[str, Any]]

    def failures(self) -> Iterator[Failure]:
        for one in self.scenarios:
            for case, checks in one.get("checks", {}).items():
                failed = [check for check in checks if check["status"] == "failure"]
                if failed:
                    yield from self._told(one["cases"][case], one["interactions"][case], failed)

    def _told(
        self, case: dict[str, Any], sent: dict[str, Any], failed: list[dict[str, Any]]
    ) -> Iterator[Failure]:
        response = sent["response"]
        answer = base64.b64decode((response["content"] or {}).get("$base64", ""))
        for check in failed:
            yield Failure(
                check["name"],
                f"{case['value']['method']} {case['value']['path']}",
                response["status_code"],
                answer.decode(errors="replace"),
                check["failure_info"]["failure"]["message"],
            )


@pytest.fixture(scope="module")
def run(lab: LabUnderTest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("schemathesis")
    told, events = folder / "report.json", folder / "events.ndjson"
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "pip install -e '.[dev]'"
    done = subprocess.run(
        [program, "--no-color", "--config-file", str(CONFIGURATION),
         "run", f"{lab.url}/openapi.json", "--report", "json,ndjson",
         "--report-json-path", str(told), "--report-ndjson-path", str(events)],
        cwd=folder, env=clean_env(LLMLAB_TOKEN=lab.token()), text=True, capture_output=True,
        timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    scenarios = [line["ScenarioFinished"] for line in lines if "ScenarioFinished" in line]
    return Run(json.loads(told.read_text()), [one["recorder"] for one in scenarios])


def test_every_operation_is_asked_and_links_are_followed(run: Run) -> None:
    operations = run.report["operations"]
    assert (operations["tested"], operations["errored"]) == (operations["total"], 0)
    assert run.report["complete"]
    assert not run.report["errors"]
    assert run.report["test_cases"]["generated"] > 600
    cases = [case for one in run.scenarios for case in one.get("cases", {}).values()]
    followed = {case["value"]["path"] for case in cases if case["is_transition_applied"]}
    # Those of the document. It finds others of its own accord, in some runs: the list of models has
    # the names that /v1/models/{name} takes.
    assert {"/summarize/", "/models/{deployment}/summarize/"} <= followed


def test_a_good_part_of_what_is_asked_is_answered_with_what_was_asked_for(run: Run) -> None:
    for operation, phases in run.report["valid_rates"].items():
        if operation == "POST /v1/embeddings":
            continue  # no model of this lab gives any
        accepted, rejected = (
            sum(one[what] for one in phases.values()) for what in ("accepted", "rejected")
        )
        # Or it would be said of every operation that it refuses well. How often one that can
        # refuse nothing is asked is chance.
        assert accepted >= (10 if rejected else 1), f"{operation}: {phases}"


def test_nothing_fails_that_is_not_explained(run: Run) -> None:
    strange = [one for one in run.failures() if not any(why.fits(one) for why in EXPLAINED)]
    assert not strange, "\n".join(map(repr, strange[:10]))


def test_every_explanation_still_explains_something(run: Run) -> None:
    found = list(run.failures())
    for why in EXPLAINED:
        assert any(why.fits(one) for one in found), why
