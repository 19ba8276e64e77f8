"""Looking at a deployment, for little: a look is made every few seconds, at each of its processes.

Of all that an API tells of itself three lines are read, without parsing the rest: that takes a
fiftieth of what `llmlab status` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from llmlab.engines.local.programs import suffixes
from llmlab.errors import UpstreamError
from llmlab.names import ASKS_MODEL

PATIENCE = 2.0  # seconds; who is too busy to say how busy is not waited for
AT_ONCE = 16
SAMPLE = re.compile(r"(?m)^(llmlab_(?:ready|in_flight|requests_total))\{([^}\n]*)\} (\S+)$")
ROUTE = re.compile(r'(?:^|,)route="([^"]*)"')
REFUSED = re.compile(
    r'(?m)^llmlab_gateway_requests_total\{deployment="([^"]*)",status="503"\} (\S+)$'
)


class Asked(Protocol):
    """What of an engine is needed here."""

    def ask(self, deployment: str, path: str, *, timeout: float = ...) -> tuple[int, bytes]: ...

    def gateway_metrics(self) -> str: ...


@dataclass(frozen=True)
class Load:
    """What processes have to do: how many of them answered, the requests that they have under way,
    and those that they have answered since they were started."""

    ready: int = 0
    in_flight: int = 0
    requests: int = 0

    def __add__(self, other: Load) -> Load:
        return Load(
            self.ready + other.ready, self.in_flight + other.in_flight,
            self.requests + other.requests,
        )  # fmt: skip


def read(page: str) -> Load:
    """What an API's /metrics says of it. One without a model that answers is none."""
    ready, in_flight, requests = 0, 0.0, 0.0
    for name, labels, value in SAMPLE.findall(page):
        if name == "llmlab_ready":
            ready = int(float(value) == 1)
        elif name == "llmlab_in_flight":
            in_flight += float(value)
        elif (route := ROUTE.search(labels)) and route[1] in ASKS_MODEL:
            requests += float(value)
    return Load(ready, int(in_flight), int(requests)) if ready else Load()


def load(engine: Asked, deployment: str, replicas: int) -> Load:
    """Of all processes of a deployment; of those that answer."""

    def one(suffix: str) -> Load:
        try:
            code, body = engine.ask(deployment + suffix, "/metrics", timeout=PATIENCE)
            return read(body.decode()) if code == 200 else Load()
        except (UpstreamError, ValueError):
            return Load()

    return _together(one, suffixes(replicas))


def _together(one: Callable[[str], Load], processes: list[str]) -> Load:
    if len(processes) < 2:
        return sum(map(one, processes), Load())
    with ThreadPoolExecutor(min(AT_ONCE, len(processes))) as threads:
        return sum(threads.map(one, processes), Load())


def in_vain(engine: Asked, resting: Iterable[str]) -> dict[str, int]:
    """Requests by the names of these that the gateway has turned away, since it was started. Of a
    gateway that does not count (NGINX Plus has no njs) none."""
    found = dict.fromkeys(resting, 0)
    if not found:
        return found
    try:
        page = engine.gateway_metrics()
    except UpstreamError:
        return found
    return found | {
        name: int(float(count)) for name, count in REFUSED.findall(page) if name in found
    }
