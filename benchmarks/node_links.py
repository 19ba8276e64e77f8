"""What a link costs, which is mutual TLS by two NGINX more: the same request, which costs an API
next to nothing, to a process beside the gateway and to one on a node of the same machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.lab import command
from benchmarks.node_bed import configured, lay_out, nodes, serves, until
from benchmarks.node_deaths import Say
from benchmarks.wrk import Turn, turn
from llmlab.lab import Lab

LOCAL, NODE = "local", "node"
MODELS = """\
[routes]
chat = "script"

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"

[models.script]
runtime = "scripted"
source = "embedded:script"
"""
CLIENTS = (1, 16)
LARGE = 200_000  # letters
ANSWER = {"role": "user", "content": '{"say": "A lamp."}'}
ASKED: dict[str, list[dict[str, str]]] = {
    "small": [ANSWER],
    # Read by everybody who passes it on, and by the API; what is answered is the last.
    "200 kB": [{"role": "user", "content": "a" * LARGE}, {"role": "assistant", "content": "b"},
               ANSWER],
}  # fmt: skip
PAIRS, SECONDS = 4, 3


def measured(folder: Path, say: Say, *, quick: bool) -> dict[str, Any]:
    folder.mkdir()
    pairs, seconds = (1, 2) if quick else (PAIRS, SECONDS)
    local = lay_out(folder / LOCAL, "local", "textrank", MODELS)
    node = lay_out(folder / NODE, "ray", "textrank", MODELS)
    found: dict[tuple[str, int, str], list[Turn]] = {}
    try:
        command(local, "up")
        with nodes(node, (2,), cores=2):
            ways = {LOCAL: local, NODE: node}
            for lab in ways.values():
                until(lambda found=lab: serves(found, "script"), "the script", lab)
            tokens = {way: command(lab, "token", "--sub", "bench", "--ttl", "2h").strip()
                      for way, lab in ways.items()}  # fmt: skip
            for way, lab in ways.items():
                asked(folder, lab, tokens[way], "200 kB", max(CLIENTS), 1)  # connections
            for pair in range(pairs):
                for what in ASKED:
                    for clients in CLIENTS:
                        # Whatever else the machine does, it is not always before the other one.
                        for way in list(ways)[:: 1 if pair % 2 else -1]:
                            got = asked(folder, ways[way], tokens[way], what, clients, seconds)
                            found.setdefault((what, clients, way), []).append(got)
                say(f"pair {pair + 1} of {pairs}")
    finally:
        command(local, "down")
    return {"pairs": pairs, "seconds": seconds, "found": [
        {"what": what, "clients": clients,
         **{way: [asdict(one) for one in found[what, clients, way]] for way in ways},
         **beside(found[what, clients, LOCAL], found[what, clients, NODE])}
        for what in ASKED for clients in CLIENTS
    ]}  # fmt: skip


def asked(folder: Path, lab: Lab, token: str, what: str, clients: int, seconds: int) -> Turn:
    url = f"{configured(lab).gateway.url}/v1/chat/completions"
    body = {"model": "chat", "messages": ASKED[what], "max_tokens": 8}
    return turn(folder, url, token, body, clients, seconds)


def beside(local: Sequence[Turn], node: Sequence[Turn]) -> Mapping[str, float]:
    """Medians over pairs: requests/s of the node's for one of the local's, and by how many
    milliseconds an answer takes longer."""
    pairs = list(zip(local, node, strict=True))
    return {
        "ratio": median(two.rate / one.rate for one, two in pairs),
        "longer": median(two.p50 - one.p50 for one, two in pairs),
    }
