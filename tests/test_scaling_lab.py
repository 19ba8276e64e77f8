"""Replicas of a real lab follow what is asked: up under load, down after it, and to rest."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from llmlab.engines.record import Record
from llmlab.ledger.store import Store
from llmlab.scaling import looking
from llmlab.scaling.process import WHO
from tests.conftest import LabUnderTest, wait_until

TEXT = "The ferry left the island at six. Fog lay on the water. It reached the harbour late."
# What a person would wait minutes for takes seconds here.
MODELS = """
[models.busy]
runtime = "extractive"
source = "embedded:textrank"
scale = { max = 2, requests = 2, up_after = 1, down_after = 4 }

[models.idle]
runtime = "extractive"
source = "embedded:textrank"
scale = { min = 0, max = 2, up_after = 1, rest_after = 2 }
"""
SOON = 90.0  # seconds, on a machine that does much else


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(deploy='["busy", "idle"]', gateway__rate_limit__enabled="false")
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(MODELS)
    one.ok("up", "--engine", "local")
    return one


def replicas(lab: LabUnderTest, name: str) -> int:
    record = Record.read(lab.lab)
    assert record
    return record.plan().replicas(name)


def deployment(lab: LabUnderTest, name: str) -> Any:
    return next(one for one in lab.status()["deployments"] if one["name"] == name)


@contextlib.contextmanager
def asking(lab: LabUnderTest, name: str, people: int) -> Iterator[list[int]]:
    """So many ask again and again, until the end of the block; the statuses of all answers."""
    statuses: list[int] = []
    over = threading.Event()

    def person(number: int) -> None:
        with lab.client(f"person-{number}") as client:
            while not over.is_set():
                said = {"text": f"{TEXT} {number} {len(statuses)}"}
                statuses.append(client.post(f"/models/{name}/summarize/", json=said).status_code)

    threads = [threading.Thread(target=person, args=(number,)) for number in range(people)]
    for one in threads:
        one.start()
    try:
        yield statuses
    finally:
        over.set()
        for one in threads:
            one.join()


def test_replicas_follow_the_load_up_and_down_and_nobody_notices(lab: LabUnderTest) -> None:
    lab.ok("drill", "slow", "--deployment", "busy", "--seconds", "0.5")
    with asking(lab, "busy", people=8) as statuses:
        wait_until(lambda: replicas(lab, "busy") == 2, SOON)
        seen = len(statuses)
        wait_until(lambda: len(statuses) > seen + 16, SOON)  # both have been asked
        assert "2 of 2 (1-2) ready" in lab.ok("status")
        assert lab.metric("busy.2", "llmlab_requests_total", route="/summarize/") > 0
    assert set(statuses) == {200}
    wait_until(lambda: replicas(lab, "busy") == 1, SOON)
    lab.ok("drill", "off", "--deployment", "busy")
    entries = Store(lab.lab).entries(kind="deployment", about={"deployment": "busy"})
    assert [(one.who, one.document["replicas"]) for one in entries] == [(WHO, 2), (WHO, 1)]
    up, down = (one.why for one in entries)
    assert "requests under way on average for 1 s, and 1 replica at 2 each are for 2" in up
    assert down.startswith("for 4 s no more than")


def test_who_is_asked_by_nobody_rests_and_wakes_when_asked(lab: LabUnderTest) -> None:
    wait_until(lambda: replicas(lab, "idle") == 0, SOON)
    wait_until(lambda: deployment(lab, "idle")["state"] == "RESTING", SOON)
    told = deployment(lab, "idle")
    assert (told["replicas"], told["bounds"], told["healthy"]) == (0, "0-2", True)
    with lab.client() as client:
        asked: list[httpx2.Response] = []

        def is_answered() -> bool:
            asked.append(client.post("/models/idle/summarize/", json={"text": TEXT}))
            return asked[-1].status_code == 200

        wait_until(is_answered, SOON)
    assert {one.status_code for one in asked} == {503, 200}
    assert "idle rests" in asked[0].text
    entries = Store(lab.lab).entries(kind="deployment", about={"deployment": "idle"})
    assert [one.document["replicas"] for one in entries[:2]] == [0, 1]
    assert entries[0].why == "nobody has asked for it for 2 s"
    assert entries[1].why.endswith("asked for it while it rested")


def test_a_person_scales_within_the_bounds(lab: LabUnderTest) -> None:
    refused = lab.run("deployment", "scale", "busy", "3")
    assert refused.returncode == 2
    said = " ".join(refused.stderr.split())
    assert "the replicas of busy follow what is asked, between 1 and 2: 3 would not stay" in said
    assert "Fix: llmlab deployment scale busy 2" in said


def test_what_is_read_for_a_look_is_what_the_metrics_say(lab: LabUnderTest) -> None:
    with lab.client() as client:
        client.post("/summarize/", json={"text": TEXT}).raise_for_status()
        client.get("/").raise_for_status()  # asks no model
    page = httpx2.Client(
        transport=httpx2.HTTPTransport(uds=str(lab.lab.api_socket("textrank"))), base_url="http://a"
    ).get("/metrics").text  # fmt: skip
    asked = lab.metric("textrank", "llmlab_requests_total", route="/summarize/")
    assert asked >= 1
    assert looking.read(page) == looking.Load(1, 0, int(asked))
    not_ready = page.replace('llmlab_ready{deployment="textrank"} 1.0',
                             'llmlab_ready{deployment="textrank"} 0.0')  # fmt: skip
    assert looking.read(not_ready) == looking.Load()


def test_without_bounds_nobody_is_left_who_scales(lab: LabUnderTest) -> None:
    file = lab.lab.config_file
    text = file.read_text()
    assert "nobody scales" not in lab.ok("status")
    file.write_text("\n".join(one for one in text.splitlines() if not one.startswith("scale =")))
    lab.ok("up")
    wait_until(lambda: lab.lab.state.joinpath("processes").exists(), SOON)
    wait_until(lambda: not scales(lab), SOON)
    assert "nobody scales" not in lab.ok("status")
    assert deployment(lab, "busy")["bounds"] == ""
    file.write_text(text)
    lab.ok("up")
    wait_until(lambda: scales(lab), SOON)


def scales(lab: LabUnderTest) -> bool:
    from llmlab.engines.attendants import SCALER
    from llmlab.engines.local.supervisor import Supervisor

    return Supervisor(lab.lab).pid(SCALER) is not None
