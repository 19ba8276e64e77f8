"""What verbs print with `-o json` is what their types say, in a lab that runs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from llmlab.cli.app import app
from llmlab.reference import metrics, verbs
from llmlab.reference.documents import UNTYPED, Measured, documents
from llmlab.reference.shapes import docstring, inner, misfits, shape
from llmlab.rollout.simulating import Drill
from llmlab.tune.result import Outcome, Result, Round
from llmlab.tune.training import Trained
from tests.conftest import TEXTS, LabUnderTest, wait_until
from tests.test_registry import make_folder

KNOWN = documents()
ARTICLE = str(TEXTS / "lighthouses.txt")
TWIN = """
[models.twin]
runtime = "extractive"
source = "embedded:textrank"

[[budgets]]
requests_per_day = 1000000
"""
# They need Docker, JupyterLab, minutes, or a judge, which test_judge_lab has; the others print
# what `rollout get` prints.
NOT_SEEN_HERE = {
    "build", "notebook", "drill aa", "drill aa --live", "rollout abort", "rollout start ab",
    "rollout start bluegreen", "rollout start shadow", "tune", "judge calibrate", "judge compare",
    "judge show",
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false", console__enabled='"auto"')
    with (one.root / "configs" / "lab.toml").open("a") as config:
        config.write(TWIN)
    one.ok("up")
    return one


@pytest.fixture
def said(lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Ask a verb for its document, and hold that against its type."""
    monkeypatch.chdir(lab.root)
    for name in set(os.environ) - set(lab.env):
        monkeypatch.delenv(name)

    def ask(verb: str, *arguments: str, stdin: str = "", code: int = 0) -> Any:
        done = CliRunner().invoke(
            app, [*verb.split(), *arguments, "-o", "json"], input=stdin, prog_name="llmlab"
        )
        assert done.exit_code == code, done.stderr or done.exception
        document = json.loads(done.stdout)
        assert misfits(document, KNOWN[verb], verb) == []
        return document

    return ask


Said = Callable[..., Any]


# --- the types themselves ------------------------------------------------------------


def test_every_verb_that_prints_json_has_a_type_or_a_row_of_the_table_by_hand() -> None:
    printing = {
        one.name for one in verbs.verbs()
        if one.runs and any("-o" in each.names for each in one.parameters)
    }  # fmt: skip
    described = {verb.partition(" --")[0] for verb in [*KNOWN, *UNTYPED]}
    assert described == printing
    assert not set(KNOWN) & set(UNTYPED)


def test_no_key_is_described_that_is_not_there() -> None:
    """A docstring that names another key than the type has would be lost."""
    for hint in KNOWN.values():
        for one in inner(hint):
            if isinstance(one, type) and "TypedDict" in str(type(one)):
                names = {key.name for key in shape(one).keys}
                assert set(docstring(one)[1]) <= names, one


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"sub": "a"}, "it: until of Ended is missing"),
        ({"sub": "a", "until": 1, "more": 1}, "it: Ended has no more"),
        ({"sub": 1, "until": 1}, "it.sub: 1 is not string"),
        ({"sub": "a", "until": True}, "it.until: True is not integer"),
        ([], "it: [] is no Ended"),
    ],
)
def test_what_does_not_fit_is_told_with_its_path(document: Any, problem: str) -> None:
    assert misfits(document, KNOWN["token revoke"]) == [problem]


def test_figures_that_were_not_measured_are_null() -> None:
    from llmlab.probe.figures import Latency

    nothing = dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
    assert misfits(nothing, Measured[Latency]) == []
    assert misfits(nothing, Latency) != []


# --- what verbs print ----------------------------------------------------------------


def test_the_lab_and_its_configuration(said: Said) -> None:
    assert said("status")["healthy"]
    values = {one["path"]: one for one in said("config show")}
    assert values["routes.summarize"]["running"] == "textrank"
    said("doctor")


def test_what_the_lab_does(said: Said, lab: LabUnderTest) -> None:
    said("summarize", ARTICLE)
    assert said("console", "--no-browser")["role"] == "operator"
    url, replied = said("url")["url"], said("chat", "One lamp. Two ships.", "-m", "summarize")
    assert (url, replied["deployment"]) == (lab.url, "textrank")
    assert said("metrics")["glance"]["total"]["requests"] >= 0
    assert said("top --once", "--interval", "0.5")["deployments"][0]["api"]["requests"] >= 1


def test_summaries_traces_and_comparisons(said: Said, lab: LabUnderTest, tmp_path: Path) -> None:
    missing = tmp_path / "empty.txt"
    missing.write_text(" ")
    (done,) = said("summarize", ARTICLE)["results"]
    wait_until(lambda: bool(lab.run("trace", done["request_id"]).returncode == 0))
    assert said("usage", "--by", "route")[0]["name"] == "summarize"
    (traced,) = said("trace", done["request_id"])
    assert traced["served_by"]["deployment"] == "textrank"
    assert said("trace --last", "1")[0]["status"]
    said("compare", ARTICLE, "--model", "textrank", "--model", "lead-3")
    said("load", "--duration", "1s", "--warm-up", "0s", "--concurrency", "1")
    assert said("probe --list", "--only", "auth.no-token")[0]["proves"]
    assert said("probe", "--only", "auth.no-token")["results"][0]["verdict"] == "passed"


def test_recordings_and_replays(said: Said, lab: LabUnderTest) -> None:
    name = said("record start", "--route", "summarize")["id"]
    wait_until(lambda: f"recording {name}: what" in lab.ok("logs", "api-textrank"))
    said("summarize", ARTICLE)
    wait_until(lambda: said("record list")[0]["requests"] == 1)
    (kept,) = said("record show", name)["records"]
    assert kept["choices"][0]["finish_reason"] == "stop"
    replayed = said("replay", name, "--model", "lead-3", "--baseline", "textrank", code=8)
    assert (replayed["asked"], replayed["verdict"]["outcome"]) == (1, "inconclusive")
    assert said("models suite from", name, "--name", "lived")["cases"] == 1
    assert said("record stop", name)["changed"]
    said("record remove", name)


def test_suites_and_evaluations(said: Said) -> None:
    assert said("models suite stats", "founding")["cases"] == 10
    said("models suite lint", "founding")
    found = said("evaluate", "--suite", "founding", "--model", "textrank", "--baseline", "lead-3",
                 "--gate", "coverage>=0 length<=2x")  # fmt: skip
    assert found["verdict"]["outcome"] == "pass"
    assert found["comparisons"] and found["regressions"]


def test_tokens_and_keys(said: Said) -> None:
    token = said("token", "--sub", "eve")
    assert said("token --decode", "-", stdin=token["token"])["valid"]
    said("token revoke", "--sub", "eve")
    assert [one["sub"] for one in said("token revoked")] == ["eve"]
    said("token restore", "--sub", "eve")
    assert [one["state"] for one in said("keys list")] == ["signing"]
    made = said("keys api create", "--sub", "eve", "--scope", "summarize", "--expires", "1h")
    assert [one["id"] for one in said("keys api list")] == [made["id"]]
    assert said("keys api revoke", made["id"])["scopes"] == ["summarize"]


def test_an_export_of_a_lab_that_runs(said: Said, tmp_path: Path) -> None:
    told = said("export kubernetes", "--out", str(tmp_path / "kubernetes"))
    assert {str(one.relative_to(told["folder"])) for one in Path(told["folder"]).rglob("*")
            if one.is_file()} == {*told["files"]}  # fmt: skip
    assert any("budgets count" in one for one in told["notes"])


def test_certificates(
    said: Said, make_lab: Callable[..., LabUnderTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said("tls show")["enabled"] is False
    down = make_lab(gateway__tls__enabled="true")
    monkeypatch.chdir(down.root)
    assert said("tls renew")["taken_over"] is False
    assert said("tls show")["certificate"]["ours"]
    assert "127.0.0.0/8" in said("tls trust")["signs_for"]


def test_flags(said: Said) -> None:
    said("flag set", "short", "--percent", "10", "--for", "team=blue", "--max-length", "30")
    assert [one["name"] for one in said("flag list")] == ["short"]
    assert said("flag explain", "short", "--sub", "eve")["flag"] == "short"
    said("flag rm", "short")
    assert [one["definition"] is None for one in said("flag history")] == [False, True]


def test_deployments_drills_and_rollouts(said: Said) -> None:
    said("deploy", "twin")
    assert said("deployment scale", "twin", "2")["replicas"] == 2
    said("drill slow", "--deployment", "twin", "--seconds", "0.1")
    for verb in (
        "drill errors", "drill worse-text", "drill empty", "drill repeat", "drill crash",
        "drill late-first-token", "drill stalls", "drill truncated", "drill refusals",
        "drill invent", "drill other-language",
    ):  # fmt: skip
        said(verb, "--deployment", "twin")
    assert said("drill off", "--deployment", "twin")["changed"]
    said("deployment stop", "twin")

    said("rollout lint", "twin", "--text-gate", "")
    started = said("rollout start canary", "twin", "--text-gate", "", "--bake", "0s")
    assert [one["role"] for one in started["deployments"]] == ["stable", "candidate"]
    wait_until(lambda: said("rollout get")["phase"] == "progressing", 60)
    assert said("rollout pause")["paused"]
    said("rollout status", code=1)
    said("rollout resume")
    said("rollout promote", "--full")
    assert said("rollout status")["phase"] == "completed"
    said("rollout undo")
    said("rollout status")
    assert [one["kind"] for one in said("rollout history")] == ["canary", "undo"]
    assert said("rollout pairs", "1")["worst"] is None
    assert said("rollout report", "1")["rollout"]["kind"] == "canary"


def test_what_the_gate_does_in_worlds_that_are_made_up() -> None:
    found = Drill(20, 1, 18, 1, 0.05, reasons=("chance",))
    row = json.loads(json.dumps(found.as_json("equal")))
    assert misfits({"seed": 0, "alpha": 0.05, "equal": [row], "worse": []}, KNOWN["drill aa"]) == []


def test_what_came_of_a_tune() -> None:
    trained = Trained(2, 1.0, 8, 0, ((1, 2.5, None),), None, "float32", "cpu", 10, 5, False)
    result = Result(
        Outcome.TUNED, "without a gate", "tuned", "scratch:tiny", (Round(1, trained, {}),), None,
        None, {"train": 8}, {"rate": 0.1}, {"shared": 0}, 1, 2.0,
    )  # fmt: skip
    assert misfits(json.loads(json.dumps(result.as_json())), KNOWN["tune"]) == []


def test_the_ledger(said: Said, tmp_path: Path) -> None:
    assert said("ledger") == said("ledger show")
    assert said("ledger verify")["whole"]
    said("ledger export", str(tmp_path / "ledger.jsonl"))


def test_models_and_the_registry(said: Said, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    added = said("models add", str(folder), "--name", "tuned", "--runtime", "transformers")
    said("models tag", "tuned:1", "candidate")
    assert {one["name"] for one in said("models list")} >= {"textrank", "falconsai", "tuned:1"}
    for name in ("textrank", "falconsai", "tuned"):
        assert said("models show", name)["name"]
    assert said("models verify")["models"][0]["verdict"] == "ok"
    said("models untag", "candidate")
    assert len(said("models history")) == 2
    said("models add-upstream", "far", "--base-url", "https://far.example/v1", "--model", "m")
    said("models export", "tuned:1", str(tmp_path / "tuned.tar"))
    assert said("models rm", "tuned:1")["removed"]
    assert said("models import", str(tmp_path / "tuned.tar"))["id"] == added["id"]


def test_the_course(said: Said) -> None:
    said("course")
    assert [one["number"] for one in said("course list")] == list(range(1, 10))
    said("course start", "1")
    assert said("course check", "9", code=8)["done"] is False


def test_a_class(said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = said(
        "course class create", "1", "--dir", str(tmp_path / "class"), "--ports", "19000-19999"
    )
    folder = ("--dir", str(tmp_path / "class"))
    (up,) = said("course class up", *folder)
    assert up == {"name": made["labs"][0]["name"], "done": True, "problem": ""}
    (one,) = said("course class status", *folder)["labs"]
    assert one["running"] and one["healthy"]
    said("course class down", *folder)
    monkeypatch.chdir(tmp_path / "class" / up["name"])
    assert said("course reset", "--yes")["stops"] == ""


def test_a_running_lab_tells_the_metrics_of_the_reference(lab: LabUnderTest) -> None:
    lab.ok("summarize", ARTICLE)
    listed = {
        one.name: one for one in (*metrics.of_an_api(), *metrics.of_the_gateway(), *metrics.added())
    }
    put_on_all = {"deployment", "replica", "model", "model_id", "le"}  # those of APIs
    told = set()
    for family in text_string_to_metric_families(lab.ok("metrics", "-o", "prometheus")):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("process_"):
            continue
        told.add(name)
        assert (family.type, family.documentation) == (listed[name].type, listed[name].help)
        labels = {label for sample in family.samples for label in sample.labels}
        assert labels - put_on_all == set(listed[name].labels) - put_on_all or not family.samples
    # Without a flag, a shadow and a WAF there is nothing to say of them.
    untold = {one for one in listed if not one.startswith("llmlab_waf_")} - told
    assert untold <= {"llmlab_flag_percent", "llmlab_shadow_percent"}


ASKED_ELSEWHERE = ("node list", "node drain")  # of a lab with several machines: test_machines


def test_all_of_them_are_asked_above() -> None:
    asked = Path(__file__).read_text()
    assert [verb for verb in KNOWN if f'"{verb}"' not in asked] == []
    assert set(KNOWN) >= NOT_SEEN_HERE
