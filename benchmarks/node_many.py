"""200 replicas, of which there are none: what NGINX is told of them, at the gateway and at its side
of the links, how long it takes to write, to check and to go by, and the memory of NGINX."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.node_deaths import Say
from benchmarks.programs import Program
from benchmarks.systems import TOP, Failed, free_port
from llmlab.auth.keys import Algorithm, KeySet, generate
from llmlab.config import RateLimit
from llmlab.engines.local.staging import worker_user
from llmlab.gateway import GatewayPlan, Releases, Upstream, find_nginx, render
from llmlab.lab import Lab
from llmlab.links.authority import Authority
from llmlab.links.binary import for_links
from llmlab.links.conf import Link, Setting, Settlements, lab_files, lab_side
from llmlab.links.server import Server
from llmlab.processes import nginx_workers, take_requests
from llmlab.traffic import MOST_REPLICAS

# Deployments, and replicas of each: what a lab on one machine has, 200 in two ways, and as many as
# one deployment may have.
SHAPES = ((1, 2), (1, 200), (10, 20), (1, MOST_REPLICAS))
RELOADS = 3
POLL = 0.005  # seconds
PATIENCE = 60.0
MEGABYTE = 2**20
Timed = dict[str, float]


@dataclass(frozen=True)
class Memory:
    """Resident MB: of NGINX's master, and of each of its workers."""

    master: float
    workers: tuple[float, ...]

    @classmethod
    def of(cls, master: int) -> Memory:
        while not take_requests(nginx_workers(master)):
            time.sleep(POLL)
        found = sorted(mega(one) for one in nginx_workers(master) if take_requests([one]))
        return cls(mega(psutil.Process(master)), tuple(found))


def mega(process: psutil.Process) -> float:
    return round(process.memory_info().rss / MEGABYTE, 1)


def measured(folder: Path, say: Say) -> dict[str, Any]:
    folder.mkdir()
    found = []
    for number, (deployments, each) in enumerate(SHAPES):
        place = folder / f"{number}"
        place.mkdir()
        names = {f"model{one}": each for one in range(deployments)}
        one = {"deployments": deployments, "each": each,
               "gateway": gateway(place, names), "links": links(place, names)}  # fmt: skip
        say(f"{deployments} of {each}: {one['gateway']} {one['links']}")
        found.append(one)
    return {"found": found, "reloads": RELOADS}


def processes(name: str, many: int) -> list[str]:
    return [name, *(f"{name}.{number}" for number in range(2, many + 1))]


def sockets(folder: Path, names: Mapping[str, int]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(f"unix:{folder}/api/{one}.sock" for one in processes(name, many))
            for name, many in names.items()}  # fmt: skip


# --- the gateway ---------------------------------------------------------------------


def gateway(folder: Path, names: Mapping[str, int]) -> dict[str, Any]:
    """As it goes by them, and by one replica fewer, as many times as there are reloads."""
    prefix, nginx, port = folder / "gateway", find_nginx(), free_port()
    (prefix / "tmp").mkdir(parents=True)
    addresses = sockets(folder, names)
    plan = GatewayPlan(
        listen=f"127.0.0.1:{port}", stable=next(iter(names)),
        upstreams=tuple(Upstream(name, found, replicas=len(found))
                        for name, found in addresses.items()),
        rate_limit=RateLimit(enabled=False), max_body="1m", timeout=30, connections=0,
        worker_user=worker_user(), logs="tmp",
    )  # fmt: skip
    first = plan.upstreams[0]
    fewer = replace(first, servers=first.servers[:-1], replicas=first.replicas - 1)
    plans = [plan, replace(plan, upstreams=(fewer, *plan.upstreams[1:]))]
    releases = Releases(prefix / "releases", prefix)
    own = {"nginx.conf": (TOP / "nginx.conf").read_text(encoding="utf-8"),
           "llmapi.jwk": KeySet((generate(Algorithm.HS256),)).gateway_jwks()}  # fmt: skip
    times: Timed = {}
    files = timed(times, "render", lambda: render(plan))
    releases.activate(timed(times, "check", lambda: releases.stage(own | files, nginx)))
    command = nginx.command(prefix, releases.conf, "-g", "daemon off;")
    with Program(command, port, prefix / "log") as program:
        before, took = Memory.of(program.process.pid), []
        for number in range(RELOADS):
            changed = own | render(plans[(number + 1) % 2])
            releases.activate(releases.stage(changed, nginx))
            took.append(reloaded(program.process.pid))
        after = Memory.of(program.process.pid)
    return told(times, took, before, after, sum(map(len, files.values())))


def reloaded(master: int) -> float:
    """Seconds until new workers take all requests.

    Raises:
        Failed: they do not.
    """
    before, begin = nginx_workers(master), time.monotonic()
    os.kill(master, signal.SIGHUP)
    while take_requests(before) or not take_requests(nginx_workers(master)):
        if time.monotonic() - begin > PATIENCE:
            raise Failed("NGINX does not go by another configuration")
        time.sleep(POLL)
    took = time.monotonic() - begin
    while any(one.is_running() for one in before):  # memory is told of those that stay
        time.sleep(POLL)
    return took


# --- its side of the links -----------------------------------------------------------


def links(folder: Path, names: Mapping[str, int]) -> dict[str, Any]:
    """As it goes by them, and by one replica that is somewhere else, as many times as there are
    reloads. No machine is at the other end of a link."""
    for one in ("api", "links"):
        (folder / one).mkdir()
    lab, nginx = Lab(folder / "links"), for_links(find_nginx())
    lab.root.joinpath("configs").mkdir()
    back = Settlements(folder / "api" / "settlements", "127.0.0.1", free_port())
    setting = Setting(600, worker_user(), nginx.load_modules)
    authority = Authority(lab)
    files = lab_files(authority.gateway(), authority.away(names), authority.trusted)

    def all_of(moved: int) -> list[Link]:
        found = [Link(process, name, folder / "api" / f"{process}.sock", "127.0.0.1", 20000)
                 for name, many in names.items() for process in processes(name, many)]  # fmt: skip
        return [replace(found[0], port=21000 + moved), *found[1:]]

    times: Timed = {}
    text = timed(times, "render", lambda: lab_side(all_of(0), setting, back))
    pids: list[int] = []
    server = Server(lab.state / "server", nginx, lambda: pids[0] if pids else None)
    timed(times, "check", lambda: server.go_by(text, files))
    with Program(server.command, back.port, folder / "links.log") as program:
        pids.append(program.process.pid)
        server.wait_until_it_listens()
        before, took = Memory.of(pids[0]), []
        for number in range(RELOADS):
            begin = time.monotonic()
            server.go_by(lab_side(all_of(number + 1), setting, back), files)
            took.append(time.monotonic() - begin)
        after = Memory.of(pids[0])
    return told(times, took, before, after, len(text))


def timed(into: Timed, name: str, do: Callable[[], Any]) -> Any:
    begin = time.monotonic()
    found = do()
    into[name] = time.monotonic() - begin
    return found


def told(
    times: Timed, took: Sequence[float], before: Memory, after: Memory, letters: int
) -> dict[str, Any]:
    return {
        **{name: round(one, 4) for name, one in times.items()},
        "reload": [round(one, 3) for one in took], "kilobytes": round(letters / 1024),
        "master": [before.master, after.master], "workers": [before.workers, after.workers],
    }  # fmt: skip
