"""All metrics of a lab as one page for Prometheus."""

from __future__ import annotations

from llmlab.engines.base import Engine
from llmlab.errors import UpstreamError
from llmlab.observe.observer import api_page, gateway_page
from llmlab.observe.samples import Samples, exposition

TYPE = "text/plain; version=0.0.4; charset=utf-8"
UP = """\
# HELP llmlab_up Whether an API answers; its other metrics are there only then.
# TYPE llmlab_up gauge
llmlab_up{{deployment="{name}"}} {value}
"""


def lab_exposition(engine: Engine) -> str:
    """What the APIs and the gateway of a running lab say, each API's metrics labelled with its
    deployment and model.

    Raises:
        UpstreamError: the lab does not run, or its gateway does not answer.
    """
    status = engine.status()
    if not status.running:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    pages = [gateway_page(engine)]
    for one in status.deployments:
        page = api_page(engine, one.name)
        pages.append(Samples.parse(UP.format(name=one.name, value=int(page is not None))))
        if page:
            told = page.labels("llmlab_model_info")
            model = {name: told[name] for name in ("model", "model_id") if name in told}
            pages.append(page.labelled({"deployment": one.name, **model}))
    return exposition(pages)
