"""What holds for the engine ray whatever its machines do: no Ray runs here."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import stat
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from llmlab.cli.app import app
from llmlab.config import read_config
from llmlab.config.ray import Ray
from llmlab.engines.local.access_log import lines_since
from llmlab.engines.ray import cluster, kept
from llmlab.engines.ray.cluster import session_below
from llmlab.engines.ray.door import Door
from llmlab.engines.ray.fitting import refuse_taken
from llmlab.engines.ray.fleet import Fleet
from llmlab.engines.ray.held import hold
from llmlab.engines.ray.joining import Joining, _session, join
from llmlab.engines.ray.reading import read_cursors, write_cursors
from llmlab.engines.ray.reconcile import Actor, believed, reconcile
from llmlab.engines.ray.replica import Look, Replica, Serving, models_folder
from llmlab.engines.ray.shelf import KEPT, Shelf, used_by
from llmlab.engines.ray.telling import placement
from llmlab.engines.ray.wanted import Wanted
from llmlab.errors import AuthError, ConfigError, EnvironmentFailure, UsageError
from llmlab.lab import Lab, private_folder
from tests.conftest import free_port, wait_until

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
    return Look("0123456789ab", "node", "127.0.0.1", "1", phase="ready", cursor=cursor, **more)


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
    assert (steps.create, steps.end) == ((), ())  # for a while: see test_ray_placer
    (told,) = placement([WANTED], [dead], steps, (), (), {}).replicas
    assert (told.state, told.why) == ("FATAL", "ValueError: no room")
    again = reconcile([WANTED], [replace(dead, spent=True)])
    assert ([name for name, _ in again.create], again.end) == ([NAME[:-1] + "2"], (NAME,))


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


def test_what_a_replica_leaves_that_was_killed_goes_when_the_next_one_comes(tmp_path: Path) -> None:
    left, handle = hold(tmp_path, "left")
    (left / "replica.key").write_text("secret")
    own, _ = hold(tmp_path, "own")
    with pytest.raises(BlockingIOError):
        hold(tmp_path, "own")
    assert left.exists()
    os.close(handle)  # as by the end of its process
    hold(tmp_path, "another")
    assert own.exists() and not left.exists()


def test_a_model_that_is_in_use_stays_on_its_node_however_old(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    shelf.put(DIGEST, 0, CONTENT, True)
    other = hashlib.sha256(b"other").hexdigest()
    shelf.put(other, 0, b"other", True)
    shelf.lay_out(tmp_path / "runs" / "textrank-1" / "model", {"a/b/weights": DIGEST})
    shelf.tidy(time.time() + 2 * KEPT, used_by(tmp_path / "runs"))
    assert [shelf.has(one) for one in (DIGEST, other)] == [True, False]


def test_a_replica_begins_while_another_ones_end_removes_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in ("ends", "stays"):
        (tmp_path / run / "model" / "a").mkdir(parents=True)
        (tmp_path / run / "model" / "a" / "weights").symlink_to(f"/models/{run}")
        (tmp_path / run / "model" / "no-link").touch()
    read, remove = Path.readlink, shutil.rmtree

    def removed_just_then(link: Path) -> Path:
        if "ends" in link.parts:
            remove(tmp_path / "ends", ignore_errors=True)
        return read(link)

    monkeypatch.setattr(Path, "readlink", removed_just_then)
    assert used_by(tmp_path) == {Path("/models/stays")}


def test_a_replica_that_could_not_begin_can_be_asked_to_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica.__new__(Replica)
    replica._lock, replica._door = threading.Lock(), Door(tmp_path, "textrank", "textrank")
    replica._told = Look("a", "node", "127.0.0.1", "1")
    tries: list[Serving] = []

    def begin(given: Serving) -> None:
        tries.append(given)
        if len(tries) == 1:
            raise OSError(errno.ENOSPC, "No space left on device", "model.bin")

    monkeypatch.setattr(replica, "_begin", begin)
    given = Serving("{}", {}, "", "", (20000, 20001), ("127.0.0.1", 1), 1.0)
    with pytest.raises(OSError, match="No space"):
        replica.serve(given)
    assert (replica._told.phase, replica._told.why) == ("empty", "No space left on device")
    replica.serve(given)
    assert (replica._told.phase, replica._told.why) == ("starting", "")
    replica.serve(given)
    assert len(tries) == 2


def test_a_machine_is_a_node_of_one_cluster_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = Joining("10.0.0.1:6379", "10.0.0.2", tmp_path / "token", 1, None, tmp_path / "models")
    session, held = _session(mine)
    assert stat.S_IMODE(session.parent.stat().st_mode) == 0o700
    with pytest.raises(UsageError, match="already, at 10"):
        _session(mine)
    os.close(_session(replace(mine, address="10.0.0.9:6379"))[1])  # another lab's
    os.close(held)
    assert _session(mine)[0] == session


@pytest.mark.parametrize("head", ["10.0.0.1", "10.0.0.1:", ":6379", "10.0.0.1:70000", "a b:1"])
@pytest.mark.parametrize("more", [[], ["--host", "10.0.0.2"]])
def test_what_is_no_address_of_a_head_is_told_before_anybody_is_asked(
    tmp_path: Path, head: str, more: list[str]
) -> None:
    token = ["--token-file", str(tmp_path / "token")]
    told = CliRunner().invoke(app, ["node", "add", head, *token, *more]).exception
    assert isinstance(told, UsageError)
    assert f"{head!r} is no address of a head" in told.message
    assert told.fix and "HOST:PORT" in told.fix


def test_a_folder_of_the_users_for_models_keeps_its_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Started(Exception):
        pass

    def start(*_: object) -> list[str]:
        raise Started

    folder = tmp_path / "mine"
    folder.mkdir()
    folder.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cluster, "node_command", start)
    joining = Joining("10.0.0.1:6379", "10.0.0.2", tmp_path / "token", 1, None, folder)
    with pytest.raises(Started):
        join(joining, threading.Event(), print)
    monkeypatch.setenv(cluster.FOLDER, str(folder))
    assert models_folder() == folder / "models"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "models").stat().st_mode) == 0o700


def test_a_lab_may_be_brought_up_again_while_its_own_programs_have_its_ports() -> None:
    with socket.create_server(("127.0.0.1", 0)) as head:
        ray = Ray(port=head.getsockname()[1], link_port=free_port())
        refuse_taken(ray, {"port"})
        with pytest.raises(EnvironmentFailure, match="is taken by"):
            refuse_taken(ray, {"link_port"})


def test_no_token_of_the_lab_is_told_to_a_cluster_that_has_one(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    own, file = cluster.make_token(lab, Ray()), tmp_path / "lab.toml"
    file.write_text('engine = "ray"\n')
    with pytest.raises(ConfigError, match="ray: address is of a cluster with a token") as told:
        read_config(file, flags={"ray.address": "10.0.0.1:6379"})
    assert told.value.fix == f"correct {file}"
    elsewhere = Ray(address="10.0.0.1:6379", token_file="theirs")
    with pytest.raises(AuthError, match="the cluster's token cannot be read"):
        cluster.make_token(lab, elsewhere)
    (tmp_path / "theirs").touch(0o600)
    assert cluster.make_token(lab, elsewhere) == tmp_path / "theirs" != own


def test_labs_in_folders_of_the_same_name_have_actors_of_their_own(tmp_path: Path) -> None:
    one = Ray(host="10.0.0.1")
    other = Ray(host="10.0.0.2", address="10.0.0.1:6379", token_file="theirs")
    names = {cluster.namespace(Lab(tmp_path), ray) for ray in (one, other)}
    assert len(names) == 2
    assert cluster.namespace(Lab(tmp_path / "more"), one) not in names


def test_where_the_head_listens_is_said_as_an_address_of_its_kind() -> None:
    assert cluster.head_address(Ray(host="10.0.0.1", port=7000)) == "10.0.0.1:7000"
    assert cluster.head_address(Ray(host="fd00::1", port=7000)) == "[fd00::1]:7000"


def test_a_program_that_cannot_be_started_for_now_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "AGAIN", (0.01,))
    folder = tmp_path / "not there"
    one = kept.Kept(folder, ["sleep", "60"], dict(os.environ), log="out")
    one.start()
    wait_until(lambda: one.starts > 1, 10)
    folder.mkdir()
    wait_until(lambda: one.pid > 0, 10)
    one.end(5)
    assert one.pid == 0


@pytest.mark.parametrize(
    ("hosts", "host", "port", "serves"),
    [
        ({"node": "10.0.0.2"}, "10.0.0.2", 20000, True),
        ({}, "10.0.0.2", 20000, True),  # nobody has said yet what nodes there are
        ({"node": "10.0.0.2"}, "10.0.0.3", 20000, False),
        ({"node": "10.0.0.2"}, "10.0.0.2", 70000, False),
        ({"node": "10.0.0.2"}, "10.0.0.2", -1, False),
        ({"other": "10.0.0.2"}, "10.0.0.2", 20000, False),
    ],
)
def test_a_link_leads_to_a_replica_where_its_node_is_and_nowhere_else(
    hosts: dict[str, str], host: str, port: int, serves: bool
) -> None:
    said = Actor(NAME, replace(_look(), host=host, port=port))
    assert believed(said, hosts).serves is serves
    assert bool(reconcile([WANTED], [believed(said, hosts)]).links) is serves


def test_no_link_leads_to_a_replica_that_cannot_be_told_from_others() -> None:
    said = Actor(NAME, replace(_look(), incarnation="a;b", port=20000))
    for hosts in ({}, {"node": "127.0.0.1"}):
        assert not believed(said, hosts).serves


def test_a_request_for_a_certificate_is_of_the_replica_that_was_looked_at(tmp_path: Path) -> None:
    replica = Replica.__new__(Replica)
    replica._door = Door(tmp_path, "textrank", "textrank")
    replica._told = Look("0123456789ab", "node", "127.0.0.1", "1")
    assert b"CERTIFICATE REQUEST" in replica.request("0123456789ab")
    with pytest.raises(ValueError, match="and ba9876543210 is meant"):
        replica.request("ba9876543210")
