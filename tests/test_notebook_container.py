"""The notebook in a container, with a real Docker engine, and in a real browser.

Run by: make test-containers; its last test by: make test-browser
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from llmlab import Client
from llmlab.config.schema import Jupyter
from llmlab.engines.compose.notebook import variables
from llmlab.notebook import access
from tests.browser import chromium
from tests.conftest import LabUnderTest, free_port
from tests.test_local_engine import wait_until

pytestmark = pytest.mark.containers

TAG = "notebook-test"
NOTEBOOK = "text_summarization.ipynb"
JOVYAN = (1000, 100)


@dataclass(frozen=True)
class Containers:
    """A lab that plain Docker Compose brought up."""

    lab: LabUnderTest
    port: int

    @property
    def url(self) -> str:
        return access.url(self.port, access.token(self.lab.lab))

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        env = self.lab.env | variables(Jupyter(port=self.port), f"llmlab-jupyter:{TAG}")
        env |= {
            "LLMLAB_PORT": str(self.lab.port), "LLMAPI_IMAGE": f"llmapi:{TAG}",
            "NGINX_IMAGE": f"llmlab-nginx:{TAG}",
        }  # fmt: skip
        return subprocess.run(
            ["docker", "compose", *arguments], cwd=self.lab.root, env=env, text=True,
            capture_output=True, timeout=300,
        )  # fmt: skip

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the notebook's container."""
        return self.compose("exec", "-T", "jupyter", *command)

    def status(self, token: str, host: str = "127.0.0.1") -> int:
        """What JupyterLab answers to a request for something that is not for everybody."""
        headers = {"Host": host} | ({"Authorization": f"token {token}"} if token else {})
        answer = httpx2.get(
            f"http://127.0.0.1:{self.port}/api/status", headers=headers, trust_env=False
        )
        return answer.status_code


@pytest.fixture(scope="module")
def up(make_lab: Callable[..., LabUnderTest]) -> Iterator[Containers]:
    """All three services, the notebooks writable for the container's user."""
    lab = make_lab()
    done = lab.run("build", "--extra", "none", "--tag", TAG, "--progress", "plain", "-o", "json")
    assert done.returncode == 0, done.stderr[-3000:]
    for image in json.loads(done.stdout):
        assert image["size"] < image["limit"], image
    lab.ok("keys", "init")
    if os.geteuid() == 0:  # else the container's user is this one
        notebooks = lab.root / "notebooks"
        for path in (notebooks, *notebooks.iterdir()):
            os.chown(path, *JOVYAN)
    one = Containers(lab, free_port())
    try:
        started = one.compose("up", "-d", "--wait")
        assert started.returncode == 0, started.stderr + one.compose("logs").stdout
        yield one
    finally:
        one.compose("down", "--volumes")


def test_the_notebook_runs_top_to_bottom_in_its_container(up: Containers) -> None:
    done = up.inside(
        "jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout", f"notebooks/{NOTEBOOK}"
    )
    assert done.returncode == 0, done.stderr
    import nbformat  # takes seconds, wherever this file is collected

    cells = nbformat.reads(done.stdout, as_version=4).cells
    printed = "\n".join(
        output["text"] for cell in cells for output in cell.get("outputs", []) if "text" in output
    )
    assert printed.startswith("http://nginx:8080\n")
    assert "200 textrank" in printed
    assert 'Bearer realm="LLM API"' in printed
    assert "F5 is mentioned." in printed


def test_only_who_has_the_token_gets_in(up: Containers) -> None:
    assert up.status(access.token(up.lab.lab)) == 200
    assert up.status("") == up.status("nginxrocks!") == 403
    assert up.status(access.token(up.lab.lab), host="example.org") == 403


def test_it_is_published_on_loopback_only(up: Containers) -> None:
    told = up.compose("ps", "--format", "json", "jupyter").stdout
    published = [
        (port["URL"], port["PublishedPort"], port["TargetPort"])
        for port in json.loads(told)["Publishers"] or ()
    ]
    assert published == [("127.0.0.1", up.port, 8888)]


def test_no_secret_is_in_what_docker_tells_or_in_the_log(up: Containers) -> None:
    container = up.compose("ps", "-q", "jupyter").stdout.strip()
    told = subprocess.run(
        ["docker", "inspect", container], capture_output=True, text=True, check=True
    ).stdout
    log = up.compose("logs", "jupyter").stdout
    mounted = up.lab.lab.state / "compose" / "jupyter"
    secrets = [file.read_text() for file in mounted.iterdir()]
    assert len(secrets) == 2
    for secret in secrets:
        assert secret not in told
        assert secret not in log


def test_the_container_has_tokens_and_no_key(up: Containers) -> None:
    def files_with(text: str) -> list[str]:
        folders = ("/run/llmlab", "/home", "/opt", "/tmp")
        return up.inside("grep", "-rlFse", text, *folders).stdout.split()

    mounted = up.lab.lab.state / "compose" / "jupyter"
    assert files_with((mounted / "token").read_text()) == ["/run/llmlab/token"]
    assert files_with(json.loads(up.lab.lab.keys_file.read_text())["keys"][0]["k"]) == []


def test_the_way_around_the_gateway_is_closed(up: Containers) -> None:
    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).status)"
    assert up.inside("python", "-c", ask, "http://nginx/health").stdout == "200\n"
    refused = up.inside("python", "-c", ask, "http://llmapi/health")
    assert refused.returncode == 1
    assert "Name or service not known" in refused.stderr


def test_the_image_says_what_it_is_and_has_no_compiler(up: Containers) -> None:
    told = subprocess.run(
        ["docker", "image", "inspect", f"llmlab-jupyter:{TAG}"], capture_output=True, check=True
    )
    labels = json.loads(told.stdout)[0]["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["org.opencontainers.image.revision"]
    assert up.inside("sh", "-c", "command -v gcc cc c++ make").stdout == ""


def test_what_a_person_installs_there_works(up: Containers) -> None:
    """Its home can hold programs, compiled ones too; the rest of the container is read-only."""
    home = "import pathlib, shutil, subprocess; p = pathlib.Path.home() / 'true'\n"
    copied = up.inside("python", "-c", home + "shutil.copy('/bin/true', p); subprocess.run([p])")
    assert copied.returncode == 0, copied.stderr
    assert "Read-only" in up.inside("touch", "/opt/x").stderr


def test_a_renewed_token_is_taken_up_by_a_container_that_runs(up: Containers) -> None:
    ask = "from llmlab import Client; print(Client().summarize('One. Two. Three.').model.name)"
    old = up.lab.json("keys", "list")[-1]["kid"]
    up.lab.ok("keys", "rotate")
    up.lab.ok("keys", "revoke", old)
    assert up.compose("kill", "--signal", "HUP", "nginx").returncode == 0

    wait_until(lambda: up.inside("python", "-c", ask).stdout == "textrank\n", 30)


@pytest.mark.browser
def test_its_url_opens_jupyterlab_and_the_notebook_shows_its_summary(up: Containers) -> None:
    text = Path(up.lab.root, "configs", "texts", "founding.txt").read_text()
    with Client(up.lab.url, up.lab.token()) as client:
        summary = client.summarize(text)
    with chromium() as page:
        page.open(up.url)
        page.open_notebook(NOTEBOOK)
        page.run_all_cells()
        outputs = page.wait_for_output("█")  # the bars of the last cell that prints
        page.screenshot("notebook-container")
    assert outputs[0] == "http://nginx:8080"
    assert sum(summary.text in one for one in outputs) == 2  # by hand, and with the client
    assert not [one for one in outputs if "Traceback" in one]
