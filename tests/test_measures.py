"""What is measured of a summary: against the field's own packages, and on odd inputs."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmlab.evaluate.chrf import chrf
from llmlab.evaluate.facts import Kind, details, is_sayable, mentions
from llmlab.evaluate.fragments import Fragment, fragments
from llmlab.evaluate.lead import lead
from llmlab.evaluate.measures import METRICS, Better, Measures, Scores, measure
from llmlab.evaluate.names import names
from llmlab.evaluate.rouge import (
    Score,
    lcs_length,
    rouge,
    rouge_l,
    rouge_lsum,
    rouge_n,
    tokenizer,
    tokens,
)
from llmlab.evaluate.style import repetition, style
from llmlab.evaluate.suite import Case
from llmlab.evaluate.text import contains, terms, words

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

EXACT = 1e-6
TYPES = ("rouge1", "rouge2", "rougeL", "rougeLsum")

FEW_WORDS = st.sampled_from(["the", "a", "Fox", "dog's", "ran", "7", "x-y", "Ümlaut", "—"])
LINES = st.lists(st.lists(FEW_WORDS, max_size=12).map(" ".join), max_size=5).map("\n".join)
ANY_TEXT = st.one_of(LINES, st.text(max_size=200))


@cache
def scorer() -> RougeScorer:
    """Imported when it is used: it takes seconds, and every run of any test collects this file."""
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(TYPES, use_stemmer=False)


def by_lines(reference: str, summary: str) -> dict[str, Score]:
    """Our scores with rouge-score's idea of a sentence: a line."""
    a, b = tokens(reference), tokens(summary)
    return {
        "rouge1": rouge_n(a, b, 1),
        "rouge2": rouge_n(a, b, 2),
        "rougeL": rouge_l(a, b),
        "rougeLsum": rouge_lsum(
            [tokens(line) for line in reference.split("\n") if line],
            [tokens(line) for line in summary.split("\n") if line],
        ),
    }


# ROUGE and chrF


@settings(max_examples=400, deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_rouge_is_what_rouge_score_computes(reference: str, summary: str) -> None:
    expected, ours = scorer().score(reference, summary), by_lines(reference, summary)
    for name in TYPES:
        assert ours[name].precision == pytest.approx(expected[name].precision, abs=EXACT)
        assert ours[name].recall == pytest.approx(expected[name].recall, abs=EXACT)
        assert ours[name].f1 == pytest.approx(expected[name].fmeasure, abs=EXACT)


def test_rouge_of_long_random_texts_is_what_rouge_score_computes() -> None:
    source = random.Random(5)
    for _ in range(5):
        reference, summary = (
            "\n".join(
                " ".join(source.choices("one two three four five six".split(), k=25))  # noqa: SIM905
                for _ in range(12)
            )
            for _ in range(2)
        )
        expected, ours = scorer().score(reference, summary), by_lines(reference, summary)
        for name in TYPES:
            assert ours[name].f1 == pytest.approx(expected[name].fmeasure, abs=EXACT)


@settings(max_examples=300, deadline=None)
@given(ANY_TEXT, ANY_TEXT)
def test_chrf_is_what_sacrebleu_computes(reference: str, summary: str) -> None:
    from sacrebleu.metrics import CHRF

    expected = CHRF().sentence_score(summary, [reference]).score
    assert 100 * chrf(reference, summary) == pytest.approx(expected, abs=EXACT)


def test_lsum_takes_its_sentences_from_the_splitter_not_from_line_breaks() -> None:
    reference = "The harbour is closed. The tide, at\nDr. Brown's, is late."
    assert rouge(reference, "The tide is late. The harbour is closed.")["rougeLsum"] == by_lines(
        "The harbour is closed.\nThe tide, at Dr. Brown's, is late.",
        "The tide is late.\nThe harbour is closed.",
    )["rougeLsum"]  # fmt: skip


def test_a_reference_in_other_letters_is_scored_by_its_own_words() -> None:
    assert rouge("Привет, большой мир", "большой мир")["rouge1"] == Score(1.0, 2 / 3)
    assert rouge("東京は大きい", "東京は小さい")["rouge1"].recall == pytest.approx(4 / 6)
    assert tokenizer("Zoë and the naïve café") is tokens


@given(st.lists(st.integers(0, 4), max_size=9), st.lists(st.integers(0, 4), max_size=9))
def test_the_common_subsequence_has_the_length_of_the_textbook_s(
    a: list[int], b: list[int]
) -> None:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, j in product(range(len(a)), range(len(b))):
        same = table[i][j] + 1 if a[i] == b[j] else 0
        table[i + 1][j + 1] = max(same, table[i][j + 1], table[i + 1][j])
    assert lcs_length(a, b) == table[-1][-1]


@pytest.mark.parametrize("vocabulary", [200, 100_000])
def test_rouge_l_of_100_000_words_needs_no_table(vocabulary: int) -> None:
    source = random.Random(1)
    a, b = ([source.randrange(vocabulary) for _ in range(100_000)] for _ in range(2))
    tracemalloc.start()
    found = rouge_l(a, b)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < found.f1 < 1
    assert peak < 200e6  # a table would have 10^10 cells


# Facts: what must be mentioned


@pytest.mark.parametrize(
    ("fact", "summary"),
    [
        ("F5", "That is F5's founding."),
        ("big-ip", "It sold BIG/ip first"),
        ("François Locoh-Donou", "FRANCOIS  LOCOH-DONOU leads"),
        ("load balancer", "a load-\nbalancer"),
        ("McDonald’s", "at McDonald's"),
        ("U.S. Steel", "US Steel"),
        ("1,996", "in 1996"),
        ("1.5 million", "1,500,000 dollars"),
        ("$670 million", "670 million dollars"),
        ("3.50", "3.5"),
        ("40 percent", "40% of them"),
        ("40 %", "40 per cent"),
        ("40%", "40 pct"),
        ("٤٠٪", "40%"),
        ("three", "3 ships"),
        ("twenty-three", "23 days"),
        ("100 km", "100km away"),
        ("100km", "100 km away"),
        ("1st", "came first"),
        ("21st", "the twenty-first century"),
        ("€1.5 million", "1,5m €"),
        ("1995", "in 1990-95"),
        ("1996", "在1996年"),
        ("ﬁnal", "the final"),
        ("東京", "私は東京にいる"),
        ("नमस्ते", "नमस्ते दुनिया"),
        ("Straße", "STRASSE"),
    ],
)
def test_a_fact_is_found_however_it_is_written(fact: str, summary: str) -> None:
    assert contains(summary, fact)


@pytest.mark.parametrize(
    ("fact", "summary"),
    [
        ("F5", "an F50 and an AF5"),
        ("art", "a party"),
        ("5", "5 million"),
        ("5 million", "5"),
        ("15", "15.5"),
        ("1996", "1997"),
        ("40", "140"),
        ("load balancer", "a load and a balancer"),
        ("1.5", "15"),
        ("1", "10km, $1.5bn and 10k"),
        ("2", "a second"),
        ("12", "at 12:30"),
        ("क", "का"),
    ],
)
def test_a_fact_is_not_found_in_part_of_another_word_or_number(fact: str, summary: str) -> None:
    assert not contains(summary, fact)


def test_any_spelling_will_do_and_its_place_is_told() -> None:
    found = mentions(
        "They built BIG-IP in Seattle.", [("BIG/ip", "Big IP"), ("NGINX",)], [("seattle",)]
    )
    assert found.coverage == 0.5
    assert found.missing == (("NGINX",),)
    (_, start, end) = found.kept[0]
    assert "They built BIG-IP in Seattle."[start:end] == "BIG-IP"
    assert found.forbidden[0][1:] == (21, 28)
    assert mentions("anything").coverage is None


# Names and numbers, kept, missing, unsupported

SOURCE = (
    "In the 1990s many sites were slow. F5 was founded in Seattle in February 1996. Jeffrey S. "
    "Hussey led the company. In 2019 the company bought NGINX of Igor Sysoev for 670 million "
    "dollars. Hussey had left by then."
)


def texts(text: str, found: Sequence[object]) -> list[str]:
    return [text[one.start : one.end] for one in found]  # type: ignore[attr-defined]


def test_names_and_numbers_that_the_source_does_not_have_are_shown_with_their_place() -> None:
    summary = "Amazon bought NGINX for 680 million dollars in 2019, said Jeff Bezos of F5."
    found = details(SOURCE, summary).unsupported
    assert texts(summary, found) == ["Amazon", "680 million", "Jeff Bezos"]
    assert [one.kind for one in found] == [Kind.NAME, Kind.NUMBER, Kind.NAME]
    assert all(one.text == summary[one.start : one.end] for one in found)


@pytest.mark.parametrize(
    "summary",
    [
        "F5, founded in Seattle in 1996, bought Nginx for $670 million.",
        "Hussey's company bought NGINX for 670,000,000 dollars.",
        "Many sites were slow. The company was founded in February 1996. It bought NGINX.",
        "Researchers say nothing here. However, one of them left. Slowly it grew.",
        "In the 1990's? It began.",
        "",
        "!!!",
    ],
)
def test_what_the_source_says_in_another_form_is_supported(summary: str) -> None:
    assert details(SOURCE, summary).unsupported == ()


@pytest.mark.parametrize(
    ("source", "summary"),
    [
        ("Jeffrey S. Hussey led it.", "It was led by S. Hussey, J. Hussey or J.S. Hussey."),
        ("Hussey led it.", "It was led by Mr. Hussey."),
        ("It sold the BIG/ip.", "We know the BIG-IP, the BIG IP and the BIG."),
        ("In Apr. 2017 it rained.", "All of April it rained."),
        ("In April 2017 it rained.", "In Apr. it rained."),
        ("There were 10 of them.", "They are the Ten."),
        ("There were ten of them.", "They are the 10."),
        ("He won the Formula 1.", "We saw the Formula One."),
        ("He lived on 5th Avenue.", "A man on Fifth Avenue."),
        ("He sat in the US Senate.", "He left the U.S. Senate."),
        ("He knew U.S. law.", "A lawyer from the US."),
        ("F5 bought it.", "It was bought by F5, Inc., or F5 Inc."),
        ("So said François Locoh-Donou.", "A word of Francois Locoh-Donou."),
        ("There is one ship.", "There is 1 ship."),
        ("It costs $1.5bn.", "It costs 1.5 billion dollars, or 1,500 million."),
        ("It is 100km away.", "It is 100 km away."),
        ("He came 1st.", "He was the first, the one."),
        ("It held from 1990-95.", "It held until 1995."),
        ("It knew COVID-19.", "It knew COVID-19."),
    ],
)
def test_a_name_or_number_in_another_form_is_the_same_both_ways(source: str, summary: str) -> None:
    assert [one.text for one in details(source, summary).unsupported] == []
    assert [one.text for one in details(summary, source).missing] == []


@pytest.mark.parametrize(
    ("source", "summary", "told"),
    [
        ("It is 100km away.", "It is 10 km away.", "10"),
        ("It costs $1.5bn.", "It costs 1 dollar.", "1"),
        ("It costs $5bn.", "It costs 5M.", "5M"),
        ("Jeffrey Hussey led it.", "It was led by X. Hussey.", "X. Hussey"),
        ("In February it rained.", "In March it rained.", "March"),
        ("It knew COVID-19.", "It knew COVID-20.", "COVID-20"),
        ("He sat in the US.", "He sat in the UK.", "UK"),
    ],
)
def test_another_name_or_number_is_told(source: str, summary: str, told: str) -> None:
    assert [one.text for one in details(source, summary).unsupported] == [told]


def test_names_and_numbers_of_the_source_are_kept_or_missing() -> None:
    found = details(SOURCE, "Hussey founded F5 in 1996.")
    assert {one.text for one in found.kept} == {"F5", "1996", "Jeffrey S. Hussey"}
    assert {one.text for one in found.missing} == {
        "1990s", "Seattle", "2019", "NGINX", "Igor Sysoev", "670 million",
    }  # fmt: skip
    assert texts(SOURCE, found.missing) == [one.text for one in found.missing]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Bank of England met Simon van der Meer.", ["Bank", "England", "Simon van der Meer"]),
        ("Yesterday Microsoft met John McAdam.", ["Microsoft", "John McAdam"]),
        ("We asked Anna's Oslo office.", ["Anna", "Oslo"]),
        ("It met AT&T and the U.S. Senate.", ["AT&T", "U.S. Senate"]),
        ("He said: “We go.” They went.", []),
        ("the iPhone and the F5", ["iPhone", "F5"]),
        ("We saw Dr. Brown and J. Smith.", ["Dr. Brown", "J. Smith"]),
        ("ALL OF THIS IS LOUD", []),
        ("東京は大きい", []),
        ("Jeffrey S. Hussey led. S. Hussey left.", ["Jeffrey S. Hussey", "S. Hussey"]),
        ("It sold the BIG/ip and BIG-IP.", ["BIG/ip", "BIG-IP"]),
        ("It was BIG, as big as the US, for us.", ["US"]),
        ("In April, on a Monday, April Jones left.", ["April Jones"]),
        ("The Ten and the Twenty-One met at Ten Downing Street.", ["Ten Downing Street"]),
        ("They bought Apple Inc. and F5, Inc.", ["Apple", "F5"]),
    ],
)
def test_names_are_runs_of_capitalised_words(text: str, expected: list[str]) -> None:
    assert texts(text, [name for name in names(text) if name.sure]) == expected


# Form


def naive_fragments(source: list[int], summary: list[int]) -> list[Fragment]:
    """Grusky et al.'s procedure, by trying everything."""
    found, at = [], 0
    while at < len(summary):
        best = 0
        for start in range(len(source)):
            size = 0
            while (
                start + size < len(source)
                and at + size < len(summary)
                and source[start + size] == summary[at + size]
            ):
                size += 1
            best = max(best, size)
        if best:
            found.append(Fragment(at, best))
        at += max(best, 1)
    return found


@given(st.lists(st.integers(0, 3), max_size=25), st.lists(st.integers(0, 4), max_size=25))
def test_copied_spans_are_those_of_the_definition(source: list[int], summary: list[int]) -> None:
    assert list(fragments(source, summary)) == naive_fragments(source, summary)


def test_a_copied_summary_is_copied_and_a_new_one_novel() -> None:
    copied = style(SOURCE, "F5 was founded in Seattle in February 1996.")
    assert (copied.copy_rate, copied.novelty, copied.longest_copy) == (1.0, 0.0, 8)
    assert (copied.fragment_coverage, copied.fragment_density) == (1.0, 8.0)
    new = style(SOURCE, "Nothing whatsoever resembles this.")
    assert (new.copy_rate, new.novelty, new.fragment_coverage) == (0.0, 1.0, 0.0)
    assert copied.compression == pytest.approx(len(words(SOURCE)) / 8)


def test_a_loop_is_repetitive_and_prose_is_not() -> None:
    assert style(SOURCE, "the company of the company of the company of the company of").repetitive
    assert style(SOURCE, SOURCE).repetition == 0
    assert repetition(["a", "b", "c", "a", "b", "c"]) == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    "summary", ["It ended.", 'He said: "No."', "そうです。", "Really?) ", "(So.)"]
)
def test_a_finished_sentence_is_not_cut_off(summary: str) -> None:
    assert not style(SOURCE, summary).unfinished


@pytest.mark.parametrize("summary", ["It ended with the", "It is …", "He came, and,"])
def test_a_summary_that_stops_in_a_sentence_is_cut_off(summary: str) -> None:
    assert style(SOURCE, summary).unfinished


def test_lead_3_is_the_first_three_sentences() -> None:
    assert lead(SOURCE).endswith("Hussey led the company.")
    assert lead(SOURCE).startswith("In the 1990s many sites were slow. F5 was founded")
    assert lead("") == ""


# All of it together

CASE = Case(
    "f5",
    SOURCE,
    reference="F5 was founded in Seattle.",
    must_mention=(("F5",), ("NGINX",)),
    must_not_mention=(("Cisco",),),
)


def test_a_summary_is_measured_by_every_metric_that_has_something_to_measure() -> None:
    values = measure(
        CASE, "F5 was founded in Seattle by Cisco.", seconds=0.5, truncated=True
    ).values
    assert {metric.column for metric in METRICS.values()} <= set(values)
    assert values["coverage"] == 0.5
    assert values["forbidden"] == 1
    assert values["unsupported"] == values["unsupported_names"] == 1
    assert values["rouge1"] == pytest.approx(2 * 5 / (5 + 7))
    assert (values["latency"], values["truncated"]) == (0.5, 1.0)
    bare = measure(Case("x", SOURCE), "F5 was founded.").values
    assert bare["rouge1"] is bare["coverage"] is bare["forbidden"] is bare["latency"] is None


def test_an_empty_summary_scores_nothing_and_looks_good_nowhere() -> None:
    values = measure(CASE, " \n").values
    assert values["rouge1"] == values["coverage"] == values["chrf"] == 0
    assert (values["empty"], values["length"]) == (1, 0)
    lower = {name for name, one in METRICS.items() if one.better is Better.LOWER}
    good = {name for name in lower & set(values) if values[name] == 0}
    assert good == set()


def test_scores_line_the_values_up_by_text_and_mark_what_failed() -> None:
    measured: dict[str, Measures | None] = {"a": measure(CASE, "F5 and NGINX."), "b": None}
    scores = Scores.of(measured)
    assert scores.values(METRICS["coverage"]) == {"a": 1.0, "b": None}
    assert scores.values(METRICS["p95"]) == {"a": None, "b": None}


ODD = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="aA1F.,- ’'%\n你ไ👩\u200d🏽é\u0301क\u093f\u0000", max_size=60),
    st.sampled_from(["", "a", "👩‍👩‍👧‍👦 🎉", "مرحبا بالعالم", "東京。大阪。", "नमस्ते"]),
    st.just("9" * 5000),
)


@settings(max_examples=300, deadline=None)
@given(ODD, ODD, ODD)
def test_no_text_breaks_the_measures(source: str, summary: str, reference: str) -> None:
    facts = ((reference,),) if is_sayable(reference) else ()
    case = Case("x", source, reference or None, must_mention=facts, must_not_mention=facts)
    measured = measure(case, summary, seconds=1.0)
    for name, value in measured.values.items():
        assert value is None or value >= 0, name
    for name in (*TYPES, "chrf", "coverage", "novelty", "copy_rate", "repetition", "names_kept"):
        value = measured.values[name]
        assert value is None or value <= 1 + 1e-9, name
    for one in measured.details.unsupported:
        assert summary[one.start : one.end] == one.text != ""
    for one in (*measured.details.kept, *measured.details.missing):
        assert source[one.start : one.end] == one.text != ""
    for _, start, end in measured.mentions.kept:
        assert 0 <= start < end <= len(summary)


@settings(max_examples=150, deadline=None)
@given(ODD)
def test_a_text_is_its_own_best_summary(text: str) -> None:
    measured = measure(Case("x", text, reference=text), text)
    assert measured.details.unsupported == ()
    assert measured.values["novelty"] in (0, None)
    if tokenizer(text)(text):
        assert measured.values["rouge1"] == measured.values["rougeL"] == 1


@given(ODD)
def test_terms_stand_where_they_say_and_never_overlap(text: str) -> None:
    end = 0
    for term in terms(text):
        assert end <= term.start < term.end <= len(text)
        assert term.key
        end = term.end


RAIN = ["Rain", "fell", "on", "Oslo", "in", "1996.", "The", "river", "rose,"]
LONGEST = " ".join(random.Random(2).choices(RAIN, k=100_000))
LONG = LONGEST[: len(LONGEST) // 5]


@pytest.mark.parametrize(
    ("source", "summary"),
    [(LONG, "Rain fell on Oslo in 1996."), (LONGEST, LONGEST), ("Rain fell.", LONG), ("", LONG)],
    ids=["long source", "both", "long summary", "no source"],
)
def test_texts_of_up_to_100_000_words_are_measured(source: str, summary: str) -> None:
    reference = "Rain fell on Oslo in 1996. The river rose."
    values = measure(Case("x", source, reference, must_mention=(("Oslo",),)), summary).values
    assert values["coverage"] == 1
    assert 0 < (values["rougeLsum"] or 0) <= 1
    assert values["length"] == len(words(summary))
