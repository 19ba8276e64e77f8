"""The gateway's own metrics, in Prometheus's exposition format: who is to get which requests,
which is rendered with each configuration, and who got them, which NGINX counts.

They are for the operator: on a socket, or a port, of their own. There a Prometheus that cannot
reach the APIs' sockets finds a list of them, and their metrics as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from llmlab.gateway import api_keys
from llmlab.gateway.directives import joined
from llmlab.gateway.plan import GatewayPlan
from llmlab.gateway.quoting import by_set, in_words

PORT = 9113  # of a gateway in a container; not published
TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Whoever is asked over a unix socket may open it. The others are Docker's networks, should
# somebody publish the port by mistake: https://datatracker.ietf.org/doc/html/rfc1918
ALLOWED = ("unix:", "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
SCRIPT = "lab/counts.js"
Values = dict[tuple[str, ...], float]  # by the values of its labels


def files(plan: GatewayPlan) -> dict[str, str]:
    """lab/metrics.conf, and the script that counts. Without an address, neither does anything."""
    if not plan.metrics:
        return {"lab/metrics.conf": ""}
    if plan.edition == "plus":
        # No njs, so no counts. `return` here would run before `allow` and `deny`.
        where = [*in_words("$lab_wanted", wanted(plan), by_set),
                 "location = /metrics {", "    try_files /nonexistent @wanted;", "}",
                 "location @wanted {", f'    default_type "{TYPE}";',
                 "    return 200 $lab_wanted;", "}"]  # fmt: skip
        return {"lab/metrics.conf": joined(_server(plan, where))}
    counting = [
        f"js_import counts from {SCRIPT};",
        "js_shared_dict_zone zone=lab_counts:4m type=number;",
        "js_set $lab_counted counts.count;",
        "# Nothing is ever written: to ask for the variable is to count.",
        "log_format lab_counted '';",
        "access_log /dev/null lab_counted if=$lab_counted;",
        "",
    ]
    where = ["location = /metrics {", *(f"    {line}" for line in page(plan)), "}",
             *api_keys.ending()]  # fmt: skip
    script = resources.files("llmlab.gateway").joinpath("counts.js")
    return {
        "lab/metrics.conf": joined([*counting, *_server(plan, where)]),
        SCRIPT: script.read_text(encoding="utf-8"),
    }


def page(plan: GatewayPlan) -> list[str]:
    """The lines of a location that answers with the gateway's metrics; none without njs."""
    if not plan.metrics or plan.edition == "plus":
        return []
    names = " ".join(one.deployment for one in plan.upstreams)
    ways = " ".join(
        f"{route}:{name}"
        for route, first in plan.routes.items()
        for name in plan.traffic.route(route).weights(first)
    )
    return [
        *in_words("$lab_wanted", wanted(plan), by_set),
        *in_words("$lab_deployments", names, by_set),
        *in_words("$lab_ways", ways, by_set),
        "js_content counts.page;",
    ]


def _server(plan: GatewayPlan, where: list[str]) -> list[str]:
    inside = [
        f"listen {plan.metrics};",
        "access_log off;",
        *(f"allow {one};" for one in ALLOWED),
        "deny all;",
        *where,
        *_apis(plan),
        "location / {",
        "    return 404;",
        "}",
    ]
    return ["server {", *(f"    {line}" for line in inside), "}"]


def _apis(plan: GatewayPlan) -> list[str]:
    """The APIs' own metrics, one location each, and /apis, which Prometheus reads the list from:
    https://prometheus.io/docs/prometheus/latest/http_sd/"""
    if not plan.scraped_at:
        return []
    addresses = [address for one in plan.upstreams if one.replicas for address in one.servers]
    named = {Path(address).stem: address for address in addresses}
    listed = [
        {
            "targets": [plan.scraped_at],
            "labels": {"__metrics_path__": f"/apis/{name}/metrics", "instance": name},
        }
        for name in named
    ]
    lines = [*in_words("$lab_apis", json.dumps(listed), by_set),
             "location = /apis {", "    try_files /nonexistent @apis;", "}",
             "location @apis {", "    default_type application/json;",
             "    return 200 $lab_apis;", "}"]  # fmt: skip
    for name, address in named.items():
        lines += [f"location = /apis/{name}/metrics {{",
                  f"    proxy_pass http://{address}:/metrics;", "}"]  # fmt: skip
    return lines


def wanted(plan: GatewayPlan) -> str:
    """Who is to get which requests."""
    traffic = plan.traffic
    names = [one.deployment for one in plan.upstreams]
    weights: Values = {}
    stable: Values = {}
    shadows: Values = {}
    for route, first in plan.routes.items():
        there = traffic.route(route)
        shares = dict.fromkeys(names, 0.0) | there.weights(first)
        weights |= {(route, name): share for name, share in shares.items()}
        leading = there.stable or first
        stable |= {(route, name): float(name == leading) for name in shares}
        if there.shadow:
            shadows[route, there.shadow.deployment] = there.shadow.percent
    flags: Values = {(one.name,): one.percent for one in traffic.flags}
    rollouts = {route: traffic.route(route) for route in plan.routes}
    by_deployment = ["route", "deployment"]
    return _exposition(
        _gauge("llmlab_route_weight", "Percent of a route's requests that no match takes.",
               by_deployment, weights),
        _gauge("llmlab_route_stable", "1 for who gets what nothing else takes.",
               by_deployment, stable),
        _gauge("llmlab_shadow_percent", "Percent of the requests that it gets copies of.",
               by_deployment, shadows),
        _gauge("llmlab_flag_percent", "Percent of the subjects that a flag is on for.",
               ["flag"], flags),
        _number("llmlab_traffic_revision", "The ledger's entry that made these routes.",
                traffic.revision),
        _gauge("llmlab_rollout", "The rollout that made them; 0 for none.", ["route"],
               {(route,): one.rollout for route, one in rollouts.items()}),
        _gauge("llmlab_rollout_step", "At which of its steps it is; 0 when it is over.", ["route"],
               {(route,): one.step for route, one in rollouts.items()}),
    )  # fmt: skip


def _gauge(name: str, said: str, labels: list[str], values: Values) -> Metric:
    family = GaugeMetricFamily(name, said, labels=labels)
    for where, number in values.items():
        family.add_metric(where, number)
    return family


def _number(name: str, said: str, value: float) -> Metric:
    return GaugeMetricFamily(name, said, value=value)


def _exposition(*families: Metric) -> str:
    class Given(Collector):
        def collect(self) -> Iterable[Metric]:
            return families

    return generate_latest(Given()).decode()
