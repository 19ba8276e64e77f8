"""Who served a request: from the logs and the ledger, of a lab that runs or is down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from llmlab.delivery import noting
from llmlab.delivery.request_logs import Found, in_files
from llmlab.delivery.telling import routed_by, timings
from llmlab.delivery.tracing import History, ServedBy, trace
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.runtimes.extractive import identity
from llmlab.traffic import Deployed, Route, Share, Split
from tests.api import SENTENCE
from tests.conftest import LabUnderTest
from tests.summarizing import summarizing

HASH = f"sha256:{'a1' * 32}"
OTHER = f"sha256:{'b2' * 32}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The ledger of a lab that was brought up, and whose rollout is at its second step."""
    store = Store(Lab(tmp_path))
    up = LabStatus(
        "lab", "local", True, True, GatewayStatus("http://127.0.0.1:8000", True, "RUNNING"),
        (DeploymentStatus("old", "old", OTHER, "extractive", True, 100, "RUNNING"),),
    )  # fmt: skip
    noting.lab_is_up(store, up, {"summarize": "old"})
    store.change(
        "rollout", {"number": 3},
        lambda _: summarizing(
            rollout=3, step=2, deployments=(Deployed("new", "new:1", rollout=3),),
            split=Split((Share("new", 25.0),), salt="3"),
        ),
        "the second step", who="alice",
    )  # fmt: skip
    return store


def history(store: Store) -> History:
    return History(store, lambda model_id: "new:1" if model_id == HASH else "")


def line(**values: Any) -> dict[str, Any]:
    """A line of the gateway's log."""
    now = time.time()
    return {
        "time": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"), "at": now,
        "request_id": "r1", "subject": "bob", "deployment": "new", "model": "new-1",
        "method": "POST", "path": "/summarize/", "status": 200, "seconds": 0.25,
        "upstream_seconds": "0.240", "upstream_status": "200", "rule": "split",
        "route": "summarize", "revision": 2, "flags": "short=on,other=off", "trace_id": "4b" * 16,
        "timing": "queue;dur=12.5", "cache": "miss",
    } | values  # fmt: skip


def api_line(**values: Any) -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"), "request_id": "r1",
        "subject": "bob", "path": "/summarize/", "status": 200, "seconds": 0.239,
        "deployment": "new", "model_id": HASH,
    } | values  # fmt: skip


# --- What is told --------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "route", "told"),
    [
        ("split", "summarize", "summarize: split (new 25 %, old 75 %)"),
        ("stable", "summarize", "summarize: stable (new 25 %, old 75 %)"),
        ("model", "", "model: it asks for new itself"),
        ("header", "", "header: it asks for new itself"),
        ("flag", "summarize", "summarize: flag, whatever the shares are"),
        ("", "summarize", ""),
    ],
)
def test_the_shares_are_told_where_a_request_went_by_them(
    store: Store, rule: str, route: str, told: str
) -> None:
    (found,) = trace(Found([line(rule=rule, route=route)]), history(store), ["r1"])
    assert routed_by(found) == told


def test_a_trace_names_model_route_weights_step_flags_and_timings(store: Store) -> None:
    (found,) = trace(Found([line()], [api_line()]), history(store), ["r1"])
    assert found.served_by == ServedBy("new", "new-1", HASH, "new:1", "api")
    assert (found.rule, found.route) == ("split", "summarize")
    assert (found.revision, found.rollout, found.step) == (2, 3, 2)
    assert found.weights == {"new": 25.0, "old": 75.0}
    assert found.flags == {"short": True, "other": False}
    assert (found.trace_id, found.cache) == ("4b" * 16, "miss")
    assert (found.timings.total, found.timings.upstream) == (0.25, (0.24,))
    assert (found.timings.queue, found.timings.api) == (0.0125, 0.239)
    assert found.entry and (found.entry["seq"], found.entry["who"]) == (2, "alice")
    assert found.entry["why"] == "the second step"


def test_a_request_from_before_any_change_went_by_lab_toml(store: Store) -> None:
    (found,) = trace(
        Found([line(revision=0, deployment="old", rule="stable")]), history(store), ["r1"]
    )
    assert found.weights == {"old": 100.0}
    assert (found.rollout, found.entry) == (0, None)


def test_a_line_of_before_there_were_several_routes_is_traced_as_ever(store: Store) -> None:
    old = line(route="split")
    del old["rule"]
    (found,) = trace(Found([old]), history(store), ["r1"])
    assert (found.rule, found.route) == ("split", "summarize")
    assert routed_by(found) == "summarize: split (new 25 %, old 75 %)"


def test_an_up_of_before_there_were_several_routes_says_what_was_stable(tmp_path: Path) -> None:
    store = Store(Lab(tmp_path))
    store.note("lab", {"did": "up", "engine": "local", "url": "", "stable": "old",
                       "deployments": {}})  # fmt: skip
    (found,) = trace(Found([line(revision=0, deployment="old")]), history(store), ["r1"])
    assert found.weights == {"old": 100.0}


def test_each_request_is_told_the_shares_of_its_own_route(store: Store) -> None:
    store.change(
        "rollout", {"number": 4},
        lambda traffic: traffic.with_route(
            "chat", Route(split=Split((Share("new", 10.0),)), rollout=4, step=1)
        ),
        "the first step",
    )  # fmt: skip
    told = History(store, lambda _: "", stable={"chat": "smol"})
    asked = line(request_id="r2", route="chat", revision=3, deployment="smol", rule="split")
    of_summarize, of_chat = trace(
        Found([line(revision=3, deployment="old"), asked]), told, ["r1", "r2"]
    )
    assert (of_summarize.rollout, of_summarize.step) == (3, 2)
    assert of_summarize.weights == {"new": 25.0, "old": 75.0}
    assert (of_chat.rollout, of_chat.step, of_chat.weights["new"]) == (4, 1, 10.0)
    assert routed_by(of_chat).startswith("chat: split (new 10 %, ")


def test_without_the_apis_line_the_ledger_says_which_model_it_was(store: Store) -> None:
    (found,) = trace(Found([line(deployment="old", model="old")]), history(store), ["r1"])
    assert found.served_by == ServedBy("old", "old", OTHER, "", "ledger")


def test_of_a_deployment_that_came_after_the_labs_up_the_ledger_has_the_version(
    store: Store,
) -> None:
    (found,) = trace(Found([line()]), history(store), ["r1"])
    assert found.served_by == ServedBy("new", "new-1", "", "new:1", "ledger")


def test_a_request_that_the_gateway_refused_was_served_by_nobody(store: Store) -> None:
    refused = line(
        deployment="", model="", status=429, upstream_seconds="", upstream_status="", rule="",
        route="", flags="", timing="",
    )  # fmt: skip
    (found,) = trace(Found([refused]), history(store), ["r1"])
    assert (found.served_by, found.flags) == (ServedBy(""), {})
    assert (found.timings.upstream, found.timings.queue) == ((), None)


def test_each_try_is_told(store: Store) -> None:
    tried = line(upstream_seconds="0.001, 0.240", upstream_status="502, 200")
    (found,) = trace(Found([tried]), history(store), ["r1"])
    assert found.upstream_status == ("502", "200")
    assert found.timings.upstream == (0.001, 0.24)


def test_no_part_is_told_as_longer_than_the_whole(store: Store) -> None:
    rounded = line(seconds=0.007, upstream_seconds="0.008")
    (found,) = trace(Found([rounded]), history(store), ["r1"])
    assert timings(found).startswith("0.007 s, upstream 0.007 s")
    assert found.timings.upstream == (0.008,), "programs get what the log has"


def test_all_requests_of_one_id_are_told_each_with_its_own_model(store: Store) -> None:
    now = time.time()
    then = datetime.fromtimestamp(now - 60, UTC).isoformat(timespec="seconds")
    found = trace(
        Found(
            [line(at=now), line(at=now - 60)],
            [api_line(model_id=OTHER, time=then), api_line(model_id=HASH)],
        ),
        history(store), ["r1"],
    )  # fmt: skip
    assert [one.served_by.model_id for one in found] == [OTHER, HASH]
    assert [one.at for one in found] == sorted(one.at for one in found)


def test_what_was_mirrored_is_not_taken_for_what_was_answered(store: Store) -> None:
    shadow = api_line(path="/shadow/", model_id=OTHER)
    (found,) = trace(Found([line()], [shadow, api_line()]), history(store), ["r1"])
    assert found.served_by.model_id == HASH


def test_a_revision_of_another_ledger_leaves_the_weights_open(store: Store) -> None:
    (found,) = trace(Found([line(revision=99)]), history(store), ["r1"])
    assert (found.weights, found.entry, found.revision) == ({}, None, 99)


# --- The files -----------------------------------------------------------------


def write(file: Path, *lines: dict[str, Any], compact: bool = True) -> None:
    separators = (",", ":") if compact else None
    texts = [json.dumps(one, separators=separators) for one in lines]
    file.write_text("".join(f"{text}\n" for text in texts))


def test_rotated_files_are_searched_too_and_it_is_told_back_to_when(tmp_path: Path) -> None:
    write(tmp_path / "gateway.log", line(request_id="new"))
    write(tmp_path / "gateway.log.1", line(request_id="r1"), line(request_id="r2"))
    write(tmp_path / "gateway.log.3", line(request_id="old", time="2026-01-01T00:00:00+00:00"))
    write(tmp_path / "api-new.log.2", api_line(), api_line(request_id="other"), compact=False)
    write(tmp_path / "api-new.error.log", api_line())
    found = in_files(tmp_path, ["r1", "old"])
    assert [one["request_id"] for one in found.gateway] == ["r1", "old"]
    assert [one["request_id"] for one in found.api] == ["r1"]
    assert found.since == "2026-01-01T00:00:00+00:00"
    assert len(found.searched) == 4


def test_an_id_is_found_only_where_it_is_the_requests(tmp_path: Path) -> None:
    write(
        tmp_path / "gateway.log",
        line(request_id="r11"), line(request_id="r2", subject='"request_id":"r1"'),
        line(request_id="r2", path='/x?"request_id":"r1'),
    )  # fmt: skip
    with (tmp_path / "gateway.log").open("a") as log:
        log.write('no json "request_id":"r1"\n{"request_id":"r1", "half')
    assert in_files(tmp_path, ["r1"]).gateway == []


def test_a_line_that_is_in_two_files_while_they_rotate_is_told_once(tmp_path: Path) -> None:
    one = line()
    write(tmp_path / "gateway.log", one)
    write(tmp_path / "gateway.log.1", one)
    assert len(in_files(tmp_path, ["r1"]).gateway) == 1


@pytest.mark.slow
def test_a_thousand_requests_in_full_logs_are_found_in_a_few_seconds(
    tmp_path: Path, store: Store
) -> None:
    """Four files of 10 MB, as supervisord rotates them, and as many of the API."""
    logs = tmp_path / "logs"
    logs.mkdir()
    number = 0
    for suffix in (".3", ".2", ".1", ""):
        lines: list[dict[str, Any]] = []
        size = 0
        while size < 10_000_000:
            lines.append(line(request_id=f"request-{number}"))
            size += 480
            number += 1
        write(logs / f"gateway.log{suffix}", *lines)
        ids = (one["request_id"] for one in lines)
        write(logs / f"api-new.log{suffix}", *(api_line(request_id=one) for one in ids))
    ids = [f"request-{one}" for one in range(0, number, number // 1000)][:1000]
    start = time.monotonic()
    found = trace(in_files(logs, ids), history(store), ids)
    assert time.monotonic() - start < 15
    assert [one.request_id for one in found] == ids
    assert {one.served_by.model_id for one in found} == {HASH}


# --- The verb ------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(lab: LabUnderTest) -> tuple[LabUnderTest, str]:
    """A running lab, and the id of a request that it answered."""
    with lab.client("alice") as client:
        response = client.post("/summarize/", json={"text": SENTENCE})
    return lab, response.headers["X-Request-ID"]


def test_a_request_of_a_running_lab_is_traced(served: tuple[LabUnderTest, str]) -> None:
    lab, request_id = served
    found = lab.traced(request_id)
    assert found["served_by"] == {
        "deployment": "textrank", "model": "textrank", "model_id": identity(), "version": "",
        "told_by": "api", "upstream": "", "fingerprint": "",
    }  # fmt: skip
    assert (found["subject"], found["status"], found["path"]) == ("alice", 200, "/summarize/")
    assert found["weights"] == {"textrank": 100.0}
    assert found["timings"]["total"] > 0
    assert found["timings"]["api"] > 0
    out = lab.ok("trace", request_id)
    assert f"textrank: textrank@{identity().removeprefix('sha256:')[:12]}" in out
    assert "alice" in out


def test_an_unknown_request_is_an_error_that_says_what_was_searched(
    served: tuple[LabUnderTest, str],
) -> None:
    lab, request_id = served
    done = lab.run("trace", "unknown-1", request_id)
    assert done.returncode == 1
    assert "no log tells of the request 'unknown-1'" in done.stderr
    assert "Searched: gateway.log, " in done.stderr
    assert f" in {lab.lab.logs}; back to 20" in done.stderr
    assert request_id in done.stdout


def test_an_answer_from_the_cache_is_traced_as_one(lab: LabUnderTest) -> None:
    body = {"text": f"{SENTENCE} It is told twice."}
    with lab.client("carol") as client:
        first, second = (
            client.post("/summarize/", json=body).headers["X-Request-ID"] for _ in range(2)
        )
    assert [lab.traced(one)["cache"] for one in (first, second)] == ["miss", "hit"]
    assert "cache      hit: the answer to an equal request before" in lab.ok("trace", second)
    assert "cache" not in lab.ok("trace", first)


def test_requests_of_a_running_lab_are_listed_by_what_they_were(lab: LabUnderTest) -> None:
    with lab.client("lister") as client:
        asked = [client.post("/summarize/", json={"text": text}).headers["X-Request-ID"]
                 for text in ("One. Two. Three.", "")]  # fmt: skip
    lab.traced(asked[1])
    found = lab.json("trace", "--subject", "lister")
    assert [one["request_id"] for one in found] == asked[::-1]
    (wrong,) = lab.json("trace", "--subject", "lister", "--status", "4xx", "--since", "1h")
    assert wrong["request_id"] == asked[1]
    assert asked[0] in lab.ok("trace", "--last", "5", "-m", "textrank", "--subject", "lister")
    done = lab.run("trace", "--subject", "nobody-ever")
    assert (done.returncode, done.stdout) == (0, "")
    assert "No request in the logs is such a one." in done.stderr
    assert lab.run("trace", asked[0], "--last", "5").returncode == 2
    assert lab.run("trace", "--status", "many").returncode == 2


def test_every_request_of_a_run_is_traced(lab: LabUnderTest) -> None:
    ids = [f"run-{number}" for number in range(1000)]
    with lab.client() as client:
        for one in ids:
            response = client.post(
                "/summarize/", json={"text": SENTENCE}, headers={"X-Request-ID": one}
            )
            assert response.status_code == 200
    lab.traced(ids[-1])
    done = lab.run("trace", "-", "-o", "json", stdin="\n".join(ids))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["request_id"] for one in found] == ids
    assert {one["served_by"]["model_id"] for one in found} == {identity()}


def test_the_logs_of_a_lab_that_is_down_answer_too(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab()
    lab.ok("up")
    with lab.client() as client:
        headers = {"X-Request-ID": "before-the-end"}
        client.post("/summarize/", json={"text": SENTENCE}, headers=headers)
    lab.ok("down")
    found = lab.traced("before-the-end")
    assert found["served_by"]["model_id"] == identity()
