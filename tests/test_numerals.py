"""Numbers as people write them: each spelling has one value, and text around it no part of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.evaluate.names import names
from llmlab.evaluate.text import terms


def numbers(text: str) -> list[str]:
    return [term.key for term in terms(text) if term.number]


SPELLINGS = {
    "0.01": ["0.01", "10^-2", "10⁻²", "1e-2"],
    "0.5": ["½", "1/2", "0.5", ".5", "0,5", "0.50", "1\u20442"],
    "1/3": ["⅓", "1/3"],
    "1.5": ["1½", "1 ½", "1 1/2", "1-1/2", "1.5", "one and a half"],
    "4/3": ["1⅓", "1 1/3"],
    "1": ["1", "1st", "first", "one", "First", "01"],
    "2": ["2nd", "second", "two"],
    "6": ["half a dozen", "six", "sixth"],
    "9": ["9:00", "09:00", "9.00 am", "nine", "９"],
    "9:30": ["9:30", "09:30", "9.30 p.m.", "9:30pm"],
    "12": ["a dozen", "twelve", "twelfth", "12th"],
    "21": ["21", "21st", "twenty-first", "twenty-one", "twenty one", "Twenty-One"],
    "100": ["100", "a hundred", "one hundred", "10²", "10^2", "1e2", "١٠٠", "100s"],
    "123": ["123", "one hundred and twenty-three", "a hundred twenty-three"],
    "1990": ["1990", "1990s", "1990's", "1990’s", "1,990", "1 990", "1\u202f990"],
    "1996": ["1996", "1996²", "1996¹²"],
    "5000": ["5,000", "5k", "5K", "$5k", "$5 k", "five thousand", "5 thousand"],
    "205000": ["205,000", "two hundred and five thousand", "205k", "two hundred five thousand"],
    "10000": ["10k", "10 000", "10'000", "10_000", "10⁴", "ten thousand"],
    "500000": ["half a million", "½ million", "five lakh", "5 lakh", "5,00,000", "500 thousand"],
    "999999": ["nine hundred and ninety-nine thousand nine hundred and ninety-nine"],
    "1000000": ["a million", "one million", "1e6", "1E6", "1×10⁶", "1 x 10^6", "10^6", "$1m", "1M"],
    "1200005": ["one million two hundred thousand and five", "1,200,005"],
    "1500000": [
        "1.5 million", "1,500,000", "1'500'000", "1’500’000", "1 500 000", "1_500_000", "1.5mn",
        "1.500.000", "1.5M", "1½ million", "one and a half million", "$1.5m", "€ 1,5 m",
        "1.5m euros", "1,5m €", "USD 1.5m", "1.5-million", "1.5million", "15e5", "15,00,000",
    ],
    "1234567.8": ["1.234.567,8", "1,234,567.8", "1 234 567,8", "1'234'567.8"],
    "5000000": ["5M", "5 mln", "5 Mio", "five million", "£5m"],
    "1500000000": ["$1.5B", "$1.5b", "1.5 bn", "$1.5bn", "1.5B", "1.5 billion", "1.5×10⁹"],
    "2000000000000": ["$2T", "2 tn", "2 trillion", "two thousand billion", "2e12"],
    "1.31.3": ["1.31.3"],
    "10,20,30": ["10,20,30"],
    "1.2": ["1.200"],
}  # fmt: skip
PAIRS = [(written, value) for value, spelt in SPELLINGS.items() for written in spelt]


@pytest.mark.parametrize(("written", "value"), PAIRS)
def test_a_number_is_its_value(written: str, value: str) -> None:
    assert [term.key for term in terms(written) if term.key not in NOT_COUNTED] == [value]


# What a spelling needs beside it to be read, and is no part of the number.
NOT_COUNTED = {"am", "pm", "euros", "usd"}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("5m, 5 m or 5 M away", ["5", "5", "5"]),
        ("rated 5M", ["5000000"]),
        ("flat 5b", ["5"]),
        ("24/7 since 9/11", ["24", "7", "9", "11"]),
        ("in 1990-95, 1995–98 and 2009/12", ["1990", "1995", "1995", "1998", "2009", "2012"]),
        ("on 2009-12-05 and in 2019-12", ["2009", "12", "5", "2019", "12"]),
        ("10-15 million and $2–3bn", ["10000000", "15000000", "2000000000", "3000000000"]),
        ("$10–15m and £1.5-2bn", ["10000000", "15000000", "1500000000", "2000000000"]),
        ("10 to 15 million", ["10000000", "15000000"]),
        ("from 500 to 2 million", ["500", "2000000"]),
        ("ends 2-1, 10 to 15 m", ["2", "1", "10", "15"]),
        ("the '90s and the ’10s, in her 90s", ["1990", "2010", "90"]),
        ("10–20k", ["10000", "20000"]),
        ("one thousand two million", ["1000", "2000000"]),
        ("one million one million", ["1000000", "1000000"]),
        ("two billion five million six thousand and seven", ["2005006007"]),
        ("10k-20k", ["10000", "20000"]),
        ("-5, −5 and minus 5", ["5", "5", "5"]),
        ("one hundred and two hundred", ["100", "200"]),
        ("between one thousand and two thousand", ["1000", "2000"]),
        ("a second, per second, a 30-second ad", ["30"]),
        ("half, hundreds, a few thousand, a quarter", []),
        ("F5, H2O, COVID, v2 and B52s", []),
        ("在1996年", ["1996"]),
        ("ระยะ100กม", ["100"]),
        ("a score of 2:0, verse 3:16", ["2", "0", "3:16"]),
        ("12:05:30", ["12:05:30"]),
        ("100 200 3000", ["100200", "3000"]),
        ("1e600 and 2e10f", ["1", "2"]),
        ("1/2/2019", ["1", "2", "2019"]),
        ("tenfold, tents, sixpence, someone, firstly", []),
    ],
)  # fmt: skip
def test_what_looks_like_something_else_has_the_reading_that_was_chosen(
    text: str, values: list[str]
) -> None:
    assert numbers(text) == values


UNITS = st.sampled_from(
    ["km", "kg", "GB", "MB", "mph", "m", "cm", "°C", "%", "px", "min", "€", "P"]
)
IN_DIGITS = st.sampled_from(
    [pair for pair in PAIRS if pair[0][0].isascii() and pair[0].replace(",", "").isdigit()]
)


@given(IN_DIGITS, UNITS)
def test_a_unit_without_a_space_is_the_unit_with_one(pair: tuple[str, str], unit: str) -> None:
    written, value = pair
    close, apart = (
        [term.key for term in terms(f"It is {written}{space}{unit} long.")] for space in ("", " ")
    )
    assert close == apart
    assert close[2] == value


@given(st.sampled_from(PAIRS), st.sampled_from(PAIRS))
def test_two_spellings_agree_where_their_values_do(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (numbers(one[0]) == numbers(other[0])) == (one[1] == other[1])


SPELT = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
SPELT += "fifteen sixteen seventeen eighteen nineteen"
TENS = "twenty thirty forty fifty sixty seventy eighty ninety"


def in_words(number: int, joint: str = "-", conjunction: str = " and ") -> str:
    if number >= 1000:
        rest = number % 1000
        tail = (conjunction if rest < 100 else " ") + in_words(rest, joint, conjunction)
        return f"{in_words(number // 1000, joint, conjunction)} thousand{tail if rest else ''}"
    if number >= 100:
        rest = number % 100
        tail = conjunction + in_words(rest, joint) if rest else ""
        return f"{SPELT.split()[number // 100]} hundred{tail}"
    if number >= 20:
        unit = number % 10
        return TENS.split()[number // 10 - 2] + (joint + SPELT.split()[unit] if unit else "")
    return SPELT.split()[number]


@given(
    st.integers(0, 999_999), st.sampled_from(["-", " "]), st.sampled_from([" and ", " ", "-and-"])
)
def test_a_number_in_words_is_the_number(number: int, joint: str, conjunction: str) -> None:
    words = in_words(number, joint, conjunction)
    assert numbers(words) == numbers(words.title()) == [str(number)]


@given(st.integers(0, 10**12))
def test_grouping_does_not_change_a_number(number: int) -> None:
    grouped = f"{number:,}"
    for mark in (",", " ", "'", "’", "_", "\u00a0", "\u202f"):
        assert numbers(grouped.replace(",", mark)) == [str(number)]


@pytest.mark.slow
@given(st.text(alphabet="0123456789", min_size=1, max_size=12), st.text(max_size=8))
def test_digits_are_never_divided(digits: str, behind: str) -> None:
    first = next(iter(terms(f"({digits}{behind}")))
    assert first.number
    assert first.end >= 1 + len(digits)


HOSTILE = [
    "1 to ", "$1-", "$1–1m ", "'90",
    "1", "1,", "1 ", "1 000 ", "1'000", "1_000", "1.", "1:00", "1/2 ", "1990-", "1-1,", "1e1",
    "1 x 10", "10^", "one ", "one hundred and ", "one thousand ", "a ", "half a ", "twenty-",
    "1 million ", "thousand ", "million million ", "½ million million ", "one million million ",
    "$1", "1½", "10²", "second ", "1m $", " - ",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", HOSTILE)
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    began = time.process_time()
    list(terms(piece * (30_000 // len(piece))))
    assert time.process_time() - began < 5  # 0.1 s; were it quadratic, ten


@pytest.mark.parametrize(
    "text", ["It holds 10 GB.", "It holds 10GB.", "At 3.2\u00a0GHz it took 5 MW."]
)
def test_a_unit_behind_a_number_is_no_name(text: str) -> None:
    assert names(text) == []


def test_the_same_letters_elsewhere_are_a_name() -> None:
    assert [one.words for one in names("The team of GB won 10 medals.")] == [("gb",)]
