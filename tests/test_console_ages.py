from __future__ import annotations

from datetime import UTC, datetime

import pytest

from llmlab.console.ages import ago, clock, moment, told

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0, "just now"), (4.9, "just now"), (-3, "just now"), (12.3, "10 s ago"),
        (59.9, "55 s ago"), (60, "1 min ago"), (3599, "59 min ago"), (3600, "1 h ago"),
        (86_399, "23 h ago"), (4.5 * 86_400, "4 d ago"), (-200, "in 3 min"),
    ],
)  # fmt: skip
def test_an_age_is_told_in_its_largest_unit(age: float, expected: str) -> None:
    assert told(age) == expected


def test_a_moment_says_its_age_and_the_moment_itself() -> None:
    for given in (NOON - 130, "2026-11-30T11:57:50Z"):
        shown = ago(given, NOON)
        assert shown.startswith('<time datetime="2026-11-30T11:57:50+00:00" title="2026-11-30 ')
        assert shown.endswith('">2 min ago</time>')


def test_a_full_time_says_its_zone() -> None:
    zone = datetime.fromtimestamp(NOON).astimezone().strftime("%Z")
    assert zone and moment(NOON).endswith(f" {zone}")


def test_what_is_long_ago_is_told_by_its_day() -> None:
    assert ago(NOON - 31 * 86_400, NOON).endswith(">2026-10-30</time>")


def test_what_is_no_moment_reads_as_it_is_and_is_escaped() -> None:
    assert ago("<b>soon", NOON) == "&lt;b&gt;soon"
    assert ago(1e300, NOON) == "1e+300"


def test_of_this_day_only_the_time_is_told_and_the_whole_moment_to_whoever_asks() -> None:
    today, before = clock(NOON - 1, NOON), clock(NOON - 2 * 86_400, NOON)
    assert f">{moment(NOON - 1)[11:]}</time>" in today and moment(NOON - 1) in today
    assert f">{moment(NOON - 2 * 86_400)}</time>" in before
