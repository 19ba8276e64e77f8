"""Texts of real traffic as evidence, in a real lab: a candidate that does as well as the stable
version with every text of the suite, and invents numbers in a tenth of what clients send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmlab.recording.sampling import FILE
from llmlab.rollout.state import Outcome
from llmlab.rollout.store import Rollouts
from tests.conftest import LabUnderTest, configure, wait_until
from tests.test_rollout_lab import TWIN, last, load, status

# Of what clients ask by ``load`` a tenth, and nothing of the suite.
INVENTS = ("drill", "invent", "--deployment", "twin", "--containing", "read it, 0.4")
START = ("rollout", "start", "canary", "twin", "--steps", "20,100", "--interval", "2s")
GATE = '"unsupported_numbers<=+0.02"'


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__enabled="false", rollout__error_margin="0.15", rollout__bake="0",
        rollout__progress_deadline="600", rollout__min_samples="10",
        rollout__latency_gate='""',  # machines that run tests are shared
        rollout__pairs="1", rollout__pairs_gate=GATE, rollout__holdback="30",
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    one.ok("up")
    return one


def test_who_invents_only_for_clients_is_caught_by_pairs_and_by_nothing_else(
    lab: LabUnderTest,
) -> None:
    lab.ok("deploy", "twin")
    lab.ok(*INVENTS)
    with load(lab, rate=120) as told:
        wait_until(lambda: told.statuses[200] > 50)
        lab.ok(*START)
        code, said = status(lab)
        assert code == 8 and "pairs unsupported_numbers" in said, said
        configure(lab.root, lab.port, rollout__pairs="0")
        lab.ok("deploy", "twin")
        lab.ok(*INVENTS)
        lab.ok(*START)
        code, said = status(lab)
    without = last(lab)
    assert code == 0 and without and without.promoted == "twin", said
    caught = Rollouts(lab.lab).get(without.number - 1)
    assert caught.rollout.verdict
    for one in caught.rollout.verdict.findings:  # nothing else speaks against it
        failed = one.metric == "pairs unsupported_numbers"
        assert (one.outcome is Outcome.FAIL) is failed, one
    assert set(told.statuses) == {200}


def test_the_worst_pair_is_shown_and_is_in_no_ledger(lab: LabUnderTest) -> None:
    caught = str(last(lab).number - 1)  # type: ignore[union-attr]
    found = lab.json("rollout", "pairs", caught)
    worst = found["worst"]
    assert worst["candidate"]["unsupported"] == ["7418"] and not worst["stable"]["unsupported"]
    assert worst["beyond"] == ["unsupported_numbers"]
    assert "»7418«" in lab.ok("rollout", "pairs", caught)
    (figures,) = [one for one in found["measures"] if one["measure"] == "unsupported_numbers"]
    assert figures["n"] == found["pairs"] > 20 and figures["stable"] == 0
    assert 0.02 < figures["candidate"] < 0.5
    kept = (lab.lab.state / "pairs" / f"{caught}.pair").read_bytes()
    held = b"".join(one.read_bytes() for one in lab.lab.state.glob("delivery.db*"))
    assert held and not any(b"keeper lit the lamp" in one for one in (kept, held))


def test_nothing_is_remembered_once_the_rollout_is_over(lab: LabUnderTest) -> None:
    wait_until(lambda: not (lab.lab.state / "deployments" / FILE).exists())
