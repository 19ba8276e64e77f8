"""The gate on a running lab: what harms few is held back, what hangs is given back, what is equal
is promoted.

By the rules that lab.toml is shipped with, but for their times. What is broken in any other way is
in test_drills_live. Not one of `make test`: make test-delivery.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from llmlab.ledger.store import Store
from llmlab.rollout.state import Outcome, Phase, Rollout
from tests.conftest import LabUnderTest, wait_until
from tests.summarizing import route_of
from tests.test_delivery_under_load import SECOND
from tests.test_engines import Make, make  # noqa: F401  a fixture
from tests.test_rollout_lab import last, load, status
from tests.two_engines import engine  # noqa: F401  a fixture

pytestmark = pytest.mark.delivery

# What a step ends with for that alone, however long it may take: metric, and what is said of it.
HELD_BACK = [
    (("empty", "--longer-than", "1500"), "text", "empty is"),
    (
        ("errors", "--subject", "subject-1", "--subject", "subject-2", "--subject", "subject-3"),
        "errors", "got errors which they did not get before",
    ),
]  # fmt: skip


def laid_out(make: Make, **values: str) -> LabUnderTest:  # noqa: F811
    lab = make(rollout__interval="5", **values).lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    return lab


@contextmanager
def drilled(lab: LabUnderTest, drill: tuple[str, ...]) -> Iterator[Rollout]:
    """A rollout of a version that a drill is on, once it is over or waits for a person."""
    lab.ok("deploy", "second")
    lab.ok("drill", *drill, "--deployment", "second")
    lab.ok("rollout", "start", "canary", "second", "--steps", "25,50,100")
    code, said = status(lab, "200s")
    one = last(lab)
    assert one and not one.promoted and code in (1, 8), (drill, said)
    print(f"{' '.join(drill)}: {one.phase} at step {one.step}: {one.ending or one.paused}")
    yield one
    if code == 1:
        lab.ok("rollout", "abort")
        status(lab)
    lab.ok("deployment", "stop", "second")


@pytest.mark.parametrize("engine", ["local"])
def test_what_harms_few_is_never_promoted(make: Make) -> None:  # noqa: F811
    lab = laid_out(make, rollout__progress_deadline="40", rollout__bake="20")
    with load(lab) as told:
        wait_until(lambda: told.statuses[200] > 200, 60)
        for drill, metric, said in HELD_BACK:
            with drilled(lab, drill) as one:
                assert one.verdict
                (found,) = [one for one in one.verdict.findings if one.metric == metric]
                assert found.outcome is not Outcome.PASS and said in found.reason, found


def test_a_version_that_hangs_is_given_back_though_its_clients_give_up(make: Make) -> None:  # noqa: F811
    """They wait for 5 s beside a version that takes 6 for every third text."""
    lab = laid_out(make, rollout__progress_deadline="150", rollout__bake="20")
    with load(lab, clients=20, X_Request_Timeout="5") as told:
        wait_until(lambda: told.statuses[200] > 200, 60)
        with drilled(lab, ("slow", "--seconds", "6", "--share", "30")):
            weights = route_of(Store(lab.lab).traffic()).weights("textrank")
            assert weights.get("second", 0) < 25
    assert told.statuses[504] > 0


@pytest.mark.alone
@pytest.mark.parametrize("engine", ["local"])
def test_equal_versions_are_promoted_under_clients_that_set_the_pace(make: Make) -> None:  # noqa: F811
    """Three labs at once. Few callers, of whom some ask for much, are few units of evidence: each
    canary takes its minutes, and what is held back needs some of the callers. An answer takes a
    tenth of a second, so that clients wait for the model and not for a free core: on a machine
    without one, which version is slower is the scheduler's doing."""
    labs = [
        laid_out(make, rollout__bake="10", rollout__holdback="20", rollout__progress_deadline="600")
        for _ in range(3)
    ]
    for lab in labs:
        lab.ok("deploy", "second")
        for name in ("textrank", "second"):
            lab.ok("drill", "slow", "--seconds", "0.1", "--deployment", name)
    with ExitStack() as loads:
        told = [
            loads.enter_context(
                load(lab, rate=2000, subjects=20, zipf=True, named=f"caller-of-{number}")
            )
            for number, lab in enumerate(labs)
        ]
        for lab, one in zip(labs, told, strict=True):
            wait_until(lambda one=one: one.statuses[200] > 1000, 60)  # type: ignore[misc]
            lab.ok("rollout", "start", "canary", "second", "--steps", "25,50,100")
        for lab in labs:
            wait_until(lambda lab=lab: last(lab).phase is not Phase.PROGRESSING, 900)  # type: ignore[misc, union-attr]
            code, said = status(lab, "60s")
            one = last(lab)
            assert code == 0 and one and one.promoted, (said, one and one.step, one and one.verdict)
    for one in told:
        print(one)
        assert set(one.statuses) == {200}
