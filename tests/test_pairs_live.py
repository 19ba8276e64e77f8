"""Texts of real traffic as evidence, in a real lab: a candidate that does as well as the stable
version with every text of the suite, and invents numbers in a tenth of what clients send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Event

import httpx2
import pytest

from llmlab.auth import Claims, KeyStore, mint
from llmlab.recording.sampling import FILE
from llmlab.rollout.state import Outcome, Phase
from llmlab.rollout.store import Kept, Rollouts
from tests.conftest import LabUnderTest, configure, wait_until
from tests.talking import meanwhile
from tests.test_rollout_lab import TWIN, last, load, status

# Of what clients ask by ``load`` a tenth, and nothing of the suite.
INVENTS = ("drill", "invent", "--deployment", "twin", "--containing", "read it, 0.4")
CHATS = """
[models.one]
runtime = "scripted"
source = "embedded:script"

[models.two]
runtime = "scripted"
source = "embedded:script"
"""
START = ("rollout", "start", "canary", "twin", "--steps", "20,100", "--interval", "2s")
GATE = '"unsupported_numbers<=+0.02"'


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__enabled="false", rollout__error_margin="0.15", rollout__bake="0",
        rollout__progress_deadline="600", rollout__min_samples="10",
        rollout__latency_gate='""',  # machines that run tests are shared
        rollout__pairs="1", rollout__pairs_gate=GATE, rollout__holdback="30",
        # How many pairs come while a step waits for its answers is up to the machine.
        rollout__pairs_required="true",
        routes__chat='"one"', rollout__answer_gate='""', rollout__chat_gate='"empty<=+0.10"',
    )  # fmt: skip
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN + CHATS)
    one.ok("up")
    return one


def test_who_invents_only_for_clients_is_caught_by_pairs_and_by_nothing_else(
    lab: LabUnderTest,
) -> None:
    lab.ok("deploy", "twin")
    lab.ok(*INVENTS)
    with load(lab, rate=120) as told:
        wait_until(lambda: told.statuses[200] > 50)
        lab.ok(*START)
        code, said = status(lab)
        assert code == 8 and "pairs unsupported_numbers" in said, said
        configure(lab.root, lab.port, rollout__pairs="0")
        lab.ok("deploy", "twin")
        lab.ok(*INVENTS)
        lab.ok(*START)
        code, said = status(lab)
    without = last(lab)
    assert code == 0 and without and without.promoted == "twin", said
    caught = Rollouts(lab.lab).get(without.number - 1)
    assert caught.rollout.verdict
    for one in caught.rollout.verdict.findings:  # nothing else speaks against it
        failed = one.metric == "pairs unsupported_numbers"
        assert (one.outcome is Outcome.FAIL) is failed, one
    assert set(told.statuses) == {200}
    its_worst_pair_is_shown_and_in_no_ledger(lab, str(without.number - 1))
    wait_until(lambda: not (lab.lab.state / "deployments" / FILE).exists())  # nor remembered


def its_worst_pair_is_shown_and_in_no_ledger(lab: LabUnderTest, caught: str) -> None:
    found = lab.json("rollout", "pairs", caught)
    worst = found["worst"]
    assert worst["candidate"]["unsupported"] == ["7418"] and not worst["stable"]["unsupported"]
    assert worst["beyond"] == ["unsupported_numbers"]
    assert "»7418«" in lab.ok("rollout", "pairs", caught)
    (figures,) = [one for one in found["measures"] if one["measure"] == "unsupported_numbers"]
    assert figures["n"] == found["pairs"] > 20 and figures["stable"] == 0
    assert 0.02 < figures["candidate"] < 0.5
    kept = (lab.lab.state / "pairs" / f"{caught}.pair").read_bytes()
    held = b"".join(one.read_bytes() for one in lab.lab.state.glob("delivery.db*"))
    assert held and not any(b"keeper lit the lamp" in one for one in (kept, held))


@contextmanager
def asking(lab: LabUnderTest, clients: int = 4, subjects: int = 15) -> Iterator[None]:
    """Short questions to the route chat, each another one, while the body runs: of every ten, one
    is of a lamp; half of them are streamed."""
    key = KeyStore(lab.lab.keys_file).read().signing

    def ask(place: int, over: Event) -> None:
        tokens = [mint(key, Claims(sub=f"{place}-{one}")) for one in range(subjects)]
        with httpx2.Client(base_url=lab.url, timeout=60, trust_env=False) as client:
            for number in count():
                what = "the lamp" if number % 10 == 0 else "a ship"
                said = f"Tell me of {what}, my {number}. question of place {place}."
                body = {"model": "chat", "messages": [{"role": "user", "content": said}],
                        "stream": number % 2 == 0, "temperature": 0.0}  # fmt: skip
                headers = {"Authorization": f"Bearer {tokens[number % subjects]}"}
                client.post("/v1/chat/completions", json=body, headers=headers)
                if over.wait(0.03):
                    return

    with meanwhile(ask, clients):
        yield


def chat_rollout(lab: LabUnderTest, *more: str) -> Kept:
    """Of a version that invents a number whenever it is asked of a lamp."""
    lab.ok("deploy", "two")
    lab.ok("drill", "invent", "--deployment", "two", "--containing", "lamp")
    lab.ok("rollout", "start", "canary", "two", "--route", "chat", *START[4:], *more)
    done = lab.run("rollout", "status", "--route", "chat", "--timeout", "300s")
    kept = Rollouts(lab.lab).last("chat")
    assert kept and kept.rollout.over, done.stderr + done.stdout
    return kept


def test_who_invents_in_a_tenth_of_real_conversations_is_caught_by_pairs_alone(
    lab: LabUnderTest,
) -> None:
    lab.ok("scale", "one", "2")
    with asking(lab):
        found_out = chat_rollout(lab, "--pairs", "1", "--pairs-gate", GATE.strip('"'))
        without = chat_rollout(lab, "--pairs", "0", "--steps", "100").rollout
    caught, both = found_out.rollout, found_out.evidence.pairs.read
    assert set(both) == {"one", "one.2"} and all(both.values())
    assert caught.phase is Phase.ABORTED and "pairs unsupported_numbers" in caught.ending, caught
    assert caught.verdict
    found = {one.metric: one.outcome for one in caught.verdict.findings}
    assert found.pop("pairs unsupported_numbers") is Outcome.FAIL
    assert Outcome.FAIL not in found.values() and found["text"] is Outcome.PASS
    assert without.promoted == "two", without.ending
    worst = lab.json("rollout", "pairs", str(caught.number))["worst"]
    assert worst["candidate"]["unsupported"] == ["7418"] and "lamp" in worst["text"]
