"""The figures of a lab with nodes: what is made of what was seen. The nodes themselves:
test_machines.py."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import node_deaths, node_links, node_many, node_speed
from benchmarks.node_clients import Asked, read
from benchmarks.node_deaths import Shares, at_death, step
from benchmarks.nodes_page import markdown
from benchmarks.wrk import Turn


def a_request(at: float, model: str = "textrank", took: float = 0.1, status: int = 200) -> Asked:
    return Asked(at, took, status, model, "" if status == 200 else "lost")


def four_steps() -> list[dict[str, Any]]:
    return [{"percent": percent, "since": 0, "until": 9, "answers": 100, "found": percent + 0.5}
            for percent in node_deaths.STEPS]  # fmt: skip


def a_run(**other: Any) -> dict[str, Any]:
    death = node_deaths.Death("node", 30.0, 30.05, ("textrank.2",), 5.0, 6.0, 1.0)
    return {"lost": [], "deaths": [asdict(death)], "steps": four_steps(), "ledger": True, **other}


def missed(found: dict[str, Any]) -> list[int]:
    judged = node_deaths.judged("nodes die", found)
    return [number for number, one in enumerate(judged) if not one.met]


def test_all_is_met_where_nothing_was_lost() -> None:
    assert missed(a_run()) == []
    under_way = {"in_flight": True}  # on what was killed: that may be lost
    assert missed(a_run(lost=[under_way])) == []


@pytest.mark.parametrize(
    ("number", "other"),
    [
        (0, {"lost": [{"in_flight": False}]}),
        (1, {"deaths": [{"again": None}]}),
        (2, {"steps": [*four_steps(), {"percent": 99, "answers": 9, "found": 96.9}]}),
        (3, {"steps": four_steps()[:3]}),
        (3, {"steps": [*four_steps()[:3], {"percent": 99, "answers": 0, "found": None}]}),
        (4, {"ledger": False}),
    ],
)
def test_what_goes_wrong_is_missed_and_nothing_else_is(number: int, other: dict[str, Any]) -> None:
    assert missed(a_run(**other)) == [number]


def test_a_request_is_of_a_step_where_it_lies_within_that_alone() -> None:
    shares = Shares([(100.0, 5.0), (110.0, 25.0)])
    assert list(shares.spans(120.0)) == [(5.0, 101.5, 108.5), (25.0, 111.5, 118.5)]
    requests = [
        a_request(101.0), a_request(102.0), a_request(103.0, "twin"), a_request(108.45, "twin"),
        a_request(104.0, "twin", status=503),
    ]  # fmt: skip
    found = step(5.0, 1.5, 8.5, 100.0, requests)
    assert (found["answers"], found["found"]) == (2, 50.0)
    assert step(5.0, 50.0, 51.0, 100.0, requests)["found"] is None


def test_what_was_under_way_is_told_from_what_came_later() -> None:
    death = (30.0, 30.05)
    assert at_death(a_request(29.95), [death]) and at_death(a_request(30.03), [death])
    assert not at_death(a_request(29.0), [death]) and not at_death(a_request(30.06), [death])


def test_requests_are_read_as_the_clients_wrote_them(tmp_path: Path) -> None:
    file = tmp_path / "asked"
    found = [a_request(1.0), a_request(2.0, status=503)]
    file.write_text("".join(json.dumps(list(asdict(one).values())) + "\n" for one in found))
    assert read(file) == found


def test_ratios_are_those_of_pairs() -> None:
    slower = [Turn(50.0, 3.0), Turn(500.0, 2.5), Turn(45.0, 3.0)]
    found = node_links.beside([Turn(100.0, 1.0), Turn(1000.0, 1.0), Turn(100.0, 1.5)], slower)
    assert found == {"ratio": 0.5, "longer": 1.5}
    rates = {"local": [10.0, 100.0, 10.0], "node": [9.0, 96.0, 9.9]}
    assert node_speed.ratio(rates) == pytest.approx(0.96)
    (told,) = node_speed.judged({"found": [{"processes": 1, "ratio": 0.94}]})
    assert not told.met


def test_a_page_tells_of_every_part_and_of_those_alone_that_were_measured() -> None:
    part = {"date": "today", "took": 60, "load_before": 0.1, "load_after": 2.0, "quick": False}
    deaths = a_run(
        requests=9, seconds=300, statuses={"200": 8, "503": 1}, p50=0.01, p99=0.02, worst=3.0,
        rollout={"phase": "completed", "setbacks": 0},
        lost=[{"at": 1.0, "took": 0.5, "status": 503, "why": "a|b", "in_flight": False}],
    )  # fmt: skip
    where = {"processor": "x", "cores": 2, "memory_gb": 4.0, "system": "Linux"}
    document = {"machine": where, "ray": "2", "parts": {"nodes die": part | deaths}, "targets": []}
    page = markdown(document)
    assert "9 requests: 8 × 200, 1 × 503" in page
    assert "| 1.0 | 0.50 | 503 | a/b | no |" in page
    assert "| 30 | node | textrank.2 | 5.0 | 6.0 | 1 |" in page
    assert "## What a link costs" not in page and "smoke" not in page
    turn = [asdict(Turn(10.0, 1.0))]
    links = {"pairs": 1, "seconds": 1, "found": [
        {"what": "small", "clients": 1, "local": turn, "node": turn, "ratio": 0.8, "longer": 0.25}
    ]}  # fmt: skip
    document["parts"] = {"links": part | links | {"quick": True}}
    page = markdown(document)
    assert "| small | 1 | 10.0 | 10.0 | 0.80 | +0.25 |" in page
    assert "smoke run" in page and "## Machines that die" not in page


def test_200_replicas_are_known_to_both_nginx(tmp_path: Path) -> None:
    assert (1, 200) in node_many.SHAPES and (10, 20) in node_many.SHAPES
    found = node_many.sockets(tmp_path, {"a": 2, "b": 1})
    assert found == {"a": (f"unix:{tmp_path}/api/a.sock", f"unix:{tmp_path}/api/a.2.sock"),
                     "b": (f"unix:{tmp_path}/api/b.sock",)}  # fmt: skip
    memory = node_many.Memory(1.0, (2.0,))
    told = node_many.told({"render": 0.00012}, [0.5], memory, replace(memory, master=3.0), 2048)
    assert told["render"] == 0.0001 and told["master"] == [1.0, 3.0] and told["kilobytes"] == 2
