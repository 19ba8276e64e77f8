"""What an experiment with machines runs on: nodes, replicas, the placer, NGINX, clients."""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.programs import Program
from benchmarks.ray_nodes import Cluster, Node
from benchmarks.ray_placing import NOBODY, Plan
from benchmarks.systems import TOP, Failed, free_port
from llmlab.config import Model
from llmlab.gateway import find_nginx
from llmlab.service.settings import Settings

REPLICAS = 3
CLIENTS = 20
PATIENCE = 90.0  # seconds until what should happen has happened
NEVER = float("inf")
CONF = """\
pid nginx.pid;
worker_processes 1;
error_log error.log;
{user}
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp;
    uwsgi_temp_path tmp; scgi_temp_path tmp;
    upstream replicas {{ zone replicas 64k; include servers.conf; keepalive 16; }}
    # A reload keeps a client's connection until its next request, as the lab's own gateway does.
    keepalive_min_timeout 30s;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://replicas;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            # What breaks off is asked of another one: a summary changes nothing.
            proxy_next_upstream error http_502 http_503 non_idempotent;
            proxy_connect_timeout 4s;
            proxy_read_timeout 30s;
        }}
    }}
}}
"""
Look = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request: when it began, after the load did, and how long it took, in seconds."""

    at: float
    took: float
    status: int
    why: str


class Bed:
    """A running cluster with its replicas. ``nodes`` are those that were started, by number."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.folder = cluster, cluster.folder
        self.nodes: dict[int, Node] = {}
        self.port = free_port()
        self.placers = 0  # that were started
        self.asked = self.folder / "asked.jsonl"
        self._seen = self.folder / "seen.jsonl"

    def join(self, number: int) -> Node:
        self.nodes[number] = node = Node(self.cluster, number)
        node.start()
        return node

    @contextlib.contextmanager
    def ended(self) -> Iterator[None]:
        """Nothing of any node is left when the block is over, whatever happened in it."""
        try:
            yield
        finally:
            for node in self.nodes.values():
                node.kill()

    @property
    def head(self) -> Node:
        return self.nodes[0]

    def node_of(self, name: str) -> Node:
        """The one on which a replica runs, as the last look found it."""
        host = self.look()["replicas"][name]["host"]
        return next(one for one in self.nodes.values() if one.address == host)

    # --- what is seen

    def look(self) -> Look:
        """The placer's last whole look."""
        looks = self.looks()
        return looks[-1] if looks else {"moment": 0.0, "replicas": {}, "nodes": [], "why": []}

    def looks(self) -> list[Look]:
        with contextlib.suppress(FileNotFoundError):
            text = self._seen.read_text(encoding="utf-8")
            return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        return []

    def until(self, holds: Callable[[Look], bool], patience: float = PATIENCE) -> float:
        """Seconds until a look that begins from now on finds something; infinity if none does."""
        begin = time.monotonic()
        while time.monotonic() < begin + patience:
            look = self.look()
            if look["moment"] >= begin and holds(look):
                return time.monotonic() - begin
            time.sleep(0.1)
        return NEVER

    # --- what runs

    @contextlib.contextmanager
    def gateway(self) -> Iterator[None]:
        (self.folder / "tmp").mkdir()
        (self.folder / "nginx.conf").write_text(nginx_conf(self.port))
        (self.folder / "servers.conf").write_text(f"server {NOBODY};\n")
        with Program(self.nginx("-g", "daemon off;"), self.port, self.folder / "nginx.log"):
            yield

    def nginx(self, *options: str) -> list[str]:
        return find_nginx().command(self.folder, self.folder / "nginx.conf", *options)

    @contextlib.contextmanager
    def placing(self) -> Iterator[None]:
        """A placer, and another one whenever it ends."""
        model = Model(runtime="extractive", source="embedded:textrank")
        settings = self.folder / "settings.json"
        told = Settings(deployment="textrank", name="textrank", model=model)
        settings.write_text(told.model_dump_json())
        plan = Plan(
            address=self.cluster.address, host=self.head.address, replicas=REPLICAS,
            settings=str(settings), logs=str(self.folder),
            upstream=str(self.folder / "servers.conf"), reload=self.nginx("-s", "reload"),
        )  # fmt: skip
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(json.dumps(asdict(plan)), over))
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()

    def _keep(self, plan: str, over: threading.Event) -> None:
        while not over.is_set():
            with (self.folder / "placer.log").open("ab") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.ray_placing", str(self._seen)], cwd=TOP,
                    env=os.environ | self.cluster.environment(),
                    stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
                )  # fmt: skip
            assert process.stdin
            process.stdin.write(plan)
            process.stdin.close()
            self.placers += 1
            while process.poll() is None and not over.wait(0.2):
                pass
            process.kill()
            process.wait()
            over.wait(0.5)

    def placed(self, patience: float = PATIENCE) -> float:
        return self.until(lambda look: len(look["replicas"]) == REPLICAS, patience)

    @contextlib.contextmanager
    def clients(self) -> Iterator[None]:
        """Many that ask all the while."""
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ray_clients", f"http://127.0.0.1:{self.port}",
             str(self.asked), str(CLIENTS), str(TOP / "configs" / "texts" / "founding.txt")],
            cwd=TOP,
        )  # fmt: skip
        try:
            yield
            if process.poll() is not None:
                raise Failed(f"the clients ended by themselves: {process.returncode}")
        finally:
            process.terminate()
            process.wait(120)

    def answering(self, replicas: Sequence[Look]) -> int:
        """How many of these answer a request now, asked directly."""
        return sum(answers(f"http://{one['address']}") for one in replicas)


def nginx_conf(port: int) -> str:
    """Of an NGINX that passes to the servers of ``servers.conf``."""
    me = pwd.getpwuid(os.geteuid())
    user = f"user {me.pw_name} {grp.getgrgid(me.pw_gid).gr_name};" if me.pw_uid == 0 else ""
    return CONF.format(port=port, user=user)


def answers(url: str) -> bool:
    body = json.dumps({"text": "A lamp stands on the rock. Ships see it from afar."}).encode()
    request = urllib.request.Request(  # noqa: S310
        f"{url}/summarize/", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return bool(json.load(answer)["summary"])
    except OSError:
        return False


def asked(file: Path, begin: float) -> list[Asked]:
    """What became of the requests that a file tells of, counted from a moment."""
    each = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Asked(at - begin, took, status, why) for at, took, status, why in each]


def statuses(requests: Sequence[Asked]) -> dict[str, int]:
    """{HTTP status, 0 for no answer: how many}."""
    counted = Counter(one.status for one in requests)
    return {str(status): counted[status] for status in sorted(counted)}


@contextlib.contextmanager
def bed(cluster: Cluster, workers: int) -> Iterator[Bed]:
    """A cluster with all replicas running, and nothing of it afterwards.

    Raises:
        Failed: it does not come up.
    """
    cluster.make_token()
    found = Bed(cluster)
    with found.ended(), found.gateway():
        for number in range(workers + 1):
            found.join(number)
        with found.placing():
            if found.placed() == NEVER:
                said = (cluster.folder / "placer.log").read_text(errors="replace")[-2000:]
                raise Failed(f"Ray does not place the replicas: {found.look()}\n{said}")
            deadline = time.monotonic() + PATIENCE
            while not answers(f"http://127.0.0.1:{found.port}"):
                if time.monotonic() > deadline:
                    raise Failed("the replicas do not answer")
                time.sleep(0.2)
            yield found
