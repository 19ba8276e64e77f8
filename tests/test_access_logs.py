"""Reading the gateway's access log, each line once: files that are rotated, and Docker's."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from llmlab.engines.compose.access_log import LogLines
from llmlab.engines.compose.access_log import lines_since as docker_lines_since
from llmlab.engines.local.access_log import lines_since
from llmlab.errors import UsageError
from llmlab.rotation import LOG_BYTES, copy_and_cut, is_full
from llmlab.rotation import rotate as rename


def write(log: Path, *lines: str) -> None:
    with log.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def rotate(log: Path) -> None:
    """Rename it, and have its writer open a new one."""
    rename(log)
    log.touch()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "gateway.log"


def test_without_a_log_there_is_nothing_yet(log: Path) -> None:
    lines, cursor = lines_since(log, "")
    assert lines == []
    write(log, "one")
    assert lines_since(log, cursor)[0] == ["one"]


def test_an_empty_cursor_starts_at_the_end_and_zero_at_the_oldest_line(log: Path) -> None:
    write(log, "one")
    rotate(log)
    write(log, "two")
    lines, cursor = lines_since(log, "")
    assert lines == []
    write(log, "three")
    assert lines_since(log, cursor)[0] == ["three"]
    assert lines_since(log, "0")[0] == ["one", "two", "three"]


def test_a_line_is_given_out_once_it_is_whole(log: Path) -> None:
    write(log, "one")
    with log.open("a") as file:
        file.write("tw")
    lines, cursor = lines_since(log, "0")
    assert lines == ["one"]
    with log.open("a") as file:
        file.write("o\nthr")
    lines, cursor = lines_since(log, cursor)
    assert lines == ["two"]
    assert lines_since(log, "")[1] == cursor


def test_what_ends_a_line_elsewhere_ends_none_here(log: Path) -> None:
    told = '{"subject":"mal\u2028lo\u0085ry"}'
    write(log, told)
    assert lines_since(log, "0")[0] == [told]
    docker = LogLines("0")
    docker.read(f"2026-11-25T12:00:00.000000001Z {told}\n")
    assert docker.lines == [told]
    assert docker.cursor == "2026-11-25T12:00:00.000000001Z#1"


def test_a_rotation_loses_and_repeats_nothing(log: Path) -> None:
    chance = random.Random(7)
    written: list[str] = []
    read: list[str] = []
    write(log)
    cursor = "0"
    for number in range(500):
        what = chance.random()
        if what < 0.7:
            written.append(f"line {number}")
            write(log, written[-1])
        elif what < 0.75 and log.stat().st_size:
            rotate(log)
            lines, cursor = lines_since(log, cursor)
            read += lines
        else:
            lines, cursor = lines_since(log, cursor)
            read += lines
    read += lines_since(log, cursor)[0]
    assert read == written


def test_what_is_written_to_a_log_after_it_was_renamed_is_read_as_well(log: Path) -> None:
    """By a worker of NGINX that answers its last requests after a reload."""
    write(log, "one")
    late = log.open("a")
    rotate(log)
    write(log, "three")
    lines, cursor = lines_since(log, "0")
    assert lines == ["one", "three"]
    late.write("two\n")
    late.flush()
    write(log, "four")
    lines, cursor = lines_since(log, cursor)
    assert sorted(lines) == ["four", "two"]
    rotate(log)  # it is .2 by now
    late.write("late\n")
    late.close()
    lines, cursor = lines_since(log, cursor)
    assert lines == ["late"]
    assert lines_since(log, cursor) == ([], cursor)


def test_a_cursor_of_one_place_from_an_older_version_goes_on_there(log: Path) -> None:
    write(log, "old")
    rotate(log)
    write(log, "one")
    _, cursor = lines_since(log, "0")
    write(log, "two")
    assert lines_since(log, cursor.split(",")[-1])[0] == ["two"]


def test_a_log_that_its_writer_holds_open_is_copied_and_cut(log: Path) -> None:
    with log.open("a") as writer:
        for number in range(5):
            writer.write(f"line {number}\n")
            writer.flush()
            copy_and_cut(log)
        writer.write("last\n")
    names = sorted(file.name for file in log.parent.iterdir())
    assert names == ["gateway.log", *(f"gateway.log.{number}" for number in (1, 2, 3))]
    assert log.read_text() == "last\n"
    assert Path(f"{log}.1").read_text() == "line 4\n"


def test_a_log_is_full_at_ten_megabytes(log: Path) -> None:
    assert not is_full(log)
    log.touch()
    os.truncate(log, LOG_BYTES - 1)
    assert not is_full(log)
    os.truncate(log, LOG_BYTES)
    assert is_full(log)


def test_files_from_before_a_time_are_not_read_by_who_asks_for_later_lines(log: Path) -> None:
    for number in range(3):
        write(log, f"line {number}")
        rotate(log)
        os.utime(f"{log}.1", (1000 + number, 1000 + number))
    write(log, "last")
    os.utime(log, (900, 900))  # the newest is always read
    lines, cursor = lines_since(log, "0", after=1001)
    assert lines == ["line 1", "line 2", "last"]
    assert lines_since(log, cursor, after=2000) == ([], cursor)
    write(log, "more")
    assert lines_since(log, cursor, after=9e9)[0] == ["more"]


def test_after_too_many_rotations_one_goes_on_with_the_oldest_line_there_is(log: Path) -> None:
    write(log, "lost")
    _, cursor = lines_since(log, "")
    for number in range(4):
        write(log, f"line {number}")
        rotate(log)
    assert lines_since(log, cursor)[0] == ["line 1", "line 2", "line 3"]


def test_a_new_file_that_took_the_place_of_an_old_one_is_not_taken_for_it(log: Path) -> None:
    write(log, "old 1", "old 2")
    _, cursor = lines_since(log, "")
    with log.open("r+") as file:  # the very same inode
        file.truncate()
    write(log, "new 1", "new 2", "new 3")
    assert lines_since(log, cursor)[0] == ["new 1", "new 2", "new 3"]


@pytest.mark.parametrize("cursor", ["x", "1:2", "a:b:c", "-"])
def test_what_is_no_cursor_is_refused(log: Path, cursor: str) -> None:
    write(log, "one")
    with pytest.raises(UsageError, match="no place in the access log"):
        lines_since(log, cursor)
    with pytest.raises(UsageError, match="no place in the access log"):
        docker_lines_since(Container([]), cursor)


class Container:
    """A container of the Docker SDK, as far as its log goes: (time, line)."""

    def __init__(self, log: list[tuple[str, str]]) -> None:
        self.log = log

    def logs(self, *, tail: int = 0, since: float = 0.0, **_: Any) -> bytes:
        from datetime import datetime

        def seconds(time: str) -> float:
            return datetime.fromisoformat(f"{time[:26]}+00:00").timestamp()

        lines = [f"{time} {line}" for time, line in self.log if seconds(time) >= since]
        return "\n".join([*lines[-tail:], ""]).encode()


def at(nanoseconds: int) -> str:
    return f"2026-01-01T10:00:00.{nanoseconds:09}Z"


def test_lines_of_one_moment_are_told_apart_in_dockers_log() -> None:
    container = Container([(at(1), "{1}"), (at(5), "{2}"), (at(5), "{3}")])
    lines, cursor = docker_lines_since(container, "0")
    assert lines == ["{1}", "{2}", "{3}"]
    container.log += [(at(5), "{4}"), (at(6), "no JSON"), (at(6), "{5}")]
    lines, cursor = docker_lines_since(container, cursor)
    assert lines == ["{4}", "{5}"]
    assert docker_lines_since(container, cursor) == ([], cursor)


def test_an_empty_cursor_starts_at_the_end_of_dockers_log_too() -> None:
    container = Container([(at(1), "{1}"), (at(5), "{2}"), (at(5), "{3}")])
    lines, cursor = docker_lines_since(container, "")
    assert lines == []
    container.log.append((at(5), "{4}"))
    assert docker_lines_since(container, cursor)[0] == ["{4}"]
    empty = Container([])
    _, cursor = docker_lines_since(empty, "")
    empty.log.append((at(1), "{1}"))
    assert docker_lines_since(empty, cursor)[0] == ["{1}"]
