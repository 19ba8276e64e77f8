"""All metrics of a lab as one page for Prometheus."""

from __future__ import annotations

from llmlab.engines.base import Engine
from llmlab.errors import UpstreamError
from llmlab.observe.observer import api_pages, gateway_page
from llmlab.observe.samples import Samples, exposition

TYPE = "text/plain; version=0.0.4; charset=utf-8"
UP = """\
# HELP llmlab_up How many processes of a deployment answer; their metrics are there only then.
# TYPE llmlab_up gauge
llmlab_up{{deployment="{name}"}} {value}
"""


def lab_exposition(engine: Engine) -> str:
    """What the APIs and the gateway of a running lab say, each API's metrics labelled with its
    deployment, the number of its process, and its model.

    Raises:
        UpstreamError: the lab does not run, or its gateway does not answer.
    """
    status = engine.status()
    if not status.running:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    pages = [gateway_page(engine)]
    for one in status.deployments:
        own = api_pages(engine, one)
        pages.append(Samples.parse(UP.format(name=one.name, value=len(own))))
        for number, page in own.items():
            told = page.labels("llmlab_model_info")
            model = {name: told[name] for name in ("model", "model_id") if name in told}
            pages.append(page.labelled({"deployment": one.name, "replica": str(number), **model}))
    return exposition(pages)
