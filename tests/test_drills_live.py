"""Every way of going wrong that there is a drill for is given back by the gate, by itself and
before it has half of the traffic, under both engines.

One lab for all of them; what drives it is ``benchmarks.drilling``, whose figures are in
benchmarks/DRILLS.md. Not one of `make test`: make test-delivery.
"""

from __future__ import annotations

import pytest

from benchmarks.drilling import HALF, LAB, WAYS, Aborted, go_through
from tests.test_engines import Make, make  # noqa: F401  a fixture
from tests.two_engines import engine  # noqa: F401  a fixture

# Both cores are busy: beside it, what is judged by its seconds would not be decided in time.
pytestmark = [pytest.mark.delivery, pytest.mark.alone]


def test_each_way_of_going_wrong_is_given_back_before_it_has_half_of_the_traffic(
    make: Make,  # noqa: F811
) -> None:
    running = make()
    lab = running.lab
    (lab.root / "configs" / "lab.toml").write_text(LAB.format(engine=running.engine, port=lab.port))
    lab.ok("up")
    found = go_through(lab.lab, lab.url, lab.ok)
    for name, one in found.items():
        print(f"{name}: {one}")
    assert list(found) == [way.name for way in WAYS]
    kept_on = {name: one for name, one in found.items() if not isinstance(one, Aborted)}
    assert not kept_on
    for way in WAYS:
        one = found[way.name]
        assert isinstance(one, Aborted)
        assert one.percent < HALF, (way.name, one)
        assert set(one.by) & set(way.seen_by), (way.name, one)
    assert lab.json("ledger", "verify")["whole"] is True
