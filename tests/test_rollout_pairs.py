"""Pairs of a client's answer and of what the candidate makes of the same text: how they are
measured, bet on and judged."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from llmlab.config import Config
from llmlab.errors import LlmlabError, UpstreamError, UsageError
from llmlab.lab import Lab, init_lab
from llmlab.recording.sampling import LASTS, Sample
from llmlab.rollout import pairing
from llmlab.rollout.evidence import SLICE, Evidence
from llmlab.rollout.judging import fail_levels, judge, pass_level
from llmlab.rollout.made_pairs import MadePairs
from llmlab.rollout.pairing import WITHIN, Pairing
from llmlab.rollout.pairs import KEPT, Pairs, unit_of
from llmlab.rollout.pairs_gate import VALUES, Ended, measured, parse_pairs_gate
from llmlab.rollout.pairs_power import DIFFER, MORE, pairs_needs
from llmlab.rollout.planning import Wish, rules_of
from llmlab.rollout.problems import problems
from llmlab.rollout.running import RunningLab
from llmlab.rollout.simulating import run_in
from llmlab.rollout.state import Kind, Outcome, Phase, Rules, Verdict, Version
from llmlab.rollout.worlds import EQUAL, WORSE
from llmlab.rollout.worst_pair import WorstPairs
from tests.rollouts import at

GATE = "unsupported<=+0.02 empty<=+0.02 length<=+0.10 novelty<=+0.20"
RULES = Rules(pairs=0.2, pairs_gate=GATE, min_samples=1)
TEXT = "Ada Lovelace wrote 12 notes on the engine of Charles Babbage. They were printed in 1843."


def values(
    text: str, mine: str, theirs: str, gate: str, ended: Any = (None, None)
) -> dict[str, tuple[float, float]]:
    return dict(measured(text, mine, theirs, parse_pairs_gate(gate), ended).values)


FINE = Ended(cut_off=False, refusal=False, invalid=None)


@pytest.mark.parametrize(
    ("mine", "theirs", "shown"),
    [
        (FINE, FINE, {"refusals": (0, 0), "cut_off": (0, 0)}),
        (replace(FINE, refusal=True), FINE, {"refusals": (1, 0), "cut_off": (0, 0)}),
        (FINE, replace(FINE, cut_off=True), {"refusals": (0, 0), "cut_off": (0, 1)}),
        (replace(FINE, invalid=True), replace(FINE, invalid=False),
         {"refusals": (0, 0), "cut_off": (0, 0), "format": (1, 0)}),
        # Nobody asked for JSON, or it was cut off before anybody could tell.
        (FINE, replace(FINE, invalid=False), {"refusals": (0, 0), "cut_off": (0, 0)}),
        # A summary, and what failed.
        (None, None, {}),
        (None, FINE, {}),
    ],
)  # fmt: skip
def test_how_answers_ended_is_told_where_both_tell_it(
    mine: Ended | None, theirs: Ended | None, shown: dict[str, tuple[float, float]]
) -> None:
    gate = "refusals<=+0.1 format<=+0.1 cut_off<=+0.1"
    assert values("A text.", "Yes.", "Yes.", gate, (mine, theirs)) == shown
    assert values("A text.", "", "Yes.", gate, (mine, theirs)) == shown


def test_an_answer_in_another_language_than_the_question_speaks_against_whoever_gives_it() -> None:
    here, there = "Ada Lovelace wrote notes on it.", "Sie schrieb Anmerkungen über die Maschine."
    assert values(TEXT, there, here, "foreign<=+0.1") == {"foreign": (1.0, 0.0)}
    assert values(TEXT, here, there, "foreign<=+0.1") == {"foreign": (0.0, 1.0)}
    assert values(TEXT, there, there, "foreign<=+0.1") == {"foreign": (1.0, 1.0)}
    assert values("1843?", here, there, "foreign<=+0.1") == {}


def test_of_two_that_write_long_and_short_answers_by_turns_neither_is_worse() -> None:
    gate, long, short = "longer<=+0.1 shorter<=+0.1 length<=+0.1", "word " * 9, "word"
    assert values(TEXT, long, short, gate) == {
        "longer": (1.0, 0.0), "shorter": (0.0, 1.0), "length": (1.0, 0.0),
    }  # fmt: skip
    assert values(TEXT, short, long, gate) == {
        "longer": (0.0, 1.0), "shorter": (1.0, 0.0), "length": (1.0, 0.0),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("measure", "mine", "shown"),
    [
        ("unsupported", "Ada Lovelace wrote 13 notes.", (1.0, 0.0)),
        ("unsupported_numbers", "Ada Lovelace wrote 13 notes.", (1.0, 0.0)),
        ("unsupported_names", "Ada Lovelace wrote 13 notes.", (0.0, 0.0)),
        ("unsupported", "Ada Lovelace wrote 12 notes.", (0.0, 0.0)),
        ("length", "Notes.", (1.0, 0.0)),
        ("length", "Lovelace wrote notes on it.", (0.0, 0.0)),
        ("language", "Ada Lovelace schrieb zwölf Anmerkungen über die Maschine.", (1.0, 0.0)),
        ("empty", "", (1.0, 0.0)),
    ],
)
def test_what_a_pair_shows(measure: str, mine: str, shown: tuple[float, float]) -> None:
    theirs = "Ada Lovelace wrote 12 notes on the engine."
    assert values(TEXT, mine, theirs, f"{measure}<=+0.02")[measure] == shown


def test_of_an_empty_answer_nothing_is_told_but_that() -> None:
    gate = " ".join(f"{name}<=+0.1" for name in VALUES)
    assert values(TEXT, "", "Ada wrote 13 notes.", gate) == {"empty": (1.0, 0.0)}


def test_the_same_answer_differs_in_nothing() -> None:
    gate = " ".join(f"{name}<=+0.1" for name in VALUES)
    ended = Ended(cut_off=True, refusal=False, invalid=False)
    shown = values(TEXT, "Ada wrote 13 notes.", "Ada wrote 13 notes.", gate, (ended, ended))
    assert set(shown) == set(VALUES)
    assert all(mine == theirs for mine, theirs in shown.values())


@pytest.mark.parametrize(
    "gate", ["rougeL<=+0.1", "empty<=0.1", "empty<=+0", "empty<=+1", "empty<=+0.1 empty<=+0.2"]
)
def test_a_gate_that_means_nothing_is_refused(gate: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pairs_gate(gate)
    assert "unsupported" in caught.value.message and caught.value.fix


def test_pairs_and_the_suite_share_what_was_the_texts() -> None:
    rules = Rules(answer_gate="cut_off<=+0.05")
    before, after = fail_levels(rules), fail_levels(replace(rules, pairs=0.1))
    assert after.text + after.pairs == pytest.approx(before.text)
    assert (after.errors, after.latency, after.answers) == (
        before.errors, before.latency, before.answers,
    )  # fmt: skip
    assert before.pairs == 0


AB = (Version("a", "a"), Version("b", "b"))


def judged(shown: list[dict[str, tuple[float, float]]], rules: Rules = RULES) -> Verdict:
    one = replace(at(Phase.PROGRESSING), rules=rules)
    evidence = Evidence.of(one)
    evidence.begin(one.step, one.percent)
    for pair in shown:
        evidence.pairs.add(pair)
    return judge(one, Evidence.parse(evidence.dump()), None)


def outcomes(verdict: Verdict) -> dict[str, Outcome]:
    return {one.metric: one.outcome for one in verdict.findings if "pairs" in one.metric}


GOOD = {"unsupported": (0.0, 0.0), "empty": (0.0, 0.0), "length": (0.0, 0.0), "novelty": (0.1, 0.1)}
BAD = GOOD | {"unsupported": (1.0, 0.0)}


def test_who_invents_in_every_tenth_answer_fails_and_is_told_why() -> None:
    verdict = judged(([GOOD] * 9 + [BAD]) * 40)
    assert verdict.outcome is Outcome.FAIL
    assert "pairs unsupported: 10.0 % of 400 against 0.0 %" in verdict.reason
    assert "evidence" in verdict.reason and "llmlab rollout pairs" in verdict.reason


def test_what_both_do_speaks_against_neither() -> None:
    both = GOOD | {"unsupported": (1.0, 1.0)}
    assert set(outcomes(judged([both] * 400)).values()) == {Outcome.PASS}


def test_too_few_pairs_hold_up_nothing_unless_they_are_asked_for() -> None:
    assert set(outcomes(judged([])).values()) == {Outcome.PASS}
    assert set(outcomes(judged([GOOD] * 3)).values()) == {Outcome.PASS}
    strict = replace(RULES, pairs_required=True)
    assert set(outcomes(judged([], strict)).values()) == {Outcome.INCONCLUSIVE}
    assert set(outcomes(judged([GOOD] * 400, strict)).values()) == {Outcome.PASS}


ASKED = "What is the lamp in the harbour of the town for, and who is to light it in the night?"


@pytest.mark.parametrize(
    ("mine", "mine_ended", "base_ended", "outcome"),
    [
        # Nobody asks for JSON.
        ("It is for the ships.", FINE, FINE, Outcome.PASS),
        # Clients ask for it, and the candidate's answers are of no kind that could be told.
        ("It is for the ships.", FINE, replace(FINE, invalid=False), Outcome.INCONCLUSIVE),
        ("", None, replace(FINE, invalid=False), Outcome.INCONCLUSIVE),
    ],
)
def test_what_the_stable_versions_answers_seldom_tell_need_not_speak_for_a_candidate(
    mine: str, mine_ended: Ended | None, base_ended: Ended, outcome: Outcome
) -> None:
    rules = replace(RULES, pairs_required=True, pairs_gate="format<=+0.05 longer<=+0.10")
    gate = parse_pairs_gate(rules.pairs_gate)
    said = measured(ASKED, mine, "It is for the ships.", gate, (mine_ended, base_ended))
    one = replace(at(Phase.PROGRESSING), rules=rules)
    found = []
    for count in (1, 400):
        evidence = Evidence.of(one)
        evidence.begin(one.step, one.percent)
        for _ in range(count):
            evidence.pairs.add(said.values, said.untold)
        found.append(outcomes(judge(one, Evidence.parse(evidence.dump()), None)))
    few, many = found
    assert few["pairs format"] is Outcome.INCONCLUSIVE
    assert many["pairs format"] is outcome
    assert many["pairs longer"] is (Outcome.PASS if mine else Outcome.INCONCLUSIVE)


def test_few_pairs_that_lean_against_it_hold_up_a_step() -> None:
    found = outcomes(judged([GOOD, BAD]))
    assert found["pairs unsupported"] is Outcome.INCONCLUSIVE
    assert found["pairs empty"] is Outcome.PASS


def compared(shown: list[dict[str, tuple[float, float]]]) -> dict[str, str]:
    rules = replace(RULES, pairs_gate=f"{GATE} differs<=+0.5")
    one = replace(at(Phase.PROGRESSING), kind=Kind.AB, arms=AB, rules=rules)
    evidence = Evidence.of(one)
    evidence.begin(one.step, one.percent)
    for pair in shown:
        evidence.pairs.add(pair)
    verdict = judge(one, Evidence.parse(evidence.dump()), None)
    found = {one.metric: one for one in verdict.findings if "pairs" in one.metric}
    assert {one.outcome for one in found.values()} == {Outcome.INCONCLUSIVE}
    return {name.removeprefix("pairs "): one.reason for name, one in found.items()}


def test_two_that_both_serve_are_told_apart_by_pairs_in_either_direction() -> None:
    better = GOOD | {"unsupported": (0.0, 1.0)}
    for one, figures in ((BAD, "a 0.0 %, b 10.0 %"), (better, "a 10.0 %, b 0.0 %")):
        told = compared(([GOOD] * 9 + [one]) * 40)
        # By how much a summary is another one, neither is better: that is not asked here.
        assert set(told) == {"unsupported", "empty", "novelty"}
        assert figures in told["unsupported"] and "they differ" in told["unsupported"]
        assert "no difference is shown" in told["empty"]


def test_two_that_invent_as_much_as_each_other_are_not_told_apart() -> None:
    chance = random.Random("ab")
    drawn = [(float(chance.random() < 0.2), float(chance.random() < 0.2)) for _ in range(600)]
    told = compared([GOOD | {"unsupported": one} for one in drawn])
    assert "no difference is shown" in told["unsupported"]


def test_without_pairs_nothing_is_said_of_them() -> None:
    assert not outcomes(judged([], replace(RULES, pairs=0.0)))


def test_a_step_asks_anew_what_speaks_for_it_and_forgets_nothing_against_it() -> None:
    pairs = Pairs.of(RULES)
    for _ in range(20):
        pairs.add(BAD)
    against = pairs.bets["unsupported"].worse.log
    pairs.begin()
    assert pairs.bets["unsupported"].worse.log == against > 1
    assert pairs.bets["empty"].as_good.log == 0
    assert (pairs.pairs, pairs.step_pairs) == (20, 0)


def test_a_subject_counts_once_in_a_slice_and_a_text_once() -> None:
    pairs = Pairs.of(RULES)
    first, later = unit_of("ada", 100.0, SLICE), unit_of("ada", 102.0, SLICE)
    assert unit_of("ada", 101.9, SLICE) == first != later
    assert pairs.is_new(first, "one")
    pairs.meet(first, "one")
    assert not pairs.is_new(first, "two") and not pairs.is_new(later, "one")
    assert pairs.is_new(later, "two")
    for number in range(KEPT):
        pairs.meet(f"{number} bob", f"text {number}")
    assert len(pairs.met) == KEPT


def test_only_what_is_worse_than_any_pair_before_is_the_worst() -> None:
    pairs = Pairs.of(RULES)
    assert [pairs.add(one) for one in (GOOD, BAD, BAD, GOOD)] == [False, True, False, False]


def fails(made: MadePairs, run: int, pairs: int = 1500) -> int | None:
    """At which pair it fails, if ever; looked at after each."""
    chance, one = random.Random(f"pairs-{run}"), Pairs.of(RULES)
    level = fail_levels(RULES).pairs / len(one.bets)
    for number in range(pairs):
        one.add(made.values(f"s{chance.randrange(20)}", chance))
        if any(bets.worse.reached(level) for bets in one.bets.values()):
            return number + 1
    return None


def test_equal_versions_that_both_invent_are_left_alone_by_who_looks_after_every_pair() -> None:
    alarms = sum(fails(MadePairs(hard=2), run, 600) is not None for run in range(60))
    assert alarms <= 3  # of 60 at a level of 1 % for all of it: 4 with a chance of 0.003


def test_ten_points_more_that_invent_are_found_within_some_hundred_pairs() -> None:
    found = [fails(MadePairs(invented=0.0, more_invented=0.10), run) for run in range(5)]
    assert all(one is not None and one < 700 for one in found), found


def test_what_lint_tells_of_pairs_is_about_what_they_take() -> None:
    rules = replace(RULES, pairs_gate="empty<=+0.02 unsupported<=+0.10")
    planned = replace(at(Phase.PROGRESSING), rules=rules)
    level, needed = fail_levels(rules).pairs / 2, pass_level(planned)
    for need in pairs_needs(planned):
        seen, passed = [], []
        for run in range(25):
            chance, one = random.Random(f"power-{run}"), Pairs.of(rules)
            bets = one.bets[need.measure]
            while not bets.worse.reached(level):
                one.add({need.measure: (float(chance.random() < need.margin + MORE), 0.0)})
            seen.append(one.pairs)
            one = Pairs.of(rules)
            bets = one.bets[need.measure]
            while not bets.as_good.reached(needed):
                drawn = chance.random()
                wrong = drawn < DIFFER, DIFFER <= drawn < 2 * DIFFER
                one.add({need.measure: (float(wrong[0]), float(wrong[1]))})
            passed.append(one.pairs)
        assert need.seen / 1.6 < median(seen) < need.seen * 1.6
        # What is told is for those who are unlucky, too: so little is asked for to pass.
        assert median(passed) <= need.passed < 5 * median(passed)
    assert not pairs_needs(replace(planned, rules=replace(rules, pairs=0.0)))


@pytest.mark.parametrize(("callers", "within"), [(10, 250), (20, 700), (50, None)])
def test_one_caller_alone_is_seen_if_it_is_more_than_the_margin(
    callers: int, within: int | None
) -> None:
    rules = replace(RULES, pairs_gate=Config().rollout.pairs_gate)
    one = Pairs.of(rules)
    level = fail_levels(rules).pairs / len(one.bets)
    for number in range(within or 5000):
        empty = number % callers == callers - 1
        one.add({name: (float(empty and name == "empty"), 0.0) for name in one.bets})
    assert one.bets["empty"].worse.reached(level) is (within is not None)


# Each request is somebody else's: then errors and latency are decided soon, and do not.
INVENTS = replace(WORSE["+10 points of paired texts invent"], subjects=0)
QUICK = Rules(
    steps=(25.0, 100.0), interval=20.0, progress_deadline=400.0, bake=0.0, error_margin=0.05,
    pairs_gate=GATE,
)  # fmt: skip


def test_whole_rollouts_with_pairs_keep_equal_versions_and_abort_who_invents() -> None:
    assert not run_in(EQUAL["paired texts, both invent of two of 20 subjects"], QUICK, 7, 1).aborted
    run = run_in(INVENTS, QUICK, 7, 1)
    assert run.aborted and "pairs unsupported" in run.rollout.ending


def test_the_same_rollout_without_pairs_promotes_who_invents() -> None:
    assert run_in(replace(INVENTS, pairs=None), QUICK, 7, 1).promoted


@pytest.mark.parametrize(
    ("config", "wish", "share"),
    [
        ({}, Wish(Kind.CANARY, ()), 0.1),
        ({}, Wish(Kind.BLUEGREEN, ()), 0.1),
        ({}, Wish(Kind.AB, ()), 0.1),
        ({}, Wish(Kind.SHADOW, ()), 0.0),
        ({}, Wish(Kind.CANARY, (), route="chat"), 0.1),
        (
            {"rollout": {"pairs": 0.1, "pairs_never": ["chat"]}},
            Wish(Kind.CANARY, (), route="chat"),
            0.0,
        ),
        (
            {"rollout": {"pairs": 0.1, "chat_pairs_gate": ""}},
            Wish(Kind.CANARY, (), route="chat"),
            0.0,
        ),
        ({"recording": {"never": ["summarize"]}}, Wish(Kind.CANARY, ()), 0.0),
    ],
)
def test_what_is_paired_and_where_nothing_is(config: Any, wish: Wish, share: float) -> None:
    section = Config.model_validate({"rollout": {"pairs": 0.1}} | config)
    assert rules_of(section, wish).pairs == share
    assert rules_of(Config(), wish).pairs == 0


@pytest.mark.parametrize(
    ("config", "wish", "why"),
    [
        (
            {"rollout": {"pairs_never": ["chat"]}},
            Wish(Kind.CANARY, (), route="chat"),
            "pairs_never",
        ),
        (
            {"recording": {"never": ["chat"]}},
            Wish(Kind.CANARY, (), route="chat"),
            "recording.never",
        ),
        ({}, Wish(Kind.SHADOW, ()), "shadow"),
        ({"rollout": {"pairs_gate": ""}}, Wish(Kind.CANARY, ()), "empty"),
    ],
)
def test_who_asks_for_pairs_where_nothing_may_be_paired_is_told_so(
    config: Any, wish: Wish, why: str
) -> None:
    section = Config.model_validate(config)
    with pytest.raises(UsageError, match=why):
        rules_of(section, replace(wish, rules={"pairs": 0.5}))
    assert rules_of(section, replace(wish, rules={"pairs": 0.0})).pairs == 0


def test_what_is_asked_for_at_a_start_goes_before_what_lab_toml_says() -> None:
    asked = {"pairs": 0.5, "pairs_gate": "refusals<=+0.05", "answer_gate": "cut_off<=+0.05"}
    rules = rules_of(Config(), Wish(Kind.CANARY, (), rules=asked, route="chat"))
    assert (rules.pairs, rules.pairs_gate, rules.answer_gate) == tuple(asked.values())
    usual = rules_of(Config(), Wish(Kind.CANARY, (), route="chat"))
    assert usual.pairs_gate == Config().rollout.chat_pairs_gate != Config().rollout.pairs_gate
    with pytest.raises(UsageError, match="summarize"):
        rules_of(Config(), Wish(Kind.CANARY, (), rules={"answer_gate": "cut_off<=+0.05"}))


def test_a_gate_of_pairs_that_cannot_be_read_keeps_a_rollout_from_starting(tmp_path: Path) -> None:
    (found,) = [
        one for one in problems(Rules(pairs_gate="rouge<=+1"), tmp_path) if "pairs" in one.message
    ]
    assert found.severity == "error" and "rollout.pairs_gate" in found.message


# --- from the two deployments to evidence -----------------------------------------------------


class Two:
    """A stable version that was asked, and a candidate, as a controller meets them."""

    def __init__(self, *asked: tuple[str, str], room: int = 8) -> None:
        self.asked = [
            {"n": n + 1, "at": 2.0 * n, "subject": who, "text": text, "summary": "It is 1843.",
             "options": {"max_length": 9}, "by": who and f"{who}-in-clear"}
            for n, (who, text) in enumerate(asked)
        ]  # fmt: skip
        self.room, self.copies, self.told = room, [], []  # type: ignore[var-annotated]
        self.of, self.knocked = {"base": self.asked}, 0
        self.silent, self.by = False, []  # type: ignore[var-annotated]
        self.status, self.candidate = 202, "tuned-2"
        self.pair, self.never = True, ""
        self.answer: dict[str, Any] = {"summary": "It is 7418."}
        self.each: list[dict[str, Any]] = []  # its answers, if it has another one to each

    def remember(self, route: str, sample: Sample | None) -> None:
        assert route == "summarize"
        self.told.append(sample)

    def never_paired(self, route: str) -> str:
        return self.never

    def processes(self, deployment: str) -> list[str]:
        return list(self.of)

    def ask(self, deployment: str, path: str, **how: Any) -> tuple[int, bytes]:
        path, _, after = path.replace("route=summarize&", "").partition("?after=")
        if path == "/shadow/asked" and deployment in self.of:
            if self.of[deployment] is None:
                self.knocked += 1
                raise UpstreamError("it has ended")
            found = {"asked": [one for one in self.of[deployment] if one["n"] > int(after)]}
        elif path == "/shadow/answers" and deployment == self.candidate:
            found = {
                "answers": [
                    {"n": n, "request_id": name}
                    | ({"pair": True} if self.pair else {})
                    | (self.each[n - 1] if self.each else self.answer)
                    for n, (name, _) in enumerate(self.copies, 1)
                    if n > int(after) and not self.silent
                ]
            }
        else:
            assert deployment == self.candidate and path in ("/shadow/pair", "/shadow/chat")
            assert how["headers"]["X-Route"] == "summarize"
            if self.status != 202:
                return self.status, b"{}"
            taken = len(self.copies) < self.room
            if taken:
                self.by.append(how["headers"].get("X-Subject"))
                self.copies.append((how["headers"]["X-Request-ID"], json.loads(how["body"])))
            return 202, json.dumps({"taken": taken}).encode()
        return 200, json.dumps(found).encode()


class Paired:
    def __init__(self, two: Two, root: Path) -> None:
        self.two, self.now = two, 1000.0
        init_lab(root)
        self.worst = WorstPairs(Lab(root))
        self.pairing = Pairing(two, self.worst, lambda: self.now)  # type: ignore[arg-type]
        self.rollout = replace(at(Phase.PROGRESSING), rules=RULES)
        self.evidence = Evidence.of(self.rollout)

    def tick(self) -> Pairs:
        self.pairing.tick(self.rollout, self.evidence)
        return self.evidence.pairs


def test_both_answers_become_a_pair_and_the_worst_is_kept_redacted_and_sealed(
    tmp_path: Path,
) -> None:
    text = "It was in 1843. Write to ada@example.org about that."
    one = Paired(Two(("a", text)), tmp_path)
    pairs = one.tick()
    assert pairs.pairs == 1 and pairs.total["unsupported"].means[0] == 1
    ((_, copy),) = one.two.copies
    assert copy == {"text": text, "max_length": 9}
    kept = one.worst.of(1)
    assert kept and "1843" in kept.text and "ada@" not in kept.text
    assert kept.tested == "It is 7418." and kept.values["unsupported"] == (1.0, 0.0)
    (file,) = (tmp_path / ".llmlab" / "pairs").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600 and b"1843" not in file.read_bytes()
    assert text not in json.dumps(one.evidence.dump())


def conversation(n: int, who: str, text: str, **ended: Any) -> dict[str, Any]:
    """As the stable API tells of one."""
    asked = {"messages": [{"role": "user", "content": text}], "temperature": 0.0}
    fine = {"cut_off": False, "refusal": False, "invalid": None}
    return {"n": n, "at": 2.0 * n, "subject": who, "text": text, "summary": "It is 1843.",
            "options": asked, "by": "", "ended": fine | ended}  # fmt: skip


def test_a_conversation_is_asked_as_it_was_and_held_against_how_it_ended(tmp_path: Path) -> None:
    two = Two()
    two.asked.append(conversation(1, "a", "When was it, in 1843?"))
    two.answer = {"summary": "I can't help with that.",
                  "ended": {"cut_off": False, "refusal": True, "invalid": None}}  # fmt: skip
    one = Paired(two, tmp_path)
    one.rollout = replace(one.rollout, rules=replace(RULES, pairs_gate="refusals<=+0.05"))
    one.evidence = Evidence.of(one.rollout)
    pairs = one.tick()
    assert pairs.total["refusals"].means == (1.0, 0.0)
    ((_, copy),) = two.copies
    assert copy == two.asked[0]["options"]
    two.asked.append(conversation(2, "b", "And now?"))
    two.answer["ended"] = {"cut_off": "no"}
    with pytest.raises(UpstreamError):
        one.tick()


@pytest.mark.parametrize("answer", [{"left_out": True}, {"error": "it failed"}])
def test_an_answer_that_calls_a_tool_or_failed_is_held_against_nothing(
    tmp_path: Path, answer: dict[str, Any]
) -> None:
    two = Two()
    two.asked.append(conversation(1, "a", "Add them."))
    two.answer = answer
    one = Paired(two, tmp_path)
    pairs = one.tick()
    assert (pairs.pairs, pairs.dropped, pairs.missed) == (0, 0, 1) and not one.pairing.waiting


def test_a_copy_that_is_refused_is_waited_for_by_nobody(tmp_path: Path) -> None:
    two = Two(("a", "One."), ("b", "Two."))
    two.status = 422
    one = Paired(two, tmp_path)
    assert one.pairing.tick(one.rollout, one.evidence)
    pairs = one.evidence.pairs
    assert (pairs.pairs, pairs.missed) == (0, 2) and not one.pairing.waiting
    assert not one.pairing.tick(one.rollout, one.evidence), "they are not sent again"
    two.status = 503
    two.asked.append(two.asked[0] | {"n": 3, "at": 9.0, "text": "Three."})
    assert not one.pairing.tick(one.rollout, one.evidence)
    two.status = 202
    assert one.tick().pairs == 1, "nobody was there to read it"


def test_an_answer_without_one_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    one = Paired(Two(("a", "One.")), tmp_path)
    one.two.answer = {}
    with pytest.raises(UpstreamError, match="summary"):
        one.tick()


@pytest.mark.parametrize("kind", [Kind.CANARY, Kind.AB])
def test_equal_versions_that_fail_at_random_are_as_good_as_each_other(
    kind: Kind, tmp_path: Path
) -> None:
    chance, rate = random.Random("fails"), 0.05
    two = Two(*((f"s{n}", f"It was in 1843, {n}.") for n in range(800)), room=800)
    # What the stable version failed is not remembered: it has no such in what it tells.
    two.each = [
        {"error": "it failed"} if chance.random() < rate else {"summary": "It is 1843."}
        for _ in two.asked
    ]
    one = Paired(two, tmp_path)
    arms = AB if kind is Kind.AB else one.rollout.arms
    one.rollout = replace(one.rollout, kind=kind, arms=arms)
    one.evidence = Evidence.of(one.rollout)
    if kind is Kind.AB:
        two.of, two.candidate = {"a": two.asked}, "b"
    failed = sum("error" in each for each in two.each)
    while one.evidence.pairs.pairs + failed < 800:
        one.tick()
    verdict = judge(one.rollout, Evidence.parse(one.evidence.dump()), None)
    shown = outcomes(verdict)
    assert one.evidence.pairs.missed == failed > 0
    assert set(shown.values()) == {Outcome.INCONCLUSIVE if kind is Kind.AB else Outcome.PASS}
    assert "they differ" not in " ".join(one.reason for one in verdict.findings)


def test_who_leaves_out_much_of_what_it_is_sent_is_held_up_until_it_is_less() -> None:
    one = replace(at(Phase.PROGRESSING), rules=RULES)
    evidence = Evidence.of(one)
    evidence.begin(one.step, one.percent)
    pairs = evidence.pairs

    def shown() -> set[Outcome]:
        return set(outcomes(judge(one, Evidence.parse(evidence.dump()), None)).values())

    pairs.miss()
    pairs.miss()
    assert shown() == {Outcome.PASS}, "two are too few to tell"
    for _ in range(400):
        pairs.add(GOOD)
    for _ in range(5):
        pairs.miss()
    assert shown() == {Outcome.PASS}
    pairs.miss()
    assert shown() == {Outcome.INCONCLUSIVE}
    told = " ".join(one.reason for one in judge(one, evidence, None).findings)
    assert "6 of the last 50 copies were failed, refused, or answered by a tool call" in told
    pairs.begin()
    assert shown() == {Outcome.INCONCLUSIVE}, "so it is in the next step"
    for _ in range(45):
        pairs.add(GOOD)
    assert shown() == {Outcome.PASS}
    assert pairs.missed == 8


def test_who_leaves_out_much_and_is_worse_fails_all_the_same() -> None:
    one = replace(at(Phase.PROGRESSING), rules=RULES)
    evidence = Evidence.of(one)
    evidence.begin(one.step, one.percent)
    for number in range(300):
        evidence.pairs.add(BAD)
        if number % 2:
            evidence.pairs.miss()
    assert judge(one, evidence, None).outcome is Outcome.FAIL


def test_what_takes_long_to_measure_is_measured_at_the_next_tick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairing, "BUSY", 0.0)
    one = Paired(Two(("a", "One."), ("b", "Two."), ("c", "Three.")), tmp_path)
    assert [one.tick().pairs for _ in range(4)] == [1, 2, 3, 3]


def test_what_is_sent_and_what_comes_too_late_is_written_down(tmp_path: Path) -> None:
    one = Paired(Two(("a", "One.")), tmp_path)
    one.two.silent = True
    ticks = []
    for seconds in (0.0, 1.0, WITHIN, 1.0):
        one.now += seconds
        ticks.append(one.pairing.tick(one.rollout, one.evidence))
    # It is sent, nothing is new, it is too late, nothing is new.
    assert ticks == [True, False, True, False]
    assert one.evidence.pairs.dropped == 1


def test_a_clients_request_that_is_called_as_a_pair_is_none(tmp_path: Path) -> None:
    one = Paired(Two(("a", "It was in 1843.")), tmp_path)
    one.two.pair = False
    assert one.tick().pairs == 0 and one.pairing.waiting
    one.two.pair = True
    one.pairing.answers_read = 0
    assert one.tick().pairs == 1


def test_of_two_that_both_serve_b_is_asked_what_a_was(tmp_path: Path) -> None:
    one = Paired(Two(("a", "It was in 1843.")), tmp_path)
    arms = Version("base", "base"), Version("tuned-2", "tuned")
    one.rollout = replace(one.rollout, kind=Kind.AB, arms=arms, stable=Version("old", "old"))
    one.evidence = Evidence.of(one.rollout)
    assert one.tick().total["unsupported"].means == (1.0, 0.0)
    assert one.two.told[0] and one.two.told[0].deployment == "base"
    assert not pairs_needs(one.rollout)


def test_all_processes_are_asked_and_one_that_is_away_keeps_nobody_from_telling(
    tmp_path: Path,
) -> None:
    two = Two(("a", "One."))
    second = [dict(two.asked[0], at=2.5, subject="b", text="Two.")]  # of the same number
    two.of |= {"base.2": second, "base.3": None}  # type: ignore[dict-item]
    one = Paired(two, tmp_path)
    assert one.tick().pairs == 2
    assert one.evidence.pairs.read == {"base": 1, "base.2": 1}
    assert len({name for name, _ in two.copies}) == 2
    one.tick()
    assert two.knocked == 1  # it would be waited for each time
    one.now += LASTS / 2
    one.tick()
    assert two.knocked == 2
    two.of = dict.fromkeys(two.of)  # type: ignore[assignment]
    with pytest.raises(UpstreamError):
        one.tick()


def test_a_copy_is_its_clients_whose_name_is_kept_nowhere(tmp_path: Path) -> None:
    one = Paired(Two(("a", "It was in 1843."), ("", "Nobody said who.")), tmp_path)
    assert one.tick().pairs == 2
    assert one.two.by == ["a-in-clear", None]
    assert "in-clear" not in json.dumps(one.evidence.dump())
    assert "in-clear" not in repr(one.worst.of(1))


def test_a_text_and_a_subject_within_a_slice_are_asked_once(tmp_path: Path) -> None:
    one = Paired(Two(("a", "One."), ("b", "One."), ("a", "Two.")), tmp_path)
    one.two.asked[2]["at"] = 0.5
    assert one.tick().pairs == 1
    assert one.tick().pairs == 1


def test_what_a_busy_candidate_does_not_take_waits_and_what_it_never_answers_is_dropped(
    tmp_path: Path,
) -> None:
    one = Paired(Two(("a", "One."), ("b", "Two."), room=1), tmp_path)
    one.two.answer = {"summary": ""}
    assert one.tick().pairs == 1
    assert one.evidence.pairs.total["empty"].means[0] == 1
    assert one.tick().pairs == 1
    one.two.room = 2
    assert one.tick().pairs == 2
    one.two.room, one.two.silent = 3, True
    one.two.asked.append(one.two.asked[0] | {"n": 9, "at": 90.0, "text": "Three."})
    assert one.tick().dropped == 0 and len(one.two.copies) == 3
    one.now += WITHIN
    assert (one.tick().pairs, one.tick().dropped) == (2, 1)


def test_the_order_is_renewed_and_ends_with_the_rollout(tmp_path: Path) -> None:
    one = Paired(Two(), tmp_path)
    one.tick()
    one.tick()
    (told,) = one.two.told
    assert (told.deployment, told.share, told.until) == ("base", 20.0, 1000.0 + LASTS)
    one.now += LASTS / 2
    one.tick()
    assert len(one.two.told) == 2 and one.two.told[1].pseudonyms == told.pseudonyms
    one.pairing.end("summarize")
    assert one.two.told[-1] is None


def test_who_forbids_pairs_later_is_heard_when_the_order_is_renewed(tmp_path: Path) -> None:
    one = Paired(Two(("a", "It was in 1843.")), tmp_path)
    one.two.silent = True
    one.tick()
    assert one.pairing.waiting
    one.two.never = "rollout.pairs_never"
    one.two.asked.append(one.two.asked[0] | {"n": 2, "at": 90.0, "subject": "b", "text": "Two."})
    one.now += LASTS / 4
    for _ in range(2):
        with pytest.raises(UsageError, match=r"rollout\.pairs_never names summarize"):
            one.tick()
    assert one.two.told[-1] is None and not one.pairing.waiting
    assert len(one.two.copies) == 1
    one.two.never = ""
    one.two.silent = False
    assert one.tick().pairs == 1 and len(one.two.copies) == 2


def test_what_forbids_pairs_is_read_from_lab_toml_as_it_is_now(tmp_path: Path) -> None:
    init_lab(tmp_path)
    lab = Lab(tmp_path)
    running = RunningLab(lab)
    assert running.never_paired("summarize") == ""
    before = lab.config_file.read_text()
    for section, path in (("[rollout]\npairs_never", "rollout.pairs_never"),
                          ("[recording]\nnever", "recording.never")):  # fmt: skip
        lab.config_file.write_text(f'{section} = ["summarize"]\n')
        assert running.never_paired("summarize") == path
        assert running.never_paired("chat") == ""
    lab.config_file.write_text(before)
    assert running.never_paired("summarize") == ""


def test_a_pair_that_is_too_old_is_gone_and_one_that_was_changed_is_refused(tmp_path: Path) -> None:
    one = Paired(Two(("a", "It was in 1843.")), tmp_path)
    one.tick()
    (file,) = (tmp_path / ".llmlab" / "pairs").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-9] + b"AAAAAAA=\n")
    with pytest.raises(LlmlabError):
        one.worst.of(1)
    file.write_bytes(content)
    os.utime(file, (1.0, 1.0))
    assert one.worst.of(1) is None and not file.exists()
