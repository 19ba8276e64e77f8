"""Requests that are looked for in the gateway's log by what they were."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from llmlab.delivery import searching
from llmlab.delivery.charging import Charged
from llmlab.delivery.following import AT_ONCE, STALE, Following
from llmlab.delivery.looking_up import Sought, look_up, search
from llmlab.delivery.searching import Newest, Wanted, backwards
from llmlab.engines.local import access_log
from llmlab.errors import UsageError
from llmlab.lab import Lab
from tests.test_trace import line

NOW = 1_796_000_000.0


def logged(number: int, **values: Any) -> dict[str, Any]:
    """The line of a request, a second after the one before it."""
    return line(at=NOW + number, request_id=f"r{number}", tokens_in=10, tokens_out=2,
                cost=1_500_000, settled=1, **values)  # fmt: skip


def settles(number: int, at: float, **values: Any) -> dict[str, Any]:
    return {"at": NOW + at, "settles": f"r{number}", "subject": "bob", "deployment": "new",
            "tokens_in": -4, "tokens_out": 3, "cost": 500_000, "settled": 1} | values  # fmt: skip


def write(file: Path, lines: Iterable[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    texts = [json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in lines]
    file.write_text("".join(f"{text}\n" for text in texts))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    write(lab.logs / "gateway.log.1", [logged(number) for number in range(6)])
    write(lab.logs / "gateway.log", [logged(number) for number in range(6, 10)])
    return lab


def ids(sought: Sought) -> list[str]:
    return [one.request_id for one in sought.requests]


@pytest.mark.parametrize(
    ("wanted", "of", "is_met"),
    [
        ({"subject": "bob"}, {"subject": "bob"}, True),
        ({"subject": "bob"}, {"subject": "bobby"}, False),
        ({"subject": "bob"}, {"subject": "x", "path": '/"bob"'}, False),
        ({"subject": 'a"\\\u2028é'}, {"subject": 'a"\\\u2028é'}, True),
        ({"model": "new"}, {"deployment": "new"}, True),
        ({"model": "new-1"}, {"deployment": "new", "model": "new-1"}, True),
        ({"model": "other"}, {"route": "other"}, False),
        ({"route": "chat"}, {"route": "chat"}, True),
        ({"route": "chat"}, {"deployment": "chat"}, False),
        ({"status": "429"}, {"status": 429}, True),
        ({"status": "4xx"}, {"status": 429}, True),
        ({"status": "5xx"}, {"status": 429}, False),
        ({"status": "5xx"}, {"status": 200, "broken": 1}, True),
        ({"status": "2xx"}, {"status": 200, "broken": 1}, False),
        ({"request_id": "r1"}, {"request_id": "r12"}, True),
        ({"request_id": "12"}, {"request_id": "r12"}, False),
        ({"since": NOW + 4}, {"at": NOW + 3}, False),
        ({"since": NOW + 4}, {"at": NOW + 5}, True),
    ],
)
def test_a_request_is_one_of_those_that_are_wanted(
    wanted: dict[str, Any], of: dict[str, Any], is_met: bool
) -> None:
    newest = Newest(Wanted(**wanted))
    text = json.dumps(logged(5) | of, separators=(",", ":"), ensure_ascii=False)
    newest.take(text.encode())
    assert len(newest.requests()) == is_met


@pytest.mark.parametrize("status", ["7", "6xx", "2x", "20", "2000", "4xx ", "٤٠٤"])
def test_what_is_no_status_is_refused(status: str) -> None:
    with pytest.raises(UsageError, match="is no status"):
        Wanted(status=status)


def test_the_newest_come_first_over_all_files_and_then_those_before_them(lab: Lab) -> None:
    first = search(lab, Wanted(most=3))
    assert (ids(first), first.has_older) == (["r9", "r8", "r7"], True)
    second = search(lab, Wanted(most=3, before=first.requests[-1].place))
    assert (ids(second), second.has_older) == (["r6", "r5", "r4"], True)
    rest = search(lab, Wanted(most=4, before=second.requests[-1].place))
    assert (ids(rest), rest.has_older) == (["r3", "r2", "r1", "r0"], False)


def test_requests_of_one_moment_are_each_on_one_page(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    write(lab.logs / "gateway.log", [logged(1) | {"request_id": name} for name in "cab"])
    first = search(lab, Wanted(most=2))
    then = search(lab, Wanted(most=2, before=first.requests[-1].place))
    assert (ids(first), ids(then)) == (["c", "b"], ["a"])


def test_what_an_old_worker_still_writes_to_a_renamed_log_is_in_its_order(lab: Lab) -> None:
    with (lab.logs / "gateway.log.1").open("a") as log:
        log.write(json.dumps(logged(8, subject="late"), separators=(",", ":")) + "\n")
    assert [one.subject for one in search(lab, Wanted(most=3)).requests] == ["bob", "late", "bob"]


def test_no_more_of_a_log_is_read_than_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    write(lab.logs / "gateway.log", [logged(number) for number in range(5000)])
    read = []
    whole = searching.backwards

    def counted(log: Path) -> Iterable[bytes]:
        for text in whole(log):
            read.append(text)
            yield text

    monkeypatch.setattr(searching, "backwards", counted)
    assert ids(search(lab, Wanted(most=3))) == ["r4999", "r4998", "r4997"]
    assert len(read) < 10


@pytest.mark.parametrize("block", [1, 7, 64, 1 << 18])
def test_lines_are_read_from_the_end_whatever_a_block_cuts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(searching, "BLOCK", block)
    log = tmp_path / "a.log"
    log.write_bytes("eins\n\nzwei\u2028ü\ndrei\nhalf".encode())
    assert list(backwards(log)) == [b"drei", "zwei\u2028ü".encode(), b"", b"eins"]
    log.write_bytes(b"")
    assert list(backwards(log)) == []


def test_what_is_no_line_of_a_request_is_passed_over(lab: Lab) -> None:
    broken = [b"no json", b"{}", b'{"time":"x","at":1e999}', b'{"at":5', b"\xff\xfe", b"[" * 9000,
              b'{"time":"","at":1.2.3,"request_id":"r1"}',
              b'{"time":"","at":1796000020.0,"request_id":7,"status":200,"rule":"","route":""}',
              b'{"at":1796000020,"settles":"r9","tokens_in":"many"}']  # fmt: skip
    with (lab.logs / "gateway.log").open("ab") as log:
        log.write(b"\n".join(broken) + b"\n" + b'{"time":"","at":1796000021.0,"request_id":"half')
    assert ids(search(lab, Wanted(most=1))) == ["r9"]


def test_what_was_used_after_all_is_told_with_the_request(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    reserved = logged(1) | {"settled": 0}
    write(lab.logs / "gateway.log", [
        reserved, logged(2) | {"settled": 0}, settles(1, 5), settles(2, 6, subject="mallory"),
        settles(9, 7),
    ])  # fmt: skip
    second, first = search(lab, Wanted()).requests
    assert first.charged == Charged(6, 5, 2.0, settled=True)
    assert second.charged == Charged(10, 2, 1.5, settled=False), "another's is not taken"
    (traced,), _ = look_up(lab, ["r1"])
    assert traced.charged == first.charged


class Running:
    """An engine that runs, and what it has been asked."""

    name = "local"

    def __init__(self, log: Path) -> None:
        self.log = log
        self.asked: list[tuple[str, int]] = []

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        lines, cursor_now = access_log.lines_since(self.log, cursor, after=after)
        self.asked.append((cursor, len(lines)))
        return lines, cursor_now


def test_what_is_followed_is_read_once_and_then_only_what_came_since(lab: Lab) -> None:
    log, clock = lab.logs / "gateway.log", [0.0]
    engine: Any = Running(log)
    following = Following(lambda: clock[0])
    wanted = Wanted(most=2)
    assert ids(following.look(lab, engine, wanted)) == ["r9", "r8"]
    with log.open("a") as file:
        file.write(json.dumps(logged(10), separators=(",", ":")) + "\n")
    assert ids(following.look(lab, engine, wanted)) == ["r10", "r9"]
    assert ids(following.look(lab, engine, wanted)) == ["r10", "r9"]
    assert [count for _, count in engine.asked] == [0, 0, 1, 0]
    clock[0] = STALE + 1
    assert ids(following.look(lab, engine, wanted)) == ["r10", "r9"]
    assert engine.asked[-2][0] == "", "nobody has looked for long: it is begun anew"
    for number in range(2 * AT_ONCE):
        following.look(lab, engine, Wanted(subject=f"s{number}"))
    assert len(following) == AT_ONCE


def test_settlements_do_not_become_more_and_more_and_each_is_told_all_the_same() -> None:
    newest = Newest(Wanted(status="5xx"))

    def take(*lines: dict[str, Any]) -> None:
        for one in lines:
            newest.take(json.dumps(one, separators=(",", ":")).encode())

    take(logged(0, status=500) | {"settled": 0}, logged(1, status=500) | {"settled": 0})
    take(settles(1, 3))
    for number in range(2, 400):
        take(logged(number) | {"settled": 0}, settles(number, number + 0.5))
        if not number % 50:
            newest.requests()
    take(settles(0, 400))  # long after its request, and it is its own
    for _ in range(2):
        told = [one.charged for one in newest.requests()]
        assert told == [Charged(6, 5, 2.0, settled=True)] * 2
    assert len(newest._late) < 10
    only = Newest(Wanted(subject="eve"))
    only.take(json.dumps(settles(1, 3), separators=(",", ":")).encode())
    assert not len(only._late), "another's"


def test_who_looks_for_something_else_does_not_wait_for_a_long_search(lab: Lab) -> None:
    log, reached, go_on = lab.logs / "gateway.log", Event(), Event()

    class Slow(Running):
        def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
            if not reached.is_set():
                reached.set()
                assert go_on.wait(30)
            return super().requests_since(cursor, after=after)

    engine: Any = Slow(log)
    following, found = Following(), list[Sought]()
    first = Thread(target=lambda: found.append(following.look(lab, engine, Wanted(most=2))))
    first.start()
    try:
        assert reached.wait(30)
        other = Thread(target=lambda: following.look(lab, engine, Wanted(most=3)))
        other.start()
        other.join(30)
        assert not other.is_alive()
        assert not found
    finally:
        go_on.set()
        first.join(30)
    assert ids(found[0]) == ["r9", "r8"]


@pytest.mark.slow
def test_what_is_rare_is_found_in_full_logs_in_a_few_seconds(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    many = [logged(number) for number in range(24_000)]
    for number in range(4):
        write(lab.logs / f"gateway.log{f'.{number}' if number else ''}", many)
    assert os.path.getsize(lab.logs / "gateway.log") > 9_000_000
    with (lab.logs / "gateway.log.3").open("a") as log:
        log.write(json.dumps(logged(5, subject="rare"), separators=(",", ":")) + "\n")
    start = time.monotonic()
    found = search(lab, Wanted(subject="rare"))
    assert time.monotonic() - start < 15
    assert ids(found) == ["r5"]
