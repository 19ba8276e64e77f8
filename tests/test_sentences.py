"""Where sentences end: prose, lists, headings, lines, and the scripts of the world."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.runtimes.base import Generation
from llmlab.runtimes.extractive import TextRank, sentences, stands_alone
from llmlab.runtimes.sentences import split_sentences
from llmlab.terminals import TERMINALS, is_ended

LIGHTHOUSES = (Path(__file__).parent / "texts" / "lighthouses.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "sentence",
    [
        "Dr. Smith came to the U.S. in 1990 with Mrs. Jones.",
        "The tower cost 3.5 million dollars, i.e. far too much.",
        "F5, Inc. bought it from Acme Corp. for 1,200 dollars.",
        "Mr. J. R. Brown read www.example.com at 5 p.m. on the train.",
    ],
)
def test_a_point_inside_a_sentence_does_not_end_it(sentence: str) -> None:
    assert sentences(f"{sentence} Then the rain came.") == [sentence, "Then the rain came."]


def test_a_heading_without_a_period_is_not_glued_to_the_next_sentence() -> None:
    assert sentences("A short history\n\nthe tower fell.\r\n\r\nNobody was hurt.") == [
        "A short history",
        "the tower fell.",
        "Nobody was hurt.",
    ]


def test_items_of_a_list_are_sentences_of_their_own() -> None:
    assert sentences("We saw:\n- a lamp\n- a lens") == ["We saw:", "- a lamp", "- a lens"]


def test_chinese_sentences_end_at_their_own_full_stops() -> None:
    assert sentences("灯塔很高。它亮吗？「亮！」他说。") == [
        "灯塔很高。",
        "它亮吗？",
        "「亮！」",
        "他说。",
    ]


# Lists and headings


@pytest.mark.parametrize(
    "numbers",
    [
        ("1.", "2."),
        ("1)", "2)"),
        ("(1)", "(2)"),
        ("a)", "b)"),
        ("iii.", "iv."),
        ("- 1.", "- 2."),
        ("2.1.", "2.2."),
    ],
)
@pytest.mark.parametrize("between", ["\n", "\n\n", "\n   "])
def test_the_number_of_an_item_belongs_to_what_stands_behind_it(
    numbers: tuple[str, str], between: str
) -> None:
    first, second = numbers
    text = f"We need:\n{first} Buy a lamp. Light it.{between}{second} Buy a lens"
    assert sentences(text) == [
        "We need:",
        f"{first} Buy a lamp.",
        "Light it.",
        f"{second} Buy a lens",
    ]


def test_an_item_after_the_first_ends_without_a_point() -> None:
    assert sentences("We need\n1. a lamp\n2. a lens\n   of glass\n3. oil") == [
        "We need",
        "1. a lamp",
        "2. a lens of glass",
        "3. oil",
    ]


def test_a_number_at_the_start_of_a_wrapped_line_is_no_item() -> None:
    text = (
        "The tower was lit on the evening of August\n12. It burned until May, say\n(3) and others."
    )
    assert sentences(text)[0].startswith("The tower was lit on the evening of August 12")


def test_an_item_that_is_a_sentence_is_judged_by_its_first_word() -> None:
    assert stands_alone("1. The lamp is bright.")
    assert not stands_alone("1. It is bright.")
    assert not stands_alone("1. A lamp")


@pytest.mark.parametrize(
    "heading",
    [
        "## The lens",
        "## 1. The lens",
        "The lens",
        "1. The lens",
        "The lens\n========",
        "The lens\n",
    ],
)
def test_a_heading_is_a_block_of_its_own(heading: str) -> None:
    text = (
        f"{heading}\nFresnel built it in 1822. Nobody had seen\nthe like before. Then came others."
    )
    assert sentences(text) == [
        heading.split("\n")[0],
        "Fresnel built it in 1822.",
        "Nobody had seen the like before.",
        "Then came others.",
    ]


@given(width=st.integers(20, 100))
def test_where_prose_is_wrapped_changes_nothing(width: int) -> None:
    paragraphs = LIGHTHOUSES.split("\n\n")
    wrapped = "\n\n".join(
        textwrap.fill(one, width, break_long_words=False, break_on_hyphens=False)
        for one in paragraphs
    )
    assert sentences(wrapped) == sentences("\n\n".join(" ".join(p.split()) for p in paragraphs))


# Lines


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028"])
def test_any_end_of_a_line_is_one(end: str) -> None:
    assert sentences(f"We saw:{end}- a lamp{end}- a lens{end}{end}Then{end}it rained.") == [
        "We saw:",
        "- a lamp",
        "- a lens",
        "Then it rained.",
    ]


def test_a_paragraph_ends_at_unicodes_end_of_one() -> None:
    assert sentences("The lens\u2029The tower") == ["The lens", "The tower"]


def test_a_chat_is_read_line_by_line() -> None:
    chat = [
        "10:02 anna: has anybody seen the keys of the lamp room",
        "10:02 bob: no",
        "10:03 bob: ask carl, he had them yesterday when we were there",
        "10:05 carl: in the drawer",
        "10:06 anna: thanks! Found them",
        "10:07 bob: ok",
    ]
    assert sentences("\n".join(chat)) == [*chat[:4], "10:06 anna: thanks!", "Found them", chat[5]]


def test_equal_lines_without_an_end_are_read_line_by_line() -> None:
    log = [f"{n:04} the lamp of the tower is lit and all is well" for n in range(100)]
    assert sentences("\n".join(log)) == log


def test_a_summary_of_lines_is_whole_lines() -> None:
    log = [f"{n:04} lamp {n % 7} of tower {n % 5} is lit" for n in range(400)]
    summary = TextRank().summarize("\r".join(log), Generation(20, None))
    assert 0 < summary.output_tokens <= 20
    assert "…" not in summary.text


@pytest.mark.parametrize(
    "unit",
    [
        "a\n",
        "A b\n",
        "1. ",
        "1.\n",
        "(a)\n",
        "- ",
        "# \n",
        ";\n",
        "।",
        "；\n",
        "…\n",
        "।)",
        "αα;",
        "a\r\n",
        "\u2029",
    ],
)
def test_many_lines_and_ends_are_no_trouble(unit: str) -> None:
    assert list(split_sentences(unit * 50_000)) is not None


@given(st.text(st.sampled_from('aA1. \n\r।;α)(#-:"』？．\u2029') | st.characters(), max_size=200))
def test_nothing_but_white_space_is_left_out(text: str) -> None:
    assert "".join("".join(split_sentences(text)).split()) == "".join(text.split())


# The scripts of the world


@pytest.mark.parametrize(
    "expected",
    [
        ["वह ऊँचा है।", "वह कहाँ है॥", "यहाँ"],
        ["یہ اونچا ہے۔", "یہ کہاں ہے؟", "یہاں"],
        ["Այն բարձր է։", "Որտեղ"],
        ["ይህ ነው።", "የት ነው፧", "እዚህ"],
        ["က သည်။", "က"],
        ["Πού είναι;", "Εδώ είναι."],
        ["Πού είναι;»", "Εδώ είναι."],
        ["«वह है।»", "वह"],
        ['"वह है।"', "वह"],
        ["What‽", "No"],
        ["Really⁉", "No"],
    ],
)
def test_a_sentence_ends_where_its_script_ends_it(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected
    assert all(map(is_ended, expected[:-1]))


@pytest.mark.parametrize(
    "text",
    [
        "高さは３．５メートル。",
        "見よｗｗｗ．ｅｘａｍｐｌｅ．ｃｏｍ。",
        "Ο άνεμος και τα κύματα· ο φάρος.",
        "where λ; Then",
        "Το φως; και ο φάρος.",
    ],
)
def test_what_only_looks_like_an_end_is_none(text: str) -> None:
    assert sentences(text) == [text]


def test_a_full_stop_of_full_width_ends_a_japanese_sentence() -> None:
    assert sentences("灯台は高い．光は強い．") == ["灯台は高い．", "光は強い．"]


def test_the_table_of_terminals_is_unicodes() -> None:
    regex = pytest.importorskip("regex")
    assert set(TERMINALS) <= set(regex.findall(r"\p{Sentence_Terminal}", TERMINALS))
    every = "".join(map(chr, range(0x110000)))
    assert len(TERMINALS) == len(regex.findall(r"\p{Sentence_Terminal}", every))
