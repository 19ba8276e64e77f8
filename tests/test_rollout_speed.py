"""What is asked of a candidate's latency, as it is written."""

from __future__ import annotations

import pytest

from llmlab.errors import UsageError
from llmlab.rollout.speed import Condition, parse_speed


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("", ()),
        ("p50<=1.25x", (Condition(0.5, ratio=1.25),)),
        ("p95<=800ms", (Condition(0.95, most=0.8),)),
        ("p99.9<=2s  p50<=1x", (Condition(0.999, most=2.0), Condition(0.5, ratio=1.0))),
    ],
)
def test_conditions_as_they_are_written(text: str, conditions: tuple[Condition, ...]) -> None:
    found = parse_speed(text)
    assert [(one.ratio, one.most) for one in found] == [(c.ratio, c.most) for c in conditions]
    assert [one.quantile for one in found] == pytest.approx([c.quantile for c in conditions])


@pytest.mark.parametrize(
    "text",
    ["95<=1.5x", "p95<1.5x", "p95<=1.5", "p95<=0.9x", "p0<=1.5x", "p95<=0ms", "p100<=1.5x",
     "p95<=1.5x,p50<=2x", "p٩٥<=1.5x", "errors<=1x"],
)  # fmt: skip
def test_conditions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_speed(text)
    assert "p50<=1.25x p95<=800ms" in str(error.value.fix)


def test_a_condition_reads_as_it_was_written() -> None:
    for text in ("p50<=1.25x", "p95<=800ms", "p99.9<=1.5x"):
        assert str(parse_speed(text)[0]) == text


def test_what_nobody_notices_is_not_slow_whatever_the_ratio() -> None:
    one = Condition(0.95, ratio=1.5)
    assert one.limit(0.2) == pytest.approx(0.3)
    assert one.limit(0.001) == pytest.approx(0.006)
    assert Condition(0.95, most=0.8).limit(5.0) == 0.8
