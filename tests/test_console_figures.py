"""How the console's pages tell figures: a number that a person reads is never half of one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmlab.console.ages import lasting
from llmlab.console.pages import amount, money, number, percent, rate, seconds, templates


@pytest.mark.parametrize(
    ("tell", "value", "expected"),
    [
        (amount, 0, "0"), (amount, 12_345, "12,345"), (amount, 5.0, "5"), (amount, 1.25, "1.25"),
        (amount, 0.00002, "<0.0001"), (amount, 1.00001, "1"), (amount, 0.0001, "0.0001"),
        (money, 0, "0"), (money, 5, "5.00"), (money, 1234.5, "1,234.50"),
        (money, 0.000025, "0.000025"), (money, 0.05664, "0.05664"), (money, 1e-7, "<0.000001"),
        (money, 1.234567, "1.234567"), (money, 12_345.67, "12,345.67"),
        (number, 12_345, "12,345"), (number, 12_345.67, "12,346"), (number, 999.96, "1,000"),
        (number, 12.3456, "12.35"), (number, 0.00001, "0.00001"), (number, 1e-9, "<0.000001"),
        (number, 0.0, "0"), (number, -12.5, "-12.5"),
        (rate, 1500.0, "1,500"), (rate, 99.96, "100"), (rate, 12.54, "12.5"), (rate, 0.167, "0.17"),
        (rate, 0.0, "0"), (rate, 0.001, "<0.01"),
        (percent, 0, "0 %"), (percent, 12.5, "12.5 %"), (percent, 99.96, "100 %"),
        (percent, 100, "100 %"), (percent, 2227.4, "2,227 %"), (percent, 1e-5, "<0.001 %"),
        (seconds, 0, "0 ms"), (seconds, 0.00025, "0.25 ms"), (seconds, 0.0021, "2.1 ms"),
        (seconds, 0.9994, "999 ms"), (seconds, 0.9996, "1 s"), (seconds, 1.234, "1.23 s"),
        (seconds, 59.9, "59.9 s"), (seconds, 59.96, "1 min"), (seconds, 1234.5, "20 min 34 s"),
        (seconds, 1e-8, "<0.001 ms"),
        (lasting, 0, "less than 5 s"), (lasting, 42, "40 s"), (lasting, 65, "1 min"),
        (lasting, 11_400, "3 h 10 min"), (lasting, 187_200, "2 d 4 h"),
    ],
)  # fmt: skip
def test_a_figure_is_one_that_a_person_reads(
    tell: Callable[[float], str], value: float, expected: str
) -> None:
    assert tell(value) == expected


def test_what_lasts_reads_the_same_a_second_later() -> None:
    shown = templates().from_string("{{ it | duration }}")
    for began in (20.0, 65.0, 4_000.0):
        assert shown.render(it=began) == shown.render(it=began + 1)
