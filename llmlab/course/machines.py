"""What a lab has to show for the objective of several machines."""

from __future__ import annotations

import re
from datetime import datetime

from llmlab.course.evidence import Evidence
from llmlab.course.finding import Finding, done, missing
from llmlab.engines.status import NodeStatus

MACHINES = 3  # beside the gateway's
AROUND = 30.0  # seconds before and after a replica is missed: so long may it take to be seen
PAGE = "as in llmlab course start 9"
_LINE = re.compile(r"(?m)^(\S+ \S+),\d+ (\S+@[0-9a-f]+\.\d+) is (away|on)\b")


def machines_joined(lab: Evidence) -> Finding:
    if not _joined(lab):
        return missing("no machine is a node of this lab", f"llmlab up --engine ray, {PAGE}")
    if (number := len(_joined(lab))) < MACHINES:
        return missing(f"of {MACHINES} machines {number} joined", f"llmlab node add, {PAGE}")
    return done(f"{number} machines are nodes of this lab, beside the gateway's")


def machine_was_lost(lab: Evidence) -> Finding:
    """A replica was missed, and placed again; meanwhile the gateway has answered."""
    wanted: dict[str, float] = {}
    for name, since, until in _lost(lab):
        asked = [one for one in lab.requests
                 if since - AROUND <= float(one.get("at", 0)) <= until + AROUND]  # fmt: skip
        failed = [one for one in asked if int(one.get("status", 0)) >= 500]
        if asked and not failed:
            return done(f"{name} was lost and is back, and {len(asked)} requests had an answer")
        wanted[name] = len(failed)
    if wanted:
        name = next(iter(wanted))
        told = f"{wanted[name]:g} requests failed" if wanted[name] else "nobody asked meanwhile"
        return missing(f"{name} was lost, and {told}", f"again, under llmlab load, {PAGE}")
    return missing("no machine was lost yet", f"end one of them under llmlab load, {PAGE}")


def machine_was_drained(lab: Evidence) -> Finding:
    drained = [one for one in lab.status.nodes if one.state == "draining"]
    if not drained:
        return missing("no machine is drained", f"llmlab node drain ADDRESS, {PAGE}")
    if left := drained[0].replicas:
        return missing(f"{', '.join(left)} did not leave {drained[0].host}", "llmlab node list")
    if not any(one.replicas for one in lab.status.nodes):
        return missing("no machine has replicas", "llmlab logs placer")
    return done(f"{drained[0].host} is drained: its replicas are on other machines")


def _joined(lab: Evidence) -> list[NodeStatus]:
    """One for each address that is not the gateway's."""
    here = {one.host for one in lab.status.nodes if one.is_head}
    found = {one.host: one for one in lab.status.nodes if one.host not in here}
    return [one for one in found.values() if one.state != "away"]


def _lost(lab: Evidence) -> list[tuple[str, float, float]]:
    """Process, and seconds of the epoch since and until when it was away, by the placer's log."""
    file = lab.lab.logs / "placer.log"
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    away: dict[str, float] = {}
    found: list[tuple[str, float, float]] = []
    for when, name, what in _LINE.findall(text):
        at = datetime.strptime(when, "%Y-%m-%d %H:%M:%S").timestamp()
        if what == "away":
            away.setdefault(name, at)
        elif name in away:
            found.append((name.partition("@")[0], away.pop(name), at))
    return found
