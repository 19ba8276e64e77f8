"""What the checks of the course say of labs that are not as its pages leave them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmlab.course import objectives
from llmlab.course.evidence import Evidence
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.lab import Lab, init_lab
from llmlab.ledger.store import Store
from tests.conftest import configure


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    init_lab(tmp_path)
    return Lab(tmp_path)


def running(url: str = "http://127.0.0.1:8080", stable: str = "textrank") -> LabStatus:
    return LabStatus(
        "lab", "local", True, True, GatewayStatus(url, True, "RUNNING", nginx="1.31.3"),
        (DeploymentStatus(stable, stable, "sha256:1", "extractive", True, 100, "RUNNING"),),
    )  # fmt: skip


def seen(lab: Lab, **known: Any) -> Evidence:
    """A lab of which something is known that is not looked at."""
    evidence = Evidence(lab)
    vars(evidence).update(known)
    return evidence


def test_a_lab_at_another_port_than_that_of_lab_toml_is_checked_where_it_is(lab: Lab) -> None:
    evidence = seen(lab, status=running("http://127.0.0.1:8080"), requests=[])
    assert objectives.gateway_runs(evidence).told == "NGINX 1.31.3 answers at http://127.0.0.1:8080"
    assert objectives.without_token(evidence).fix.endswith(" http://127.0.0.1:8080/")


def test_where_the_fallback_serves_for_the_chosen_model_the_next_step_is_no_circle(
    lab: Lab,
) -> None:
    configure(lab.root, 8000, routes__summarize='"falconsai"')
    away = seen(lab, status=running(), not_ready=("its files are not here", "a fix"))
    found = objectives.api_runs(away)
    assert found.told == "textrank answers in the place of falconsai: its files are not here"
    assert found.fix.startswith("llmlab course check 1; or summarize = ")
    there = objectives.api_runs(seen(lab, status=running(), not_ready=("", "")))
    assert there.fix == "llmlab up"


def deploy(lab: Lab, name: str, model: str) -> None:
    Store(lab).note("deployment", {"did": "deploy", "deployment": name, "model": model})


def test_another_model_beside_the_stable_one_is_no_second_version_of_it(lab: Lab) -> None:
    configure(lab.root, 8000, routes__summarize='"textrank"')
    deploy(lab, "falconsai", "falconsai")
    assert not objectives.second_version(Evidence(lab)).done
    deploy(lab, "next", "textrank")
    assert objectives.second_version(Evidence(lab)).told.startswith("next was deployed")


def test_another_model_is_a_second_version_once_a_rollout_has_it(lab: Lab) -> None:
    configure(lab.root, 8000, routes__summarize='"textrank"')
    deploy(lab, "other", "falconsai")
    Store(lab).note("rollout", {"rollout": 1, "of": "canary", "candidates": {"other": "falconsai"}})
    assert objectives.second_version(Evidence(lab)).told.startswith("other was deployed")


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([], "it has no answers yet, and 3 are to be compared"),
        ([80], "it has answers of 1 length, and 3 are to be compared"),
        ([80, 90], "it has answers of 2 lengths, and 3 are to be compared"),
    ],
)
def test_what_is_missing_of_a_comparison_is_said_in_plain_words(
    lab: Lab, sizes: list[int], told: str
) -> None:
    answers = [
        {"status": 200, "deployment": "textrank", "method": "POST", "subject": "notebook",
         "bytes_out": size} for size in sizes
    ]  # fmt: skip
    assert objectives.program_has_compared(seen(lab, requests=answers)).told == told
