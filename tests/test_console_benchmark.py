"""The benchmark of open consoles: what it makes of its measurements, and how consoles are held."""

from __future__ import annotations

import json
import socket
import threading
from typing import Any

import pytest

from benchmarks.console import Kept, Pair, Turn, interval, judged, markdown
from benchmarks.systems import Failed
from benchmarks.watching import Watch, watching


def pairs(*ratios: float) -> list[Pair]:
    return [Pair(Turn(100 * ratio, 0.1), Turn(100.0, 0.0)) for ratio in ratios]


@pytest.mark.parametrize(
    ("count", "found"),  # of 1 to so many; by tables of the binomial distribution
    [(1, (1, 1)), (2, (1, 2)), (5, (1, 5)), (6, (1, 6)), (9, (2, 8)), (12, (3, 10)), (15, (4, 12)),
     (20, (6, 15))],
)  # fmt: skip
def test_the_interval_of_a_median_goes_by_the_order_of_its_values(
    count: int, found: tuple[int, int]
) -> None:
    assert interval([float(one) for one in range(count, 0, -1)]) == found


def test_targets_are_judged_by_the_median_of_the_pairs_and_by_what_memory_grew() -> None:
    good, leaking = Kept(50.0, 51.0, 10, 900, 9000), Kept(50.0, 60.0, 10, 900, 9000)
    rates, memory = judged(pairs(0.90, 0.96, 0.97), good)
    assert (rates.found, rates.met, memory.met) == (pytest.approx(0.96), True, True)
    rates, memory = judged(pairs(0.90, 0.94, 0.97), leaking)
    assert (rates.met, memory.met, memory.found) == (False, False, 1.2)


def test_the_page_says_what_was_found_and_that_a_smoke_run_is_none() -> None:
    found = pairs(0.96, 0.97)
    document: dict[str, Any] = {
        "date": "today", "quick": True, "seconds": 120, "streams": ["/console/overview/live"],
        "machine": {"processor": "one", "cores": 2, "memory_gb": 8, "system": "Linux"},
        "pairs": [{"watched": vars(one.watched), "alone": vars(one.alone)} for one in found],
        "idle": 0.034, "kept": vars(Kept(50.0, 51.0, 0.5, 900, 9000)),
        "targets": [vars(one) for one in judged(found, Kept(50.0, 51.0, 0.5, 900, 9000))],
    }  # fmt: skip
    said = markdown(json.loads(json.dumps(document)))
    assert "smoke run" in said and "| met |" in said and "0.965" in said and "3.4 %" in said
    assert "smoke run" not in markdown(document | {"quick": False})


class Console:
    """What answers for one, on a socket; each stream is two events long, and then asked for again.

    Args:
        head: of each of its answers.
    """

    def __init__(self, head: bytes) -> None:
        self._head, self.asked = head, list[bytes]()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(4096))
                connection.sendall(self._head + b"data: one\n\ndata: two\n\n")

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


def test_consoles_are_held_by_turns_and_told_what_they_were_sent() -> None:
    console = Console(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        with watching(Watch(console.port, ["/a", "/b"], ["first", "second"], 4)) as sent:
            assert sent.events == 0  # it is told at the end
    finally:
        console.close()
    assert sent.opened >= 4 and sent.events >= 8 and sent.bytes >= 8 * len(b"data: one\n\n")
    heads = {one.split(b"\r\n")[0] for one in console.asked}
    assert heads == {b"GET /a HTTP/1.0", b"GET /b HTTP/1.0"}
    assert any(b"Authorization: Bearer second" in one for one in console.asked)


def test_a_console_that_is_not_let_in_is_no_measurement() -> None:
    console = Console(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    try:
        with pytest.raises(Failed), watching(Watch(console.port, ["/a"], ["first"], 2)):
            pass
    finally:
        console.close()
