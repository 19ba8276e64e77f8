"""What is tried again, where and when: no Ray, and a clock that is set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from llmlab.engines.ray import placing
from llmlab.engines.ray.barred import read_barred, write_barred
from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.placed import Placed, Placement, write_placement
from llmlab.engines.ray.placing import OnNodes
from llmlab.engines.ray.reconcile import Actor, reconcile
from llmlab.engines.ray.replica import Look
from llmlab.engines.ray.telling import Failed, placement
from llmlab.engines.ray.trying import Ground, Tries
from llmlab.engines.ray.wanted import Wanted, asked_at, write_wanted
from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.version import __version__

ONE = Wanted("twin", "twin", "twin-aaaaaaaaaaaa.json", memory=1 << 30)
HEAD, N1, N2 = (
    Node(f"n{number}", f"10.0.0.{number}", f"gpu-{number}", True, number == 0, cores, 0.0, 8 << 30)
    for number, cores in ((0, 0.0), (1, 4.0), (2, 4.0))
)
BOTH = (HEAD, N1, N2)


def name(turn: int) -> str:
    return f"twin@aaaaaaaaaaaa.{turn}"


class Played:
    """A cluster whose actors do as they are told to, and what is tried on it."""

    def __init__(self, *nodes: Node, barred: dict[str, frozenset[str]] | None = None) -> None:
        self.now, self.nodes, self.drained = 1000.0, nodes, frozenset[str]()
        self.tries = Tries(barred or {}, lambda: self.now)
        self.there: dict[str, Actor] = {}
        self.failed: dict[str, Failed] = {}

    @property
    def ground(self) -> Ground:
        return Ground(self.nodes, self.drained)

    def is_(self, turn: int, node: Node, phase: str, **more: Any) -> None:
        look = Look("i", node.id, node.host, __version__, phase=phase, port=20000)  # type: ignore[arg-type]
        self.there[name(turn)] = Actor(name(turn), replace(look, **more))

    def gone(self, turn: int) -> None:
        self.there[name(turn)] = Actor(name(turn), gone=True)

    def after(self, seconds: float = 0.0) -> list[tuple[str, set[str]]]:
        """What is created by then: names, and where each may not be."""
        self.now += seconds
        self.seen = self.tries.judged([ONE], list(self.there.values()), self.ground, self.failed)
        self.steps = reconcile([ONE], self.seen, self.drained)
        made = []
        for actor, one in self.steps.create:
            self.tries.barred[actor] = but = self.tries.but(one, self.ground)
            self.there[actor] = Actor(actor)
            made.append((actor, set(but)))
        for actor in self.steps.end:
            del self.there[actor]
        return made

    @property
    def told(self) -> Placed:
        return placement([ONE], self.seen, self.steps, self.nodes, (), self.failed).replicas[0]


def test_a_replica_that_cannot_load_is_tried_on_another_machine_soon() -> None:
    it = Played(*BOTH)
    assert it.after() == [(name(1), set())]
    it.is_(1, N1, "failed", why="no module named torch")
    assert it.after() == [] and it.after(4.9) == []
    assert (it.told.state, it.told.why) == ("FATAL", "no module named torch")
    assert it.after(0.2) == [(name(2), {"n1"})]
    assert list(it.steps.end) == [name(1)]  # what it had is free for the next one
    it.is_(2, N2, "ready")
    assert it.after(600) == [] and it.told.state == "RUNNING"
    it.is_(2, N2, "failed")  # that is another matter by now
    assert it.after() == []
    assert it.after(5) == [(name(3), {"n2"})]


def test_a_model_that_loads_nowhere_is_tried_less_and_less_often() -> None:
    it = Played(*BOTH)
    it.after()
    times, turn, since = [], 1, it.now
    while turn < 10:
        it.is_(turn, (N1, N2)[turn % 2], "failed")
        if made := it.after(1):
            turn, before = turn + 1, since
            since = it.now
            times.append(round(since - before))
            assert made[0][1] == ({"n2"} if turn == 2 else set())  # all have been tried by then
    assert times == [6, 11, 21, 41, 81, 161, 301, 301, 301]


def test_while_a_machine_is_drained_what_fails_in_its_place_is_not_chased_either() -> None:
    it = Played(*BOTH)
    it.is_(1, N1, "ready")
    it.drained = frozenset({"n1"})
    assert it.after() == [(name(2), {"n1"})]
    it.is_(2, N2, "failed")
    assert it.after(1) == [] and it.after(3) == []
    assert it.after(2) == [(name(3), {"n1"})]
    it.is_(3, N2, "failed")
    assert it.after() == [] and it.after(9) == []
    assert it.steps.links["twin"].name == name(1)
    assert it.after(1) == [(name(4), {"n1"})]


def test_who_asks_for_it_again_does_not_wait() -> None:
    it = Played(N1)
    it.after()
    for turn in range(1, 6):
        it.is_(turn, N1, "failed")
        it.after(300)
    it.is_(6, N1, "failed")
    assert it.after(10) == []
    it.tries.ask()
    assert it.after() == [(name(7), set())]
    assert it.told.state == "PENDING"  # what failed before is no answer to who asks now


def test_where_it_has_failed_it_may_go_again_if_others_have_no_room_for_long() -> None:
    it = Played(*BOTH)
    it.after()
    it.is_(1, N1, "failed")
    it.after()
    assert it.after(5) == [(name(2), {"n1"})]
    assert it.after(30) == []
    assert it.after(31) == [(name(3), set())]
    assert it.after(600) == []


def test_a_machine_with_another_llmlab_gets_nothing_that_could_be_elsewhere() -> None:
    it = Played(HEAD, N1)
    it.after()
    it.is_(1, N1, "empty", version="0.0.1")
    assert it.after(600) == []  # there is no other one; whoever provides for it says why
    it.nodes = BOTH
    assert it.after() == [(name(2), {"n1"})]
    it.is_(2, N2, "failed")
    it.after()
    assert it.after(600) == [(name(3), {"n1"})]


def test_what_cannot_be_provided_for_goes_elsewhere_after_some_tries() -> None:
    it = Played(*BOTH)
    it.after()
    it.is_(1, N1, "empty")
    it.failed[name(1)] = Failed(0.0, "no space left", 2)
    assert it.after(60) == []
    it.failed[name(1)] = Failed(0.0, "no space left", 3)
    assert it.after() == []
    assert it.after(5) == [(name(2), {"n1"})]
    alone = Played(HEAD, N1)
    alone.is_(1, N1, "empty")
    alone.failed = dict(it.failed)
    assert alone.after() == [] and alone.after(600) == []


def test_one_that_could_not_even_begin_is_tried_again_after_a_while() -> None:
    it = Played(*BOTH)
    it.there[name(1)] = Actor(name(1), gone=True, dead="ModuleNotFoundError: llmlab")
    assert it.after() == [] and it.told.state == "FATAL"
    assert it.after(5) == [(name(2), set())]
    assert list(it.steps.end) == [name(1)]


def test_after_a_drain_is_undone_its_machine_may_have_what_was_made_meanwhile() -> None:
    it = Played(*BOTH)
    it.is_(1, N1, "ready")
    it.drained = frozenset({"n1"})
    assert it.after() == [(name(2), {"n1"})]
    it.is_(2, N2, "ready")
    it.after()
    assert list(it.there) == [name(2)]
    it.drained = frozenset()
    assert it.after(600) == []
    it.nodes = (HEAD, N1, replace(N2, alive=False))
    it.gone(2)
    assert it.after() == [] and it.after(14) == []
    assert it.after(1) == [(name(3), set())]
    assert list(it.steps.end) == [name(2)]


def test_one_for_which_nothing_has_room_is_waited_for_whatever_it_takes() -> None:
    it = Played(*BOTH)
    it.after()
    assert it.after(60) == [] and it.after(600) == []
    it.drained = frozenset({"n1"})  # Ray may put it there, from where it is then moved
    assert it.after(600) == []


def test_where_replicas_may_not_be_is_known_to_the_next_placer(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    write_wanted(lab, [ONE])
    assert read_barred(lab) == {}
    write_barred(lab, {name(1): {"n2", "n1"}, name(2): set()})
    known = read_barred(lab)
    assert known == {name(1): frozenset({"n1", "n2"}), name(2): frozenset()}
    it = Played(*BOTH, barred=known)
    it.there[name(2)] = Actor(name(2))
    assert it.after() == [] and it.after(600) == []
    unknown = Played(*BOTH)
    unknown.there[name(2)] = Actor(name(2))
    assert unknown.after() == []
    assert unknown.after(15) == [(name(3), set())]
    assert unknown.after(600) == []
    (tmp_path / ".llmlab" / "ray" / "barred.json").write_text("[]")
    assert read_barred(lab) == {}


def test_up_hears_of_a_failure_only_once_it_was_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(tmp_path)
    write_wanted(lab, [ONE])
    monkeypatch.setattr(placing, "pause", lambda *_, **__: None)
    nodes = OnNodes(lab, None)  # type: ignore[arg-type]
    failed = Placed("twin", "twin", ONE.version, "FATAL", host="10.0.0.1", why="no torch")
    write_placement(lab, Placement(1.0, True, (), (failed,), asked=asked_at(lab) - 1))
    nodes._pause(ONE, float("inf"))
    write_placement(lab, Placement(1.0, True, (), (failed,), asked=asked_at(lab)))
    with pytest.raises(EnvironmentFailure, match="does not start on"):
        nodes._pause(ONE, float("inf"))
