"""kill -9 of the controller at any moment: the next one goes on, nothing is counted twice."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlab.lab import Lab
from llmlab.ledger import chain
from llmlab.ledger.store import Store
from llmlab.rollout.state import Phase, Rules
from llmlab.rollout.store import Rollouts
from tests.conftest import clean_env
from tests.rollouts import line, rollout
from tests.summarizing import route_of
from tests.test_registry_killed import Killer, killing

KILLS = 30
INSIDE = ["llmlab/rollout", "llmlab/delivery", "llmlab/ledger"]
RULES = Rules(steps=(50.0, 100.0), interval=0.0, min_samples=5, error_margin=0.05, bake=0.0)
PAIRS = 160


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with killing(clean_env()) as killer:
        yield killer


def begin(folder: Path) -> tuple[Rollouts, Path]:
    rollouts = Rollouts(Lab(folder))
    rollouts.create(lambda number, traffic, history: rollout(number=number, rules=RULES))
    log = folder / "access.log"
    pairs = [line(name, request_id=f"{name}-{n}", subject=f"{name}-{n}") for n in range(PAIRS)
             for name in ("base", "tuned-2")]  # fmt: skip
    log.write_text("\n".join(pairs) + "\n")
    return rollouts, log


def consistent(folder: Path) -> None:
    """The chain holds, and traffic, rollout and the row that supervisors look at agree."""
    rollouts = Rollouts(Lab(folder))
    with Store(Lab(folder)).database.reading() as connection:
        assert chain.problems(connection) == []
        state = json.loads(
            connection.execute("SELECT document FROM state WHERE name = 'rollout'").fetchone()[0]
        )
        told = [one.document for one in chain.entries(connection, "kind = 'route'")]
    one, traffic = rollouts.history()[0], rollouts.traffic()
    routes = {} if one.over else {"summarize": 1}
    assert state == {"unfinished": not one.over, "number": 1, "routes": routes}
    assert told[-1]["traffic"] == json.loads(traffic.dump())
    assert sum(route_of(traffic).weights("base").values()) == 100
    if one.phase is Phase.PROGRESSING:
        assert route_of(traffic).weights("base")["tuned-2"] == one.percent


def test_a_killed_controller_is_followed_by_one_that_goes_on_where_it_stood(
    killer: Killer, tmp_path: Path
) -> None:
    first = tmp_path / "whole"
    first.mkdir()
    whole, log = begin(first)
    lines = killer("roll_out", first, log, line=0, inside=INSIDE)["lines"]
    assert whole.history()[0].phase is Phase.COMPLETED and lines > KILLS
    expected = whole.get(1).evidence.tested.total

    chance, killed = random.Random(9), 0
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        rollouts, log = begin(folder)
        for _ in range(KILLS // 3):
            done = killer(
                "roll_out", folder, log, line=chance.randrange(1, lines // 4), inside=INSIDE
            )  # fmt: skip
            killed += not done["finished"]
            consistent(folder)
        assert killer("roll_out", folder, log)["finished"]
        consistent(folder)
        one, evidence = rollouts.history()[0], rollouts.get(1).evidence
        assert (one.phase, one.promoted) == (Phase.COMPLETED, "tuned-2")
        assert evidence.tested.total == expected, "every line once"
        assert int(log.with_suffix(".taken").read_text()) == rollouts.traffic().revision
    assert killed > KILLS / 2
