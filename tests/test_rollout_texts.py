"""What the texts of a candidate tell, by the gate that lab.toml is shipped with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmlab.config.rollout import Rollout as Section
from llmlab.evaluate.checks import Checks
from llmlab.evaluate.conversations import asked
from llmlab.evaluate.dialect import request
from llmlab.evaluate.statistics import most_likely_share
from llmlab.evaluate.suite import Case, find_suite, load_suite
from llmlab.rollout import texts
from llmlab.rollout.asking import Answered, Pair, ask, ask_both
from llmlab.rollout.observed import Texts
from llmlab.rollout.problems import problems
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Rules
from llmlab.runtimes.sentences import split_sentences
from tests.rollouts import at
from tests.rollouts import rollout as begun

GATE = "unsupported<=+0.10 empty<=+0.10 length<=2x repetition<=+0.10 novelty<=+0.20"
LONG = 1500  # words


@pytest.fixture(scope="module")
def cases() -> tuple[Case, ...]:
    return texts.with_long(load_suite(find_suite("news", Path())).cases)


@pytest.fixture(scope="module", autouse=True)
def measured_once() -> Iterator[None]:
    """Most tests here have the stable version say the same of the same texts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texts, "measure", cache(texts.measure))
        yield


def lead(text: str) -> str:
    return " ".join(list(split_sentences(text))[:3])


SPOILT: dict[str, Callable[[str], str | None]] = {
    "five times over": lambda text: " ".join([lead(text)] * 5),
    "the whole source": lambda text: text,
    "nothing for long texts": lambda text: "" if len(text.split()) > LONG else lead(text),
    "an error for long texts": lambda text: None if len(text.split()) > LONG else lead(text),
    "words of its own": lambda text: "Whatever it may be, nobody should ever read such a thing.",
}


def judged(cases: tuple[Case, ...], say: Callable[[str], str | None]) -> Outcome:
    one = at(Phase.PROGRESSING, rules=Rules(text_gate=GATE))
    pairs = []
    for case in cases:
        said = say(case.text)
        mine = Answered("tuned-2", 500 if said is None else 200, 0.1, said)
        pairs.append(Pair(case, mine, Answered("base", 200, 0.1, lead(case.text))))
    found = texts.look(one, Texts(), pairs).finding
    assert found
    return found.outcome


def test_the_same_answers_pass(cases: tuple[Case, ...]) -> None:
    assert judged(cases, lead) is Outcome.PASS


@pytest.mark.parametrize("how", SPOILT)
def test_what_nobody_wants_to_read_does_not_pass(cases: tuple[Case, ...], how: str) -> None:
    assert judged(cases, SPOILT[how]) is not Outcome.PASS


def test_one_text_of_many_that_fails_stops_nobody(cases: tuple[Case, ...]) -> None:
    failed = {cases[3].text}
    wide = GATE.replace("empty<=+0.10", "empty<=+0.15")
    one = at(Phase.PROGRESSING, rules=Rules(text_gate=wide))
    pairs = [
        Pair(
            case,
            Answered("tuned-2", 500, 0.1, None if case.text in failed else lead(case.text)),
            Answered("base", 200, 0.1, lead(case.text)),
        )
        for case in cases
    ]
    found = texts.look(one, Texts(), pairs).finding
    assert found and found.outcome is Outcome.PASS, found


def test_long_texts_are_made_of_those_that_there_are(cases: tuple[Case, ...]) -> None:
    longs = [one for one in cases if one.id.startswith("long-")]
    assert len(longs) == texts.LONGS
    assert all(len(one.text.split()) >= texts.LONG for one in longs)
    assert len({one.id for one in cases}) == len(cases)


# --- what fails is asked for again ---------------------------------------------------------------


class Running:
    """Answers with these statuses, one after the other."""

    def __init__(self, *statuses: int) -> None:
        self.statuses: Iterator[int] = iter(statuses)
        self.asked = 0

    def ask(self, *_: object, **__: object) -> tuple[int, bytes]:
        self.asked += 1
        said = b'{"summary": "It was lit.", "usage": {"truncated": false}}'
        return next(self.statuses), said


@pytest.mark.parametrize(
    ("statuses", "asked", "summary"),
    [
        ((200,), 1, "It was lit."),
        ((500, 200), 2, "It was lit."),
        ((503, 500), 2, None),
        ((422,), 1, None),
    ],
)
def test_a_text_that_fails_is_asked_for_once_more(
    statuses: tuple[int, ...], asked: int, summary: str | None
) -> None:
    running = Running(*statuses)
    found = ask(running, "base", Case("a", "The keeper lit the lamp."))  # type: ignore[arg-type]
    assert (running.asked, found.summary) == (asked, summary)


# --- conversations -------------------------------------------------------------------------------


class Talking:
    """Keeps what it is asked, and answers like a chat model."""

    def __init__(self, said: str = "Paris.") -> None:
        self.said, self.asked = said, list[tuple[str, str, Any]]()

    def ask(self, deployment: str, path: str, *, body: bytes, **_: object) -> tuple[int, bytes]:
        self.asked.append((deployment, path, json.loads(body)))
        message = {"role": "assistant", "content": self.said}
        choice = {"index": 0, "message": message, "finish_reason": "length"}
        return 200, json.dumps({"choices": [choice], "usage": {}}).encode()


def question(number: int) -> Case:
    checks = Checks(equals=("Paris",))
    return Case(f"q{number}", "", messages=asked(f"Capital {number}?"), checks=checks)


def test_a_conversation_goes_to_both_by_openais_dialect_with_the_same_seed() -> None:
    running, case = Talking(), question(1)
    (pair,) = ask_both(running, [case], "next", "base")  # type: ignore[arg-type]
    (_, path, first), (_, _, second) = running.asked
    assert path == "/v1/chat/completions"
    assert first == second
    assert first["messages"] == [{"role": "user", "content": "Capital 1?"}]
    assert set(first) == {"messages", "seed", "max_tokens"}  # decoding is the version's own
    assert first["seed"] != request(question(2))["seed"]
    assert (pair.tested.summary, pair.tested.cut_off) == ("Paris.", True)


def test_what_is_no_chat_completion_is_no_answer() -> None:
    class Odd(Talking):
        def ask(self, *_: object, **__: object) -> tuple[int, bytes]:
            return 200, b'{"choices": []}'

    assert ask(Odd(), "base", question(1)).summary is None  # type: ignore[arg-type]


def test_of_questions_no_long_texts_are_made() -> None:
    cases = [question(number) for number in range(30)]
    assert texts.with_long(cases) == tuple(cases)


def judged_chat(tested: Sequence[str], base: Sequence[str], gate: str = "") -> Finding:
    rules = Rules(text_gate=gate or Section().chat_gate)
    pairs = [
        Pair(question(n), Answered("tuned-2", 200, 0.1, mine), Answered("base", 200, 0.1, theirs))
        for n, (mine, theirs) in enumerate(zip(tested, base, strict=True))
    ]
    found = texts.look(at(Phase.PROGRESSING, rules=rules), Texts(), pairs).finding
    assert found
    return found


HALF = ["Paris.", "Rome."] * 20


def test_a_chat_model_that_answers_as_before_passes_the_shipped_gate() -> None:
    assert judged_chat(HALF, HALF).outcome is Outcome.PASS


def test_one_that_has_forgotten_everything_fails_it() -> None:
    assert judged_chat(["Rome."] * 40, ["Paris."] * 40).outcome is Outcome.FAIL


def test_one_that_only_repeats_what_it_is_asked_fails_beside_one_of_135_million_weights() -> None:
    """Of the shipped questions smollm2 passes 15, and who repeats them none."""
    small = ["Paris."] * 15 + ["Rome."] * 27
    assert judged_chat(["Capital?"] * 42, small).outcome is Outcome.FAIL


def test_one_that_is_better_passes_also_a_gate_that_asks_for_it() -> None:
    assert judged_chat(["Paris."] * 40, HALF, "checks>=+0.20").outcome is Outcome.PASS


def test_what_so_few_questions_do_not_show_is_allowed_for() -> None:
    """Of 40 that all pass, 8.8 % of all others may not, at a confidence of 95 %."""
    all_pass = ["Paris."] * 40
    assert judged_chat(all_pass, all_pass, "checks>=-0.05").outcome is Outcome.INCONCLUSIVE
    assert judged_chat(all_pass, all_pass, "checks>=0.95").outcome is Outcome.INCONCLUSIVE
    assert judged_chat(all_pass, all_pass, "checks>=0.9").outcome is Outcome.PASS


def test_a_bound_that_40_questions_cannot_show_is_told_before() -> None:
    rules = Rules(text_gate="checks>=-0.05 equals>=+0.1", probe_suite="chat")
    (found,) = [one for one in problems(rules, Path()) if "cannot pass" in one.message]
    assert found.message.startswith("checks>=-0.05 cannot pass: of 42 texts")
    assert found.fix == "a suite of 59 texts with probe_suite, or a wider bound"
    shipped = Rules(text_gate=Section().chat_gate, probe_suite="chat")
    assert not [one for one in problems(shipped, Path()) if one.severity == "error"]
    assert not [one for one in problems(shipped, Path()) if "cannot pass" in one.message]


# --- what so few texts can show ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "n", "tail", "share"),
    [(0, 41, 0.05, 0.0705), (0, 149, 0.05, 0.0199), (1, 41, 0.05, 0.1107), (41, 41, 0.05, 1.0),
     (0, 10, 0.025, 0.3085), (5, 100, 0.025, 0.1128)],
)  # fmt: skip
def test_the_largest_share_that_so_few_hits_allow_is_the_exact_one(
    hits: int, n: int, tail: float, share: float
) -> None:
    assert most_likely_share(hits, n, tail) == pytest.approx(share, abs=2e-4)


def test_a_bound_that_the_suite_is_too_small_for_is_told_beforehand() -> None:
    tight = Rules(text_gate="empty<=+0.02 unsupported<=+0.10")
    (found,) = [one for one in problems(tight, Path()) if "cannot pass" in one.message]
    assert found.message == (
        "empty<=+0.02 cannot pass: of 41 texts none may show what happens in 7 % of all"
    )
    assert "149 texts" in found.fix


def test_a_shadow_passes_by_copies_too() -> None:
    one = begun(Kind.SHADOW, rules=Rules(text_gate="empty<=+0.30"))
    rows = [({"empty": 0.0}, {"empty": 0.0})] * 10
    found = texts.look_at_copies(one, Texts(rows=list(rows))).finding
    assert found and found.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("empty", "outcome", "level"),
    [(30, Outcome.FAIL, 0.99), (1, Outcome.INCONCLUSIVE, 0.9), (0, Outcome.PASS, 0.9)],
)
def test_the_interval_that_is_written_down_is_the_one_that_is_told(
    empty: int, outcome: Outcome, level: float
) -> None:
    rows = [({"empty": float(number < empty)}, {"empty": 0.0}) for number in range(30)]
    one = at(Phase.PROGRESSING, rules=Rules(text_gate="empty<=+0.10", alpha=0.05))
    found = texts.look_at_rows(one, Texts(), rows).finding
    assert found and found.outcome is outcome
    low, high, of = (found.figures[f"empty<=+0.10:{name}"] for name in ("low", "high", "level"))
    assert round(of, 2) == level
    told = f"{100 * of:.4g} % interval {low:+.4f} to {high:+.4f}"
    assert outcome is Outcome.PASS or told in found.reason
