"""The local engine: up, down, and everything that can go wrong between."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from llmlab import Client
from llmlab.client import RetryPolicy
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, free_port

MakeLab = Callable[..., LabUnderTest]


def processes(lab: LabUnderTest, mark: str = "") -> list[psutil.Process]:
    return [one for one in lab_processes(lab.lab.state) if mark in " ".join(one.cmdline())]


def wait_until(true: Callable[[], bool], seconds: float = 15.0) -> float:
    """Wait for something to become true; gives the seconds it took."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - start


def answers(lab: LabUnderTest) -> bool:
    try:
        return httpx2.get(f"{lab.url}/health", timeout=2, trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


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
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", fresh.port)) != 0
    assert not list(fresh.lab.runtime_dir.glob("**/*.sock"))


def test_a_second_up_changes_nothing(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    before = {one.pid for one in processes(fresh)}
    again = fresh.run("up")
    assert again.returncode == 0
    assert "nothing changed" in again.stderr
    assert {one.pid for one in processes(fresh)} == before


def test_a_second_up_applies_a_changed_limit_without_restarting_the_api(
    fresh: LabUnderTest,
) -> None:
    fresh.ok("up")
    api = processes(fresh, "llmlab.service")[0].pid
    file = fresh.lab.config_file
    file.write_text(file.read_text().replace('max_body = "1m"', 'max_body = "1k"'))
    fresh.ok("up")
    with fresh.client() as client:
        wait_until(
            lambda: client.post("/summarize/", json={"text": "a " * 1000}).status_code == 413
        )
    assert processes(fresh, "llmlab.service")[0].pid == api


def test_a_second_up_replaces_an_api_whose_settings_changed(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    file = fresh.lab.config_file
    file.write_text(file.read_text().replace("max_text_chars = 200000", "max_text_chars = 10"))
    fresh.ok("up")
    with fresh.client() as client:
        assert client.post("/summarize/", json={"text": "a " * 10}).status_code == 413


def test_the_port_can_move_while_the_lab_runs(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    old, fresh.port = fresh.port, free_port()
    fresh.ok("up", "--port", str(fresh.port))
    assert answers(fresh)
    assert fresh.json("status")["gateway"]["url"] == fresh.url
    with socket.socket() as probe:
        wait_until(lambda: probe.connect_ex(("127.0.0.1", old)) != 0)


def test_a_model_can_be_added_and_removed_while_the_lab_runs(fresh: LabUnderTest) -> None:
    file = fresh.lab.config_file
    file.write_text(
        file.read_text()
        + '\n[models.short]\nruntime = "extractive"\n'
        + 'source = "embedded:textrank"\nmax_length = 20\n'
    )
    fresh.ok("up")
    fresh.ok("up", "--model", "textrank", "--model", "short")
    names = [one["name"] for one in fresh.json("status")["deployments"]]
    assert names == ["textrank", "short"]
    with fresh.client() as client:
        answer = client.post("/models/short/summarize/", json={"text": "One. Two. Three."})
        assert answer.json()["model"]["name"] == "short"
    fresh.ok("up")
    assert [one["name"] for one in fresh.json("status")["deployments"]] == ["textrank"]
    assert len(processes(fresh, "llmlab.service")) == 1


def test_an_nginx_conf_that_nginx_rejects_never_reaches_the_running_gateway(
    fresh: LabUnderTest,
) -> None:
    fresh.ok("up")
    before = {one.pid for one in processes(fresh)}
    conf = fresh.lab.nginx_conf
    good = conf.read_text()
    conf.write_text(good.replace("server_tokens", "server_tokenz"))
    refused = fresh.run("up")
    assert refused.returncode == 2
    assert 'unknown directive "server_tokenz"' in refused.stderr
    assert "Fix:" in refused.stderr
    assert answers(fresh)
    assert {one.pid for one in processes(fresh)} == before
    conf.write_text(good)
    assert "nothing changed" in fresh.run("up").stderr


def test_an_nginx_conf_of_ones_own_is_the_one_that_runs(fresh: LabUnderTest) -> None:
    conf = fresh.lab.nginx_conf
    mine = "add_header             X-Request-ID  $lab_request_id always;"
    assert mine in conf.read_text()
    conf.write_text(conf.read_text().replace(mine, mine + "\nadd_header X-Mine yes always;"))
    fresh.ok("up")
    with fresh.client() as client:
        assert client.get("/").headers["X-Mine"] == "yes"
    assert "add_header X-Mine yes always;" in fresh.ok("config", "gateway")


def test_a_failed_start_says_why_and_leaves_nothing_running(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    broken.mkdir()
    (broken / "config.json").write_text('{"model_type": "t5"}')
    (broken / "tokenizer.json").write_text("{}")
    (broken / "model.safetensors").write_bytes(b"not safetensors")
    lab = make_lab(stable='"broken"')
    lab.lab.config_file.write_text(
        lab.lab.config_file.read_text()
        + f'\n[models.broken]\nruntime = "transformers"\nsource = "path:{broken}"\n'
    )
    done = lab.run("up")
    assert done.returncode == 3
    assert "api-broken does not start" in done.stderr
    assert "cannot be loaded" in done.stderr  # the log line that explains it
    assert processes(lab) == []


def test_a_running_lab_goes_on_when_a_change_fails(fresh: LabUnderTest, tmp_path: Path) -> None:
    fresh.ok("up")
    broken = tmp_path / "model"
    broken.mkdir()
    for name, content in {
        "config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "no",
    }.items():  # fmt: skip
        (broken / name).write_text(content)
    fresh.lab.config_file.write_text(
        fresh.lab.config_file.read_text()
        + f'\n[models.broken]\nruntime = "transformers"\nsource = "path:{broken}"\n'
    )
    failed = fresh.run("up", "--model", "textrank", "--model", "broken")
    assert failed.returncode == 3, failed.stderr
    status = fresh.json("status")
    assert status["healthy"]
    assert [one["name"] for one in status["deployments"]] == ["textrank"]
    assert len(processes(fresh, "llmlab.service")) == 1


def test_a_taken_port_is_reported_with_the_process_that_holds_it(make_lab: MakeLab) -> None:
    lab = make_lab()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", lab.port))
        taken.listen()
        done = lab.run("up")
    assert done.returncode == 3
    assert f"port {lab.port} is taken by" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert f"--port {lab.port + 1}" in done.stderr
    assert processes(lab) == []


def test_two_labs_do_not_disturb_each_other(make_lab: MakeLab) -> None:
    one, other = make_lab(), make_lab()
    one.ok("up")
    other.ok("up")
    with one.client() as client:
        assert client.get("/").status_code == 200
        # A token of one lab means nothing to the other.
        assert client.get(f"{other.url}/").status_code == 401
    one.ok("down")
    assert answers(other)
    assert not answers(one)


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
    done, failures, stop = [], [], threading.Event()

    def summarize_again_and_again() -> None:
        with Client(lab=fresh.root, retry=RetryPolicy(20)) as client:
            while not stop.is_set():
                try:
                    done.append(client.summarize(article).text)
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=summarize_again_and_again, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) > 5)
    killed = processes(fresh, victim)[0].pid
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(killed) or _is_zombie(killed), 5)

    def healthy_again() -> bool:
        there = [one.pid for one in processes(fresh, victim)]
        return bool(there) and killed not in there and answers(fresh)

    took = wait_until(healthy_again)
    seen = len(done)
    wait_until(lambda: len(done) > seen + 5)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert took < 5
    assert fresh.json("status")["healthy"]


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


def test_up_recovers_from_a_killed_supervisor(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    os.kill(processes(fresh, "supervisord")[0].pid, signal.SIGKILL)
    wait_until(lambda: not processes(fresh, "supervisord"))
    assert "without their supervisor" in fresh.run("status").stdout.replace("\n", " ")
    fresh.ok("up")
    assert fresh.json("status")["healthy"]


def test_down_ends_what_a_killed_supervisor_left_behind(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    os.kill(processes(fresh, "supervisord")[0].pid, signal.SIGKILL)
    wait_until(lambda: not processes(fresh, "supervisord"))
    fresh.ok("down")
    assert processes(fresh) == []


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


def test_logs_show_each_process_and_can_be_narrowed(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    fresh.ok("summarize", "-", stdin="The lamp is lit. The coast is near.")
    everything = fresh.ok("logs")
    assert "gateway | " in everything
    assert "api-textrank | " in everything
    only = fresh.ok("logs", "api-textrank")
    assert all(line.startswith("api-textrank") for line in only.splitlines())


def test_logs_follow_what_is_written(fresh: LabUnderTest) -> None:
    import subprocess
    import sys

    fresh.ok("up")
    follower = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "logs", "-f", "-n", "0", "gateway"], cwd=fresh.root,
        env=fresh.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert follower.stdout is not None
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(follower.stdout), daemon=True)  # type: ignore[arg-type]
        reader.start()

        def seen_a_request() -> bool:
            with fresh.client() as client:
                client.get("/marked")
            return any("/marked" in line for line in seen)

        wait_until(seen_a_request)
    finally:
        follower.terminate()
        follower.wait(10)


def test_a_revocation_that_cannot_take_effect_is_an_error(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    old = fresh.json("keys", "list")[0]["kid"]
    fresh.ok("keys", "rotate")
    os.kill(processes(fresh, "supervisord")[0].pid, signal.SIGKILL)
    wait_until(lambda: not processes(fresh, "supervisord"))
    refused = fresh.run("keys", "revoke", old)
    assert refused.returncode == 3
    assert "goes on with the ones from before" in refused.stderr
    fresh.ok("up")  # as its Fix says
    again = fresh.run("keys", "revoke", old)  # asking twice does no harm
    assert again.returncode == 0


def test_a_revoked_key_leaves_no_copy_of_itself_behind(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    old = fresh.json("keys", "list")[0]["kid"]
    secret = fresh.lab.keys_file.read_text().split('"k": "')[1].split('"')[0]
    fresh.ok("keys", "rotate")
    fresh.ok("keys", "revoke", old)
    for file in fresh.lab.state.rglob("*"):
        assert not file.is_file() or secret not in file.read_text(errors="replace"), file


def test_a_rotation_does_not_put_an_edited_nginx_conf_live(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    conf = fresh.lab.nginx_conf
    conf.write_text(conf.read_text().replace("server_tokens", "server_tokenz"))
    fresh.ok("keys", "rotate")
    with fresh.client() as client:
        assert client.get("/").status_code == 200


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


def test_a_recorded_group_that_is_another_program_by_now_is_left_alone(
    fresh: LabUnderTest,
) -> None:
    fresh.ok("up")
    with psutil.Popen(["tail", "-f", "/dev/null", "my-nginx-notes"], process_group=0) as mine:
        (fresh.lab.runtime_dir / "nginx" / "group").write_text(str(mine.pid))
        os.kill(processes(fresh, "nginx: master")[0].pid, signal.SIGKILL)
        for worker in processes(fresh, "nginx: worker"):
            worker.kill()
        wait_until(lambda: answers(fresh))
        assert mine.is_running()
        mine.terminate()


def test_an_unreadable_group_record_does_not_keep_the_gateway_down(fresh: LabUnderTest) -> None:
    fresh.ok("up")
    (fresh.lab.runtime_dir / "nginx" / "group").write_text("")
    master = processes(fresh, "nginx: master")[0]
    for process in [master, *processes(fresh, "nginx: worker")]:
        process.kill()
    wait_until(lambda: bool(processes(fresh, "nginx: master")) and answers(fresh))


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
    lab = make_lab(stable='"falconsai"', fallback='""')
    done = lab.run("keys", "init", env={"HF_HOME": str(lab.root / "no-models")})
    assert done.returncode == 0
    assert "Nothing is laid out for docker-compose.yml" in done.stderr
    assert lab.json("keys", "list")[0]["state"] == "signing"
