"""How often the gate of rollouts is wrong: shown by simulation, seeded, in short.

The worlds in full, 500 rollouts each, are those of `python -m benchmarks.gate`.
"""

from __future__ import annotations

import math
import random

import pytest

from benchmarks.gate import EVERYTHING, TOGETHER, promises, report
from llmlab.rollout.all_at_once import ALL_AT_ONCE, ALLOWED
from llmlab.rollout.power import NEVER, Usual, needs, pairs
from llmlab.rollout.seen import Seen
from llmlab.rollout.sequential import STAKES, Wealth, lower_bound, upper_bound
from llmlab.rollout.simulating import Drill, Run, drill, simulate
from llmlab.rollout.state import Kind, Phase, Rollout, Rules
from llmlab.rollout.worlds import (
    CANDIDATE,
    EQUAL,
    STABLE,
    WORSE,
    MadeUp,
    Played,
    World,
    recorded,
)
from tests.rollouts import line

# Looser and shorter than lab.toml's, for tests: five points are seen in minutes.
RULES = Rules(interval=10.0, progress_deadline=300.0, error_margin=0.05, bake=0.0, text_gate="")


# --- betting --------------------------------------------------------------------------------


def test_the_wealth_is_the_average_over_the_stakes() -> None:
    wealth = Wealth()
    wealth.bet(0.95, 1.05)
    wealth.bet(-0.05, 1.05)
    by_hand = [(1 + stake / 1.05 * 0.95) * (1 - stake / 1.05 * 0.05) for stake in STAKES]
    assert wealth.value == pytest.approx(sum(by_hand) / len(by_hand))
    assert wealth.n == 2


def test_no_single_observation_takes_everything() -> None:
    wealth = Wealth()
    for gain in (-1.0, 1.0, -1.0):
        wealth.bet(gain, 1.0)
    assert 0 < wealth.value < math.inf


@pytest.mark.parametrize(
    "gains",
    [
        [(0.95, 0.05), (-0.05, 0.95)],
        [(0.95, 0.15), (-1.05, 0.10), (-0.05, 0.75)],
        [(-0.9, 0.10), (0.1, 0.90)],
    ],
)
@pytest.mark.parametrize("watches", [False, True])
def test_who_looks_after_every_observation_is_fooled_no_more_often_than_alpha(
    gains: list[tuple[float, float]], watches: bool
) -> None:
    mean = sum(gain * share for gain, share in gains)
    assert mean == pytest.approx(0.0, abs=0.03)
    shifted = [(gain - max(mean, 0.0), share) for gain, share in gains]
    worst = -min(gain for gain, _ in shifted)
    values, weights = zip(*shifted, strict=True)
    chance, alarms, runs = random.Random(7), 0, 200
    for _ in range(runs):
        wealth = Wealth.watching() if watches else Wealth()
        for number, gain in enumerate(chance.choices(values, weights, k=400)):
            if number % 40 == 0:
                wealth.watch_from_now()
            wealth.bet(gain, worst)
            if wealth.reached(0.1):
                alarms += 1
                break
    assert alarms <= runs * 0.1 + 2 * math.sqrt(runs * 0.1 * 0.9)


def test_a_sum_of_ten_thousand_bets_is_still_a_number() -> None:
    wealth = Wealth.watching()
    for _ in range(10_000):
        wealth.bet(0.95, 1.05)
    assert wealth.value == pytest.approx(1e300, rel=1) and wealth.reached(1e-9)


def test_what_is_put_on_changes_is_never_more_than_there_is() -> None:
    wealth = Wealth.watching()
    for _ in range(1000):
        wealth.watch_from_now()
    assert wealth.value == pytest.approx(1.0) and wealth.kept > 0


def test_a_change_after_a_thousand_good_observations_is_found_by_who_watches_for_it() -> None:
    patient, watching = Wealth(), Wealth.watching()
    for number in range(1000):
        if number % 50 == 0:
            watching.watch_from_now()
        for one in (patient, watching):
            one.bet(-0.02, 1.0)
    watching.watch_from_now()
    for _ in range(40):
        for one in (patient, watching):
            one.bet(0.5, 1.0)
    assert watching.reached(0.0125) and not patient.reached(0.0125)


def test_the_bounds_of_a_share_are_wilsons() -> None:
    assert upper_bound(0, 200) == pytest.approx(0.0188, abs=1e-4)
    assert upper_bound(10, 100) == pytest.approx(0.1744, abs=1e-4)
    assert upper_bound(0, 0) == 1.0
    assert lower_bound(10, 100) == pytest.approx(0.0552, abs=1e-4)
    assert lower_bound(0, 0) == 0.0


# --- a version against itself ------------------------------------------------------------------

HARD = [
    "waves, and bursts of errors", "a queue at load 0.8", "20 subjects by Zipf, latency differs",
    "20 subjects, two with 20 % errors",
]  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_a_version_rolled_out_against_itself_is_not_aborted_in_a_hard_world(name: str) -> None:
    runs = 12
    found = drill(
        RULES, lambda chance: MadeUp(EQUAL[name], chance), runs=runs, seed=11, before=120.0
    )
    assert found.runs == runs == found.aborted + found.promoted + found.paused
    assert not found.above, found.reasons


def test_a_lab_without_a_past_raises_no_alarm_either() -> None:
    world = EQUAL["20 subjects, two with 20 % errors"]
    found = drill(RULES, lambda chance: MadeUp(world, chance), runs=12, seed=3, before=0.0)
    assert not found.above, found.reasons


def test_against_itself_it_is_promoted_if_there_is_enough_traffic() -> None:
    found = drill(
        RULES, lambda chance: MadeUp(World(), chance), runs=10, seed=5, before=60.0
    )  # fmt: skip
    assert found.promoted >= 9


def test_recorded_traffic_can_be_played() -> None:
    chance = random.Random(1)
    lines = [
        line("base", seconds=chance.lognormvariate(-1, 0.5), subject=f"n{number}")
        for number in range(300)
    ]
    record = recorded([*lines, line("other", seconds=99.0), "no line"], "base")
    assert len(record) == 300
    found = drill(RULES, lambda chance: Played(record, chance), runs=5, seed=2, before=60.0)
    assert found.aborted == 0 and found.promoted >= 4


# --- a worse one --------------------------------------------------------------------------------


def ends(world: World, runs: int = 10, rules: Rules = RULES) -> list[Run]:
    found = []
    for seed in range(runs):
        chance = random.Random(f"worse-{seed}")
        found.append(simulate(rules, MadeUp(world, chance), chance, before=60.0))
    return found


@pytest.mark.parametrize(
    "world",
    [World(more_errors=0.30), World(slower=3.0), WORSE["4 ms -> 40 ms"]],
    ids=["30 points more errors", "3 x slower", "4 ms -> 40 ms"],
)
def test_a_bad_one_is_aborted_before_it_gets_half_of_the_traffic(world: World) -> None:
    for one in ends(world):
        assert one.aborted and one.rollout.step <= 2, one.rollout.ending


def test_three_points_more_errors_and_half_as_slow_again_are_not_promoted() -> None:
    strict = Rules(interval=10.0, progress_deadline=200.0, bake=0.0, text_gate="")
    for name in ("+3 points of errors", "latency x 1.5"):
        assert not any(one.promoted for one in ends(WORSE[name], 6, strict)), name


def test_what_breaks_in_the_last_step_is_given_back_within_a_minute() -> None:
    strict = Rules(steps=(50.0, 100.0), interval=60.0, bake=600.0, text_gate="")
    chance = random.Random(1)
    one = simulate(
        strict, MadeUp(World(broken=0.2, error_rate=0.0), chance), chance, breaks_after=30.0
    )  # fmt: skip
    assert one.reacted is not None and 0 < one.reacted <= 60 and not one.promoted


def test_without_traffic_nothing_is_promoted() -> None:
    chance = random.Random(1)
    one = simulate(RULES, MadeUp(World(), chance), chance, rate=1e-9, before=0.0).rollout
    assert (one.phase, one.step) == (Phase.PAUSED, 1)
    assert str(one.paused) == "no traffic reached the candidate"


# --- how much it takes ---------------------------------------------------------------------------

CANARY = Rollout(1, Kind.CANARY, STABLE, "", (CANDIDATE,), "stable", Rules())


def test_how_many_bets_it_takes_is_where_the_wealth_gets() -> None:
    wealth, needed = Wealth(), pairs([(1.0, 0.01)], 0.05)
    for _ in range(math.ceil(needed) - 1):
        wealth.bet(0.01, 1.0)
    assert not wealth.reached(0.05)
    wealth.bet(0.01, 1.0)
    assert wealth.reached(0.05)
    assert pairs([(1.0, -0.01)], 0.05) == pairs([(1.0, 0.0)], 0.05) == NEVER


def test_a_step_needs_as_many_answers_as_a_simulated_one_takes() -> None:
    usual = Usual(10.0, 0.01, tuple(0.2 for _ in range(100)))
    found = {(one.step, one.metric): one for one in needs(CANARY, usual)}
    first = found[1, "errors"]
    assert first.answers == pytest.approx(524, abs=20)
    assert first.seconds == pytest.approx(first.answers / 0.5)
    assert found[2, "errors"].answers == first.answers, "as many answers, but sooner"
    assert found[4, "errors"].answers > 5 * first.answers, "the other side's are the fewer there"
    assert (4, "latency p50") not in found, "above half of the traffic it is not compared"
    waits = Rules(steps=(5.0, 100.0), interval=0.0, progress_deadline=9e9, bake=0.0, text_gate="",
                  latency_gate="")  # fmt: skip
    took = []
    for seed in range(6):
        chance = random.Random(seed)
        one = simulate(waits, MadeUp(World(), chance), chance, before=60.0)
        assert one.promoted
        took.append(one.rollout.judged[0].at)
    of_two = next(needs(Rollout(1, Kind.CANARY, STABLE, "", (CANDIDATE,), "stable", waits), usual))
    assert of_two.seconds is not None and sorted(took)[3] < 2 * of_two.seconds
    assert sorted(took)[3] > of_two.seconds / 3


def test_of_a_few_answers_nobody_knows_what_is_usual() -> None:
    def seen(n: int, errors: int = 0) -> Usual:
        answers = [Seen("base", one < errors, 0.2, at=1000.0 + one) for one in range(n)]
        return Usual.of(answers, "base", 1000.0 + n)

    assert seen(3, errors=1) == seen(0) == Usual()
    assert seen(100).errors == pytest.approx(0.0033, abs=1e-4)
    assert seen(10_000, errors=500).errors == pytest.approx(0.05, abs=1e-3)
    assert seen(100).rate == pytest.approx(1.0)


def test_nobody_knows_how_long_it_takes_without_any_traffic() -> None:
    assert all(one.seconds is None for one in needs(CANARY, Usual()))


# --- the promises ---------------------------------------------------------------------------------


def kept() -> dict[str, Drill]:
    """Figures of 100 rollouts in each world that keep all that is promised."""
    good = Drill(100, 0, 100, 0, 0.05)
    bad = Drill(100, 100, 0, 0, 0.05, (), 100.0, 30.0)
    return dict.fromkeys([*EQUAL, *ALL_AT_ONCE, *ALLOWED], good) | dict.fromkeys(WORSE, bad)


def test_figures_that_keep_all_promises_are_said_to() -> None:
    assert all(one for one, _ in promises(kept(), 0.05))
    told = report(kept(), Rules(), 100, 1)
    assert "broken" not in told
    names = [one.removeprefix("all at once, ") for one in EQUAL | ALL_AT_ONCE | WORSE]
    assert all(f"| {name} |" in told for name in (*names, *ALLOWED))


@pytest.mark.parametrize(
    ("world", "figures", "said"),
    [
        ("a queue at load 0.8", Drill(100, 10, 90, 0, 0.05), "10.0 % aborted, at most 9.4 %"),
        ("latency x 1.5", Drill(100, 94, 6, 0, 0.05), "6.0 % promoted"),
        ("+10 points of errors", Drill(100, 100, 0, 0, 0.05, (), 121.0), "after 121 answers"),
        ("+10 points of errors", Drill(100, 0, 0, 100, 0.05), "after - answers"),
        ("+20 points from the middle of the last step", Drill(100, 100, 0, 0, 0.05, (), 9.0, 61.0),
         "after 61 s"),
    ],
)  # fmt: skip
def test_one_that_is_broken_is_named(world: str, figures: Drill, said: str) -> None:
    broken = [what for one, what in promises(kept() | {world: figures}, 0.05) if not one]
    assert len(broken) == 1 and world in broken[0] and said in broken[0]


def test_alpha_is_held_over_all_worlds_together_in_which_everything_is_judged() -> None:
    six = Drill(100, 8, 92, 0, 0.05)
    each_alone = kept() | dict.fromkeys(ALL_AT_ONCE, six)
    (broken,) = [what for one, what in promises(each_alone, 0.05) if not one]
    assert broken == f"{EVERYTHING}: 8.0 % aborted, at most 6.8 %"


def test_alpha_is_held_over_all_worlds_of_versions_no_worse_than_allowed_together() -> None:
    some = Drill(100, 9, 91, 0, 0.05)
    each_alone = kept() | dict.fromkeys((*EQUAL, *ALLOWED), some)
    (broken,) = [what for one, what in promises(each_alone, 0.05) if not one]
    assert broken.startswith(f"{TOGETHER}: ") and broken.endswith(", at most 5.8 %")


# --- the report of the drill --------------------------------------------------------------------


def test_the_report_says_how_sure_it_is_and_when_it_is_too_much() -> None:
    few = Drill(100, 3, 97, 0, 0.05)
    assert few.rate == 0.03 and not few.above
    low, high = few.interval
    assert low == pytest.approx(0.0103, abs=1e-3) and high == pytest.approx(0.0845, abs=1e-3)
    assert Drill(100, 12, 88, 0, 0.05).above
    assert not Drill(100, 0, 100, 0, 0.05).above
