"""What the figures of the gate are made of: rollouts that are kept, recorded traffic, and tests
that are looked at once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import fixed_horizon as fixed
from benchmarks import gate_recorded, gate_runs
from benchmarks.gate import rules_of_all
from benchmarks.gate_power import Row, section
from benchmarks.gate_recorded import Resampled, alike
from benchmarks.gate_runs import Ended, Kept
from benchmarks.gate_traffic import KEPT, rows, seen_of
from llmlab.answered import Answer
from llmlab.config.schema import Config
from llmlab.names import CHAT
from llmlab.rollout.all_at_once import ALL_AT_ONCE
from llmlab.rollout.seen import Seen
from llmlab.rollout.simulating import run_in
from llmlab.rollout.state import Phase

SHIPPED = rules_of_all(Config())
QUICK = replace(SHIPPED, interval=5.0, progress_deadline=20.0, steps=(50.0, 100.0), bake=0.0)


# --- everything at once ---------------------------------------------------------------------


def test_all_at_once_is_everything_at_once() -> None:
    run = run_in(ALL_AT_ONCE["all at once, traffic that drifts"], QUICK, 7, 1)
    assert run.rollout.verdict
    judged = {one.metric for one in run.rollout.verdict.findings}
    assert {"errors", "latency p50", "first token p95", "gap p95", "cut off", "refusals"} < judged
    assert {"invalid", "pairs unsupported", "pairs repetition", "pairs language", "text"} < judged
    assert {"pairs longer", "pairs foreign", "pairs refusals", "pairs format"} < judged
    assert not run.aborted


def test_the_same_text_makes_the_same_pair_whoever_sends_it() -> None:
    from llmlab.rollout.worlds import MadeUp

    made = MadeUp(
        ALL_AT_ONCE["all at once, 300 subjects, 40 texts again and again"], random.Random(1)
    )
    texts = Counter(made.text() for _ in range(400))
    assert 100 < texts.pop("") < 300 and len(texts) > 35
    text = next(iter(texts))
    assert made.pair("s1", text, 0.0) is made.pair("s2", text, 9.0)
    assert len({str(made.pair("s1", "", 0.0)) for _ in range(9)}) > 1


# --- what is kept ----------------------------------------------------------------------------


def test_what_is_done_is_not_done_again_but_by_other_rules(tmp_path: Path) -> None:
    file, one = tmp_path / "kept.json", Ended("paused", 9.0, 3, None, None, "")
    kept = Kept(file, QUICK, 1)
    kept.found["a world"] = [one]
    kept.save()
    assert Kept(file, QUICK, 1).found == {"a world": [one]}
    assert not Kept(file, replace(QUICK, alpha=0.1), 1).found and not Kept(file, QUICK, 2).found


def test_rollouts_that_ended_are_counted_by_how() -> None:
    ended = [
        Ended("aborting", 60.0, 9, 9, None, "errors"), Ended("paused", 120.0, 9, None, None, ""),
        Ended("completing", 180.0, 9, None, None, ""),
        Ended("completing", 180.0, 9, None, None, ""),
    ]  # fmt: skip
    found = gate_runs.summed_up(ended, 0.05)
    assert (found.runs, found.aborted, found.paused, found.promoted) == (4, 1, 1, 2)
    assert (found.minutes, found.answers, found.reasons) == (2.5, 9, ("errors",))


# --- recorded traffic --------------------------------------------------------------------------


def test_traffic_is_written_down_and_read_again_without_a_name() -> None:
    answer = Answer(0.2, 0.1, 1.0, 20, cut_off=False, refusal="", invalid=None)
    seen = [
        Seen("d", False, 0.25, subject="ann", at=100.0, answer=answer),
        Seen("d", True, subject="bob", at=101.5),
        Seen("d", False, 9.0, gave_up=True, subject="ann", at=102.0),
        Seen("d", False, refused=True, subject="ann", at=103.0),
    ]
    written = rows(seen)
    assert "ann" not in str(written)
    found = seen_of(written)
    assert found == [
        replace(one, deployment="", at=one.at - 100, subject="s1" if one.subject == "bob" else "s0")
        for one in seen
    ]


def test_what_came_together_is_drawn_together_with_all_of_its_subject() -> None:
    seen = [Seen("", False, 0.1, subject=f"s{n % 3}", at=n / 2) for n in range(400)]
    traffic = Resampled(seen, random.Random(3))
    names: Counter[str] = Counter()
    for second in range(200):
        for at in traffic.arrivals(second):
            assert second <= at < second + 1
            name = traffic.subject()
            names[name] += 1
            assert traffic.answer(name, True, at, None).at == at
    copies = Counter(name.split(".")[0] for name in names)
    assert sum(copies.values()) == 3, "as many subjects as there were, some of them more than once"


def test_the_recorded_traffic_raises_no_alarm_against_itself() -> None:
    import json

    for route, found in json.loads(KEPT.read_text(encoding="utf-8"))["routes"].items():
        seen = seen_of(found)
        gate = SHIPPED.answer_gate if route == CHAT else ""
        rules = replace(SHIPPED, **gate_recorded.SHAPE, answer_gate=gate)
        rules = replace(rules, progress_deadline=60.0)
        run = alike(seen, rules, 1, 1)
        assert run.rollout.phase in (Phase.PAUSED, Phase.COMPLETING) and run.answers, route


def test_a_rate_is_told_with_how_sure_it_is() -> None:
    one = {
        "requests": 900, "subjects": 9, "errors": 9, "judged": "p50<=1.25x", "runs": 1000,
        "aborted": 3, "paused": 7, "promoted": 990, "answers": 400.0, "alpha": 0.05,
    }  # fmt: skip
    told = "\n".join(gate_recorded.section({"date": "2026-01-01", "routes": {"chat": one}}))
    assert "0.3 % (0.1 to 0.9) | 0.7 % | 99.0 %" in told
    assert all(kept for kept, _ in gate_recorded.promises({"routes": {"chat": one}}))
    bad = {"routes": {"chat": one | {"aborted": 70}}}
    assert [kept for kept, _ in gate_recorded.promises(bad)] == [False]


# --- tests that are looked at once ---------------------------------------------------------


def test_a_fixed_test_takes_the_answers_of_the_textbook() -> None:
    """Two shares of 10 % and 15 %, as many of each, one-sided 5 %, 80 %."""
    one = fixed.of_shares(0.10, 0.05, 1e-9, 1.0)
    needed = one.needed(0.05, 0.80)
    assert needed == pytest.approx(538, abs=2)
    assert needed and one.power(0.05, needed) == pytest.approx(0.80, abs=0.002)
    assert one.power(0.05, needed // 4) < 0.5


def test_what_is_allowed_is_never_found() -> None:
    assert fixed.of_shares(0.01, 0.01, 0.01, 19.0).needed(0.05, 0.8) is None
    assert fixed.of_slow(1.25, 1.25, 0.5, 0.5).power(0.05, 1000) == pytest.approx(0.05)
    assert fixed.by_ranks(1.2, 1.25, 0.5, 0.05, 0.8, 0.5) is None
    assert fixed.by_ranks(2.0, 1.25, 0.5, 0.05, 0.8, 0.5) is not None


def test_who_looks_again_and_again_at_a_test_for_one_look_fails_more() -> None:
    how = {"between": 400, "runs": 2000, "seed": 1}
    once = fixed.peeking(0.05, 0.02, 19, 0.05, looks=1, **how)
    often = fixed.peeking(0.05, 0.02, 19, 0.05, looks=40, **how)
    assert once <= 0.06 and often > 3 * once


def test_the_table_says_where_ours_is_worse_and_where_not() -> None:
    row = Row("+10 points of errors", 0.02, 50, 80, 110.0, 0.1, 0.3, 40)
    told = "\n".join(section({
        "rows": [row.__dict__], "share": 5.0, "peeking": 0.2, "once": 0.02, "level": 0.02,
        "wrongly": {"planned": 0.10, "is": 0.03, "n": 80, "power": 0.1}, "by_ranks": 300,
    }))  # fmt: skip
    assert "| +10 points of errors | 2 % | 50 | 80 | 110 | 10 % | 30 % |" in told
    assert "ours has found 10 to 10 %" in told and "20.0 % where that is after every" in told
