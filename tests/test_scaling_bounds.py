"""Which deployments may rest, which bounds their replicas have, and who moves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from llmlab.cli.app import app
from llmlab.config import Config, Model
from llmlab.config.scale import Scale
from llmlab.delivery import applying
from llmlab.delivery.deploying import resized, scaled
from llmlab.engines.base import Plan
from llmlab.engines.compose import report as compose
from llmlab.engines.compose.mounts import DEPLOYMENT
from llmlab.engines.local.programs import settings_file
from llmlab.engines.probe import Told
from llmlab.engines.record import Record
from llmlab.engines.resting import needed
from llmlab.engines.scale_bounds import are_scaled, bounds_of, told_of
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.lab import Lab, init_lab
from llmlab.ledger.store import Store
from llmlab.rollout.routes import traffic_of
from llmlab.rollout.state import Phase
from llmlab.rollout.store import Rollouts
from llmlab.scaling import process
from llmlab.service.settings import Settings
from llmlab.traffic import Deployed, Flag, Match, Route, Shadow, Share, Split, Traffic
from tests.rollouts import at, rollout

OWN = {"runtime": "extractive", "source": "embedded:textrank"}
SCALE = {"min": 0, "max": 3, "requests": 2.0, "up_after": 1.0}
CONFIG = Config.model_validate({
    "routes": {"summarize": "first", "chat": ""},
    "deploy": ["beside", "scaled"],
    "models": {
        "first": {**OWN, "scale": {"min": 2, "max": 5}}, "beside": OWN,
        "scaled": {**OWN, "scale": SCALE},
    },
})  # fmt: skip


def settings(name: str, model: str = "") -> Settings:
    return Settings(deployment=name, name=model or name, model=CONFIG.models[model or name])


def plan(traffic: Traffic = Traffic(), *others: Settings) -> Plan:
    own = tuple(map(settings, ("first", "beside", "scaled")))
    return Plan(CONFIG, "first", (*own, *others), traffic=traffic,
                configured=("first", "beside", "scaled"))  # fmt: skip


def on_route(**said: Any) -> Traffic:
    return Traffic((Deployed("beside", "beside", 0),), routes={"summarize": Route(**said)})


@pytest.mark.parametrize(
    ("traffic", "why"),
    [
        (on_route(), ""),
        (on_route(stable="beside"), "it is the stable deployment of summarize"),
        (on_route(split=Split((Share("beside", 1),))), "requests of summarize lead to it"),
        (on_route(shadow=Shadow("beside", 5)), "requests of summarize lead to it"),
        (on_route(matches=(Match("header", "a", "b", "beside"),)), "requests of summarize lead"),
        (replace(on_route(), flags=(Flag("beta", deployment="beside"),)), "the flag beta leads"),
    ],
)
def test_what_something_leads_to_has_a_process_whatever_is_written_down(
    traffic: Traffic, why: str
) -> None:
    made = plan(traffic)
    assert needed(made, "beside").startswith(why)
    assert bool(needed(made, "beside")) == bool(why)
    assert made.replicas("beside") == (1 if why else 0)
    before = replace(traffic, deployments=())
    if why:
        with pytest.raises(UsageError, match=f"beside cannot rest: {why}"):
            resized(made, before, "beside", 0)
    else:
        assert resized(made, before, "beside", 0) == traffic


def test_what_lab_toml_puts_behind_a_route_never_rests_nor_does_who_stands_in() -> None:
    promoted = Traffic(routes={"summarize": Route(stable="beside")})
    assert needed(plan(promoted), "first") == (
        "it is the stable deployment of summarize in lab.toml"
    )
    elsewhere = settings("scaled")
    model = elsewhere.model.model_copy(update={"fallback": "beside"})
    made = plan()
    made = replace(made, deployments=(
        *made.deployments[:2], elsewhere.model_copy(update={"model": model}),
    ))  # fmt: skip
    assert needed(made, "beside") == "it answers while scaled does not"


def test_a_version_has_the_bounds_of_its_model_and_a_promoted_one_those_of_whom_it_replaces() -> (
    None
):
    promoted = Traffic(routes={"summarize": Route(stable="other")})
    made = plan(
        promoted, settings("new", "beside").model_copy(update={"name": "scaled-2"}),
        settings("other", "beside"),
    )  # fmt: skip
    found = {name: bounds_of(made, name) for name in made.names}
    assert {name: one.told for name, one in found.items() if one.is_on} == {
        "first": "2-5", "scaled": "0-3", "new": "0-3", "other": "2-5",
    }  # fmt: skip
    assert found["beside"] == Scale()
    assert are_scaled(made) == ["first", "scaled", "new", "other"]


def test_other_bounds_start_no_process_anew(tmp_path: Path) -> None:
    one = settings("scaled")
    other = one.model.model_copy(update={"scale": Scale(max=9)})
    again = one.model_copy(update={"model": other})
    assert settings_file(Lab(tmp_path), one) == settings_file(Lab(tmp_path), again)


def test_a_person_stays_within_the_bounds() -> None:
    for count in (0, 3):
        assert plan(scaled(plan(), Traffic(), "scaled", count)).replicas("scaled") == count
    with pytest.raises(UsageError, match="between 0 and 3: 4 would not stay") as refused:
        scaled(plan(), Traffic(), "scaled", 4)
    assert "llmlab deployment scale scaled 3" in str(refused.value.fix)
    assert plan(scaled(plan(), Traffic(), "beside", 256)).replicas("beside") == 256


def test_one_that_rests_is_told_of_once_while_its_container_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ending = SimpleNamespace(
        labels={DEPLOYMENT: "beside"}, service="llmapi-beside", state="running", healthy=True,
        pid=7, uptime=1.0, memory_limit=0,
    )  # fmt: skip
    monkeypatch.setattr(compose, "told_by", lambda *_: Told(ready=True, model="beside"))
    docker: Any = SimpleNamespace(memory=lambda _: 0)
    there: Any = [ending]
    for containers, state in ((there, "RUNNING"), ([], "RESTING")):
        (found,) = (
            one for one in compose._deployments(containers, docker, plan(on_route()))
            if one.name == "beside"
        )  # fmt: skip
        assert found.state == state


def test_a_person_rests_nobody_whom_a_rollout_names_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_lab(tmp_path)
    lab, begun = Lab(tmp_path), rollout(started=())
    Rollouts(lab).create(lambda number, *_: replace(begun, number=number))
    there = Traffic((Deployed("tuned-2", "tuned:2", 2),))
    Store(lab).change("test", {}, lambda now: replace(there, revision=now.revision))
    made = plan(there, settings("tuned-2", "beside"))
    monkeypatch.setattr(applying, "running", lambda _: (SimpleNamespace(name="local"), made))
    monkeypatch.setattr(applying, "apply", lambda *_: True)

    def scale(count: int) -> Any:
        verb = ["--lab", str(lab.root), "deployment", "scale", "tuned-2", str(count)]
        return CliRunner().invoke(app, verb)

    refused = scale(0).exception
    assert isinstance(refused, UsageError)
    assert refused.message == "tuned-2 cannot rest: a rollout that is under way names it"
    assert refused.fix == "llmlab rollout abort"
    assert Store(lab).traffic().deployments == there.deployments
    assert scale(1).exit_code == 0
    Rollouts(lab).change(1, "aborted", lambda one: at(Phase.ABORTED, started=()))
    assert scale(0).exit_code == 0


def test_a_rollout_wakes_who_rests_before_it_gets_traffic() -> None:
    asleep = Traffic((Deployed("tuned-2", "tuned:2", 0), Deployed("other", "other", 0)))
    woken = traffic_of(rollout(started=()), asleep)
    assert [one.replicas for one in woken.deployments] == [1, 0]
    over = traffic_of(at(Phase.ABORTED, started=()), asleep)
    assert [one.replicas for one in over.deployments] == [0, 0]


def test_routes_wait_for_who_rests_only_where_they_lead_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An abort is not to wait for a model that somebody else has woken."""
    lab, did = Lab(tmp_path), list[str]()
    lab.make_state()
    Record.of(plan(on_route()), "local", "1.31").write(lab)
    engine = SimpleNamespace(route=lambda traffic: not did.append(f"routes {traffic.revision}"))
    monkeypatch.setattr(applying, "running_engine", lambda _: engine)
    monkeypatch.setattr(applying, "apply", lambda *_: not did.append("starts"))
    awake = replace(on_route().deployments[0], replicas=1)
    for wanted in (Traffic((awake,)), on_route(split=Split((Share("beside", 1),)))):
        Store(lab).change("test", {}, lambda now, to=wanted: replace(to, revision=now.revision))
        assert applying.route(lab)
    assert did == ["routes 1", "starts"]


# --- who moves them ---------------------------------------------------------------------------


class Engine:
    """One whose APIs tell what they are told to tell."""

    name = "local"

    def __init__(self, in_flight: int) -> None:
        self.in_flight = in_flight

    def ask(self, deployment: str, path: str, *, timeout: float) -> tuple[int, bytes]:
        assert path == "/metrics"
        page = f'llmlab_ready{{a="b"}} 1.0\nllmlab_in_flight{{a="b"}} {self.in_flight}.0\n'
        return 200, page.encode()

    def gateway_metrics(self) -> str:
        return ""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    one = Lab(tmp_path)
    one.make_state()
    Record.of(plan(Traffic((Deployed("first", "first", 2),))), "local", "1.31").write(one)
    return one


def looks(lab: Lab, monkeypatch: pytest.MonkeyPatch, engine: Engine, change: Any) -> Any:
    """A scaler with a clock of its own, which looks every second of it."""
    monkeypatch.setattr(process, "running_engine", lambda _: engine)
    monkeypatch.setattr(process, "change", change)
    times = iter(range(10_000))
    now = [0.0]
    said: list[dict[str, Any]] = []
    scaler = process.Scaler(lab, lambda: now[0], said.append)

    def look(count: int = 1) -> list[dict[str, Any]]:
        for _ in range(count):
            now[0] = float(next(times))
            assert scaler.tick()
        return said

    return look


def test_a_change_that_fails_is_told_and_tried_again_ever_later(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def fails(_: Lab, kind: str, what: dict[str, Any], *more: Any, who: str) -> bool:
        tried.append(f"{what['deployment']} {what['replicas']} {who}")
        raise EnvironmentFailure("there is no memory", fix="buy some")

    look = looks(lab, monkeypatch, Engine(in_flight=9), fails)
    said = [one for one in look(100) if one["deployment"] == "scaled"]
    assert [one for one in tried if one.startswith("scaled")] == [
        "scaled 3 scaler"
    ] * 3  # at first, and after 30 and 60 seconds more
    assert [one["message"].partition(":")[0] for one in said] == [
        f"scaled cannot have 3 replicas, next try in {wait} s" for wait in (30, 60, 120)
    ]
    assert said[0]["fix"] == "buy some"


def test_while_a_rollout_names_it_a_deployment_has_no_fewer_nor_rests(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[int] = []

    def takes(_: Lab, kind: str, what: dict[str, Any], *more: Any, who: str) -> bool:
        changed.append(what["replicas"])
        return True

    look = looks(lab, monkeypatch, Engine(in_flight=0), takes)
    monkeypatch.setattr(Rollouts, "needed", lambda _: {"scaled"})
    look(1000)
    assert changed == []
    monkeypatch.setattr(Rollouts, "needed", lambda _: set())
    look()
    assert changed == [0]


def test_the_deployments_of_a_rollout_are_those_that_it_names_until_it_is_over(
    tmp_path: Path,
) -> None:
    kept = Rollouts(Lab(tmp_path))
    assert kept.needed() == set()
    begun = kept.create(lambda number, *_: replace(rollout(), number=number))
    assert kept.needed() == {"base", "tuned-2"}
    kept.change(begun.number, "aborted", lambda one: at(Phase.ABORTED, number=one.number))
    assert kept.needed() == set()


def test_what_runs_and_is_not_in_the_plan_yet_has_no_bounds() -> None:
    settings = Settings(
        deployment="a", name="a", model=Model(runtime="extractive", source="embedded:textrank")
    )
    assert told_of(Plan(Config(), "a", (settings,)), "coming") == ""
