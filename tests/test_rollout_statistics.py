"""How often the gate of rollouts is wrong: shown by simulation, seeded."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from llmlab.rollout.sequential import STAKES, Wealth, upper_bound
from llmlab.rollout.simulating import (
    Drill,
    World,
    drill,
    made_up,
    played,
    recorded,
    simulate,
)
from llmlab.rollout.state import Phase, Rollout, Rules
from tests.rollouts import line

RULES = Rules(interval=20.0, progress_deadline=300.0)
WAVES = World(
    rate=5.0, memory=0.99, wave=0.6
)  # latencies that come in waves of some hundred requests
RUNS = 100


# --- betting --------------------------------------------------------------------------------


def test_the_wealth_is_the_average_over_the_stakes() -> None:
    wealth = Wealth("above", 0.05)
    wealth.bet(1.0)
    wealth.bet(0.0)
    by_hand = [
        (1 + stake / 1.05 * 0.95) * (1 - stake / 1.05 * 0.05) for stake in STAKES
    ]  # fmt: skip
    assert wealth.value == pytest.approx(sum(by_hand) / len(by_hand))
    assert wealth.n == 2


@pytest.mark.parametrize("side", ["above", "below"])
@pytest.mark.parametrize("bound", [-0.5, 0.0, 0.05, 0.5])
def test_no_single_observation_takes_everything(side: str, bound: float) -> None:
    wealth = Wealth(side, bound)  # type: ignore[arg-type]
    for value in (-1.0, 1.0):
        wealth.bet(value)
    assert 0 < wealth.value < math.inf


@pytest.mark.parametrize(
    ("side", "bound", "values"),
    [
        ("above", 0.05, [(1.0, 0.05), (0.0, 0.95)]),
        ("above", 0.05, [(1.0, 0.15), (-1.0, 0.10), (0.0, 0.75)]),
        ("below", 0.10, [(1.0, 0.10), (0.0, 0.90)]),
        ("below", 0.10, [(1.0, 0.30), (-1.0, 0.20), (0.0, 0.50)]),
    ],
)
def test_who_looks_after_every_observation_is_fooled_no_more_often_than_alpha(
    side: str, bound: float, values: list[tuple[float, float]]
) -> None:
    """On the bound itself, where it is hardest; 400 sequences of 500 looks each."""
    chance, fooled = random.Random(7), 0
    for _ in range(400):
        wealth = Wealth(side, bound)  # type: ignore[arg-type]
        for value in chance.choices([v for v, _ in values], [p for _, p in values], k=500):
            wealth.bet(value)
            if wealth.reached(0.10):
                fooled += 1
                break
    assert 0 < fooled <= 400 * 0.10


def test_a_sum_of_ten_thousand_bets_is_still_a_number() -> None:
    wealth = Wealth("above", 0.05)
    for _ in range(10_000):
        wealth.bet(1.0)
    assert wealth.reached(1e-100) and math.isfinite(wealth.value)


def test_the_upper_bound_of_a_share_is_wilsons() -> None:
    assert upper_bound(0, 200) == pytest.approx(0.0188, abs=1e-4)
    assert upper_bound(10, 100) == pytest.approx(0.1744, abs=1e-4)
    assert upper_bound(0, 0) == 1.0


# --- a version against itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    "world",
    [World(rate=5.0), World(error_rate=0.2, rate=5.0), World(error_rate=0.0, rate=2.0), WAVES],
    ids=["a few errors", "many errors", "little traffic", "latency in waves"],
)
def test_a_version_rolled_out_against_itself_is_aborted_no_more_often_than_alpha(
    world: World,
) -> None:
    found = drill(RULES, lambda chance: made_up(world, chance), runs=RUNS, seed=11, rate=world.rate)
    assert found.runs == RUNS == found.aborted + found.promoted + found.paused
    assert found.rate <= RULES.alpha and not found.above


def test_against_itself_it_is_promoted_if_there_is_enough_traffic() -> None:
    found = drill(RULES, lambda chance: made_up(World(), chance), runs=20, seed=5)
    assert found.promoted >= 18


def test_recorded_traffic_can_be_played() -> None:
    chance = random.Random(1)
    lines = [line("base", seconds=chance.lognormvariate(-1, 0.5)) for _ in range(300)]
    record = recorded([*lines, line("other", seconds=99.0), "no line"], "base")
    assert len(record) == 300
    found = drill(RULES, lambda chance: played(record, chance), runs=20, seed=2)
    assert found.aborted == 0 and found.promoted >= 15


# --- a worse one --------------------------------------------------------------------------------


def ends(world: World, runs: int = 30) -> list[Rollout]:
    found = []
    for seed in range(runs):
        chance = random.Random(f"worse-{seed}")
        found.append(simulate(RULES, made_up(world, chance), chance, rate=world.rate))
    return found


@pytest.mark.parametrize(
    "world",
    [World(more_errors=0.30), World(slower=3.0), replace(WAVES, slower=4.0)],
    ids=["30 points more errors", "3 x slower", "slower, in waves"],
)
def test_a_bad_one_is_aborted_before_it_gets_half_of_the_traffic(world: World) -> None:
    for one in ends(world):
        assert one.phase is Phase.ABORTING and one.step <= 2, one.ending


def test_one_that_is_somewhat_worse_does_not_get_half_of_the_traffic_either() -> None:
    found = ends(World(more_errors=0.15), runs=20)
    assert all(one.phase in (Phase.ABORTING, Phase.PAUSED) and one.step <= 2 for one in found)
    assert sum(one.phase is Phase.ABORTING for one in found) > len(found) / 2


def test_one_on_the_margin_of_what_is_allowed_gets_beyond_two_steps_no_more_often_than_alpha() -> (
    None
):
    found = ends(World(error_rate=0.0, more_errors=0.05, rate=5.0), runs=100)
    assert sum(one.step > 2 for one in found) <= 100 * 0.05


def test_without_traffic_nothing_is_promoted() -> None:
    one = simulate(RULES, made_up(World(), random.Random(1)), random.Random(1), rate=1e-9)
    assert (one.phase, one.step) == (Phase.PAUSED, 1)
    assert str(one.paused) == "no traffic reached the candidate"


# --- the report of the drill --------------------------------------------------------------------


def test_the_report_says_how_sure_it_is_and_when_it_is_too_much() -> None:
    few = Drill(100, 3, 97, 0, 0.05)
    assert few.rate == 0.03 and not few.above
    low, high = few.interval
    assert low == pytest.approx(0.0103, abs=1e-3) and high == pytest.approx(0.0845, abs=1e-3)
    assert Drill(100, 12, 88, 0, 0.05).above
    assert not Drill(100, 0, 100, 0, 0.05).above
