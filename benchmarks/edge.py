"""python -m benchmarks.edge: what TLS, API keys and budgets cost at the gateway. Writes EDGE.md and
edge.json.

One NGINX each, with the same configuration but for the one thing that is measured, in front of an
upstream that costs next to nothing. They take turns within each round, so that a machine that is
slower for a while is so for all. The load generator is wrk: https://github.com/wg/wrk
"""

from __future__ import annotations

import argparse
import grp
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.programs import Program
from benchmarks.publishing import publish
from benchmarks.report import digits, machine
from benchmarks.systems import TOP, Failed, free_port
from benchmarks.targets import Judgement
from benchmarks.usage import tree
from llmlab.auth import Claims, api_keys, mint
from llmlab.auth.api_keys import ApiKey
from llmlab.auth.keys import Algorithm, KeySet, generate
from llmlab.config import RateLimit
from llmlab.config.budgets import Budget
from llmlab.gateway import GatewayPlan, Releases, TlsFront, Upstream, find_nginx, render
from llmlab.tls.authority import Authority
from llmlab.tls.pair import now

HERE = Path(__file__).parent
CLIENTS = 32
PLENTY = 10**12  # tokens: a budget that refuses nobody is counted as any other
TEXT = "A lamp stands on the rock, and the ships that pass by at night see it from afar. " * 6
ASKED = {
    "summaries": ("/summarize/", {"text": TEXT}),
    "chat": ("/v1/chat/completions",
             {"model": "chat", "messages": [{"role": "user", "content": TEXT}], "max_tokens": 64}),
}  # fmt: skip
# What is measured -> the most that a request may cost, as a multiple of a token's over plain HTTP.
WANTED = {"TLS": 1.15, "API key": 1.03, "budgets": 1.05}
PLAIN = "token"
SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Authorization"] = "Bearer {secret}"
wrk.headers["Content-Type"] = "application/json"
"""
UPSTREAM = """\
pid upstream.pid;
worker_processes 1;
error_log stderr;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
    uwsgi_temp_path tmp; scgi_temp_path tmp;
    keepalive_requests 1000000000;
    server {{
        listen unix:{socket};
        listen 127.0.0.1:{port};
        default_type application/json;
        add_header X-Usage "120 40";
        location / {{ return 200 '{{"summary": "A lamp."}}'; }}
    }}
}}
"""


@dataclass(frozen=True)
class Gateway:
    """One that is measured, and how it is asked."""

    name: str
    plan: GatewayPlan
    keys: KeySet
    secret: str = field(repr=False)

    @property
    def url(self) -> str:
        return f"{'https' if self.plan.tls else 'http'}://{self.plan.listen}"


@dataclass(frozen=True)
class Found:
    """Of one turn: requests/s, and NGINX's CPU for one in microseconds."""

    rate: float
    cpu: float


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of half a minute")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    if not shutil.which("wrk"):
        sys.exit("Error: wrk is not installed\nFix: apt-get install wrk")
    publish("edge", options.to, lambda folder: measured(folder, quick=options.quick), markdown)


def measured(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Everything that was measured, and where."""
    begin = time.monotonic()
    rounds, seconds = (1, 2) if quick else (7, 4)
    found: dict[tuple[str, str], list[Found]] = {}
    folder.chmod(0o755)  # NGINX's workers are somebody else
    with running(folder) as gateways:
        for one, process in gateways:
            for what in ASKED:
                turn(folder, one, process, what, 1)  # connections and caches
        for number in range(rounds):
            for what in ASKED:
                for one, process in gateways:
                    got = turn(folder, one, process, what, seconds)
                    found.setdefault((what, one.name), []).append(got)
            said = ", ".join(f"{name} {found['chat', name][-1].rate:.0f}/s" for name in names())
            print(f"{time.monotonic() - begin:6.0f} s  round {number + 1}: {said}",
                  file=sys.stderr, flush=True)  # fmt: skip
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": quick, "machine": machine(),
        "seconds": round(time.monotonic() - begin),
        "found": [{"what": what, "way": name, "rounds": [asdict(one) for one in turns]}
                  for (what, name), turns in found.items()],
        "targets": [asdict(one) for one in judged(found)],
    }  # fmt: skip


def names() -> list[str]:
    return [PLAIN, *WANTED]


def judged(found: Mapping[tuple[str, str], Sequence[Found]]) -> list[Judgement]:
    """The targets: by how much more of the machine a request takes, of turns of the same round."""
    return [
        Judgement(f"{what}, {name}: requests/s with a token alone beside these", f"≤ {most:g}",
                  ratio, ratio <= most)
        for what in ASKED for name, most in WANTED.items()
        for ratio in [times(found[what, PLAIN], found[what, name], "rate")]
    ]  # fmt: skip


def times(plain: Sequence[Found], other: Sequence[Found], of: str) -> float:
    """The median of the rounds: how many times as much a request takes."""
    pairs = zip(plain, other, strict=True)
    if of == "rate":
        return median(one.rate / two.rate for one, two in pairs)
    return median(two.cpu / one.cpu for one, two in pairs)


# --- what runs ----------------------------------------------------------------------


@contextmanager
def running(folder: Path) -> Iterator[list[tuple[Gateway, psutil.Process]]]:
    """All gateways, and the upstream of them all."""
    me = pwd.getpwuid(os.geteuid())
    user = f"{me.pw_name} {grp.getgrgid(me.pw_gid).gr_name}" if me.pw_uid == 0 else ""
    nginx, socket, port = find_nginx(), folder / "api.sock", free_port()
    conf = UPSTREAM.format(socket=socket, port=port, user=f"user {user};" if user else "")
    (folder / "tmp").mkdir()
    (folder / "upstream.conf").write_text(conf)
    started = []
    with ExitStack() as stack:
        command = nginx.command(folder, folder / "upstream.conf", "-g", "daemon off;")
        stack.enter_context(Program(command, port, folder / "upstream.log"))
        for one in gateways(socket, user):
            prefix = folder / one.name.replace(" ", "-")
            (prefix / "tmp").mkdir(parents=True)
            releases = Releases(prefix / "releases", prefix)
            files = {"nginx.conf": (TOP / "nginx.conf").read_text(),
                     "llmapi.jwk": one.keys.gateway_jwks(), **render(one.plan)}  # fmt: skip
            releases.activate(releases.stage(files, nginx))
            command = nginx.command(prefix, releases.conf, "-g", "daemon off;")
            where = int(one.plan.listen.rpartition(":")[2])
            program = stack.enter_context(Program(command, where, prefix / "log"))
            started.append((one, psutil.Process(program.process.pid)))
        yield started


def gateways(socket: Path, user: str) -> Iterator[Gateway]:
    signing = generate(Algorithm.HS256)
    keys = KeySet((signing,))
    token = mint(signing, Claims(sub="ada"))
    key, digest = api_keys.make()
    with_key = replace(
        keys, api=(ApiKey(digest, "ada", int(time.time())),),
        signer=generate(Algorithm.HS256, kid=api_keys.SIGNER),
    )  # fmt: skip
    pair = Authority.make(["127.0.0.1"], now(), label="bench").sign(["127.0.0.1"], now())
    plain = GatewayPlan(
        listen="", stable="echo", further={"chat": "echo"},
        upstreams=(Upstream("echo", (f"unix:{socket}",)),),
        rate_limit=RateLimit(enabled=False), max_body="1m", timeout=30, connections=0,
        worker_user=user, logs="tmp",
    )  # fmt: skip
    budget = Budget(tokens_per_minute=PLENTY, tokens_per_day=PLENTY)

    def at(**more: Any) -> GatewayPlan:
        port = free_port()
        if "tls" in more:
            more["tls"] = TlsFront(pair.certificate, pair.key, port=port)
        return replace(plain, listen=f"127.0.0.1:{port}", **more)

    yield Gateway(PLAIN, at(), keys, token)
    yield Gateway("TLS", at(tls=True), keys, token)
    yield Gateway("API key", at(api_keys=with_key.api_tokens()), with_key, key)
    yield Gateway("budgets", at(budgets=(budget,)), keys, token)


def turn(folder: Path, one: Gateway, process: psutil.Process, what: str, seconds: int) -> Found:
    """
    Raises:
        Failed: a request was not answered well.
    """
    path, body = ASKED[what]
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(body=json.dumps(body), secret=one.secret))
    before = spent(process)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "-s", str(script), one.url + path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    used = spent(process) - before
    counted = re.search(r"(\d+) requests in", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if done.returncode or not counted or not rate or "Non-2xx" in done.stdout:
        raise Failed(f"{one.name}, {what}: {done.stdout}{done.stderr}")
    return Found(float(rate[1]), 1e6 * used / int(counted[1]))


def spent(process: psutil.Process) -> float:
    """CPU-seconds of NGINX, all of its processes together."""
    return sum(sum(one.cpu_times()[:2]) for one in tree([process]))


# --- for people ----------------------------------------------------------------------


def markdown(document: Mapping[str, Any]) -> str:
    where = document["machine"]
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    found = {
        (one["what"], one["way"]): [Found(**each) for each in one["rounds"]]
        for one in document["found"]
    }
    targets = [
        f"| {one['what']} | {one['wanted']} | {digits(one['found'])} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    rows = [
        f"| {what} | {name} | {_spread([one.rate for one in turns])} "
        f"| {_spread([one.cpu for one in turns])} "
        f"| {digits(times(found[what, PLAIN], turns, 'cpu'))} |"
        for (what, name), turns in found.items()
    ]
    return "\n".join([
        "# What TLS, API keys and budgets cost at the gateway", quick,
        f"{document['date']}; one run of `make bench-edge`, {document['seconds'] / 60:.0f} "
        f"minutes.\n{where['processor']}, {where['cores']} cores, {where['memory_gb']:g} GB, "
        f"{where['system']}.\n",
        f"{CLIENTS} clients that keep their connections ask one NGINX each, by the same "
        "configuration but for the\none thing that is measured, in front of an upstream that costs "
        "next to nothing: so this is the whole\nof what a gateway can pass, and a model's answer "
        "takes a hundred times as much. Figures are the median\nof all rounds, and in brackets the "
        "lowest and the highest.\n",
        "| | wanted | found | |", "| --- | --- | ---: | --- |", *targets, "",
        "| | | requests/s | NGINX's CPU for one, µs | times a token's |",
        "| --- | --- | ---: | ---: | ---: |", *rows, "",
    ])  # fmt: skip


def _spread(values: Sequence[float]) -> str:
    middle = digits(median(values))
    return middle if len(values) == 1 else f"{middle} ({digits(min(values))}–{digits(max(values))})"


if __name__ == "__main__":
    main()
