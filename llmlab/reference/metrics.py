"""metrics.md: what Prometheus can read of a lab, from the registries and pages that tell it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from llmlab.reference.markdown import code, page, table, text

INTRODUCTION = """`llmlab metrics` shows the figures side by side, `llmlab metrics -o prometheus`
all of it as Prometheus reads it, and `llmlab metrics --listen 9464` answers a Prometheus of your
own at `http://127.0.0.1:9464/metrics` until Ctrl-C. There, each API's metrics are labelled with
`deployment`, `replica`, `model` and `model_id`."""
APIS = """Each API process has them on a socket of its own, which the gateway does not pass on.
All carry the label `deployment`. Where there is a `/proc`, those of the process are there as well:
`process_resident_memory_bytes`, `process_cpu_seconds_total` and the like."""
GATEWAY = """The gateway tells them on a socket that only the lab's owner can open; in containers,
on a port that is not published. What NGINX counts outlives a reload. The edition NGINX Plus, which
has no njs, tells the weights and counts nothing."""
ADDED = "What `llmlab metrics` adds to them."

# The script of the gateway makes these as text; its labels stand in the middle of it.
COUNTED = {
    "llmlab_gateway_requests_total": ("deployment", "status"),
    "llmlab_gateway_shared_requests_total": ("route", "deployment"),
    "llmlab_gateway_refused_total": ("status",),
    "llmlab_gateway_request_seconds": ("deployment",),
    "llmlab_tokens_total": ("route", "deployment", "direction"),
    "llmlab_budget_refused_total": ("budget", "limit", "shadow"),
}
OF_BUDGETS = ("budget", "limit")  # labels of the gauges that are there with a budget only


@dataclass(frozen=True)
class Family:
    """A metric: ``name`` as one asks for it, a counter's with ``_total``."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


def of_an_api() -> list[Family]:
    from llmlab.service.metrics import Metrics

    found = []
    all_of_it = Metrics(deployment="any")
    for one in [*vars(all_of_it).values(), *vars(all_of_it.genai).values()]:
        if isinstance(one, MetricWrapperBase):
            (family,) = one.describe()
            # The library tells the labels of samples, and a metric without values has none.
            labels = tuple(one._labelnames)
            found.append(_family(family.name, family.type, labels, family.documentation))
    return found


def of_the_gateway() -> list[Family]:
    return [*_wanted(), *_counted()]


def added() -> list[Family]:
    from llmlab.observe.exposition import UP

    return list(_told(UP.format(name="any", value=1)))


def _wanted() -> Iterable[Family]:
    from llmlab.config import RateLimit
    from llmlab.gateway.metrics import wanted
    from llmlab.gateway.plan import GatewayPlan, Upstream
    from llmlab.names import SUMMARIZE
    from llmlab.traffic import Flag, Route, Shadow, Traffic

    route = Route(shadow=Shadow("any", 1.0))
    traffic = Traffic(routes={SUMMARIZE: route}, flags=(Flag("any", percent=1.0),))
    plan = GatewayPlan(
        listen="127.0.0.1:8000", stable="any", upstreams=(Upstream("any", ("unix:/any",)),),
        rate_limit=RateLimit(), max_body="3m", timeout=1.0, traffic=traffic,
    )  # fmt: skip
    return _told(wanted(plan))


def _counted() -> Iterator[Family]:
    script = resources.files("llmlab.gateway").joinpath("counts.js").read_text(encoding="utf-8")
    helps = dict(re.findall(r"counter\('(\w+)', '([^']+)'", script))
    (duration,) = re.findall(r"const name = '(\w+)';\s*let text = head\(name, '([^']+)'", script)
    for name, said in helps.items():
        yield Family(f"{name}_total", "counter", COUNTED[f"{name}_total"], said)
    yield Family(duration[0], "histogram", COUNTED[duration[0]], duration[1])
    looked = script[script.index("const WAF_SAID") : script.index("const WAF =")]
    for name, said in re.findall(r"(\w+): '([^']+)'", looked):  # with a WAF only
        yield Family(f"llmlab_waf_{name}_total", "counter", (), said)
    budgets = resources.files("llmlab.gateway").joinpath("budgets.js").read_text(encoding="utf-8")
    for name, said in re.findall(r"gauge\('(\w+)', '([^']+)'", budgets):
        yield Family(name, "gauge", OF_BUDGETS, said)


def _told(exposition: str) -> Iterator[Family]:
    for one in text_string_to_metric_families(exposition):
        labels = tuple(name for name in one.samples[0].labels if name != "le")
        yield _family(one.name, one.type, labels, one.documentation)


def _family(name: str, kind: str, labels: tuple[str, ...], said: str) -> Family:
    return Family(f"{name}_total" if kind == "counter" else name, kind, labels, said)


def markdown() -> str:
    return page(
        "Metrics",
        INTRODUCTION,
        "## Of each API process",
        APIS,
        _table(of_an_api()),
        "## Of the gateway",
        GATEWAY,
        _table(of_the_gateway()),
        "## Of the lab",
        ADDED,
        _table(added()),
    )


def _table(families: Iterable[Family]) -> str:
    rows = [
        (code(one.name), one.type, ", ".join(map(code, one.labels)), text(one.help))
        for one in families
    ]
    return table(("metric", "type", "labels", "what it tells"), rows)
