"""What an answer in a conversation is checked for, how a suite says so, and what comes of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.errors import UpstreamError
from llmlab.evaluate import dialect
from llmlab.evaluate.answer import Answer, Respondent
from llmlab.evaluate.checks import FIELDS, Checks, checks_of
from llmlab.evaluate.conversations import Message, asked
from llmlab.evaluate.evaluation import evaluate
from llmlab.evaluate.gate import GateError, parse_gate
from llmlab.evaluate.lint import Severity, lint, suite_stats
from llmlab.evaluate.measures import METRICS, PASSED, Better, measure
from llmlab.evaluate.page import page
from llmlab.evaluate.suite import Case, Suite, SuiteError, load_suite
from llmlab.evaluate.verdict import Outcome

PERSON = {
    "type": "object", "required": ["name"], "additionalProperties": False,
    "properties": {"name": {"type": "string"}},
}  # fmt: skip


# --- each check --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("check", "wanted", "answer", "passes"),
    [
        ("matches", r"^\d{4}$", "2024", True),
        ("matches", r"^\d{4}$", "in 2024", False),
        ("matches", "(?i)AHOY", "Fine, ahoy!", True),
        ("matches", r"(?m)^b$", "a\nb\nc", True),
        ("json_schema", PERSON, '{"name": "Anna"}', True),
        ("json_schema", PERSON, ' \n{"name": "Anna"}\n', True),
        ("json_schema", PERSON, '{"name": 7}', False),
        ("json_schema", PERSON, '{"name": "Anna", "age": 3}', False),
        ("json_schema", PERSON, 'Here you are: {"name": "Anna"}', False),
        ("json_schema", PERSON, '```json\n{"name": "Anna"}\n```', False),
        ("json_schema", {"type": "number"}, "NaN", False),
        ("json_schema", {"type": "array"}, "[" * 100_000, False),
        ("equals", "Paris", "paris.", True),
        ("equals", "Paris", "It is Paris.", False),
        ("equals", ["7", "seven"], "Seven", True),
        ("equals", "1,500,000", "1.5 million", True),
        ("equals", "Paris", "Paris Paris", False),
        ("max_words", 3, "One two three.", True),
        ("max_words", 3, "One two three four.", False),
        ("language", "fr", "Le ciel est bleu.", True),
        ("language", "fr", "The sky is blue.", False),
        ("language", "de", "Der Himmel ist blau.", True),
        ("language", "es", "El perro es un animal doméstico.", True),
        ("language", "ja", "空は青いです。", True),
        ("language", "en", "42", False),
    ],
)
def test_an_answer_passes_a_check_or_does_not(
    check: str, wanted: Any, answer: str, passes: bool
) -> None:
    assert checks_of({check: wanted}).outcomes(answer) == {check: passes}


def test_a_pattern_keeps_nobody_busy_whatever_a_model_writes() -> None:
    start = time.perf_counter()
    for pattern in ("(a+)+$", "(a|aa)+$", "(.*)*x$", r"^(\w+\s?)*$"):
        Checks(matches=pattern).outcomes("a" * 200_000 + "!")
    nested = {"type": "string", "pattern": "(a+)+$"}
    Checks(json_schema=json.dumps(nested)).outcomes(json.dumps("a" * 90_000 + "!"))
    assert time.perf_counter() - start < 10


def test_a_schema_fetches_no_other_one() -> None:
    for address in ("http://127.0.0.1:9/a.json", "file:///etc/passwd"):
        with pytest.raises(SuiteError, match="json_schema: is no JSON schema"):
            raise_for({"id": "a", "prompt": "Hi?", "json_schema": {"$ref": address}})


def raise_for(line: dict[str, Any]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.jsonl"
        file.write_text(json.dumps(line))
        load_suite(file)


@given(st.text(max_size=60))
def test_any_answer_is_checked_without_an_error(answer: str) -> None:
    checks = Checks("^a", json.dumps(PERSON), ("Paris",), 3, None)
    assert set(checks.outcomes(answer)) == {"matches", "json_schema", "equals", "max_words"}


def test_half_of_a_surrogate_pair_is_checked_too() -> None:
    answer = json.loads('"a \\ud800"')
    assert checks_of({"matches": "a", "language": "en"}).outcomes(answer)["matches"]


# --- how a suite says so --------------------------------------------------------------------


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def written(*lines: dict[str, Any]) -> Path:
        file = tmp_path / "s.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        return file

    return written


def test_a_prompt_is_one_message_and_messages_are_openais(write: Callable[..., Path]) -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    suite = load_suite(write(
        {"id": "a", "prompt": "Hi?", "equals": "Hello", "max_words": 1},
        {"id": "b", "messages": [
            {"role": "system", "content": "Be short."}, {"role": "user", "content": parts},
        ]},
    ))  # fmt: skip
    first, second = suite.cases
    assert suite.chats
    assert first.messages == (Message("user", "Hi?"),)
    assert (first.text, first.given, first.checks.named) == ("", "Hi?", ("equals", "max_words"))
    assert second.messages[1].content == "one\ntwo"
    assert second.given == "system: Be short.\n\nuser: one\ntwo"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"prompt": "Hi?", "text": "A text."}, "prompt: there is text already"),
        ({"prompt": 7}, "prompt: should be a text, not a number"),
        ({"prompt": "!"}, "prompt: has no word in it"),
        ({"messages": []}, "messages: should be a list of {role, content}, and not empty"),
        ({"messages": ["x"]}, "messages/0: should be an object with role and content"),
        ({"messages": [{"role": "boss", "content": "x"}]}, "messages/0: role: should be one of"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages/0: content: should be a text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
         "messages/0: content: should be a text, or a list of parts"),
        ({"messages": [{"role": "user", "content": "x", "nam": "y"}]}, "messages/0: nam: unknown"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
         "messages/1: is the model's own, so there is nothing to answer"),
        ({"prompt": "Hi?", "matches": "("}, "matches: is no regular expression: missing )"),
        ({"prompt": "Hi?", "matches": "(?=a)"}, "matches: cannot be matched in bounded time"),
        ({"prompt": "Hi?", "matches": r"(a)\1"}, "matches: cannot be matched in bounded time"),
        ({"prompt": "Hi?", "matches": "(((a{99}){99}){99}){99}"}, "matches: cannot be matched in"),
        ({"prompt": "Hi?", "matches": "a" * 1001}, "matches: has 1001 characters, and at most"),
        ({"prompt": "Hi?", "json_schema": {"type": "thing"}}, "json_schema: is no JSON schema"),
        ({"prompt": "Hi?", "json_schema": []}, "json_schema: should be a JSON schema, an object"),
        ({"prompt": "Hi?", "equals": ["x", "!"]}, "equals: should be a text with a word in it"),
        ({"prompt": "Hi?", "max_words": True}, "max_words: should be a whole number from 1"),
        ({"prompt": "Hi?", "language": "french"}, "language: should be the ISO 639-1 code"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_conversation_or_a_check_is_named(
    write: Callable[..., Path], fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(SuiteError) as caught:
        load_suite(write({"id": "a", **fields}))
    assert f"s.jsonl:1: {said}" in caught.value.message


def test_a_check_that_has_no_value_is_none(write: Callable[..., Path]) -> None:
    nothing = dict.fromkeys(FIELDS)
    assert load_suite(write({"id": "a", "prompt": "Hi?", **nothing})).cases[0].checks == Checks()


def findings(write: Callable[..., Path], *lines: dict[str, Any]) -> list[tuple[Severity, str]]:
    fillers = [{"id": f"f{n}", "prompt": f"How much is {n}?", "max_words": 3} for n in range(10)]
    return [(one.severity, one.message) for one in lint(load_suite(write(*lines, *fillers)))]


@pytest.mark.parametrize(
    ("fields", "severity", "said"),
    [
        ({}, Severity.WARNING, "has no check and no reference: nothing says what is good"),
        ({"equals": "New York", "max_words": 1}, Severity.ERROR,
         "equals 'New York' does not pass max_words"),
        ({"equals": "Rome", "must_mention": ["Paris"]}, Severity.ERROR,
         "equals 'Rome' does not mention 'Paris'"),
        ({"reference": "In Rome.", "matches": "^Paris"}, Severity.ERROR,
         "the reference does not pass matches"),
        ({"matches": "a*", "max_words": 1}, Severity.WARNING,
         "matches takes anything, an empty answer as well"),
        ({"language": "en", "max_words": 1}, Severity.WARNING,
         "so few words hardly tell their language"),
        ({"must_mention": ["x"], "must_not_mention": ["X"]}, Severity.ERROR,
         "'x' is in must_mention and in must_not_mention"),
        ({"prompt": "Say Paris.", "must_mention": ["Paris"]}, Severity.WARNING,
         "who repeats the question passes all checks"),
        ({"prompt": "How much is 3?", "max_words": 1}, Severity.ERROR,
         "has the conversation of a: one conversation would count twice"),
    ],
)  # fmt: skip
def test_lint_finds_what_makes_a_check_say_nothing(
    write: Callable[..., Path], fields: dict[str, Any], severity: Severity, said: str
) -> None:
    found = findings(write, {"id": "a", "prompt": "Which city?", **fields})
    assert (severity, said) in found and len(found) == 1


def test_stats_count_conversations_and_checks(write: Callable[..., Path]) -> None:
    stats = suite_stats(load_suite(write(
        {"id": "a", "prompt": "Which city?", "equals": "Paris", "max_words": 1},
        {"id": "b", "text": "A text of words.", "max_words": 3},
    )))  # fmt: skip
    assert (stats.conversations, stats.checks) == (1, {"equals": 1, "max_words": 2})
    assert stats.asked_words and stats.asked_words.greatest == 2
    assert stats.text_words and stats.text_words.greatest == 4


# --- what comes of it -------------------------------------------------------------------------


def case(id_: str = "a", **fields: Any) -> Case:
    facts = {name: fields.pop(name) for name in ("must_mention", "must_not_mention")
             if name in fields}  # fmt: skip
    return Case(id_, "", messages=asked("Which city?"), checks=checks_of(fields), **facts)


def test_every_check_is_a_metric_that_is_better_when_higher() -> None:
    assert set(FIELDS) < PASSED <= set(METRICS)
    assert {METRICS[name].better for name in PASSED} == {Better.HIGHER}


def test_checks_are_passed_together_or_not_at_all() -> None:
    one = case(max_words=2, equals="Paris", must_mention=(("Paris",),))
    good, long = (measure(one, text).values for text in ("Paris", "Paris, of course"))
    assert (good["checks"], good["max_words"], good["must_mention"]) == (1, 1, 1)
    assert (long["checks"], long["max_words"], long["equals"], long["must_mention"]) == (0, 0, 0, 1)
    assert good["matches"] is good["must_not_mention"] is None


def test_what_is_not_checked_has_no_value() -> None:
    assert measure(case(), "Paris").values["checks"] is None


def test_an_empty_answer_passes_no_check() -> None:
    values = measure(case(max_words=5, must_not_mention=(("Rome",),)), " ").values
    assert values["checks"] == values["max_words"] == values["must_not_mention"] == 0


def test_a_question_is_no_source_that_an_answer_is_held_against() -> None:
    values = measure(case(max_words=9), "In 1923 Anna Smith left Oslo", cut_off=True).values
    for name in ("unsupported", "novelty", "compression", "copy_rate", "unfinished", "names_kept"):
        assert values[name] is None, name
    assert (values["cut_off"], values["length"], values["truncated"]) == (1, 6, None)


def respondent(name: str, answers: dict[str, str]) -> Respondent:
    told = {key: Answer(one, 0.1, cut_off=False) for key, one in answers.items()}
    return Respondent(name, "", "llamacpp", told)


SUITE = Suite("s", tuple(case(f"q{n}", equals="Paris", max_words=3) for n in range(20)), "sha256:0")
ALL = {one.id: "Paris." for one in SUITE.cases}
LONG = dict.fromkeys(ALL, "It is Paris, of course.")


@pytest.mark.parametrize(
    ("gate", "answers", "outcome"),
    [
        ("checks>=0.9", ALL, Outcome.PASS),
        ("checks>=0.9", LONG, Outcome.FAIL),
        ("equals>=-0.05 max_words>=0.9", ALL, Outcome.PASS),
        ("max_words>=-0.05", LONG, Outcome.FAIL),
        ("cut_off<=0.1", ALL, Outcome.PASS),
        ("json_schema>=0.95", ALL, Outcome.INCONCLUSIVE),
    ],
)
def test_a_gate_looks_at_all_checks_or_at_one(
    gate: str, answers: dict[str, str], outcome: Outcome
) -> None:
    found = evaluate(
        SUITE, respondent("new", answers), respondent("old", ALL), gate=parse_gate(gate), seed=1
    )
    assert found.verdict and found.verdict.outcome is outcome
    assert "Which city?" in page(found)


def test_a_gate_that_asks_for_failed_checks_is_refused() -> None:
    with pytest.raises(GateError, match="json_schema is better when it is higher"):
        parse_gate("json_schema<=0.5")


def test_the_worst_answers_are_named_by_their_checks() -> None:
    found = evaluate(SUITE, respondent("new", LONG), respondent("old", ALL), seed=1)
    assert found.regressions and found.regressions.metric == "checks"


def test_an_answer_that_failed_keeps_a_gate_undecided() -> None:
    answers = respondent("new", ALL)
    missing = {**answers.answers, "q0": UpstreamError("away")}
    found = evaluate(
        SUITE, Respondent("new", "", "", missing), gate=parse_gate("checks>=0.9"), seed=1
    )
    assert found.verdict and found.verdict.outcome is Outcome.INCONCLUSIVE


# --- how it is asked ----------------------------------------------------------------------------


def test_every_case_has_a_seed_of_its_own_and_always_the_same() -> None:
    one, other = (dialect.sampling(case(name)) for name in ("a", "b"))
    assert one == dialect.sampling(case("a")) != other
    assert one != dialect.sampling(case("a"), seed=2)
    assert 0 <= one["seed"] < 2**31 and one["max_tokens"] == dialect.MOST_TOKENS


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{}]}, {"choices": 7}, []])
def test_what_is_no_answer_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="no chat completion"):
        dialect.reply_of(document)
