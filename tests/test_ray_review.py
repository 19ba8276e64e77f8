"""What holds for the engine ray whatever its machines do: no Ray runs here."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmlab.engines.local.access_log import lines_since
from llmlab.engines.ray.cluster import session_below
from llmlab.engines.ray.fleet import Fleet
from llmlab.engines.ray.reading import read_cursors, write_cursors
from llmlab.engines.ray.reconcile import Actor, reconcile
from llmlab.engines.ray.replica import Look
from llmlab.engines.ray.shelf import Shelf
from llmlab.engines.ray.telling import placement
from llmlab.engines.ray.wanted import Wanted
from llmlab.lab import Lab, private_folder

NAME = "textrank@0123456789ab.1"
WANTED = Wanted("textrank", "textrank", "textrank-0123456789ab.json")
CONTENT = b"weights" * 100
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def _modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}


def test_a_file_lands_in_parts_for_somebody_who_is_not_root(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    shelf.put(DIGEST, 0, CONTENT[:10], False)
    # Root may write to anything: a mode says what the others may.
    assert _modes(tmp_path / "models") == {0o600}
    shelf.put(DIGEST, 0, CONTENT[:10], False)  # whoever brought it begins anew
    shelf.put(DIGEST, 10, CONTENT[10:], True)
    assert shelf.has(DIGEST)
    assert _modes(tmp_path / "models") == {0o400}


def test_two_replicas_of_a_node_may_be_given_the_same_file_at_once(tmp_path: Path) -> None:
    one, other = Shelf(tmp_path / "models"), Shelf(tmp_path / "models")
    one.put(DIGEST, 0, CONTENT[:10], False)
    other.put(DIGEST, 0, CONTENT[:20], False)
    one.put(DIGEST, 10, CONTENT[10:], True)
    other.put(DIGEST, 20, CONTENT[20:], True)
    assert [file.read_bytes() for file in (tmp_path / "models").iterdir()] == [CONTENT]


@pytest.mark.parametrize("content", [CONTENT + b"more", b"", b"another"])
def test_of_a_file_that_is_another_one_nothing_is_left(tmp_path: Path, content: bytes) -> None:
    shelf = Shelf(tmp_path / "models")
    with pytest.raises(ValueError, match="what came is"):
        shelf.put(DIGEST, 0, content, True)
    assert not os.listdir(tmp_path / "models")


def test_a_model_is_laid_out_again_after_a_try_that_failed(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    shelf.put(DIGEST, 0, CONTENT, True)
    for _ in range(2):
        folder = shelf.lay_out(tmp_path / "model", {"a/weights": DIGEST})
    assert (folder / "a" / "weights").read_bytes() == CONTENT


def test_the_folder_that_ray_opens_to_everybody_lies_in_a_closed_one(tmp_path: Path) -> None:
    session = session_below(tmp_path / "ray")
    session.mkdir()
    session.chmod(0o777)  # as Ray does
    assert session_below(tmp_path / "ray") == session
    assert stat.S_IMODE(session.parent.stat().st_mode) == 0o700


class Actors:
    """What a fleet asks of Ray: each call of a method is a reference that is answered later."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.answers: dict[str, Any] = {}
        self.killed = 0
        kinds = ("RayError", "RayActorError", "ActorDiedError", "GetTimeoutError")
        made: dict[str, type[Exception]] = {}
        for kind, above in zip(kinds, ("", "RayError", "RayActorError", "RayError"), strict=True):
            made[kind] = type(kind, (made.get(above, Exception),), {})
        self.exceptions = SimpleNamespace(**made)

    def init(self, **_: Any) -> None:
        """Nothing is started."""

    def __getattr__(self, method: str) -> Any:
        def remote(*arguments: Any) -> str:
            self.calls.append((method, arguments))
            return f"{method} {len(self.calls)}"

        return SimpleNamespace(remote=remote)

    def wait(self, refs: list[str], **_: Any) -> tuple[list[str], list[str]]:
        return [one for one in refs if one in self.answers], []

    def get(self, ref: str, timeout: float = 0.0) -> Any:
        found = self.answers.get(ref, self.exceptions.GetTimeoutError("too late"))
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, handle: Any, **_: Any) -> None:
        assert handle is self
        self.killed += 1


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> Actors:
    made = Actors()
    monkeypatch.setitem(sys.modules, "ray", made)
    return made


def _fleet(actors: Actors, cursors: dict[str, str] | None = None) -> Fleet:
    fleet = Fleet("127.0.0.1:6379", "127.0.0.1", "llmlab-test", cursors or {})
    fleet._handles[NAME] = actors
    return fleet


def _look(cursor: str = "1:2:3", **more: Any) -> Look:
    return Look("a", "node", "127.0.0.1", "1", phase="ready", cursor=cursor, **more)


def test_an_actor_that_is_ended_while_it_is_looked_at_is_not_heard_of_again(actors: Actors) -> None:
    fleet = _fleet(actors)
    fleet.look({})

    def answered(refs: list[str], **_: Any) -> tuple[list[str], list[str]]:
        fleet.forget(NAME)  # aside, while the answer comes
        actors.answers = {one: _look() for one in refs}
        return refs, []

    actors.wait = answered  # type: ignore[method-assign]
    assert fleet.look({}) == []
    assert fleet.look({}) == []


def test_what_was_taken_over_of_a_log_is_not_asked_for_again(actors: Actors) -> None:
    fleet = _fleet(actors, {NAME: "1:2:3"})
    fleet.look({})
    assert actors.calls[-1] == ("look", ("1:2:3", None))
    actors.answers["look 1"] = _look("1:9:3", lines=("a line",))
    assert fleet.look({})[0].look
    fleet.look({})
    assert actors.calls[-1] == ("look", ("1:9:3", None))
    actors.answers["look 2"] = actors.exceptions.RayActorError("unreachable for a moment")
    fleet.look({})
    fleet.look({})
    assert actors.calls[-1] == ("look", ("1:9:3", None))
    assert fleet.cursors == {NAME: "1:9:3"}


def test_an_actor_that_waits_for_a_machine_is_ended_at_once(actors: Actors) -> None:
    fleet = _fleet(actors)
    fleet.end(NAME, 600.0)
    assert [method for method, _ in actors.calls] == ["look"]
    assert actors.killed == 1


def test_an_actor_that_nobody_has_heard_of_yet_ends_what_it_has_in_hand(actors: Actors) -> None:
    actors.answers = {"look 1": _look(), "end 2": None}
    fleet = _fleet(actors)
    fleet.end(NAME, 600.0)
    assert actors.calls[-1] == ("end", (600.0,))
    assert actors.killed == 1


def test_a_replica_that_cannot_even_begin_is_told_of_and_tried_again(actors: Actors) -> None:
    fleet = _fleet(actors)
    fleet.look({})
    actors.answers["look 1"] = actors.exceptions.ActorDiedError("it died\n  ValueError: no room")
    (dead,) = fleet.look({})
    assert dead == Actor(NAME, gone=True, dead="ValueError: no room")
    steps = reconcile([WANTED], [dead])
    assert (steps.create, steps.end) == ((), (NAME,))  # its name is free only then
    (told,) = placement([WANTED], [dead], steps, (), (), {}).replicas
    assert (told.state, told.why) == ("FATAL", "ValueError: no room")


@pytest.mark.parametrize("damaged", ["", "[]", '{"a": 1}', '{"a": "1:2"}', '{"a": "../x"}'])
def test_cursors_are_kept_for_the_next_placer(tmp_path: Path, damaged: str) -> None:
    lab = Lab(tmp_path)
    private_folder(lab.state / "ray")
    log = tmp_path / "api.log"
    log.write_text("one\n")
    _, cursor = lines_since(log, "0")
    write_cursors(lab, {NAME: cursor, "other@1.1": "0"})
    assert read_cursors(lab) == {NAME: cursor, "other@1.1": "0"}
    (lab.state / "ray" / "cursors.json").write_text(damaged)
    assert read_cursors(lab) == {}
