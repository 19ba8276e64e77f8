"""What the gateway tells of itself: weights as they are rendered, counts as NGINX keeps them."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from importlib import resources

import httpx2
import pytest

from llmlab.engines.local.engine import LocalEngine
from llmlab.errors import UpstreamError
from llmlab.gateway import Upstream, metrics
from llmlab.observe.samples import Samples
from llmlab.processes import nginx_workers, runs
from llmlab.service.metrics import SECONDS
from llmlab.traffic import Deployed, Flag, Shadow, Share, Split, Traffic
from tests.conftest import LabUnderTest, wait_until
from tests.summarizing import route_of, summarizing
from tests.test_gateway_rendering import ONE_MODEL

TEXT = "The tide is late today, so the boats wait at the quay. A gull sleeps on the mast."
TWO = replace(
    ONE_MODEL,
    upstreams=(Upstream("textrank", ("unix:/a",)), Upstream("tuned", ("unix:/b",))),
    metrics="unix:/run/metrics.sock",
)


def told(traffic: Traffic) -> Samples:
    return Samples.parse(metrics.wanted(replace(TWO, traffic=traffic)))


# --- what Prometheus finds ---------------------------------------------------------------


def test_it_finds_the_metrics_of_every_process_at_the_gateway() -> None:
    twins = Upstream("tuned", ("unix:/run/tuned.sock", "unix:/run/tuned.2.sock"), replicas=2)
    plan = replace(TWO, upstreams=(TWO.upstreams[0], twins), scraped_at="nginx:9113")
    text = metrics.files(plan)["lab/metrics.conf"]
    found = re.search(r"set \$lab_apis '(.*)';", text)
    assert found
    listed = json.loads(found[1])
    assert [one["labels"]["instance"] for one in listed] == ["a", "tuned", "tuned.2"]
    for one in listed:
        assert one["targets"] == ["nginx:9113"]
        assert f"location = {one['labels']['__metrics_path__']} {{" in text
    assert "proxy_pass http://unix:/run/tuned.2.sock:/metrics;" in text


def test_where_it_reaches_the_sockets_itself_the_gateway_passes_nothing_on() -> None:
    assert "/apis" not in metrics.files(TWO)["lab/metrics.conf"]


# --- what is wanted ----------------------------------------------------------------------


def test_without_a_split_the_stable_deployment_gets_everything() -> None:
    page = told(Traffic())
    assert page.by("deployment", "llmlab_route_weight") == {"textrank": 100, "tuned": 0}
    assert page.by("deployment", "llmlab_route_stable") == {"textrank": 1, "tuned": 0}
    assert page.total("llmlab_rollout") == 0


def test_weights_are_those_of_the_traffic() -> None:
    traffic = summarizing(
        split=Split((Share("tuned", 5.0),)), rollout=3, step=1, revision=12,
        deployments=(Deployed("tuned", "tuned:2"),),
        flags=(Flag("new-ui", 10.0), Flag("short", 0.0)), shadow=Shadow("tuned", 20.0),
    )  # fmt: skip
    page = told(traffic)
    assert page.by("deployment", "llmlab_route_weight") == route_of(traffic).weights("textrank")
    assert page.by("flag", "llmlab_flag_percent") == {"new-ui": 10, "short": 0}
    assert page.by("deployment", "llmlab_shadow_percent") == {"tuned": 20}
    numbers = ("llmlab_rollout", "llmlab_rollout_step", "llmlab_traffic_revision")
    assert [page.total(one) for one in numbers] == [3, 1, 12]


def test_a_promoted_deployment_is_the_stable_one() -> None:
    page = told(summarizing(stable="tuned"))
    assert page.by("deployment", "llmlab_route_stable") == {"textrank": 0, "tuned": 1}
    assert page.by("deployment", "llmlab_route_weight") == {"textrank": 0, "tuned": 100}


def test_a_quote_does_not_end_the_text_in_the_configuration() -> None:
    rendered = metrics.files(TWO)["lab/metrics.conf"]
    text = re.search(r"set \$lab_wanted '((?:[^'\\]|\\.)*)';", rendered)
    assert text
    assert re.sub(r"\\(.)", r"\1", text[1]) == metrics.wanted(TWO)


def test_without_an_address_there_is_neither_server_nor_script() -> None:
    assert metrics.files(ONE_MODEL) == {"lab/metrics.conf": ""}


def test_nginx_plus_tells_the_weights_and_counts_nothing() -> None:
    rendered = metrics.files(replace(TWO, edition="plus"))
    assert "js_" not in rendered["lab/metrics.conf"]
    assert "return 200 $lab_wanted" in rendered["lab/metrics.conf"]
    assert list(rendered) == ["lab/metrics.conf"]


def test_the_script_counts_in_the_buckets_of_the_apis() -> None:
    script = resources.files("llmlab.gateway").joinpath("counts.js").read_text()
    found = re.search(r"const SECONDS = \[([\d., ]+)\]", script)
    assert found
    assert tuple(float(one) for one in found[1].split(",")) == SECONDS


# --- what a running gateway counts -----------------------------------------------------


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__rate='"20r/s"', gateway__rate_limit__burst="5")
    one.ok("up")
    return one


def page(lab: LabUnderTest) -> Samples:
    return Samples.parse(LocalEngine(lab.lab).gateway_metrics())


def asked(lab: LabUnderTest, status: int) -> float:
    return page(lab).total("llmlab_gateway_requests_total", status=str(status))


def test_a_request_is_counted_with_its_status_and_its_time(lab: LabUnderTest) -> None:
    before, name = page(lab), "llmlab_gateway_request_seconds"
    with lab.client() as client:
        assert client.post("/summarize/", json={"text": TEXT}).status_code == 200
        assert client.post("/summarize/", json={"words": TEXT}).status_code == 422
    wait_until(lambda: asked(lab, 422) == before.total(
        "llmlab_gateway_requests_total", status="422") + 1)  # fmt: skip
    after = page(lab)
    for series in (f"{name}_count", f"{name}_bucket"):
        assert after.total(series, deployment="textrank") > before.total(series)
    assert after.total(f"{name}_bucket", le="+Inf") == after.total(f"{name}_count")
    assert after.total(f"{name}_sum") > before.total(f"{name}_sum")
    shared = "llmlab_gateway_shared_requests_total"
    assert after.total(shared) == before.total(shared) + 2


def test_what_the_gateway_refuses_is_no_request_to_a_deployment(lab: LabUnderTest) -> None:
    before = page(lab)
    assert httpx2.post(f"{lab.url}/summarize/", trust_env=False).status_code == 401
    with lab.client("hurried") as client:
        statuses = [client.post("/summarize/", json={"text": TEXT}).status_code for _ in range(40)]
    limited = statuses.count(429)
    assert limited > 5
    name = "llmlab_gateway_refused_total"
    wait_until(lambda: page(lab).total(name, status="429") == before.total(
        name, status="429") + limited)  # fmt: skip
    after = page(lab)
    assert after.total(name, status="401") == before.total(name, status="401") + 1
    total = "llmlab_gateway_requests_total"
    assert after.total(total) == before.total(total) + 40 - limited


def test_health_checks_that_succeed_are_not_counted(lab: LabUnderTest) -> None:
    before = page(lab).total("llmlab_gateway_requests_total")
    for _ in range(3):
        assert httpx2.get(f"{lab.url}/health", trust_env=False).status_code == 200
    assert page(lab).total("llmlab_gateway_requests_total") == before


def test_counters_are_there_before_they_rise(lab: LabUnderTest) -> None:
    """Else Prometheus would not see the first error as one."""
    told = page(lab).by("status", "llmlab_gateway_requests_total")
    assert {"500", "502", "503", "504"} <= set(told)


def test_counts_outlive_a_reload(lab: LabUnderTest) -> None:
    before = page(lab).total("llmlab_gateway_requests_total")
    assert before > 0
    lab.ok("keys", "rotate")
    assert page(lab).total("llmlab_gateway_requests_total") >= before


def test_only_the_labs_owner_can_open_the_socket(lab: LabUnderTest) -> None:
    folder = lab.lab.gateway_socket.parent.stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == os.geteuid()


def test_at_the_gateways_address_metrics_are_for_operators(lab: LabUnderTest) -> None:
    with lab.client() as client:
        assert client.get("/metrics").status_code == 403
        assert client.get("/models/textrank/metrics").status_code == 404
        operator = lab.ok("token", "--scope", "operator", "--header").strip().partition(": ")
        page = client.get("/metrics", headers={operator[0]: operator[2]})
        assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert "llmlab_route_weight" in page.text


def test_the_socket_serves_metrics_and_nothing_else(lab: LabUnderTest) -> None:
    over = httpx2.HTTPTransport(uds=str(lab.lab.gateway_socket))
    with httpx2.Client(transport=over, base_url="http://gateway") as client:
        answer = client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        for path in ("/", "/summarize/", "/health", "/metrics/"):
            assert client.get(path).status_code == 404


def test_after_a_gateway_was_killed_hard_the_next_one_tells(lab: LabUnderTest) -> None:
    """Its socket is left behind, and its workers tell until they leave."""
    supervisor = LocalEngine(lab.lab).supervisor
    killed = supervisor.pid("gateway")
    assert killed
    orphans = nginx_workers(killed)
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: supervisor.pid("gateway") not in (None, killed), 30)
    wait_until(lambda: not any(runs(one) for one in orphans), 30)
    assert page(lab).by("deployment", "llmlab_route_weight")


def test_a_lab_that_is_down_tells_nothing(make_lab: Callable[..., LabUnderTest]) -> None:
    with pytest.raises(UpstreamError) as raised:
        LocalEngine(make_lab().lab).gateway_metrics()
    assert raised.value.fix == "llmlab up"
