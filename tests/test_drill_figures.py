"""What is told of drills that a lab's gate gave back, and of those that it did not."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.drill_clients import ABOUT, CALLERS, LONGER, THREADS, text
from benchmarks.drilling import LAB, WAYS, Aborted, Found, Missed
from benchmarks.drills import BEGIN, END, main, markdown
from llmlab.config import read_config
from llmlab.rollout.answer_gate import parse_answer_gate
from llmlab.rollout.pairs_gate import parse_pairs_gate
from llmlab.service.drill import Kind

STALLS, LANGUAGE = WAYS[1], next(way for way in WAYS if way.name == "other language")


def aborted(seconds: float, percent: float = 25.0, pairs: int = 0) -> Aborted:
    return Aborted(("gap p95", "errors"), int(10 * seconds), pairs, seconds, percent, "It was so.")


def document(*rounds: Found) -> dict[str, object]:
    return {
        "date": "2026-11-30 17:00 UTC", "seconds": 600, "asked_for": 3, "load": 1.5,
        "machine": {"processor": "A", "cores": 2, "memory_gb": 8.0, "system": "Linux"},
        "rounds": {"local": [{name: asdict(one) for name, one in found.items()}
                             for found in rounds]},
    }  # fmt: skip


def test_a_row_has_medians_of_those_that_were_given_back_and_tells_how_many_were() -> None:
    told = markdown(document(
        {STALLS.name: aborted(10)}, {STALLS.name: Missed("paused")},
        {STALLS.name: aborted(30, percent=50.0)},
    ))  # fmt: skip
    (row,) = [line for line in told.splitlines() if line.startswith("| stalls")]
    assert row.endswith("| local | 2 of 3 | gap p95 | 200 (100–300) | - | 20 (10–30) | 50 % |")
    assert "3 times under local" in told and "was asked for" not in told


def test_a_machine_that_was_busy_is_told() -> None:
    found = document({STALLS.name: aborted(10)})
    assert "else to do" not in markdown(found)
    assert "a load of 9 on 2 cores" in markdown(found | {"load": 9.0})


def test_what_its_time_did_not_allow_is_said() -> None:
    told = markdown(document({LANGUAGE.name: aborted(7, pairs=9)}))
    (row,) = [line for line in told.splitlines() if line.startswith("| other language")]
    assert row.endswith("| 1 of 1 | gap p95 | 70 | 9 | 7 | 25 % |")
    assert "Time was over before: late first token under local, stalls under local, " in told
    assert "once under local (3 times was asked for, but time was over)" in told


def test_the_readme_has_the_table_and_what_was_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = json.dumps(document({STALLS.name: aborted(10)}))
    (tmp_path / "drills.json").write_text(kept)
    (tmp_path / "README.md").write_text(f"Before.\n{BEGIN}\n| old |\n{END}\nAfter.\n")
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["drills", "--again", "--to", str(tmp_path)])
        main()
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith(f"Before.\n{BEGIN}\n| | engine |") and "| old |" not in readme
    assert readme.endswith(f"|\n{END}\nAfter.\n") and readme.count("| stalls") == 1
    assert (tmp_path / "drills.json").read_text() == kept


def test_every_kind_of_drill_is_a_way_of_going_wrong_and_is_seen_by_what_the_lab_judges(
    tmp_path: Path,
) -> None:
    assert {way.drill[0] for way in WAYS} == {str(kind) for kind in Kind}
    (tmp_path / "lab.toml").write_text(LAB.format(engine="local", port=8080))
    rules = read_config(tmp_path / "lab.toml").config.rollout
    judged = {"errors", "text", "latency p50"}
    judged |= {one.name for one in parse_answer_gate(rules.answer_gate)}
    judged |= {f"pairs {one.measure}" for one in parse_pairs_gate(rules.pairs_gate)}
    assert {metric for way in WAYS for metric in way.seen_by} <= judged


def test_of_each_callers_texts_a_tenth_is_about_something_and_a_tenth_is_long() -> None:
    chance = random.Random(1)
    mine = len(CALLERS) // THREADS
    for caller in range(mine):
        texts = [text(number, chance) for number in range(caller, 200 * mine, mine)]
        assert sum(ABOUT in one for one in texts) == 20
        assert sum(len(one.split()) > LONGER for one in texts) == 20
        assert len(set(texts)) == 200
