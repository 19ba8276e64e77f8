"""Rounds of tuning and judging: when they end, how, and that the last test is made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.tune.result import Outcome, Round
from llmlab.tune.rounds import Ending, go_on
from llmlab.tune.training import Trained, last_checkpoint
from llmlab.tune.watching import Clock
from llmlab.tune.work import Work


def facts(outcome: str | None, suite: str = "data/validation") -> dict[str, Any]:
    verdict = outcome and {"gate": "coverage>=0.8", "outcome": outcome, "reason": f"so {outcome}"}
    return {"suite": suite, "n": 50, "verdict": verdict, "metrics": {}}


def played(number: int, outcome: str | None, *, out_of_time: bool = False) -> Round:
    trained = Trained(
        steps=9, epochs=1.0, examples=90, left_out=0, losses=((9, 1.0, 1.1),), best_loss=1.1,
        precision="fp32", device="cpu", weights=5, trained_weights=5, out_of_time=out_of_time,
    )  # fmt: skip
    return Round(number, trained, facts(outcome))


class Play:
    """Rounds that come out as was said beforehand."""

    def __init__(self, *outcomes: str | None, test: str | None = "pass", over: bool = False):
        self.outcomes, self.last_test, self.over = outcomes, test, over
        self.rounds: list[int] = []
        self.tests = 0

    def __call__(self, most: int = 3, done: tuple[Round, ...] = (), gated: bool = True) -> Ending:
        return go_on(
            done, most=most, gated=gated, play=self._play, test=self._test,
            is_over=lambda: self.over,
        )  # fmt: skip

    def _play(self, number: int) -> Round:
        self.rounds.append(number)
        return played(number, self.outcomes[number - 1], out_of_time=self.over)

    def _test(self, last: Round) -> dict[str, Any] | None:
        self.tests += 1
        return None if self.last_test is None else facts(self.last_test, "exam")


@pytest.mark.parametrize(
    ("rounds", "test", "outcome", "played_rounds", "tests"),
    [
        (["pass"], "pass", Outcome.ACCEPTED, 1, 1),
        (["fail", "inconclusive", "pass"], "pass", Outcome.ACCEPTED, 3, 1),
        (["pass"], "fail", Outcome.REJECTED, 1, 1),
        (["pass"], "inconclusive", Outcome.INCONCLUSIVE, 1, 1),
        (["pass"], None, Outcome.INCONCLUSIVE, 1, 1),
        (["fail", "fail", "fail"], "pass", Outcome.REJECTED, 3, 0),
        (["fail", "fail", "inconclusive"], "pass", Outcome.INCONCLUSIVE, 3, 0),
    ],
)
def test_rounds_end_with_the_first_that_passes_and_only_that_is_tested(
    rounds: list[str | None], test: str | None, outcome: Outcome, played_rounds: int, tests: int
) -> None:
    play = Play(*rounds, test=test)
    ending = play()
    assert ending.outcome is outcome
    assert play.rounds == list(range(1, played_rounds + 1))
    assert play.tests == tests
    assert ending.reason


def test_when_the_budget_is_used_up_no_further_round_begins_and_no_test_is_made() -> None:
    play = Play("inconclusive", "pass", over=True)
    ending = play()
    assert ending.outcome is Outcome.OUT_OF_BUDGET
    assert "the budget is used up, and validation says so inconclusive" in ending.reason
    assert (play.rounds, play.tests) == ([1], 0)


def test_a_round_that_passes_as_the_budget_ends_is_accepted() -> None:
    assert Play("pass", over=True)().outcome is Outcome.ACCEPTED


def test_without_a_gate_there_is_one_round_and_it_is_tested() -> None:
    play = Play(None, test=None)
    ending = play(most=1, gated=False)
    assert ending.outcome is Outcome.TUNED
    assert (play.rounds, play.tests) == ([1], 1)


def test_rounds_that_were_judged_before_are_not_played_again() -> None:
    play = Play("fail", "fail", "pass")
    ending = play(done=(played(1, "fail"), played(2, "fail")))
    assert play.rounds == [3]
    assert [one.number for one in ending.rounds] == [1, 2, 3]
    play = Play("pass")
    assert play(done=(played(1, "pass"),)).outcome is Outcome.ACCEPTED
    assert play.rounds == []


def test_only_tuned_and_accepted_are_good() -> None:
    assert {one for one in Outcome if one.is_good} == {Outcome.TUNED, Outcome.ACCEPTED}


def test_a_round_is_read_as_it_was_written() -> None:
    one = played(1, "pass")
    assert Round.parse(one.as_json()) == one


# --- what is on the disk ---------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(Lab(tmp_path), "tuned")


PLAN = {"base": "scratch:tiny", "data": "sha256:1", "parameters": {"epochs": 1.0}}


def test_a_tune_that_was_broken_off_is_taken_up_by_the_same_command(work: Work) -> None:
    with work.alone():
        assert work.begin(PLAN, fresh=False) is False
        work.keep(spent=5.0)
        assert work.begin(PLAN, fresh=False) is True
        assert work.state() == {"spent": 5.0, "rounds": []}


def test_another_command_for_the_same_name_is_refused(work: Work) -> None:
    with work.alone():
        work.begin(PLAN, fresh=False)
        with pytest.raises(UsageError, match=r"asked for otherwise \(data\)") as caught:
            work.begin(PLAN | {"data": "sha256:2"}, fresh=False)
        assert "--fresh" in str(caught.value.fix)


def test_fresh_begins_anew(work: Work) -> None:
    with work.alone():
        work.begin(PLAN, fresh=False)
        work.keep(spent=5.0)
        (work.round(1) / "old").touch()
        assert work.begin(PLAN | {"data": "sha256:2"}, fresh=True) is False
        assert work.state()["spent"] == 0
        assert not (work.folder / "round-1").exists()


def test_two_processes_do_not_tune_one_name_at_once(work: Work, tmp_path: Path) -> None:
    other = Work(Lab(tmp_path), "tuned")
    with work.alone(), pytest.raises(UsageError, match="another process"), other.alone():
        pass
    with work.alone():
        pass


def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path: Path) -> None:
    assert last_checkpoint(tmp_path) is None
    for step in (5, 10, 100):
        (tmp_path / f"checkpoint-{step}").mkdir()
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-100" / "trainer_state.json").write_text('{"half')
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_the_clock_counts_the_calls_before() -> None:
    kept: list[float] = []
    clock = Clock(100.0, 101.0, kept.append)
    assert 100 <= clock.spent < 101
    assert not clock.is_over
    assert Clock(102.0, 101.0).is_over
    assert not Clock(102.0, None).is_over
    clock.write_down()
    assert kept[0] >= 100
