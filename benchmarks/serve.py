"""python -m benchmarks.serve: the same API behind Ray Serve's HTTP proxy, behind the HAProxy that
may stand in for that, and behind NGINX. Writes SERVE.md and serve.json.

The API is `llmlab.service` with the embedded model, one process of it. Ray Serve runs its
application in a replica of its own, as its documentation has it for FastAPI. They take turns
within each round. The load generator is wrk: https://github.com/wg/wrk
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.programs import Program, listens
from benchmarks.publishing import publish
from benchmarks.ray_bed import answers, nginx_conf
from benchmarks.report import digits, machine
from benchmarks.systems import Failed, free_port
from benchmarks.usage import tree
from llmlab.config import Model
from llmlab.gateway import find_nginx
from llmlab.service.settings import Settings

HERE = Path(__file__).parent
CLIENTS = (1, 32)
TEXT = "A lamp stands on the rock. Ships see it from afar."
NGINX, SERVE, HAPROXY = "NGINX", "Ray Serve", "Ray Serve with HAProxy"
SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Content-Type"] = "application/json"
"""


@dataclass(frozen=True)
class Found:
    """Of one turn: requests/s, milliseconds to an answer, and those of a core for each request,
    of all processes between the client and the answer together."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Way:
    """Where it is asked, and what runs for it."""

    port: int
    roots: tuple[psutil.Process, ...]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not shutil.which("wrk"):
        sys.exit("Error: wrk is not installed\nFix: apt-get install wrk")
    if not importlib.util.find_spec("ray") or not importlib.util.find_spec("grpc"):
        sys.exit("Error: Ray Serve is not installed\nFix: pip install 'llmlab[bench]'")
    publish("serve", options.to, lambda folder: measured(folder, quick=options.quick), markdown)


def measured(folder: Path, *, quick: bool) -> dict[str, Any]:
    begin = time.monotonic()
    rounds, seconds = (1, 2) if quick else (3, 8)
    found: dict[tuple[int, str], list[Found]] = {}
    folder.chmod(0o755)  # NGINX's workers are somebody else
    with running(folder) as ways:
        for one in ways.values():
            turn(folder, one, max(CLIENTS), 2)  # connections and caches
        for number in range(rounds):
            for clients in CLIENTS:
                for way, one in ways.items():
                    got = turn(folder, one, clients, seconds)
                    found.setdefault((clients, way), []).append(got)
            print(f"{time.monotonic() - begin:6.0f} s  round {number + 1}", file=sys.stderr)
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": quick, "machine": machine(),
        "seconds": round(time.monotonic() - begin), "ray": importlib.metadata.version("ray"),
        "load": round(os.getloadavg()[0], 1),
        "found": [{"clients": clients, "way": way, "rounds": [asdict(one) for one in turns]}
                  for (clients, way), turns in found.items()],
    }  # fmt: skip


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Way]]:
    settings = folder / "settings.json"
    api, front, serve, haproxy = free_port(), free_port(), free_port(), free_port()
    model = Model(runtime="extractive", source="embedded:textrank")
    settings.write_text(
        Settings(deployment="textrank", name="textrank", model=model).model_dump_json()
    )
    (folder / "tmp").mkdir()
    (folder / "nginx.conf").write_text(nginx_conf(front))
    (folder / "servers.conf").write_text(f"server 127.0.0.1:{api} max_fails=0;\n")
    nginx = find_nginx().command(folder, folder / "nginx.conf", "-g", "daemon off;")
    serving = [sys.executable, "-m", "benchmarks.servers.rayserve_api", str(settings)]
    commands = {
        api: [sys.executable, "-P", "-m", "llmlab.service", str(settings), "--port", str(api)],
        front: nginx,
        serve: [*serving, str(serve), str(folder / "ray"), "proxy"],
        haproxy: [*serving, str(haproxy), str(folder / "rayh"), "haproxy"],
    }  # fmt: skip
    with ExitStack() as stack:
        runs = {}
        for port, command in commands.items():
            program = Program(command, port, folder / f"{port}.log", _ready(port, front))
            runs[port] = psutil.Process(stack.enter_context(program).process.pid)
        yield {
            NGINX: Way(front, (runs[front], runs[api])),
            SERVE: Way(serve, (runs[serve],)),
            HAPROXY: Way(haproxy, (runs[haproxy],)),
        }


def _ready(port: int, front: int) -> Any:
    return listens if port == front else lambda port: answers(f"http://127.0.0.1:{port}")


def turn(folder: Path, way: Way, clients: int, seconds: int) -> Found:
    """
    Raises:
        Failed: a request was not answered well.
    """
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(body=json.dumps({"text": TEXT})))
    before = spent(way)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script),
         f"http://127.0.0.1:{way.port}/summarize/"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    used = spent(way) - before
    counted = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    at = {each: re.search(rf"{each}%\s+([\d.]+)(us|ms|s)", done.stdout) for each in (50, 99)}
    many = int(counted[1]) if counted else 0
    if done.returncode or not many or not rate or "Non-2xx" in done.stdout:
        raise Failed(f"port {way.port}: {done.stdout}{done.stderr}")
    scale = {"us": 1e-3, "ms": 1.0, "s": 1e3}
    took = {each: float(one[1]) * scale[one[2]] for each, one in at.items() if one}
    return Found(float(rate[1]), took[50], took[99], 1e3 * used / many)


def spent(way: Way) -> float:
    """CPU-seconds of all of its processes together."""
    return sum(sum(one.cpu_times()[:2]) for one in tree(list(way.roots)))


# --- for people ----------------------------------------------------------------------


def markdown(document: Mapping[str, Any]) -> str:
    where = document["machine"]
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    found = {
        (one["clients"], one["way"]): [Found(**each) for each in one["rounds"]]
        for one in document["found"]
    }
    rows = [
        f"| {clients} | {way} | {_spread([one.rate for one in turns])} "
        f"| {_spread([one.p50 for one in turns])} | {_spread([one.p99 for one in turns])} "
        f"| {_spread([one.cpu for one in turns])} |"
        for (clients, way), turns in found.items()
    ]
    ratios = [
        f"- {clients} client{'s' if clients > 1 else ''}, {way}: "
        f"{_ratio(found, clients, way, 'rate'):.2f} times as many requests/s as by NGINX, and "
        f"{_ratio(found, clients, way, 'cpu'):.1f} times the CPU for each."
        for clients in CLIENTS
        for way in (SERVE, HAPROXY)
    ]
    return "\n".join([
        "# The same API behind Ray Serve, and behind NGINX", quick,
        f"{document['date']}; one run of `make bench-serve`, {document['seconds']} s. "
        f"Ray {document['ray']}.\n{where['processor']}, {where['cores']} cores, "
        f"{where['memory_gb']:g} GB, {where['system']}; load at the end {document['load']:g}.\n",
        "One process with the embedded model and a text of two sentences, so that what is between "
        "client and\nmodel is most of it. wrk, of the same machine. Medians of the rounds, and in "
        "brackets the lowest and the\nhighest. The machine had other work as well: the CPU for "
        "each request is what that disturbs least.\n",
        "| clients | | requests/s | ms, p50 | ms, p99 | ms of a core for each |",
        "| ---: | --- | ---: | ---: | ---: | ---: |",
        *rows, "", *ratios, "",
    ])  # fmt: skip


def _ratio(
    found: Mapping[tuple[int, str], Sequence[Found]], clients: int, way: str, of: str
) -> float:
    """The median of the rounds: they took turns within each."""
    pairs = zip(found[clients, way], found[clients, NGINX], strict=True)
    return median(getattr(one, of) / getattr(nginx, of) for one, nginx in pairs)


def _spread(values: Sequence[float]) -> str:
    middle = digits(median(values))
    return middle if len(values) == 1 else f"{middle} ({digits(min(values))}–{digits(max(values))})"


if __name__ == "__main__":
    main()
