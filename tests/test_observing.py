"""From log lines and pages of metrics to figures; the clock and the engine are fakes here."""

from __future__ import annotations

import json
import math
import socketserver
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmlab.engines import probe
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.errors import UpstreamError
from llmlab.gateway import GatewayPlan, Upstream, metrics
from llmlab.observe.access import Access, read
from llmlab.observe.apis import ApiFigures, ApiRates, Progress
from llmlab.observe.exposition import lab_exposition
from llmlab.observe.latencies import ERROR, Latencies
from llmlab.observe.observer import Observer
from llmlab.observe.samples import Samples, exposition
from llmlab.observe.window import KEPT, STEP, Window
from llmlab.probe.figures import percentile
from llmlab.service.metrics import SECONDS, Metrics
from llmlab.traffic import Flag, Shadow, Share, Split
from tests.summarizing import summarizing
from tests.test_gateway_rendering import ONE_MODEL

NOON = 1_800_000_000.0

# Three lines of a gateway: of one whose routes are rendered, of one that had a single route and
# said its rule as `route`, and of one from before there were any.
ROUTED = (
    '{"time":"2027-01-15T08:00:00+00:00","at":1800000000.123,"request_id":"r1","subject":"alice",'
    '"deployment":"tuned","model":"tuned","method":"POST","path":"/summarize/","status":200,'
    '"seconds":0.210,"upstream_seconds":"0.208","upstream_status":"200","bytes_in":900,'
    '"bytes_out":400,"address":"127.0.0.1","rule":"split","route":"summarize","revision":17,"flags":"new=on",'
    '"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","timing":"queue;dur=1.0"}'
)
OF_ONE_ROUTE = ROUTED.replace('"rule":"split","route":"summarize"', '"route":"split"')
PLAIN = (
    '{"time":"2027-01-15T08:00:00+00:00","request_id":"r2","subject":"","deployment":"textrank",'
    '"model":"","method":"POST","path":"/summarize/","status":401,"seconds":0.000,'
    '"upstream_seconds":"","upstream_status":"","bytes_in":200,"bytes_out":500,'
    '"address":"127.0.0.1"}'
)


def line(**values: Any) -> str:
    return json.dumps(json.loads(ROUTED) | values)


# --- the access log --------------------------------------------------------------------


def test_a_line_tells_who_was_asked_how_it_ended_and_by_which_routes() -> None:
    assert read(ROUTED) == Access(
        at=1800000000.123, deployment="tuned", status=200, seconds=0.21, rule="split", revision=17,
        route="summarize",
    )  # fmt: skip


def test_a_line_of_before_there_were_several_routes_says_the_same() -> None:
    assert read(OF_ONE_ROUTE) == read(ROUTED)


def test_nobody_was_asked_where_the_gateway_refused() -> None:
    """Its location says where the request would have gone."""
    refused = read(PLAIN)
    assert refused == Access(at=NOON, deployment="", status=401, seconds=0.0, rule="stable",
                             route="summarize")  # fmt: skip
    assert not refused.by_share


def test_a_stream_that_its_model_broke_off_counts_as_an_error() -> None:
    request = read(line(broken=1))
    assert request and request.status == 502


def test_a_client_that_hung_up_had_asked_an_api() -> None:
    gone = read(line(status=499, upstream_status="-"))
    assert gone
    assert gone.deployment == "tuned"


@pytest.mark.parametrize(
    ("rule", "by_share"),
    [("split", True), ("stable", True), ("header", False), ("cookie", False), ("claim", False),
     ("flag", False), ("model", False)],
)  # fmt: skip
def test_shares_decide_on_what_no_match_takes(rule: str, by_share: bool) -> None:
    request = read(line(rule=rule))
    assert request
    assert request.by_share is by_share


@pytest.mark.parametrize(
    "text", ["", "nginx: [warn] something", "{}", "[1]", "null", ROUTED[:-30], line(status="x")]
)
def test_what_is_no_request_is_passed_over(text: str) -> None:
    assert read(text) is None


# --- latencies -------------------------------------------------------------------------


@given(
    st.lists(st.floats(0.001, 200), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99])
)
def test_a_quantile_is_off_by_two_percent_at_most(seconds: list[float], share: float) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    exact = percentile(sorted(seconds), 100 * share)
    assert latencies.quantile(share) == pytest.approx(exact, rel=ERROR + 1e-9)


@given(st.lists(st.floats(0, 300), max_size=100))
def test_buckets_count_as_prometheus_does(seconds: list[float]) -> None:
    latencies = Latencies()
    for one in seconds:
        latencies.add(one)
    counted = [(bound, sum(one <= bound for one in seconds)) for bound in (*SECONDS, math.inf)]
    assert list(latencies.buckets()) == counted


@given(st.lists(st.floats(0, 300), max_size=50), st.lists(st.floats(0, 300), max_size=50))
def test_parts_add_up_to_the_whole(some: list[float], others: list[float]) -> None:
    parts, whole = (Latencies(), Latencies()), Latencies()
    for part, seconds in zip(parts, (some, others), strict=True):
        for one in seconds:
            part.add(one)
            whole.add(one)
    together = Latencies.together(parts)
    assert together.buckets() == whole.buckets()
    assert together.count == whole.count
    assert together.quantile(0.95) == pytest.approx(whole.quantile(0.95), nan_ok=True)


def test_no_requests_have_no_quantile() -> None:
    assert math.isnan(Latencies().quantile(0.5))


# --- the last minutes ------------------------------------------------------------------


def request(at: float, deployment: str = "a", status: int = 200, **more: Any) -> Access:
    return Access(at, deployment, status, more.pop("seconds", 0.1), **more)


def window(*requests: Access, begin: float = NOON - 1000, now: float = NOON) -> Window:
    made = Window(begin)
    for one in requests:
        made.add(one, now)
    return made


def test_rates_are_of_the_seconds_that_were_asked_for() -> None:
    seen = window(*(request(NOON - ago) for ago in (1, 2, 3, 70))).glance(NOON, 60)
    assert seen.total.requests == 3
    assert seen.total.per_second == pytest.approx(3 / 60)


def test_rates_of_a_short_while_are_not_spread_over_a_long_one() -> None:
    young = window(*(request(NOON - 1) for _ in range(20)), begin=NOON - 10)
    assert young.glance(NOON, 60).total.per_second == 2
    assert young.glance(NOON, 60).seconds == 10


def test_errors_are_the_share_of_5xx_among_those_that_were_asked() -> None:
    seen = window(
        request(NOON - 1, "a"), request(NOON - 1, "a", 502), request(NOON - 1, "a", 429),
        request(NOON - 1, "a", 422), request(NOON - 1, "b"), request(NOON - 1, "", 401),
        request(NOON - 1, "", 429),
    ).glance(NOON)  # fmt: skip
    assert seen.deployments["a"].errors == 25
    assert seen.deployments["a"].statuses == {"2xx": 1, "4xx": 2, "5xx": 1}
    assert seen.deployments["b"].errors == 0
    assert seen.total.requests == 5
    assert seen.refused == {401: 1, 429: 1}


def test_the_split_is_measured_on_what_the_shares_decided() -> None:
    seen = window(
        *(request(NOON - 1, "stable", rule="stable") for _ in range(3)),
        request(NOON - 1, "canary", rule="split"),
        *(request(NOON - 1, "canary", rule="header") for _ in range(5)),
    ).glance(NOON)
    assert seen.deployments["stable"].share == 75
    assert seen.deployments["canary"].share == 25
    assert seen.shared == 4


def test_the_split_is_measured_since_the_routes_last_changed() -> None:
    seen = window(
        *(request(NOON - 9, "stable", rule="stable", revision=4) for _ in range(50)),
        request(NOON - 1, "stable", rule="stable", revision=5),
        request(NOON - 1, "canary", rule="split", revision=5),
    ).glance(NOON)
    assert seen.deployments["canary"].share == 50
    assert (seen.revision, seen.shared) == (5, 2)


def test_without_requests_nothing_is_measured() -> None:
    nothing = window().glance(NOON)
    assert nothing.deployments == {}
    assert nothing.total.requests == 0
    assert math.isnan(nothing.total.errors)
    assert math.isnan(nothing.total.p95)


def test_the_sparkline_ends_with_the_last_whole_second() -> None:
    recent = (
        window(*(request(NOON - 1) for _ in range(10)), request(NOON - KEPT + 1), request(NOON))
        .glance(NOON + 0.5)
        .total.recent
    )
    assert len(recent) == KEPT // STEP
    assert recent[-1] == 10 / STEP
    assert recent[0] == 1 / STEP
    assert sum(recent[1:-1]) == 0


def test_what_is_older_than_five_minutes_is_forgotten() -> None:
    old = window(*(request(NOON - ago) for ago in range(600)))
    assert old.glance(NOON, 600).total.requests == KEPT
    assert old.glance(NOON + 10_000, 600).total.requests == 0


def test_a_million_requests_take_no_more_room_than_a_thousand() -> None:
    def size(requests: int) -> int:
        made = window(*(request(NOON - n % 10, seconds=0.01 * (n % 37)) for n in range(requests)))
        cells = made._cells.values()
        return sum(len(one.latencies._fine) for cell in cells for one in cell.deployments.values())

    assert size(4000) == size(1000)


def test_a_clock_that_runs_ahead_is_taken_for_now() -> None:
    ahead = window(request(NOON + 50))
    assert ahead.glance(NOON).total.requests == 1
    assert ahead.glance(NOON + KEPT + 1).total.requests == 0


# --- an API's metrics ------------------------------------------------------------------


def api_page(**how: Any) -> str:
    """A page as an API makes it."""
    made = Metrics(deployment="tuned")
    made.model.labels("tuned", "tuned", how.get("model_id", "sha256:abc"), "ctranslate2").set(1)
    made.ready.set(1)
    made.limit.set(32)
    made.waiting.set(how.get("waiting", 3))
    made.requests.labels(how.get("route", "/summarize/"), 200).inc(how.get("requests", 10))
    made.requests.labels("/health/ready", 200).inc(99)
    for _ in range(how.get("batches", 2)):
        made.batch(4, 400, 80, 0.5)
    made.answers.labels("miss").inc(how.get("misses", 6))
    made.answers.labels("hit").inc(how.get("hits", 2))
    made.rejected.labels("queue_full").inc(how.get("rejected", 0))
    return made.text().decode()


def figures(**how: Any) -> ApiFigures:
    return ApiFigures.of(Samples.parse(api_page(**how)))


def test_an_api_tells_its_queue_its_tokens_and_its_batches() -> None:
    told = figures()
    assert (told.model, told.model_id, told.runtime) == ("tuned", "sha256:abc", "ctranslate2")
    assert (told.waiting, told.queue) == (3, 32)
    assert told.requests == 10
    assert (told.tokens_in, told.tokens_out) == (800, 160)
    assert (told.batches, told.batched) == (2, 8)
    assert told.answers == {"miss": 6, "hit": 2, "coalesced": 0}
    assert told.memory > 1 << 20


@pytest.mark.parametrize(
    ("route", "asks"),
    [
        ("/summarize/", True), ("/v1/chat/completions", True), ("/v1/completions", True),
        ("/v1/embeddings", True), ("/v1/models", False), ("/shadow/", False), ("unmatched", False),
    ],
)  # fmt: skip
def test_what_asks_the_model_counts_as_a_request(route: str, asks: bool) -> None:
    page = api_page(route=route)
    assert ApiFigures.of(Samples.parse(page)).requests == 10 * asks
    assert probe.read_metrics(page).requests == 10 * asks


def test_rates_are_what_two_looks_differ_by() -> None:
    rates = ApiRates.between(figures(), figures(batches=7, misses=9, hits=3, rejected=4), 2.0)
    assert rates == ApiRates(tokens_in=1000, tokens_out=200, rejected=2, batch=4, hits=25)


def test_without_a_batch_there_is_no_average_of_it() -> None:
    rates = ApiRates.between(figures(), figures(), 1.0)
    assert rates.tokens_in == 0
    assert math.isnan(rates.batch)
    assert math.isnan(rates.hits)


def test_a_rate_needs_two_looks() -> None:
    assert Progress(60).look(figures(), NOON) is None


def test_rates_look_back_as_far_as_they_are_told_to() -> None:
    progress = Progress(10)
    for second in range(30):
        rates = progress.look(figures(batches=second if second < 15 else 15), NOON + second)
    assert rates
    assert rates.tokens_in == 0


def test_an_api_that_started_anew_has_no_negative_rates() -> None:
    progress = Progress(60)
    progress.look(figures(batches=50, requests=90), NOON)
    assert progress.look(figures(batches=1, requests=1), NOON + 1) is None
    rates = progress.look(figures(batches=2, requests=2), NOON + 2)
    assert rates
    assert rates.tokens_in == 400


def test_another_model_is_another_process() -> None:
    progress = Progress(60)
    progress.look(figures(), NOON)
    assert progress.look(figures(model_id="sha256:other", batches=9), NOON + 1) is None


# --- a whole lab -----------------------------------------------------------------------

TRAFFIC = summarizing(
    split=Split((Share("tuned", 25.0),)),
    shadow=Shadow("spare", 10.0),
    flags=(Flag("new-ui", 5.0),),
    rollout=3,
    step=2,
    revision=17,
)
PLAN = GatewayPlan(
    listen=ONE_MODEL.listen, stable="textrank", rate_limit=ONE_MODEL.rate_limit,
    upstreams=tuple(Upstream(name, ("unix:/x",)) for name in ("textrank", "tuned", "spare")),
    max_body="3m", timeout=120, traffic=TRAFFIC, metrics="unix:/m.sock",
)  # fmt: skip


@dataclass
class FakeEngine:
    """What the observer asks of an engine, and no more."""

    pages: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    gateway: str | None = field(default_factory=lambda: metrics.wanted(PLAN))
    running: bool = True

    def status(self) -> LabStatus:
        deployments = tuple(
            DeploymentStatus(name, name, "sha256:abc", "ctranslate2", True, 0, "RUNNING",
                             memory=65 << 20)
            for name in ("textrank", "tuned", "spare")
        )  # fmt: skip
        gateway = GatewayStatus("http://127.0.0.1:8000", True, "RUNNING")
        return LabStatus("/home/alice/lab", "local", self.running, True, gateway, deployments)

    def ask(self, deployment: str, path: str, **_: Any) -> tuple[int, bytes]:
        assert path == "/metrics"
        if deployment not in self.pages:
            raise UpstreamError(f"{deployment} does not answer")
        return 200, self.pages[deployment].encode()

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        return self.log[int(cursor) :], str(len(self.log))

    def gateway_metrics(self) -> str:
        if self.gateway is None:
            raise UpstreamError("it does not answer")
        return self.gateway


def observer(engine: Any, clock: list[float]) -> Observer:
    return Observer(engine, clock=lambda: clock[0])


def test_a_look_puts_log_metrics_and_weights_together() -> None:
    engine, clock = FakeEngine({"tuned": api_page()}), [NOON]
    engine.log += [line(at=NOON - 5)] * 3 + [
        line(at=NOON - 4, deployment="textrank", rule="stable")
    ]
    view = observer(engine, clock).look()
    assert [one.name for one in view.deployments] == ["textrank", "tuned", "spare"]
    textrank, tuned, _ = view.deployments
    assert (textrank.weight, tuned.weight) == (75, 25)
    assert (textrank.seen.share, tuned.seen.share) == (25, 75)
    assert textrank.api is None
    assert tuned.api
    assert tuned.api.waiting == 3
    assert (view.wanted.rollouts, view.wanted.steps) == ({"summarize": 3}, {"summarize": 2})
    assert view.wanted.revision == 17
    assert view.wanted.flags == {"new-ui": 5}


def test_the_log_is_read_once() -> None:
    engine, clock = FakeEngine(), [NOON]
    engine.log.append(line(at=NOON - 1))
    looking = observer(engine, clock)
    looking.look()
    clock[0] += 1
    assert looking.look().glance.total.requests == 1
    engine.log.append(line(at=NOON + 0.5))
    assert looking.look().glance.total.requests == 2


def test_of_a_long_log_only_the_last_minutes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, clock, parsed = FakeEngine(), [NOON], []

    def counting(text: str) -> Access | None:
        parsed.append(text)
        return read(text)

    monkeypatch.setattr("llmlab.observe.observer.read", counting)
    engine.log += [line(at=NOON - 5000 + second) for second in range(5001)]
    assert observer(engine, clock).look().glance.total.requests == 60
    assert len(parsed) < KEPT + 10


def test_a_lab_that_does_not_run_is_an_error_with_a_fix() -> None:
    with pytest.raises(UpstreamError) as raised:
        observer(FakeEngine(running=False), [NOON]).look()
    assert raised.value.fix == "llmlab up"


def test_a_gateway_that_is_away_for_a_moment_keeps_its_weights() -> None:
    engine, clock = FakeEngine(), [NOON]
    looking = observer(engine, clock)
    before = looking.look().wanted
    engine.gateway = None
    assert looking.look().wanted == before


def test_a_gateway_that_never_told_is_an_error() -> None:
    with pytest.raises(UpstreamError):
        observer(FakeEngine(gateway=None), [NOON]).look()


def test_json_has_no_nan_and_no_infinity() -> None:
    engine = FakeEngine({"tuned": api_page()}, [line(at=NOON - 1)])
    document = json.dumps(observer(engine, [NOON]).look().as_json(), allow_nan=False)
    spare = json.loads(document)["deployments"][2]
    assert spare["name"] == "spare"
    assert spare["seen"]["p95"] is None


# --- one page of it all ----------------------------------------------------------------


def families(text: str) -> dict[str, Any]:
    found = list(text_string_to_metric_families(text))
    assert len({one.name for one in found}) == len(found), "a family stands there twice"
    return {one.name: one for one in found}


def test_all_apis_and_the_gateway_make_one_page_with_each_family_once() -> None:
    engine = FakeEngine({"tuned": api_page(), "textrank": api_page()})
    found = families(lab_exposition(engine))  # type: ignore[arg-type]
    weights = {one.labels["deployment"]: one.value for one in found["llmlab_route_weight"].samples}
    assert weights == {"textrank": 75, "tuned": 25, "spare": 0}
    assert [one.value for one in found["llmlab_rollout_step"].samples] == [2]
    assert [one.value for one in found["llmlab_traffic_revision"].samples] == [17]
    assert [one.labels for one in found["llmlab_flag_percent"].samples] == [{"flag": "new-ui"}]
    up = {one.labels["deployment"]: one.value for one in found["llmlab_up"].samples}
    assert up == {"textrank": 1, "tuned": 1, "spare": 0}


def test_an_apis_metrics_carry_its_deployment_and_its_models_version() -> None:
    engine = FakeEngine({"tuned": api_page()})
    found = families(lab_exposition(engine))  # type: ignore[arg-type]
    (tokens,) = found["llmlab_input_tokens"].samples
    assert tokens.labels == {
        "deployment": "tuned", "replica": "1", "model": "tuned", "model_id": "sha256:abc"
    }  # fmt: skip
    assert tokens.value == 800


def test_a_page_survives_being_read_and_written_again() -> None:
    page = api_page()
    again = exposition([Samples.parse(page)])

    def values(text: str) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
        return {
            (one.name, tuple(sorted(one.labels.items())), one.value)
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if not one.name.endswith("_created")
        }

    assert values(again) == values(page)


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "new\nline", "größe"])
def test_odd_label_values_come_through(name: str) -> None:
    made = Metrics(deployment=name)
    made.ready.set(1)
    (family,) = [
        one
        for one in text_string_to_metric_families(exposition([Samples.parse(made.text().decode())]))
        if one.name == "llmlab_ready"
    ]
    assert family.samples[0].labels == {"deployment": name}


class Hearing(BaseHTTPRequestHandler):
    """Says back whose request it is, as an API hears it."""

    def do_POST(self) -> None:
        who = self.headers["X-Subject"].encode("latin-1")
        self.send_response(200)
        self.send_header("Content-Length", str(len(who)))
        self.end_headers()
        self.wfile.write(who)

    def log_message(self, *_: object) -> None: ...


def test_a_caller_is_named_to_an_api_in_any_letters(tmp_path: Path) -> None:
    name = "Jürgen 東京"
    with socketserver.UnixStreamServer(str(tmp_path / "a.sock"), Hearing) as api:
        threading.Thread(target=api.handle_request, daemon=True).start()
        headers = {"X-Subject": name.encode().decode("latin-1")}  # as ASGI has it
        told = probe.ask(
            tmp_path / "a.sock", "/", method="POST", body=b"{}", timeout=9, headers=headers
        )
    assert told == (200, name.encode())
