"""A recording becomes a suite: what is drawn and left out, and what cases are labelled with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case, Suite, load_suite
from llmlab.recording.redacting import Redacting, guards
from llmlab.replaying.cases import AGAIN, Questions
from llmlab.replaying.choosing import KNOWN, NEAR, NOT_DRAWN, choose, write
from tests.test_replay import ENGLISH, GERMAN, asking, of, record

PORTS = ("Oslo", "Bergen", "Tromsø", "Stavanger", "Ålesund", "Bodø")
SYSTEM = (
    "You are the harbour master's assistant. Answer in one sentence, kindly, and in prose. " * 3
)


def about(number: int) -> str:
    port = PORTS[number % len(PORTS)]
    return f"{port} {number}: when did mail boat {number} leave {port} in winter {number}?"


def recorded(count: int) -> Questions:
    return of(*(record(n, asking(about(n))) for n in range(count)))


def given(questions: Questions, count: int, *known: Suite, seed: int = 1) -> list[str]:
    chosen = choose(questions, count, known, seed=seed).questions
    return [one.case.given for one in chosen]


def test_the_draw_is_the_seeds_and_in_the_order_of_the_recording() -> None:
    asked = recorded(6)
    first = given(asked, 3)
    assert first == given(asked, 3)
    assert len(first) == 3 and first == sorted(first, key=[about(n) for n in range(6)].index)
    assert len({tuple(given(asked, 3, seed=seed)) for seed in range(5)}) > 1


def test_copies_of_each_other_and_of_known_texts_are_left_out_and_counted() -> None:
    long = "The mail boat left the harbour of Bergen at noon with forty bags and three passengers."
    near = long.replace("three", "two")
    asked = of(
        record(1, asking(long)), record(2, asking(near)), record(3, asking(long)),
        record(4, asking(about(1))), record(5, asking(about(2))), record(6, asking(about(3))),
    )  # fmt: skip
    known = Suite("learned", (Case("x", "", messages=asked.asked[2].case.messages),), "sha256:0")
    choice = choose(asked, 2, [known], seed=1)
    assert dict(choice.left_out) == {AGAIN: 1, KNOWN: 1, NEAR: 1, NOT_DRAWN: 1}
    everything = Suite("all", tuple(one.case for one in asked.asked), "sha256:0")
    with pytest.raises(UsageError, match="nothing of chat-1 is new"):
        choose(asked, 2, [everything], seed=1)


def test_a_prompt_before_all_of_them_makes_no_copies() -> None:
    first = {"role": "system", "content": SYSTEM}
    asked = of(*(
        record(n, {"messages": [first, {"role": "user", "content": about(n)}]}) for n in range(4)
    ))  # fmt: skip
    assert len(given(asked, 9)) == 4


def test_cases_say_what_was_expected_and_are_read_again(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["port"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    odd = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"pattern": "(?=a)"}}}
    asked = of(
        record(1, asking(GERMAN), GERMAN),
        record(2, asking("Which port?", response_format=wanted), '{"port": "Oslo"}'),
        record(3, asking("Which boat?", response_format=odd), "a"),
        record(4, {"text": ENGLISH}, "A ship saw a light.", kind="text"),
        record(5, {"messages": [{"role": "system", "content": "Be kind."},
                                {"role": "user", "content": "Card 4111 1111 1111 1111?"}]}),
    )  # fmt: skip
    file = tmp_path / "lived.jsonl"
    choice = choose(asked, 9, [], seed=1)
    suite, labels = write(choice, file, redacting=Redacting(guards()), with_answers=True)
    assert suite == load_suite(file)
    assert labels == {"json_schema": 1, "language": 1, "reference": 5}
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["id"] for one in lines] == [f"lived-{n:04}" for n in range(1, 6)]
    assert (lines[0]["prompt"], lines[0]["language"]) == (GERMAN, "de")
    assert lines[1]["json_schema"] == schema
    assert "json_schema" not in lines[2]
    assert (lines[3]["text"], lines[3]["reference"]) == (ENGLISH, "A ship saw a light.")
    assert lines[4]["messages"][1]["content"] == "Card [card]?"
    with pytest.raises(UsageError, match="already"):
        write(choice, file, redacting=None, with_answers=False)


def test_a_schema_is_redacted_as_its_question_is(tmp_path: Path) -> None:
    schema = {
        "description": "Of 4111 1111 1111 1111",
        "properties": {"who": {"enum": ["anna@example.org"]}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    asked = of(record(1, asking("Who asks?", response_format=wanted), '{"who": "Anna"}'))
    choice = choose(asked, 9, [], seed=1)
    found = {}
    for name, redacting in (("plain", None), ("redacted", Redacting(guards()))):
        file = tmp_path / f"{name}.jsonl"
        _, labels = write(choice, file, redacting=redacting, with_answers=False)
        assert labels == {"json_schema": 1}
        found[name] = json.loads(file.read_text())["json_schema"]
    assert found["plain"] == schema
    assert found["redacted"]["description"] == "Of [card]"
    assert "anna" not in json.dumps(found["redacted"])
