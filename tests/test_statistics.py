"""Intervals, tests and corrections: against scipy, on paper, and where nothing varies."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.evaluate import statistics
from llmlab.evaluate.comparison import compare, levels, pairs, regressions
from llmlab.evaluate.measures import METRICS, Scores
from llmlab.evaluate.statistics import (
    Bootstrap,
    Interval,
    binomial_tail,
    effect_size,
    exchange_p,
    holm,
    of_pairs,
    of_sample,
    quantile,
)

EXACT = 1e-6


def sample(seed: int, n: int, kind: str = "normal") -> Any:
    rng = np.random.default_rng(seed)
    return rng.normal(0.1, 1, n) if kind == "normal" else rng.exponential(1, n)


# The bootstrap


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 7, 40, 333])
@pytest.mark.parametrize("kind", ["normal", "skewed"])
@pytest.mark.parametrize(("method", "ours"), [("BCa", "bca"), ("percentile", "percentile")])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.9875])
def test_intervals_of_a_mean_are_scipy_s(
    n: int, kind: str, method: str, ours: str, level: float
) -> None:
    values = sample(n, n, kind)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, confidence_level=level, method=method, n_resamples=1999,
        rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    found = Bootstrap.of(of_sample(values), n, seed=7, resamples=1999)
    interval = getattr(found, ours)(level)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=EXACT)
    assert interval.level == level


def test_the_interval_of_paired_differences_is_scipy_s() -> None:
    a, b = sample(1, 40), sample(2, 40, "skewed")
    expected = scipy.stats.bootstrap(
        (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), paired=True, method="BCa",
        n_resamples=999, rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    found = Bootstrap.of(of_pairs(a, b), 40, seed=3, resamples=999).bca()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=EXACT)


def test_the_interval_of_a_quantile_is_scipy_s() -> None:
    values = sample(4, 60, "skewed")
    expected = scipy.stats.bootstrap(
        (values,), lambda x, axis: np.quantile(x, 0.95, axis=axis), method="percentile",
        n_resamples=999, rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    found = Bootstrap.of(of_sample(values, quantile(0.95)), 60, seed=3, resamples=999).percentile()
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=EXACT)


def test_drawing_in_small_portions_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sample(1, 30)
    whole = Bootstrap.of(of_sample(values), 30, seed=1, resamples=500)
    p = exchange_p(values, -values, seed=1, resamples=500)
    monkeypatch.setattr(statistics, "CELLS", 70)
    parts = Bootstrap.of(of_sample(values), 30, seed=1, resamples=500)
    assert (whole.resampled == parts.resampled).all()
    assert (whole.jackknife == parts.jackknife).all()
    assert exchange_p(values, -values, seed=1, resamples=500) == p


@pytest.mark.parametrize("value", [0.0, 0.1, -3.7])
def test_where_nothing_varies_the_interval_is_the_value(value: float) -> None:
    same = np.full(12, value)
    found = Bootstrap.of(of_sample(same), 12, seed=0, resamples=99)
    assert found.bca() == found.percentile() == Interval(found.estimate, found.estimate, 0.95)
    assert found.estimate == pytest.approx(value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.0, 0.0, 1.0, -0.5, 1e6]), min_size=2, max_size=30))
def test_an_interval_is_ordered_finite_and_within_the_values(values: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interval = Bootstrap.of(of_sample(np.array(values)), len(values), seed=1, resamples=99).bca(
            0.99
        )
    assert min(values) - 1e-9 <= interval.low <= interval.high <= max(values) + 1e-9


def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100() -> None:
    held = 0
    for seed in range(400):
        values = np.random.default_rng(seed).exponential(1, 40)
        interval = Bootstrap.of(of_sample(values), 40, seed=seed, resamples=499).bca()
        held += interval.low <= 1 <= interval.high
    assert 0.91 <= held / 400 <= 0.98


# The permutation test


@pytest.mark.parametrize("n", [2, 5, 13])
def test_the_exact_p_is_scipy_s(n: int) -> None:
    a, b = sample(n, n), sample(n + 50, n, "skewed")
    expected = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        permutation_type="samples", n_resamples=np.inf, vectorized=True,
    ).pvalue  # fmt: skip
    assert exchange_p(a, b, seed=0) == pytest.approx(expected, abs=EXACT)


def test_the_drawn_p_is_near_the_exact_one() -> None:
    a, b = sample(1, 13), sample(2, 13) - 0.5
    exact = exchange_p(a, b, seed=0, resamples=2**13)
    drawn = exchange_p(a, b, seed=0, resamples=2**13 - 1)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 2**13) ** 0.5)


def test_p_is_1_for_equals_and_small_but_never_0_for_worlds_apart() -> None:
    values = sample(1, 40)
    assert exchange_p(values, values, seed=0) == 1
    assert exchange_p(values, values + 9, seed=0) == 1 / 10_000


def test_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    found = [exchange_p(*rng.normal(0, 1, (2, 10)), seed=0) for _ in range(300)]  # type: ignore[misc]
    assert scipy.stats.kstest(found, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("hits", "n", "p"), [(0, 5, 0.1), (3, 5, 0.1), (9, 40, 0.05), (6, 5, 0.1)])
def test_the_binomial_tail_is_scipy_s(hits: int, n: int, p: float) -> None:
    expected = scipy.stats.binom.sf(hits - 1, n, p)
    assert binomial_tail(hits, n, p) == pytest.approx(expected, abs=EXACT)


# Effect size and several tests at once


def test_the_effect_size_is_the_mean_in_standard_deviations() -> None:
    assert effect_size(np.array([1.0, 2.0, 3.0])) == 2
    assert effect_size(np.zeros(5)) == 0
    assert effect_size(np.full(5, 0.3)) is None


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_the_definition(p_values: list[float]) -> None:
    order = sorted(p_values)
    m = len(order)
    expected = {
        p: min(1.0, max((m - j) * order[j] for j in range(i + 1))) for i, p in enumerate(order)
    }
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert adjusted >= p
        # Equal p values share the last of their corrected ones, which is the largest.
        assert adjusted <= expected[p] + 1e-12
    assert sorted(holm(p_values)) == pytest.approx(
        [min(1.0, max((m - j) * order[j] for j in range(i + 1))) for i in range(m)]
    )


def test_holm_on_paper() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


# Models


def scores(**columns: list[float | None]) -> Scores:
    n = len(next(iter(columns.values())))
    return Scores(
        tuple(f"t{at}" for at in range(n)), {name: tuple(one) for name, one in columns.items()}
    )


def test_two_models_are_compared_text_by_text_whatever_the_order() -> None:
    one = scores(rouge1=[0.5, 0.7, 0.2, None])
    other = Scores(("t2", "t1", "t0", "t3"), {"rouge1": (0.3, 0.7, 0.4, 0.9)})
    (found,) = compare(one, other, ["rouge1"], seed=1)
    assert (found.n, found.lost) == (3, 1)
    assert (found.wins, found.ties, found.losses) == (1, 1, 1)
    assert found.difference == pytest.approx(0)
    assert found.candidate == pytest.approx(found.baseline) == pytest.approx(1.4 / 3)
    assert pairs(one, other, METRICS["rouge1"]).lost == ("t3",)


def test_where_less_is_better_less_wins_and_where_neither_nothing_does() -> None:
    one = scores(unsupported=[0, 1, 0], novelty=[0.1, 0.2, 0.3])
    other = scores(unsupported=[1, 1, 0], novelty=[0.2, 0.2, 0.2])
    found = {one.metric: one for one in compare(one, other, seed=1)}
    assert set(found) == {"unsupported", "novelty"}
    assert (found["unsupported"].wins, found["unsupported"].losses) == (1, 0)
    assert found["novelty"].wins is found["novelty"].losses is None


def test_several_metrics_are_corrected_for_being_several() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(0.5, 0.1, 30)
    one = scores(rouge1=list(base + 0.05 + rng.normal(0, 0.05, 30)), rouge2=list(base + 0.001))
    other = scores(rouge1=list(base), rouge2=list(base + rng.normal(0, 0.05, 30)))
    found = compare(one, other, seed=1)
    assert [one.p_holm for one in found] == holm([one.p for one in found])
    assert found[0].p_holm == 2 * found[0].p < 0.05
    assert 0 < found[0].interval.low < found[0].difference < found[0].interval.high
    assert found[0].effect and found[0].effect > 0.5


def test_a_model_against_itself_differs_nowhere() -> None:
    one = scores(rouge1=[0.5, 0.7, 0.2], latency=[1.0, 2.0, 3.0])
    for found in compare(one, one, seed=1):
        assert (found.difference, found.p, found.p_holm) == (0, 1, 1)
        assert (found.interval.low, found.interval.high) == (0, 0)
        assert found.effect in (0, None)


def test_the_same_seed_gives_the_same_numbers_and_another_other_ones() -> None:
    one, other = scores(rouge1=list(sample(1, 30))), scores(rouge1=list(sample(2, 30)))
    assert compare(one, other, seed=5) == compare(one, other, seed=5)
    assert compare(one, other, seed=5) != compare(one, other, seed=6)
    assert levels(one, seed=5) == levels(one, seed=5)


def test_levels_are_means_and_quantiles_with_an_interval() -> None:
    one = scores(rouge1=[0.1, 0.2, None, 0.6], latency=[1.0, 2.0, 3.0, 4.0], coverage=[None] * 4)
    found = {level.metric: level for level in levels(one, seed=1)}
    assert found["rouge1"].value == pytest.approx(0.3)
    assert found["rouge1"].n == 3
    assert (found["p50"].value, found["latency"].value) == (2.5, 2.5)
    assert (found["coverage"].n, found["coverage"].value, found["coverage"].interval) == (
        0,
        None,
        None,
    )
    interval = found["rouge1"].interval
    assert interval and 0.1 <= interval.low < 0.3 < interval.high <= 0.6


def test_the_worst_regressions_come_first() -> None:
    one = scores(coverage=[0.5, 0.0, 1.0, 0.4], unsupported=[3, 0, 1, 0])
    other = scores(coverage=[0.6, 0.9, 0.5, 0.4], unsupported=[0, 0, 0, 2])
    assert [one.id for one in regressions(one, other, METRICS["coverage"], 9)] == ["t1", "t0"]
    assert [one.id for one in regressions(one, other, METRICS["unsupported"], 1)] == ["t0"]
