"""Rollouts of a lab in containers: the same verdicts as of supervised processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from llmlab.engines.choice import engine_named
from llmlab.engines.compose.containers import DockerEngine
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.compose.report import is_api
from llmlab.rollout.state import Phase
from tests.conftest import LabUnderTest, wait_until
from tests.summarizing import route_of
from tests.test_rollout_lab import QUICK, STEPS, TWIN, consistent, last, load, status, taken

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def contained(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> LabUnderTest:
    lab = make_lab(
        gateway__rate_limit__enabled="false", engine='"compose"', rollout__error_margin="0.05",
        rollout__bake="2", rollout__progress_deadline="600",
        rollout__latency_gate='"p50<=2x p95<=3x"',  # machines that run tests are shared
    )  # fmt: skip
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    lab.lab.make_state()
    images.write(lab.lab)
    lab.ok("up")
    return lab


def test_a_good_candidate_is_promoted_and_taken_back_and_no_request_is_lost(
    contained: LabUnderTest,
) -> None:
    with load(contained, rate=30) as told:
        contained.ok("rollout", "start", "canary", "twin", *STEPS, *QUICK)
        code, said = status(contained, "300s")
        assert code == 0, said
        consistent(contained)
        contained.ok("rollout", "undo")
        assert status(contained)[0] == 0
        consistent(contained)
    assert set(told.statuses) == {200} and told.served["twin"] > 20
    contained.ok("deployment", "stop", "twin")


def test_a_candidate_that_writes_worse_is_aborted_by_its_texts(contained: LabUnderTest) -> None:
    contained.ok("deploy", "twin")
    contained.ok("drill", "worse-text", "--deployment", "twin")
    with load(contained, rate=30):
        contained.ok("rollout", "start", "canary", "twin", *STEPS, "--interval", "8s")
        code, told = status(contained, "300s")
    one = last(contained)
    assert one and (code, one.phase) == (8, Phase.ABORTED), told
    assert "text: " in told and one.percent < 50
    consistent(contained)
    contained.ok("deployment", "stop", "twin")


def test_a_shadow_is_judged_by_copies_which_nobody_else_can_read(contained: LabUnderTest) -> None:
    with load(contained, rate=30) as told:
        contained.ok("rollout", "start", "shadow", "twin", "--percent", "50", "--interval", "1s")
        wait_until(lambda: route_of(taken(contained)).shadow is not None, 120)
        with contained.client() as client:
            for path in ("/shadow/answers", "/models/twin/shadow/answers"):
                assert client.get(path).status_code == 404
        code, said = status(contained, "300s")
    assert code == 0 and "copies of requests" in said, said
    assert set(told.statuses) == {200} and set(told.served) == {"textrank"}
    consistent(contained)


def test_questions_past_the_gateway_are_asked_by_one_process_as_long_as_it_lives(
    contained: LabUnderTest,
) -> None:
    engine = engine_named("compose", contained.lab)
    (container,) = (one for one in DockerEngine().containers(contained.root) if is_api(one))

    def asking() -> list[str]:
        told = subprocess.run(
            ["docker", "top", container.id, "-o", "pid,args"], capture_output=True, text=True
        ).stdout
        return [line.split()[0] for line in told.splitlines() if "python -I -S" in line]

    before = set(asking())  # of the controller, perhaps
    body = json.dumps({"text": "One. Two."}).encode()
    for _ in range(5):
        code, answer = engine.ask("textrank", "/summarize/", method="POST", body=body)
        assert code == 200 and json.loads(answer)["summary"] == "One. Two."
        assert engine.ask("textrank", "/nothing")[0] == 404
    (mine,) = set(asking()) - before
    os.kill(int(mine), signal.SIGKILL)
    assert engine.ask("textrank", "/metrics")[0] == 200
    assert len(set(asking()) - before) == 1
