"""What every engine does, the same for each: the lab as processes, as containers, and with its API
processes on nodes.

Compose needs a Docker engine and is run by: make test-containers; ray takes a cluster for each lab,
and is run by: make test-machines
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2
import psutil
import pytest

from llmlab import Client
from llmlab.client import RetryPolicy
from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.ray.placed import read_placement
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, answers, free_port, wait_until

MakeLab = Callable[..., LabUnderTest]
Make = Callable[..., "Running"]


@dataclass
class Running:
    """A lab under one of the engines, and what a test may do to it."""

    engine: str
    lab: LabUnderTest

    def parts(self) -> set[str]:
        """What runs: pids or container ids."""
        if self.engine == "compose":
            return set(_docker("ps", "--quiet", "--filter", self._of_this_lab).split())
        return {str(one.pid) for one in lab_processes(self.lab.lab.state)}

    def api(self, deployment: str = "textrank") -> str:
        """What runs one deployment's API; "" if nothing does."""
        if self.engine == "compose":
            label = f"label=llmlab.deployment={deployment}"
            return _docker("ps", "-q", "--filter", self._of_this_lab, "--filter", label).strip()
        if self.engine == "ray":
            placed = read_placement(self.lab.lab).of(deployment)
            return str(placed.pid) if placed else ""
        return "".join(str(one.pid) for one in self._processes(f"{deployment}.sock"))

    def kill(self, what: str) -> None:
        """``kill -9`` of the api or the gateway."""
        if self.engine == "compose":
            service = {"api": "llmapi", "gateway": "nginx"}[what]
            label = f"label=com.docker.compose.service={service}"
            found = _docker("ps", "-q", "--filter", self._of_this_lab, "--filter", label)
            _docker("kill", found.strip())
        elif self.engine == "ray" and what == "api":
            os.kill(int(self.api()), signal.SIGKILL)
        else:
            mark = {"api": "llmlab.service", "gateway": "nginx: master"}[what]
            os.kill(self._processes(mark)[0].pid, signal.SIGKILL)

    @property
    def _of_this_lab(self) -> str:
        return f"label=com.docker.compose.project.working_dir={self.lab.root}"

    def _processes(self, mark: str) -> list[psutil.Process]:
        return lab_processes(self.lab.lab.state, mark)


def _docker(*arguments: str) -> str:
    return subprocess.run(
        ["docker", *arguments], check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture(
    scope="module",
    params=[
        "local",
        pytest.param("compose", marks=pytest.mark.containers),
        pytest.param("ray", marks=pytest.mark.machines),
    ],
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def laid_out(
    engine: str, make_lab: MakeLab, request: pytest.FixtureRequest, **values: str
) -> Running:
    """A lab for an engine, without a rate limit; it is not up."""
    if engine == "ray":
        values |= {"ray__port": str(free_port()), "ray__link_port": str(free_port())}
    lab = make_lab(gateway__rate_limit__enabled="false", engine=f'"{engine}"', **values)
    if engine == "compose":
        images: BuiltImages = request.getfixturevalue("images")
        lab.lab.make_state()
        images.write(lab.lab)
    return Running(engine, lab)


@pytest.fixture
def make(
    engine: str, make_lab: MakeLab, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Running]]:
    """Lay out labs for the engine under test, without a rate limit; all are brought down."""
    made: list[Running] = []

    def one(**values: str) -> Running:
        made.append(laid_out(engine, make_lab, request, **values))
        return made[-1]

    yield one
    for each in made:
        each.lab.run("down")


@pytest.fixture
def running(make: Make) -> Running:
    one = make()
    one.lab.ok("up")
    return one


def test_a_text_goes_through_the_gateway_and_comes_back_as_a_summary(
    running: Running, article: str
) -> None:
    summary = running.lab.ok("summarize", "-", stdin=article)
    assert 20 < len(summary.split()) < len(article.split())
    assert httpx2.get(f"{running.lab.url}/", trust_env=False).status_code == 401
    header = running.lab.ok("token", "--header").strip().partition(": ")
    hello = httpx2.get(f"{running.lab.url}/", headers={header[0]: header[2]}, trust_env=False)
    assert hello.json() == {"message": "Hello World"}


def test_status_tells_the_same_of_every_engine(running: Running) -> None:
    told = running.lab.json("status")
    assert told["engine"] == running.engine
    assert told["gateway"]["url"] == running.lab.url
    assert told["gateway"]["healthy"] and told["healthy"] and told["running"]
    (deployment,) = told["deployments"]
    assert deployment["name"] == deployment["model"] == "textrank"
    assert deployment["runtime"] == "extractive"
    assert deployment["healthy"] and deployment["weight"] == 100
    assert deployment["model_id"].startswith("sha256:")
    assert deployment["memory"] > 10_000_000
    assert deployment["pid"] > 0
    assert "textrank" in running.lab.ok("status")


def test_down_leaves_nothing_running(running: Running) -> None:
    assert running.parts()
    running.lab.ok("down")
    assert running.parts() == set()
    assert lab_processes(running.lab.lab.state) == []
    with socket.socket() as knock:
        assert knock.connect_ex(("127.0.0.1", running.lab.port)) != 0
    again = running.lab.run("down")
    assert (again.returncode, again.stderr.strip()) == (0, "Nothing was running.")
    assert running.lab.run("status").returncode == 1


def test_a_running_lab_is_recognised_whatever_the_configuration_says_by_now(
    running: Running,
) -> None:
    other = {"local": "compose"}.get(running.engine, "local")
    refused = running.lab.run("up", "--engine", other)
    assert refused.returncode == 2
    assert f"runs already, under the engine {running.engine}" in refused.stderr
    assert "Fix: llmlab down" in refused.stderr
    environ = {"LLMLAB_ENGINE": other}
    assert f"engine {running.engine}" in running.lab.run("status", env=environ).stdout
    up = running.lab.run("up", "--engine", "auto")
    assert up.returncode == 0
    assert "where it runs already" in up.stderr
    assert "The lab is down" in running.lab.run("down", env=environ).stderr
    assert running.parts() == set()


def test_a_dry_run_prints_the_commands_and_runs_none(make: Make) -> None:
    one = make()
    before = sorted(one.lab.root.rglob("*"))
    printed = one.lab.ok("up", "--dry-run")
    program = {"compose": "docker compose"}.get(one.engine, "supervisor.supervisord")
    assert program in printed
    assert one.parts() == set()
    assert sorted(one.lab.root.rglob("*")) == before
    one.lab.ok("up")
    there = one.parts()
    one.lab.ok("down", "--dry-run")
    assert one.parts() == there


@pytest.mark.parametrize("victim", ["api", "gateway"])
def test_a_kill_under_load_is_survived(running: Running, article: str, victim: str) -> None:
    done, failures, stop = [], [], threading.Event()

    def summarize_again_and_again() -> None:
        with Client(lab=running.lab.root, retry=RetryPolicy(30)) as client:
            while not stop.is_set():
                try:
                    done.append(client.summarize(article).text)
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=summarize_again_and_again, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(done) > 5)
    running.kill(victim)
    seen = len(done)
    wait_until(lambda: len(done) > seen + 20, 40)
    stop.set()
    for thread in threads:
        thread.join(40)
    assert failures == []
    wait_until(lambda: running.lab.run("status").returncode == 0, 30)


def test_while_the_api_is_away_the_gateway_says_so_and_when_to_try_again(
    running: Running,
) -> None:
    running.kill("api")
    seen: list[httpx2.Response] = []

    def is_back() -> bool:
        with running.lab.client() as client:
            seen.append(client.post("/summarize/", json={"text": "One. Two."}))
        return seen[-1].status_code == 200

    wait_until(is_back, 40)
    away = [one for one in seen if one.status_code != 200]
    assert away, "the API was back before anybody could ask"
    for one in away:
        assert one.status_code in (502, 503), one.text
        assert one.headers["Content-Type"] == "application/problem+json"
        if one.headers.get("X-Should-Retry") == "false":  # the API had it, and ended over it
            assert one.status_code == 502 and "Retry-After" not in one.headers
        else:
            assert int(one.headers["Retry-After"]) >= 1
        assert one.json()["request_id"] == one.headers["X-Request-ID"]


def test_a_second_up_changes_nothing(running: Running) -> None:
    before = running.parts()
    again = running.lab.run("up")
    assert again.returncode == 0
    assert "nothing changed" in again.stderr
    assert running.parts() == before


def test_a_second_up_applies_a_changed_limit_without_restarting_the_api(
    running: Running,
) -> None:
    api = running.api()
    file = running.lab.lab.config_file
    file.write_text(file.read_text().replace('max_body = "3m"', 'max_body = "1k"'))
    running.lab.ok("up")
    with running.lab.client() as client:
        wait_until(
            lambda: client.post("/summarize/", json={"text": "a " * 1000}).status_code == 413
        )
    assert running.api() == api


def test_a_second_up_replaces_an_api_whose_settings_changed(running: Running) -> None:
    file = running.lab.lab.config_file
    file.write_text(file.read_text().replace("max_text_chars = 200000", "max_text_chars = 10"))
    running.lab.ok("up")
    with running.lab.client() as client:
        assert client.post("/summarize/", json={"text": "a " * 10}).status_code == 413


def test_the_port_can_move_while_the_lab_runs(running: Running) -> None:
    old, running.lab.port = running.lab.port, free_port()
    running.lab.ok("up", "--port", str(running.lab.port))
    assert answers(running.lab)
    assert running.lab.json("status")["gateway"]["url"] == running.lab.url
    with socket.socket() as knock:
        wait_until(lambda: knock.connect_ex(("127.0.0.1", old)) != 0)


def test_a_model_can_be_added_and_removed_while_the_lab_runs(running: Running) -> None:
    file = running.lab.lab.config_file
    file.write_text(
        file.read_text()
        + '\n[models.short]\nruntime = "extractive"\n'
        + 'source = "embedded:textrank"\nmax_length = 20\n'
    )
    running.lab.ok("up", "--model", "textrank", "--model", "short")
    names = [one["name"] for one in running.lab.json("status")["deployments"]]
    assert names == ["textrank", "short"]
    with running.lab.client() as client:
        answer = client.post("/models/short/summarize/", json={"text": "One. Two. Three."})
        assert answer.json()["model"]["name"] == "short"
    running.lab.ok("up")
    assert [one["name"] for one in running.lab.json("status")["deployments"]] == ["textrank"]
    assert running.api("short") == ""


def test_an_nginx_conf_that_nginx_rejects_never_reaches_the_running_gateway(
    running: Running,
) -> None:
    before = running.parts()
    conf = running.lab.lab.nginx_conf
    good = conf.read_text()
    conf.write_text(good.replace("server_tokens", "server_tokenz"))
    refused = running.lab.run("up")
    assert refused.returncode == 2
    assert 'unknown directive "server_tokenz"' in refused.stderr
    assert "Fix:" in refused.stderr
    assert answers(running.lab)
    assert running.parts() == before
    conf.write_text(good)
    assert "nothing changed" in running.lab.run("up").stderr


def test_an_nginx_conf_of_ones_own_is_the_one_that_runs(running: Running) -> None:
    conf = running.lab.lab.nginx_conf
    mine = "add_header             X-Request-ID  $lab_request_id always;"
    assert mine in conf.read_text()
    conf.write_text(conf.read_text().replace(mine, mine + "\nadd_header X-Mine yes always;"))
    running.lab.ok("up")
    with running.lab.client() as client:
        assert client.get("/").headers["X-Mine"] == "yes"
    assert "add_header X-Mine yes always;" in running.lab.ok("config", "gateway")


def _add_broken_model(lab: LabUnderTest) -> None:
    """Define a model `broken` that every image has the packages for, and that is refused when it
    is loaded: its content is not what it should be."""
    with lab.lab.config_file.open("a") as file:
        file.write(
            '\n[models.broken]\nruntime = "extractive"\nsource = "embedded:textrank"\n'
            f'content_id = "sha256:{64 * "0"}"\n'
        )


def test_a_failed_start_says_why_and_leaves_nothing_running(make: Make) -> None:
    one = make(routes__summarize='"broken"')
    _add_broken_model(one.lab)
    done = one.lab.run("up")
    assert done.returncode == 3
    assert "api-broken does not start" in done.stderr
    assert "cannot be loaded" in done.stderr  # the log line that explains it
    assert one.parts() == set()


def test_a_running_lab_goes_on_when_a_change_fails(running: Running) -> None:
    _add_broken_model(running.lab)
    failed = running.lab.run("up", "--model", "textrank", "--model", "broken")
    assert failed.returncode == 3, failed.stderr
    status = running.lab.json("status")
    assert status["healthy"]
    assert [one["name"] for one in status["deployments"]] == ["textrank"]
    assert running.api("broken") == ""


def test_a_taken_port_is_reported_with_the_process_that_holds_it(
    make: Make,
) -> None:
    one = make()
    lab = one.lab
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", lab.port))
        taken.listen()
        done = lab.run("up")
    assert done.returncode == 3
    assert f"port {lab.port} is taken by" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert f"--port {lab.port + 1}" in done.stderr
    assert one.parts() == set()


def test_two_labs_do_not_disturb_each_other(make: Make) -> None:
    one, other = make().lab, make().lab
    one.ok("up")
    other.ok("up")
    with one.client() as client:
        assert client.get("/").status_code == 200
        # A token of one lab means nothing to the other.
        assert client.get(f"{other.url}/").status_code == 401
    one.ok("down")
    assert answers(other)
    assert not answers(one)


def test_logs_show_each_process_and_can_be_narrowed(running: Running) -> None:
    running.lab.ok("summarize", "-", stdin="The lamp is lit. The coast is near.")
    everything = running.lab.ok("logs")
    assert "gateway | " in everything
    assert "api-textrank | " in everything
    only = running.lab.ok("logs", "api-textrank")
    assert all(line.startswith("api-textrank") for line in only.splitlines())


def test_logs_follow_what_is_written(running: Running) -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "logs", "-f", "-n", "0", "gateway"], cwd=running.lab.root,
        env=running.lab.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert follower.stdout is not None
        seen: list[str] = []
        reader = threading.Thread(target=lambda: seen.extend(follower.stdout), daemon=True)  # type: ignore[arg-type]
        reader.start()

        def seen_a_request() -> bool:
            with running.lab.client() as client:
                client.get("/marked")
            return any("/marked" in line for line in seen)

        wait_until(seen_a_request)
    finally:
        follower.terminate()
        follower.wait(10)


def test_a_revoked_key_leaves_no_copy_of_itself_behind(running: Running) -> None:
    old = running.lab.json("keys", "list")[0]["kid"]
    secret = running.lab.lab.keys_file.read_text().split('"k": "')[1].split('"')[0]
    running.lab.ok("keys", "rotate")
    running.lab.ok("keys", "revoke", old)
    for file in running.lab.lab.state.rglob("*"):
        assert not file.is_file() or secret not in file.read_text(errors="replace"), file


def test_a_rotation_does_not_put_an_edited_nginx_conf_live(running: Running) -> None:
    conf = running.lab.lab.nginx_conf
    conf.write_text(conf.read_text().replace("server_tokens", "server_tokenz"))
    running.lab.ok("keys", "rotate")
    with running.lab.client() as client:
        assert client.get("/").status_code == 200
