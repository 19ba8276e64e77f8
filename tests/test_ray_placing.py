"""What the engine ray does of its own where the local one is asked: no lab runs here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config, Model
from llmlab.engines import probe
from llmlab.engines.base import Plan
from llmlab.engines.choice import running_engine
from llmlab.engines.local import engine as local
from llmlab.engines.local import keeper
from llmlab.engines.local.gateway import LocalGateway
from llmlab.engines.local.report import report
from llmlab.engines.local.staging import Staging
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.ray import placing
from llmlab.engines.ray.placed import Placed, Placement, read_placement, write_placement
from llmlab.engines.ray.placing import OnNodes
from llmlab.engines.ray.wanted import Wanted, read_wanted, wanted_by, write_wanted
from llmlab.engines.record import Record
from llmlab.engines.status import NodeStatus
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.gateway import Nginx, Releases
from llmlab.lab import Lab, private_folder
from llmlab.service.settings import Settings

OWN = Model(runtime="extractive", source="embedded:textrank")


def plan_of(config: Config | None = None, *names: str) -> Plan:
    names = names or ("textrank",)
    made = (Settings(deployment=name, name="textrank", model=OWN) for name in names)
    return Plan(config or Config(), names[0], tuple(made))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.make_state()
    return made


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_renewed_certificate_is_taken_over_whichever_engine_has_the_gateway(
    lab: Lab, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab.state / engine).mkdir()
    Record.of(plan_of(), engine, "1.31").write(lab)
    moved: list[str] = []
    monkeypatch.setattr(local.LocalEngine, "_serves", lambda _: True)
    monkeypatch.setattr(local, "nginx_of", lambda _: Nginx(Path("nginx"), "", ""))
    monkeypatch.setattr(Staging, "stage", lambda *_: "renewed")
    monkeypatch.setattr(Releases, "keep_only_current", lambda _: None)
    monkeypatch.setattr(LocalGateway, "move", lambda _, release: not moved.append(release))
    assert keeper._reload_certificate(lab)
    assert moved == ["renewed"]


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_where_nothing_says_as_what_a_lab_runs_its_placer_does(
    lab: Lab, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else `down` would leave its replicas, and `up` make it the local engine's."""
    (lab.state / "ray").mkdir()  # it ran that way once
    (lab.state / "running.json").write_text("damaged")
    monkeypatch.setattr(local.LocalEngine, "_serves", lambda _: True)
    pid = Programs("gateway", *(["placer"] if engine == "ray" else [])).pid
    monkeypatch.setattr(Supervisor, "pid", lambda _, program: pid(program))
    found = running_engine(lab)
    assert found and found.name == engine


class Programs:
    """A supervisor: who is named runs."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)

    def pid(self, program: str) -> int | None:
        return 7 if program in self.names else None


def on_nodes(lab: Lab, *running: str) -> OnNodes:
    return OnNodes(lab, Programs(*running))  # type: ignore[arg-type]


def with_ray(**said: Any) -> Plan:
    return plan_of(Config.model_validate({"ray": {"host": "10.0.0.1", **said}}))


def test_a_lab_that_runs_is_not_led_to_another_cluster_than_its_replicas_are_in(lab: Lab) -> None:
    there = with_ray(address="10.0.0.2:6379", token_file="token")
    Record.of(there, "ray", "1.31").write(lab)
    runs = on_nodes(lab, "node", "placer")
    assert runs.fit(there).deployments == there.deployments
    forgotten = with_ray(token_file="token")
    with pytest.raises(UsageError, match=r"another address in \[ray\]") as refused:
        runs.fit(forgotten)
    assert refused.value.fix == (
        "llmlab up --address 10.0.0.2:6379, as before; or llmlab down, then llmlab up"
    )
    with pytest.raises(UsageError, match="another address and token_file and port in") as refused:
        runs.fit(with_ray(port=7000))
    assert refused.value.fix == "llmlab down, then llmlab up"
    on_nodes(lab).fit(forgotten)  # one that is down may go anywhere


class Clock:
    """Time that passes by sleeping."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(placing, "time", made)
    return made


def told(lab: Lab, *replicas: Placed, **more: Any) -> None:
    """As the placer would."""
    private_folder(lab.state / "ray")
    write_placement(lab, Placement(replicas=replicas, **{"head": True} | more))


def placed(one: Wanted, state: Any = "RUNNING", **more: Any) -> Placed:
    return Placed(one.process, one.deployment, one.version, state, **more)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The processes that answer at their sockets."""
    found: set[str] = set()
    monkeypatch.setattr(probe, "ready", lambda socket: socket.stem in found)
    monkeypatch.setattr(placing, "pause", lambda *_, **__: None)
    return found


def test_one_that_waits_for_a_machine_keeps_nobody_from_changing_other_things(
    lab: Lab, clock: Clock, answering: set[str]
) -> None:
    before, after = plan_of(None, "textrank", "broken"), plan_of(None, "textrank", "broken", "twin")
    textrank, broken, twin = wanted_by(lab, after)
    write_wanted(lab, [textrank, broken])
    told(lab, placed(textrank), placed(broken, "PENDING"), placed(twin))
    answering |= {"textrank", "twin"}
    runs, said = on_nodes(lab), list[str]()
    runs.start(after)
    runs.wait(after, before, said.append)
    assert clock.now == 0
    assert said == ["broken does not answer, as before; going on without", "waiting for twin"]
    answering.discard("twin")
    with pytest.raises(EnvironmentFailure, match="twin did not answer in time"):
        runs.wait(after, before, said.append)


def test_one_that_never_came_is_waited_for_again(
    lab: Lab, clock: Clock, answering: set[str]
) -> None:
    before, after = plan_of(), plan_of(None, "textrank", "twin")
    textrank, twin = wanted_by(lab, after)
    answering.add("textrank")
    told(lab, placed(textrank), placed(twin, "PENDING"))
    runs = on_nodes(lab)
    # A change that was killed wanted it; or there is a route to one that nobody has started.
    for had, was in ((after, before), (before, after), (after, None)):
        write_wanted(lab, wanted_by(lab, had))
        runs.start(after)
        with pytest.raises(EnvironmentFailure, match="no machine has room for twin"):
            runs.wait(after, was, lambda _: None)


def test_a_newer_one_that_has_no_room_beside_the_older_is_not_called_slow(
    lab: Lab, clock: Clock, answering: set[str]
) -> None:
    (newer,) = wanted_by(lab, plan_of())
    answering.add("textrank")  # the older one does
    told(lab, placed(replace(newer, settings="textrank-0123456789ab.json")))
    with pytest.raises(EnvironmentFailure, match="its older one keeps its place") as late:
        on_nodes(lab).wait(plan_of(), plan_of(), lambda _: None)
    assert "takes 1 cores and 2.0 GiB of memory beside it" in late.value.message
    assert "llmlab deployment scale textrank" in (late.value.fix or "")


def test_what_the_others_go_on_without_is_told_by_the_status(lab: Lab, clock: Clock) -> None:
    textrank, broken, twin = wanted_by(lab, plan_of(None, "textrank", "broken", "twin"))
    failed = placed(broken, "FATAL", why="reading it\nthere is no memory")
    told(lab, placed(textrank), failed, placed(twin, "PENDING"), at=clock.now)
    assert on_nodes(lab).warnings() == (
        "twin: waiting for a machine with room\nFix: llmlab node list",
        "broken does not start: there is no memory\nFix: llmlab logs api-broken",
    )


# --- going down, and up again ----------------------------------------------------------------

THERE = NodeStatus("gpu-1", "10.0.0.3", "ready", 4.0, 1.0, 8 << 30, False, ("twin", "twin.2"))
OURS = NodeStatus("gateway", "10.0.0.1", "ready", 4.0, 0.0, 8 << 30, True, ("textrank",))


def running(lab: Lab, **seen: Any) -> OnNodes:
    """A lab with replicas here and on another machine."""
    Record.of(with_ray(), "ray", "1.31").write(lab)
    write_wanted(lab, wanted_by(lab, with_ray()))
    told(lab, **{"machines": (THERE, OURS), "actors": 3} | seen)
    return on_nodes(lab)


@pytest.mark.parametrize("head", [True, False], ids=["no placer", "no head"])
def test_what_nobody_could_end_is_told_and_forgotten_here(
    lab: Lab, clock: Clock, head: bool
) -> None:
    clock.now = began = 1000.0
    runs = running(lab, at=began - 1.0, head=head)
    runs.end()
    assert clock.now - began < placing.STALE + 1
    assert read_wanted(lab) == [] and read_placement(lab) == Placement()
    (said,) = report(lab, Supervisor(lab), runs).warnings  # as `llmlab down` shows it
    assert said == (
        "nobody has ended twin, twin.2 on gpu-1, which may go on\n"
        "Fix: llmlab up --engine ray, then llmlab down; or end llmlab node add over there"
    )


def test_down_returns_once_all_have_ended(lab: Lab, clock: Clock) -> None:
    clock.now = 1000.0  # what is known now is of before they were asked to end
    runs, ends = running(lab, at=999.0, actors=0, machines=()), clock.now + 3.0

    def sleep(seconds: float) -> None:
        clock.now += seconds
        assert read_wanted(lab) == []
        actors = 3 if clock.now < ends else 0
        on = (THERE, OURS) if actors else ()
        write_placement(lab, Placement(clock.now, True, on, actors=actors))

    clock.sleep = sleep  # type: ignore[method-assign]
    runs.end()
    assert clock.now >= ends
    assert runs.left() == ()


class Led:
    """Links, and where they were led."""

    def __init__(self) -> None:
        self.led: list[tuple[object, float]] = []

    def lead(self, links: object, longest: float) -> None:
        self.led.append((links, longest))


@pytest.mark.parametrize(
    ("programs", "forgets", "leads"),
    [
        ((), True, True),
        (("links",), True, False),
        (("placer",), False, False),  # links start anew, and go by what it has led last
        (("links", "placer"), False, False),
    ],
)
def test_what_was_seen_and_led_to_before_counts_as_long_as_there_is_a_placer(
    lab: Lab, programs: tuple[str, ...], forgets: bool, leads: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    links = Led()
    monkeypatch.setattr(placing, "links_of", lambda *_: links)
    monkeypatch.setattr(placing, "refuse_without_ray", lambda: None)
    monkeypatch.setattr(placing, "refuse_taken", lambda *_: None)
    (one,) = wanted_by(lab, plan_of())
    told(lab, placed(one, "FATAL", why="there was no disk"))
    on_nodes(lab, *programs).prepare(plan_of())
    assert (read_placement(lab).of(one.process) is None) is forgets
    assert links.led == ([((), 0.0)] if leads else [])
