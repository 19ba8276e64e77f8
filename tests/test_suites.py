"""Suites: how strictly they are read, what lint finds, and the two that ship."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from llmlab.cli.app import app
from llmlab.errors import LlmlabError
from llmlab.evaluate.lint import Finding, Severity, lint, suite_stats
from llmlab.evaluate.suite import SuiteError, find_suite, load_suite
from llmlab.evaluate.text import words
from llmlab.lab import init_lab

ROOT = Path(__file__).parent.parent
SUITES = ROOT / "configs" / "suites"
TEXT = (
    "The harbour master of Ravnsby, Ingrid Halvorsen, closed the port on 3 May 2019 because a "
    "storm had torn 14 boats from their moorings. Nobody was hurt. Divers searched the basin for "
    "two days and found an anchor from the eighteenth century, which the museum would like to "
    "have. The port opened again on Sunday, and the ferry to Holm sails as before."
)
REFERENCE = "Ingrid Halvorsen closed the port of Ravnsby after a storm; divers found an old anchor."


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(*lines: Any, name: str = "s.jsonl") -> Path:
        file = tmp_path / name
        rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        file.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return file

    return written


def case(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "text": TEXT, **fields}


# Reading


def test_a_suite_is_read_with_all_its_fields(write: Callable[..., Path]) -> None:
    file = write(
        case(reference=REFERENCE, must_mention=["Ravnsby", ["3 May", "May 3"]]),
        "",
        case(id="b", must_not_mention=["Oslo"], reference=None),
    )
    suite = load_suite(file)
    first, second = suite.cases
    assert (suite.name, len(suite.digest)) == ("s", len("sha256:") + 64)
    assert (first.text, first.reference, first.line) == (TEXT, REFERENCE, 1)
    assert first.must_mention == (("Ravnsby",), ("3 May", "May 3"))
    assert (second.must_not_mention, second.reference, second.line) == ((("Oslo",),), None, 3)


def test_a_line_separator_inside_a_text_does_not_end_its_line(write: Callable[..., Path]) -> None:
    file = write(json.dumps(case(text="one\u2028two"), ensure_ascii=False))
    assert load_suite(file).cases[0].text == "one\u2028two"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "s.jsonl:2: not JSON: Expecting property name"),
        ("[]", "s.jsonl:2: should be an object with id and text, not a list"),
        ({"text": TEXT}, "s.jsonl:2: id: is missing"),
        ({"id": "b"}, "s.jsonl:2: text: is missing; of a conversation, prompt or messages"),
        ({"id": 7, "text": TEXT}, "s.jsonl:2: id: should be a text such as 'f5-founding', not a"),
        (
            {"id": " ", "text": TEXT},
            "s.jsonl:2: id: should be a text such as 'f5-founding', not an",
        ),
        ({"id": "b\u0000", "text": TEXT}, "s.jsonl:2: id: should have at most 100 characters"),
        ({"id": "b", "text": 5}, "s.jsonl:2: text: should be a text, not a number"),
        ({"id": "b", "text": "!!!"}, "s.jsonl:2: text: has no word in it"),
        ({"id": "b", "text": "a \ud800"}, "s.jsonl:2: text: holds half of a surrogate pair"),
        (case(), "s.jsonl:2: id: 'a' is the id of line 1 already"),
        (case(id="b", refernce="x"), "refernce: unknown field; did you mean 'reference'?"),
        (case(id="b", must_mention="x"), "must_mention: should be a list of texts or of lists"),
        (case(id="b", must_mention=["x", []]), "s.jsonl:2: must_mention/1: has no spelling"),
        (case(id="b", must_mention=[["x", 1]]), "must_mention/0: should be a text or a list of sp"),
        (case(id="b", must_mention=["–"]), "must_mention/0: '–' has no word or number"),
        ('{"id": "b", "id": "c", "text": "x"}', "s.jsonl:2: id: is there twice"),
        ("[" * 100_000, "s.jsonl:2: not a case: nested too deeply"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_field(
    write: Callable[..., Path], line: Any, said: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(write(case(), line))
    assert said in caught.value.message
    assert caught.value.fix and "llmlab models suite lint" in caught.value.fix
    assert caught.value.exit_code == 2


def test_all_problems_are_named_at_once_up_to_ten(write: Callable[..., Path]) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(write(*[{"id": str(number)} for number in range(14)]))
    assert caught.value.message.count("text: is missing") == 10
    assert caught.value.message.endswith("and 4 more")


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf\n"])
def test_a_suite_without_a_case_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(content)
    with pytest.raises(SuiteError, match="no data proves nothing"):
        load_suite(file)


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    file.write_bytes(b'{"id": "a", "text": "x"}\n{"id": "b", "text": "caf\xe9"}\n')
    with pytest.raises(SuiteError, match=r"s\.jsonl:2: not UTF-8"):
        load_suite(file)


def test_a_folder_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match="cannot be read"):
        load_suite(tmp_path)


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_line_is_a_case_or_a_clear_refusal(line: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.jsonl"
        file.write_bytes(line.encode("utf-8", "surrogatepass"))
        try:
            load_suite(file)
        except LlmlabError as error:
            assert str(file) in error.message
            assert error.fix


def test_a_name_is_looked_up_in_the_lab_and_a_path_taken_as_it_is(tmp_path: Path) -> None:
    init_lab(tmp_path)
    assert find_suite("news", tmp_path) == tmp_path / "configs" / "suites" / "news.jsonl"
    path = str(SUITES / "founding.jsonl")
    assert find_suite(path, tmp_path) == Path(path)
    with pytest.raises(SuiteError, match="did you mean 'news'"):
        find_suite("nwes", tmp_path)


def test_a_lab_from_before_there_was_a_shipped_suite_is_told_how_to_come_by_it(
    tmp_path: Path,
) -> None:
    init_lab(tmp_path)
    (tmp_path / "configs" / "suites" / "chat.jsonl").unlink()
    with pytest.raises(SuiteError) as refused:
        find_suite("chat", tmp_path)
    assert (refused.value.fix or "").startswith(f"llmlab init {tmp_path} ")
    init_lab(tmp_path)
    assert load_suite(find_suite("chat", tmp_path)).cases


# Lint and stats


def found(write: Callable[..., Path], *lines: Any) -> list[Finding]:
    fillers = [
        case(id=f"f{at}", text=f"{TEXT} {at + 100}", reference=REFERENCE) for at in range(10)
    ]
    return lint(load_suite(write(*lines, *fillers)))


def test_a_good_suite_has_no_findings(write: Callable[..., Path]) -> None:
    assert found(write, case(reference=REFERENCE, must_mention=["Ravnsby"])) == []


@pytest.mark.parametrize(
    ("fields", "severity", "said"),
    [
        ({"must_mention": ["Oslo"]}, Severity.ERROR, "must_mention 'Oslo' is not in the text"),
        (
            {"must_mention": ["Holm"], "must_not_mention": ["HOLM"]},
            Severity.ERROR,
            "'holm' is in must_mention and in must_not_mention",
        ),
        (
            {"reference": REFERENCE, "must_not_mention": ["anchor"]},
            Severity.ERROR,
            "the reference says 'anchor', which must not be mentioned",
        ),
        (
            {"reference": REFERENCE, "must_mention": [["14", "fourteen"]]},
            Severity.WARNING,
            "the reference does not mention '14' or 'fourteen'",
        ),
        ({"reference": "In 1987 Oslo fell."}, Severity.WARNING, "'1987' is not in the text"),
        ({"reference": TEXT}, Severity.WARNING, "it is no summary"),
        ({"reference": "Divers searched the basin for two days and found an anchor."},
         Severity.WARNING, "100% of the reference is copied"),
        ({}, Severity.WARNING, "has neither reference nor must_mention"),
        ({"text": "Too short.", "reference": "Short."}, Severity.WARNING, "little to leave out"),
        ({"text": f"{TEXT} 100", "reference": REFERENCE}, Severity.ERROR, "has the text of a"),
    ],
)  # fmt: skip
def test_lint_finds(
    write: Callable[..., Path], fields: dict[str, Any], severity: Severity, said: str
) -> None:
    findings = found(write, case(**fields))
    assert [one.severity for one in findings if said in one.message] == [severity]


def test_lint_says_that_a_small_suite_decides_nothing(write: Callable[..., Path]) -> None:
    (finding,) = lint(load_suite(write(case(reference=REFERENCE))))
    assert (finding.severity, finding.id) == (Severity.WARNING, None)
    assert "has 1 cases; a gate wants at least 10" in finding.message


def test_stats_count_and_measure(write: Callable[..., Path]) -> None:
    stats = suite_stats(load_suite(write(
        case(reference=TEXT.split(". ")[0], must_mention=["Ravnsby", "Holm"]),
        case(id="b", text="One two."),
    )))  # fmt: skip
    assert (stats.cases, stats.references, stats.facts, stats.forbidden) == (2, 1, 2, 0)
    assert stats.text_words and (stats.text_words.least, stats.text_words.greatest) == (2, 63)
    assert stats.fact_position and stats.fact_position.greatest > 0.9
    assert stats.reference_novelty == 0
    assert stats.lead3_coverage == 0.5


# The suites that ship


@pytest.mark.slow
@pytest.mark.parametrize("name", ["chat", "founding", "news"])
def test_a_suite_that_ships_has_nothing_for_lint_to_find(name: str) -> None:
    assert lint(load_suite(SUITES / f"{name}.jsonl")) == []


def test_in_the_founding_suite_what_matters_comes_late_in_a_long_text() -> None:
    suite = load_suite(SUITES / "founding.jsonl")
    assert len(suite.cases) >= 8
    assert all(500 <= len(one.text.split()) <= 1200 and one.must_mention for one in suite.cases)
    stats = suite_stats(suite)
    assert stats.lead3_coverage == 0
    assert stats.fact_position and stats.fact_position.least > 0.45
    assert (ROOT / "configs/texts/founding.txt").read_text().strip() == suite.cases[0].text


def test_the_news_suite_has_40_texts_in_two_lengths_each_with_a_reference() -> None:
    suite = load_suite(SUITES / "news.jsonl")
    lengths = [len(one.text.split()) for one in suite.cases]
    assert sum(150 <= length <= 500 for length in lengths) >= 30
    assert sum(800 <= length <= 1500 for length in lengths) >= 10
    assert all(one.reference and one.must_mention for one in suite.cases)
    assert len({one.id.split("-")[0] for one in suite.cases}) >= 10


def test_no_two_texts_that_ship_share_a_long_passage() -> None:
    seen: dict[tuple[str, ...], str] = {}
    for name in ("founding", "news"):
        for one in load_suite(SUITES / f"{name}.jsonl").cases:
            split = words(one.text)
            for at in range(len(split) - 8):
                assert seen.setdefault(tuple(split[at : at + 9]), one.id) == one.id


def test_the_chat_suite_has_40_short_questions_and_every_check() -> None:
    suite = load_suite(SUITES / "chat.jsonl")
    assert len(suite.cases) >= 40 and all(one.messages for one in suite.cases)
    assert set(suite_stats(suite).checks) == {
        "matches", "json_schema", "equals", "max_words", "language",
    }  # fmt: skip
    assert max(len(words(one.given)) for one in suite.cases) <= 40


def test_a_new_lab_has_the_suites(tmp_path: Path) -> None:
    init_lab(tmp_path)
    for name in ("chat", "founding", "news"):
        assert (tmp_path / "configs" / "suites" / f"{name}.jsonl").read_bytes() == (
            SUITES / f"{name}.jsonl"
        ).read_bytes()


# The verbs


def llmlab(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments), prog_name="llmlab")


def test_suite_lint_prints_its_findings_and_fails_only_for_an_error(
    write: Callable[..., Path],
) -> None:
    warned = llmlab("models", "suite", "lint", str(write(case(reference=REFERENCE))))
    assert warned.exit_code == 0
    assert "warning" in warned.stdout
    assert "errors 0, warnings 1" in warned.stderr
    wrong = write(case(reference=REFERENCE, must_mention=["[red]Oslo[/]"]), name="w.jsonl")
    failed = llmlab("models", "suite", "lint", str(wrong))
    assert failed.exit_code == 1
    assert "must_mention '[red]Oslo[/]' is not in the text" in failed.stdout
    listed = llmlab("models", "suite", "lint", str(wrong), "-o", "json")
    assert listed.exit_code == 1
    assert {"severity", "id", "line", "message"} == set(json.loads(listed.stdout)[0])


def test_suite_lint_of_a_broken_file_is_a_usage_error(write: Callable[..., Path]) -> None:
    broken = llmlab("models", "suite", "lint", str(write("{")))
    assert isinstance(broken.exception, SuiteError)
    assert broken.exception.exit_code == 2


@pytest.mark.slow
def test_suite_stats_takes_a_name_in_a_lab_and_a_file_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_lab(tmp_path / "lab")
    named = llmlab("--lab", str(tmp_path / "lab"), "models", "suite", "stats", "news", "-o", "json")
    stats = json.loads(named.stdout)
    assert (stats["name"], stats["references"]) == ("news", stats["cases"])
    monkeypatch.chdir(tmp_path)
    shown = llmlab("models", "suite", "stats", str(SUITES / "founding.jsonl"))
    assert shown.exit_code == 0
    assert "10, 10 with a reference" in shown.stdout
    assert stats["digest"].startswith("sha256:")
