"""The embedded extractive model: what it keeps, how long it gets, what it survives."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.evaluate.text import fold
from llmlab.evaluate.text import words as measured_words
from llmlab.runtimes.base import Generation, Strategy, Summary
from llmlab.runtimes.extractive import TextRank, Vectors, identity, rank, sentences, words

pytestmark = pytest.mark.filterwarnings("error")  # numpy warns before it answers NaN

HERE = Path(__file__).parent
LIGHTHOUSES = (HERE / "texts" / "lighthouses.txt").read_text(encoding="utf-8")
FOUNDING = (HERE.parent / "configs" / "texts" / "founding.txt").read_text(encoding="utf-8")


def summarize(text: str, max_length: int | None = None, min_length: int | None = None) -> Summary:
    return TextRank().summarize(text, Generation(max_length, min_length))


def scores(*split: str) -> list[float]:
    ranked: list[float] = rank(Vectors.of([words(sentence) for sentence in split])).tolist()
    return ranked


# What a summary is made of


@pytest.mark.parametrize("max_length", [30, 60, 100, 150])
@pytest.mark.parametrize("text", [LIGHTHOUSES, FOUNDING], ids=["lighthouses", "founding"])
def test_a_summary_is_whole_sentences_of_the_text_in_the_order_of_the_text(
    text: str, max_length: int
) -> None:
    of_text, of_summary = sentences(text), sentences(summarize(text, max_length).text)
    positions = [of_text.index(sentence) for sentence in of_summary]
    assert len(of_summary) > 1
    assert positions == sorted(set(positions))


def test_what_matters_late_in_a_long_text_is_found() -> None:
    assert "F5" not in " ".join(FOUNDING.split()[:512])
    assert summarize(FOUNDING, 60).text == (
        "A visitor types one name into a browser, and someone or something has to decide which "
        "of the many machines will answer. F5 was founded in Seattle in February 1996 under the "
        "name F5 Labs. In 2019 F5 bought NGINX, the company behind the open source web server "
        "and reverse proxy of Igor Sysoev, for about 670 million dollars."
    )


def test_the_same_text_gets_the_same_summary_every_time() -> None:
    assert len({summarize(LIGHTHOUSES) for _ in range(3)}) == 1


def test_four_threads_get_what_one_thread_gets() -> None:
    texts = [LIGHTHOUSES, FOUNDING] * 8
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(summarize, texts)) == [summarize(text) for text in texts]


def test_the_whole_text_is_read_whatever_the_strategy() -> None:
    auto, truncate, full = (
        TextRank().summarize(LIGHTHOUSES, Generation(strategy=strategy)) for strategy in Strategy
    )
    assert auto == truncate == full
    assert auto.input_tokens == len(words(LIGHTHOUSES))
    assert auto.truncated is False


def test_white_space_inside_a_sentence_is_collapsed() -> None:
    assert summarize("The keeper\n  climbed\tthe stairs.").text == "The keeper climbed the stairs."


def test_a_sentence_that_repeats_a_chosen_one_is_left_out() -> None:
    chosen = sentences(summarize(f"{LIGHTHOUSES}\n\n{LIGHTHOUSES.replace('.', '!')}", 100).text)
    assert len({sentence.rstrip(".!") for sentence in chosen}) == len(chosen) > 2


def test_of_equal_sentences_the_earlier_one_is_chosen() -> None:
    assert summarize("One fish. Two birds. Three cows.", max_length=2, min_length=1).text == (
        "One fish."
    )


def test_a_sentence_that_leans_on_the_one_before_gives_way() -> None:
    text = (
        "It was a light on a rock. The light on the rock was a tower. Rocks need a light on a rock."
    )
    assert "It was" not in summarize(text, 16).text


def test_a_text_shorter_than_the_limit_is_summarized_all_the_same() -> None:
    text = "The tower had a lamp. The lamp had a lens. The lens lit the tower. Gulls eat fish."
    assert summarize(text).text == text.removesuffix(" Gulls eat fish.")


@pytest.mark.parametrize("heading", ["Further reading", "A history of the lighthouse"])
def test_a_heading_does_not_fill_the_room_that_is_left(heading: str) -> None:
    assert heading not in summarize(f"{heading}\n\n{LIGHTHOUSES}", 100).text


# How long it gets


@pytest.mark.parametrize("max_length", [1, 2, 10, 25, 60, 100, 500, 5000])
def test_a_summary_never_exceeds_the_limit(max_length: int) -> None:
    summary = summarize(LIGHTHOUSES, max_length)
    assert summary.output_tokens == len(words(summary.text)) <= max_length


@pytest.mark.parametrize(("min_length", "max_length"), [(5, 100), (58, 60), (60, 60), (700, 800)])
def test_a_summary_reaches_the_minimum(min_length: int, max_length: int) -> None:
    summary = summarize(LIGHTHOUSES, max_length, min_length)
    assert min_length <= summary.output_tokens <= max_length


def test_the_minimum_is_reached_with_whole_sentences_before_a_cut_one() -> None:
    text = (
        "Towers hold lamps. Lamps light towers. Gulls eat bread. "
        "The rain, which nobody here had mentioned, went on."
    )
    assert summarize(text, 14, 9).text == "Towers hold lamps. Lamps light towers. Gulls eat bread."


def test_the_minimum_is_reached_with_a_cut_sentence_before_a_duplicate() -> None:
    text = "Towers hold lamps. Towers hold lamps. Gulls eat the fish of the sea."
    assert summarize(text, 6, 6).text == "Towers hold lamps. Gulls eat the …"


def test_the_minimum_is_reached_with_duplicates_if_there_is_nothing_else() -> None:
    assert summarize("The cat sat. " * 30, 50, 20).text == " ".join(["The cat sat."] * 7)


def test_a_request_without_limits_gets_the_models_own() -> None:
    summary = TextRank(max_length=40, min_length=38).summarize(LIGHTHOUSES, Generation())
    assert 38 <= summary.output_tokens <= 40


def test_a_minimum_above_the_default_maximum_is_lowered_to_it() -> None:
    assert summarize(LIGHTHOUSES, min_length=300).output_tokens == 100


def test_a_best_sentence_that_does_not_fit_is_cut_with_an_ellipsis() -> None:
    summary = summarize("The keepers, who lit the lamp at dusk, put it out at dawn.", 6)
    assert summary.text == "The keepers, who lit the lamp …"
    assert summary.output_tokens == 6


def test_the_best_sentence_is_cut_rather_than_left_out_for_a_shorter_one() -> None:
    text = "Lamps and lenses and oil made towers bright. Towers had lamps. Lenses were bright."
    assert summarize(text, 5).text == "Lamps and lenses and oil …"


# Words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The keeper's well-known lamp", ["The", "keeper's", "well-known", "lamp"]),
        ("It’s 3.5 or 1,200 — no more.", ["It’s", "3.5", "or", "1,200", "no", "more"]),
        ("one,two a.m. U.S.", ["one", "two", "a.m", "U.S"]),
        ("灯塔 F5很高。", ["灯", "塔", "F5", "很", "高"]),
        ("かな 한글 Ünïcödé", ["か", "な", "한", "글", "Ünïcödé"]),
        ("दीपस्तंभ ऊँचा है।", ["दीपस्तंभ", "ऊँचा", "है"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("က္ကသည်", ["က္က", "သ", "ည်"]),
        ("שָׁלוֹם مُحَمَّد", ["שָׁלוֹם", "مُحَمَّد"]),
        ("می\u200cخواهم Leucht\u00adturm", ["می\u200cخواهم", "Leucht\u00adturm"]),
        ("𑄇𑄧𑄟𑄴 1\ufe0f\u20e3", ["𑄇𑄧𑄟𑄴", "1\ufe0f\u20e3"]),
        (
            "cafe\u0301 か\u3099な \u1112\u1161\u11ab\u1100\u1173\u11af",
            ["café", "が", "な", "한", "글"],
        ),
        ("!!! 🙂 — ・ _ \u0301", []),
    ],
)
def test_words_are_counted_as_a_reader_would(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert measured_words(text) == [fold(word) for word in expected]


@given(text=st.text() | st.text("ae\u0301\u0323한か\u3099. \n\u1112\u1161"))
def test_the_form_of_a_text_in_unicode_changes_neither_words_nor_sentences(text: str) -> None:
    composed, decomposed = (normalize(form, text) for form in ("NFC", "NFD"))
    assert words(composed) == words(decomposed)
    assert measured_words(composed) == measured_words(decomposed)
    assert summarize(composed) == summarize(decomposed)


@pytest.mark.parametrize(
    "text", ["a" + "\u0316\u0301" * 100_000, "\u0301" * 200_000, "a\u00ad" * 99_999]
)
def test_a_heap_of_marks_takes_no_longer_than_as_many_letters(text: str) -> None:
    """In the square of their number it would be a minute."""
    assert len(words(text)) <= 1
    assert len(measured_words(text)) <= 1


# Ranking


def test_the_sentence_that_others_resemble_ranks_highest() -> None:
    central, *others = scores(
        "Lamps and lenses made the tower bright.",
        "The tower had lamps.",
        "Its lenses were bright.",
        "Gulls eat fish.",
    )
    assert central == max(central, *others)


def test_a_sentence_like_no_other_keeps_the_least_score_and_no_nan() -> None:
    assert scores("Gulls eat fish.", "Towers burn oil.") == [0.15, 0.15]


def test_a_possessive_is_the_word_itself() -> None:
    assert min(scores("The keeper’s lamp", "The keeper slept.", "A Keeper's boat")) > 0.15


def test_a_rare_word_weighs_more_than_one_in_every_sentence() -> None:
    vectors = Vectors.of([["towers", "burn"], ["towers", "fall"]])
    towers, burn = vectors.weights[vectors.rows == 0]
    assert burn / towers == pytest.approx(np.log(3 / 2) + 1)


def test_scores_agree_with_the_matrix_that_is_never_formed() -> None:
    split = [words(sentence) for sentence in sentences(LIGHTHOUSES)]
    vectors = Vectors.of(split)
    x = np.zeros(vectors.shape)
    x[vectors.rows, vectors.columns] = vectors.weights
    similarity = (x @ x.T).round(9) - np.eye(len(x))
    steps = similarity / np.maximum(similarity.sum(axis=0), 1e-9)
    expected = np.linalg.solve(np.eye(len(x)) - 0.85 * steps, np.full(len(x), 0.15))
    np.testing.assert_allclose(rank(vectors), expected, atol=1e-4)


def test_function_words_count_where_there_are_no_others() -> None:
    assert summarize("It is. That was it. So it was.", 3, 1).output_tokens > 0


# Odd and large texts


@pytest.mark.parametrize("text", ["Ships", "  Ships\n", "Ships.", "The light went out."])
def test_a_single_word_or_sentence_is_its_own_summary(text: str) -> None:
    assert summarize(text).text == text.strip()


@pytest.mark.parametrize("text", ["🙂", " !!! ", "🙂🙃 ✨", "...", "— ・ _", "\u200b"])
def test_a_text_without_words_is_its_own_summary(text: str) -> None:
    assert summarize(text) == Summary(text.strip(), 0, 0, truncated=False)


def test_a_long_text_without_words_is_cut() -> None:
    assert summarize("🙂" * 1000, 100).text == "🙂" * 100


def test_blank_text_does_not_raise() -> None:
    assert summarize(" \n\t").text == ""


def test_a_chinese_text_is_summarized() -> None:
    text = "今天下雨。灯塔的光照亮了大海。渔民看见灯塔的光。海鸥吃鱼。灯塔建在海边。"
    assert summarize(text, 10).text == "灯塔的光照亮了大海。"


def test_an_endless_chinese_sentence_is_cut_at_the_limit() -> None:
    assert summarize("灯塔，" * 5000, 10).text == "灯塔，灯塔，灯塔，灯塔，灯塔 …"


@pytest.mark.slow
def test_a_hundred_thousand_words_take_little_memory() -> None:
    numbered = (f"{LIGHTHOUSES}\n\nChapter {n} ends here." for n in range(75))
    text = "\n\n".join(numbered)
    tracemalloc.start()
    try:
        summary = summarize(text)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary.input_tokens > 100_000
    assert 50 < summary.output_tokens <= 100
    assert peak_bytes < 500_000_000


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["! ", ".\n\n"])
def test_a_hundred_thousand_characters_of_one_letter_sentences_are_no_trouble(ending: str) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    text = "".join(letters[n % 26] + ending for n in range(100_000 // (1 + len(ending))))
    assert len(sentences(text)) > 20_000
    assert 5 <= summarize(text).output_tokens <= 100


@pytest.mark.parametrize("unit", ["?", "\n", " ", "a", ".", "a.", "- ", "。", "?!A"])
def test_a_hundred_thousand_equal_characters_are_no_trouble(unit: str) -> None:
    assert summarize((unit * 100_000)[:100_000]).output_tokens <= 100


@pytest.mark.parametrize(
    "blob", ["a" * 190_000, "e\u0301" * 95_000, "\u0301" * 190_000, "—" * 190_000 + " end"]
)
@pytest.mark.parametrize("max_length", [1, 10, 100])
def test_a_summary_is_bounded_in_characters_too(blob: str, max_length: int) -> None:
    assert len(summarize(blob, max_length).text) <= 100 + 20 * max_length


def test_a_word_that_is_cut_keeps_the_marks_of_its_last_letter() -> None:
    cut = summarize("क\u093f" * 1000, 1).text
    assert cut == "क\u093f" * 59 + " …"


FRAGMENTS = [
    "Dr. ",
    "The light. ",
    "it ",
    "3.5",
    "\n\n",
    "\n- ",
    "?! ",
    "…",
    "灯。",
    "🙂",
    "’s ",
    " ",
]
TEXTS = st.text() | st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3)).map("".join)


@given(text=TEXTS, max_length=st.integers(1, 30), min_length=st.integers(0, 40) | st.none())
def test_any_text_gets_a_summary_within_its_limits(
    text: str, max_length: int, min_length: int | None
) -> None:
    summary = summarize(text, max_length, min_length)
    assert len(summary.text) <= 100 + 20 * max_length
    least = min(5 if min_length is None else min_length, max_length, summary.input_tokens)
    assert summary.input_tokens == len(words(text))
    assert summary.output_tokens == len(words(summary.text))
    assert least <= summary.output_tokens <= max_length


# The artifact


def test_the_identity_changes_only_on_purpose() -> None:
    """A change of the algorithm raises ``TextRank.version`` and this hash together."""
    assert identity() == "sha256:73c54f67821166f0a6d4a0986cba7373ae500a9693ac002255e4bb24335428e0"


def test_every_pair_of_limits_is_accepted_by_the_constructor() -> None:
    for max_length, min_length in product([1, 50], [0, 1, 80]):
        summary = TextRank(max_length, min_length).summarize(LIGHTHOUSES, Generation())
        assert summary.output_tokens <= max_length
