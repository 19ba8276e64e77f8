"""`llmlab tune` for real: tiny models, trained in seconds, judged and registered."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.models.identity import content_id
from llmlab.registry import Registry
from llmlab.registry.catalogue import Catalogue
from llmlab.tune.data import load_pairs
from llmlab.tune.split import Split
from tests.conftest import LabUnderTest

TOP = Path(__file__).parent.parent
DATA = TOP / "configs" / "data" / "beginnings.jsonl"
FEW = 140  # texts, of which some ten are for validation


@pytest.fixture(scope="module")
def lab(
    make_lab: Callable[..., LabUnderTest], tmp_path_factory: pytest.TempPathFactory
) -> LabUnderTest:
    """A lab that is not up, with a store of its own and a small file of pairs."""
    one = make_lab()
    one.env["LLMLAB_HOME"] = str(tmp_path_factory.mktemp("home"))
    one.env["OMP_NUM_THREADS"] = "2"
    lines = DATA.read_text().splitlines()[:FEW]
    (one.root / "pairs.jsonl").write_text("\n".join(lines) + "\n")
    return one


def tune(lab: LabUnderTest, name: str, *more: str, base: str = "scratch:tiny") -> Any:
    """Run it and give its JSON; the exit code is in ``code``."""
    command = ["tune", "--base", base, "--data", "pairs.jsonl", "--name", name, "-o", "json"]
    done = lab.run(*command, *more)
    assert done.stdout, done.stderr
    return json.loads(done.stdout) | {"code": done.returncode, "told": done.stderr}


@pytest.fixture(scope="module")
def tuned(lab: LabUnderTest) -> Any:
    return tune(lab, "tiny", "--epochs", "2", "--seed", "3")


# --- one run, registered -----------------------------------------------------------------


def test_a_model_from_scratch_is_tuned_and_registered(lab: LabUnderTest, tuned: Any) -> None:
    assert (tuned["outcome"], tuned["reference"], tuned["code"]) == ("tuned", "tiny:1", 0)
    (round_,) = tuned["rounds"]
    losses = [one for one in round_["trained"]["losses"] if one[2] is not None]
    assert losses[-1][2] < losses[0][2], "the validation loss did not fall"
    record = lab.json("models", "show", "tiny")["record"]
    assert record["id"] == tuned["id"]
    assert record["source"] == "tuned"
    assert record["base"] is None
    assert record["seed"] == 3
    assert record["duration"] == tuned["seconds"] > 0
    assert {"torch", "transformers", "accelerate", "peft", "ctranslate2", "llmlab"} <= record[
        "libraries"
    ].keys()
    assert record["parameters"]["method"] == "full"
    assert record["parameters"]["device"] == "cpu"
    assert record["parameters"]["precision"] == "fp32"


def test_its_record_says_which_texts_it_was_made_with(lab: LabUnderTest, tuned: Any) -> None:
    split = Split.of(load_pairs(lab.root / "pairs.jsonl").cases)
    record = lab.json("models", "show", "tiny")["record"]
    assert [(one["role"], one["count"], one["name"]) for one in record["data"]] == [
        ("train", len(split.train), "pairs"),
        ("validation", len(split.validation), "pairs"),
        ("test", len(split.test), "pairs"),
    ]
    assert all(len(one["sha256"]) == 64 for one in record["data"])
    assert record["overlap"]["against"].keys() == {"beginnings", "chat", "founding", "news"}
    assert (record["overlap"]["shared"], record["overlap"]["forced"]) == (0, False)


def test_its_record_has_what_it_was_judged_by(lab: LabUnderTest, tuned: Any) -> None:
    record = lab.json("models", "show", "tiny")["record"]
    # Another tune of this lab may have come to the same content, of which they are.
    validation, test = tuned["rounds"][0]["validation"], tuned["test"]
    assert (validation["suite"], test["suite"]) == ("pairs/validation", "pairs/test")
    assert validation in record["evaluations"] and test in record["evaluations"]
    assert "coverage" in validation["metrics"]


def test_it_is_converted_and_nothing_of_the_work_is_left(lab: LabUnderTest, tuned: Any) -> None:
    listed = {one["name"]: one for one in lab.json("models", "list")}
    assert listed["tiny:1"]["ready"] is True
    assert listed["tiny:1"]["runtime"] == "ctranslate2"
    assert not (lab.root / ".llmlab" / "tune" / "tiny").exists()
    assert lab.json("models", "verify")["models"][0]["verdict"] == "ok"


def test_its_tokenizer_cuts_no_text_as_in_training(lab: LabUnderTest, tuned: Any) -> None:
    models = lab.root / ".llmlab" / "registry" / "models"
    (folder,) = (one for one in models.iterdir() if one.name in tuned["id"])
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    assert (tokenizer["truncation"], tokenizer["padding"]) == (None, None)


def test_the_same_seed_gives_the_same_model(lab: LabUnderTest, tuned: Any) -> None:
    again = tune(lab, "again", "--epochs", "2", "--seed", "3")
    assert again["id"] == tuned["id"]
    assert (
        again["rounds"][0]["validation"]["metrics"]["coverage"]
        == (tuned["rounds"][0]["validation"]["metrics"]["coverage"])
    )


def test_evaluate_writes_its_result_into_the_record(lab: LabUnderTest, tuned: Any) -> None:
    before = lab.json("models", "show", "tiny")["record"]["evaluations"]
    done = lab.run("evaluate", "--suite", "founding", "--model", "tiny", "--offline", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "Noted in the record of tiny:1." in done.stderr
    after = lab.json("models", "show", "tiny")["record"]["evaluations"]
    assert after[: len(before)] == before
    (noted,) = after[len(before) :]
    assert noted["suite"] == "founding"
    told = json.loads(done.stdout)["model"]["metrics"]["coverage"]
    assert noted["metrics"]["coverage"] == told


def test_evaluate_of_a_model_that_is_not_registered_notes_nothing(lab: LabUnderTest) -> None:
    done = lab.run("evaluate", "--suite", "founding", "--model", "textrank", "--offline")
    assert done.returncode == 0, done.stderr
    assert "Noted" not in done.stderr


# --- judged against each other ------------------------------------------------------------


def test_the_same_model_under_two_names_passes_against_itself(
    lab: LabUnderTest, tuned: Any
) -> None:
    lab.ok("models", "tag", "tiny", "twin")
    found = lab.json(
        "evaluate", "--suite", "beginnings", "--model", "twin", "--baseline", "tiny", "--offline",
        "--gate", "rougeLsum>=-0.01 coverage>=-0.01 unsupported<=+0.00",
    )  # fmt: skip
    assert found["verdict"]["outcome"] == "pass"
    assert all(one["difference"] == 0 for one in found["comparisons"] if one["metric"] in (
        "rougeLsum", "coverage", "unsupported"
    ))  # fmt: skip


def test_a_model_whose_weights_were_shuffled_is_failed(
    lab: LabUnderTest, tuned: Any, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    source = lab.root / ".llmlab" / "registry" / "models" / tuned["id"].removeprefix("sha256:")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in source.iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    weights = load_file(source / "model.safetensors")
    torch.manual_seed(1)
    shuffled = {
        name: one.flatten()[torch.randperm(one.numel())].reshape(one.shape).contiguous()
        for name, one in weights.items()
    }
    save_file(shuffled, damaged / "model.safetensors", {"format": "pt"})
    lab.ok("models", "add", str(damaged), "--name", "damaged", "--runtime", "transformers")
    done = lab.run(
        "evaluate", "--suite", "beginnings", "--model", "damaged", "--baseline", "tiny",
        "--offline", "--gate", "rougeLsum>=-0.01", "-o", "json",
    )  # fmt: skip
    assert done.returncode == 8, done.stderr
    assert json.loads(done.stdout)["verdict"]["outcome"] == "fail"
    record = lab.json("models", "show", "damaged")["record"]
    assert record["evaluations"][-1]["verdict"]["outcome"] == "fail"


# --- a real checkpoint ------------------------------------------------------------------------


def test_a_checkpoint_is_tuned_by_lora_which_is_merged(lab: LabUnderTest, tiny_t5: Path) -> None:
    found = tune(lab, "lora", "--epochs", "1", base=str(tiny_t5))
    assert (found["outcome"], found["code"]) == ("tuned", 0), found["told"]
    trained = found["rounds"][0]["trained"]
    assert found["parameters"]["method"] == "lora"
    assert trained["trained_weights"] < trained["weights"]
    record = lab.json("models", "show", "lora")["record"]
    assert record["parent"] == content_id(tiny_t5)
    folder = lab.root / ".llmlab" / "registry" / "models" / record["id"].removeprefix("sha256:")
    assert not [one.name for one in folder.iterdir() if "adapter" in one.name]
    before = json.loads((tiny_t5 / "config.json").read_text())
    after = json.loads((folder / "config.json").read_text())
    for key in ("d_model", "vocab_size", "task_specific_params"):
        assert after[key] == before[key]
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(
        (tiny_t5 / "model.safetensors").stat().st_size, rel=0.01
    )


def test_a_registered_model_is_tuned_further_in_full(lab: LabUnderTest, tuned: Any) -> None:
    found = tune(lab, "further", "--epochs", "1", "--full", base="tiny:1")
    assert found["parameters"]["method"] == "full"
    record = lab.json("models", "show", "further")["record"]
    assert record["parent"] == tuned["id"]
    assert record["id"] != tuned["id"]


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("textrank", "no weights to train"),
        ("scratch:large", "scratch:large is not known"),
        ("nobody", "no model 'nobody' is defined"),
        ("./configs", "is no model"),
        ("./nowhere", "there is no folder"),
    ],
)
def test_a_base_that_cannot_be_tuned_is_refused_in_words(
    lab: LabUnderTest, base: str, problem: str
) -> None:
    done = lab.run("tune", "--base", base, "--data", "pairs.jsonl", "--name", "x")
    assert done.returncode == 2
    assert problem in done.stderr
    assert "Fix:" in done.stderr


def test_a_base_that_brings_code_of_its_own_is_not_asked_about_and_not_run(
    lab: LabUnderTest, tiny_t5: Path, tmp_path: Path
) -> None:
    base, ran = tmp_path / "base", tmp_path / "ran"
    shutil.copytree(tiny_t5, base)
    code = {"AutoConfig": "own.Config", "AutoModelForSeq2SeqLM": "own.Model"}
    config = json.loads((base / "config.json").read_text())
    config |= {"model_type": "weird", "auto_map": code}
    (base / "config.json").write_text(json.dumps(config))
    (base / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    done = lab.run("tune", "--base", str(base), "--data", "pairs.jsonl", "--name", "weird",
                   "--epochs", "1", stdin="y\ny\n")  # fmt: skip
    assert done.returncode != 0
    assert "Error:" in done.stderr and "Traceback" not in done.stderr
    assert not ran.exists()


# --- gates ------------------------------------------------------------------------------------


def test_a_model_that_does_not_pass_is_not_registered_and_the_exit_code_is_8(
    lab: LabUnderTest,
) -> None:
    found = tune(lab, "bad", "--epochs", "0.3", "--until", "coverage>=0.99", "--max-rounds", "2")
    assert (found["outcome"], found["code"]) == ("rejected", 8)
    assert len(found["rounds"]) == 2
    assert found["test"] is None, "the last test is for a model that passed validation"
    assert found["reference"] is None
    assert "all 2 rounds are used up, and validation says fail" in found["reason"]
    assert "bad" not in lab.ok("models", "list")


def test_keep_registers_it_all_the_same_with_its_verdict(lab: LabUnderTest) -> None:
    found = tune(
        lab, "kept", "--epochs", "0.3", "--until", "coverage>=0.99", "--max-rounds", "1", "--keep"
    )
    assert (found["outcome"], found["code"], found["reference"]) == ("rejected", 8, "kept:1")
    record = lab.json("models", "show", "kept")["record"]
    assert record["note"].startswith("rejected: ")
    assert record["evaluations"][0]["verdict"]["outcome"] == "fail"


def test_a_gate_that_passes_on_validation_and_on_the_suite_accepts(lab: LabUnderTest) -> None:
    found = tune(
        lab, "good", "--epochs", "1", "--until", "empty<=0.5", "--suite", "beginnings"
    )  # fmt: skip
    assert (found["outcome"], found["code"]) == ("accepted", 0)
    assert found["test"]["suite"] == "beginnings"
    assert found["test"]["n"] == 40
    assert "the last test, beginnings: pass" in found["reason"]


def test_a_budget_that_is_used_up_ends_it_and_says_so(lab: LabUnderTest) -> None:
    found = tune(
        lab, "slow", "--epochs", "500", "--until", "coverage>=0.99", "--budget", "3s"
    )  # fmt: skip
    assert (found["outcome"], found["code"]) == ("out of budget", 8)
    assert found["rounds"][0]["trained"]["out_of_time"] is True
    assert "the budget is used up" in found["reason"]


def test_a_gate_that_compares_wants_a_baseline(lab: LabUnderTest) -> None:
    done = lab.run(
        "tune", "--base", "scratch:tiny", "--data", "pairs.jsonl", "--name", "x",
        "--until", "coverage>=+0.05",
    )  # fmt: skip
    assert done.returncode == 2
    assert "scratch:tiny is none" in done.stderr
    found = tune(
        lab, "compared", "--epochs", "0.3", "--until", "coverage>=+0.05", "--baseline", "lead-3",
        "--max-rounds", "1",
    )  # fmt: skip
    assert found["rounds"][0]["validation"]["baseline"]["name"] == "lead-3"


def test_early_stopping_ends_a_round_that_gets_no_better(lab: LabUnderTest) -> None:
    found = tune(lab, "early", "--epochs", "20", "--rate", "0.05", "--patience", "1")
    trained = found["rounds"][0]["trained"]
    assert trained["epochs"] < 20
    checked = [one[2] for one in trained["losses"] if one[2] is not None]
    assert trained["best_loss"] == min(checked)


# --- overlap -----------------------------------------------------------------------------------


def test_data_with_texts_of_a_suite_is_refused_or_recorded(lab: LabUnderTest) -> None:
    leaking = (lab.root / "pairs.jsonl").read_text().splitlines()[:60]
    leaking += (lab.root / "configs" / "suites" / "news.jsonl").read_text().splitlines()
    (lab.root / "leaking.jsonl").write_text("\n".join(leaking) + "\n")
    command = ["tune", "--base", "scratch:tiny", "--name", "leaked", "--data", "leaking.jsonl"]
    done = lab.run(*command)
    assert done.returncode == 2
    assert "shares texts with suites that judge the model" in done.stderr
    assert "of news (100%)" in done.stderr
    assert not (lab.root / ".llmlab" / "tune" / "leaked").exists()
    done = lab.run(*command, "--force-overlap", "--epochs", "0.5")
    assert done.returncode == 0, done.stderr
    assert "its record says so" in done.stderr
    overlap = lab.json("models", "show", "leaked")["record"]["overlap"]
    assert overlap["forced"] is True
    assert overlap["shared"] > 25


# --- broken off ---------------------------------------------------------------------------------


def test_a_tune_that_is_killed_goes_on_and_comes_to_the_same_model(
    lab: LabUnderTest, tuned: Any
) -> None:
    command = [
        sys.executable, "-m", "llmlab", "tune", "--base", "scratch:tiny", "--data", "pairs.jsonl",
        "--name", "killed", "--epochs", "2", "--seed", "3",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=lab.root, env=lab.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = lab.root / ".llmlab" / "tune" / "killed" / "round-1" / "checkpoints"
    deadline = time.monotonic() + 120
    while len(list(checkpoints.glob("checkpoint-*/trainer_state.json"))) == 0:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert "killed" not in lab.ok("models", "list")
    done = lab.run(*command[3:], "--epochs", "3")
    assert done.returncode == 2, "with other parameters it is another tune"
    assert "asked for otherwise (parameters)" in done.stderr
    done = lab.run(*command[3:], "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "taking up the tune of killed that was broken off" in done.stderr
    found = json.loads(done.stdout)
    assert found["rounds"][0]["trained"]["steps"] == tuned["rounds"][0]["trained"]["steps"]
    assert found["id"] == tuned["id"]


def test_a_tune_that_is_interrupted_says_how_to_go_on(lab: LabUnderTest) -> None:
    command = [
        sys.executable, "-m", "llmlab", "tune", "--base", "scratch:tiny", "--data", "pairs.jsonl",
        "--name", "stopped", "--epochs", "60",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=lab.root, env=lab.env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.default_int_handler
        ),
    )  # fmt: skip
    checkpoints = lab.root / ".llmlab" / "tune" / "stopped" / "round-1" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "The same command goes on from the last checkpoint." in told
    assert "Traceback" not in told


# --- without the command ------------------------------------------------------------------------


def test_python_calls_it_and_is_told_how_far_it_is(lab: LabUnderTest) -> None:
    from llmlab.config import read_config
    from llmlab.tune import Outcome, Request
    from llmlab.tune.telling import Nobody
    from llmlab.tune.tune import tune as tune_model
    from llmlab.tune.watching import Step

    class Listener(Nobody):
        def __init__(self) -> None:
            self.steps: list[Step] = []

        def step(self, step: Step) -> None:
            self.steps.append(step)

    here = Lab(lab.root)
    config = read_config(here.config_file, environ={}).config
    listener = Listener()
    request = Request("scratch:tiny", lab.root / "pairs.jsonl", "called", epochs=1)
    result = tune_model(here, Catalogue(config, Registry(here)), request, listener)
    assert result.outcome is Outcome.TUNED
    assert [one.step for one in listener.steps] == list(range(1, listener.steps[0].steps + 1))
    assert listener.steps[-1].left == 0
    assert result.record and result.record.reference == "called:1"


def test_who_is_stopped_in_the_last_moment_neither_trains_nor_registers_again(
    lab: LabUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmlab.config import Config
    from llmlab.tune import Request
    from llmlab.tune.tune import train
    from llmlab.tune.tune import tune as tune_model
    from llmlab.tune.work import Work

    monkeypatch.setenv("LLMLAB_HOME", lab.env["LLMLAB_HOME"])
    trained: list[Path] = []

    def counted(start: Path, *rest: Any, **more: Any) -> Any:
        trained.append(start)
        return train(start, *rest, **more)

    def stopped(*_: Any, **values: Any) -> None:
        if "registered" in values or not values:
            raise KeyboardInterrupt
        kept(*_, **values)

    monkeypatch.setattr("llmlab.tune.tune.train", counted)
    kept, catalogue = Work.keep, Catalogue(Config(), Registry(Lab(lab.root)))
    # A seed of its own: evaluations are of a content, and so of every name that it has.
    request = Request("scratch:tiny", lab.root / "pairs.jsonl", "late", epochs=1, seed=77)
    # In the order of their coming: registered and not noted so, before and after its files went.
    for moment in ("keep", "discard", "remove"):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(Work, moment, stopped)
            tune_model(Lab(lab.root), catalogue, request)
    with monkeypatch.context() as patch, pytest.raises(UsageError, match="late:1, which was rem"):
        patch.setattr(Registry, "find", lambda *_: None)
        tune_model(Lab(lab.root), catalogue, request)
    record = tune_model(Lab(lab.root), catalogue, request).record
    assert record and record.reference == "late:1" and len(record.evaluations) == 2
    assert [one.reference for one in catalogue.registry.records() if one.name == "late"] == [
        "late:1"
    ]
    assert len(trained) == 1
    assert not Work(Lab(lab.root), "late").folder.exists()
