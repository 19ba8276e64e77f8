"""Deployments and routes of a running lab, the same for every engine.

The compose half needs a Docker engine and is run by: make test-containers
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.delivery import applying
from llmlab.engines.attendants import ROLLOUT
from llmlab.engines.choice import running_engine
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.errors import UpstreamError
from llmlab.ledger.chain import Entry, entries
from llmlab.ledger.store import Store
from llmlab.names import SUMMARIZE
from llmlab.traffic import Flag, Match, Shadow, Share, Split, Traffic
from tests.conftest import LabUnderTest, wait_until
from tests.test_engines import Make, MakeLab, Running, laid_out, make
from tests.two_engines import engine

__all__ = ["engine", "make"]
SHORT = """
[models.short]
runtime = "extractive"
source = "embedded:textrank"
max_length = 20
"""
TEXT = "The ferry left the island at six. Fog lay on the water. It reached the harbour late."


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.fixture(scope="module")
def shared(
    engine: str, make_lab: MakeLab, request: pytest.FixtureRequest
) -> Iterator[tuple[Running, dict[Path, str]]]:
    """A lab that is up, and the files that tests of it may edit, as they were."""
    one = with_short(laid_out(engine, make_lab, request))
    edited = (one.lab.lab.config_file, one.lab.lab.nginx_conf)
    yield one, {file: file.read_text() for file in edited}
    one.lab.run("down")


def with_short(one: Running) -> Running:
    with one.lab.lab.config_file.open("a") as config:
        config.write(SHORT)
    one.lab.ok("up")
    return one


def bring(shared: tuple[Running, dict[Path, str]], *deployed: str) -> Running:
    """The lab with these models deployed, and no routes: whatever the test before has left."""
    one, files = shared
    for file, text in files.items():
        file.write_text(text)
    one.lab.bring(*deployed)
    return one


@pytest.fixture
def running(shared: tuple[Running, dict[Path, str]]) -> Running:
    """A lab with the stable deployment textrank; the model short is defined and not deployed."""
    return bring(shared)


@pytest.fixture
def pair(shared: tuple[Running, dict[Path, str]]) -> Running:
    """The same, with short deployed beside it."""
    return bring(shared, "short")


@pytest.fixture
def own(make: Make) -> Running:
    """As ``running``, for a test that brings its lab down, or kills what runs there."""
    return with_short(make())


@pytest.fixture
def own_pair(own: Running) -> Running:
    own.lab.ok("deploy", "short")
    return own


def told(lab: LabUnderTest) -> list[Entry]:
    """What the ledger says of deployments."""
    with Store(lab.lab).database.reading() as connection:
        return list(entries(connection, "kind = ?", ("deployment",)))


def names(lab: LabUnderTest) -> dict[str, float]:
    """Deployment -> weight."""
    return {one["name"]: one["weight"] for one in lab.json("status")["deployments"]}


def answered_by(
    lab: LabUnderTest, path: str = "/summarize/", sub: str = "tester", **headers: str
) -> str:
    """Which model answers."""
    with lab.client(sub) as client:
        reply = client.post(path, json={"text": TEXT}, headers=headers)
    assert reply.status_code == 200, reply.text
    return str(reply.headers["X-Model"])


def change(lab: LabUnderTest, **fields: Any) -> Traffic:
    """Route the texts to be summarized otherwise; ``flags`` are those of the whole lab."""
    flags = {name: fields.pop(name) for name in ("flags",) if name in fields}

    def changed(now: Traffic) -> Traffic:
        route = replace(now.route(SUMMARIZE), **fields)
        return replace(now.with_route(SUMMARIZE, route), **flags)

    return Store(lab.lab).change("route", {"did": "test"}, changed)


def to_short(percent: float) -> Split:
    return Split((Share("short", percent),))


# --- deploy, undeploy, scale -----------------------------------------------------------


def test_a_model_is_deployed_beside_the_others_and_takes_no_traffic(running: Running) -> None:
    lab, before, so_far = running.lab, running.api(), len(told(running.lab))
    url = lab.ok("deploy", "short", "--why", "to try it").strip()
    assert url == f"{lab.url}/models/short/summarize/"
    assert names(lab) == {"textrank": 100, "short": 0}
    assert answered_by(lab) == "textrank"
    assert answered_by(lab, "/models/short/summarize/") == "short"
    assert answered_by(lab, **{"X-Model": "short"}) == "short"
    assert running.api() == before
    (entry,) = told(lab)[so_far:]
    assert (entry.kind, entry.why, entry.document["deployment"]) == (
        "deployment", "to try it", "short",
    )  # fmt: skip
    again = lab.run("deploy", "short")
    assert "nothing changed" in again.stderr


def test_a_deployment_has_the_name_that_it_is_given(running: Running) -> None:
    running.lab.ok("deploy", "short", "--name", "candidate")
    assert answered_by(running.lab, "/models/candidate/summarize/") == "short"
    told = running.lab.json("deploy", "short", "--name", "other")
    assert (told["name"], told["weight"], told["changed"]) == ("other", 0, True)


def test_a_deployment_is_gone_once_it_is_undeployed(pair: Running) -> None:
    assert pair.api("short")
    pair.lab.ok("deployment", "stop", "short")
    assert names(pair.lab) == {"textrank": 100}
    assert pair.api("short") == ""
    with pair.lab.client() as client:
        assert client.get("/models/short/").status_code == 404


def test_a_request_that_is_still_being_sent_is_answered_before_its_deployment_goes(
    pair: Running,
) -> None:
    body = json.dumps({"text": TEXT}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", pair.lab.port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/models/short/summarize/")
        connection.putheader("Authorization", f"Bearer {pair.lab.token()}")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:10])
        done: list[int] = []
        leaving = threading.Thread(
            target=lambda: done.append(pair.lab.run("deployment", "stop", "short").returncode)
        )
        leaving.start()
        with pair.lab.client() as client:
            wait_until(lambda: client.get("/models/short/").status_code == 404, 30)
        time.sleep(1)
        assert done == []
        connection.send(body[10:])
        assert connection.getresponse().status == 200
        leaving.join(60)
    assert done == [0]


def test_a_deployment_has_as_many_replicas_as_one_says(pair: Running) -> None:
    lab = pair.lab
    lab.ok("deployment", "scale", "short", "2")
    (short,) = (one for one in lab.json("status")["deployments"] if one["name"] == "short")
    assert (short["replicas"], short["ready"], short["healthy"]) == (2, 2, True)
    assert "2 of 2 ready" in lab.ok("status")
    for _ in range(4):
        assert answered_by(lab, "/models/short/summarize/") == "short"
    lab.ok("deployment", "scale", "short", "1")
    (short,) = (one for one in lab.json("status")["deployments"] if one["name"] == "short")
    assert (short["replicas"], short["ready"]) == (1, 1)


def test_a_deployment_rests_until_somebody_wants_it(pair: Running) -> None:
    """Its name stays; who asks for it is told so, and what leads to it wakes it first."""
    lab, stable = pair.lab, pair.api()
    lab.ok("deployment", "scale", "short", "0")
    assert pair.api("short") == ""
    (short,) = (one for one in lab.json("status")["deployments"] if one["name"] == "short")
    assert (short["replicas"], short["ready"], short["state"]) == (0, 0, "RESTING")
    assert lab.status()["healthy"]
    assert "rests; llmlab deployment scale short 1 wakes it" in " ".join(lab.ok("status").split())
    with lab.client() as client:
        asked = [
            client.post("/summarize/", json={"text": TEXT}, headers={"X-Model": "short"}),
            client.post("/models/short/summarize/", json={"text": TEXT}),
            client.post("/v1/chat/completions", json={"model": "short", "messages": []}),
        ]
        for answer in asked:
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
            assert "short rests" in answer.text
            assert "llmlab deployment scale short 1" in answer.text
        assert client.post("/summarize/", json={"text": TEXT}).headers["X-Model"] == "textrank"
    engine = running_engine(lab.lab)
    assert engine
    with pytest.raises(UpstreamError, match="short rests") as told_so:
        engine.ask("short", "/metrics")
    assert told_so.value.fix == "llmlab deployment scale short 1"
    assert "resting: short" in lab.run("up").stderr.replace("\n", " ")
    change(lab, split=to_short(100))
    assert applying.route(lab.lab)
    assert answered_by(lab) == "short"  # not one request is led to nobody
    assert pair.api() == stable
    refused = lab.run("deployment", "scale", "short", "0")
    assert "short cannot rest: requests of summarize lead to it" in refused.stderr
    change(lab, split=None)
    assert applying.route(lab.lab)
    lab.ok("deployment", "scale", "short", "1")


def test_a_configured_deployment_can_be_scaled_too_and_its_process_goes_on(
    running: Running,
) -> None:
    lab = running.lab
    before = running.api()
    lab.ok("deployment", "scale", "textrank", "2")
    assert before in running.api()
    assert lab.json("status")["deployments"][0]["ready"] == 2
    lab.ok("deployment", "scale", "textrank", "1")
    assert not Store(lab.lab).traffic().deployments
    assert names(lab) == {"textrank": 100}


def test_a_deployment_that_does_not_start_is_taken_back_and_the_ledger_says_so(
    running: Running,
) -> None:
    lab, so_far = running.lab, len(told(running.lab))
    with lab.lab.config_file.open("a") as config:
        config.write(f'{SHORT.replace("short", "broken")}content_id = "sha256:{64 * "0"}"\n')
    failed = lab.run("deploy", "broken")
    assert failed.returncode == 3, failed.stderr
    assert "does not start" in failed.stderr
    assert names(lab) == {"textrank": 100}
    assert lab.json("status")["healthy"]
    assert running.api("broken") == ""
    assert Store(lab.lab).traffic().deployments == ()
    assert [one.document.get("failed", "") != "" for one in told(lab)[so_far:]] == [False, True]


def test_a_dry_run_of_deploy_starts_and_writes_nothing(running: Running) -> None:
    before, traffic = running.parts(), Store(running.lab.lab).traffic()
    printed = running.lab.ok("deploy", "short", "--dry-run")
    assert "short" in printed
    assert running.parts() == before
    assert Store(running.lab.lab).traffic() == traffic
    assert traffic.at(0) == Traffic()


def test_without_a_running_lab_nothing_is_deployed(make: Any) -> None:
    one: Running = make()
    refused = one.lab.run("deploy", "textrank", "--name", "second")
    assert refused.returncode == 5
    assert "Fix: llmlab up" in refused.stderr
    with pytest.raises(UpstreamError):
        applying.apply(one.lab.lab, silent)
    with pytest.raises(UpstreamError):
        applying.route(one.lab.lab)


REFUSED = {
    ("deploy", "unknown"): "no model 'unknown'",
    ("deploy", "short", "--name", "Short"): "cannot be a deployment's name",
    ("deploy", "short", "--name", "textrank"): "lab.toml has a deployment textrank",
    ("deploy", "short", "--name", "other", "--replicas", "0"): "1 to 256",
    ("deploy", "textrank", "--name", "short"): "is deployed already",
    ("deployment", "stop", "textrank", "--force"): "lab.toml",
    ("deployment", "stop", "unknown"): "no deployment 'unknown'",
    ("deployment", "scale", "unknown", "2"): "no deployment 'unknown'",
    (
        "deployment",
        "scale",
        "textrank",
        "0",
    ): "textrank cannot rest: it is the stable",
    ("deployment", "scale", "short", "257"): "0 to 256",
}


def test_what_cannot_be_done_is_refused_with_the_reason(pair: Running) -> None:
    before = Store(pair.lab.lab).traffic()
    for arguments, says in REFUSED.items():
        refused = pair.lab.run(*arguments)
        assert refused.returncode == 2, arguments
        assert says in " ".join(refused.stderr.split())
    assert Store(pair.lab.lab).traffic() == before


# --- routes ----------------------------------------------------------------------------


def test_routes_move_and_no_process_is_touched(pair: Running) -> None:
    lab, parts = pair.lab, pair.parts
    deployments = {pair.api(), pair.api("short")}
    change(lab, split=to_short(100))
    assert applying.route(lab.lab)
    assert answered_by(lab) == "short"
    assert names(lab) == {"textrank": 0, "short": 100}
    change(lab, split=None, matches=(Match("claim", "sub", "alice", "short"),))
    assert applying.route(lab.lab)
    assert answered_by(lab) == "textrank"
    assert answered_by(lab, sub="alice") == "short"
    assert {pair.api(), pair.api("short")} == deployments
    assert parts()


def test_weights_in_the_status_are_those_of_the_routes(pair: Running) -> None:
    change(pair.lab, split=to_short(12.5))
    applying.route(pair.lab.lab)
    assert names(pair.lab) == {"textrank": 87.5, "short": 12.5}
    assert "87.5 %" in pair.lab.ok("status")


def test_a_promotion_is_a_route_and_nothing_is_started_or_stopped(pair: Running) -> None:
    lab, deployments = pair.lab, (pair.api(), pair.api("short"))
    change(lab, stable="short")
    assert applying.route(lab.lab)
    assert answered_by(lab) == "short"
    assert names(lab) == {"short": 100, "textrank": 0}
    applying.apply(lab.lab, silent)
    assert (pair.api(), pair.api("short")) == deployments
    assert httpx2.get(f"{lab.url}/health", trust_env=False).status_code == 200


def test_applying_again_changes_nothing(pair: Running) -> None:
    change(pair.lab, split=to_short(10))
    assert applying.apply(pair.lab.lab, silent)
    before = pair.parts()
    assert not applying.apply(pair.lab.lab, silent)
    assert {pair.api(), pair.api("short")} <= before


def test_what_an_edited_nginx_conf_says_waits_for_the_next_up(running: Running) -> None:
    conf = running.lab.lab.nginx_conf
    conf.write_text(conf.read_text().replace("server_tokens", "server_tokenz"))
    running.lab.ok("deploy", "short")
    assert answered_by(running.lab, "/models/short/summarize/") == "short"


def test_a_route_to_nowhere_is_refused_and_the_gateway_goes_on(pair: Running) -> None:
    change(pair.lab, split=Split((Share("gone", 50),)))
    with pytest.raises(Exception, match="gone"):
        applying.route(pair.lab.lab)
    assert answered_by(pair.lab) == "textrank"


def test_a_deployment_that_requests_are_routed_to_is_undeployed_only_by_force(
    pair: Running,
) -> None:
    lab = pair.lab
    change(
        lab, stable="short", split=to_short(10), shadow=Shadow("short", 10),
        matches=(Match("cookie", "a", "b", "short"),), flags=(Flag("beta", deployment="short"),),
    )  # fmt: skip
    applying.route(lab.lab)
    refused = lab.run("deployment", "stop", "short")
    assert refused.returncode == 2
    assert "requests are routed to short" in refused.stderr
    lab.ok("deployment", "stop", "short", "--force")
    assert names(lab) == {"textrank": 100}
    left = Store(lab.lab).traffic()
    assert left.targets() == set()
    assert left.flags == (Flag("beta"),)


# --- down, up, and what lab.toml says ----------------------------------------------------


def test_what_was_deployed_and_routed_outlives_down_and_up(own_pair: Running) -> None:
    lab = own_pair.lab
    change(lab, stable="short")
    lab.ok("down")
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    said = " ".join(up.stderr.replace("│", "").split())
    assert "short is stable in the place of textrank; deployed: short" in said
    assert "llmlab up --as-configured" in said
    assert answered_by(lab) == "short"
    assert "nothing changed" in lab.run("up").stderr
    lab.ok("up", "--as-configured")
    assert names(lab) == {"textrank": 100}
    assert Store(lab.lab).traffic().at(0) == Traffic()


def test_up_with_other_models_keeps_the_routes(own_pair: Running) -> None:
    change(own_pair.lab, split=to_short(100))
    own_pair.lab.ok("up", "--model", "textrank")
    assert names(own_pair.lab) == {"short": 100, "textrank": 0}


def test_a_deployment_whose_model_is_gone_is_left_out_as_long_as_nobody_needs_it(
    own_pair: Running,
) -> None:
    lab = own_pair.lab
    lab.ok("down")
    lab.lab.config_file.write_text(lab.lab.config_file.read_text().replace(SHORT, ""))
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    assert "short (short) cannot be served" in " ".join(up.stderr.split())
    assert names(lab) == {"textrank": 100}
    change(lab, split=to_short(10))
    lab.ok("down")
    refused = lab.run("up")
    assert refused.returncode == 5
    assert "requests are routed to it" in " ".join(refused.stderr.split())
    assert "Fix:" in refused.stderr


# --- asking and reading ------------------------------------------------------------------


def test_a_deployment_is_asked_past_the_gateway(pair: Running) -> None:
    engine = running_engine(pair.lab.lab)
    assert engine
    status, body = engine.ask("short", "/metrics")
    assert status == 200
    assert b'model="short"' in body
    sent = json.dumps({"text": TEXT + " é"}).encode()
    status, body = engine.ask("short", "/summarize/", method="POST", body=sent)
    assert status == 200
    assert json.loads(body)["summary"]
    assert engine.ask("short", "/nowhere")[0] == 404
    with pytest.raises(UpstreamError):
        engine.ask("unknown", "/metrics")


def test_every_request_is_told_once_in_order(pair: Running) -> None:
    engine = running_engine(pair.lab.lab)
    assert engine
    lines, cursor = engine.requests_since("")
    assert lines == []
    ids = [f"request-{number}" for number in range(20)]
    seen: list[str] = []
    with pair.lab.client() as client:
        for number, one in enumerate(ids):
            client.get("/", headers={"X-Request-ID": one})
            if number % 7 == 0:
                lines, cursor = engine.requests_since(cursor)
                seen += [json.loads(line)["request_id"] for line in lines]

    def all_seen() -> bool:
        nonlocal cursor
        lines, cursor = engine.requests_since(cursor)
        seen.extend(json.loads(line)["request_id"] for line in lines)
        return len(seen) >= len(ids)

    wait_until(all_seen)
    assert seen == ids
    everything, _ = engine.requests_since("0")
    assert [json.loads(line)["request_id"] for line in everything][-20:] == ids


# --- the controller ------------------------------------------------------------------------


def test_a_controller_is_left_alone_by_all_but_down(own_pair: Running) -> None:
    supervisor = Supervisor(own_pair.lab.lab)
    supervisor.put(Program("controller", ("sleep", "600"), final_exit=0))
    pid = supervisor.state("controller").pid
    assert pid
    for verb in (
        ["up"],
        ["deployment", "scale", "short", "2"],
        ["deployment", "stop", "short"],
        ["keys", "rotate"],
    ):
        own_pair.lab.ok(*verb)
        assert supervisor.state("controller").pid == pid, verb
    own_pair.lab.ok("down")
    assert supervisor.state("controller").pid is None


def test_up_starts_the_controller_of_an_unfinished_rollout(own: Running) -> None:
    lab = own.lab
    lab.ok("down")
    with Store(lab.lab).writing() as connection:
        connection.execute(
            "INSERT INTO state VALUES (?, ?)", (ROLLOUT, '{"unfinished": true, "number": 1}')
        )
    lab.ok("up")
    section = Supervisor(lab.lab).conf.read_text().partition("[program:controller]")[2]
    assert "llmlab.rollout.controller" in section.partition("[")[0]
    refused = lab.run("up", "--as-configured")
    assert refused.returncode == 2
    assert "a rollout is not finished" in refused.stderr


# --- killed on the way -----------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.8, 1.6, 3.0])
def test_a_deploy_that_is_killed_can_be_run_again(own: Running, after: float) -> None:
    lab = own.lab
    for verb, left in (
        (["deploy"], {"textrank", "short"}),
        (["deployment", "stop"], {"textrank"}),
    ):
        command = [sys.executable, "-m", "llmlab", *verb, "short"]
        process = subprocess.Popen(
            command, cwd=lab.root, env=lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(after)
        process.kill()
        process.wait(10)
        assert answered_by(lab) == "textrank"
        wanted = {"textrank", *(one.name for one in Store(lab.lab).traffic().deployments)}
        applying.apply(lab.lab, silent)
        assert set(names(lab)) == wanted
        if wanted != left:  # it was killed before it had written anything down
            lab.ok(*verb, "short")
        assert set(names(lab)) == left
        assert not applying.apply(lab.lab, silent)


# --- under load ------------------------------------------------------------------------------


@contextlib.contextmanager
def load(lab: LabUnderTest, clients: int) -> Iterator[list[tuple[int, str]]]:
    """Clients that keep their connection and ask again and again, without a retry of their own.
    Gives (status, model), or (0, what went wrong)."""
    seen: list[tuple[int, str]] = []
    stop = threading.Event()
    body = json.dumps({"text": TEXT})

    def ask(number: int) -> None:
        headers = {"Authorization": f"Bearer {lab.token(f'client-{number}')}"}
        connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=30)
        while not stop.is_set():
            try:
                connection.request("POST", "/summarize/", body, headers)
                reply = connection.getresponse()
                reply.read()
                seen.append((reply.status, reply.getheader("X-Model", "")))
            except (OSError, http.client.HTTPException) as error:
                seen.append((0, repr(error)))
                connection.close()
            time.sleep(0.1)

    threads = [threading.Thread(target=ask, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join(40)


def test_deploying_shifting_and_undeploying_lose_no_request(running: Running) -> None:
    lab = running.lab
    with load(lab, 20) as seen:
        wait_until(lambda: len(seen) > 40)
        lab.ok("deploy", "short")
        for percent in [*range(5, 100, 5), 0]:
            change(lab, split=to_short(percent) if percent else None)
            applying.route(lab.lab)
        lab.ok("deployment", "stop", "short")
        so_far = len(seen)
        wait_until(lambda: len(seen) > so_far + 40)
    assert {status for status, _ in seen} == {200}, [one for one in seen if one[0] != 200][:5]
    assert {model for _, model in seen} == {"textrank", "short"}


def test_no_request_is_lost_when_one_of_two_replicas_is_killed(own: Running) -> None:
    lab = own.lab
    lab.ok("deployment", "scale", "textrank", "2")
    with load(lab, 8) as seen:
        wait_until(lambda: len(seen) > 20)
        own.kill("api")
        so_far = len(seen)
        wait_until(lambda: len(seen) > so_far + 60)
    assert {status for status, _ in seen} == {200}, [one for one in seen if one[0] != 200][:5]
