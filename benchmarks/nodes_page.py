"""NODES.md, of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.node_deaths import CLIENTS, CORES, NODES, REPLICAS, STEPS
from benchmarks.node_links import LOCAL, NODE
from benchmarks.report import digits

Found = Mapping[str, Any]


def markdown(document: Found) -> str:
    where, parts = document["machine"], document["parts"]
    quick = any(one["quick"] for one in parts.values())
    smoke = "\n**A smoke run: these figures mean little.**\n" if quick else ""
    targets = [
        f"| {one['what']} | {one['wanted']} | {digits(one['found'])} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    return "\n".join([
        "# A lab with nodes: what dies, what it does, what it costs", smoke,
        f"`make bench-nodes`, Ray {document['ray']}. {where['processor']}, {where['cores']} cores, "
        f"{where['memory_gb']:g} GB, {where['system']}.\nNodes are processes of this one machine, "
        "with addresses of their own on loopback, each by `llmlab node add`.\nAll of them, the "
        "gateway and who asks share its cores, so the verdict is in counts and in ratios.\n",
        "| | wanted | found | |", "| --- | --- | ---: | --- |", *targets, "",
        *_deaths({name: one for name, one in parts.items() if "deaths" in one}),
        *(_speed(parts["speed"]) if "speed" in parts else []),
        *(_links(parts["links"]) if "links" in parts else []),
        *(_many(parts["many"]) if "many" in parts else []),
    ])  # fmt: skip


def _when(part: Found) -> str:
    return (f"{part['date']}, {part['took'] / 60:.0f} minutes; processes that wanted a core: "
            f"{part['load_before']:g} before, {part['load_after']:g} after.")  # fmt: skip


# --- machines that die ---------------------------------------------------------------


def _deaths(parts: Mapping[str, Found]) -> Iterator[str]:
    if not parts:
        return
    steps = "-".join(str(one) for one in STEPS)
    yield "## Machines that die\n"
    yield (
        f"{len(NODES)} nodes with room for {CORES} replicas each, and {REPLICAS} replicas of "
        "either version of the embedded model: two nodes have\nroom for all, as who wants to lose "
        f"one has it. {CLIENTS} clients ask, each request for another subject; a canary goes\n"
        f"{steps} % (1 % stays with the version from before until it is over). One node is killed "
        "again and again, the\none with most replicas, with all its processes and without a word, "
        "and another one joins in the same moment.\n"
    )
    for name, one in parts.items():
        yield from _minutes(name, one)
    yield (
        "What limits this: a process that is killed has its connections closed by the system that "
        "it ran on. A\nmachine that loses its power closes none: what it was asked just then ends "
        "by a timeout, and it is taken\nfor dead after some 10 s (MACHINES.md has "
        "that, by SIGSTOP). Seconds until a replica serves\nagain are those of a machine on which "
        "the nodes, the clients and the gateway have the same cores.\n"
    )


def _minutes(name: str, part: Found) -> Iterator[str]:
    said = ", ".join(f"{many} × {status}" for status, many in part["statuses"].items())
    yield f"### {part['seconds']} s: {name}\n"
    yield (
        f"{_when(part)} {part['requests']} requests: {said}. An\nanswer took "
        f"{1000 * part['p50']:.0f} ms (p50), {1000 * part['p99']:.0f} ms (p99), "
        f"{part['worst']:.2f} s at the most. The canary: {part['rollout']['phase']}, "
        f"{part['rollout']['setbacks']} setbacks. The ledger is "
        f"{'whole' if part['ledger'] else '**not whole**'}.\n"
    )
    if part["lost"]:
        yield "| second | took, s | status | | under way when something was killed |"
        yield "| ---: | ---: | ---: | --- | --- |"
        for one in part["lost"]:
            said = one["why"].replace("|", "/").replace("\n", " ")
            yield (f"| {one['at']:.1f} | {one['took']:.2f} | {one['status'] or 'none'} "
                   f"| {said} | {'yes' if one['in_flight'] else 'no'} |")  # fmt: skip
        yield ""
    yield ("| second | killed | with | served again after, s | next node there after, s | load |")
    yield "| ---: | --- | --- | ---: | ---: | ---: |"
    for one in part["deaths"]:
        gone = ", ".join(one["replicas"]) or "no replica"
        yield (f"| {one['at']:.0f} | {one['what']} | {gone} | {_seconds(one['again'])} "
               f"| {_seconds(one['joined'])} | {one['load']:g} |")  # fmt: skip
    yield "\n| step, % | from second | until | answers | of these the candidate's, % |"
    yield "| ---: | ---: | ---: | ---: | ---: |"
    for one in part["steps"]:
        found = "–" if one["found"] is None else f"{one['found']:.1f}"
        yield (f"| {one['percent']:g} | {one['since']:.0f} | {one['until']:.0f} "
               f"| {one['answers']} | {found} |")  # fmt: skip
    yield ""


def _seconds(found: float | None) -> str:
    return "–" if found is None else f"{found:.1f}"


# --- what it does, and what it costs ------------------------------------------------


def _speed(part: Found) -> list[str]:
    rows = [
        f"| {one['processes']} | {_spread(one[LOCAL])} | {_spread(one[NODE])} "
        f"| {one['ratio']:.3f} |"
        for one in part["found"]
    ]
    return [
        "## What nodes of one core do\n",
        f"{_when(part)} A T5 that is made here reads {part['shape']['read']} tokens and writes "
        f"{part['shape']['write']},\nby CTranslate2 and one thread. {part['clients']} clients for "
        "each process ask through the gateway. A node with all that\nbelongs to it is pinned to "
        "one core, as is each process of the local engine; the gateway and the load\ngenerator of "
        "both are not. Both labs are up, and take turns of "
        f"{part['seconds']:g} s in {part['pairs']} pairs. This machine has\n{part['cores']} cores, "
        "so there are no more nodes than that.\n",
        "| processes, and nodes | local, texts/s | on nodes, texts/s | ratio, median of pairs |",
        "| ---: | ---: | ---: | ---: |", *rows, "",
    ]  # fmt: skip


def _links(part: Found) -> list[str]:
    rows = [
        f"| {one['what']} | {one['clients']} | {_spread([two['rate'] for two in one[LOCAL]])} "
        f"| {_spread([two['rate'] for two in one[NODE]])} | {one['ratio']:.2f} "
        f"| {one['longer']:+.2f} |"
        for one in part["found"]
    ]
    return [
        "## What a link costs\n",
        f"{_when(part)} The runtime `scripted`, which computes nothing, in a process\nbeside the "
        "gateway and on a node of the same machine: two NGINX more, mutual TLS between them. "
        f"{part['pairs']} pairs\nof turns of {part['seconds']} s. With 16 clients the cores are "
        "the limit, so that the ratio is that of the work for\none request.\n",
        "| request | clients | local, requests/s | on a node | ratio | ms longer, p50 |",
        "| --- | ---: | ---: | ---: | ---: | ---: |", *rows, "",
    ]  # fmt: skip


def _many(part: Found) -> list[str]:
    rows = [
        f"| {shape['deployments']} × {shape['each']} | {side} | {one['kilobytes']} "
        f"| {one['render']:.3f} | {one['check']:.2f} | {median(one['reload']):.2f} "
        f"| {_change(one['master'])} | {_change([max(each) for each in one['workers']])} |"
        for shape in part["found"]
        for side, one in (("gateway", shape["gateway"]), ("links", shape["links"]))
    ]
    return [
        "## 200 replicas\n",
        f"{_when(part)} Deployments × replicas of each, at which nobody is: what\nNGINX is told of "
        "them, and how long that takes. A reload is over when workers by the new configuration "
        "take\nall requests; of the gateway it is one with a replica fewer, of the links one with "
        f"a replica elsewhere. Median of\n{part['reloads']} reloads; resident MB before and after "
        "these.\n",
        "| | | kB | written, s | `nginx -t`, s | reload, s | master, MB | a worker, MB |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |", *rows, "",
    ]  # fmt: skip


def _change(values: Sequence[float]) -> str:
    return f"{values[0]:.0f} → {values[1]:.0f}"


def _spread(values: Sequence[float]) -> str:
    middle = digits(median(values))
    return middle if len(values) == 1 else f"{middle} ({digits(min(values))}–{digits(max(values))})"
