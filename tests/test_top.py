"""`llmlab top` and `llmlab metrics`: what people see of a running lab.

The frames stand in golden/top/, one file a width. After a change that is meant, rewrite them
and look at them: python -m tests.test_top
"""

from __future__ import annotations

import json
import math
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from llmlab.cli.run import figures
from llmlab.cli.run.metrics_view import tables
from llmlab.cli.run.top_view import frame
from llmlab.observe.access import Access
from llmlab.observe.apis import ApiFigures, ApiRates
from llmlab.observe.exporter import Exporter
from llmlab.observe.observer import DeploymentView, View, Wanted
from llmlab.observe.window import Seen, Window
from tests.conftest import LabUnderTest, free_port, wait_until

GOLDEN = Path(__file__).parent / "golden" / "top"
WIDTHS = (80, 120)
NOON = 1_800_000_000.0
TEXT = "The tide is late today, so the boats wait at the quay. A gull sleeps on the mast."


def view(**changed: Any) -> View:
    """A lab in the middle of a rollout, at noon."""
    chance, window = random.Random(1), Window(NOON - 400)
    for ago in range(300):
        at = NOON - ago - 0.5
        for _ in range(chance.randint(2, 20)):
            name = "textrank" if chance.random() < 0.75 else "tuned-on-news"
            status = 502 if name != "textrank" and chance.random() < 0.03 else 200
            seconds = chance.lognormvariate(-2, 0.5)
            window.add(Access(at, name, status, seconds, "split", 17), NOON)
        if ago % 20 == 0:
            window.add(Access(at, "", 401, 0.0), NOON)
            window.add(Access(at, "", 429, 0.0), NOON)
    glance = window.glance(NOON)
    api = ApiFigures(
        model="news", model_id="sha256:" + "ab12" * 16, runtime="ctranslate2", waiting=3, queue=32,
        running_texts=2, requests=1234, tokens_in=341_120, tokens_out=51_200, batches=800,
        batched=1234, answers={"miss": 90, "hit": 10, "coalesced": 0}, rejected={"queue_full": 7},
    )  # fmt: skip
    rates = ApiRates(1240.0, 210.0, 0.0, 1.5, 10.0)
    deployments = tuple(
        DeploymentView(name, healthy, "RUNNING", memory << 20, 0, weight,
                       glance.deployments.get(name, Seen()), told, rates if told else None)
        for name, healthy, memory, weight, told in (
            ("textrank", True, 65, 75.0, api), ("tuned-on-news", True, 312, 25.0, api),
            ("next", False, 0, 0.0, None),
        )
    )  # fmt: skip
    wanted = Wanted({"textrank": 75.0, "tuned-on-news": 25.0}, {}, {"new-ui": 10.0}, 17,
                    {"summarize": 3, "chat": 4}, {"summarize": 2, "chat": 0})  # fmt: skip
    made = View(NOON, "/home/alice/lab", "local", "http://127.0.0.1:8000", True, wanted, glance,
                deployments)  # fmt: skip
    return replace(made, **changed)


def drawn(shown: Any, width: int) -> str:
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


# --- how figures are written ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 %"), (25.0, "25 %"), (0.44, "0.4 %"), (99.96, "100.0 %"), (math.nan, "-")],
)
def test_percent(value: float, text: str) -> None:
    assert figures.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.25, "0.25"), (9.99, "9.99"), (12.34, "12.3"), (99.96, "100"), (1234.5, "1,234"),
     (math.nan, "-")],
)  # fmt: skip
def test_rates(value: float, text: str) -> None:
    assert figures.rate(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12, "12"), (999, "999"), (999.6, "1.0k"), (1234, "1.2k"), (35_400, "35k"),
     (1_250_000, "1.2M"), (math.nan, "-")],
)  # fmt: skip
def test_large_numbers_are_shortened(value: float, text: str) -> None:
    assert figures.short(value) == text


def test_a_bar_is_as_high_as_its_share_of_the_highest() -> None:
    assert figures.bars([0, 0.01, 1, 4, 8], 8) == " ▁▁▄█"
    assert figures.bars([], 1) == ""


# --- the view --------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_a_frame_is_drawn_as_it_always_was(width: int) -> None:
    assert drawn(frame(view(), width), width) == (GOLDEN / f"{width}.txt").read_text()


@pytest.mark.parametrize("width", range(40, 200, 8))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = drawn(frame(view(), width), width).splitlines()
    assert max(map(len, lines)) <= width
    assert len({len(line) for line in lines}) == 1, "the frame is ragged"


def test_a_lab_without_requests_shows_what_it_knows() -> None:
    quiet = Window(NOON).glance(NOON)
    text = drawn(frame(view(glance=quiet, wanted=Wanted({"textrank": 100.0})), 80), 80)
    assert "none" in text
    assert "rollout" not in text
    assert "nan" not in text


def test_a_lab_without_deployments_is_drawn_as_well() -> None:
    assert "requests/s" in drawn(frame(view(deployments=()), 80), 80)


def test_a_name_cannot_steer_the_terminal() -> None:
    one = replace(view().deployments[0], name="a[red]\x1b[2Jb")
    text = drawn(frame(view(deployments=(one,)), 120), 120)
    assert "\x1b" not in text
    assert "a[red]" in text


def test_metrics_stand_side_by_side() -> None:
    text = "\n".join(drawn(one, 120) for one in tables(view()))
    rows = {line[:26].strip(): line[26:].split() for line in text.splitlines() if line.strip()}
    assert rows[""] == ["textrank", "tuned-on-news", "next"]
    assert rows["model"] == ["news@ab12ab12ab12", "news@ab12ab12ab12", "-"]
    assert rows["weight"] == ["75", "%", "25", "%", "0", "%"]
    assert rows["tokens in"] == ["341,120", "341,120", "-"]
    assert rows["waiting"] == ["3", "of", "32", "3", "of", "32", "-"]
    assert rows["turned away"] == ["7", "7", "-"]
    assert "401 × 3" in text
    assert "of rollout 3, step 2" in text


# --- a real lab ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        deploy='["second"]', gateway__rate_limit__rate='"50r/s"', gateway__rate_limit__burst="20"
    )
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write('[models.second]\nruntime = "extractive"\nsource = "embedded:textrank"\n')
    one.ok("up")
    with one.client() as client:
        for number in range(10):
            assert client.post("/summarize/", json={"text": f"{TEXT} {number}"}).is_success
        assert client.post("/models/second/summarize/", json={"text": TEXT}).is_success
        client.headers["Authorization"] = "Bearer nothing"
        assert client.post("/summarize/", json={"text": TEXT}).status_code == 401
    return one


def test_once_shows_one_frame(lab: LabUnderTest) -> None:
    text = lab.ok("top", "--once", "--interval", "0.3")
    assert text.count("╭") == 1
    assert "● textrank" in text
    assert "● second" in text
    assert "401 × 1" in text
    assert "100 %" in text


def test_once_as_json_has_requests_shares_and_rates(lab: LabUnderTest) -> None:
    document = json.loads(lab.ok("top", "--once", "--interval", "0.3", "-o", "json"))
    first, second = document["deployments"]
    assert (first["name"], first["weight"], first["seen"]["share"]) == ("textrank", 100, 100)
    assert first["seen"]["requests"] == 10
    assert first["seen"]["statuses"] == {"2xx": 10}
    assert 0 < first["seen"]["p50"] <= first["seen"]["p95"] < 30
    assert first["rates"]["tokens_in"] >= 0
    assert first["api"]["tokens_in"] > 0
    assert second["seen"]["requests"] == 1
    assert document["glance"]["refused"] == {"401": 1}
    assert document["engine"] == "local"


def test_a_stream_of_json_is_not_what_it_shows(lab: LabUnderTest) -> None:
    refused = lab.run("top", "-o", "json")
    assert refused.returncode == 2
    assert "Fix: llmlab top --once -o json" in refused.stderr


def test_without_a_terminal_it_prints_one_frame_after_the_other(lab: LabUnderTest) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "top", "--interval", "0.3"],
        cwd=lab.root, env=lab.env, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    frames = 0
    try:
        while frames < 3:
            frames += process.stdout.readline().startswith("╭")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)


def test_on_a_terminal_it_draws_over_itself(lab: LabUnderTest) -> None:
    ours, theirs = pty.openpty()
    env = lab.env | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "top", "--interval", "0.3"],
        cwd=lab.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    seen, until = "", time.monotonic() + 20
    try:
        while seen.count("╭") < 3 and time.monotonic() < until:
            if select.select([ours], [], [], 0.5)[0]:
                seen += os.read(ours, 65536).decode(errors="replace")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        os.close(ours)
    assert seen.count("╭") >= 3
    assert re.search(r"\x1b\[1A", seen), "it goes up to draw the next frame"
    assert "\x1b[?1049h" not in seen, "what was on the screen stays"


def test_q_ends_it_and_nothing_that_is_typed_shows(lab: LabUnderTest) -> None:
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", "top", "--interval", "0.3"],
        cwd=lab.root, env=lab.env | {"COLUMNS": "80", "TERM": "xterm-256color"},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    try:
        wait_until(lambda: not termios.tcgetattr(theirs)[3] & termios.ECHO, 20)
        os.write(ours, b"xyz\n")
        time.sleep(0.5)
        os.write(ours, b"q")
        seen = ""
        while process.poll() is None:
            if select.select([ours], [], [], 0.2)[0]:
                seen += os.read(ours, 65536).decode(errors="replace")
        assert process.returncode == 0
        assert "xyz" not in seen
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        os.close(theirs)
        os.close(ours)


def test_a_request_shows_in_the_next_look(lab: LabUnderTest) -> None:
    before = lab.json("top", "--once", "--interval", "0.2")["glance"]["total"]["requests"]
    with lab.client() as client:
        assert client.post("/summarize/", json={"text": TEXT}).is_success
    wait_until(
        lambda: (
            lab.json("top", "--once", "--interval", "0.2")["glance"]["total"]["requests"] > before
        ),
        30,
    )


@pytest.mark.parametrize(
    "arguments", [("top", "--once"), ("metrics",), ("metrics", "-o", "prometheus")]
)
def test_a_lab_that_does_not_run_is_an_error_with_a_fix(
    make_lab: Callable[..., LabUnderTest], arguments: tuple[str, ...]
) -> None:
    refused = make_lab().run(*arguments)
    assert refused.returncode == 5
    assert "the lab does not run" in refused.stderr
    assert "Fix: llmlab up" in refused.stderr


def test_metrics_as_prometheus_reads_them(lab: LabUnderTest) -> None:
    page = lab.ok("metrics", "-o", "prometheus")
    found = {one.name: one for one in text_string_to_metric_families(page)}
    ready = {one.labels["deployment"]: one for one in found["llmlab_ready"].samples}
    assert set(ready) == {"textrank", "second"}
    assert ready["second"].labels["model"] == "second"
    assert ready["second"].labels["model_id"].startswith("sha256:")
    weights = {one.labels["deployment"]: one.value for one in found["llmlab_route_weight"].samples}
    assert weights == {"textrank": 100, "second": 0}
    asked = {
        one.labels["deployment"]: one.value
        for one in found["llmlab_gateway_requests"].samples
        if one.labels["status"] == "200"
    }
    assert asked["textrank"] >= 10
    assert asked["second"] == 1


def test_metrics_for_people(lab: LabUnderTest) -> None:
    text = lab.ok("metrics")
    assert "textrank@" in text
    assert "refused by the gateway" in text


def test_an_address_that_is_none_is_a_usage_error(lab: LabUnderTest) -> None:
    for wrong in ("nowhere", "127.0.0.1", "127.0.0.1:99999", "example.org:80"):
        refused = lab.run("metrics", "--listen", wrong)
        assert refused.returncode == 2
        assert "Fix: llmlab metrics --listen 127.0.0.1:9464" in refused.stderr


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:{port}", 200), ("[::1]", 200), ("evil.example", 403),
     ("localhost.evil.example:{port}", 403), ("", 403)],
)  # fmt: skip
def test_a_page_of_the_web_reads_no_metrics_by_a_name_of_its_own(host: str, status: int) -> None:
    port = free_port()
    exporter = Exporter(lambda: "up 1\n", ("127.0.0.1", port))
    thread = threading.Thread(target=exporter.serve)
    thread.start()
    try:
        answer = httpx2.get(
            f"http://127.0.0.1:{port}/metrics", headers={"Host": host.format(port=port)},
            trust_env=False,
        )  # fmt: skip
        assert answer.status_code == status
    finally:
        exporter.close()
        thread.join()


def test_a_port_that_is_taken_is_an_error_with_another_one(lab: LabUnderTest) -> None:
    refused = lab.run("metrics", "--listen", f"127.0.0.1:{lab.port}")
    assert refused.returncode == 3
    assert f"Fix: llmlab metrics --listen 127.0.0.1:{lab.port + 1}" in refused.stderr


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for columns in WIDTHS:
        (GOLDEN / f"{columns}.txt").write_text(drawn(frame(view(), columns), columns))
