"""The lab in containers, with a real Docker engine. Run by: make test-containers"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator

import httpx2
import pytest

from llmlab import Client
from llmlab.client import RetryPolicy
from llmlab.engines.compose.images import BuiltImages
from tests.conftest import LabUnderTest, free_port

pytestmark = pytest.mark.containers
JUPYTER_PORT = free_port()


def compose(
    lab: LabUnderTest, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    names = {
        "LLMLAB_PORT": str(lab.port), "JUPYTER_PORT": str(JUPYTER_PORT),
        # Folders of several test runs may have the same name.
        "COMPOSE_PROJECT_NAME": f"plain-{lab.port}",
    }  # fmt: skip
    env = lab.env | names | variables
    return subprocess.run(
        ["docker", "compose", *arguments], cwd=lab.root, env=env, text=True,
        capture_output=True, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab whose images are built, with the embedded model only: no torch to fetch."""
    lab = make_lab()
    done = lab.run("build", "--extra", "none", "--progress", "plain", "-o", "json")
    assert done.returncode == 0, done.stderr[-3000:]
    for image in json.loads(done.stdout):
        assert image["size"] < image["limit"], image
    lab.ok("keys", "init")
    return lab


@pytest.fixture(scope="module")
def up(built: LabUnderTest) -> Iterator[LabUnderTest]:
    done = compose(built, "up", "-d", "--wait")
    try:
        assert done.returncode == 0, done.stderr + compose(built, "logs").stdout
        yield built
    finally:
        compose(built, "down", "--volumes")


def test_the_compose_file_has_no_warning(built: LabUnderTest) -> None:
    done = compose(built, "config", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_text_goes_through_the_gateway_in_containers(up: LabUnderTest, article: str) -> None:
    done = up.run("summarize", "-", stdin=article, env={"LLMLAB_URL": up.url})
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) > 20


def test_the_gateway_in_containers_wants_a_token(up: LabUnderTest) -> None:
    assert httpx2.get(f"{up.url}/", trust_env=False).status_code == 401
    with up.client() as client:
        assert client.get("/").json() == {"message": "Hello World"}
    assert httpx2.get(f"{up.url}/health", trust_env=False).status_code == 200


def test_only_gateway_and_notebook_are_published_and_only_on_loopback(up: LabUnderTest) -> None:
    told = compose(up, "ps", "--format", "json").stdout
    published = {
        (one["Service"], port["URL"], port["PublishedPort"])
        for one in map(json.loads, told.splitlines())
        for port in one["Publishers"] or ()  # null in a closed network
        if port["PublishedPort"]
    }
    assert published == {
        ("nginx", "127.0.0.1", up.port), ("jupyter", "127.0.0.1", JUPYTER_PORT),
    }  # fmt: skip


def test_the_api_has_no_address_and_listens_on_none(up: LabUnderTest) -> None:
    api = compose(up, "ps", "-q", "llmapi").stdout.strip()
    told = subprocess.run(["docker", "inspect", api], capture_output=True, check=True)
    networks = json.loads(told.stdout)[0]["NetworkSettings"]["Networks"]
    assert list(networks) == ["none"]
    assert networks["none"]["IPAddress"] == ""
    table = compose(up, "exec", "-T", "llmapi", "cat", "/proc/net/tcp").stdout.splitlines()
    assert len(table) == 1, "its head"


def test_who_is_beside_the_gateway_gets_no_connection_to_the_api(up: LabUnderTest) -> None:
    image = BuiltImages.read(up.lab).llmapi
    ask = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=5).status)"
    for network in ("api", "default"):
        inside = ["docker", "run", "--rm", "--network", f"plain-{up.port}_{network}",
                  "--entrypoint", "python", image, "-c", ask]  # fmt: skip
        reached = subprocess.run([*inside, "http://nginx/health"], capture_output=True, text=True)
        assert reached.stdout == "200\n", reached.stderr
        refused = subprocess.run([*inside, "http://llmapi/health"], capture_output=True, text=True)
        assert "name resolution" in refused.stderr or "not known" in refused.stderr


def test_the_socket_is_for_the_gateway_alone(up: LabUnderTest) -> None:
    folder = compose(up, "exec", "-T", "nginx", "stat", "-c", "%a %u %g", "/run/llmapi").stdout
    assert folder == "2750 10001 10101\n"
    asked = ["curl", "-sS", "--unix-socket", "/run/llmapi/llmapi.sock", "http://api/health/ready"]
    assert "ready" in compose(up, "exec", "-T", "nginx", *asked).stdout
    removed = compose(up, "exec", "-T", "nginx", "rm", "/run/llmapi/llmapi.sock")
    assert "Read-only file system" in removed.stderr
    stranger = compose(up, "exec", "-T", "--user", "65534:65534", "nginx", *asked)
    assert stranger.returncode != 0
    assert compose(up, "exec", "-T", "jupyter", "ls", "/run/llmapi").returncode != 0


def test_the_apis_own_port_is_published_on_request(up: LabUnderTest) -> None:
    port = free_port()
    files = ["-f", "docker-compose.yml", "-f", "configs/docker/api-port.yml"]
    variables = {"LLMAPI_PORT": str(port)}
    told = compose(up, *files, "config", "--format", "json", **variables)
    assert told.returncode == 0, told.stderr
    (published,) = json.loads(told.stdout)["services"]["llmapi"]["ports"]
    assert published["host_ip"] == "127.0.0.1"
    try:
        done = compose(up, *files, "up", "-d", "--wait", "llmapi", **variables)
        assert done.returncode == 0, done.stderr
        api = httpx2.get(f"http://127.0.0.1:{port}/", trust_env=False)
        assert api.json() == {"message": "Hello World"}
        assert httpx2.get(f"{up.url}/health", trust_env=False).status_code == 200, "as well"
    finally:
        assert compose(up, "up", "-d", "--wait", "llmapi").returncode == 0


@pytest.mark.parametrize("service", ["llmapi", "nginx", "jupyter"])
def test_a_container_runs_with_little_privilege(up: LabUnderTest, service: str) -> None:
    container = compose(up, "ps", "-q", service).stdout.strip()
    told = subprocess.run(["docker", "inspect", container], capture_output=True, check=True)
    settings = json.loads(told.stdout)[0]
    host = settings["HostConfig"]
    assert settings["Config"]["User"] not in ("", "root", "0")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    secret = json.loads(up.lab.keys_file.read_text())["keys"][0]["k"]
    assert secret not in told.stdout.decode()


def test_an_api_that_dies_comes_back_by_itself(up: LabUnderTest, article: str) -> None:
    before = compose(up, "ps", "-q", "llmapi").stdout
    compose(up, "exec", "llmapi", "python", "-c", "import os; os.kill(1, 15)")
    with Client(up.url, up.token(), retry=RetryPolicy(60)) as client:
        assert client.summarize(article).text
    deadline = time.monotonic() + 60
    while compose(up, "ps", "-q", "--status", "running", "llmapi").stdout != before:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_nginx_in_the_container_is_the_gateways_own_binary(up: LabUnderTest) -> None:
    conf = ("-c", "/etc/nginx/lab/current/nginx.conf")
    for call in (["exec", "-T", "nginx", "nginx"], ["run", "--rm", "--no-deps", "-T", "nginx"]):
        told = compose(up, *call, *conf, "-t")
        assert told.returncode == 0, told.stderr
        assert "/etc/nginx/lab/current/nginx.conf test is successful" in told.stderr


def test_a_revoked_key_is_refused_after_a_reload(up: LabUnderTest) -> None:
    token = up.token()
    old = up.json("keys", "list")[-1]["kid"]
    up.ok("keys", "rotate")
    up.ok("keys", "revoke", old)
    assert compose(up, "kill", "--signal", "HUP", "nginx").returncode == 0
    deadline = time.monotonic() + 20
    while _status(up, token) != 401:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert _status(up, up.token()) == 200


def _status(lab: LabUnderTest, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{lab.url}/", headers=headers, trust_env=False).status_code
