"""Who served a request, and why: its lines in the logs, and the ledger's entry that was in force.

The gateway's line says which deployment was asked, by which rule and revision of the routes; the
revision is the number of the entry that made them, and so leads to weights, rollout and step.
The API's line says which model it was, by the hash of its content; where that line is gone, the
entry of the lab's last `up` before does, or the routes' entry by the model's name and version.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from llmlab.answered import Answer
from llmlab.delivery.charging import Charged, Settlements
from llmlab.delivery.request_logs import Found, Line
from llmlab.delivery.searching import iso
from llmlab.ledger.chain import Entry, canonical
from llmlab.ledger.store import NOTHING, Store
from llmlab.names import SUMMARIZE
from llmlab.observe.access import asked_by
from llmlab.traffic import Traffic

QUEUE = re.compile(r"queue;dur=([0-9.]+)")
NUMBER = re.compile(r"[0-9.]+")


@dataclass(frozen=True)
class ServedBy:
    """The model that answered. ``version`` is its name in the registry, "" if it has none;
    ``told_by`` says how its id is known: by the log of the ``api``, or by the ``ledger``.
    ``upstream`` and ``fingerprint`` are what a model elsewhere called itself."""

    deployment: str
    model: str = ""
    model_id: str = ""
    version: str = ""
    told_by: str = ""
    upstream: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Timings:
    """Seconds; None where the log does not say.

    ``upstream`` has one number for each try, ``queue`` is the time until the text had its turn.
    """

    total: float
    upstream: tuple[float, ...] = ()
    queue: float | None = None
    api: float | None = None


@dataclass(frozen=True)
class Traced:
    """One request. ``at`` in UTC, ISO 8601, when it was over.

    ``rule`` is how its deployment was chosen; "" if nobody was asked. ``route`` is the public name
    that was asked for; "" where a deployment was. ``upstream_status`` has one
    status for each try. ``weights`` in percent; ``entry`` is what made them. ``cache`` is the
    answer's X-Cache: miss, coalesced or hit; "" if it had none. ``answer`` is how it came and
    ended; null where its API did not tell. ``charged``: null where the gateway tells nothing of
    tokens. ``broken``: its model broke off after the head of the answer. ``handed_on``: whose
    request it was, where another deployment has answered in its place. ``retry``: how often its
    client had asked before, as it says. ``waf``: what the WAF has said, "" where it was not asked,
    and by which kinds of rules. ``over``: the budget and its limit that it did not fit.
    """

    request_id: str
    at: str
    subject: str
    method: str
    path: str
    status: int
    served_by: ServedBy
    rule: str
    route: str
    upstream_status: tuple[str, ...]
    revision: int
    weights: Mapping[str, float]
    rollout: int
    step: int
    flags: Mapping[str, bool]
    trace_id: str
    timings: Timings
    cache: str = ""
    entry: Mapping[str, Any] | None = None
    answer: Answer | None = None
    charged: Charged | None = None
    broken: bool = False
    handed_on: str = ""
    retry: int = 0
    waf: str = ""
    waf_kinds: str = ""
    over: str = ""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class History:
    """What the ledger says of a moment. Reads each entry once.

    Args:
        version: from the id of a model to its name in the registry, or "".
        stable: {route: its configured stable deployment}, where the ledger does not say.
    """

    def __init__(
        self, store: Store, version: Callable[[str], str], stable: Mapping[str, str] = NOTHING
    ) -> None:
        self._store = store
        self._version = version
        self._stable = stable
        self._versions: dict[str, str] = {}
        self._entries: dict[int, Entry | None] = {}
        labs = store.entries(kind="lab")
        self._ups = [one for one in labs if one.document.get("did") == "up"]

    def version(self, model_id: str) -> str:
        if model_id not in self._versions:
            self._versions[model_id] = self._version(model_id)
        return self._versions[model_id]

    def entry(self, revision: int) -> Entry | None:
        if revision not in self._entries:
            self._entries[revision] = self._store.entry(revision)
        return self._entries[revision]

    def up_before(self, at: str) -> Mapping[str, Any]:
        """What the last `up` until then brought up; {} if there was none."""
        return next((one.document for one in reversed(self._ups) if one.at <= at), {})

    def stable(self, at: str, route: str) -> str:
        told = self.up_before(at)
        # Before there were several routes, it said the one of summarize only.
        known = {SUMMARIZE: told["stable"]} if "stable" in told else {}
        return str((known | told.get("routes", {}) or self._stable).get(route, ""))


def trace(found: Found, history: History, ids: Collection[str]) -> list[Traced]:
    """Every line of the gateway about these requests, in the order of the ids, then of time.

    A client chooses the ids of its requests, and so there may be several of one.
    """
    order = {one: number for number, one in enumerate(dict.fromkeys(ids))}
    apis, late = _ApiLines(found.api), Settlements(found.late)
    lines = sorted(found.gateway, key=lambda one: (order[one["request_id"]], _at(one)))
    return [_traced(line, apis.of(line), late, history) for line in lines]


class _ApiLines:
    """The APIs' lines; each belongs to one of the gateway's at most."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._free: dict[tuple[str, str], list[Line]] = {}
        for line in lines:
            if not str(line.get("path", "")).startswith("/shadow"):
                self._free.setdefault(_asked(line), []).append(line)

    def of(self, line: Line) -> Line:
        """The one that was written nearest to it; {} if none is left."""
        there = self._free.get(_asked(line), [])
        if not there:
            return {}
        nearest = min(there, key=lambda one: abs(_at(one) - _at(line)))
        there.remove(nearest)
        return nearest


def _asked(line: Line) -> tuple[str, str]:
    return line["request_id"], str(line.get("deployment", ""))


def _traced(line: Line, api: Line, late: Settlements, history: History) -> Traced:
    at = iso(_at(line))
    revision = int(line.get("revision") or 0)
    entry = history.entry(revision) if revision else None
    traffic = _traffic(revision, entry)
    rule, asked = asked_by({"route": "", **line})
    route = traffic.route(asked) if traffic and asked else None
    return Traced(
        request_id=line["request_id"], at=at, subject=line.get("subject", ""),
        method=line.get("method", ""), path=line.get("path", ""), status=int(line["status"]),
        served_by=_served_by(line, api, history, at, traffic),
        rule=rule, route=asked,
        upstream_status=tuple(re.findall(r"[0-9]+", line.get("upstream_status", ""))),
        revision=revision, weights=route.weights(history.stable(at, asked)) if route else {},
        rollout=route.rollout if route else 0, step=route.step if route else 0,
        flags=_flags(line.get("flags", "")),
        trace_id=line.get("trace_id", ""),
        timings=_timings(line, api),
        cache=str(line.get("cache", "")),
        entry={name: getattr(entry, name) for name in ("seq", "at", "who", "kind", "why")}
        if entry else None,
        answer=Answer.parse(line.get("answer")), charged=late.charged(line),
        broken=str(line.get("broken")) == "1", retry=int(line.get("retry") or 0),
        **{name: str(line.get(name, "")) for name in ("handed_on", "waf", "waf_kinds", "over")},
    )  # fmt: skip


def _traffic(revision: int, entry: Entry | None) -> Traffic | None:
    """The routes of a revision; None if they are unknown: its entry is not in this ledger, or
    another version's."""
    if revision == 0:
        return Traffic()
    try:
        return Traffic.parse(canonical(entry.document["traffic"])) if entry else None
    except (KeyError, ValueError):
        return None


def _served_by(
    line: Line, api: Line, history: History, at: str, traffic: Traffic | None
) -> ServedBy:
    deployment, model = str(line.get("deployment", "")), str(line.get("model", ""))
    if not deployment:
        return ServedBy("")
    if model_id := str(api.get("model_id", "")):
        itself = api.get("upstream") or {}
        return ServedBy(
            deployment, model, model_id, history.version(model_id), "api",
            str(itself.get("model", "")), str(itself.get("fingerprint", "")),
        )  # fmt: skip
    there = history.up_before(at).get("deployments", {}).get(deployment, {})
    if model_id := str(there.get("model_id", "")):
        return ServedBy(deployment, model, model_id, history.version(model_id), "ledger")
    if traffic and (started := traffic.deployed(deployment)):  # since that `up`
        return ServedBy(deployment, model, version=started.model, told_by="ledger")
    return ServedBy(deployment, model)


def _timings(line: Line, api: Line) -> Timings:
    queue = QUEUE.search(str(line.get("timing", "")))
    return Timings(
        total=float(line.get("seconds", 0.0)),
        upstream=tuple(float(one) for one in NUMBER.findall(line.get("upstream_seconds", ""))),
        queue=float(queue[1]) / 1000 if queue else None,
        api=float(api["seconds"]) if "seconds" in api else None,
    )


def _flags(told: str) -> dict[str, bool]:
    pairs = (part.partition("=") for part in told.split(",") if part)
    return {name: state == "on" for name, _, state in pairs}


def _at(line: Line) -> float:
    """Seconds of the epoch."""
    if "at" in line:
        return float(line["at"])
    try:
        return datetime.fromisoformat(str(line["time"])).timestamp()
    except (KeyError, ValueError):
        return 0.0
