"""The benchmarks: what they make of their measurements, and one small run of all of it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import Cell, Visit, percentile, texts_between
from benchmarks.load import Result, Shot
from benchmarks.overload import outcome
from benchmarks.report import digits, markdown, ratio
from benchmarks.roster import ENTRIES, Unavailable, chosen
from benchmarks.targets import judged
from benchmarks.usage import Usage
from tests.conftest import clean_env

TOP = Path(__file__).parents[1]


def shots(*times: tuple[float, float], status: int = 200) -> list[Shot]:
    return [Shot(start, end, status) for start, end in times]


def a_cell(rate: float = 1.0, p50: float = 1.0, p95: float = 1.0) -> Cell:
    return Cell(
        rate=rate, slowest=rate, fastest=rate, p50=p50, p95=p95, cpu=0.5, memory=100.0,
        answered=10, failed=0,
    )  # fmt: skip


# --- Figures -----------------------------------------------------------------


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (75, 3), (95, 4), (100, 4), (0, 1)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == value


def test_a_percentile_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_a_text_counts_for_the_part_of_it_that_was_measured() -> None:
    within, half, quarter, outside = (2, 4), (0, 4), (7, 11), (9, 12)
    assert texts_between(shots(within, half, quarter, outside), 2, 8) == 1 + 0.5 + 0.25


def test_texts_that_were_not_answered_do_not_count() -> None:
    assert texts_between(shots((2, 4), status=429), 0, 10) == 0


def test_lock_step_batches_give_the_rate_at_which_they_are_done() -> None:
    batches = [(10 * number, 10 * number + 10) for number in range(10)]
    texts = shots(*(times for times in batches for _ in range(16)))
    for begin in (0.0, 3.0, 9.9):
        assert texts_between(texts, begin, begin + 47) / 47 == pytest.approx(1.6)


def test_cpu_time_is_interpolated_between_samples() -> None:
    usage = Usage(moments=[0.0, 10.0, 20.0], cpu=[1.0, 3.0, 13.0], resident=[1, 1, 1])
    assert usage.cpu_between(5.0, 15.0) == 8.0 - 2.0
    assert usage.cpu_between(-5.0, 99.0) == 12.0


def test_a_visit_says_what_each_text_cost() -> None:
    usage = Usage(moments=[0.0, 10.0], cpu=[0.0, 20.0], resident=[50 << 20, 70 << 20])
    visit = Visit.of(Result(0.0, 10.0, shots((0, 5), (5, 10), (9, 11))), usage)
    assert (visit.rate, visit.latencies) == (0.25, (5, 5))
    assert (visit.cpu, visit.memory, visit.failed) == (20.0, 70.0, 0)


def test_a_cell_is_all_its_rounds_together() -> None:
    quick = Visit(texts=30, seconds=10, latencies=(1.0,) * 3, cpu=6, memory=80, failed=0)
    slow = Visit(texts=10, seconds=10, latencies=(9.0,), cpu=4, memory=90, failed=1)
    cell = Cell.of([quick, slow])
    assert (cell.rate, cell.slowest, cell.fastest) == (2.0, 1.0, 3.0)
    assert (cell.p50, cell.p95, cell.cpu, cell.memory, cell.failed) == (1.0, 9.0, 0.25, 90, 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234.5, "1234"), (12.34, "12.3"), (0.98765, "0.988"), (0.00123, "0.00123")],
)
def test_figures_have_three_digits_that_matter(value: float, text: str) -> None:
    assert digits(value) == text


def test_a_ratio_to_nothing_is_a_dash() -> None:
    assert (ratio(3.0, 2.0), ratio(3.0, 0.0)) == ("1.50", "–")


# --- Targets -----------------------------------------------------------------


def test_targets_are_judged_for_the_systems_that_were_measured() -> None:
    cells = {("f", "beams", 32): a_cell(10.0), ("g", "beams", 32): a_cell(9.5)}
    (only,) = judged(cells)
    assert (only.found, only.wanted, only.met) == (0.95, "≥ 0.9", True)


def test_a_target_that_is_missed_says_so() -> None:
    cells = {
        ("a", "beams", 32): a_cell(1.0), ("g", "beams", 32): a_cell(11.0, p95=3.0),
        ("d", "beams", 32): a_cell(12.0, p95=4.0),
    }  # fmt: skip
    found = {one.what.split(": ")[1]: one.met for one in judged(cells)}
    assert found == {
        "texts/s (g) / (a)": False, "texts/s (g) / (d)": False, "p95 (g) / (d)": True,
    }  # fmt: skip


# --- Who takes part ----------------------------------------------------------


def test_without_names_all_take_part_and_any_can_be_left_out() -> None:
    assert [one.letter for one in chosen(["g", "f"], [])] == ["f", "g"]
    assert {one.letter for one in chosen(["d", "e", "g"], ["litserve", "e"])} == {"g"}
    assert len({entry.letter for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize(("only", "without"), [(["x"], []), ([], ["nginx"])])
def test_a_name_that_is_none_is_an_error(only: list[str], without: list[str]) -> None:
    with pytest.raises(Unavailable):
        chosen(only, without)


def test_a_peer_that_is_not_installed_is_an_error_that_says_how(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="--without litserve"):
        chosen(["d"], [])


# --- Overload ----------------------------------------------------------------


def test_overload_counts_what_became_of_every_request() -> None:
    calm = shots(*((second, second + 4.0) for second in range(100)))
    turned_away = [Shot(second, second + 0.01, 429, 3) for second in range(100)]
    lost = [Shot(50.0, 80.0, 0), Shot(50.0, 50.5, 429)]
    usage = Usage([0.0, 50.0, 99.0], [0.0] * 3, [100 << 20, 200 << 20, 220 << 20])
    result = Result(0.0, 100.0, [*calm, *turned_away, *lost], [0.01, math.inf])
    found = outcome(1.0, 3.0, result, usage)
    assert found.statuses == {0: 1, 200: 100, 429: 101}
    assert found.goodput == pytest.approx(1.0, rel=0.05)
    assert found.memory == {"before": 100, "settled": 200, "end": 220}
    judgements = {one.what: one.met for one in found.judged()}
    assert judgements == {
        "goodput / capacity": True,
        "rejected without Retry-After": False,
        "seconds to a 429, p99": True,
        "requests that got neither 200 nor 429": False,
        "memory at the end / in the middle": False,
        "seconds of the slowest health check": False,
    }


# --- A small run -------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the results of a smoke run with a tiny model."""
    pytest.importorskip("ctranslate2")
    folder = tmp_path_factory.mktemp("bench")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--shape", "tiny", "--quick", "--only", "f,g",
         "--concurrency", "1,32", "--work", str(folder / "work"), "--to", str(folder / "results")],
        cwd=TOP, env=clean_env(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder / "results"


def test_a_run_writes_what_it_measured_for_machines(run: Path) -> None:
    document = json.loads((run / "results.json").read_text())
    cells = {(cell["system"], cell["concurrency"]): cell for cell in document["cells"]}
    assert set(cells) == {("f", 1), ("f", 32), ("g", 1), ("g", 32)}
    for cell in cells.values():
        assert cell["rate"] > 0
        assert 0 < cell["p50"] <= cell["p95"]
        assert cell["cpu"] > 0
        assert cell["memory"] > 10
        assert cell["failed"] == 0
    assert document["quick"]
    assert document["versions"]["ctranslate2"]
    assert document["machine"]["cores"] >= 1


def test_a_run_writes_a_table_for_people(run: Path) -> None:
    text = (run / "RESULTS.md").read_text()
    assert text == markdown(json.loads((run / "results.json").read_text()))
    assert "A smoke run" in text
    assert "| 32 | g |" in text
    assert "texts/s (g) / (f)" in text


def test_a_run_leaves_no_process_behind(run: Path) -> None:
    import psutil

    work = str(run.parent / "work")
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    assert not [line for line in left if line and any(work in word for word in line)]
