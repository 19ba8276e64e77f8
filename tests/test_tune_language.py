"""`llmlab tune` of language models: LoRA merged into a GGUF, judged, registered and served."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gguf import GGMLQuantizationType, GGUFReader

from llmlab.config import Config, Model
from llmlab.errors import UsageError
from llmlab.evaluate.conversations import asked
from llmlab.evaluate.suite import Case
from llmlab.lab import Lab
from llmlab.registry import Registry
from llmlab.registry.catalogue import Catalogue, load_lab
from llmlab.runtimes import llamacpp
from llmlab.runtimes.gguf import metadata
from llmlab.tune import Request
from llmlab.tune.bases import find_start
from llmlab.tune.causal import Asked, Causal, load
from llmlab.tune.chats import UNJUDGED
from llmlab.tune.layout import PAIRED, Layout
from llmlab.tune.parameters import Parameters
from llmlab.tune.split import part_of
from llmlab.tune.tune import tune
from tests.conftest import LabUnderTest
from tests.tiny_language import make_language_model

if TYPE_CHECKING:
    from llmlab.runtimes.llamacpp import LlamaCpp

PROMPT = "# system\nYou are short.\n\n# user\nSum up in {{max_words}} words: {{text}}\n"
QUESTION = [{"role": "user", "content": "The thing is that it thinks."}]
# What llama.cpp rounds on its way: with one matrix laid wrongly, tokens are further off by far.
ROUNDING = 0.3


def loaded(folder: Path, architecture: str = "llama", **more: Any) -> Causal:
    file = make_language_model(folder / "tiny.gguf", architecture, **more)
    return load(file, Asked(Model(runtime="llamacpp", source=f"path:{file}"), PROMPT, "none"))


def run_by_llama(file: Path, context: int = 512) -> LlamaCpp:
    return llamacpp.start(file, context=context, slots=1, server="none")


# --- what is merged ----------------------------------------------------------------------


def with_something_learned(learner: Causal) -> Any:
    """As after a training that has changed every matrix a good deal."""
    import torch

    from llmlab.tune.training import with_lora

    torch.manual_seed(1)
    model = with_lora(learner.model, learner.task, Parameters("lora", 1, 4, 1e-3, 3, 1))
    for name, values in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.1)
    return model.eval()


def furthest_off(file: Path, model: Any) -> float:
    """How much likelier, at most, another token is to transformers than the one which llama.cpp
    has written; in logits."""
    import torch

    server = run_by_llama(file)
    try:
        read = server.read_prompt(QUESTION)
        body = {"prompt": read, "n_predict": 16, "temperature": 0, "return_tokens": True}
        written = server._post("completion", body)["tokens"]
    finally:
        server.end()
    assert len(written) > 2
    with torch.no_grad():
        logits = model(torch.tensor([read + written])).logits[0, len(read) - 1 : -1]
    chosen = logits.gather(1, torch.tensor(written)[:, None])[:, 0]
    return float((logits.max(1).values - chosen).max())


@pytest.mark.parametrize("architecture", PAIRED)
def test_what_is_merged_answers_as_what_was_trained(tmp_path: Path, architecture: str) -> None:
    learner = loaded(tmp_path, architecture)
    assert furthest_off(learner.file, learner.model) < ROUNDING
    model = with_something_learned(learner)
    assert furthest_off(learner.file, model) > 4 * ROUNDING, "what was learned changes nothing"
    learner.save(model, tmp_path / "model")
    assert furthest_off(tmp_path / "model" / "model.gguf", model) < ROUNDING


def test_all_that_was_not_learned_stays_byte_for_byte(tmp_path: Path) -> None:
    learner = loaded(tmp_path)
    learner.save(with_something_learned(learner), tmp_path / "model")
    before, after = GGUFReader(learner.file), GGUFReader(tmp_path / "model" / "model.gguf")
    said = before.tensors[0].field.offset
    assert after.data[:said].tobytes() == before.data[:said].tobytes()
    kinds = {one.name: one.tensor_type.name for one in after.tensors}
    assert [*kinds] == [one.name for one in before.tensors]
    for old, new in zip(before.tensors, after.tensors, strict=True):
        learned = re.search(r"attn_[qkvo]|ffn_(gate|up|down)", old.name)
        if not learned or "norm" in old.name:
            assert new.tensor_type is old.tensor_type
            assert new.data.tobytes() == old.data.tobytes(), old.name
    # As exact as before, or with 8 bits.
    exact = {"attn_q": "Q8_0", "attn_k": "Q8_0", "attn_v": "F16", "attn_output": "F32"}
    assert {name: kinds[f"blk.1.{name}.weight"] for name in exact} == exact
    assert after.tensors[3].tensor_type is GGMLQuantizationType.F32


def test_weights_that_transformers_reads_otherwise_are_refused(tmp_path: Path) -> None:
    learner = loaded(tmp_path)
    learner.model.model.layers[1].mlp.up_proj.weight.data[0] += 0.01
    with pytest.raises(UsageError, match=r"reads its blk\.1\.ffn_up\.weight otherwise"):
        learner.refuse_other_weights()
    (tmp_path / "more").mkdir()
    with pytest.raises(UsageError, match=r"transformers does not read its rope_freqs\.weight"):
        loaded(tmp_path / "more", foreign="rope_freqs.weight")


# --- what it learns from -------------------------------------------------------------------


def test_only_the_answer_is_learned_and_the_prompt_is_what_the_service_says(
    tmp_path: Path,
) -> None:
    learner = loaded(tmp_path)
    chat = Case("a", "", "That one.", messages=asked("Which?"))
    text = Case("b", "The lamp is lit. It is red.", "It is red.")
    ((learned,), nothing) = [one.all for one in learner.rows([chat], [])]
    assert nothing == ()
    ((summary,),) = [one.all for one in learner.rows([text])]
    server = run_by_llama(learner.file)
    try:
        for row, said, answer in (
            (learned, "<|im_start|>user\nWhich?<|im_end|>\n", "That one."),
            (summary, "<|im_start|>system\nYou are short.<|im_end|>\n<|im_start|>user\n"
             "Sum up in 76 words: The lamp is lit. It is red.<|im_end|>\n", "It is red."),
        ):  # fmt: skip
            begins = next(at for at, one in enumerate(row["labels"]) if one != UNJUDGED)
            assert row["labels"][begins:] == row["input_ids"][begins:]

            def as_text(tokens: list[int]) -> str:
                return str(server._post("detokenize", {"tokens": tokens})["content"])

            assert as_text(row["input_ids"][:begins]) == f"{said}<|im_start|>assistant\n"
            assert as_text(row["input_ids"][begins:-1]) == answer
            assert row["input_ids"][-1] == learner.layout.end
    finally:
        server.end()


def test_what_does_not_fit_is_left_out_and_counted_and_long_texts_are_cut(tmp_path: Path) -> None:
    learner = loaded(tmp_path)
    long = Case("a", "", "No.", messages=asked("Why? " * 200))
    answer = Case("b", "", "So it is. " * 100, messages=asked("Why?"))
    (chats,) = learner.rows([long, answer])
    assert (chats.all, chats.left_out) == ((), 2)
    told = [f"Lamp {number} is red and hangs in hall {number}." for number in range(40)]
    text = Case("c", " ".join(told), f"{told[3]} {told[35]}")
    foreign = Case("d", " ".join(told), "Nothing of all that was ever said anywhere.")
    (texts,) = learner.rows([text, foreign])
    assert (len(texts.all) >= 2, texts.left_out) == (True, 1)
    assert all(len(row["input_ids"]) <= 512 for row in texts.all)


# --- the whole way -------------------------------------------------------------------------


def pairs(given: str = "prompt", **parts: int) -> Iterator[dict[str, str]]:
    """So many questions, or texts, of each part, by the way in which data is split."""
    for number in count():
        one = f"Which lamp hangs in hall {number} of the house?"
        if parts.get(part_of(one), 0):
            parts[part_of(one)] -= 1
            yield {given: one, "reference": f"The lamp {number}."}
        if not any(parts.values()):
            return


def write(file: Path, *lines: dict[str, Any]) -> None:
    file.write_text("".join(f"{json.dumps(one)}\n" for one in lines))


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that is not up, with a small language model and questions to tune it with."""
    one = make_lab()
    one.env["OMP_NUM_THREADS"] = "1"
    make_language_model(one.root / "tiny.gguf")
    write(one.root / "questions.jsonl", *pairs(train=16, validation=2, test=2))
    (one.root / "prompt.md").write_text(PROMPT)
    one.ok("models", "add", "tiny.gguf", "--name", "base", "--prompt", "prompt.md",
           "--decoding", "temperature=0.5", "--max-length", "20")  # fmt: skip
    return one


def command(name: str, *more: str, base: str = "base", data: str = "questions.jsonl") -> list[str]:
    return ["tune", "--base", base, "--data", data, "--name", name, *more]


def catalogue_of(lab: LabUnderTest) -> Catalogue:
    return Catalogue(load_lab(Lab(lab.root)).config, Registry(Lab(lab.root)))


@pytest.fixture(scope="module")
def tuned(lab: LabUnderTest) -> Any:
    done = lab.run(*command("tuned", "--rate", "0.01", "--seed", "3", "-o", "json"))
    assert done.returncode == 0, done.stderr
    for of_a_library in ("it/s", "Warning"):
        assert of_a_library not in done.stderr
    return json.loads(done.stdout)


def test_a_language_model_is_tuned_and_is_a_version_with_its_prompt_and_decoding(
    lab: LabUnderTest, tuned: Any
) -> None:
    (round_,) = tuned["rounds"]
    losses = [one[2] for one in round_["trained"]["losses"] if one[2] is not None]
    assert losses[-1] < losses[0] - 0.5, "the validation loss did not fall"
    assert round_["trained"]["trained_weights"] < round_["trained"]["weights"]
    base, record = (lab.json("models", "show", name)["record"] for name in ("base", "tuned"))
    assert record["id"] == tuned["id"]
    assert (record["source"], record["runtime"]) == ("tuned", "llamacpp")
    assert record["parent"] == base["id"]
    for kept in ("prompt", "decoding", "max_length", "min_length", "context", "slots"):
        assert record[kept] == base[kept]
    assert record["parameters"]["method"] == "lora"
    assert {"gguf", "peft", "transformers"} <= record["libraries"].keys()
    assert [(one["role"], one["count"]) for one in record["data"]] == [
        ("train", 16), ("validation", 2), ("test", 2),
    ]  # fmt: skip
    assert [one["suite"] for one in record["evaluations"]] == [
        "questions/validation", "questions/test",
    ]  # fmt: skip
    assert "rougeLsum" in record["evaluations"][0]["metrics"]
    assert lab.json("models", "verify")["models"][-1]["verdict"] == "ok"
    assert not (lab.root / ".llmlab" / "tune" / "tuned").exists()


def test_it_serves_and_says_what_it_has_learned(lab: LabUnderTest, tuned: Any) -> None:
    write(lab.root / "asked.jsonl", *(
        {"id": one["prompt"], "prompt": one["prompt"], "must_mention": ["lamp"]}
        for one in pairs(train=2)
    ))  # fmt: skip
    found = lab.json("evaluate", "--suite", "asked.jsonl", "--model", "tuned", "--baseline",
                     "base", "--offline")  # fmt: skip
    assert found["model"]["model_id"] == tuned["id"]
    assert found["model"]["metrics"]["coverage"]["value"] == 1.0
    assert found["baseline"]["metrics"]["coverage"]["value"] == 0.0


def test_it_is_tuned_further_with_texts_in_rounds_against_its_base(
    lab: LabUnderTest, tuned: Any
) -> None:
    write(lab.root / "texts.jsonl", *pairs("text", train=8, validation=2, test=1))
    done = lab.run(*command("further", "--epochs", "1", "--until", "rougeLsum>=+0.9",
                            "--max-rounds", "2", "--keep", "-o", "json", base="tuned",
                            data="texts.jsonl"))  # fmt: skip
    found = json.loads(done.stdout)
    assert (done.returncode, len(found["rounds"])) == (8, 2), done.stderr
    assert found["rounds"][0]["validation"]["baseline"]["name"] == "base-of-it"
    record = lab.json("models", "show", "further")["record"]
    assert record["parent"] == tuned["id"]
    assert record["files"].keys() == {"model.gguf"}


def test_one_that_is_killed_goes_on_and_comes_to_the_same_model(
    lab: LabUnderTest, tuned: Any
) -> None:
    asked_for = command("killed", "--rate", "0.01", "--seed", "3", "-o", "json")
    process = subprocess.Popen(
        [sys.executable, "-m", "llmlab", *asked_for], cwd=lab.root, env=lab.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    checkpoints = lab.root / ".llmlab" / "tune" / "killed" / "round-1" / "checkpoints"
    deadline = time.monotonic() + 120
    while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = lab.run(*asked_for)
    assert done.returncode == 0, done.stderr
    assert "taking up the tune of killed that was broken off" in done.stderr
    assert json.loads(done.stdout)["id"] == tuned["id"]


# --- what cannot be tuned --------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "gemma3": ({"architecture": "gemma3"}, "its architecture is gemma3"),
    "experts": ({"expert_count": 8}, "it has experts"),
    "scaled": ({"rope__scaling__type": "yarn"}, "it scales positions"),
    "embeds": ({"pooling_type": 1}, "it gives embeddings"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_language_model_that_cannot_be_put_back_is_refused_before_it_is_loaded(
    tmp_path: Path, name: str
) -> None:
    said, problem = REFUSED[name]
    file = make_language_model(tmp_path / f"{name}.gguf", **said)
    with pytest.raises(UsageError, match=problem) as refused:
        find_start(str(file), Catalogue(Config(), Registry(Lab(tmp_path))), print)
    assert refused.value.fix
    assert "torch" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "number"),
    [("attention.head_count", 0), ("attention.head_count_kv", [8, 8]), ("block_count", 4 * 10**9),
     ("embedding_length", "wide"), ("attention.key_length", -1)],
)  # fmt: skip
def test_a_number_that_nothing_can_be_built_by_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: Any
) -> None:
    file = make_language_model(tmp_path / "tiny.gguf")
    said = {**metadata(file), f"llama.{name}": number}
    monkeypatch.setattr("llmlab.tune.layout.metadata", lambda _: said)
    with pytest.raises(UsageError, match=f"its {name} is "):
        Layout.of(file)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"full": True}, "only LoRA's weights are trained"),
        ({"compute_type": "int8"}, "is run by llama.cpp"),
        ({"base": "scratch:tiny"}, "line 1 is a conversation, and scratch:tiny only summarizes"),
        ({"base": "textrank"}, "no weights to train"),
        ({"base": "./several"}, "one has to be chosen: a.gguf, b.gguf"),
        ({"base": "./part-00001-of-00002.gguf"}, "a part of a model in several files"),
        ({"base": "./nowhere.gguf"}, "cannot be read"),
        ({"base": "./safetensors"}, "a language model as safetensors, which nothing here serves"),
    ],
)
def test_what_cannot_be_tuned_is_refused_in_words(
    lab: LabUnderTest, more: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lab.root)
    content = (lab.root / "tiny.gguf").read_bytes()
    (lab.root / "part-00001-of-00002.gguf").write_bytes(content)
    for folder in ("several", "safetensors"):
        (lab.root / folder).mkdir(exist_ok=True)
    for name in ("a", "b"):
        (lab.root / "several" / f"{name}.gguf").write_bytes(content)
    config = {"architectures": ["LlamaForCausalLM"]}
    (lab.root / "safetensors" / "config.json").write_text(json.dumps(config))
    request = Request(**{"base": "base", "data": Path("questions.jsonl"), "name": "no"} | more)
    with pytest.raises(UsageError, match=problem) as refused:
        tune(Lab(lab.root), catalogue_of(lab), request)
    assert refused.value.fix
    assert not (lab.root / ".llmlab" / "tune" / "no").exists()


def test_a_model_that_this_machine_has_no_memory_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_language_model(tmp_path / "tiny.gguf")
    monkeypatch.setattr("llmlab.tune.layout.memory_limit", lambda: 100_000)
    with pytest.raises(UsageError, match="billion weights, which take 0 GB while"):
        find_start(str(file), Catalogue(Config(), Registry(Lab(tmp_path))), print)
