"""Converting a model: once, whole or not at all, checked, and served without torch."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from llmlab.config import Model
from llmlab.errors import EnvironmentFailure, ModelUnavailable
from llmlab.models import availability, content_id, inspect, pull, store
from llmlab.models.convert import command, convert
from llmlab.models.identity import MANIFEST
from llmlab.models.loading import load
from llmlab.runtimes import Generation
from llmlab.runtimes.cores import memory_limit, usable_cores
from llmlab.runtimes.decoding import Decoding
from llmlab.runtimes.recipe import Recipe, not_mapped
from tests.conftest import LabUnderTest, clean_env
from tests.test_models import REVISION, Hub, hub_env, serving
from tests.tiny import make_tiny_t5, with_config

FILES = {
    MANIFEST, "model.bin", "config.json", "shared_vocabulary.json", "tokenizer.json",
    "summarization.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tiny_home: Path) -> Iterator[Path]:
    """A store that is shared: nothing in it is changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMLAB_HOME", str(tiny_home))
        yield tiny_home


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="module")
def converted(home: Path, tiny_t5: Path) -> Path:
    """The tiny T5 in int8, in the shared store."""
    return convert("tiny", tiny_t5, content_id(tiny_t5), "int8", lambda _: None)


@pytest.fixture
def copy(converted: Path, tmp_path: Path) -> Path:
    """A converted model outside of any store, to do harm to."""
    return Path(shutil.copytree(converted, tmp_path / "copy"))


def model(folder: Path, **values: Any) -> Model:
    return Model(**{"runtime": "ctranslate2", "source": f"path:{folder}"} | values)


def quiet(_: str) -> None:
    """Nobody listens."""


# --- what comes out --------------------------------------------------------------


def test_a_converted_model_is_a_folder_whose_manifest_names_source_type_and_every_file(
    converted: Path, tiny_t5: Path
) -> None:
    assert {file.name for file in converted.iterdir()} == FILES
    manifest = json.loads((converted / MANIFEST).read_text())
    assert manifest["source"] == content_id(tiny_t5)
    assert (manifest["compute_type"], manifest["converter"]) == ("int8", store.CONVERTER)
    assert set(manifest["files"]) == FILES - {MANIFEST}


def test_its_id_is_that_of_its_content_and_the_same_each_time(
    converted: Path, tiny_t5: Path, empty_home: Path
) -> None:
    again = convert("tiny", tiny_t5, content_id(tiny_t5), "int8", quiet)
    assert again != converted
    assert store.verify(again) == content_id(again) == content_id(converted)
    assert content_id(again) != content_id(tiny_t5)


def test_another_compute_type_is_another_model(home: Path, converted: Path, tiny_t5: Path) -> None:
    exact = convert("tiny", tiny_t5, content_id(tiny_t5), "float32", quiet)
    assert exact != converted
    assert content_id(exact) != content_id(converted)
    size = {folder: (folder / "model.bin").stat().st_size for folder in (exact, converted)}
    assert size[converted] < 0.5 * size[exact]


def test_what_is_there_and_intact_is_not_converted_again(converted: Path, tiny_t5: Path) -> None:
    before = (converted / "model.bin").stat()
    said: list[str] = []
    assert convert("tiny", tiny_t5, content_id(tiny_t5), "int8", said.append) == converted
    assert said == []
    assert (converted / "model.bin").stat() == before


def test_others_may_read_it_for_a_container_runs_as_another_user(converted: Path) -> None:
    assert converted.stat().st_mode & 0o777 == 0o755
    assert {file.stat().st_mode & 0o777 for file in converted.iterdir()} == {0o644}


def test_the_decoding_of_the_model_is_written_down_for_the_runtime(converted: Path) -> None:
    recipe = Recipe.read(converted)
    assert (recipe.prefix, recipe.window, recipe.longest) == ("summarize: ", 64, 4096)
    assert (recipe.decoding.num_beams, recipe.decoding.no_repeat_ngram_size) == (4, 3)


def test_a_model_says_what_it_was_converted_from_and_how_large_it_is(
    converted: Path, tiny_t5: Path, tmp_path: Path
) -> None:
    facts = inspect("tiny", model(tiny_t5), tmp_path)
    assert facts["ready"]
    assert (facts["compute_type"], facts["converted_from"]) == ("int8", content_id(tiny_t5))
    assert facts["id"] == content_id(converted)
    sizes = {one["name"]: one["bytes"] for one in facts["files"]}
    assert facts["converted_bytes"] == sum(sizes.values()) - sizes[MANIFEST]
    assert facts["decoding"]["num_beams"] == 4
    assert "compute_type" not in inspect("it", model(tiny_t5, runtime="transformers"), tmp_path)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LLMLAB_HOME": "/srv/lab", "XDG_CACHE_HOME": "/cache"}, "/srv/lab/models"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/llmlab/models"),
        ({"XDG_CACHE_HOME": "relative"}, "{home}/.cache/llmlab/models"),
        ({}, "{home}/.cache/llmlab/models"),
    ],
)
def test_the_store_is_where_caches_are_unless_it_is_named(
    environ: dict[str, str], expected: str
) -> None:
    assert store.store(environ) == Path(expected.format(home=Path.home()))


def test_a_store_that_everybody_may_write_to_is_not_trusted(
    empty_home: Path, tiny_t5: Path, tmp_path: Path
) -> None:
    before = os.umask(0)
    try:
        converted = convert("tiny", tiny_t5, content_id(tiny_t5), "int8", lambda _: None)
    finally:
        os.umask(before)
    assert availability("tiny", model(tiny_t5), tmp_path).folder == converted
    converted.parent.chmod(0o777)
    with pytest.raises(EnvironmentFailure, match="everybody may write"):
        availability("tiny", model(tiny_t5), tmp_path)


# --- interrupted, twice at once, damaged -------------------------------------------


PULL = """
import sys
from pathlib import Path
from llmlab.models import content_id
from llmlab.models.convert import convert
source = Path(sys.argv[1])
print(convert("it", source, content_id(source), "int8", lambda text: print(text, flush=True)))
"""


def converting(source: Path, home: Path) -> subprocess.Popen[str]:
    """A process that converts, as `llmlab models pull` does."""
    return subprocess.Popen(
        [sys.executable, "-c", PULL, str(source)], env=clean_env(LLMLAB_HOME=str(home)),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("whom", ["the converter", "the one who waits for it"])
def test_a_conversion_that_is_killed_leaves_nothing_to_be_seen_and_the_next_one_succeeds(
    small_t5: Path, empty_home: Path, whom: str
) -> None:
    process = converting(small_t5, empty_home)
    models = empty_home / "models"
    try:
        until(lambda: list(models.glob(".*.part-*/float32*")))  # it writes the weights
        (child,) = psutil.Process(process.pid).children()
        (child if whom == "the converter" else psutil.Process(process.pid)).send_signal(
            signal.SIGKILL
        )
        assert process.wait(60) != 0
        assert [file.name for file in models.iterdir() if not file.name.startswith(".")] == []
    finally:
        process.kill()
    psutil.wait_procs([child], timeout=60)

    folder = convert("it", small_t5, content_id(small_t5), "int8", quiet)
    assert store.is_intact(folder)
    assert list(models.glob(".*.part-*")) == [], "what was left is removed"


def test_two_processes_convert_once(tiny_t5: Path, empty_home: Path) -> None:
    both = [converting(tiny_t5, empty_home) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0][-1] == said[1][-1], "both have the same folder"
    assert sorted(len(lines) for lines in said) == [1, 2], "only one says that it converts"


def grown(folder: Path) -> None:
    with (folder / "model.bin").open("ab") as file:
        file.write(b"!")


def flipped(folder: Path) -> None:
    data = bytearray((folder / "model.bin").read_bytes())
    data[-1] ^= 1
    (folder / "model.bin").write_bytes(data)


def other_decoding(folder: Path) -> None:
    file = folder / "summarization.json"
    file.write_text(file.read_text().replace('"num_beams": 4', '"num_beams": 2'))


HARM = {
    "grown": grown,
    "one bit": flipped,
    "other decoding": other_decoding,
    "no tokenizer": lambda folder: (folder / "tokenizer.json").unlink(),
    "one file more": lambda folder: (folder / "added_tokens.json").write_text("{}"),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "an empty manifest": lambda folder: (folder / MANIFEST).write_text("{}"),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_converted_model_that_was_changed_is_not_loaded(
    copy: Path, harm: Callable[[Path], None]
) -> None:
    assert load(model(copy), copy)[1] == content_id(copy)
    harm(copy)
    with pytest.raises(ModelUnavailable, match="is not as it was converted") as refusal:
        load(model(copy), copy)
    assert "models pull" in str(refusal.value.fix)


def test_pull_converts_a_damaged_model_again(tiny_t5: Path, empty_home: Path) -> None:
    folder = pull("tiny", model(tiny_t5), Path("/"), say=quiet)
    assert folder is not None
    before = content_id(folder)
    flipped(folder)
    assert pull("tiny", model(tiny_t5), Path("/"), say=quiet) == folder
    assert store.verify(folder) == before


def test_a_conversion_that_fails_says_so_with_its_last_words(
    tiny_t5: Path, empty_home: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(tiny_t5, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes(b"these are no weights")
    with pytest.raises(EnvironmentFailure, match="was not converted") as failure:
        convert("it", broken, content_id(broken), "int8", quiet)
    assert "safetensors" in str(failure.value.log).lower()
    assert [f.name for f in (empty_home / "models").iterdir() if not f.name.endswith(".lock")] == []


def test_the_command_that_converts_is_a_list_of_words() -> None:
    assert command(Path("/a b"), Path("/to"), "int8")[-3:] == ["/a b", "/to", "int8"]


# --- what cannot be converted ------------------------------------------------------

DEFAULT: dict[str, Any] = {"eos_token_id": 1}


@pytest.mark.parametrize(
    ("decoding", "own", "said"),
    [
        (Decoding(num_beams=4), {}, "4 beams with early_stopping=False"),
        (Decoding(num_beams=4, early_stopping="never"), {}, "4 beams with early_stopping=never"),
        (Decoding(num_beams=2, early_stopping=True, repetition_penalty=1.2), {},
         "2 beams with repetition_penalty=1.2"),
        (Decoding(), {"bad_words_ids": [[5]]}, "bad_words_ids=[[5]]"),
        (Decoding(), {"max_new_tokens": 20}, "max_new_tokens=20"),
        (Decoding(), {"eos_token_id": [1, 2]}, "eos_token_id=[1, 2]"),
        (Decoding(), {"forced_eos_token_id": 7}, "forced_eos_token_id=7"),
        (Decoding(), {"something_new": True}, "something_new=True"),
    ],
)  # fmt: skip
def test_decoding_that_means_something_else_there_is_named(
    decoding: Decoding, own: dict[str, Any], said: str
) -> None:
    assert said in list(not_mapped(decoding, DEFAULT | own))


@pytest.mark.parametrize(
    ("decoding", "own"),
    [
        (Decoding(num_beams=4, early_stopping=True, length_penalty=0.0), {}),
        (Decoding(repetition_penalty=1.5), {"temperature": 0.7, "top_k": 50, "do_sample": True}),
        (Decoding(), {"num_beam_groups": 1, "diversity_penalty": 0.0, "bad_words_ids": None}),
        (Decoding(), {"forced_bos_token_id": 0, "forced_eos_token_id": 1}),
    ],
)
def test_decoding_that_means_the_same_is_not(decoding: Decoding, own: dict[str, Any]) -> None:
    assert list(not_mapped(decoding, DEFAULT | own)) == []


def test_a_model_whose_decoding_cannot_be_mapped_is_refused_and_the_way_out_named(
    tiny_t5: Path, empty_home: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_t5, tmp_path / "patient"))
    with_config(source, task_specific_params={"summarization": {"num_beams": 4}})
    with pytest.raises(ModelUnavailable, match="early_stopping=False") as refusal:
        pull("patient", model(source), Path("/"), say=quiet)
    assert refusal.value.fix == (
        'runtime = "transformers" in [models.patient] of configs/lab.toml, or '
        "--runtime transformers where it is registered"
    )
    assert not availability("patient", model(source), Path("/")).ready


@pytest.fixture(params=[{}, {"feed_forward_proj": "gated-gelu", "num_heads": 6}],
                ids=["as T5", "gated, heads of another width"])  # fmt: skip
def flan(request: pytest.FixtureRequest, tmp_path: Path, article: str) -> Path:
    """A T5 that does not scale what goes into its last layer, as T5 1.1 and FLAN: their
    config.json says so with tie_word_embeddings = false."""
    folder = tmp_path / "flan"
    folder.mkdir()
    make_tiny_t5(folder, article, seed=12, **request.param)
    config = json.loads((folder / "config.json").read_text())
    del config["scale_decoder_outputs"]  # as transformers 5 alone says it
    (folder / "config.json").write_text(json.dumps(config))
    return with_config(folder, tie_word_embeddings=False)


def test_a_t5_that_does_not_scale_its_output_is_converted_as_such(
    flan: Path, empty_home: Path, article: str
) -> None:
    folder = convert("flan", flan, content_id(flan), "float32", quiet)
    fast, _ = load(model(flan, compute_type="float32"), folder)
    reference, _ = load(model(flan, runtime="transformers"), flan)
    for text in (article[:60], article[300:500]):
        greedy = [
            replace(one.encode(text, Generation()), key=Decoding(no_repeat_ngram_size=2))
            for one in (fast, reference)
        ]
        assert fast.generate([greedy[0]]) == reference.generate([greedy[1]])


def test_a_conversion_that_computes_something_else_is_refused(
    flan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap itself: CTranslate2's converter alone takes a FLAN for a T5."""
    from llmlab.models import converter

    monkeypatch.setattr(converter, "_correct", lambda _: None)
    with pytest.raises(converter.Refused, match="log probabilities differ"):
        converter.convert(flan, tmp_path, "int8")


def test_another_architecture_is_refused(tmp_path: Path, tiny_t5: Path, empty_home: Path) -> None:
    from transformers import MarianConfig, MarianMTModel

    source = Path(shutil.copytree(tiny_t5, tmp_path / "other"))
    shape = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_ffn_dim": 16,
        "decoder_ffn_dim": 16,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
    }
    MarianMTModel(MarianConfig(vocab_size=400, pad_token_id=0, **shape)).save_pretrained(source)
    with pytest.raises((ModelUnavailable, EnvironmentFailure)):
        convert("other", source, content_id(source), "int8", quiet)


def test_a_tokenizer_that_is_only_a_sentencepiece_model_is_converted_too(
    tmp_path: Path, tiny_t5: Path, empty_home: Path, article: str
) -> None:
    import sentencepiece
    from transformers import AutoTokenizer

    source = tmp_path / "spiece"
    source.mkdir()
    for name in ("config.json", "generation_config.json", "model.safetensors"):
        shutil.copy(tiny_t5 / name, source)
    (tmp_path / "corpus").write_text(article)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus"), model_prefix=str(source / "spiece"), vocab_size=290,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, minloglevel=2,
    )  # fmt: skip
    (source / "spiece.vocab").unlink()
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 64}
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    folder = convert("it", source, content_id(source), "int8", quiet)
    runtime, _ = load(model(source), folder)
    expected = AutoTokenizer.from_pretrained(source)("summarize: " + article[:150])["input_ids"]
    assert runtime.encode(article[:150], Generation()).content == [*expected[:63], 1]


# --- which packages are needed -------------------------------------------------------


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have packages look as if they were not installed."""
    found = importlib.util.find_spec

    def lack(*names: str) -> None:
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in names else found(name)
        )

    return lack


def test_a_converted_model_is_ready_without_torch_and_transformers(
    converted: Path, tiny_t5: Path, lacking: Callable[..., None]
) -> None:
    lacking("torch", "transformers")
    found = availability("tiny", model(tiny_t5), Path("/"))
    assert (found.ready, found.folder) == (True, converted)
    assert pull("tiny", model(tiny_t5), Path("/"), say=quiet) == converted


def test_a_model_that_has_to_be_converted_first_names_the_packages_that_do_it(
    tiny_t5: Path, empty_home: Path, lacking: Callable[..., None]
) -> None:
    lacking("torch", "transformers")
    found = availability("tiny", model(tiny_t5), Path("/"))
    assert not found.ready
    assert "not converted to int8 yet" in found.reason
    assert "torch, transformers are not installed" in found.reason
    assert found.fix == "pip install 'llmlab[models]'"
    with pytest.raises(ModelUnavailable, match="needs the packages torch, transformers"):
        pull("tiny", model(tiny_t5), Path("/"), say=quiet)


def test_without_what_serves_it_a_converted_model_is_not_ready(
    converted: Path, tiny_t5: Path, lacking: Callable[..., None]
) -> None:
    lacking("ctranslate2")
    found = availability("tiny", model(tiny_t5), Path("/"))
    assert (found.ready, found.fix) == (False, "pip install 'llmlab[serve]'")
    assert "ctranslate2 are not installed" in found.reason
    elsewhere = availability("tiny", model(tiny_t5), Path("/"), runs_here=False)
    assert elsewhere.ready, "a container has it"


def test_a_model_that_is_there_and_not_converted_says_how_it_is(
    tiny_t5: Path, empty_home: Path
) -> None:
    found = availability("tiny", model(tiny_t5), Path("/"))
    assert (found.ready, found.fix) == (False, "llmlab models pull tiny")
    assert found.reason == "it is not converted to int8 yet"


def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path, empty_home: Path) -> None:
    found = availability("mine", model(tmp_path / "nowhere"), Path("/"))
    assert "there is no folder" in found.reason
    assert found.fix == "correct models.mine.source"


def test_a_source_may_be_a_model_that_was_converted_elsewhere(
    copy: Path, empty_home: Path, lacking: Callable[..., None]
) -> None:
    lacking("torch", "transformers")
    assert availability("mine", model(copy), Path("/")).folder == copy
    other = availability("mine", model(copy, compute_type="float32"), Path("/"))
    assert "was converted to int8, not to float32" in other.reason
    assert other.fix == "correct models.mine.compute_type"


SERVE = """
import sys
from pathlib import Path
from llmlab.config import Model
from llmlab.models.loading import load
from llmlab.runtimes import Generation
folder = Path(sys.argv[1])
runtime, _ = load(Model(runtime="ctranslate2", source=f"path:{folder}"), folder)
assert runtime.summarize("The keeper lit the lamp at dusk.", Generation(max_length=8)).text
print(sorted({"torch", "transformers", "sentencepiece", "huggingface_hub"} & set(sys.modules)))
"""


def test_serving_a_converted_model_imports_neither_torch_nor_transformers(copy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(copy)], env=clean_env(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


# --- through the whole lab -----------------------------------------------------------


def table(name: str, source: str, **values: str) -> str:
    lines = "".join(f"{key} = {value}\n" for key, value in values.items())
    return f'\n[models.{name}]\nruntime = "ctranslate2"\nsource = "{source}"\n{lines}'


def add(lab: LabUnderTest, text: str, home: Path) -> LabUnderTest:
    with lab.lab.config_file.open("a") as file:
        file.write(text)
    lab.env |= {"LLMLAB_HOME": str(home)}
    return lab


def test_up_converts_a_model_and_serves_it_through_the_gateway(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, empty_home: Path, article: str
) -> None:
    lab = add(make_lab(routes__summarize='"tiny"'), table("tiny", f"path:{tiny_t5}"), empty_home)
    done = lab.run("up")
    assert done.returncode == 0, done.stderr
    assert "tiny: converting it to int8, once" in done.stderr
    assert "tiny (ctranslate2) answers" in done.stdout

    (folder,) = (one for one in (empty_home / "models").iterdir() if one.is_dir())
    with lab.client() as client:
        wanted = {"text": article, "max_length": 20, "strategy": "truncate"}
        answer = client.post("/summarize/", json=wanted).json()
    assert answer["model"] == {
        "name": "tiny", "id": content_id(folder), "runtime": "ctranslate2",
    }  # fmt: skip
    assert answer["usage"]["input_tokens"] == 64
    assert answer["usage"]["output_tokens"] <= 20
    assert answer["usage"]["truncated"]
    (deployment,) = lab.json("status")["deployments"]
    assert (deployment["runtime"], deployment["model_id"]) == ("ctranslate2", content_id(folder))
    (pid,) = [deployment["pid"]]
    mapped = Path(f"/proc/{pid}/maps")
    if mapped.exists():  # Linux
        assert "ctranslate2" in mapped.read_text()
        assert "libtorch" not in mapped.read_text()

    assert "converting" not in lab.run("up").stderr
    flipped(folder)
    lab.ok("down")
    done = lab.run("up")
    assert done.returncode == 3
    assert "is not as it was converted" in " ".join(done.stderr.split())
    assert lab.ok("models", "pull", "tiny") == f"{folder}\n"
    lab.ok("up")
    lab.ok("down")


def test_a_model_that_ctranslate2_cannot_run_is_replaced_by_the_fallback_and_told_why(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, empty_home: Path, tmp_path: Path
) -> None:
    source = Path(shutil.copytree(tiny_t5, tmp_path / "patient"))
    with_config(source, task_specific_params={"summarization": {"num_beams": 4}})
    lab = add(
        make_lab(routes__summarize='"patient"'), table("patient", f"path:{source}"), empty_home
    )
    done = lab.run("up")
    told = " ".join(done.stderr.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())
    assert "patient cannot serve, so textrank answers in its place." in told
    assert "patient cannot be run by ctranslate2" in told
    assert "4 beams with early_stopping=False" in told
    assert 'Fix: runtime = "transformers" in [models.patient]' in told
    assert "textrank (extractive) answers" in done.stdout
    lab.ok("down")


@pytest.fixture
def hub(tiny_t5: Path) -> Iterator[Hub]:
    with serving({file.name: file.read_bytes() for file in tiny_t5.iterdir()}) as hub:
        yield hub


def test_a_hub_model_is_converted_by_pull_and_needs_neither_hub_nor_snapshot_after_that(
    make_lab: Callable[..., LabUnderTest], hub: Hub, empty_home: Path, tmp_path: Path
) -> None:
    text = table("tiny", "hub:tiny/t5", revision=f'"{REVISION}"')
    lab = add(make_lab(routes__summarize='"tiny"'), text, empty_home)
    lab.env |= hub_env(hub.url, tmp_path / "hf")
    assert "not on disk" in lab.ok("models", "show", "tiny")
    folder = Path(lab.ok("models", "pull", "tiny").strip())
    assert store.is_intact(folder)

    shutil.rmtree(tmp_path / "hf")
    hub.asked.clear()
    assert lab.ok("models", "pull", "tiny") == f"{folder}\n"
    assert lab.json("models", "show", "tiny")["id"] == content_id(folder)
    lab.ok("up")
    assert lab.json("status")["deployments"][0]["model"] == "tiny"
    assert hub.asked == []
    lab.ok("down")


def test_a_snapshot_on_disk_is_converted_without_the_hub(
    make_lab: Callable[..., LabUnderTest], hub: Hub, empty_home: Path, tmp_path: Path
) -> None:
    text = table("tiny", "hub:tiny/t5", revision=f'"{REVISION}"')
    lab = add(make_lab(), text, empty_home)
    lab.env |= hub_env(hub.url, tmp_path / "hf")
    lab.ok("models", "pull", "tiny")
    shutil.rmtree(empty_home)
    hub.refuses = (500, {})
    assert store.is_intact(Path(lab.ok("models", "pull", "tiny").strip()))


# --- cores -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, 4),
        ("0::/not/in/here\n", {"cpu.max": "300000 100000"}, 3),
        ("4:cpu,cpuacct:/x\n1:name=y:/\n",
         {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "1"}, 64),
        ("", {}, 64),
    ],
)  # fmt: skip
def test_the_cores_of_a_process_are_bounded_by_its_control_groups(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    membership: str,
    files: dict[str, str],
    expected: int,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    (tmp_path / "membership").write_text(membership)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert usable_cores(tmp_path, tmp_path / "membership") == expected


def test_the_cores_of_a_process_are_bounded_by_its_affinity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 5}, raising=False)
    assert usable_cores(tmp_path, tmp_path) == 2


GIB = 1 << 30


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"memory.max": "max\n"}, math.inf),
        ("0::/\n", {"memory.max": "2147483648\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/memory.max": f"{GIB}", "a/b/memory.max": f"{3 * GIB}"}, GIB),
        ("9:cpu:/x\n4:memory:/x\n", {"memory/x/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("4:memory:/not/in/here\n", {"memory/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("", {}, math.inf),
    ],
)
def test_the_memory_of_a_process_is_bounded_by_its_control_groups(
    tmp_path: Path, membership: str, files: dict[str, str], expected: float
) -> None:
    (tmp_path / "membership").write_text(membership)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert memory_limit(tmp_path, tmp_path / "membership") == expected


@pytest.mark.parametrize(
    ("replicas", "threads", "memory", "expected"),
    [
        (0, 1, math.inf, 6), (0, 4, math.inf, 1), (3, 1, math.inf, 3),
        (0, 1, 2 * GIB, 5), (0, 1, GIB, 2), (0, 1, GIB // 8, 1), (6, 1, GIB, 6),
    ],
)  # fmt: skip
def test_replicas_fill_the_cores_as_far_as_memory_allows_unless_they_are_given(
    copy: Path, monkeypatch: pytest.MonkeyPatch,
    replicas: int, threads: int, memory: float, expected: int,
) -> None:  # fmt: skip
    monkeypatch.setattr("llmlab.runtimes.cores.usable_cores", lambda: 6)
    monkeypatch.setattr("llmlab.runtimes.cores.memory_limit", lambda: memory)
    runtime, _ = load(model(copy), copy, replicas=replicas, threads=threads)
    assert runtime.parallel == expected
