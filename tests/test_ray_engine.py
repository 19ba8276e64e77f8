"""The engine ray without Ray: what is to be done next, what a node keeps, and what it is told."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from llmlab.config import Config, Model
from llmlab.config.ray import Ray
from llmlab.engines.base import Plan
from llmlab.engines.ray import cluster
from llmlab.engines.ray.draining import change, drained, find
from llmlab.engines.ray.fitting import fits_nowhere, refuse_taken
from llmlab.engines.ray.fleet import Node
from llmlab.engines.ray.kept import Kept
from llmlab.engines.ray.orders import orders_for
from llmlab.engines.ray.reconcile import Actor, reconcile
from llmlab.engines.ray.replica import Look
from llmlab.engines.ray.shelf import KEPT, Shelf
from llmlab.engines.ray.telling import Failed, placement
from llmlab.engines.ray.wanted import Wanted, read_wanted, wanted_by, write_wanted
from llmlab.engines.status import NodeStatus
from llmlab.errors import AuthError, EnvironmentFailure, UsageError
from llmlab.lab import Lab
from llmlab.service.settings import Settings
from llmlab.shell import clean_environment
from llmlab.traffic import Deployed, Traffic
from tests.conftest import free_port, wait_until

ONE = Wanted("twin", "twin", "twin-aaaaaaaaaaaa.json")
NEWER = Wanted("twin", "twin", "twin-bbbbbbbbbbbb.json")
TWO = Wanted("twin.2", "twin", "twin-aaaaaaaaaaaa.json")


def actor(name: str, phase: str = "ready", node: str = "n1", *, gone: bool = False) -> Actor:
    look = Look("i", node, "10.0.0.3", "1", phase=phase, port=20000)  # type: ignore[arg-type]
    return Actor(name, None if phase == "unknown" else look, gone)


A1, A2, B1 = "twin@aaaaaaaaaaaa.1", "twin@aaaaaaaaaaaa.2", "twin@bbbbbbbbbbbb.1"


@pytest.mark.parametrize(
    ("wanted", "there", "drained_nodes", "create", "end", "links"),
    [
        ([ONE], [], (), [A1], [], {}),
        ([ONE], [actor(A1, "unknown")], (), [], [], {}),
        ([ONE], [actor(A1, "starting")], (), [], [], {}),
        ([ONE], [actor(A1)], (), [], [], {"twin": A1}),
        # Dead for now: Ray has it started again elsewhere, and nothing leads there meanwhile.
        ([ONE], [actor(A1, gone=True)], (), [], [], {}),
        # Other settings: the one from before goes on until the new one serves.
        ([NEWER], [actor(A1)], (), ["twin@bbbbbbbbbbbb.2"], [], {"twin": A1}),
        ([NEWER], [actor(A1), actor(B1, "starting")], (), [], [], {"twin": A1}),
        ([NEWER], [actor(A1), actor(B1)], (), [], [A1], {"twin": B1}),
        # A node that is drained: likewise.
        ([ONE], [actor(A1)], ("n1",), [A2], [], {"twin": A1}),
        ([ONE], [actor(A1), actor(A2, "starting", "n2")], ("n1",), [], [], {"twin": A1}),
        ([ONE], [actor(A1), actor(A2, node="n2")], ("n1",), [], [A1], {"twin": A2}),
        # Nobody wants it any more.
        ([ONE], [actor(A1), actor("twin.2@aaaaaaaaaaaa.1")], (), [], ["twin.2@aaaaaaaaaaaa.1"],
         {"twin": A1}),
        ([], [actor(A1, "unknown")], (), [], [A1], {}),
    ],
)  # fmt: skip
def test_what_is_wanted_and_what_is_there_say_what_is_next(
    wanted: list[Wanted], there: list[Actor], drained_nodes: tuple[str, ...], create: list[str],
    end: list[str], links: dict[str, str],
) -> None:  # fmt: skip
    steps = reconcile(wanted, there, drained_nodes)
    assert [name for name, _ in steps.create] == create
    assert list(steps.end) == end
    assert {process: one.name for process, one in steps.links.items()} == links


def test_a_process_with_a_number_is_not_the_one_without() -> None:
    steps = reconcile([ONE, TWO], [actor("twin.2@aaaaaaaaaaaa.1")])
    assert [name for name, _ in steps.create] == [A1]
    assert list(steps.links) == ["twin.2"]


def test_models_elsewhere_stay_beside_the_gateway(tmp_path: Path) -> None:
    here = Model(runtime="openai", base_url="http://127.0.0.1:9/v1", model="m")
    there = Model(runtime="extractive", source="embedded:textrank", cores=2.0)
    plan = Plan(
        Config(), "twin",
        (Settings(deployment="twin", name="twin", model=there),
         Settings(deployment="far", name="far", model=here)),
        traffic=Traffic((Deployed("twin", "twin", 2),)),
    )  # fmt: skip
    lab = Lab(tmp_path)
    wanted = wanted_by(lab, plan)
    assert [(one.process, one.cores, one.memory) for one in wanted] == [
        ("twin", 2.0, 2 << 30), ("twin.2", 2.0, 2 << 30),
    ]  # fmt: skip
    lab.make_state()
    assert read_wanted(lab) == []
    write_wanted(lab, wanted)
    assert read_wanted(lab) == wanted
    assert len({one.version for one in wanted}) == 1


def test_a_node_takes_a_file_only_as_what_its_digest_says(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "models")
    content = b"weights" * 1000
    digest = hashlib.sha256(content).hexdigest()
    shelf.put(digest, 0, content[:3000], last=False)
    assert not shelf.has(digest)
    with pytest.raises(ValueError, match="a part begins at 5000, and 3000 bytes are there"):
        shelf.put(digest, 5000, content[5000:], last=True)
    shelf.put(digest, 0, content[:3000], last=False)
    shelf.put(digest, 3000, content[3000:], last=True)
    assert shelf.has(digest)

    other = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(ValueError, match="what came is"):
        shelf.put(other, 0, content, last=True)
    assert not shelf.has(other)
    for wrong in ("../../etc/passwd", "A" * 64, ""):
        with pytest.raises(ValueError, match="no SHA-256"):
            shelf.has(wrong)

    laid = shelf.lay_out(tmp_path / "run" / "model", {"sub/model.bin": digest})
    assert (laid / "sub" / "model.bin").read_bytes() == content
    for name in ("../outside", "/etc/outside"):
        with pytest.raises(ValueError, match="no name below"):
            shelf.lay_out(tmp_path / "run" / "bad", {name: digest})
    with pytest.raises(ValueError, match="is not on this node"):
        shelf.lay_out(tmp_path / "run" / "more", {"x": other})
    assert not (tmp_path / "run" / "outside").exists()

    shelf.tidy(time.time() + KEPT / 2)
    assert shelf.has(digest)
    shelf.tidy(time.time() + KEPT * 2)
    assert not shelf.has(digest)


def test_replicas_get_the_small_files_of_their_deployment(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    folder = lab.state / "deployments"
    folder.mkdir(parents=True)
    assert orders_for(lab, "twin") == {}
    (folder / "twin.drill.json").write_text("mine")
    (folder / "other.drill.json").write_text("not mine")
    (folder / "sample.json").write_text("of all")
    assert orders_for(lab, "twin") == {"drill.json": "mine", "sample.json": "of all"}


SLEEPS = [sys.executable, "-c", "import time; print('there', flush=True); time.sleep(600)"]


def test_a_program_is_kept_running_until_it_is_ended(tmp_path: Path) -> None:
    one = Kept(tmp_path, SLEEPS, clean_environment(), log="out.log")
    one.start()
    wait_until(lambda: one.pid > 0 and one.log.exists() and "there" in one.log.read_text())
    before = one.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: one.pid not in (0, before))
    assert one.starts == 2
    last = one.pid
    one.end(10)
    assert one.pid == 0 and not psutil.pid_exists(last)


def test_a_program_that_may_not_be_started_again_is_not(tmp_path: Path) -> None:
    leaves = [sys.executable, "-c", "import sys; sys.exit(78)"]
    one = Kept(tmp_path, leaves, clean_environment(), log="out.log", final_exit=78)
    one.start()
    wait_until(lambda: one.failed)
    assert one.starts == 1


def test_a_program_ends_with_whoever_keeps_it_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from llmlab.engines.ray.kept import Kept; "
        "from llmlab.shell import clean_environment; "
        f"one = Kept(Path({str(tmp_path)!r}), {SLEEPS!r}, clean_environment(), log='out.log'); "
        "one.start()\nwhile not one.pid: time.sleep(0.01)\n"
        "print(one.pid, flush=True); time.sleep(600)"
    )
    keeper = psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True)
    child = int(keeper.stdout.readline())
    wait_until(lambda: (tmp_path / "out.log").read_text() != "")
    keeper.kill()
    keeper.wait(10)
    wait_until(lambda: not psutil.pid_exists(child))


def test_nodes_are_drained_and_taken_again_by_their_address(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    assert drained(lab) == frozenset()
    change(lab, drain=["10.0.0.3"])
    change(lab, drain=["10.0.0.4"])
    assert drained(lab) == {"10.0.0.3", "10.0.0.4"}
    change(lab, take=["10.0.0.3"])
    assert drained(lab) == {"10.0.0.4"}
    (lab.state / "ray" / "draining.json").write_text('{"no": "list"}')
    with pytest.raises(ValueError, match="should hold a list"):
        drained(lab)


def test_a_node_is_found_by_its_name_or_address() -> None:
    def node(name: str, host: str) -> NodeStatus:
        return NodeStatus(name, host, "ready", 2, 0, 1 << 30, False)

    nodes = [node("a", "10.0.0.3"), node("b", "10.0.0.4"), node("b", "10.0.0.5")]
    assert find(nodes, "a").host == find(nodes, "10.0.0.3").host == "10.0.0.3"
    with pytest.raises(UsageError, match="several nodes are called b"):
        find(nodes, "b")
    with pytest.raises(UsageError, match="there is no node c"):
        find(nodes, "c")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("address", "10.0.0.2"), ("address", "10.0.0.2:70000"), ("host", "0.0.0.0"),
        ("host", "gpu-1"), ("replica_ports", "20000"), ("replica_ports", "30000-20000"),
        ("replica_ports", "80-90"), ("cores", -2),
    ],
)  # fmt: skip
def test_what_cannot_be_a_cluster_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Ray.model_validate({key: value})


def test_a_cluster_of_one_machine_listens_on_loopback_alone(tmp_path: Path) -> None:
    token = tmp_path / "token"
    name = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    assert cluster.environment(token, alone=Ray().is_alone)[name] == "0"
    assert name not in cluster.environment(token, alone=Ray(host="10.0.0.2").is_alone)
    told = cluster.environment(token)
    assert told["RAY_AUTH_MODE"] == "token" and told["RAY_AUTH_TOKEN_PATH"] == str(token)


def test_a_token_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.make_state()
    file = cluster.make_token(lab, Ray())
    assert len(file.read_text().strip()) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_text()
    assert cluster.make_token(lab, Ray()).read_text() == before
    assert before.strip() not in " ".join(cluster.head_command(lab, Ray()))
    elsewhere = tmp_path / "theirs"
    with pytest.raises(AuthError, match="cannot be read"):
        cluster.token_file(lab, Ray(token_file=str(elsewhere)))
    elsewhere.write_text("x")
    elsewhere.chmod(0o644)
    with pytest.raises(AuthError, match="others can read"):
        cluster.token_file(lab, Ray(token_file=str(elsewhere)))


def test_a_port_that_somebody_has_is_told_before_anything_is_started() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match=f"127.0.0.1:{port} is taken by"):
            refuse_taken(Ray(port=port, link_port=free_port()))
    with pytest.raises(UsageError, match="no address of this machine"):
        refuse_taken(Ray(host="203.0.113.9"))


@pytest.mark.parametrize(
    ("there", "times", "state", "why"),
    [
        ([], 0, "PENDING", ""),
        ([actor(A1, "unknown")], 0, "PENDING", ""),
        ([actor(A1, "empty")], 0, "STARTING", ""),
        ([actor(A1, "empty")], 1, "BACKOFF", "no"),
        ([actor(A1, "empty")], 3, "FATAL", "no"),
        ([actor(A1)], 0, "RUNNING", ""),
        ([actor(A1)], 3, "RUNNING", "no"),  # it is only the next certificate
        ([actor(A1, gone=True)], 0, "PENDING", ""),
        # The one from before serves, and what is to take over cannot.
        ([actor("twin@cccccccccccc.1"), actor(A2, "failed")], 0, "FATAL", ""),
    ],
)  # fmt: skip
def test_what_is_told_of_a_replica(there: list[Actor], times: int, state: str, why: str) -> None:
    failed = {A1: Failed(0.0, "no", times)} if times else {}
    steps = reconcile([ONE], there)
    (placed,) = placement([ONE], there, steps, (), (), failed).replicas
    assert (placed.state, placed.why) == (state, why)


@pytest.mark.parametrize(
    ("cores", "gpus", "memory", "nowhere"),
    [
        (2, 0, 4 << 30, False),
        (2, 1, 4 << 30, False),
        (4, 0, 2 << 30, False),
        (4, 1, 2 << 30, True),  # no machine has both
        (8, 0, 1 << 30, True),
        (1, 0, 64 << 30, True),
    ],
)
def test_what_no_machine_could_have_is_not_waited_for(
    cores: float, gpus: float, memory: int, nowhere: bool
) -> None:
    machines = [
        NodeStatus("a", "10.0.0.3", "ready", 2.0, 1.0, 8 << 30, False),
        NodeStatus("b", "10.0.0.4", "away", 4.0, 0.0, 2 << 30, False),
    ]
    one = replace(ONE, cores=cores, gpus=gpus, memory=memory)
    assert fits_nowhere(one, machines) is nowhere
    assert not fits_nowhere(one, ())  # none is known yet


def test_a_machine_that_is_away_is_told_only_while_something_is_there() -> None:
    there = Node("n1", "10.0.0.3", "gpu-1", True, False, 8.0, 1.0, 1 << 34)
    gone = Node("n2", "10.0.0.4", "gpu-2", False, False, 8.0, 0.0, 1 << 34)
    steps = reconcile([ONE], [actor(A1)])
    found = placement([ONE], [actor(A1)], steps, (there, gone), {"10.0.0.3"}, {})
    (machine,) = found.machines
    assert (machine.name, machine.state, machine.replicas) == ("gpu-1", "draining", ("twin",))
    assert found.head and found.actors == 1
