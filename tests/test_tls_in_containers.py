"""TLS at the gateway's container, with a real Docker engine. Run by: make test-containers"""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
from collections.abc import Callable

import httpx
import pytest

from llmlab.engines.compose.images import BuiltImages
from llmlab.engines.local.supervisor import Supervisor
from llmlab.tls.store import Certificates
from tests.conftest import LabUnderTest, configure, free_port, wait_until
from tests.test_tls import TEXT, asked, fingerprint, headers, more, sent, url

pytestmark = pytest.mark.containers
ASK = (
    "import sys; from llmlab import Client; print(Client().url, "
    "Client().summarize('One. Two. Three.').model.name)"
)


@pytest.fixture(scope="module")
def contained(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> LabUnderTest:
    lab = make_lab(gateway__rate_limit__enabled="false", console__enabled='"auto"')
    lab.lab.make_state()
    images.write(lab.lab)
    lab.ok("up", "--engine", "compose", "--tls")
    return lab


def test_the_published_port_speaks_tls_and_plain_requests_are_led_there(
    contained: LabUnderTest,
) -> None:
    told = contained.json("status")
    assert (told["healthy"], told["gateway"]["url"]) == (True, url(contained))
    assert told["gateway"]["certificate"]["ours"]
    assert contained.ok("summarize", "-", stdin=TEXT["text"]).strip()
    trusted = ssl.create_default_context(cafile=contained.lab.trusted_ca)
    with httpx.Client(http2=True, verify=trusted, trust_env=False) as client:
        answer = client.post(f"{url(contained)}/summarize/", json=TEXT, headers=headers(contained))
        assert (answer.status_code, answer.http_version) == (200, "HTTP/2")
    host = f"Host: 127.0.0.1:{contained.port}\r\n"
    led = sent(contained.port, f"GET /health HTTP/1.1\r\n{host}\r\n")
    assert (led.status, led.headers["Location"]) == (308, f"{url(contained)}/health")


def test_the_console_is_a_process_beside_that_the_gateways_container_reaches(
    contained: LabUnderTest,
) -> None:
    trusted = ssl.create_default_context(cafile=contained.lab.trusted_ca)
    entered = contained.json("console", "--viewer")["url"]
    with httpx.Client(verify=trusted, timeout=30, trust_env=False) as browser:

        def status() -> int:
            return browser.get(f"{url(contained)}/console/overview.json").status_code

        wait_until(lambda: browser.get(f"{url(contained)}/console/sign-in").status_code == 200)
        assert status() == 401
        (said,) = browser.get(entered).headers.get_list("Set-Cookie")
        assert "Secure" in said.split("; ")
        wait_until(lambda: status() == 200)
        assert (
            browser.get(f"{url(contained)}/console/overview.json").json()["status"]["engine"]
            == "compose"
        )
        assert contained.json("status")["console"]["healthy"]
        pid = Supervisor(contained.lab).pid("console")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: Supervisor(contained.lab).pid("console") not in (None, pid))
        wait_until(lambda: status() == 200)
        assert browser.get(f"{url(contained)}/health").status_code == 200
    assert "console" in contained.ok("logs", "console")


def test_the_notebooks_container_asks_inside_where_nothing_is_published(
    contained: LabUnderTest,
) -> None:
    contained.ok("notebook", "--no-browser", "--port", str(free_port()))
    named = ["--filter", f"label=com.docker.compose.project.working_dir={contained.root}"]
    found = subprocess.run(
        ["docker", "ps", "-q", *named, "--filter", "label=com.docker.compose.service=jupyter"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    done = subprocess.run(
        ["docker", "exec", found.stdout.strip(), "python", "-c", ASK],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "http://nginx:8080 textrank\n", done.stderr
    ports = subprocess.run(
        ["docker", "ps", *named, "--format", "{{.Ports}}"], capture_output=True, check=True,
        text=True,
    )  # fmt: skip
    assert f":{contained.port}->80/tcp" in ports.stdout
    assert "->8080" not in ports.stdout


def test_a_certificate_that_is_due_is_renewed_under_load(contained: LabUnderTest) -> None:
    before, kept = fingerprint(contained.port), Certificates(contained.lab)
    with asked(contained) as told:
        assert contained.json("tls", "renew")["taken_over"]
        assert fingerprint(contained.port) != before
        more(told)
    assert set(told) == {"200"}
    facts = kept.facts()
    assert facts
    assert facts.fingerprint == fingerprint(contained.port)


def test_a_second_port_is_refused(contained: LabUnderTest) -> None:
    file = contained.lab.config_file
    text = file.read_text()
    file.write_text(text.replace("redirect_port = 0", f"redirect_port = {free_port()}"))
    try:
        done = contained.run("up", "--engine", "compose", "--tls")
    finally:
        file.write_text(text)
    assert done.returncode == 2
    assert "redirect_port is for the engine local" in done.stderr


def test_what_plain_compose_mounts_speaks_tls_too(contained: LabUnderTest) -> None:
    contained.ok("down")
    configure(contained.root, contained.port, gateway__tls__enabled="true")
    contained.ok("keys", "init")
    names = {"LLMLAB_PORT": str(contained.port), "COMPOSE_PROJECT_NAME": f"tls-{contained.port}"}
    built = BuiltImages.read(contained.lab)
    env = contained.env | names | {"LLMAPI_IMAGE": built.llmapi, "NGINX_IMAGE": built.nginx}

    def compose(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", "compose", *arguments], cwd=contained.root, env=env, text=True,
            capture_output=True, timeout=300, check=False,
        )  # fmt: skip

    try:
        done = compose("up", "-d", "--wait", "nginx")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: contained.run("status").returncode == 0, 60)
        assert contained.json("status")["gateway"]["url"] == url(contained)
        assert contained.ok("summarize", "-", stdin=TEXT["text"]).strip()
    finally:
        compose("down", "--volumes")
