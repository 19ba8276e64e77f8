"""Words that the end of a line broke: joined for a reader and for every comparison."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.evaluate.facts import details
from llmlab.evaluate.text import readings, terms, words
from llmlab.hyphens import mended


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("in Seat-\ntle.", "in Seattle."),
        ("in Seat-\r\n   tle.", "in Seattle."),
        ("in Seat-\n\f\ntle.", "in Seattle."),
        ("die Kä-\nse", "die Käse"),
        ("die Ka\u0308-\nse", "die Ka\u0308se"),
        ("Leucht\u00ad\nturm", "Leuchtturm"),
        ("a well-\nknown and well-known lamp", "a well-known and well-known lamp"),
        ("state-of-the-\nart", "state-of-the-art"),
        ("Jean-\nPaul", "Jean-\nPaul"),
        ("Vor-\nund Nachteile", "Vor-\nund Nachteile"),
        ("the tower -\nwhich was old", "the tower -\nwhich was old"),
        ("We saw:\n- a lamp\n- a lens", "We saw:\n- a lamp\n- a lens"),
        ("pages 10-\nto 12", "pages 10-\nto 12"),
        ("A heading-\n\nthen a block", "A heading-\n\nthen a block"),
    ],
)
def test_a_word_that_the_end_of_a_line_broke_is_joined(text: str, reads: str) -> None:
    assert mended(text).text == reads


@given(st.lists(st.sampled_from(["Seat-\ntle", "well-\nknown", "well-known", " ", "a.", "-\n"])))
def test_every_character_that_is_left_knows_where_it_stood(parts: list[str]) -> None:
    text = "".join(parts)
    joined = mended(text)
    assert [text[joined.origin(at)] for at in range(len(joined.text))] == list(joined.text)


def test_a_broken_word_is_the_word_for_all_measures() -> None:
    assert words("He moved to Seat-\ntle.") == words("He moved to Seattle.")
    text = "In Seat-\ntle it rained on F5 Net-\nworks for 12 days."
    as_written, as_read = readings(text)
    assert as_written == list(terms(text))
    assert [text[one.start : one.end] for one in as_read] == [
        "In", "Seat-\ntle", "it", "rained", "on", "F5", "Net-\nworks", "for", "12", "days",
    ]  # fmt: skip


def test_a_name_that_the_source_breaks_is_neither_unsupported_nor_missing() -> None:
    source = "The company moved to Seat-\ntle, where John McA-\ndam led it."
    found = details(source, "John McAdam led the company to Seattle.")
    assert not found.unsupported
    assert not found.missing
    assert [(one.text, source[one.start : one.end]) for one in found.kept] == [
        ("Seattle", "Seat-\ntle"),
        ("John McAdam", "John McA-\ndam"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a-\n", "ab-\ncd ", "-", "-\n", "a-", "a-\f", "a- "])
def test_many_breaks_are_no_trouble(unit: str) -> None:
    began = time.process_time()
    assert len(mended(unit * 30_000).text) <= len(unit) * 30_000
    assert time.process_time() - began < 10  # 0.3 s; were it quadratic, a minute
