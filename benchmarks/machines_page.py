"""MACHINES.md, of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.machine_deaths import WORKERS
from benchmarks.ray_bed import CLIENTS, REPLICAS


def markdown(document: Mapping[str, Any]) -> str:
    where = document["machine"]
    quick = "\n**A smoke run: these figures mean little.**\n" if document["quick"] else ""
    targets = [
        f"| {one['what']} | {one['wanted']} | {one['found']:g} | "
        f"{'met' if one['met'] else '**missed**'} |"
        for one in document["targets"]
    ]
    events = [
        f"| {one['at']:.0f} | {one['what']} | {_seconds(one['right'])} | {one['requests']} "
        f"| {one['lost']} | {one['worst']:.2f} | {one['load']} |"
        for one in document["events"]
    ]
    said = ", ".join(f"{many} × {status}" for status, many in document["statuses"].items())
    return "\n".join([
        "# When machines die, and what becomes of requests", quick,
        f"{document['date']}; one run of `make bench-machines`, {document['seconds'] / 60:.0f} "
        f"minutes. Ray {document['ray']}.\n{where['processor']}, {where['cores']} cores, "
        f"{where['memory_gb']:g} GB, {where['system']}; other work was done on it meanwhile (load "
        f"up to\n{document['load']:g}), so the verdict is in counts.\n",
        f"{CLIENTS} clients ask one NGINX, which passes to {REPLICAS} replicas on {WORKERS} nodes. "
        f"They asked {document['requests']} times: {said}. An\nanswer took "
        f"{1000 * document['p50']:.0f} ms (p50), {1000 * document['p99']:.0f} ms (p99), "
        f"{document['worst']:.2f} s at the most.\n",
        "| | wanted | found | |", "| --- | --- | ---: | --- |", *targets, "",
        "| second | what | right again after, s | requests until the next | of these lost "
        "| slowest, s | load |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: |", *events, "",
        *_without(document["without"]),
    ])  # fmt: skip


def _seconds(right: float | None) -> str:
    return "**never**" if right is None else f"{right:.1f}"


def _without(found: Mapping[str, Any]) -> list[str]:
    if not found:
        return []
    waits, forgets, still = found["impatient"], found["forgetful"], found["silent"]
    gone = waits["gone_after"]
    said = ", ".join(f"{many} × {status}" for status, many in still["statuses"].items())
    return [
        "## Without what is set\n",
        f"- **Ray's own patience with a head.** It was gone, and {waits['at_first']} of {REPLICAS} "
        f"replicas answered. After\n  {gone['replicas']} s none did; the nodes were gone after "
        f"{gone['nodes']} s.",
        "- **A head that writes nothing down**, killed and started again at once. It knew "
        f"{forgets['same']} of {REPLICAS} replicas,\n  {forgets['old_ones_answer']} of the old "
        f"ones still answered, and {forgets['nodes']} of {WORKERS} nodes were left: every machine "
        "has to join anew.",
        "- **A node that falls silent**, by SIGSTOP of all its processes: no connection is closed. "
        f"Its replica was\n  replaced after {_seconds(still['seconds'])} s. Of {still['requests']} "
        f"requests of these {CLIENTS} clients: {said}.\n  The lost ones waited for that node. A "
        "request that was read is asked of no other one, for it may be at work.\n",
    ]  # fmt: skip
