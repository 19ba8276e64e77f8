"""A gateway's configurations on the disk, while several processes write them."""

from __future__ import annotations

from pathlib import Path

from llmlab.gateway import Releases


def test_a_release_that_is_there_is_not_taken_away_from_who_reads_it(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases", tmp_path)
    files = {"nginx.conf": "one", "lab/routes.conf": "two"}
    releases.folder.mkdir(mode=0o700)
    name = releases.write(files)
    read = [releases.folder / name, *(releases.folder / name / path for path in files)]
    before = [one.stat().st_ino for one in read]
    assert releases.write(files) == name
    assert [one.stat().st_ino for one in read] == before
    assert [one.name for one in releases.folder.iterdir()] == [name]

    read[-1].write_text("changed by somebody")  # then it is none that was checked
    assert releases.write(files) == name
    assert read[-1].read_text() == "two"
    (read[-1]).unlink()
    assert releases.write(files) == name and read[-1].exists()
