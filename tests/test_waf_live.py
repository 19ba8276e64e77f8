"""A lab with a WAF for real: ModSecurity and the OWASP Core Rule Set, asked by a real gateway.

Needs Debian's libnginx-mod-http-modsecurity and modsecurity-crs; run by `make test-waf`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from llmlab.guards.harmless import prompts
from llmlab.proving.checks.waf import attacks
from tests.conftest import LabUnderTest, wait_until

pytestmark = pytest.mark.waf
CHAT = "/v1/chat/completions"
LAMP, SCRIPT = {"text": "A lamp."}, "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def walled(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that blocks, whose model answers at once."""
    wall = {"gateway__waf__enabled": "true", "gateway__waf__mode": '"block"'}
    lab = make_lab(gateway__rate_limit__enabled="false", **wall)
    lab.ok("up")
    return lab


def post(lab: LabUnderTest, said: Any, path: str = CHAT, **headers: str) -> httpx2.Response:
    with lab.client() as client:
        return client.post(path, json=said, headers=headers)


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "summarize", "messages": [{"role": "user", "content": text}], **more}


def waf_pid(lab: LabUnderTest) -> int:
    started = json.loads((lab.lab.state / "processes" / "waf.json").read_text())
    return int(started["pid"])


def test_no_harmless_text_is_taken_for_an_attack(walled: LabUnderTest) -> None:
    every = [one.text for one in prompts()]
    assert len(every) >= 400
    with walled.client() as client:
        answers = {text: client.post("/summarize/", json={"text": text}).status_code
                   for text in every}  # fmt: skip
    assert {text: status for text, status in answers.items() if status != 200} == {}


def test_the_probe_finds_that_every_attack_is_refused(walled: LabUnderTest) -> None:
    told = walled.json("probe", "--only", "waf", "--apart")
    assert {one["verdict"] for one in told["results"]} == {"passed"}
    assert len(attacks()) == 40


def test_a_finding_is_in_every_place_where_one_looks(walled: LabUnderTest) -> None:
    reply = post(walled, chat("x", metadata={"note": "1' OR '1'='1' UNION SELECT password--"}))
    assert reply.status_code == 403
    assert reply.json()["error"]["code"] == "waf_blocked"
    request_id = reply.headers["X-Request-ID"]
    (line,) = [one for one in walled.ok("logs", "waf").splitlines() if request_id in one]
    assert "942100 SQL Injection Attack Detected via libinjection in ARGS:json.metadata" in line
    assert "password" not in line
    assert '"waf":"found","waf_kinds":"sqli"' in (walled.lab.logs / "gateway.log").read_text()
    assert walled.json("metrics")["waf"]["refused"] >= 1
    assert "refused" in walled.ok("top", "--once")


def test_no_text_of_a_request_gets_into_its_log(walled: LabUnderTest) -> None:
    secret = "the tulips are blue"
    reply = post(walled, chat(secret, metadata={"note": SCRIPT}))
    assert reply.status_code == 403
    log = walled.lab.logs / "waf.log"
    wait_until(lambda: reply.headers["X-Request-ID"] in log.read_text())
    assert secret not in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    assert walled.token() not in log.read_text()


def test_it_looks_behind_what_lets_in(walled: LabUnderTest) -> None:
    before = walled.json("metrics")["waf"]["inspected"]
    reply = httpx2.get(f"{walled.url}/?q=<script>alert(1)</script>", trust_env=False)
    assert reply.status_code == 401
    assert walled.json("metrics")["waf"]["inspected"] == before


def test_status_shows_it(walled: LabUnderTest) -> None:
    told = walled.json("status")["waf"]
    assert told == {"mode": "block", "paranoia": 1, "threshold": 5, "state": "RUNNING",
                    "answers": True}  # fmt: skip


def test_killed_hard_it_is_back_and_until_then_nothing_passes(walled: LabUnderTest) -> None:
    first = waf_pid(walled)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: waf_pid(walled) != first and walled.status()["waf"]["answers"])
    assert post(walled, LAMP, "/summarize/").status_code == 200
    assert post(walled, LAMP, "/summarize/", Referer=SCRIPT).status_code == 403


def test_what_is_configured_otherwise_is_taken_over(walled: LabUnderTest) -> None:
    without = {"LLMLAB_GATEWAY_WAF_ENABLED": "false"}
    detect = {"LLMLAB_GATEWAY_WAF_MODE": "detect", "LLMLAB_GATEWAY_WAF_PARANOIA": "2"}
    assert walled.run("up", "--waf", env=without | detect).returncode == 0
    reply = post(walled, LAMP, "/summarize/", Referer=SCRIPT)
    assert reply.status_code == 200
    told = walled.json("status")["waf"]
    assert (told["mode"], told["paranoia"]) == ("detect", 2)
    assert post(walled, LAMP, "/summarize/").status_code == 200
    assert walled.run("up", env=without).returncode == 0
    assert walled.json("status")["waf"] is None
    assert "waf" not in walled.ok("status")
