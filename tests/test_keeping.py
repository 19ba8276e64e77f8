"""A lab whose processes are killed, or cut off, under load: no request is lost, all are logged."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
from typer.testing import CliRunner

from llmlab.cli.app import app
from llmlab.config import Gateway
from llmlab.engines import probe
from llmlab.engines.local.access_log import lines_since
from llmlab.engines.local.started import read_started
from llmlab.network import listening
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, answers, wait_until

TEXT = {"text": "The lamp is lit. The coast is near."}


def processes(lab: LabUnderTest, mark: str = "") -> list[psutil.Process]:
    return lab_processes(lab.lab.state, mark)


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


@contextmanager
def waiting(lab: LabUnderTest) -> Iterator[list[socket.socket]]:
    """Eight who have sent a request."""
    asking = f"GET /health HTTP/1.1\r\nHost: {lab.url.removeprefix('http://')}\r\n\r\n".encode()
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", lab.port), 120))
            for _ in range(8)
        ]
        for one in clients:
            one.sendall(asking)
        yield clients


def test_who_waits_to_be_accepted_when_the_gateway_is_killed_is_answered_by_the_next(
    lab: LabUnderTest,
) -> None:
    """Its workers hang, so that only the next ones can take who waits in their sockets."""
    yama = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() and yama.exists() and int(yama.read_text()):
        pytest.skip("Yama forbids a user to have sockets of the own processes")
    killed = processes(lab, "nginx: master")[0]
    orphans = killed.children()
    killed.kill()
    killed.wait()
    for worker in orphans:
        worker.suspend()  # not before: who hangs is waked when the head of its group dies
    try:
        with waiting(lab) as clients:
            assert {one.recv(12) for one in clients} == {b"HTTP/1.1 200"}
    finally:
        for worker in orphans:
            worker.resume()
    wait_until(lambda: not any(one.is_running() for one in orphans))


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
    path = lab.lab.runtime_dir / place
    wait_until(lambda: answers(lab))
    keeper = read_started(lab.lab.state, "keeper")
    assert keeper
    since = keeper.starts[-1]
    wait_until(lambda: time.time() - since > 3)  # it has seen it by then
    path.unlink()
    wait_until(lambda: path.exists() and lab.run("status").returncode == 0, 90)
    with lab.client() as client:
        assert client.post("/summarize/", json=TEXT).status_code == 200


def listeners(lab: LabUnderTest) -> set[str]:
    return {ip for ip, _ in listening(processes(lab, "nginx: master")[0].pid)}


def test_the_address_of_a_running_lab_is_changed_and_changed_back_under_load(
    lab: LabUnderTest,
) -> None:
    with asked(lab) as told:
        everywhere = {"0.0.0.0", "127.0.0.1"}  # nobody who waits on loopback is dropped
        for host, there in (("0.0.0.0", everywhere), ("::", {*everywhere, "::"}),
                            ("127.0.0.1", {"127.0.0.1"})):  # fmt: skip
            clear = ["--insecure"] if host != "127.0.0.1" else []
            done = lab.run("up", "--host", host, *clear)
            assert done.returncode == 0, done.stderr
            assert ("travel unencrypted" in done.stderr) is (host != "127.0.0.1")
            assert listeners(lab) == there
            more(told, 20)
    assert set(told) == {"200"}


def test_who_waits_to_be_accepted_when_a_lab_is_opened_to_others_is_answered(
    lab: LabUnderTest,
) -> None:
    """Its workers hang, so that only those who listen everywhere can take them."""
    master = processes(lab, "nginx: master")[0]
    before = master.children()
    opening = threading.Thread(target=lab.run, args=("up", "--host", "0.0.0.0", "--insecure"))
    for worker in before:
        worker.suspend()
    try:
        with waiting(lab) as clients:
            opening.start()
            told = {one.recv(12) for one in clients}
    finally:
        for worker in before:
            worker.resume()
        if opening.ident:
            opening.join()  # else it would open the lab under the next test
    assert told == {b"HTTP/1.1 200"}
    assert listeners(lab) == {"0.0.0.0", "127.0.0.1"}
    lab.ok("up", "--host", "127.0.0.1")


def test_where_addresses_cannot_be_shared_the_gateway_is_started_anew(
    make_lab: Callable[..., LabUnderTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS."""
    for module in ("programs", "gateway"):
        monkeypatch.setattr(f"llmlab.engines.local.{module}.SHARES_PORTS", False)
    one = make_lab()
    for host in ("127.0.0.1", "0.0.0.0"):
        done = CliRunner().invoke(app, ["--lab", str(one.root), "up", "--host", host, "--insecure"])
        assert done.exit_code == 0, done.output
        assert listeners(one) == {host}
    assert "reuseport" not in one.ok("config", "gateway")


def test_status_shows_where_the_gateway_really_listens(lab: LabUnderTest) -> None:
    file = lab.lab.state / "running.json"
    record = file.read_text()
    file.write_text(record.replace('"host": "127.0.0.1"', '"host": "127.0.0.9"'))
    try:
        found = lab.json("status")
    finally:
        file.write_text(record)
    assert found["gateway"]["url"] == lab.url
    assert f"listens on 127.0.0.1:{lab.port}" in found["warnings"][0]


def test_the_labs_own_questions_are_not_limited(lab: LabUnderTest) -> None:
    stop, told = threading.Event(), Counter[int]()

    def flood() -> None:
        with httpx2.Client(base_url=lab.url, trust_env=False) as client:
            while not stop.is_set():
                told[client.get("/health").status_code] += 1

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        wait_until(lambda: told[429] > 50)
        assert probe.gateway_healthy(Gateway(port=lab.port), lab.lab)
        assert lab.json("status")["gateway"]["healthy"]
    finally:
        stop.set()
        thread.join()


def test_a_gateway_that_asks_for_no_token_is_not_brought_up(lab: LabUnderTest) -> None:
    conf = lab.lab.nginx_conf
    kept = conf.read_text()
    conf.write_text(re.sub(r'auth_jwt +"LLM API"[^;]*;', "auth_jwt off;", kept))
    assert conf.read_text() != kept
    try:
        refused = lab.run("up")
    finally:
        conf.write_text(kept)
    assert refused.returncode == 2
    assert "does not ask for a token" in refused.stderr
    assert "Fix: " in refused.stderr
    assert httpx2.get(lab.url, trust_env=False).status_code == 401  # as before


def test_what_the_running_lab_was_brought_up_with_can_be_seen(lab: LabUnderTest) -> None:
    another = {"LLMLAB_GATEWAY_RATE_LIMIT_ENABLED": "true"}
    shown = lab.run("config", "show", "--origin", env=another).stdout
    line = next(one for one in shown.splitlines() if "gateway.rate_limit.enabled" in one)
    assert "true" in line
    assert "the running lab: false" in line
    assert "the running lab" not in lab.ok("config", "show", "--origin")


def test_a_damaged_record_does_not_restart_a_lab_that_is_well(lab: LabUnderTest) -> None:
    before = {one.pid for one in processes(lab)}
    (lab.lab.state / "running.json").write_text('{"engine": "lo')
    assert "running.json) is damaged" in " ".join(lab.run("status").stdout.split())
    lab.ok("up")
    assert {one.pid for one in processes(lab)} == before
    assert lab.json("status")["healthy"]
