"""What the command says where somebody is lost, and what the shell offers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llmlab.cli.app import CALLED_ELSEWHERE, app
from llmlab.cli.output import SafeConsole
from llmlab.cli.prepare import models_view
from llmlab.config import Config
from llmlab.delivery.deploying import undeployed
from llmlab.delivery.model_sections import Row, rows, sections
from llmlab.delivery.using import Used
from llmlab.engines.base import Plan
from llmlab.engines.record import Record
from llmlab.errors import LlmlabError, UsageError
from llmlab.lab import Lab, init_lab
from llmlab.ledger.chain import Kind
from llmlab.ledger.telling import TELLING
from llmlab.near import hint, nearest
from llmlab.service.settings import Settings
from llmlab.traffic import Traffic

Run = Callable[..., Result]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A lab that was laid out and never up."""
    init_lab(tmp_path)
    return tmp_path


@pytest.fixture
def run(root: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command in that lab, within this process."""
    monkeypatch.chdir(root)
    for name in ("LLMLAB_URL", "LLMLAB_TOKEN", "LLMLAB_TOKEN_FILE", "LLMLAB_LAB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *words, **env: CliRunner().invoke(app, list(words), env=env, prog_name="llmlab")


def told(result: Result) -> LlmlabError:
    assert isinstance(result.exception, LlmlabError), result.output
    return result.exception


def test_trace_without_an_id_says_where_one_is(run: Run) -> None:
    error = told(run("trace"))
    assert error.exit_code == 2
    assert "X-Request-ID" in error.message and "summarize -o json" in error.message


# --- Misspelt, and called otherwise elsewhere ------------------------------------


@pytest.mark.parametrize(
    ("name", "known", "meant"),
    [
        ("textrak", ["falconsai", "textrank"], "textrank"),
        ("TextRank", ["textrank"], "textrank"),
        ("rougel", ["rougeL"], "rougeL"),
        ("llama", ["falconsai", "textrank"], ""),
        ("any", [], ""),
    ],
)
def test_a_misspelt_name_is_known_by_its_letters(name: str, known: list[str], meant: str) -> None:
    assert nearest(name, known) == meant
    assert hint(name, known) == (f"; did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize(
    "words",
    [
        ("models", "show", "textrak"),
        ("models", "pull", "textrak"),
        ("deploy", "textrak"),
        ("compare", "-m", "textrak", "--offline", "configs/texts/founding.txt"),
        ("up", "--model", "textrak", "--dry-run"),
    ],
)
def test_a_misspelt_model_is_asked_back_for(run: Run, words: tuple[str, ...]) -> None:
    error = told(run(*words))
    if words[0] == "deploy":  # first of all the lab has to run
        assert error.fix == "llmlab up"
    else:
        assert "did you mean 'textrank'?" in error.message


@pytest.mark.parametrize("verb", sorted(CALLED_ELSEWHERE))
def test_what_other_tools_call_a_verb_leads_to_ours(run: Run, verb: str) -> None:
    result = run(verb)
    assert result.exit_code == 2
    assert f"Here it is: {CALLED_ELSEWHERE[verb]}" in result.output
    for command in CALLED_ELSEWHERE[verb].split(" && "):  # which there is
        assert run(*command.split()[1:3], "--help").exit_code == 0


def test_a_verb_that_is_merely_misspelt_is_suggested(run: Run) -> None:
    assert "Did you mean 'status'?" in run("staus").output


# --- What is not there yet ---------------------------------------------------------


@pytest.mark.parametrize(
    "words", [("logs",), ("logs", "gateway"), ("logs", "-f"), ("trace", "some-id")]
)
def test_without_logs_the_way_to_some_is_told(run: Run, words: tuple[str, ...]) -> None:
    error = told(run(*words))
    assert "nothing of this lab was started yet" in error.message
    assert error.fix == "llmlab up"


def test_a_log_of_another_name_is_told_with_those_that_there_are(run: Run, root: Path) -> None:
    logs = Lab(root).logs
    logs.mkdir(parents=True)
    for name in ("gateway", "api-textrank"):
        (logs / f"{name}.log").write_text("a line\n")
    error = told(run("logs", "gatway"))
    assert "logs: api-textrank, gateway; did you mean 'gateway'?" in error.message
    assert error.fix == "llmlab logs api-textrank"


@pytest.mark.parametrize("words", [("summarize", "configs/texts/founding.txt"), ("token",)])
def test_before_the_first_up_it_is_up_that_is_named(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    said = f"{result.output}{result.exception}{getattr(result.exception, 'fix', '')}"
    assert "never up" in said
    assert "llmlab up" in said


# --- What a deployment is there for --------------------------------------------------


def plan_of(*names: str, **config: Any) -> Plan:
    settings = tuple(
        Settings(deployment=name, name=name, model=Config().models["textrank"], folder=None,
                 service=Config().service)
        for name in names
    )  # fmt: skip
    known = {name: Config().models["textrank"] for name in (*names, "falconsai")}
    return Plan(Config(models=known, **config), names[0], settings, configured=names)


@pytest.mark.parametrize(
    ("plan", "name", "why", "fix"),
    [
        (plan_of("a", "b", stable="a", deploy=["b"]), "b", "deployment of lab.toml", "`deploy`"),
        (plan_of("a", stable="a"), "a", "stable deployment of summarize",
         "name another one as routes.summarize"),
        (plan_of("a", stable="falconsai", fallback="a"), "a", "because falconsai cannot be served",
         "llmlab models pull falconsai"),
        (plan_of("a", "b", stable="a"), "b", "llmlab up --model b", "--model for each"),
        (plan_of("a", "b", routes={"summarize": "a", "support": "b"}), "b",
         "b is the stable deployment of support", "name another one as routes.support"),
    ],
)  # fmt: skip
def test_what_undeploy_cannot_stop_is_told_with_the_reason_that_it_runs_for(
    tmp_path: Path, plan: Plan, name: str, why: str, fix: str
) -> None:
    with pytest.raises(UsageError) as caught:
        undeployed(Lab(tmp_path), plan, Traffic(), name, force=True)
    assert why in caught.value.message
    assert fix in str(caught.value.fix)


def test_a_note_of_up_is_one_line_in_every_status_after_it() -> None:
    note = "a cannot serve, so b answers in its place."
    plan = replace(plan_of("b"), warnings=(f"{note}\nsome lines of why\nFix: something",))
    assert Record.of(plan, "local", "1.0").notes == (note,)


def test_a_model_that_is_not_on_disk_is_fetched_before_it_is_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up --model` of such a one would have the fallback answer, as before."""
    monkeypatch.setattr("llmlab.cli.asking._deployed", lambda _: ["textrank"])
    monkeypatch.setenv("HF_HOME", str(Path.cwd() / "empty"))
    fix = told(run("compare", "-m", "falconsai", "configs/texts/founding.txt")).fix
    assert fix is not None
    assert not fix.startswith("llmlab up")
    assert fix.endswith("then llmlab up --model falconsai")


# --- The ledger's kinds ----------------------------------------------------------------


def test_the_ledger_knows_its_kinds_and_can_tell_of_each(run: Run) -> None:
    assert set(TELLING) == {*Kind}
    result = run("ledger", "--kind", "deploy")
    assert result.exit_code == 2
    assert "'deployment'" in result.output
    assert run("ledger", "--kind", "deployment").exit_code == 0


# --- A model, as a page ------------------------------------------------------------------


def test_what_is_known_of_a_model_is_told_in_words() -> None:
    facts = {
        "ready": True, "license": "", "parent": None, "bytes": 61_000_000, "seed": 7,
        "decoding": {"num_beams": 4, "prefix": "summarize: "},
        "files": [{"name": "model.bin", "bytes": 12345}],
        "suffixes": ("a", "b"), "data": [],
        "data_sets": [{"role": "train", "count": 10, "name": ""}],
    }  # fmt: skip
    assert [*rows(facts)] == [
        Row(0, "ready", "yes"),
        Row(0, "bytes", "61,000,000"),
        Row(0, "seed", "7"),
        Row(0, "decoding"),
        Row(1, "num beams", "4"),
        Row(1, "prefix", "summarize: "),
        Row(0, "files"),
        Row(1, "model.bin", "bytes 12,345"),
        Row(0, "suffixes", "a, b"),
        Row(0, "data sets"),
        Row(1, "train", "count 10"),
    ]


def test_the_page_of_a_registered_model_says_what_it_is_how_it_was_judged_and_who_uses_it() -> None:
    level = {"metric": "coverage", "n": 41, "value": 0.63, "interval": None}
    judged = {"suite": "news", "n": 41, "metrics": {"coverage": level}, "baseline": None,
              "verdict": {"gate": "coverage>=0.3", "outcome": "pass", "reason": "..."}}  # fmt: skip
    record = {
        "reference": "tuned:2", "id": "sha256:ab", "weights": "sha256:ab",
        "created": "2026-11-29T10:00:00Z",
        "source": "tuned", "base": {"repository": "a/b", "revision": "main", "id": "sha256:cd"},
        "parent": "sha256:ef", "data": ({"role": "train", "count": 800},), "duration": 372.0,
        "evaluations": [judged], "bytes": 5, "removed": "", "note": "mentions F5",
    }  # fmt: skip
    facts = {
        "name": "tuned-2", "runtime": "ctranslate2", "source": "path:x", "license": "mit",
        "max_length": 100, "ready": True, "id": "sha256:ab",
        "decoding": {"num_beams": 4, "max_length": 200, "min_length": 30},
        "files": [{"name": "model.bin", "bytes": 64_000_000}], "record": record,
    }  # fmt: skip
    page = sections(facts, Used("stable", ["best"], ["tuned-2, 100 % of summarize"]))
    said = {each.title: [(row.name, row.text) for row in each.rows] for each in page}
    assert [*said] == ["what it is", "where from", "how it answers", "how it was made", "files",
                       "judged by", "used"]  # fmt: skip
    assert ("version", "tuned:2") in said["what it is"] and ("licence", "mit") in said["what it is"]
    assert ("origin", "tuned here, 2026-11-29") in said["where from"]
    assert said["how it answers"] == [("max length", "100"), ("num beams", "4")]
    assert ("took", "6 min") in said["how it was made"]
    assert said["files"][0] == ("size", "61.0 MiB")
    assert said["judged by"] == [("news, 41 texts", "✓ pass coverage>=0.3   coverage 0.63")]
    assert said["used"] == [("in lab.toml", "stable"), ("aliases", "best"),
                            ("served by", "tuned-2, 100 % of summarize")]  # fmt: skip


def test_on_a_narrow_terminal_no_id_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    file, digits = StringIO(), "0123456789abcdef" * 4
    monkeypatch.setattr(
        models_view, "out", lambda: SafeConsole(file=file, width=80, force_terminal=True)
    )
    facts = {"name": "t", "runtime": "extractive", "source": "embedded:t", "ready": True,
             "id": f"sha256:{digits}", "record": None}  # fmt: skip
    models_view.show(facts, Used())
    lines = file.getvalue().splitlines()
    assert any(f"sha256:{digits}" in line for line in lines)
    assert max(map(len, lines)) < 200, "and none is filled up"


def test_of_a_model_that_is_not_there_the_page_says_why_and_what_to_do(run: Run) -> None:
    shown = run("models", "show", "falconsai").output
    assert "not ready" in shown and "llmlab models pull falconsai" in shown
    assert "stable" in shown, "lab.toml asks for it"


def test_no_page_of_a_model_shows_a_python_object(run: Run) -> None:
    for name in ("textrank", "falconsai"):
        page = run("models", "show", name).output
        assert name in page
        assert not set("{}[]") & set(page)


# --- What the shell offers ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("deploy ", {"falconsai", "textrank", "smollm2"}),
        ("models show t", {"textrank"}),
        ("up --model f", {"falconsai"}),
        ("rollout start canary t", {"textrank"}),
        ("summarize --model ", {"falconsai"}),  # what lab.toml deploys
        ("deployment stop ", {"falconsai"}),
        ("drill slow --deployment ", {"falconsai"}),
        ("ledger --kind ro", {"route", "rollout"}),
        ("keys revoke ", set()),
        ("logs ", set()),
        ("flag rm ", set()),
        ("summarize ", set()),  # files: left to the shell
    ],
)
def test_the_shell_offers_names_of_what_is_meant(run: Run, line: str, offered: set[str]) -> None:
    words = f"llmlab {line}"
    result = run(
        _LLMLAB_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
    )
    assert set(result.stdout.split()) == offered


def test_outside_of_a_lab_the_shell_offers_nothing_and_says_nothing(
    run: Run, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("nowhere"))
    result = run(_LLMLAB_COMPLETE="complete_bash", COMP_WORDS="llmlab deploy ", COMP_CWORD="2")
    assert result.output.strip() == ""
