"""The console's pages of models: the list, one of them, and two beside each other."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from llmlab.config import Config
from llmlab.console import models
from llmlab.console.app import build_app
from llmlab.console.intervals import SIDE, WIDTH, compared
from llmlab.delivery.using import serving
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.lab import Lab
from llmlab.registry import Registry
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.registry.record import Base, Data, Facts
from llmlab.service.settings import Settings
from llmlab.traffic import Deployed, Match, Shadow, Share, Split, Traffic
from tests.conftest import LabUnderTest
from tests.summarizing import summarizing
from tests.test_registry import make_folder

EVIL = '"><script>alert(1)</script><b onclick=x style=y>'
MARKUP = re.compile(r"<script(?! src=\"/console/static/)|<[^>]*\s(style|on\w+)=")
Ask = Callable[..., Any]
CONFIG = """
routes = { summarize = "textrank", chat = "" }
[models.textrank]
runtime = "extractive"
source = "embedded:textrank"
[models.twin]
runtime = "extractive"
source = "embedded:textrank"
max_length = 60
"""

NEXT = (Deployed("next", "next"),)


def level(metric: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {"metric": metric, "n": 41, "value": value,
            "interval": {"low": low, "high": high, "level": 0.95}}  # fmt: skip


def evaluation(*levels: dict[str, Any], **values: Any) -> dict[str, Any]:
    return {"suite": "news", "digest": "d1", "n": 41, "seed": 1, "options": {}, "baseline": None,
            "verdict": None, "metrics": {one["metric"]: one for one in levels},
            **values}  # fmt: skip


COVERAGE = level("coverage", 0.55, 0.48, 0.63)
LATENCY = level("p95", 4.2, 3.7, 4.8)
VERDICT = {"gate": "coverage>=0.5 p95<=1.2x", "outcome": "inconclusive",
           "reason": "coverage may be below 0.5"}  # fmt: skip


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """One that counts as running, by its record; no process of it does."""
    lab = Lab(tmp_path / "lab")
    (lab.root / "configs").mkdir(parents=True)
    lab.config_file.write_text(CONFIG)
    lab.make_state()
    config = Config()
    settings = Settings(deployment="textrank", name="textrank", model=config.models["textrank"],
                        folder=None, service=config.service)  # fmt: skip
    Record.of(Plan(config, "textrank", (settings,)), "local", "1.31.3").write(lab)
    return lab


@pytest.fixture
def registry(lab: Lab, tmp_path: Path) -> Registry:
    """tuned:2 was tuned from tuned:1; both were judged by the same texts."""
    registry = Registry(lab)
    base = Base("org/model", "abc", "sha256:" + "1" * 64)
    first = registry.add(make_folder(tmp_path / "one"), "tuned",
                         Facts("path", "transformers", base=base, note=EVIL)).record  # fmt: skip
    registry.add(
        make_folder(tmp_path / "two", b"others"), "tuned",
        Facts("tuned", "transformers", parent=first.id, data=(Data("train", "d", 1200, "news"),)),
    )  # fmt: skip
    registry.append_evaluation("tuned:1", evaluation(COVERAGE, LATENCY, verdict=VERDICT))
    registry.append_evaluation("tuned:2", evaluation(level("coverage", 0.7, 0.66, 0.74)))
    registry.tag("tuned:2", "candidate")
    return registry


@pytest.fixture
def ask(lab: Lab) -> Ask:
    client = TestClient(build_app(lab, lambda: "1"))

    def ask(path: str, role: str = "viewer", **query: str) -> Any:
        return client.get(f"/console/{path}", params=query,
                          headers={"X-Subject": "alice", "X-Role": role})  # fmt: skip

    return ask


# --- estimates on a line ------------------------------------------------------------------------


def test_an_estimate_lies_within_its_interval_and_a_bound_of_its_gate_beside_it() -> None:
    coverage, p95 = compared([evaluation(COVERAGE, LATENCY, verdict=VERDICT)])
    (line,) = coverage.lines
    assert SIDE < line.left < line.at < line.right < WIDTH - SIDE
    assert coverage.bound is not None and line.left < coverage.bound < line.at
    assert (coverage.asked, coverage.low, coverage.high) == ("coverage>=0.5", "0", "1")
    assert p95.bound is None and p95.high == "5"  # 1.2x of a baseline is no place on this axis


def test_two_models_share_an_axis_and_one_without_a_value_has_no_line() -> None:
    other = evaluation(level("coverage", 0.7, 0.66, 0.74))
    coverage, p95 = compared([evaluation(COVERAGE, LATENCY, verdict=VERDICT), other])
    assert [one.look for one in coverage.lines] == ["a", "b"]
    assert coverage.lines[0].at < coverage.lines[1].at and coverage.bound is None
    assert [one.look for one in p95.lines] == ["a"] and p95.estimates[1] is None


@pytest.mark.parametrize(
    "odd",
    [
        {"metrics": {}}, {}, {"metrics": {"coverage": {"value": None, "interval": None, "n": 0}}},
        {"metrics": {"made_up": {"value": -3.0, "n": 1}}, "verdict": {"gate": "no gate"}},
        {"metrics": {"empty": {"value": 0.0, "n": 1, "interval": None}}},
    ],
)  # fmt: skip
def test_what_an_older_version_has_noted_is_drawn_as_far_as_it_goes(odd: dict[str, Any]) -> None:
    for one in compared([odd]):
        assert all(SIDE <= each.at <= WIDTH - SIDE for each in one.lines)


# --- the pages ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("registry")
def test_the_list_is_that_of_the_verb(lab: Lab, ask: Ask) -> None:
    assert ask("models.json").json() == LabUnderTest(lab.root, 0).json("models", "list")
    page = ask("models").text
    for name in ("textrank", "twin", "tuned%3A1", "tuned%3A2"):
        assert f'href="/console/models/show?name={name}"' in page
    assert '<span class="tag">candidate</span>' in page


@pytest.mark.usefixtures("registry")
def test_a_model_is_that_of_the_verb_with_its_lineage_and_evaluations(lab: Lab, ask: Ask) -> None:
    told = LabUnderTest(lab.root, 0).json("models", "show", "tuned:1")
    assert ask("models/show.json", name="tuned:1").json() == told
    page = ask("models/show", name="tuned:1").text
    assert "published as</span> org/model at abc" in page
    assert 'tuned further:</span> <a href="/console/models/show?name=tuned%3A2"' in page
    assert '<span class="tag unsure">? inconclusive</span>' in page
    assert "0.48 to 0.63" in page and "<code>coverage&gt;=0.5</code>" in page
    assert 'href="/console/models/show.json?name=tuned%3A1"' in page
    child = ask("models/show", name="candidate").text
    assert "<h1>tuned:2</h1>" in child
    assert 'tuned from</span> <a href="/console/models/show?name=tuned%3A1"' in child
    assert "train: 1,200 texts of news" in child


@pytest.mark.usefixtures("registry")
def test_two_are_compared_by_what_differs_and_by_the_suites_that_judged_both(ask: Ask) -> None:
    document = ask("models/compare.json", a="tuned:1", b="tuned:2").json()
    differs = {one["name"]: (one["a"], one["b"]) for one in document["differences"]}
    assert (
        differs["origin"] == ("path", "tuned")
        and differs["note"] == (EVIL, "")
        and "parent" in differs
        and "data, train" in differs
    )
    assert "runtime" not in differs and document["same"] > 3
    assert document["suites"] == ["news"]
    page = ask("models/compare", a="tuned:1", b="tuned:2").text
    assert page.count('<g class="b">') == 2  # its legend, and the one measure that it has
    same = ask("models/compare", a="tuned:1", b="tuned:1").text
    assert "Nothing: they are one model under two names." in same
    assert "twin is a part of llmlab" in ask("models/compare", a="tuned:1", b="twin").text
    assert "What differs" not in ask("models/compare").text


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("path", "query"),
    [("models", {}), ("models/show", {"name": "tuned:1"}),
     ("models/compare", {"a": "tuned:1", "b": "tuned:2"}), ("models/show", {"name": EVIL}),
     ("models/compare", {"a": EVIL, "b": EVIL}), ("models/compare", {"a": EVIL})],
)  # fmt: skip
def test_foreign_text_is_text(ask: Ask, path: str, query: dict[str, str]) -> None:
    page = ask(path, **query).text
    assert not MARKUP.search(page)
    assert "alert(1)" not in page or "&lt;script&gt;" in page


@pytest.mark.parametrize(
    ("path", "query", "said"),
    [("models/show", {"name": "gone"}, "No model &#39;gone&#39; is defined"),
     ("models/show", {"name": "sha256:" + "0" * 64}, "No registered model has the id"),
     ("models/show", {"name": "gone:1"}, "gone"), ("models/show", {}, "No model is named"),
     ("models/compare", {"a": "textrank", "b": "gone"}, "No model &#39;gone&#39;")],
)  # fmt: skip
def test_a_model_that_there_is_not_is_said_with_what_to_do(
    ask: Ask, path: str, query: dict[str, str], said: str
) -> None:
    answer = ask(path, **query)
    assert answer.status_code == (404 if query else 400)
    assert said in answer.text and "What to do:" in answer.text


@pytest.mark.usefixtures("registry")
def test_no_files_are_read_for_an_id_that_nobody_has_registered(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any, **__: Any) -> Any:
        raise AssertionError("all files of all models")

    monkeypatch.setattr(Catalogue, "_by_id", read)
    own = ask("models/show.json", name="tuned:1").json()["record"]["id"]
    assert ask("models/show", name=own).status_code == 200
    other = "sha256:" + "0" * 64
    assert ask("models/show", name=other).status_code == 404
    assert ask("models/compare", a="textrank", b=other).status_code == 404


def test_what_was_never_judged_says_how(ask: Ask) -> None:
    page = ask("models/show", name="twin").text
    assert "It is a part of llmlab and has no record, so what judges it is not kept." in page
    assert "llmlab evaluate" not in page  # which would change nothing here
    both = ask("models/compare", a="textrank", b="twin").text
    assert "twin is a part of llmlab and has no record" in both
    assert "No suite has judged both" not in both


@pytest.mark.usefixtures("registry")
def test_what_is_registered_and_was_never_judged_says_how(lab: Lab, ask: Ask) -> None:
    Registry(lab).add(
        make_folder(lab.root / "three", b"more"), "third", Facts("path", "transformers")
    )
    page = ask("models/show", name="third:1").text
    assert "llmlab evaluate --model third:1 --suite news" in page
    assert "No suite has judged both" in ask("models/compare", a="third:1", b="tuned:1").text


def test_the_list_says_what_serves_now_beside_what_lab_toml_says(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "100 % of summarize" not in ask("models").text  # nothing runs
    monkeypatch.setattr("llmlab.delivery.using.running_engine", lambda _: "local")
    page = ask("models").text
    assert page.index('<th scope="col">Serves now</th>') < page.index("In lab.toml</th>")
    assert "textrank, 100 % of summarize" in page


@pytest.mark.parametrize(
    ("traffic", "said"),
    [
        (summarizing(deployments=NEXT), "by name only"),
        (summarizing(deployments=NEXT, split=Split((Share("next", 5.0),))), "5 % of summarize"),
        (summarizing(deployments=NEXT, shadow=Shadow("next", 9.0)), "copies of summarize"),
        (summarizing(deployments=NEXT, matches=(Match("header", "X-Beta", "on", "next"),)),
         "by a match of summarize"),
    ],
)  # fmt: skip
def test_what_serves_says_how_it_is_led_to(traffic: Traffic, said: str) -> None:
    config = Config()
    settings = [Settings(deployment=name, name=name, model=config.models["textrank"], folder=None,
                         service=config.service) for name in ("textrank", "next")]  # fmt: skip
    found = serving(Plan(config, "textrank", tuple(settings), traffic=traffic),
                    Known("next", config.models["textrank"]))  # fmt: skip
    assert found[1] == f"next, {said}"
    shorter = config.models["textrank"].model_copy(update={"max_length": 60})
    assert not serving(Plan(config, "textrank", tuple(settings)), Known("shorter", shorter))


def test_files_are_read_again_only_when_they_have_changed(
    lab: Lab, registry: Registry, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[str] = []
    shown = models.shown

    def counting(catalogue: Any, known: Any) -> Any:
        reads.append(known.name)
        return shown(catalogue, known)

    monkeypatch.setattr(models, "shown", counting)
    lab.config_file.write_text(CONFIG + "min_length = 7\n")  # of twin: another than in other tests
    for _ in range(3):
        assert ask("models/show.json", name="twin").json()["min_length"] == 7
    assert reads == ["twin"]
    registry.append_evaluation("tuned:1", evaluation(COVERAGE, suite="later"))
    found = ask("models/show.json", name="tuned:1").json()["record"]["evaluations"]
    assert [one["suite"] for one in found] == ["news", "later"]
