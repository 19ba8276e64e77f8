"""The profile `observability`, with a real Docker engine and a real Prometheus in it.

The image of Prometheus is made here of this machine's own Prometheus, because no registry may
be in reach; that of Grafana cannot be, so what it would read is only checked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.engines.compose.images import BuiltImages
from tests.conftest import LabUnderTest, free_port, wait_until
from tests.test_compose_engine import container, docker, state

pytestmark = [
    pytest.mark.containers,
    pytest.mark.skipif(not shutil.which("prometheus"), reason="needs the program prometheus"),
]
DOCKERFILE = """\
FROM python:3.11-slim
COPY prometheus promtool /bin/
RUN install -d -o 65534 -g 65534 /prometheus
ENTRYPOINT ["/bin/prometheus"]
"""


@pytest.fixture(scope="module")
def image() -> str:
    name = "llmlab-test-prometheus"
    with tempfile.TemporaryDirectory() as folder:
        for program in ("prometheus", "promtool"):
            shutil.copy(str(shutil.which(program)), folder)
        Path(folder, "Dockerfile").write_text(DOCKERFILE)
        docker("build", "--quiet", "--tag", name, folder)
    return name


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


def compose(lab: LabUnderTest, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """As a person calls it, beside the command: with the project of the running lab."""
    project = docker("inspect", "--format", '{{index .Config.Labels "com.docker.compose.project"}}',
                     container(lab, "nginx"))  # fmt: skip
    files = ["--file", "docker-compose.yml", "--file", ".llmlab/compose/engine.json"]
    return subprocess.run(
        ["docker", "compose", "--project-name", project, *files, *arguments],
        cwd=lab.root, env=lab.env | more, text=True, capture_output=True, timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def lab(
    make_lab: Callable[..., LabUnderTest], images: BuiltImages, image: str, port: int
) -> Iterator[LabUnderTest]:
    one = make_lab(engine='"compose"', gateway__rate_limit__enabled="false")
    one.env |= {"PROMETHEUS_IMAGE": image, "PROMETHEUS_PORT": str(port)}
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write('[models.second]\nruntime = "extractive"\nsource = "embedded:textrank"\n')
    one.lab.make_state()
    images.write(one.lab)
    one.ok("up", "--model", "textrank", "--model", "second")
    started = compose(one, "--profile", "observability", "up", "-d", "--wait", "--no-deps",
                      "prometheus")  # fmt: skip
    assert started.returncode == 0, started.stderr
    yield one
    one.run("down", "--volumes")


def ask(port: int, expression: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query"
    answer = httpx2.post(url, data={"query": expression}, timeout=20, trust_env=False).json()
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def by_deployment(port: int, expression: str) -> dict[str, float]:
    return {one["metric"]["deployment"]: float(one["value"][1]) for one in ask(port, expression)}


def test_the_compose_file_has_no_warning_with_the_profile(lab: LabUnderTest) -> None:
    done = compose(lab, "--profile", "observability", "config", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    assert {"prometheus", "grafana", "llmapi", "llmapi-second"} <= set(services)
    without = json.loads(compose(lab, "config", "--format", "json").stdout)["services"]
    assert not {"prometheus", "grafana"} & set(without)


def test_prometheus_finds_every_deployment_by_itself(lab: LabUnderTest, port: int) -> None:
    both = {"textrank": 1.0, "second": 1.0}
    wait_until(lambda: by_deployment(port, "llmlab_ready") == both, 60)
    assert len(ask(port, 'up{job="llmapi"} == 1')) == 2


def test_prometheus_reads_weights_and_counts_of_the_gateway(lab: LabUnderTest, port: int) -> None:
    wanted = {"textrank": 100.0, "second": 0.0}
    wait_until(lambda: by_deployment(port, "llmlab_route_weight") == wanted, 60)
    with lab.client() as client:
        for _ in range(3):
            assert client.post("/summarize/", json={"text": "The tide is late."}).is_success
    asked = 'llmlab_gateway_requests_total{status="200"}'
    wait_until(lambda: by_deployment(port, asked).get("textrank", 0) >= 3, 60)


def test_the_gateways_metrics_are_not_published(lab: LabUnderTest) -> None:
    ports = json.loads(docker("inspect", "--format", "{{json .HostConfig.PortBindings}}",
                              container(lab, "nginx")))  # fmt: skip
    assert list(ports) == ["80/tcp"]
    with lab.client() as client:
        assert client.get("/metrics").status_code == 403  # for whom it is no secret: an operator


def test_the_command_shows_them_as_well(lab: LabUnderTest) -> None:
    page = lab.ok("metrics", "-o", "prometheus")
    assert 'llmlab_route_weight{deployment="textrank",route="summarize"} 100.0' in page
    assert 'llmlab_up{deployment="second"} 1.0' in page
    assert "llmlab_gateway_requests_total{" in page


def test_an_up_of_the_lab_leaves_prometheus_running(lab: LabUnderTest) -> None:
    before = container(lab, "prometheus")
    started = docker("inspect", "--format", "{{.State.StartedAt}}", before)
    lab.ok("up", "--model", "textrank")
    assert container(lab, "llmapi-second") == ""  # what is not wanted any more is removed ...
    assert container(lab, "prometheus") == before  # ... and this is no such thing
    assert docker("inspect", "--format", "{{.State.StartedAt}}", before) == started
    assert state(before) == "running"


def test_down_ends_it_with_the_lab(lab: LabUnderTest) -> None:
    lab.ok("down")
    assert container(lab, "prometheus") == ""
    assert container(lab, "nginx") == ""
