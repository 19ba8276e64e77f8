"""The local engine: up, down, and everything that can go wrong between."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from llmlab import Client
from llmlab.client import RetryPolicy
from llmlab.engines import probe
from llmlab.processes import lab_processes, runs
from tests.conftest import LabUnderTest, answers, wait_until

MakeLab = Callable[..., LabUnderTest]


def processes(lab: LabUnderTest, mark: str = "") -> list[psutil.Process]:
    return lab_processes(lab.lab.state, mark)


@pytest.fixture
def fresh(make_lab: MakeLab) -> Iterator[LabUnderTest]:
    one = make_lab(gateway__rate_limit__enabled="false")
    yield one
    one.run("down")


def test_down_leaves_no_process_and_no_listener(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    assert len(processes(fresh)) >= 4  # supervisor, gateway with its workers, API
    fresh.ok("down")
    assert processes(fresh) == []
    with socket.socket() as knock:
        assert knock.connect_ex(("127.0.0.1", fresh.port)) != 0
    assert not list(fresh.lab.runtime_dir.glob("**/*.sock"))


def test_a_lab_works_in_a_folder_with_spaces_and_signs_in_its_name(
    tmp_path: Path, make_lab: MakeLab
) -> None:
    odd = make_lab()
    root = tmp_path / "ünser Labor 100% (neu); #1"
    odd.root.rename(root)
    odd.root = root
    odd.ok("up")
    assert odd.ok("summarize", "-", stdin="The lamp is lit. The coast is near.").strip()
    odd.ok("down")
    assert processes(odd) == []


def test_state_and_secrets_are_for_their_owner_only(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    assert stat.S_IMODE(fresh.lab.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(fresh.lab.keys_file.stat().st_mode) == 0o600
    jwk = fresh.lab.state / "gateway" / "current" / "llmapi.jwk"
    assert stat.S_IMODE(jwk.stat().st_mode) == 0o600
    runtime = fresh.lab.runtime_dir
    assert not stat.S_IMODE((runtime / "api").stat().st_mode) & 0o007
    assert not stat.S_IMODE((runtime / "supervisor.sock").stat().st_mode) & 0o077


def test_no_process_of_a_lab_inherits_a_token_or_shows_a_secret(fresh: LabUnderTest) -> None:
    done = fresh.run("up", env={"LLMLAB_TOKEN": "hush", "HF_TOKEN": "hush-too"})
    assert done.returncode == 0
    secret = fresh.lab.keys_file.read_text().split('"k": "')[1].split('"')[0]
    for process in processes(fresh):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            assert "hush" not in str(process.environ())
            assert secret not in " ".join(process.cmdline())


def test_everything_binds_to_loopback(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    listening = [
        connection.laddr
        for process in processes(fresh)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {(one.ip, one.port) for one in listening} == {("127.0.0.1", fresh.port)}


@pytest.mark.parametrize("victim", ["llmlab.service", "nginx: master", "nginx: worker"])
def test_killing_a_process_under_load_is_survived(
    fresh: LabUnderTest, article: str, victim: str
) -> None:
    fresh.ok("up")
    _kill_under_load(fresh, article, victim)


@pytest.mark.parametrize("victim", ["tiny.sock", "tiny.spare.sock"])
def test_killing_a_process_of_a_model_that_is_slow_to_start_is_survived(
    fresh: LabUnderTest, article: str, victim: str, tiny_t5: Path
) -> None:
    _serve(fresh, tiny_t5)
    wait_until(lambda: fresh.status()["deployments"][0]["spare"] == "ready", 60)
    _kill_under_load(fresh, article, victim)
    # What was killed comes back as well, and the lab can bear the next one.
    wait_until(lambda: probe.ready(fresh.lab.api_socket(victim.removesuffix(".sock"))), 60)


def _serve(lab: LabUnderTest, folder: Path) -> None:
    """Bring the lab up with the transformers model in ``folder`` as its stable one, `tiny`."""
    lab.lab.config_file.write_text(
        lab.lab.config_file.read_text()
        + f'\n[models.tiny]\nruntime = "transformers"\nsource = "path:{folder}"\n'
    )
    lab.ok("up", "--model", "tiny")


def _kill_under_load(lab: LabUnderTest, text: str, victim: str) -> None:
    """``kill -9`` of a process under a summarize loop: no request is lost, and the lab answers
    again: in two seconds on a machine with nothing else to do, which is not the test's."""
    done, failures, stop = [], [], threading.Event()

    def summarize_again_and_again() -> None:
        with Client(lab=lab.root, retry=RetryPolicy(20)) as client:
            while not stop.is_set():
                try:
                    done.append(client.summarize(text).text)
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=summarize_again_and_again, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) > 5)
    killed = processes(lab, victim)[0].pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(killed) or _is_zombie(killed), 5)

    def healthy_again() -> bool:
        there = [one.pid for one in processes(lab, victim)]
        return bool(there) and killed not in there and answers(lab)

    wait_until(healthy_again, 60)
    seen = len(done)
    wait_until(lambda: len(done) > seen + 5)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert lab.json("status")["healthy"]


def test_a_spare_can_be_switched_off(fresh: LabUnderTest, tiny_t5: Path) -> None:
    file = fresh.lab.config_file
    file.write_text(file.read_text().replace("spare = true", "spare = false"))
    _serve(fresh, tiny_t5)
    assert len(processes(fresh, "llmlab.service")) == 1
    assert fresh.json("status")["deployments"][0]["spare"] == ""
    assert ".spare.sock" not in fresh.ok("config", "gateway")


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_workers_of_a_killed_gateway_do_not_stay(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    orphans = {one.pid for one in processes(fresh, "nginx: worker")}
    os.kill(processes(fresh, "nginx: master")[0].pid, signal.SIGKILL)
    wait_until(lambda: bool(processes(fresh, "nginx: master")))
    wait_until(lambda: not orphans & {one.pid for one in processes(fresh, "nginx: worker")})
    wait_until(lambda: answers(fresh))  # what was seen above may have been the killed master


def end_who_watches(lab: LabUnderTest) -> None:
    """kill -9 of the keeper and the supervisor, so that nobody looks after the others."""
    for mark in ("-m llmlab.engines.local.keeper", "supervisor.supervisord"):
        for one in processes(lab, mark):
            one.kill()
    wait_until(lambda: not processes(lab, "supervisor.supervisord"))


def test_up_takes_over_what_a_killed_supervisor_left_behind(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    before = {one.pid for one in processes(fresh, "nginx: ")}
    end_who_watches(fresh)
    told = fresh.run("status")
    assert told.returncode == 1
    assert "requests are served, but nobody watches" in " ".join(told.stdout.split())
    assert "Fix: llmlab up" in told.stdout
    assert fresh.status()["gateway"]["healthy"]
    fresh.ok("up")
    assert fresh.json("status")["healthy"]
    assert {one.pid for one in processes(fresh, "nginx: ")} == before


def test_down_ends_what_a_killed_supervisor_left_behind(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    end_who_watches(fresh)
    fresh.ok("down")
    assert processes(fresh) == []


@pytest.mark.parametrize("verb", ["status", "up", "down"])
def test_a_supervisor_that_is_stopped_holds_up_nobody(fresh: LabUnderTest, verb: str) -> None:
    fresh.ok("up")
    stuck = processes(fresh, "supervisor.supervisord")[0]
    stuck.suspend()
    with fresh.client() as client:  # more than a pipe would take
        assert {client.get("/?" + "x" * 4000).status_code for _ in range(200)} == {200}
    done = fresh.run(verb)
    if verb == "status":
        assert done.returncode == 1
        assert "its supervisor does not answer" in " ".join(done.stdout.split())
        return
    assert done.returncode == 0, done.stderr
    assert not runs(stuck)
    assert bool(processes(fresh)) is (verb == "up")
    assert verb == "down" or fresh.json("status")["healthy"]


def test_down_spares_a_shell_that_stands_in_the_state_folder(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    with psutil.Popen(["sleep", "60"], cwd=fresh.lab.state) as mine:
        fresh.ok("down")
        assert mine.is_running()
        mine.terminate()


def test_an_interrupted_up_leaves_nothing_running(fresh: LabUnderTest) -> None:
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "up"], cwd=fresh.root, env=fresh.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: bool(processes(fresh, "supervisord")))
    process.send_signal(signal.SIGINT)
    process.wait(30)
    assert process.returncode in (0, 130)  # 0: it was up before the signal came
    if process.returncode == 130:
        assert processes(fresh) == []


def test_a_key_is_revoked_while_nobody_watches_the_lab(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    old, token = fresh.json("keys", "list")[0]["kid"], fresh.token()
    fresh.ok("keys", "rotate")
    end_who_watches(fresh)
    fresh.ok("keys", "revoke", old)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(fresh.url, headers=headers, trust_env=False).status_code == 401


def test_the_folder_for_sockets_is_refused_when_it_is_not_our_own(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    lab = make_lab()
    runtime = lab.lab.runtime_dir
    runtime.parent.mkdir(mode=0o700, exist_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious.sock").touch()
    runtime.symlink_to(elsewhere)
    try:
        for verb in (["up"], ["down"], ["keys", "init"], ["status"]):
            refused = lab.run(*verb)
            assert refused.returncode == 3, verb
            assert "is a link" in refused.stderr
        assert (elsewhere / "precious.sock").exists()
        assert list(elsewhere.iterdir()) == [elsewhere / "precious.sock"]
    finally:
        runtime.unlink()


def test_a_lab_that_everybody_can_write_is_not_picked_up_on_the_way(
    fresh: LabUnderTest,
) -> None:
    fresh.root.chmod(0o777)
    refused = fresh.run("doctor")
    assert refused.returncode == 2
    assert "names programs to run" in refused.stderr
    assert fresh.run("--lab", str(fresh.root), "config", "show").returncode == 0
    fresh.root.chmod(0o755)


def test_a_lab_in_a_folder_with_wildcards_is_refused(tmp_path: Path, fresh: LabUnderTest) -> None:
    refused = fresh.run("init", str(tmp_path / "lab[1]"))
    assert refused.returncode == 2
    assert not (tmp_path / "lab[1]").exists()


def test_two_ups_at_once_do_not_get_into_each_others_way(fresh: LabUnderTest) -> None:
    results: list[int] = []
    threads = [
        threading.Thread(target=lambda: results.append(fresh.run("up").returncode))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [0, 0, 0]
    assert len(processes(fresh, "supervisord")) == 1
    assert fresh.json("status")["healthy"]


def test_a_lab_that_another_version_started_is_started_anew(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    (fresh.lab.state / "running.json").write_text('{"of": "another version"}')
    fresh.ok("up")
    assert fresh.json("status")["healthy"]
    assert len(processes(fresh, "supervisord")) == 1


def test_keys_can_be_changed_where_no_model_can_be_served(make_lab: MakeLab) -> None:
    lab = make_lab(routes__summarize='"falconsai"', fallback='""')
    done = lab.run("keys", "init", env={"HF_HOME": str(lab.root / "no-models")})
    assert done.returncode == 0
    assert "Nothing is laid out for docker-compose.yml" in done.stderr
    assert lab.json("keys", "list")[0]["state"] == "signing"
