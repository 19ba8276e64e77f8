"""What a judge says of pairs as evidence: what it counts for, what holds a step up, what is
dropped, and who may not judge."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from llmlab.config import Config, read_config
from llmlab.engines.base import Plan
from llmlab.errors import GateFailure, UsageError
from llmlab.judging.asking import Cost
from llmlab.judging.known import Pair
from llmlab.judging.question import task_of
from llmlab.judging.reading import SAME, Choice, Judgement, Place, Reading, refused
from llmlab.lab import Lab, init_lab
from llmlab.models.inspect import ids
from llmlab.registry.catalogue import Catalogue
from llmlab.registry.registry import Registry
from llmlab.rollout import judge_at_start
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.judge_asking import (
    AGAIN,
    AT_ONCE,
    WAITING,
    Batch,
    JudgeAsking,
    LabJudge,
    Said,
    Waiting,
)
from llmlab.rollout.judge_at_start import refuse_unless_judged
from llmlab.rollout.judge_evidence import LONGEST, judged, offer
from llmlab.rollout.judge_told import cost_told, texts_told
from llmlab.rollout.judged_pairs import JudgeCounts, asks_judge
from llmlab.rollout.judging import fail_levels, judge, pass_level
from llmlab.rollout.lately import LATELY
from llmlab.rollout.linting import lint
from llmlab.rollout.pairing import Asked
from llmlab.rollout.pairs_gate import Ended, measured, parse_pairs_gate
from llmlab.rollout.planning import Known, Wish
from llmlab.rollout.state import Finding, Kind, Outcome, Phase, Rules, Version
from llmlab.rollout.worst_pair import WorstPair, WorstPairs
from llmlab.service.settings import Settings
from tests.conftest import wait_until
from tests.rollouts import at

RULES = Rules(pairs=1.0, pairs_gate="judged_worse<=+0.10", min_samples=1, judge_rate=600.0)
SECRET = "The keeper lit the lamp."
WORSE, BETTER = (
    Judgement(Reading(first, "it breaks off"), Reading(second, "it breaks off"))
    for first, second in ((Place.SECOND, Place.FIRST), (Place.FIRST, Place.SECOND))
)
TIE = Judgement(Reading(Place.TIE), Reading(Place.FIRST))
FICKLE = Judgement(Reading(Place.FIRST), Reading(Place.FIRST))
UNREADABLE = Judgement(Reading(None), Reading(Place.FIRST))


def whole(number: int = 0, *, same: bool = False) -> WorstPair:
    mine, theirs = f"mine {number}", f"theirs {number}"
    return WorstPair(1000.0 + number, SECRET, theirs if same else mine, theirs, {})


class Told:
    """A judge who says what it is told to, once it is let.

    Args:
        says: in their turn, then the last one for ever; None for nothing.
    """

    def __init__(self, *says: Judgement | None, silent: str = "") -> None:
        self.says, self.silent = list(says), silent
        self.asked: list[str] = []
        self.versions: Sequence[str] = ()
        self.let = Event()
        self.let.set()

    def __call__(self, pairs: Sequence[Waiting], versions: Sequence[str]) -> Batch:
        assert self.let.wait(10)
        self.versions = versions
        self.asked += [one.pair.a for one in pairs]
        if self.silent:
            return Batch(tuple(Said(one, None) for one in pairs), silent=self.silent)
        said = tuple(Said(one, SAME if one.same else self._next()) for one in pairs)
        count = sum(not one.same for one in pairs)
        return Batch(said, 2 * count, 100 * count, 10 * count, "" if count else None)

    def _next(self) -> Judgement | None:
        return self.says.pop(0) if len(self.says) > 1 else self.says[0]


class Room:
    """A rollout whose pairs are judged, without a lab."""

    def __init__(self, told: Told, root: Path, rules: Rules = RULES) -> None:
        init_lab(root)
        self.told, self.now = told, 1000.0
        self.worst = WorstPairs(Lab(root))
        self.rollout = replace(at(Phase.PROGRESSING), rules=rules)
        self.evidence = Evidence.of(self.rollout)
        self.evidence.begin(self.rollout.step, self.rollout.percent)
        self.asking = JudgeAsking(told, lambda: self.now)

    def offer(self, count: int, *, same: bool = False) -> None:
        for number in range(count):
            self.evidence.pairs.add({})
            pair = whole(number, same=same)
            offer(self.asking, self.rollout, self.evidence, pair, "a task")

    def tick(self) -> bool:
        self.now += 1.0
        return judged(self.asking, self.rollout, self.evidence, self.worst)

    def hear(self, count: int, *, same: bool = False) -> None:
        """So many pairs more, one batch after the other."""
        for first in range(0, count, AT_ONCE):
            self.offer(min(AT_ONCE, count - first), same=same)
            self.tick()
            wait_until(self.tick)

    @property
    def finding(self) -> Finding:
        evidence = Evidence.parse(json.loads(json.dumps(self.evidence.dump())))
        verdict = judge(self.rollout, evidence, None)
        return next(one for one in verdict.findings if one.metric == "pairs judged_worse")


def test_the_gate_takes_it_beside_other_measures_and_only_a_judge_tells_it() -> None:
    gate = parse_pairs_gate("empty<=+0.02 judged_worse<=+0.10")
    assert [one.measure for one in gate] == ["empty", "judged_worse"]
    assert set(measured("One.", "One.", "One.", gate).values) == {"empty"}
    assert asks_judge(RULES)
    assert not asks_judge(replace(RULES, pairs=0.0))
    assert not asks_judge(replace(RULES, pairs_gate="empty<=+0.02"))
    assert "judged_worse" not in Config().rollout.pairs_gate  # words decide unless one asks


@pytest.mark.parametrize(
    ("choice", "shown", "count"),
    [
        (Choice.B, (1.0, 0.0), ""),
        (Choice.A, (0.0, 1.0), ""),
        (Choice.TIE, (0.0, 0.0), ""),
        (Choice.CONTRADICTION, (0.0, 0.0), "contradictions"),
        (Choice.UNREADABLE, None, "abstained"),
        (Choice.REFUSED, None, "abstained"),
        (None, None, "unanswered"),
    ],
)
def test_what_a_judge_says_of_a_pair_counts_for(
    choice: Choice | None, shown: tuple[float, float] | None, count: str
) -> None:
    counts = JudgeCounts()
    assert counts.add(choice) == shown
    found = {name: getattr(counts, name) for name in ("contradictions", "abstained", "unanswered")}
    assert found == dict.fromkeys(found, 0) | ({count: 1} if count else {})


def test_who_is_found_worse_fails_and_the_sentence_says_so_with_what_it_cost(
    tmp_path: Path,
) -> None:
    one = Room(Told(BETTER, WORSE), tmp_path)
    one.hear(24)
    found = one.finding
    assert found.outcome is Outcome.FAIL
    assert "the judge finds 96 % of 24 answers worse than the stable version's and 4 % better" in (
        found.reason
    )
    assert "48 questions, 2400 tokens read and 240 written" in found.reason
    assert (found.figures["questions"], found.figures["tokens_in"]) == (48, 2400)
    assert list(one.told.versions) == ["tuned-2", "base"]
    kept = one.worst.of(1)
    assert kept and (kept.values, kept.judge) == ({"judged_worse": (1.0, 0.0)}, "it breaks off")
    assert SECRET not in json.dumps(one.evidence.dump()) + found.reason


@pytest.mark.parametrize("said", [TIE, FICKLE, SAME])
def test_ties_and_a_judge_that_changes_its_mind_speak_for_it_and_never_against(
    said: Judgement, tmp_path: Path
) -> None:
    one = Room(Told(said), tmp_path, replace(RULES, pairs_required=True))
    one.hear(8, same=said is SAME)
    assert one.finding.outcome is Outcome.INCONCLUSIVE
    one.hear(48, same=said is SAME)
    assert one.finding.outcome is Outcome.PASS
    assert one.finding.figures["contradictions"] == (56 if said is FICKLE else 0)


def test_a_judge_that_is_away_holds_a_step_up_whatever_it_has_said_before(tmp_path: Path) -> None:
    one = Room(Told(TIE), tmp_path)
    assert one.finding.outcome is Outcome.PASS  # no pair yet: how many come is up to clients
    one.offer(1)
    assert one.finding.outcome is Outcome.INCONCLUSIVE
    assert "has said nothing yet of this step" in one.finding.reason
    one.hear(80)
    assert one.finding.outcome is Outcome.PASS
    one.told.silent = "does not answer"
    one.hear(1)
    assert one.finding.outcome is Outcome.INCONCLUSIVE
    assert "the judge does not answer, and nothing passes without it" in one.finding.reason
    one.told.silent = ""
    asked = len(one.told.asked)
    one.offer(1)
    for _ in range(int(AGAIN) - 1):
        one.tick()
    assert len(one.told.asked) == asked  # for a while it is left alone
    wait_until(one.tick)
    assert one.finding.outcome is Outcome.PASS and one.finding.figures["unanswered"] == 1


def test_answers_that_are_the_same_do_not_stand_for_a_judge_that_says_nothing_of_others(
    tmp_path: Path,
) -> None:
    one = Room(Told(None), tmp_path)
    one.hear(8, same=True)
    assert one.finding.outcome is Outcome.PASS  # there is nothing to ask about
    one.offer(1)
    one.hear(48, same=True)
    assert one.finding.outcome is Outcome.INCONCLUSIVE
    assert "nothing yet of the pairs of this step that differ" in one.finding.reason
    one.told.silent = "does not answer"
    one.hear(1)
    one.told.silent = ""
    one.now += AGAIN
    one.hear(8, same=True)
    assert "the judge does not answer, and nothing passes without it" in one.finding.reason
    one.told.says = [TIE]
    one.hear(1)
    assert one.finding.outcome is Outcome.PASS
    one.evidence.begin(one.rollout.step + 1, one.rollout.percent)
    one.told.says = [UNREADABLE]
    one.hear(1)
    one.hear(48, same=True)
    assert one.finding.outcome is Outcome.INCONCLUSIVE
    assert one.evidence.pairs.judge.lately == [False, True, False]


def test_pairs_that_nobody_could_be_asked_about_hold_nothing_up_once_the_judge_is_back(
    tmp_path: Path,
) -> None:
    one = Room(Told(TIE, silent="does not answer"), tmp_path)
    for _ in range(2):
        one.hear(AT_ONCE)
        one.now += AGAIN
    one.told.silent = ""
    one.hear(1)
    assert one.finding.outcome is Outcome.PASS and one.finding.figures["unanswered"] == 8


def test_of_a_and_b_it_is_told_as_well_what_the_judge_took_and_why_it_says_nothing(
    tmp_path: Path,
) -> None:
    one = Room(Told(TIE), tmp_path)
    one.rollout = replace(one.rollout, kind=Kind.AB)
    one.evidence.pairs.compares = True
    one.hear(4)
    assert "no difference is shown" in one.finding.reason
    assert one.finding.reason.endswith("; 8 questions, 400 tokens read and 40 written")
    one.told.silent = "does not answer"
    one.hear(1)
    assert "; the judge does not answer; 8 questions" in one.finding.reason
    assert (one.finding.figures["questions"], one.finding.figures["unanswered"]) == (8, 1)


def test_answers_of_which_a_judge_cannot_say_anything_hold_a_step_up(tmp_path: Path) -> None:
    one = Room(Told(TIE), tmp_path)
    one.hear(LATELY)
    one.told.says = [UNREADABLE]
    one.hear(5)
    assert one.finding.outcome is Outcome.PASS
    one.told.says = [refused("too long")]
    one.hear(1)
    found = one.finding
    assert found.outcome is Outcome.INCONCLUSIVE and found.figures["n"] == LATELY
    assert f"of the last {LATELY} pairs the judge says nothing that counts of 6" in found.reason
    one.told.says = [TIE]
    one.hear(LATELY)
    assert one.finding.outcome is Outcome.PASS


def test_what_it_says_of_an_earlier_step_speaks_against_this_one_and_not_for_it(
    tmp_path: Path,
) -> None:
    one = Room(Told(TIE), tmp_path)
    one.offer(2)
    one.tick()
    one.evidence.begin(one.rollout.step + 1, one.rollout.percent)
    wait_until(one.tick)
    bets = one.evidence.pairs.bets["judged_worse"]
    assert (bets.worse.n, bets.as_good.n) == (2, 0)


def test_a_slow_judge_is_waited_for_by_nobody_and_what_it_has_no_time_for_is_counted(
    tmp_path: Path,
) -> None:
    one = Room(Told(TIE), tmp_path)
    one.told.let.clear()
    one.offer(AT_ONCE)
    assert not one.tick()
    one.offer(WAITING + 3)
    assert not any(one.tick() for _ in range(5)) and not one.told.asked
    assert one.evidence.pairs.judge.dropped == 3
    one.told.let.set()
    wait_until(one.tick)
    assert one.evidence.pairs.judge.questions == 2 * AT_ONCE


@pytest.mark.parametrize(
    ("task", "base", "tested", "dropped", "abstained"),
    [
        (LONGEST - 2, 1, 1, 0, 0),
        (LONGEST - 1, 1, 0, 1, 0),
        (0, LONGEST // 2 + 1, 1, 1, 0),
        (1, 1, LONGEST - 1, 0, 1),
    ],
)
def test_what_is_too_long_is_not_sent_and_who_makes_it_so_is_not_spared(
    task: int, base: int, tested: int, dropped: int, abstained: int, tmp_path: Path
) -> None:
    one = Room(Told(TIE), tmp_path)
    pair = WorstPair(1000.0, "t" * task, "c" * tested, "s" * base, {})
    offer(one.asking, one.rollout, one.evidence, pair, pair.text)
    counts = one.evidence.pairs.judge
    assert (counts.dropped, counts.abstained) == (dropped, abstained)
    assert counts.lately == [False] * abstained
    assert counts.differ == 1 - dropped
    assert len(one.asking._waiting) == 1 - dropped - abstained


def test_so_many_pairs_a_minute_are_asked_about_and_no_more(tmp_path: Path) -> None:
    one = Room(Told(TIE), tmp_path, replace(RULES, judge_rate=7.5))
    one.offer(WAITING)
    one.tick()
    wait_until(lambda: judged(one.asking, one.rollout, one.evidence, one.worst))
    assert len(one.told.asked) == AT_ONCE  # what was saved up until it began
    for _ in range(64):
        if one.tick():
            continue
        if one.asking._asked:
            wait_until(one.asking._asked.done)
    assert len(one.told.asked) == AT_ONCE + 8


def test_what_waits_when_a_rollout_ends_is_asked_by_nobody(tmp_path: Path) -> None:
    one = Room(Told(WORSE), tmp_path)
    one.told.let.clear()
    one.offer(AT_ONCE + 1)
    one.tick()
    one.asking.end()
    one.told.let.set()
    wait_until(lambda: len(one.told.asked) == AT_ONCE)
    assert not any(one.tick() for _ in range(5)) and len(one.told.asked) == AT_ONCE


def test_what_was_asked_for_a_rollout_that_is_over_is_no_evidence_of_the_next(
    tmp_path: Path,
) -> None:
    one = Room(Told(WORSE), tmp_path)
    one.offer(1)
    one.tick()
    one.rollout = replace(one.rollout, number=2)
    wait_until(one.tick)
    assert one.evidence.pairs.bets["judged_worse"].worse.n == 0


def test_a_fault_of_ours_while_it_is_asked_is_told_and_ends_no_controller(tmp_path: Path) -> None:
    one = Room(Told(TIE), tmp_path)
    one.told.says = []
    one.offer(1)
    one.tick()
    wait_until(one.tick)
    assert "the judge failed: IndexError, and nothing passes" in one.finding.reason


def test_a_judge_that_guesses_ends_no_rollout_by_who_looks_after_every_pair() -> None:
    """Two thirds of what it says is a preference, of either one as often."""
    rules, alarms = RULES, 0
    for run in range(60):
        chance, one = random.Random(run), replace(at(Phase.PROGRESSING), rules=rules)
        pairs = Evidence.of(one).pairs
        bets = pairs.bets["judged_worse"]
        for _ in range(400):
            pairs.add_judged(chance.choice([(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]), of_step=True)
            if bets.worse.reached(fail_levels(rules).pairs):
                alarms += 1
                break
    assert alarms <= 2  # of 60 at a level of 1 %, and with 10 points of room


def test_who_is_worse_by_more_than_is_allowed_passes_with_a_small_chance_only() -> None:
    one, passed = replace(at(Phase.PROGRESSING), rules=RULES), 0
    needed = pass_level(one)
    for run in range(60):
        chance, pairs = random.Random(run), Evidence.of(one).pairs
        bets = pairs.bets["judged_worse"]
        for _ in range(400):
            shown = (1.0, 0.0) if chance.random() < 0.30 else (0.0, 0.0)
            pairs.add_judged(shown, of_step=True)
            if bets.as_good.reached(needed):
                passed += 1
                break
    assert passed <= 60 * needed


# --- who may judge ----------------------------------------------------------------------------


REFEREE = """
[models.referee]
runtime = "openai"
base_url = "http://127.0.0.1:9"
model = "hello"
"""


def known(root: Path) -> Known:
    init_lab(root)
    file = root / "configs" / "lab.toml"
    file.write_text(file.read_text() + REFEREE)
    config = read_config(file).config
    runs = Settings(deployment="textrank", name="textrank", model=config.models["textrank"])
    return Known(
        Plan(config, "textrank", (runs,)), Catalogue(config, Registry(Lab(root))), root
    )  # fmt: skip


def test_a_candidate_that_does_not_run_yet_is_known_by_its_model_and_others_need_no_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, asked = known(tmp_path), []

    def told(lab: Lab, judged: list[str], by_name: dict[str, str]) -> None:
        asked.append((lab.root, judged, by_name))

    monkeypatch.setattr(judge_at_start, "allowed_judge", told)
    one = replace(
        at(Phase.STARTING), arms=(Version("other", "referee"),), stable=Version("t", "textrank"),
        rules=RULES,
    )  # fmt: skip
    refuse_unless_judged(replace(one, rules=Rules()), there)
    assert not asked
    refuse_unless_judged(one, there)
    (same,) = ids("referee", there.config.models["referee"], tmp_path)
    assert asked == [(tmp_path, ["other", "t"], {"other": same})]


def test_who_looks_before_it_starts_is_told_that_its_judge_may_not_judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = known(tmp_path)

    def refuses(*_: Any) -> None:
        raise GateFailure("referee may not judge: it was not calibrated", fix="calibrate it")

    monkeypatch.setattr(judge_at_start, "allowed_judge", refuses)
    asks = {"pairs": 0.1, "pairs_gate": "judged_worse<=+0.10"}
    for rules, found in ((asks, True), (asks | {"pairs": 0.0}, False)):
        wish = Wish(Kind.CANARY, ("referee",), rules=rules)
        told = [
            one for one in lint(wish, Lab(tmp_path), there.catalogue, lambda: there)
            if "was not calibrated" in one.message
        ]  # fmt: skip
        assert [(one.severity, one.fix) for one in told] == [("error", "calibrate it")] * found


def paid(root: Path, *budgets: str) -> Known:
    """A lab whose judge is elsewhere and has a price."""
    there = known(root)
    file = root / "configs" / "lab.toml"
    text = file.read_text().replace('model = "hello"', 'model = "hello"\nprice = { input = 1.0 }')
    file.write_text(text + "".join(budgets))
    config = read_config(file).config
    judge = config.judge.model_copy(update={"model": "referee"})
    config = config.model_copy(update={"judge": judge})
    runs = tuple(
        Settings(deployment=name, name=name, model=config.models[name])
        for name in ("textrank", "referee")
    )
    return replace(there, plan=Plan(config, "textrank", runs),
                   catalogue=Catalogue(config, Registry(Lab(root))))  # fmt: skip


@pytest.mark.parametrize(
    ("budget", "limited"),
    [
        ("", False),
        ('who = ["rollout"]\nmoney_per_month = 5.0', True),
        ("tokens_per_day = 1000", True),
        ('who = ["alice"]\nmoney_per_month = 5.0', False),
        ('who = ["rollout"]\nmoney_per_month = 5.0\nshadow = true', False),
        ('by = "claim:team"\nmoney_per_month = 5.0', True),
        ('by = "claim:team"\nwho = ["rollout"]\nmoney_per_month = 5.0', False),
    ],
)
def test_what_a_judge_may_cost_is_told_and_whether_anything_limits_it(
    budget: str, limited: bool, tmp_path: Path
) -> None:
    there = paid(tmp_path, f"\n[[budgets]]\n{budget}\n" if budget else "")
    rules = replace(RULES, judge_rate=20.0)
    note, *warnings = cost_told(rules, there)
    assert "40 questions a minute at most, each of up to 20,000 characters" in note.message
    assert "200,000 tokens read and 10,240 written, 0.2 by its price" in note.message
    assert [one.severity for one in warnings] == ["warning"] * (not limited)
    assert not list(cost_told(replace(rules, pairs_gate="empty<=+0.02"), there))
    wish = Wish(Kind.CANARY, (), rules={"pairs": 0.1, "pairs_gate": RULES.pairs_gate})
    told = lint(wish, Lab(tmp_path), there.catalogue, lambda: there)
    assert note in told and set(warnings) <= set(told)


@pytest.mark.parametrize(
    ("candidate", "stable", "gate", "readers"),
    [
        ("textrank", "textrank", "empty<=+0.02", []),
        ("referee", "textrank", "empty<=+0.02", ["new"]),
        ("textrank", "textrank", RULES.pairs_gate, ["the judge referee"]),
        ("referee", "textrank", RULES.pairs_gate, ["new", "the judge referee"]),
        ("referee", "referee", RULES.pairs_gate, []),
    ],
)
def test_who_elsewhere_reads_what_clients_send_to_a_version_that_is_here_is_told(
    candidate: str, stable: str, gate: str, readers: list[str], tmp_path: Path
) -> None:
    there, rules = paid(tmp_path), replace(RULES, pairs_gate=gate)
    one = replace(
        at(Phase.STARTING), arms=(Version("new", candidate),), stable=Version("old", stable),
        rules=rules,
    )  # fmt: skip
    told = [found.message.partition(" is a model elsewhere")[0] for found in texts_told(one, there)]
    assert told == readers
    assert not list(texts_told(replace(one, rules=replace(rules, pairs=0.0)), there))


def test_a_judge_that_may_not_judge_any_more_is_silent_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmlab.rollout import judge_asking

    failure: list[Exception] = [GateFailure("referee may not judge: the rubric is another one")]

    def fails(*_: Any) -> None:
        raise failure[0]

    monkeypatch.setattr(judge_asking, "allowed_judge", fails)
    ask = LabJudge(Lab(tmp_path), lambda: 1000.0)
    waiting = [Waiting(Pair("pair", "a task", "mine", "theirs"), 1, 1, whole())]
    found = ask(waiting, ("tuned-2", "base"))
    assert found.silent == "may not judge now: referee may not judge: the rubric is another one"
    assert [one.judgement for one in found.said] == [None]
    failure[0] = UsageError("base is the judge: nobody judges himself")
    assert "nobody judges himself" in ask(waiting, ("tuned-2", "base")).silent


def test_who_is_not_asked_is_there_only_if_the_last_question_was_answered(
    tmp_path: Path,
) -> None:
    ask = LabJudge(Lab(tmp_path), lambda: 1000.0)
    same, other = (
        Waiting(Pair("pair", "a task", "theirs", theirs), 1, 1, whole())
        for theirs in ("theirs ", "others")
    )

    def silent(*said: tuple[Waiting, Judgement | None]) -> str | None:
        return ask._come_of([Said(*one) for one in said], Cost(0, 0, 0, 0.0, 0.0)).silent

    by_a_guard = (other, refused("a guard"))
    assert silent((same, SAME), by_a_guard) is None
    assert "does not answer" in str(silent((same, SAME), (other, None), by_a_guard))
    assert silent((same, SAME)) is None
    assert (silent((other, UNREADABLE)), silent((same, SAME)), silent(by_a_guard)) == ("", "", "")
    assert silent((other, None)) and silent((same, SAME)) is None


def test_without_a_lab_nobody_is_asked(tmp_path: Path) -> None:
    init_lab(tmp_path)
    ask = LabJudge(Lab(tmp_path), lambda: 1000.0)
    assert "the lab does not run" in ask([], ("tuned-2", "base")).silent


def test_a_judge_is_shown_a_conversation_as_one_and_a_text_as_what_is_summarized() -> None:
    said = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Who lit it?"}]},
        {"role": "assistant", "refusal": "No."},
        {"role": "user", "content": "Why?"},
    ]
    text = Asked("p", 1, 0.0, "s", "A keeper lit it.", "It is lit.", {}, None)
    talk = replace(text, options={"messages": said}, ended=Ended(False, False))
    assert task_of(text.case) == "Summarize this text:\n\nA keeper lit it."
    assert task_of(talk.case) == (
        "system: Be brief.\n\nuser: Who lit it?\n\nassistant: No.\n\nuser: Why?"
    )
