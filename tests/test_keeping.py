"""A lab whose processes are killed, or cut off, under load: no request is lost, all are logged."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import psutil
import pytest

from llmlab.engines.local.access_log import lines_since
from llmlab.engines.local.started import read_started
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, answers, wait_until

TEXT = {"text": "The lamp is lit. The coast is near."}


def processes(lab: LabUnderTest, mark: str = "") -> list[psutil.Process]:
    return [one for one in lab_processes(lab.lab.state) if mark in " ".join(one.cmdline())]


@contextmanager
def asked(lab: LabUnderTest, threads: int = 3) -> Iterator[Counter[str]]:
    """Requests without a retry, again and again: what they were answered, how often. Half of the
    threads open a connection for each. The answers are complete after the body."""
    told: Counter[str] = Counter()
    stop = threading.Event()

    def ask(keep: bool) -> None:
        headers = {} if keep else {"Connection": "close"}
        with lab.client() as client:
            while not stop.is_set():
                try:
                    answer = client.post("/summarize/", json=TEXT, headers=headers)
                    told[str(answer.status_code)] += 1
                except httpx2.HTTPError as error:
                    told[type(error).__name__] += 1
                time.sleep(0.005)

    running = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(threads)]
    for one in running:
        one.start()
    try:
        more(told)
        yield told
        more(told)
    finally:
        stop.set()
        for one in running:
            one.join()


def more(told: Counter[str], count: int = 100) -> None:
    """Wait until so many more were answered."""
    before = told.total()
    wait_until(lambda: told.total() >= before + count, 30)


def logged(lab: LabUnderTest, cursor: str) -> tuple[int, str]:
    lines, after = lines_since(lab.lab.logs / "gateway.log", cursor)
    return len(lines), after


@pytest.mark.parametrize(
    "victim", ["supervisor.supervisord", "nginx: master", "-m llmlab.engines.local.keeper"]
)
def test_no_request_is_lost_or_unlogged_when_one_is_killed_who_answers_none(
    lab: LabUnderTest, victim: str
) -> None:
    _, cursor = logged(lab, "")
    killed = processes(lab, victim)[0]
    with asked(lab) as told:
        killed.kill()
        wait_until(lambda: any(one.pid != killed.pid for one in processes(lab, victim)))
        wait_until(lambda: lab.run("status").returncode == 0)
    assert set(told) == {"200"}
    wait_until(lambda: logged(lab, cursor)[0] == told.total(), 5)
    masters = {one.pid for one in processes(lab, "nginx: master")}
    wait_until(lambda: {one.ppid() for one in processes(lab, "nginx: worker")} == masters)


def test_a_log_that_is_full_makes_room_without_losing_a_line(lab: LabUnderTest) -> None:
    log = lab.lab.logs / "gateway.log"
    with log.open("a") as file:
        file.write("x" * 10_000_000 + "\n")
    _, cursor = logged(lab, "")
    with asked(lab) as told:
        wait_until(lambda: log.exists() and log.stat().st_size < 1_000_000)
    assert set(told) == {"200"}
    wait_until(lambda: logged(lab, cursor)[0] == told.total(), 5)


@pytest.mark.parametrize(
    "place", ["api/textrank.sock", "nginx/own/gateway.sock", "supervisor.sock"]
)
def test_what_cannot_be_reached_any_more_is_reached_again(lab: LabUnderTest, place: str) -> None:
    """Its socket was removed, as a tmp cleaner does."""
    socket = lab.lab.runtime_dir / place
    wait_until(lambda: answers(lab))
    keeper = read_started(lab.lab.state, "keeper")
    assert keeper
    since = keeper.starts[-1]
    wait_until(lambda: time.time() - since > 3)  # it has seen it by then
    socket.unlink()
    wait_until(lambda: socket.exists() and lab.run("status").returncode == 0, 90)
    with lab.client() as client:
        assert client.post("/summarize/", json=TEXT).status_code == 200
