"""Rollouts in a real lab: the embedded model under two names, real NGINX, real traffic."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from llmlab.auth import Claims, KeyStore, mint
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.record import Record
from llmlab.ledger.store import Store
from llmlab.rollout.state import Phase, Rollout
from llmlab.rollout.store import Rollouts
from llmlab.traffic import Traffic
from tests.conftest import LabUnderTest, wait_until
from tests.summarizing import route_of

TWIN = """
[models.twin]
runtime = "extractive"
source = "embedded:textrank"
"""
STEPS = ("--steps", "20,50,100", "--interval", "2s")
QUICK = ("--text-gate", "", "--min-samples", "10")
KILLS = 6


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__enabled="false", rollout__error_margin="0.05", rollout__bake="2",
        rollout__progress_deadline="600",
        rollout__latency_gate='"p50<=2x p95<=3x"',  # machines that run tests are shared
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    one.ok("up")
    return one


@pytest.fixture(autouse=True)
def as_before(lab: LabUnderTest) -> Iterator[None]:
    """Whatever a test did, the next one finds all traffic at textrank and nothing under way."""
    yield
    one = last(lab)
    if one and not one.over:
        lab.run("rollout", "abort")
        lab.run("rollout", "status", "--timeout", "60s")
    lab.bring()


def last(lab: LabUnderTest) -> Rollout | None:
    kept = Rollouts(lab.lab).last()
    return kept.rollout if kept else None


def taken(lab: LabUnderTest) -> Traffic:
    """What the gateway goes by."""
    record = Record.read(lab.lab)
    assert record
    return record.plan().traffic


def status(lab: LabUnderTest, timeout: str = "120s") -> tuple[int, str]:
    done = lab.run("rollout", "status", "--timeout", timeout)
    return done.returncode, done.stderr + done.stdout


@dataclass
class Load:
    """What clients have got, by status; by deployment as the answers say it."""

    statuses: Counter[int | str] = field(default_factory=Counter)
    served: Counter[str] = field(default_factory=Counter)


@contextmanager
def load(
    lab: LabUnderTest, clients: int = 6, rate: float = 60.0, *,
    subjects: int = 300, zipf: bool = False, named: str = "subject",
    read_it: Callable[[random.Random], str] = lambda chance: f"{chance.random()}", **headers: str,
) -> Iterator[Load]:  # fmt: skip
    """Requests of many subjects while the body runs. No client asks before it is answered, so it
    is the clients alone who set the pace if the rate is above what the lab can do.

    Args:
        named: subjects are named so, with a number.
        zipf: the n-th subject asks 1/n times as often as the first; else all ask as often.
        read_it: how a text goes on, each another one.
        headers: that clients send, with ``_`` for ``-``.
    """
    told, over = Load(), threading.Event()
    key = KeyStore(lab.lab.keys_file).read().signing
    tokens = [mint(key, Claims(sub=f"{named}-{n}")) for n in range(subjects)]
    weights = [1 / (n + 1) if zipf else 1.0 for n in range(subjects)]
    more = {name.replace("_", "-"): value for name, value in headers.items()}

    def ask(place: int) -> None:
        chance = random.Random(place)
        transport = httpx2.HTTPTransport(verify=False)
        with httpx2.Client(base_url=lab.url, timeout=60, transport=transport) as client:
            while not over.wait(clients / rate):
                (token,) = chance.choices(tokens, weights)
                text = f"The keeper lit the lamp at dusk. A ship read it, {read_it(chance)}."
                try:
                    answer = client.post(
                        "/summarize/", json={"text": text},
                        headers={"Authorization": f"Bearer {token}"} | more,
                    )  # fmt: skip
                    told.statuses[answer.status_code] += 1
                    told.served[answer.headers.get("X-Model", "?").partition("@")[0]] += 1
                except httpx2.HTTPError as error:
                    told.statuses[type(error).__name__] += 1

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(clients)]
    for one in threads:
        one.start()
    try:
        yield told
    finally:
        over.set()
        for one in threads:
            one.join(90)


def consistent(lab: LabUnderTest) -> None:
    """Ledger, what is wanted, and what the gateway goes by say the same."""
    assert lab.json("ledger", "verify")["whole"] is True
    wanted = Store(lab.lab).traffic()
    assert taken(lab) == wanted
    routes = lab.ok("config", "gateway")
    assert f"$lab_revision {{ default {wanted.revision}; }}" in routes
    weights = {one["name"]: one["weight"] for one in lab.status()["deployments"]}
    assert {name: weight for name, weight in weights.items() if weight} == {
        name: weight for name, weight in route_of(wanted).weights("textrank").items() if weight
    }


def test_a_good_candidate_is_promoted_step_by_step_and_no_request_is_lost(
    lab: LabUnderTest,
) -> None:
    with load(lab) as told:
        lab.ok("rollout", "start", "canary", "twin", *STEPS, "--min-samples", "10")
        code, said = status(lab)
        assert code == 0
        assert "waiting: rollout " in said and "is progressing, step 3 of 3, 95 %" in said
        consistent(lab)
        lab.ok("rollout", "undo", "--why", "only a test")
        assert status(lab)[0] == 0
        consistent(lab)
    assert set(told.statuses) == {200} and told.served["twin"] > 50
    found = lab.json("rollout", "history")
    assert [(one["kind"], one["phase"]) for one in found[-2:]] == [
        ("canary", "completed"), ("undo", "completed"),
    ]  # fmt: skip
    steps = [one["step"] for one in found[-2]["judged"]]
    assert steps == [1, 2, 3, 3], "the last time after the watch"
    number = str(found[-2]["number"])
    told = lab.json("rollout", "report", number, "--html", "rollout.html")
    assert {one["document"]["rollout"] for one in told["entries"]} == {int(number)}
    assert [one["step"] for one in told["moments"]] == sorted(
        one["step"] for one in told["moments"]
    )
    assert told["moments"][-1]["tested"]["requests"] > 50
    page = (lab.root / "rollout.html").read_text()
    assert "Rollout " + number in page and page.count("<svg") >= 6


def test_clients_that_give_no_time_decide_nothing(lab: LabUnderTest) -> None:
    """Whoever has a token could else abort a good version, or have a bad one promoted."""
    with load(lab) as told:
        lab.ok("rollout", "start", "canary", "twin", *STEPS, *QUICK)
        wait_until(lambda: route_of(taken(lab)).split is not None, 60)
        statuses = set()
        with lab.client() as client:
            for number in range(60):
                answer = client.post(
                    "/summarize/", json={"text": f"The lamp was lit at dusk, {number}."},
                    headers={"Authorization": f"Bearer {lab.token(f'mallory-{number}')}",
                             "X-Request-Timeout": "0.000001"},
                )  # fmt: skip
                statuses.add(answer.status_code)
        assert statuses <= {504, 429}
        assert status(lab)[0] == 0
    assert set(told.statuses) == {200}
    for step in lab.json("rollout", "history")[-1]["judged"]:
        (errors,) = (one for one in step["verdict"]["findings"] if one["metric"] == "errors")
        assert errors["figures"]["candidate"] == errors["figures"]["stable"] == 0


def test_the_split_is_as_asked_for_and_everybody_stays_on_their_side(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "ab", "textrank", "twin", "--split", "70", *QUICK[:2])
    wait_until(lambda: route_of(taken(lab)).split is not None, 60)
    key, sides = KeyStore(lab.lab.keys_file).read().signing, []
    with lab.client() as client:
        for turn in range(2):
            del turn
            sides.append([
                client.post(
                    "/summarize/", json={"text": "One. Two."},
                    headers={"Authorization": f"Bearer {mint(key, Claims(sub=f's{n}'))}"},
                ).headers["X-Model"].partition("@")[0]
                for n in range(300)
            ])  # fmt: skip
    assert sides[0] == sides[1]
    assert sides[0].count("textrank") / 300 == pytest.approx(0.7, abs=0.08)
    lab.ok("rollout", "promote", "twin")
    assert status(lab)[0] == 0
    consistent(lab)


@pytest.mark.parametrize(
    ("drill", "said"),
    [
        (("errors", "--share", "50"), "errors: "),
        (("slow", "--seconds", "0.5"), "latency p"),
        (("worse-text",), "text: "),
        (("crash", "--share", "50"), ": "),  # of errors or of texts, whichever is seen first
    ],
)
def test_a_candidate_that_misbehaves_is_aborted_before_it_gets_half_of_the_traffic(
    lab: LabUnderTest, drill: tuple[str, ...], said: str
) -> None:
    # From the first request on: a step that has passed before a drill began would be no proof.
    lab.ok("deploy", "twin")
    lab.ok("drill", *drill, "--deployment", "twin")
    with load(lab):
        lab.ok("rollout", "start", "canary", "twin", *STEPS, "--interval", "8s")
        code, told = status(lab)
        one = last(lab)
        assert one and (code, one.phase) == (8, Phase.ABORTED), told
        assert said in told and one.percent < 50
        assert route_of(taken(lab)).weights("textrank")["textrank"] == 100
        consistent(lab)


def test_without_traffic_it_pauses(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "canary", "twin", "--interval", "1s", "--progress-deadline", "3s",
           *QUICK)  # fmt: skip
    code, told = status(lab)
    assert code == 1 and "no traffic reached the candidate" in told
    shown = lab.ok("rollout", "get")
    assert "llmlab rollout promote, resume or abort" in shown


def test_blue_green_switches_at_once_after_probes_without_any_traffic(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "bluegreen", "twin", "--auto-promote", "--interval", "1s",
           "--probe-rate", "40", *QUICK)  # fmt: skip
    code, told = status(lab)
    assert code == 0 and "of them probes" in told
    with lab.client() as client:
        assert (
            client.post("/summarize/", json={"text": "One."}).headers["X-Model"].startswith("twin")
        )
    consistent(lab)


def test_blue_green_can_be_looked_at_before(lab: LabUnderTest) -> None:
    lab.ok(
        "rollout", "start", "bluegreen", "twin", "--interval", "1s", "--probe-rate", "40", *QUICK
    )
    code, told = status(lab)
    assert code == 1 and "the switch is a person's" in told
    with lab.client() as client:
        wished = client.post("/summarize/", json={"text": "One."}, headers={"X-Model": "twin"})
        assert wished.headers["X-Model"].startswith("twin")
        usual = client.post("/summarize/", json={"text": "One."})
        assert usual.headers["X-Model"].startswith("textrank")
    lab.ok("rollout", "promote")
    assert status(lab)[0] == 0


def test_a_shadow_is_judged_by_copies_and_nobody_waits_for_it(lab: LabUnderTest) -> None:
    with load(lab) as told:
        lab.ok("rollout", "start", "shadow", "twin", "--percent", "50", "--interval", "1s")
        code, said = status(lab, "220s")
    assert code == 0 and "copies of requests" in said, said
    assert set(told.statuses) == {200} and set(told.served) == {"textrank"}
    consistent(lab)


def test_a_model_that_does_not_load_ends_the_rollout_and_the_lab_goes_on(lab: LabUnderTest) -> None:
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write('\n[models.gone]\nruntime = "transformers"\nsource = "path:nowhere"\n')
    lab.ok("rollout", "start", "canary", "gone", *STEPS, *QUICK)
    code, told = status(lab)
    assert code == 8 and "gone does not come up" in told, told
    with lab.client() as client:
        assert client.post("/summarize/", json={"text": "One."}).status_code == 200
    consistent(lab)


def pid_of(lab: LabUnderTest, program: str) -> int | None:
    return Supervisor(lab.lab).state(program).pid


def test_kill_9_of_whatever_at_whatever_moment_ends_in_a_consistent_state(
    lab: LabUnderTest,
) -> None:
    chance = random.Random(os.getpid())
    with load(lab, rate=80):
        lab.ok("rollout", "start", "canary", "twin", *STEPS, "--interval", "4s", *QUICK,
               "--progress-deadline", "60s")  # fmt: skip
        for number in range(KILLS):
            time.sleep(chance.uniform(0.2, 1.5))
            program = ("controller", "gateway", "api-twin")[number % 3]
            if pid := pid_of(lab, program):
                os.kill(pid, signal.SIGKILL)
        code, told = status(lab)
        assert code in (0, 8, 1), told
        if code == 1:
            lab.ok("rollout", "abort")
            assert status(lab)[0] == 8
    wait_until(lambda: lab.run("status").returncode == 0, 60)
    consistent(lab)


def test_an_abort_works_while_the_controller_is_dead(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "canary", "twin", "--interval", "60s", *QUICK)
    wait_until(lambda: last(lab).phase is Phase.PROGRESSING, 60)  # type: ignore[union-attr]
    Supervisor(lab.lab).drop("controller")
    assert pid_of(lab, "controller") is None
    lab.ok("rollout", "abort", "--why", "I have seen enough")
    assert route_of(Store(lab.lab).traffic()).weights("textrank") == {"textrank": 100}
    assert route_of(taken(lab)).weights("textrank") == {"textrank": 100}
    code, told = status(lab)
    assert code == 8 and told.endswith("aborted by a person: I have seen enough\n")
    assert "twin" not in Record.read(lab.lab).deployments  # type: ignore[union-attr]
    consistent(lab)


def test_a_version_against_itself_live_is_no_alarm(lab: LabUnderTest) -> None:
    found: dict[str, Any] = lab.json("drill", "aa", "--live")
    assert found["false_alarm"] is False
    assert lab.json("rollout", "get")["phase"] == "aborted", "and nothing is left of it"
    consistent(lab)


def test_lint_and_help_say_what_a_start_would_do(lab: LabUnderTest) -> None:
    done = lab.run("rollout", "lint", "twin", "--steps", "50,100", "--probe-suite", "founding")
    assert done.returncode == 0
    assert "the first step gives 50 %" in done.stdout and "founding has 10 texts" in done.stdout
    assert lab.run("rollout", "lint", "textrank").returncode == 1
