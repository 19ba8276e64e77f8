"""Training data: how it is read, split, held against the suites, and cut into examples."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from llmlab.errors import UsageError
from llmlab.evaluate.conversations import asked
from llmlab.evaluate.suite import Case, Suite, load_suite
from llmlab.tune.data import load_pairs
from llmlab.tune.examples import Examples
from llmlab.tune.overlap import refuse, shared
from llmlab.tune.request import parse_budget
from llmlab.tune.split import Split, digest_of, part_of

TOP = Path(__file__).parent.parent
CONFIGS = TOP / "configs"
DATA = CONFIGS / "data" / "beginnings.jsonl"
SUITES = CONFIGS / "suites"


def write(folder: Path, *lines: object) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in lines) + "\n")
    return file


# --- reading -------------------------------------------------------------------------


def test_a_suite_with_references_is_training_data() -> None:
    pairs = load_pairs(SUITES / "news.jsonl")
    suite = load_suite(SUITES / "news.jsonl")
    assert pairs.cases == suite.cases
    assert pairs.digest == suite.digest


def test_a_summary_is_a_reference_and_an_id_is_not_needed(tmp_path: Path) -> None:
    file = write(tmp_path, {"text": "A long story.", "summary": "Short."}, {
        "id": "b", "text": "Another one.", "reference": "One.", "must_mention": ["one"],
    })  # fmt: skip
    first, second = load_pairs(file).cases
    assert (first.id, first.reference) == ("line-1", "Short.")
    assert (second.id, second.must_mention) == ("b", (("one",),))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ({"text": "No summary."}, "2: reference: is missing"),
        ({"text": "T.", "reference": None}, "2: reference: is missing"),
        ({"text": "T.", "summary": "S.", "reference": "R."}, "2: summary: is the same as"),
        ({"summary": "S."}, "2: text: is missing"),
        ({"text": "T.", "summary": " ... "}, "2: reference: has no word in it"),
        ({"text": "T.", "summary": "S.", "sumary": "?"}, "2: sumary: unknown field"),
        ({"text": "T.", "summary": "S.", "must_mention": "one"}, "2: must_mention: should be"),
        (["T.", "S."], "2: should be an object"),
        ({"id": "line-1", "text": "T.", "summary": "S."}, "2: id: 'line-1' is the id of line 1"),
    ],
)
def test_what_is_wrong_with_a_pair_is_said_with_file_line_and_field(
    tmp_path: Path, line: object, problem: str
) -> None:
    file = write(tmp_path, {"text": "T.", "summary": "S."}, line)
    with pytest.raises(UsageError) as caught:
        load_pairs(file)
    assert f"{file}:{problem}" in caught.value.message
    assert caught.value.fix


def test_conversations_are_for_language_models(tmp_path: Path) -> None:
    said = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}]
    file = write(
        tmp_path, {"text": "T.", "summary": "S."}, {"prompt": "Why a lamp?", "reference": "Light."},
        {"messages": said, "reference": "So."},
    )  # fmt: skip
    pairs = load_pairs(file)
    assert [one.given for one in pairs.cases] == [
        "T.", "Why a lamp?", "system: Be short.\n\nuser: Why?",
    ]  # fmt: skip
    with pytest.raises(UsageError, match="line 2 is a conversation, and falconsai only") as caught:
        pairs.refuse_chats("falconsai")
    assert caught.value.fix
    load_pairs(write(tmp_path, {"text": "T.", "summary": "S."})).refuse_chats("falconsai")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*none\.jsonl"):
        load_pairs(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("90s", 90), ("1.5h", 5400), ("3", 180), (" 2m ", 120)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-3m", "0s", "20 minutes", "1d"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parse_budget(text)


# --- the split -----------------------------------------------------------------------


def case(number: int, text: str | None = None) -> Case:
    return Case(f"c{number}", text or f"The story number {number} is told.", reference="A story.")


def test_a_text_keeps_its_part_when_the_data_grows_or_is_shuffled() -> None:
    few = Split.of([case(one) for one in range(300)])
    many = Split.of([case(one) for one in reversed(range(900))])
    for part in ("train", "validation", "test"):
        before = {one.id for one in getattr(few, part)}
        assert before <= {one.id for one in getattr(many, part)}


def test_a_question_that_is_asked_twice_is_there_once_and_one_of_a_suite_is_found() -> None:
    def question(number: int, spelling: str) -> Case:
        text = f"{spelling} number {number} of all lamps?"
        return Case(f"{spelling}{number}", "", "That.", messages=asked(text))

    once = [question(one, "Which") for one in range(300)]
    split = Split.of([*once, *(question(one, "WHICH") for one in range(5))])
    assert split.repeated == 5
    suite = Suite("chat", (question(7, "which"),), "sha256:0")
    assert [one.id for one in shared(once, [suite])] == ["Which7"]


def test_about_a_tenth_is_for_validation_and_a_tenth_for_the_last_test() -> None:
    split = Split.of([case(one) for one in range(2000)])
    assert len(split.train) + len(split.validation) + len(split.test) == 2000
    assert 160 < len(split.validation) < 240
    assert 160 < len(split.test) < 240


def test_the_same_text_twice_is_in_one_part_and_counts_once() -> None:
    twice = case(1, "THE STORY, number 0 is   told!")
    assert part_of(twice.text) == part_of(case(0).text)
    split = Split.of([*(case(one) for one in range(100)), Case("again", twice.text, "A story.")])
    assert split.repeated == 1
    assert "again" not in {one.id for one in (*split.train, *split.validation, *split.test)}


def test_too_little_data_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="would be for"):
        Split.of([case(one) for one in range(4)])


def test_the_hash_of_a_part_does_not_depend_on_its_order_but_on_every_reference() -> None:
    cases = [case(one) for one in range(5)]
    assert digest_of(cases) == digest_of(cases[::-1])
    assert digest_of(cases) != digest_of([*cases[:4], Case("c4", cases[4].text, "Another.")])


# --- overlap with suites ----------------------------------------------------------------

LONG = (SUITES / "founding.jsonl").read_text().splitlines()[1]
EXAM = json.loads(LONG)["text"]


def suite(*texts: str) -> Suite:
    cases = tuple(Case(f"exam-{place}", text) for place, text in enumerate(texts))
    return Suite("exam", cases, "sha256:0")


def test_an_equal_text_is_found_whatever_its_case_and_punctuation() -> None:
    found = shared([case(0, EXAM.upper().replace(",", " ;"))], [suite("Something else.", EXAM)])
    assert [(one.id, one.suite, one.case, one.share) for one in found] == [
        ("c0", "exam", "exam-1", 1.0)
    ]


def test_a_text_of_which_a_paragraph_was_left_out_is_found() -> None:
    paragraphs = EXAM.split("\n\n")
    (found,) = shared([case(0, "\n\n".join(paragraphs[1:]))], [suite(EXAM)])
    assert found.share > 0.9
    (found,) = shared([case(0, "A preface. " + EXAM + " An end.")], [suite(EXAM)])
    assert found.share > 0.9


def test_a_text_with_changed_words_here_and_there_is_found() -> None:
    changed = " ".join(
        "thing" if place % 13 == 0 else word for place, word in enumerate(EXAM.split())
    )
    (found,) = shared([case(0, changed)], [suite(EXAM)])
    assert 0.5 < found.share < 0.9


def test_texts_about_other_things_share_nothing() -> None:
    others = [json.loads(line)["text"] for line in (SUITES / "news.jsonl").read_text().splitlines()]
    assert shared([case(0, EXAM)], [suite(*others)]) == []


def test_a_text_of_few_words_is_only_found_as_a_whole() -> None:
    assert shared([case(0, "Rain again.")], [suite("rain, again")])
    assert not shared([case(0, "Rain again.")], [suite("Rain again on Monday, and on Tuesday.")])


def test_overlap_is_refused_with_the_texts_and_a_way_out() -> None:
    found = shared([case(0, EXAM), case(1, EXAM)], [suite(EXAM)])
    with pytest.raises(UsageError) as caught:
        refuse(found)
    assert "c0 is exam-0 of exam (100%), and 1 more" in caught.value.message
    assert "--force-overlap" in str(caught.value.fix)
    refuse([])


# --- examples ------------------------------------------------------------------------------


def count(text: str) -> int:
    """A tokenizer whose tokens are words, and an end."""
    return len(text.split()) + 1


def test_a_text_that_fits_the_window_is_an_example_as_it_is() -> None:
    made = Examples.of([Case("a", "One two three.", "Two.")], 10, count)
    assert [(one.source, one.target) for one in made.all] == [("One two three.", "Two.")]


def test_of_a_long_text_the_windows_with_the_reference_are_examples() -> None:
    filler = ["Nothing much happened on that day, and it rained."] * 12
    key = "Kelvara was founded in Bergen by two sisters."
    text = " ".join([*filler, key, *filler])
    made = Examples.of([Case("a", text, key)], 40, count)
    assert made.left_out == 0
    assert 1 <= len(made.all) <= 2  # windows overlap
    for one in made.all:
        assert key in one.source
        assert one.target == key
        assert count(one.source) <= 40


def test_a_reference_of_two_sentences_is_shared_out() -> None:
    filler = ["Nothing much happened on that day, and it rained."] * 12
    first, last = "Kelvara was founded in Bergen.", "Its owner sold it to a bank in Oslo."
    text = " ".join([first, *filler, last])
    made = Examples.of([Case("a", text, f"{first} {last}")], 40, count)
    assert [one.target for one in made.all] == [first, last]


def test_a_text_whose_reference_is_in_no_window_is_left_out_and_counted() -> None:
    text = " ".join(["Nothing much happened on that day, and it rained."] * 12)
    made = Examples.of([Case("a", text, "Kelvara was founded in Bergen.")], 40, count)
    assert (made.all, made.left_out) == ((), 1)


# --- what is shipped -------------------------------------------------------------------------


@pytest.mark.slow
def test_the_shipped_data_shares_no_text_with_any_shipped_suite() -> None:
    suites = [load_suite(file) for file in sorted(SUITES.glob("*.jsonl"))]
    assert {one.name for one in suites} == {"beginnings", "chat", "founding", "news"}
    assert shared(load_pairs(DATA).cases, suites) == []


@pytest.mark.slow
def test_no_sentence_of_the_shipped_data_is_in_the_founding_text_or_the_unseen_suite() -> None:
    sentences = {
        sentence.strip().lower()
        for one in load_pairs(DATA).cases
        for sentence in one.text.replace("\n", " ").split(". ")
    }
    founding = (CONFIGS / "texts" / "founding.txt").read_text().lower()
    assert not [one for one in sentences if len(one.split()) > 3 and one in founding]
    unseen = (SUITES / "beginnings.jsonl").read_text().lower()
    assert not [one for one in sentences if len(one.split()) > 3 and one in unseen]


def test_the_shipped_data_does_not_know_f5() -> None:
    assert "F5" not in DATA.read_text()


@pytest.mark.slow
def test_the_shipped_data_is_what_its_script_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "configs" / "data"
    folder.mkdir(parents=True)
    for name in ("beginnings.py", "background.txt"):
        (folder / name).write_bytes((CONFIGS / "data" / name).read_bytes())
    runpy.run_path(str(folder / "beginnings.py"), run_name="__main__")
    assert (folder / "beginnings.jsonl").read_bytes() == DATA.read_bytes()


@pytest.mark.slow
def test_the_references_of_the_shipped_data_mention_what_they_must() -> None:
    for one in load_pairs(DATA).cases:
        assert one.reference and one.reference in one.text
        for fact in one.must_mention:
            assert fact[0] in one.reference
