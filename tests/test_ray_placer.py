"""The placer, with a cluster that is played: what it has to know before it moves anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmlab.config.ray import Ray
from llmlab.engines.ray import placer as placing
from llmlab.engines.ray import reaching
from llmlab.engines.ray.draining import change
from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.placed import Placed, read_placement
from llmlab.engines.ray.placer import Placer
from llmlab.engines.ray.reaching import Reaching
from llmlab.engines.ray.reconcile import Actor
from llmlab.engines.ray.replica import Look, Replica
from llmlab.engines.ray.wanted import Wanted, asked_at, write_wanted
from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.links.conf import Link
from llmlab.version import __version__
from tests.conftest import free_port, wait_until

OLD = Wanted("twin", "twin", "twin-aaaaaaaaaaaa.json")
NEW = Wanted("twin", "twin", "twin-bbbbbbbbbbbb.json")
OTHER = Wanted("twin.2", "twin", "twin-aaaaaaaaaaaa.json")
A1, A2, B2 = "twin@aaaaaaaaaaaa.1", "twin@aaaaaaaaaaaa.2", "twin@bbbbbbbbbbbb.2"
O1 = "twin.2@aaaaaaaaaaaa.1"
NODES = tuple(
    Node(f"n{number}", f"10.0.0.{number}", f"gpu-{number}", True, False, 4.0, 0.0, 8 << 30)
    for number in (1, 2)
)


def actor(name: str, node: int = 1, phase: str = "ready", **more: Any) -> Actor:
    look = Look(
        sha256(name.encode()).hexdigest()[:12],
        f"n{node}",
        f"10.0.0.{node}",
        __version__,
        phase=phase,
        port=20000,
    )  # type: ignore[arg-type]
    return Actor(name, replace(look, **more))


class Cluster:
    """What the placer asks of its fleet, and what it is told; ``made``: {actor: not on these}."""

    def __init__(self, *actors: Actor, nodes: tuple[Node, ...] = NODES) -> None:
        self.there = {one.name: one for one in actors}
        self.known = nodes
        self.made: dict[str, Collection[str]] = {}
        self.ended: list[str] = []
        self.cursors: dict[str, str] = {}

    def nodes(self) -> tuple[Node, ...]:
        return self.known

    def look(self, orders: Mapping[str, Mapping[str, str]]) -> list[Actor]:
        return list(self.there.values())

    def create(self, name: str, one: Wanted, but: Collection[str] = ()) -> None:
        self.made[name] = but
        self.there[name] = Actor(name)

    def call(self, name: str, method: str, *arguments: Any, within: float) -> Any:
        return b"" if method == "request" else []

    def end(self, name: str, patience: float) -> None:
        self.ended.append(name)

    def forget(self, name: str) -> None:
        self.there.pop(name, None)

    def says(self, name: str, **how: Any) -> None:
        self.there[name] = replace(actor(name), **how)


class Links:
    """Where they lead; None as long as nobody has said."""

    def __init__(self) -> None:
        self.led: dict[str, tuple[str, int]] | None = None

    def lead(self, links: Collection[Link], longest: float) -> None:
        self.led = {one.process: (one.host, one.port) for one in links}


class Played:
    """A placer and what is around it; ``firewall``: hosts that let nobody in."""

    def __init__(self, lab: Lab, cluster: Cluster) -> None:
        self.lab, self.cluster, self.links = lab, cluster, Links()
        self.firewall: set[str] = set()
        self.placer = Placer(lab, Ray(), cluster, self.links, threading.Event())  # type: ignore[arg-type]
        self.placer._reaching = Reaching(self._connect)

    def _connect(self, host: str, port: int) -> None:
        if host in self.firewall:
            raise ConnectionRefusedError(111, "Connection refused")

    def until(self, holds: Callable[[], object], seconds: float = 10.0) -> None:
        def looks() -> object:
            self.placer.tick()
            return holds()

        wait_until(looks, seconds)

    def ticks(self, times: int = 20) -> None:
        for _ in range(times):
            self.placer.tick()

    @property
    def told(self) -> Placed | None:
        return read_placement(self.lab).of("twin")


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    one = Lab(tmp_path)
    one.make_state()
    one.logs.mkdir()
    return one


def test_one_that_serves_goes_on_until_the_next_can_be_reached_from_here(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "AGAIN", 0.01)
    write_wanted(lab, [NEW])
    it = Played(lab, Cluster(actor(A1, 1), actor(B2, 2)))
    it.firewall = {"10.0.0.2"}
    it.until(lambda: it.told and it.told.why)
    it.ticks()
    assert it.links.led == {"twin": ("10.0.0.1", 20000)} and it.cluster.ended == []
    it.firewall.clear()
    it.until(lambda: it.links.led == {"twin": ("10.0.0.2", 20000)})
    it.until(lambda: it.cluster.ended == [A1])


def test_what_cannot_be_reached_is_told_and_does_not_count_as_running(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaching, "AGAIN", 0.01)
    write_wanted(lab, [OLD])
    it = Played(lab, Cluster(actor(A1, 1)))
    it.firewall = {"10.0.0.1"}
    it.until(lambda: it.told and it.told.why)
    assert it.told and it.told.state == "STARTING"
    assert it.told.why == (
        "10.0.0.1:20000 cannot be reached from the gateway's machine: Connection refused; "
        "does a firewall there let it in to ray.replica_ports?"
    )


def test_a_replica_is_tried_once_for_each_place_and_forgotten_when_it_goes() -> None:
    tried: list[tuple[str, int]] = []
    it = Reaching(lambda host, port: tried.append((host, port)))
    one = actor(A1)

    def serves(*actors: Actor) -> list[bool]:
        wait_until(lambda: [it.believed(actors), it.settled][1], 5)
        return [each.serves for each in it.believed(actors)]

    assert not it.believed([one])[0].serves or it.settled
    assert serves(one) == serves(one) == [True]
    assert tried == [("10.0.0.1", 20000)]
    assert one.look
    moved = replace(one, look=replace(one.look, incarnation="other", host="10.0.0.2"))
    assert serves(moved) == [True] and tried[1:] == [("10.0.0.2", 20000)]
    assert it.believed([]) == []
    assert serves(one) == [True] and len(tried) == 3


def test_nobody_listening_is_found_out_for_real() -> None:
    port = free_port()
    it = Reaching()
    one = actor(A1, host="127.0.0.1", port=port)
    wait_until(lambda: [it.believed([one]), it.settled][1], 5)
    (seen,) = it.believed([one])
    assert seen.look and "Connection refused" in seen.look.why and not seen.serves


def test_a_replica_is_not_ready_as_long_as_its_door_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmlab.engines.probe.ready", lambda socket: True)
    replica = Replica.__new__(Replica)
    replica._own, replica._answered = tmp_path, 0
    door = replica._door = SimpleNamespace(pid=0, said="bind() failed")  # type: ignore[assignment]
    api: Any = SimpleNamespace(failed=False, pid=5, starts=1)
    told = Look("0123456789ab", "n1", "10.0.0.1", __version__, phase="starting")
    found = replica._phase_of(api, told)
    assert (found.phase, found.why) == ("starting", "bind() failed")
    door.pid = 6
    assert replica._phase_of(api, told).phase == "ready"


def test_nothing_moves_as_long_as_it_is_not_known_what_nodes_there_are(lab: Lab) -> None:
    write_wanted(lab, [OLD])
    change(lab, drain=["10.0.0.1"])
    it = Played(lab, Cluster(actor(A1, 1), actor(A2, 2, "starting"), nodes=()))
    it.ticks()
    assert (it.links.led, it.cluster.made, it.cluster.ended) == (None, {}, [])
    assert read_placement(lab).at == 0.0  # nor is anything told that may not be so
    it.cluster.known = NODES
    it.until(lambda: it.links.led)
    it.ticks()
    assert it.links.led == {"twin": ("10.0.0.1", 20000)}  # until the other one serves
    assert (it.cluster.made, it.cluster.ended) == ({}, [])


def test_links_stay_until_those_that_were_there_before_have_been_heard(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wanted(lab, [OLD, OTHER])
    it = Played(lab, Cluster(actor(A1, 1), Actor(O1)))
    it.ticks()
    assert it.links.led is None
    it.cluster.there[O1] = actor(O1, 2)
    it.until(lambda: it.links.led)
    assert it.links.led == {"twin": ("10.0.0.1", 20000), "twin.2": ("10.0.0.2", 20000)}

    monkeypatch.setattr(placing, "HEARD", 0.2)  # one that waits for a machine says nothing
    it = Played(lab, Cluster(actor(A1, 1), Actor(O1)))
    it.ticks(3)
    it.until(lambda: it.links.led == {"twin": ("10.0.0.1", 20000)})
    assert it.cluster.made == {}


def test_what_failed_waits_for_its_turn_or_for_somebody_who_asks(lab: Lab) -> None:
    write_wanted(lab, [OLD])
    it = Played(lab, Cluster(actor(A1, 1, "failed", why="no torch")))
    it.until(lambda: it.told)
    it.ticks()
    assert it.told and (it.told.state, it.told.why) == ("FATAL", "no torch")
    assert (it.cluster.made, it.cluster.ended) == ({}, [])
    write_wanted(lab, [OLD])
    it.placer.tick()
    assert it.cluster.made == {A2: {"n1"}}
    assert it.told.state == "PENDING" and read_placement(lab).asked == asked_at(lab)
    it.until(lambda: it.cluster.ended == [A1])


def test_a_placer_that_is_not_told_what_runs_ends_for_it_cannot_connect_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connections: list[str] = []

    class Once:
        def __init__(self, address: str, *_: object) -> None:
            connections.append(address)
            if len(connections) > 3:
                over.set()
            if len(connections) > 1:
                raise EnvironmentFailure("Maybe you called ray.init twice?", fix="")

        def find(self) -> None:
            raise EnvironmentFailure("Ray does not say what runs: no answer")

    over = threading.Event()
    monkeypatch.setattr(placing, "Fleet", Once)
    monkeypatch.setattr(placing, "AGAIN_CONNECTING", 0.01)
    with pytest.raises(EnvironmentFailure, match="does not say what runs"):
        placing.connected(Ray(), "llmlab-test", {}, over)
    assert connections == ["127.0.0.1:6379"]
