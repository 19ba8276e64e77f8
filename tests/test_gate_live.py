"""The gate on a running lab: what is broken is given back by itself.

By the rules that lab.toml is shipped with, but for their times. Not one of `make test`:
make test-delivery.
"""

from __future__ import annotations

import pytest

from llmlab.delivery.store import Store
from tests.conftest import wait_until
from tests.test_delivery_under_load import SECOND
from tests.test_engines import Make, engine, make  # noqa: F401  fixtures
from tests.test_rollout_lab import last, load, status

pytestmark = pytest.mark.delivery

DRILLS = [
    ("errors", "--share", "4"), ("errors", "--share", "20"), ("crash", "--share", "5"),
    ("slow", "--seconds", "0.5"), ("worse-text",),
]  # fmt: skip


def test_whatever_is_broken_is_given_back_by_itself(make: Make) -> None:  # noqa: F811
    running = make(rollout__interval="5", rollout__progress_deadline="150", rollout__bake="20")
    lab = running.lab
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(SECOND)
    lab.ok("up")
    with load(lab) as told:
        wait_until(lambda: told.statuses[200] > 200, 60)  # what is usual
        for drill in DRILLS:
            lab.ok("deploy", "second")
            lab.ok("drill", *drill, "--deployment", "second")
            lab.ok("rollout", "start", "canary", "second", "--steps", "25,50,100")
            code, said = status(lab, "200s")
            one = last(lab)
            assert one and not one.promoted and code in (1, 8), (drill, said)
            assert Store(lab.lab).traffic().weights("textrank").get("second", 0) < 25, (drill, said)
            print(f"{' '.join(drill)}: {one.phase} at step {one.step}: {said.splitlines()[-1]}")
            if code == 1:
                lab.ok("rollout", "abort")
                status(lab)
            lab.ok("undeploy", "second")
