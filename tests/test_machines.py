"""API processes on several machines, which are killed: the engine ray for real, with three nodes
that have addresses of their own on this one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from llmlab.engines.ray.placed import Placed, read_placement
from llmlab.runtimes.cores import held_to
from tests.conftest import LabUnderTest, free_port, wait_until
from tests.nodes import Nodes, addresses, nodes
from tests.test_json_documents import KNOWN, misfits
from tests.test_rollout_lab import TWIN, consistent, load, status

pytestmark = pytest.mark.machines
AGAIN = 180.0  # seconds until it is as before, on a machine that does other things as well


@pytest.fixture(scope="module")
def machines(
    make_lab: Callable[..., LabUnderTest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    """A lab with three replicas on three nodes of one core, and a fourth one to spare."""
    port = free_port()
    lab = make_lab(
        engine='"ray"', gateway__rate_limit__enabled="false", ray__port=str(port),
        ray__link_port=str(free_port()), ray__cores="0", service__memory='"256m"',
        rollout__error_margin="0.05", rollout__bake="2", rollout__progress_deadline="600",
        rollout__latency_gate='""',
    )  # fmt: skip
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    file = lab.lab.config_file
    host = f"{addresses(lab.port)}.1"
    before, ray, rest = file.read_text().partition("[ray]")
    file.write_text(before + ray + rest.replace('host = "127.0.0.1"', f'host = "{host}"', 1))
    with nodes(lab, tmp_path_factory.mktemp("nodes")) as found:
        found.head_port = port
        up = subprocess.Popen(
            [sys.executable, "-m", "llmlab", "up"], cwd=lab.root, env=lab.env,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        token = lab.lab.state / "ray" / "token"
        wait_until(token.exists, 60)
        wait_until(lambda: _listens(host, port), 60)
        found.add(2, 3, 4)
        said = up.communicate(timeout=240)[1]
        assert up.returncode == 0, said
        lab.ok("deployment", "scale", "textrank", "3")
        yield found
        lab.run("down")


def _listens(host: str, port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex((host, port)) == 0


def test_replicas_are_spread_and_every_machine_is_told(machines: Nodes) -> None:
    assert set(machines.replicas) == {"textrank", "textrank.2", "textrank.3"}
    assert len(set(machines.replicas.values())) == 3
    told = machines.lab.json("status")
    assert told["engine"] == "ray" and told["healthy"]
    assert [(one["ready"], one["replicas"]) for one in told["deployments"]] == [(3, 3)]
    assert {one["host"] for one in told["nodes"] if one["replicas"]} == set(
        machines.replicas.values()
    )
    assert "textrank.3" in machines.lab.ok("node", "list")
    nodes = machines.lab.json("node", "list")
    assert misfits(nodes, KNOWN["node list"], "node list") == []


def test_a_replica_goes_by_what_it_is_given_of_its_machine(machines: Nodes) -> None:
    given = held_to(1.0, 256 << 20)
    for one in _placed(machines.lab):
        assert given.items() <= psutil.Process(one.pid).environ().items()


def test_no_request_is_lost_when_a_machine_dies_and_when_the_head_does(machines: Nodes) -> None:
    lab = machines.lab
    with load(lab, clients=8) as told:
        wait_until(lambda: told.statuses[200] > 50, 60)
        gone = machines.replicas["textrank.2"]
        machines.kill(int(gone.rpartition(".")[2]))
        machines.add(5)
        wait_until(lambda: machines.replicas.get("textrank.2") == machines.address(5), AGAIN)
        wait_until(lambda: lab.status()["healthy"], AGAIN)

        before = {one.process: one.pid for one in _placed(lab)}
        machines.kill_head()
        wait_until(
            lambda: any("head does not answer" in one for one in lab.status()["warnings"]), 30
        )
        seen = told.statuses[200]
        wait_until(lambda: told.statuses[200] > seen + 50, 60)
        wait_until(lambda: lab.status()["healthy"] and not lab.status()["warnings"], AGAIN)
        assert {one.process: one.pid for one in _placed(lab)} == before  # they went on

        gone = machines.replicas["textrank.3"]  # and it places again
        machines.kill(int(gone.rpartition(".")[2]))
        machines.add(6)
        wait_until(lambda: machines.replicas.get("textrank.3") == machines.address(6), AGAIN)
    assert set(told.statuses) == {200}, told.statuses
    assert lab.json("ledger", "verify")["whole"] is True


def test_a_canary_goes_on_while_a_machine_dies(machines: Nodes) -> None:
    lab = machines.lab
    lab.ok("deployment", "scale", "textrank", "2")
    with load(lab, clients=6) as told:
        lab.ok("rollout", "start", "canary", "twin", "--steps", "20,50,100", "--interval", "2s",
               "--min-samples", "10", "--text-gate", "")  # fmt: skip
        wait_until(lambda: "twin" in machines.replicas, AGAIN)
        gone = machines.replicas["textrank.2"]
        machines.kill(int(gone.rpartition(".")[2]))
        machines.add(7)
        code, said = status(lab)
        assert code == 0, said
        lab.ok("rollout", "undo", "--why", "only a test")
        assert status(lab)[0] == 0
        consistent(lab)
    assert set(told.statuses) == {200}, told.statuses
    assert told.served["twin"] > 20
    lab.ok("deployment", "stop", "twin")
    lab.ok("deployment", "scale", "textrank", "2")


def test_a_machine_that_is_drained_is_empty_before_anything_ends_there(machines: Nodes) -> None:
    lab = machines.lab
    wait_until(lambda: lab.status()["healthy"], AGAIN)
    leaves = machines.replicas["textrank"]
    with load(lab, clients=4) as told:
        done = lab.json("node", "drain", leaves)
        assert misfits(done, KNOWN["node drain"], "node drain") == []
        assert done == {"name": leaves, "host": leaves, "draining": True}
        assert leaves not in machines.replicas.values()
    assert set(told.statuses) == {200}, told.statuses
    told_of = {one["host"]: one["state"] for one in lab.json("node", "list")}
    assert told_of[leaves] == "draining"
    lab.ok("node", "drain", leaves, "--undo")
    wait_until(lambda: leaves in machines.ready)


def test_a_stranger_gets_nothing_from_a_replica_nor_from_the_head(machines: Nodes) -> None:
    lab = machines.lab
    wait_until(lambda: lab.status()["healthy"], AGAIN)
    (one, *_) = [one for one in _placed(lab) if one.port]
    assert _asked(one.host, one.port) == b""
    stranger = machines.folder / "token"
    stranger.write_text("0" * 64 + "\n")
    stranger.chmod(0o600)
    refused = lab.run(
        "node", "add", f"{machines.head}:{machines.head_port}", "--token-file", str(stranger),
        "--host", machines.address(99), "--folder", str(machines.folder / "stranger"),
    )  # fmt: skip
    assert refused.returncode == 4, refused.stderr
    assert "does not know the token" in refused.stderr and "Fix:" in refused.stderr


def test_a_replica_that_waits_for_a_machine_holds_up_nothing_else(machines: Nodes) -> None:
    lab = machines.lab
    lab.ok("deployment", "scale", "textrank", "3")
    gone = machines.replicas["textrank.2"]
    machines.kill(int(gone.rpartition(".")[2]))
    waits = "textrank.2: waiting for a machine with room"
    wait_until(lambda: any(waits in one for one in lab.status()["warnings"]), AGAIN)
    lab.ok("deployment", "scale", "textrank", "2")  # which makes room for it
    wait_until(lambda: lab.status()["healthy"] and not lab.status()["warnings"], AGAIN)
    assert set(machines.replicas) == {"textrank", "textrank.2"}


def _placed(lab: LabUnderTest) -> list[Placed]:
    return list(read_placement(lab.lab).replicas)


def _asked(host: str, port: int) -> bytes:
    """What somebody is answered who has no certificate."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((host, port), timeout=10) as plain,
        contextlib.suppress(ssl.SSLError, ConnectionError),
        anybody.wrap_socket(plain, server_hostname=host) as spoken,
    ):
        spoken.sendall(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        return spoken.recv(100)
    return b""
