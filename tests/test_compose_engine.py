"""What only the engine compose does. What it shares with the others: test_engines.py"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import yaml

from llmlab.auth import KeyStore, api_keys
from llmlab.config import Config, Gateway
from llmlab.config.budgets import Budget
from llmlab.engines.choice import running_engine
from llmlab.engines.compose.command import OVERRIDE, Compose, default_project
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.compose.mounts import (
    COUNTS,
    DESK,
    api_services,
    gateway_files,
    lay_out,
    prepare,
    socket_of,
    write_notebook_tokens,
)
from llmlab.engines.planning import make_plan
from llmlab.lab import Lab, init_lab
from llmlab.processes import lab_processes
from llmlab.service.settings import SETTLEMENTS, SOCKET
from llmlab.traffic import Deployed, Route, Traffic
from tests.conftest import LabUnderTest, free_port, wait_until

ROOT = Path(__file__).parent.parent
MakeLab = Callable[..., LabUnderTest]
containers = pytest.mark.containers


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def container(lab: LabUnderTest, service: str) -> str:
    """The id of a service's container, whatever state it is in; "" if there is none."""
    return docker(
        "ps", "--all", "--quiet",
        "--filter", f"label=com.docker.compose.project.working_dir={lab.root}",
        "--filter", f"label=com.docker.compose.service={service}",
    )  # fmt: skip


def state(identifier: str) -> str:
    return docker("inspect", "--format", "{{.State.Status}}", identifier)


@pytest.fixture
def lab(make_lab: MakeLab, images: BuiltImages) -> Iterator[LabUnderTest]:
    """A lab whose images are built, and which leaves the engine to `auto`."""
    one = make_lab(gateway__rate_limit__enabled="false", engine='"auto"')
    one.lab.make_state()
    images.write(one.lab)
    yield one
    one.run("down")


# --- no Docker needed ----------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "project"),
    [("lab", "lab"), ("My Lab", "mylab"), ("_x-1", "x-1"), ("Ünser", "nser"), ("100%", "100"),
     ("ラボ", "lab")],
)  # fmt: skip
def test_the_project_has_the_name_that_compose_would_give_it(
    tmp_path_factory: pytest.TempPathFactory, folder: str, project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    root = tmp_path_factory.mktemp("labs") / folder
    assert default_project(root) == project


def test_a_command_names_its_files_and_what_they_are_filled_in_with() -> None:
    compose = Compose(Lab(Path("/lab")), "lab", variables={"LLMLAB_PORT": "8123"})
    assert compose.command("up", "--detach", with_override=True) == [
        "env", "LLMLAB_PORT=8123", "docker", "compose", "--project-name", "lab",
        "--file", "/lab/docker-compose.yml", "--file", "/lab/.llmlab/compose/engine.json",
        "up", "--detach",
    ]  # fmt: skip


def test_only_the_gateway_has_the_apis_sockets_and_it_may_not_write_there() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = {
        name: volume
        for name, service in services.items()
        for volume in service["volumes"]
        if volume.startswith("sockets:")
    }
    assert mounted == {"llmapi": "sockets:/run/llmapi", "nginx": "sockets:/run/llmapi:ro"}
    api = services["llmapi"]
    assert api["network_mode"] == "none"
    assert not api.keys() & {"networks", "ports", "expose"}
    assert api["environment"][SOCKET] == str(socket_of("llmapi"))


def test_the_apis_settle_at_a_socket_that_is_the_gateways_to_make(tmp_path: Path) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert f"desk:{DESK}:ro" in services["llmapi"]["volumes"]
    assert f"desk:{DESK}" in services["nginx"]["volumes"]
    assert f"./.llmlab/compose/counts:{COUNTS}" in services["nginx"]["volumes"]
    init_lab(tmp_path)
    lab = Lab(tmp_path)
    keys = KeyStore(lab.keys_file).ensure()
    own = prepare(lab, Config(stable="textrank"), keys)
    listens = f"listen unix:{services['llmapi']['environment'][SETTLEMENTS]};"
    assert listens in gateway_files(lab, own, keys)["lab/settlements.conf"]
    assert "state=" not in gateway_files(lab, own, keys)["lab/http.conf"]  # without budgets
    assert "/counts" not in gateway_files(lab, own, keys)["lab/settlements.conf"]
    # Another image could not start again beside the socket of one that was killed; and a file of
    # an earlier lab mounts neither.
    budget = Budget(tokens_per_day=5)
    limited = Config(stable="textrank", budgets=[budget])
    counting = prepare(lab, limited, keys)
    assert counting.warnings == ()
    assert f"state={COUNTS}/counts.json" in gateway_files(lab, counting, keys)["lab/http.conf"]
    assert set_aside(lab) == {"counts.damaged"}
    other = prepare(lab, Config(stable="textrank", gateway=Gateway(image="mine")), keys)
    assert other.warnings == ()
    assert "listen" not in gateway_files(lab, other, keys)["lab/settlements.conf"]
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(compose.read_text().replace("/run/desk", "/run/elsewhere"))
    earlier = prepare(lab, limited, keys)
    files = gateway_files(lab, earlier, keys)
    assert "listen" not in files["lab/settlements.conf"] and "state=" not in files["lab/http.conf"]
    (warning,) = earlier.warnings
    assert warning.startswith("docker-compose.yml is that of an earlier lab")
    assert "Fix: llmlab init FOLDER" in warning


def set_aside(lab: Lab) -> set[str]:
    """What becomes of a file of counts that NGINX could not start by."""
    (lab.compose_counts / "counts.json").write_text('{"cut": ')
    prepare(lab, Config(stable="textrank"), KeyStore(lab.keys_file).ensure())
    return {one.name for one in lab.compose_counts.iterdir()}


def test_every_process_has_a_socket_of_its_own_and_the_gateway_asks_there(tmp_path: Path) -> None:
    init_lab(tmp_path)
    lab, config = Lab(tmp_path), Config(stable="textrank")
    keys = KeyStore(lab.keys_file).ensure()
    only = [config.stable]
    plan = make_plan(config, tmp_path, lambda _: None, only=only, fetch=False, runs_here=False)
    twice = Deployed(name="textrank", model="textrank", replicas=2)
    plan = replace(plan, traffic=Traffic(deployments=(twice,)))
    lay_out(lab, plan)
    services = json.loads((lab.state / OVERRIDE).read_text())["services"]
    sockets = {name: one["environment"][SOCKET] for name, one in services.items()}
    assert sockets == {
        "llmapi": "/run/llmapi/llmapi.sock", "llmapi.2": "/run/llmapi/llmapi.2.sock",
    }  # fmt: skip
    upstreams = gateway_files(lab, plan, keys)["lab/upstreams.conf"]
    for one in sockets.values():
        assert f"server unix:{one} max_fails=0;" in upstreams


def test_a_container_may_have_the_memory_of_its_model_where_that_says_so(tmp_path: Path) -> None:
    init_lab(tmp_path)
    lab, config = Lab(tmp_path), Config(stable="textrank")
    small = config.models["textrank"].model_copy(update={"memory": "256m"})
    config = config.model_copy(update={"models": {**config.models, "small": small}})
    only = [config.stable, "small"]
    plan = make_plan(config, tmp_path, lambda _: None, only=only, fetch=False, runs_here=False)
    twice = Deployed(name="small", model="small", replicas=2)
    lay_out(lab, replace(plan, traffic=Traffic(deployments=(twice,))))
    services = json.loads((lab.state / OVERRIDE).read_text())["services"]
    assert {name: one.get("mem_limit") for name, one in services.items()} == {
        "llmapi": None, "llmapi-small": "256m", "llmapi-small.2": "256m",
    }  # fmt: skip


def test_one_that_rests_is_no_service_and_the_gateway_knows_it(tmp_path: Path) -> None:
    init_lab(tmp_path)
    lab, config = Lab(tmp_path), Config(stable="textrank")
    keys = KeyStore(lab.keys_file).ensure()
    only = [config.stable]
    plan = make_plan(config, tmp_path, lambda _: None, only=only, fetch=False, runs_here=False)
    next_one = plan.deployments[0].model_copy(update={"deployment": "next"})
    asleep = Traffic(deployments=(Deployed("next", "textrank", 0),))
    plan = replace(
        plan, deployments=(*plan.deployments, next_one), configured=("textrank",), traffic=asleep
    )
    lay_out(lab, plan)
    services = json.loads((lab.state / OVERRIDE).read_text())["services"]
    assert set(services) == {"llmapi"} == set(api_services(plan))
    files = gateway_files(lab, plan, keys)
    assert "server unix:/run/llmapi/llmapi-next.sock down;" in files["lab/upstreams.conf"]
    assert "next 1;" in files["lab/http.conf"]
    assert "/apis/next" not in files["lab/metrics.conf"]  # nothing for Prometheus to miss
    led = replace(plan, traffic=asleep.with_route("summarize", Route(stable="next")))
    assert api_services(led) == ["llmapi", "llmapi-next"]


def test_without_images_of_its_own_a_lab_runs_as_processes(make_lab: MakeLab) -> None:
    one = make_lab(engine='"auto"')
    up = one.run("up")
    assert up.returncode == 0, up.stderr
    assert "engine local, for no container images of this lab are built" in up.stderr
    one.ok("down")


def test_without_a_docker_engine_a_lab_with_images_runs_as_processes(make_lab: MakeLab) -> None:
    one = make_lab(engine='"auto"')
    one.lab.make_state()
    BuiltImages().write(one.lab)
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    up = one.run("up", env=nowhere)
    assert up.returncode == 0, up.stderr
    assert "engine local, for no Docker engine answers" in up.stderr
    one.ok("down")
    refused = one.run("up", "--engine", "compose", env=nowhere)
    assert refused.returncode == 3
    assert "no Docker engine answers" in refused.stderr
    assert "Fix: " in refused.stderr


# --- with a Docker engine --------------------------------------------------------


@containers
def test_once_its_images_are_built_a_lab_runs_in_containers(lab: LabUnderTest) -> None:
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    assert "engine compose, for this lab's images are built" in up.stderr


@containers
def test_images_that_are_not_built_are_an_error_with_a_fix(lab: LabUnderTest) -> None:
    BuiltImages("llmapi:never-built", "llmlab-nginx:never-built").write(lab.lab)
    refused = lab.run("up", "--engine", "compose")
    assert refused.returncode == 2
    assert "llmapi:never-built" in refused.stderr
    assert "Fix: llmlab build" in refused.stderr
    assert "engine local, for this lab's images are gone" in lab.run("up").stderr


@containers
def test_an_image_of_another_version_is_refused(lab: LabUnderTest) -> None:
    images = BuiltImages.read(lab.lab)
    other = f"llmapi:other-{lab.port}"
    made = subprocess.run(
        ["docker", "build", "--tag", other, "-"], text=True, capture_output=True,
        input=f"FROM {images.llmapi}\nLABEL org.opencontainers.image.version=0.0.1\n",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    try:
        BuiltImages(other, images.nginx).write(lab.lab)
        refused = lab.run("up")
        assert refused.returncode == 2
        assert f"{other} was built by llmlab 0.0.1" in refused.stderr
        assert "Fix: llmlab build" in refused.stderr
    finally:
        docker("image", "rm", other)


@containers
def test_an_api_without_enough_memory_is_reported_as_that(lab: LabUnderTest) -> None:
    # Once with enough: files read for the first time count against the limit, and reading
    # them over and over again takes longer than the kernel waits before it kills.
    lab.ok("up")
    lab.ok("down")
    failed = lab.run("up", env={"LLMLAB_SERVICE_MEMORY": "12m"})
    assert failed.returncode == 3
    assert "api-textrank ran out of memory; its limit is 12 MiB" in failed.stderr
    assert "Fix: set service.memory" in failed.stderr
    assert container(lab, "llmapi") == ""


@containers
def test_an_api_that_ran_out_of_memory_is_remembered_after_it_is_back(lab: LabUnderTest) -> None:
    lab.ok("up")
    identifier = container(lab, "llmapi")
    docker("update", "--memory", "64m", "--memory-swap", "64m", identifier)
    greedy = "x = bytearray(200_000_000)"
    # Whichever process the kernel picks; the container is told of it.
    subprocess.run(["docker", "exec", identifier, "python", "-c", greedy], capture_output=True)
    wait_until(lambda: bool(lab.run("status").stdout.count("ran out of memory")), 30)
    told = lab.status()["warnings"]
    assert any("its limit is 64 MiB" in one and "Fix:" in one for one in told)


@containers
def test_a_container_that_was_stopped_in_earnest_stays_stopped(lab: LabUnderTest) -> None:
    lab.ok("up")
    identifier = container(lab, "llmapi")
    docker("stop", identifier)
    time.sleep(5)  # longer than the keeper takes to act
    assert state(identifier) == "exited"
    told = lab.status()
    assert not told["healthy"]
    assert told["deployments"][0]["state"] == "EXITED"
    docker("start", identifier)
    docker("kill", identifier)
    wait_until(lambda: state(identifier) == "running", 30)


@containers
def test_a_keeper_that_was_killed_is_back_and_keeps_on(lab: LabUnderTest) -> None:
    def keepers() -> list[int]:
        return [one.pid for one in lab_processes(lab.lab.state, "llmlab.engines.compose.keeper")]

    lab.ok("up")
    wait_until(lambda: bool(keepers()))
    before = keepers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: bool(keepers()) and keepers() != before)
    time.sleep(2)  # it listens
    identifier = container(lab, "llmapi")
    docker("kill", identifier)
    wait_until(lambda: state(identifier) == "running", 30)


@containers
def test_a_configuration_that_docker_cannot_have_checked_is_not_called_rejected(
    lab: LabUnderTest,
) -> None:
    image = "localhost:1/no-such-gateway"
    failed = lab.run("up", env={"LLMLAB_GATEWAY_IMAGE": image})
    assert failed.returncode == 3
    assert "the configuration could not be checked" in failed.stderr
    assert "localhost:1" in failed.stderr.partition("could not be checked")[2]
    assert "rejects" not in failed.stderr
    assert container(lab, "llmapi") == ""


@containers
def test_a_revocation_that_a_paused_gateway_cannot_take_is_an_error(lab: LabUnderTest) -> None:
    lab.ok("up")
    token = lab.token()
    old = lab.json("keys", "list")[-1]["kid"]
    lab.ok("keys", "rotate")
    gateway = container(lab, "nginx")
    docker("pause", gateway)
    refused = lab.run("keys", "revoke", old)
    docker("unpause", gateway)
    assert refused.returncode == 3
    assert "the running lab did not take all of them over" in " ".join(refused.stderr.split())
    lab.ok("keys", "revoke", old)  # asking again puts it right
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{lab.url}/", headers=headers, trust_env=False).status_code == 401


@containers
def test_a_revocation_without_a_docker_engine_is_an_error(lab: LabUnderTest) -> None:
    lab.ok("up")
    lab.ok("keys", "rotate")
    old = lab.json("keys", "list")[-1]["kid"]
    refused = lab.run("keys", "revoke", old, env={"DOCKER_HOST": "unix:///none.sock"})
    assert refused.returncode == 3
    assert "Docker" in refused.stderr


@containers
def test_a_lab_is_found_under_a_link_to_its_folder(lab: LabUnderTest, tmp_path: Path) -> None:
    lab.ok("keys", "init")
    link = tmp_path / "link"
    link.symlink_to(lab.root)
    images = BuiltImages.read(lab.lab)
    env = lab.env | {
        "PWD": str(link), "COMPOSE_PROJECT_NAME": f"by-link-{lab.port}",
        "LLMLAB_PORT": str(lab.port), "LLMAPI_IMAGE": images.llmapi, "NGINX_IMAGE": images.nginx,
    }  # fmt: skip
    up = subprocess.run(
        ["docker", "compose", "--project-directory", str(link), "--file",
         str(link / "docker-compose.yml"), "up", "--detach", "--wait", "llmapi", "nginx"],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert up.returncode == 0, up.stderr
    assert lab.json("status")["engine"] == "compose"
    assert "The lab is down" in lab.run("down").stderr


@containers
def test_no_index_credentials_stand_in_an_images_history(lab: LabUnderTest) -> None:
    tag = f"history-{lab.port}"
    env = {"PIP_EXTRA_INDEX_URL": "http://alice:hush-hush@127.0.0.1:9/simple"}
    done = lab.run("build", "--only", "llmapi", "--extra", "none", "--tag", tag, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    try:
        assert "hush-hush" not in docker("history", "--no-trunc", f"llmapi:{tag}")
        assert "hush-hush" not in docker("inspect", f"llmapi:{tag}")
    finally:
        docker("image", "rm", f"llmapi:{tag}")


@containers
def test_a_lab_that_compose_started_by_hand_is_recognised(lab: LabUnderTest) -> None:
    lab.ok("keys", "init")
    images = BuiltImages.read(lab.lab)
    env = lab.env | {
        "COMPOSE_PROJECT_NAME": f"by-hand-{lab.port}", "LLMLAB_PORT": str(lab.port),
        "LLMAPI_IMAGE": images.llmapi, "NGINX_IMAGE": images.nginx,
    }  # fmt: skip
    up = subprocess.run(
        ["docker", "compose", "up", "--detach", "--wait", "llmapi", "nginx"],
        cwd=lab.root, env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert up.returncode == 0, up.stderr
    told = lab.json("status")
    assert (told["engine"], told["healthy"]) == ("compose", True)
    assert told["gateway"]["url"] == lab.url
    assert told["deployments"][0]["name"] == "textrank"
    token = lab.token()
    assert httpx2.get(f"{lab.url}/", trust_env=False).status_code == 401
    assert "gateway | " in lab.ok("logs")
    old = lab.json("keys", "list")[-1]["kid"]
    assert "took over the keys" in lab.run("keys", "rotate").stderr
    lab.ok("keys", "revoke", old)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx2.get(f"{lab.url}/", headers=headers, trust_env=False).status_code == 401
    key = lab.json("keys", "api", "create", "--sub", "ada")
    headers = {"Authorization": f"Bearer {key['key']}"}
    with httpx2.Client(base_url=lab.url, headers=headers, trust_env=False) as client:
        assert client.get("/").status_code == 200
        engine = running_engine(lab.lab)
        assert engine
        # Told to the workers that have this connection, before they are reloaded.
        engine.end_api_keys([api_keys.digest(key["key"])])
        assert client.get("/").status_code == 401
    lab.ok("keys", "api", "revoke", key["id"])
    assert httpx2.get(f"{lab.url}/", headers=headers, trust_env=False).status_code == 401
    lab.ok("down")
    assert container(lab, "llmapi") == ""


@containers
def test_two_labs_in_folders_of_the_same_name_are_two_projects(
    lab: LabUnderTest, images: BuiltImages, make_lab: MakeLab
) -> None:
    other = make_lab(engine='"compose"')
    for one, parent in ((lab, "a"), (other, "b")):
        root = one.root.parent / f"{one.root.name}-{parent}" / "same-name"
        root.parent.mkdir()
        one.root.rename(root)
        one.root = root
    other.lab.make_state()
    images.write(other.lab)
    lab.ok("up")
    try:
        other.ok("up")
        other.ok("down")
        assert lab.json("status")["healthy"]
    finally:
        other.run("down")


@containers
def test_doctor_checks_what_containers_need(lab: LabUnderTest) -> None:
    told = {one["name"]: one for one in lab.json("doctor", "--engine", "compose")}
    assert told["images"]["verdict"] == "ok"
    assert "docker compose" in told["docker"]["message"]
    missing = lab.run(
        "doctor", "--engine", "compose", "-o", "json", env={"DOCKER_HOST": "unix:///none.sock"}
    )
    assert missing.returncode == 3
    verdicts = {one["name"]: one["verdict"] for one in json.loads(missing.stdout)}
    assert (verdicts["images"], verdicts["docker"]) == ("fail", "fail")


@containers
def test_no_secret_stands_in_a_containers_description(lab: LabUnderTest) -> None:
    lab.ok("up")
    secret = json.loads(lab.lab.keys_file.read_text())["keys"][0]["k"]
    for service in ("llmapi", "nginx"):
        assert secret not in docker("inspect", container(lab, service))
        assert secret not in docker("logs", container(lab, service))


@containers
def test_the_notebooks_run_beside_the_lab_and_stay_where_they_are(lab: LabUnderTest) -> None:
    refused = lab.run("notebook", "--no-browser")
    assert refused.returncode == 5
    lab.ok("up")
    assert lab.run("notebook", "url").returncode == 5
    port = free_port()
    url = lab.ok("notebook", "--no-browser", "--port", str(port)).strip()
    assert url.startswith(f"http://127.0.0.1:{port}/lab?token=")
    assert lab.ok("notebook", "url").strip() == url
    before = container(lab, "jupyter")
    lab.ok("up")
    assert container(lab, "jupyter") == before
    assert lab.json("status")["notebook"] == f"http://127.0.0.1:{port}/lab"
    token = url.partition("token=")[2]
    address = f"http://127.0.0.1:{port}/api/status"
    assert httpx2.get(address, trust_env=False).status_code == 403
    headers = {"Authorization": f"token {token}"}
    assert httpx2.get(address, headers=headers, trust_env=False).status_code == 200
    assert token not in docker("inspect", before)
    lab.ok("down")
    assert container(lab, "jupyter") == ""


def notebook_status(port: int, token: str) -> int:
    """What JupyterLab answers to who has this token; 0 if it does not answer."""
    headers = {"Authorization": f"token {token}"}
    try:
        return httpx2.get(
            f"http://127.0.0.1:{port}/api/status", headers=headers, trust_env=False
        ).status_code
    except httpx2.HTTPError:
        return 0


@containers
def test_a_notebook_server_that_runs_follows_the_demo_in_and_out(lab: LabUnderTest) -> None:
    port = free_port()
    lab.ok("up", "--demo")
    lab.ok("notebook", "--no-browser", "--port", str(port))
    assert notebook_status(port, "nginxrocks!") == 200
    jupyter, api = container(lab, "jupyter"), container(lab, "llmapi")

    def started(identifier: str) -> str:
        return docker("inspect", "--format", "{{.State.StartedAt}}", identifier)

    api_since = started(api)
    lab.ok("keys", "revoke", "0001")
    own = lab.ok("notebook", "url").strip().partition("token=")[2]
    wait_until(lambda: notebook_status(port, own) == 200, 60)
    assert notebook_status(port, "nginxrocks!") == 403

    since = started(jupyter)
    lab.ok("keys", "rotate")
    lab.ok("up")
    assert started(jupyter) == since  # its own token did not change, so nothing is interrupted

    lab.ok("up", "--demo")
    wait_until(lambda: notebook_status(port, "nginxrocks!") == 200, 60)
    assert notebook_status(port, own) == 403
    assert (container(lab, "jupyter"), started(api)) == (jupyter, api_since)

    # A command that was ended before it came to the restart; the next one makes up for it.
    write_notebook_tokens(lab.lab, KeyStore(lab.lab.keys_file).revoke("0001"))
    assert notebook_status(port, "nginxrocks!") == 200
    lab.ok("up")
    wait_until(lambda: notebook_status(port, own) == 200, 60)
    assert notebook_status(port, "nginxrocks!") == 403


@containers
def test_a_taken_notebook_port_is_an_error_that_leaves_nothing(lab: LabUnderTest) -> None:
    lab.ok("up")
    mine = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        refused = lab.run("notebook", "--no-browser", "--port", str(taken))
        assert refused.returncode == 3
        assert f"port {taken} is taken by" in refused.stderr
        assert f"(pid {os.getpid()})" in refused.stderr
        assert f"Fix: stop it, or llmlab notebook --port {taken + 1}" in refused.stderr
        assert container(lab, "jupyter") == ""
        url = lab.ok("notebook", "--no-browser", "--port", str(mine))
        before = container(lab, "jupyter")
        assert lab.run("notebook", "--no-browser", "--port", str(taken)).returncode == 3
    assert container(lab, "jupyter") == before
    assert lab.ok("notebook", "--no-browser") == url  # its own port is not taken


@containers
def test_a_notebook_that_does_not_start_leaves_what_was_there(lab: LabUnderTest) -> None:
    lab.ok("up")
    no_jupyter = {"LLMLAB_JUPYTER_IMAGE": BuiltImages.read(lab.lab).llmapi}
    failed = lab.run("notebook", "--no-browser", "--port", str(free_port()), env=no_jupyter)
    assert failed.returncode == 3
    assert container(lab, "jupyter") == ""
    lab.ok("up")

    url = lab.ok("notebook", "--no-browser", "--port", str(free_port()))
    failed = lab.run("notebook", "--no-browser", "--port", str(free_port()), env=no_jupyter)
    assert failed.returncode == 3
    assert lab.ok("notebook", "url") == url


@containers
def test_streams_are_settled_also_after_the_gateway_took_over_another_configuration(
    lab: LabUnderTest, article: str
) -> None:
    with lab.lab.config_file.open("a") as file:
        file.write("\n[[budgets]]\ntokens_per_day = 1000000000\n")
    lab.ok("up", "--engine", "compose")

    def settled() -> tuple[int, int]:
        (row,) = lab.json("usage")
        return row["requests"], row["estimated"]

    for number, state in ((1, "--on"), (2, "--off")):
        with lab.client() as client:
            answer = client.post(
                "/summarize/", json={"text": f"{number}. {article}"},
                headers={"Accept": "text/event-stream"},
            )  # fmt: skip
            assert answer.headers["content-type"].startswith("text/event-stream")
        wait_until(lambda number=number: settled() == (number, 0))
        lab.ok("flag", "set", "short", state)  # which has a container look at it first
    before = lab.json("usage")
    lab.ok("down")
    assert lab.json("usage") == before
