"""The file of what budgets have counted: kept when it changes, set aside when it is damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlab.bounds import MOST_COUNTS
from llmlab.engines.budget_counts import FILE, crowded, set_aside_damaged
from llmlab.engines.local import counts
from llmlab.lab import Lab


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    one = Lab(tmp_path)
    one.make_state()
    one.counts_folder.mkdir(parents=True)
    yield one
    (one.counts_folder / FILE).unlink(missing_ok=True)
    os.removedirs(one.counts_folder)


def counted(lab: Lab, **values: int) -> None:
    text = json.dumps({key: {"value": value, "expire": 1} for key, value in values.items()})
    (lab.counts_folder / FILE).write_text(text)


def test_what_nginx_has_written_is_kept_and_what_has_not_changed_is_not_read(lab: Lab) -> None:
    counts.keep(lab)  # of a lab without budgets
    kept = lab.state / "counts" / FILE
    assert not kept.exists()
    counted(lab, a=1)
    counts.keep(lab)
    assert json.loads(kept.read_text())["a"]["value"] == 1
    before = kept.stat()
    counts.keep(lab)
    assert kept.stat() == before
    counted(lab, a=2)
    counts.keep(lab)
    assert json.loads(kept.read_text())["a"]["value"] == 2
    counted(lab)  # and one that nobody has counted anything in does not replace it
    counts.keep(lab)
    assert json.loads(kept.read_text())["a"]["value"] == 2


def test_what_is_damaged_is_set_aside_and_the_rest_stays(tmp_path: Path) -> None:
    for name, text in {"cut": '{"a": {"val', "whole": "{}", "empty": "", "bytes": "\0"}.items():
        (tmp_path / f"{name}.json").write_text(text)
    assert {one.name for one in set_aside_damaged(tmp_path)} == {"cut.damaged", "bytes.damaged"}
    assert {one.name for one in tmp_path.glob("*.json")} == {"whole.json", "empty.json"}
    os.mkfifo(tmp_path / "pipe.json")  # which a container could make, and which nobody waits for
    (tmp_path / "link.json").symlink_to("/etc/passwd")
    assert set_aside_damaged(tmp_path) == []


def test_a_warning_comes_before_there_is_no_room_for_counts(tmp_path: Path) -> None:
    file = tmp_path / FILE
    assert crowded([file]) == ()
    one = {"value": 1, "expire": 1}
    for number, warned in ((MOST_COUNTS // 2, False), (MOST_COUNTS * 9 // 10, True)):
        file.write_text(json.dumps({str(key): one for key in range(number)}))
        assert bool(crowded([tmp_path / "none", file])) == warned
    assert "Fix:" in crowded([file])[0]
