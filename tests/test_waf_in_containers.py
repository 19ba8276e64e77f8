"""The WAF in a container, with a real Docker engine. Run by: make test-containers"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from llmlab.engines.compose.images import BuiltImages
from tests.conftest import LabUnderTest, wait_until
from tests.test_compose_engine import container, docker, state

pytestmark = pytest.mark.containers
LAMP, SCRIPT = {"text": "A lamp."}, "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def walled(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> LabUnderTest:
    lab = make_lab(gateway__rate_limit__enabled="false", gateway__waf__mode='"block"')
    lab.lab.make_state()
    images.write(lab.lab)
    tag = images.llmapi.partition(":")[2]
    lab.ok("build", "--only", "waf", "--tag", tag, "--extra", "none", "--progress", "plain")
    lab.ok("up", "--engine", "compose", "--waf")
    return lab


def asked(lab: LabUnderTest, **headers: str) -> int:
    with lab.client() as client:
        return client.post("/summarize/", json=LAMP, headers=headers).status_code


def test_what_the_waf_finds_the_gateway_refuses_and_the_log_says(walled: LabUnderTest) -> None:
    assert asked(walled) == 200
    with walled.client() as client:
        refused = client.post("/summarize/", json=LAMP, headers={"Referer": SCRIPT})
    assert refused.status_code == 403
    request_id = refused.headers["X-Request-ID"]
    wait_until(lambda: request_id in walled.ok("logs", "waf", "-n", "50"))
    (line,) = [one for one in walled.ok("logs", "waf").splitlines() if request_id in one]
    assert "941110 XSS Filter - Category 1: Script Tag Vector in REQUEST_HEADERS:Referer" in line
    assert walled.json("metrics")["waf"]["refused"] >= 1


def test_its_container_may_do_next_to_nothing(walled: LabUnderTest) -> None:
    (found,) = json.loads(docker("inspect", container(walled, "waf")))
    assert found["HostConfig"]["NetworkMode"] == "none"
    assert found["HostConfig"]["ReadonlyRootfs"]
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["Config"]["User"] == "10103:10103"
    assert not found["HostConfig"]["PortBindings"]


def test_killed_it_comes_back_and_until_then_nothing_passes(walled: LabUnderTest) -> None:
    identifier = container(walled, "waf")
    docker("stop", identifier)
    assert asked(walled) == 503
    told = walled.run("status", "-o", "json")
    assert (told.returncode, json.loads(told.stdout)["waf"]["answers"]) == (1, False)
    subprocess.run(["docker", "start", identifier], check=True, capture_output=True)
    wait_until(lambda: asked(walled) == 200)
    docker("kill", identifier)
    wait_until(lambda: state(identifier) == "running" and asked(walled) == 200, 30)


def test_without_it_its_container_goes(walled: LabUnderTest) -> None:
    walled.ok("up", "--engine", "compose")
    assert container(walled, "waf") == ""
    assert asked(walled, Referer=SCRIPT) == 200
    walled.ok("up", "--engine", "compose", "--waf")
    assert asked(walled, Referer=SCRIPT) == 403
