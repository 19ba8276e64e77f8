"""The experiment with machines that die: what it makes of what it sees, and one node for real."""

from __future__ import annotations

import json
import math
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.machine_deaths import Event, another, same
from benchmarks.machines import judged, meanwhile
from benchmarks.ray_bed import Asked, asked, nginx_conf, statuses
from benchmarks.ray_nodes import Cluster, Node

HEAD = Event("the head is killed, and back after 80 s", 20.0, 99.0, 1.0,
             {"answering_while_away": 3, "same": 3, "placers": 1})  # fmt: skip
NODES = {f"127.0.0.{number}": 1 for number in range(41, 46)}


def a_request(at: float, status: int = 200) -> Asked:
    return Asked(at, 0.01, status, "" if status == 200 else "lost")


def verdicts(events: list[Event], requests: list[Asked], nodes: dict[str, int]) -> list[bool]:
    return [one.met for one in judged(events, requests, nodes)]


def test_all_is_met_where_nothing_was_lost() -> None:
    assert verdicts([HEAD], [a_request(1.0)], NODES) == [True] * 6


@pytest.mark.parametrize(
    ("missed", "events", "requests", "nodes"),
    [
        (0, [HEAD], [a_request(1.0), a_request(2.0, 502)], NODES),
        (0, [HEAD], [a_request(2.0, 0)], NODES),
        (1, [replace(HEAD, right=None)], [a_request(1.0)], NODES),
        (2, [replace(HEAD, seen=HEAD.seen | {"answering_while_away": 2})], [], NODES),
        (3, [replace(HEAD, seen=HEAD.seen | {"same": 0})], [], NODES),
        (4, [HEAD], [], NODES | {"127.0.0.49": 1}),
        (5, [HEAD], [], NODES | {"127.0.0.45": 2}),
    ],
)
def test_what_goes_wrong_is_missed_and_nothing_else_is(
    missed: int, events: list[Event], requests: list[Asked], nodes: dict[str, int]
) -> None:
    assert [number for number, met in enumerate(verdicts(events, requests, nodes)) if not met] == [
        missed
    ]


def test_a_request_counts_for_the_event_before_it() -> None:
    first, second = Event("a node joins", 5.0, 1.0, 1.0), HEAD
    requests = [a_request(1.0), a_request(6.0), a_request(7.0, 504), a_request(30.0)]
    found = meanwhile([first, second], first, requests)
    assert (found["requests"], found["lost"], found["why"]) == (2, 1, ["lost"])
    assert meanwhile([first, second], second, requests)["requests"] == 1


def test_a_replica_is_another_one_once_its_processes_are() -> None:
    old, new = {"actor": 1, "api": 2}, {"actor": 3, "api": 4}
    others = {"replica.2": old, "replica.3": old}
    assert same(old, dict(old)) and not same(old, new) and not same(old, None)
    assert another({"replicas": {"replica.1": new, **others}}, "replica.1", old)
    assert not another({"replicas": {"replica.1": old, **others}}, "replica.1", old)
    assert not another({"replicas": others}, "replica.1", old)


def test_requests_are_read_as_the_clients_wrote_them(tmp_path: Path) -> None:
    file = tmp_path / "asked.jsonl"
    lines = [[101.0, 0.5, 200, ""], [103.0, 30.0, 504, "<html>"]]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = asked(file, 100.0)
    assert [(one.at, one.status) for one in found] == [(1.0, 200), (3.0, 504)]
    assert statuses(found) == {"200": 1, "504": 1}


def test_nginx_asks_another_replica_where_one_broke_off_and_never_where_one_is_slow() -> None:
    (retried,) = [line for line in nginx_conf(8000).splitlines() if "proxy_next_upstream" in line]
    assert retried.split()[1:] == ["error", "http_502", "http_503", "non_idempotent;"]


def test_nodes_of_a_cluster_share_no_port_and_no_address(tmp_path: Path) -> None:
    nodes = [Node(Cluster(tmp_path), number) for number in range(3)]
    options = [
        {value for value in node.command() if value.startswith("--") and "port=" in value}
        | {f"--node-ip-address={node.address}"}
        for node in nodes
    ]
    assert not options[0] & options[1] and not options[1] & options[2]
    assert nodes[0].cores == 0 and "--head" in nodes[0].command()
    assert f"--address={nodes[0].address}:24000" in nodes[1].command()


def test_a_head_in_memory_and_one_without_patience_are_told_so_by_leaving_it_out(
    tmp_path: Path,
) -> None:
    usual = Cluster(tmp_path).environment()
    assert math.isclose(float(usual["RAY_gcs_rpc_server_reconnect_timeout_s"]), 86400)
    assert usual["RAY_gcs_storage_path"] == str(tmp_path / "gcs")
    without = Cluster(tmp_path, storage="memory", patient=False).environment()
    assert usual.keys() - without.keys() == {
        "RAY_gcs_storage_path", "RAY_gcs_rpc_server_reconnect_timeout_s",
    }  # fmt: skip
    assert without["RAY_AUTH_MODE"] == "token"


@pytest.mark.slow
def test_a_killed_head_leaves_no_process_and_starts_again_on_what_it_wrote(tmp_path: Path) -> None:
    # A raylet's socket has a path that is too long below most temporary folders of tests.
    folder = Path(f"/tmp/llmlab-head-{tmp_path.stat().st_ino}")
    folder.mkdir(0o700)
    cluster = Cluster(folder, first=61, ports=28000)
    cluster.make_token()
    assert stat.S_IMODE(cluster.token.stat().st_mode) == 0o600
    head = Node(cluster, 0)
    try:
        for _ in range(2):
            head.start()
            assert head.raylets()
            head.kill()
            assert head.processes() == []
            assert list((folder / "gcs").iterdir())
    finally:
        head.kill()
        shutil.rmtree(folder)
