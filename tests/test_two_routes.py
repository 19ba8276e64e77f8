"""A lab with a route beside summarize: two rollouts at once, each of its own route."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from llmlab.names import SUMMARIZE
from llmlab.rollout.store import Rollouts
from tests.conftest import LabUnderTest, wait_until

MODELS = """
[models.twin]
runtime = "extractive"
source = "embedded:textrank"

[models.third]
runtime = "extractive"
source = "embedded:textrank"
"""
TEXT = "The tide is late today, so the boats wait at the quay. A gull sleeps on the mast."
BY_HAND = ("--text-gate", "", "--interval", "1h", "--progress-deadline", "9h")
SUBJECTS = [f"subject-{number}" for number in range(40)]


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false")
    file = one.lab.config_file
    text = file.read_text().replace("[gateway] ", 'other = "textrank"\n\n[gateway] ', 1)
    file.write_text(text + MODELS)
    one.ok("up")
    return one


@pytest.fixture(autouse=True)
def as_lab_toml_has_it(lab: LabUnderTest) -> None:
    """Whatever the test before did, a test finds all traffic where lab.toml has it."""
    for route in Rollouts(lab.lab).routes():
        lab.run("rollout", "abort", "--route", route)
        lab.run("rollout", "status", "--route", route, "--timeout", "60s")
    lab.ok("up", "--as-configured")


def over(lab: LabUnderTest, route: str) -> None:
    wait_until(lambda: Rollouts(lab.lab).unfinished(route) is None, 60)


def step_of(lab: LabUnderTest, route: str) -> int:
    kept = Rollouts(lab.lab).unfinished(route)
    return kept.rollout.step if kept else 0


def weights(lab: LabUnderTest) -> dict[str, dict[str, float]]:
    """Deployment -> its percentage of each route that it has a part of."""
    return {one["name"]: one["weights"] for one in lab.json("status")["deployments"]}


def sides(lab: LabUnderTest, route: str) -> dict[str, str]:
    """Which deployment is asked for each subject on a route, by a request that names it."""
    body = {"model": route, "messages": []}
    with lab.client() as client:
        tokens = {sub: {"Authorization": f"Bearer {lab.token(sub)}"} for sub in SUBJECTS}
        answers = {
            sub: client.post("/v1/chat/completions", json=body, headers=token)
            for sub, token in tokens.items()
        }
    return {sub: answer.headers["X-Deployment"] for sub, answer in answers.items()}


def line_of(lab: LabUnderTest, request_id: str) -> dict[str, object]:
    def lines() -> list[str]:
        log = (lab.lab.logs / "gateway.log").read_text().splitlines()
        return [one for one in log if f'"request_id":"{request_id}"' in one]

    wait_until(lambda: bool(lines()))
    found: dict[str, object] = json.loads(lines()[-1])
    return found


def test_the_lab_says_which_routes_there_are(lab: LabUnderTest) -> None:
    assert weights(lab) == {"textrank": {"summarize": 100, "other": 100}}
    with lab.client() as client:
        listed = client.get("/v1/models").json()["data"]
        assert [one["id"] for one in listed] == ["summarize", "other", "textrank"]
        assert client.get("/openai/v1/models/other").json()["id"] == "other"
        missing = client.get("/v1/models/chat")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
        unknown = client.post("/v1/chat/completions", json={"model": "gpt-4o"})
        assert unknown.json()["error"]["message"] == (
            "The model 'gpt-4o' does not exist; there are: summarize, other, textrank."
        )
        named = client.post("/v1/chat/completions", json={"model": "other"})
        summarized = client.post("/summarize/", json={"text": TEXT})
    line = line_of(lab, named.headers["X-Request-ID"])
    assert (line["rule"], line["route"], line["deployment"]) == ("stable", "other", "textrank")
    line = line_of(lab, summarized.headers["X-Request-ID"])
    assert (line["rule"], line["route"]) == ("stable", SUMMARIZE)


def test_two_rollouts_at_once_each_move_their_own_route(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "canary", "twin", "--steps", "20,50,100", *BY_HAND)
    lab.ok("rollout", "start", "canary", "third", "--steps", "50,100", "--route", "other",
           *BY_HAND)  # fmt: skip
    wait_until(lambda: step_of(lab, SUMMARIZE) == step_of(lab, "other") == 1, 60)
    wanted = {
        "textrank": {"summarize": 80, "other": 50}, "twin": {"summarize": 20},
        "third": {"other": 50},
    }  # fmt: skip
    wait_until(lambda: weights(lab) == wanted, 30)  # the gateway follows what is written down
    of_other, of_summarize = sides(lab, "other"), sides(lab, SUMMARIZE)
    assert set(of_other.values()) == {"textrank", "third"}
    assert set(of_summarize.values()) == {"textrank", "twin"}
    assert sides(lab, "other") == of_other, "whoever has it keeps it"

    for verb in (("status", "--timeout", "0"), ("get",), ("promote",), ("undo",)):
        done = lab.run("rollout", *verb)
        assert done.returncode == 2
        assert "rollouts are under way on summarize and other" in done.stderr
        assert "--route summarize" in done.stderr

    shown = lab.json("rollout", "promote", "--route", SUMMARIZE)
    assert (shown["route"], shown["step"]) == (SUMMARIZE, 2)
    assert weights(lab)["twin"] == {"summarize": 50}
    assert sides(lab, "other") == of_other, "the other route has not moved"
    moved = sides(lab, SUMMARIZE)
    assert {sub for sub, name in of_summarize.items() if name == "twin"} <= {
        sub for sub, name in moved.items() if name == "twin"
    }

    lab.ok("rollout", "abort", "--route", "other", "--why", "seen enough")
    over(lab, "other")
    left = {"textrank": {"summarize": 50, "other": 100}, "twin": {"summarize": 50}}
    wait_until(lambda: weights(lab) == left, 30)
    assert set(sides(lab, "other").values()) == {"textrank"}
    done = lab.run("rollout", "status", "--timeout", "0")  # the only one that is left
    assert done.returncode == 5 and "progressing" in done.stdout
    history = lab.json("rollout", "history")[-2:]
    assert [(one["route"], one["phase"]) for one in history] == [
        ("summarize", "progressing"), ("other", "aborted"),
    ]  # fmt: skip


def test_undo_goes_by_the_route(lab: LabUnderTest) -> None:
    for route in (SUMMARIZE, "other"):
        lab.ok("rollout", "start", "canary", "twin", "--route", route, *BY_HAND)
        lab.ok("rollout", "promote", "--full", "--route", route)
        over(lab, route)
    assert weights(lab)["twin"] == {"summarize": 100, "other": 100}
    lab.ok("rollout", "undo", "--route", "other")
    over(lab, "other")
    assert weights(lab) == {"textrank": {"other": 100}, "twin": {"summarize": 100}}
    assert set(sides(lab, "other").values()) == {"textrank"}
    assert set(sides(lab, SUMMARIZE).values()) == {"twin"}
    lab.ok("rollout", "undo")  # of summarize, which is meant where none is named
    over(lab, SUMMARIZE)
    assert weights(lab)["textrank"] == {"summarize": 100, "other": 100}


def test_a_candidate_of_two_routes_outlives_the_abort_of_one(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "canary", "twin", *BY_HAND)
    wait_until(lambda: step_of(lab, SUMMARIZE) == 1, 60)
    lab.ok("rollout", "start", "bluegreen", "twin", "--route", "other", *BY_HAND)
    wait_until(lambda: step_of(lab, "other") == 1, 60)
    lab.ok("rollout", "abort", "--route", SUMMARIZE)
    over(lab, SUMMARIZE)
    assert weights(lab) == {"textrank": {"summarize": 100, "other": 100}, "twin": {}}
    with lab.client() as client:
        assert client.post("/models/twin/summarize/", json={"text": TEXT}).status_code == 200
    lab.ok("rollout", "promote", "--route", "other")
    over(lab, "other")
    assert weights(lab)["twin"] == {"other": 100}


def test_a_route_is_taken_out_of_lab_toml_once_nothing_is_shared_out_on_it(
    lab: LabUnderTest,
) -> None:
    lab.ok("rollout", "start", "canary", "twin", "--route", "other", *BY_HAND)
    lab.ok("rollout", "promote", "--full", "--route", "other")
    over(lab, "other")
    file, text = lab.lab.config_file, lab.lab.config_file.read_text()
    file.write_text(text.replace('other = "textrank"\n', ""))
    try:
        done = lab.run("up")
        assert done.returncode == 2
        assert "traffic is shared out on the route other" in done.stderr
        lab.ok("rollout", "undo", "--route", "other")
        over(lab, "other")
        lab.ok("up")
        assert weights(lab)["textrank"] == {"summarize": 100}
    finally:
        file.write_text(text)
        lab.ok("up")


def test_what_is_shared_out_outlives_down_and_up(lab: LabUnderTest) -> None:
    lab.ok("rollout", "start", "canary", "twin", "--route", "other", *BY_HAND)
    lab.ok("rollout", "promote", "--full", "--route", "other")
    over(lab, "other")
    lab.ok("down")
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    assert "other: twin is stable in the place of textrank" in " ".join(
        up.stderr.replace("│", "").split()
    )
    assert weights(lab) == {"textrank": {"summarize": 100}, "twin": {"other": 100}}


def test_a_lab_comes_up_without_a_chat_model_that_cannot_be_had(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    one = make_lab(routes__chat='"smol"')
    with one.lab.config_file.open("a") as config:
        config.write('\n[models.smol]\nruntime = "llamacpp"\nsource = "path:gone.gguf"\n')
    done = one.run("up")
    assert done.returncode == 0, done.stderr
    assert "smol cannot serve, so there is no route chat" in done.stderr.replace("\n", " ")
    with one.client() as client:
        listed = client.get("/v1/models").json()["data"]
        assert [found["id"] for found in listed] == ["summarize", "textrank"]
        assert client.post("/summarize/", json={"text": TEXT}).status_code == 200
