"""The registry: what is recorded, how it is named, and what is refused."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from llmlab.config import Config, Model
from llmlab.errors import ConfigError, EnvironmentFailure, LlmlabError, ModelUnavailable, UsageError
from llmlab.lab import Lab
from llmlab.models import content_id, pull
from llmlab.models.loading import load
from llmlab.registry import Base, Data, Facts, Overlap, Registry
from llmlab.registry import database as db
from llmlab.registry.catalogue import Catalogue, load_lab
from llmlab.registry.reference import ById, ByName, parse
from tests.conftest import LabUnderTest
from tests.test_models import REVISION, TINY, Hub, cached, hub_env, serving

PATH = Facts("path")


def make_folder(folder: Path, weights: bytes = b"weights", **files: bytes) -> Path:
    """A folder with the files of a small model; nothing in it can be loaded."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_bytes(b"{}")
    (folder / "tokenizer.json").write_bytes(b"{}")
    (folder / "model.safetensors").write_bytes(weights)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of converted models of its own."""
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    root = tmp_path / "lab"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "lab.toml").write_text('stable = "textrank"\n')
    return Lab(root)


@pytest.fixture
def registry(lab: Lab) -> Registry:
    return Registry(lab)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "other", b"other weights")


# --- adding ------------------------------------------------------------------


def test_a_model_is_kept_under_its_content_id_with_the_files_that_make_it_up(
    registry: Registry, folder: Path
) -> None:
    (folder / "README.md").write_text("a card")
    (folder / "training_args.bin").write_bytes(b"a pickle")
    said: list[str] = []
    added = registry.add(folder, "tuned", PATH, say=said.append)
    record = added.record
    assert added.new
    assert (record.reference, record.id) == ("tuned:1", content_id(folder))
    kept = registry.folder(record)
    assert kept is not None
    assert kept.name == record.digits
    assert {file.name for file in kept.iterdir()} == set(record.files) == {
        "config.json", "tokenizer.json", "model.safetensors",
    }  # fmt: skip
    assert record.bytes == len("{}{}weights")
    assert said == [
        "left out, no part of the model: README.md, training_args.bin "
        "(training_args.bin can run code)"
    ]


def test_the_registry_is_closed_to_others_but_a_container_can_read_a_model_that_it_mounts(
    registry: Registry, folder: Path
) -> None:
    kept = registry.folder(registry.add(folder, "tuned", PATH).record)
    assert kept is not None
    top = registry.contents.models.parent
    modes = {path: path.stat().st_mode & 0o777 for path in (top, top / "models", kept)}
    assert list(modes.values()) == [0o700, 0o700, 0o755]
    assert {file.stat().st_mode & 0o777 for file in kept.iterdir()} == {0o444}
    assert (top / "registry.db").stat().st_mode & 0o777 == 0o600


def test_the_same_facts_of_the_same_content_are_one_record(
    registry: Registry, folder: Path, other: Path
) -> None:
    first = registry.add(folder, "tuned", PATH)
    again = registry.add(folder, "tuned", PATH)
    assert (again.new, again.record) == (False, first.record)
    second = registry.add(other, "tuned", PATH)
    third = registry.add(folder, "tuned", replace(PATH, max_length=60))
    assert [one.record.version for one in (second, third)] == [2, 3]
    assert len(list(registry.contents.models.iterdir())) == 2


def test_a_version_is_never_used_twice(registry: Registry, folder: Path) -> None:
    registry.add(folder, "tuned", PATH)
    registry.remove("tuned")
    assert registry.add(folder, "tuned", PATH).record.reference == "tuned:2"


FULL = Facts(
    "tuned", runtime="transformers", compute_type="float32", max_length=80, min_length=7,
    license="mit", note="for tests", base=Base("tiny/t5", "f" * 40, "sha256:" + "1" * 64),
    parent="sha256:" + "2" * 64, data=(Data("train", "3" * 64, 100, "pairs.jsonl"),),
    overlap=Overlap({"news": "4" * 64}, 2, forced=True), seed=7, duration=12,
    parameters={"learning_rate": 1e-4, "steps": 30, "lora": {"r": 8, "on": ["q", "v"]}},
    libraries={"torch": "2.13"},
)  # fmt: skip


def test_a_record_says_all_that_was_said_of_a_model(registry: Registry, folder: Path) -> None:
    registry.add(folder, "tuned", FULL)
    record = registry.get("tuned")
    assert record.facts == FULL
    document = record.as_json()
    assert json.loads(json.dumps(document)) == document | {"data": [{
        "role": "train", "sha256": "3" * 64, "count": 100, "name": "pairs.jsonl",
    }]}  # fmt: skip
    assert (document["source"], document["parent"], document["seed"]) == ("tuned", FULL.parent, 7)
    assert document["created"].endswith("Z")


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(PATH, max_length=0), "max_length"),
        (replace(PATH, min_length=200), "min_length 200 is above"),
        (Facts("path", runtime="extractive"), "runtime"),  # type: ignore[arg-type]
        (Facts("elsewhere"), "source"),  # type: ignore[arg-type]
        (Facts("path", note=None), "note"),  # type: ignore[arg-type]
    ],
)
def test_facts_by_which_no_model_could_be_served_are_refused(
    registry: Registry, folder: Path, facts: Facts, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        registry.add(folder, "tuned", facts)
    assert registry.records() == []


@pytest.mark.parametrize("name", ["", "Tuned", "a:1", "a/b", "../a", "default", "x" * 64, "ä"])
def test_a_name_that_fits_no_url_is_refused(registry: Registry, folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a model's name"):
        registry.add(folder, name, PATH)
    registry.add(folder, "tuned", PATH)
    with pytest.raises(UsageError, match="cannot be a model's name"):
        registry.tag("tuned", name)


def test_a_folder_that_is_no_model_is_refused_and_leaves_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(UsageError, match=r"no \*\.safetensors .*run code"):
        registry.add(folder, "tuned", PATH)
    with pytest.raises(UsageError, match="there is no folder"):
        registry.add(tmp_path / "nowhere", "tuned", PATH)
    assert registry.records() == list(registry.contents.models.iterdir()) == []


def test_a_weights_file_that_only_says_that_it_was_converted_is_refused(
    registry: Registry, folder: Path
) -> None:
    (folder / "model.bin").write_bytes(b"\x80\x04K\x01.")
    (folder / "llmlab-manifest.json").write_text(
        json.dumps({"source": "x", "compute_type": "int8", "converter": 1, "files": {}})
    )
    with pytest.raises(UsageError, match="is not as it was converted"):
        registry.add(folder, "tuned", PATH)


def test_no_link_is_followed_out_of_the_folder(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("hush")
    (folder / "extra.json").symlink_to(secret)
    with pytest.raises(UsageError, match="is a link out of its folder"):
        registry.add(folder, "tuned", PATH)
    (folder / "extra.json").unlink()
    (folder / "extra.json").symlink_to("config.json")
    record = registry.add(folder, "tuned", PATH).record
    kept = registry.folder(record)
    assert kept is not None
    assert not (kept / "extra.json").is_symlink()


def test_a_disk_without_room_is_told_before_anything_is_written(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=64 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentFailure, match="has room for 0 MB"):
        registry.add(folder, "tuned", PATH)
    assert list(registry.contents.models.iterdir()) == []


def test_a_file_that_cannot_be_written_is_an_error_and_leaves_nothing(
    registry: Registry, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "large", bytes(99_999))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(EnvironmentFailure, match="File too large"):
            registry.add(folder, "tuned", PATH)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(registry.contents.models.iterdir()) == []


# --- references and aliases --------------------------------------------------


def test_a_model_is_found_by_name_version_alias_and_id(
    registry: Registry, folder: Path, other: Path
) -> None:
    first = registry.add(folder, "tuned", PATH).record
    second = registry.add(other, "tuned", PATH).record
    registry.tag("tuned:1", "good")
    found = {
        "tuned": second, "tuned:1": first, "tuned:2": second, "good": first,
        first.id: first, second.id[:15]: second,
    }  # fmt: skip
    assert {reference: registry.get(reference) for reference in found} == found
    assert registry.find("tuned:3") is registry.find("nobody") is None
    assert registry.find("sha256:" + "0" * 12) is None


@pytest.mark.parametrize("reference", ["sha256:1234567", "sha256:XYZ", "tuned:0", "tuned:", ":1"])
def test_what_cannot_be_a_reference_is_told(registry: Registry, reference: str) -> None:
    with pytest.raises(UsageError):
        registry.find(reference)


def test_an_id_that_means_two_models_is_told(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(17):  # two of them begin with the same digit
        registry.add(make_folder(tmp_path / str(number), b"%d" % number), f"m{number}", PATH)
    monkeypatch.setattr("llmlab.registry.lookup.parse", lambda text: ById(text.partition(":")[2]))
    digits = [record.digits[0] for record in registry.records()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(UsageError, match=r"means \d+ models: sha256:"):
        registry.find(f"sha256:{twice}")


@given(st.text(max_size=90) | st.from_regex(r"(sha256:)?[a-f0-9-]{0,70}(:[0-9]{0,3})?"))
def test_any_text_is_a_reference_or_an_error_of_the_caller(text: str) -> None:
    try:
        wanted = parse(text)
    except UsageError:
        return
    if isinstance(wanted, ById):
        assert text == f"sha256:{wanted.digits}"
    else:
        assert text == wanted.name + (f":{wanted.version}" if wanted.version else "")
        assert parse(text) == ByName(wanted.name, wanted.version)


def test_an_alias_moves_and_its_history_says_from_where_to_where_who_and_why(
    registry: Registry, folder: Path, other: Path
) -> None:
    first = registry.add(folder, "tuned", PATH).record
    registry.add(other, "tuned", PATH)
    registry.tag("tuned:1", "stable", "the first one")
    assert registry.tag("tuned:1", "stable") is None, "it is there already"
    registry.tag("tuned:2", "stable", "mentions F5")
    registry.tag("stable", "candidate")
    registry.untag("stable", "too slow")
    told = [
        (one.was and one.was.reference, one.to and one.to.reference, one.why)
        for one in registry.history("stable")
    ]
    assert told == [
        (None, "tuned:1", "the first one"), ("tuned:1", "tuned:2", "mentions F5"),
        ("tuned:2", None, "too slow"),
    ]  # fmt: skip
    move = registry.history()[0].as_json()
    assert move["to"] == {"name": "tuned", "version": 1, "id": first.id}
    assert move["from"] is None
    assert move["who"]
    assert move["at"].endswith("Z")
    assert registry.aliases() == {"candidate": "tuned:2"}
    with pytest.raises(UsageError, match="there is no alias 'stable'; there are: candidate"):
        registry.untag("stable")


def test_an_alias_hides_no_model_and_no_model_hides_an_alias(
    registry: Registry, folder: Path
) -> None:
    registry.add(folder, "tuned", PATH)
    registry.tag("tuned", "good")
    with pytest.raises(UsageError, match="tuned is a model's name"):
        registry.tag("good", "tuned")
    with pytest.raises(UsageError, match="good is an alias"):
        registry.add(folder, "good", PATH)
    with pytest.raises(UsageError, match="good is an alias"):
        registry.add_hub("good", replace(FULL, source="hub"))


def test_a_model_in_use_is_removed_by_force_only(registry: Registry, folder: Path) -> None:
    record = registry.add(folder, "tuned", PATH).record
    kept = registry.folder(record)
    assert kept is not None
    registry.tag("tuned", "good")
    with pytest.raises(UsageError, match="in use by the alias good and a running lab"):
        registry.remove("tuned", in_use="a running lab")
    assert kept.is_dir()
    registry.remove("good", in_use="a running lab", force=True)
    assert not kept.exists()
    assert registry.aliases() == {}
    assert registry.history()[-1].why == "tuned:1 was removed"
    with pytest.raises(UsageError, match=r"tuned:1 was removed on 2"):
        registry.get("tuned:1")
    assert [one.reference for one in registry.records(removed=True)] == ["tuned:1"]


def test_files_stay_as_long_as_a_record_needs_them(registry: Registry, folder: Path) -> None:
    kept = registry.folder(registry.add(folder, "one", PATH).record)
    registry.add(folder, "two", PATH)
    assert kept is not None
    registry.remove("one")
    assert kept.is_dir()
    assert registry.verify(registry.get("two")).verdict == "ok"
    registry.remove("two")
    assert not kept.exists()


def test_the_history_can_only_grow(registry: Registry, folder: Path) -> None:
    registry.add(folder, "tuned", PATH)
    registry.tag("tuned", "good")
    registry.append_evaluation("tuned", {"rougeL": 0.4})
    for statement in (
        "DELETE FROM moves", "UPDATE moves SET why = 'another'", "DELETE FROM records",
        "UPDATE records SET facts = '{}'", "UPDATE records SET removed = 'now', name = 'x'",
        "DELETE FROM evaluations", "UPDATE evaluations SET document = '{}'",
        "INSERT OR REPLACE INTO moves SELECT 1, 'x', NULL, NULL, at, who, why FROM moves",
        "INSERT OR REPLACE INTO evaluations SELECT seq, id, at, '{}' FROM evaluations",
    ):  # fmt: skip
        with (
            pytest.raises(sqlite3.IntegrityError, match=r"are not"),
            registry.database.writing() as connection,
        ):
            connection.execute(statement)


class Machine(RuleBasedStateMachine):
    """The registry against what it should be: dictionaries."""

    models = Bundle("models")

    @initialize()
    def begin(self) -> None:
        self.top = Path(tempfile.mkdtemp())
        self.registry = Registry(Lab(self.top))
        self.versions: dict[str, list[int | None]] = {}  # content by version; None: removed
        self.aliases: dict[str, tuple[str, int]] = {}
        self.moves = 0

    def teardown(self) -> None:
        shutil.rmtree(self.top, ignore_errors=True)

    @rule(target=models, name=st.sampled_from("abc"), content=st.integers(0, 3))
    def add(self, name: str, content: int) -> tuple[str, int]:
        given = self.top / "given" / str(content)
        if not given.exists():
            make_folder(given, b"%d" % content)
        added = self.registry.add(given, name, PATH)
        versions = self.versions.setdefault(name, [])
        if content in versions:
            assert (added.new, added.record.version) == (False, versions.index(content) + 1)
        else:
            versions.append(content)
            assert (added.new, added.record.version) == (True, len(versions))
        return name, added.record.version

    @rule(model=models, alias=st.sampled_from(["x", "y"]))
    def tag(self, model: tuple[str, int], alias: str) -> None:
        if self.versions[model[0]][model[1] - 1] is None:
            with pytest.raises(UsageError, match="was removed"):
                self.registry.tag(f"{model[0]}:{model[1]}", alias)
            return
        move = self.registry.tag(f"{model[0]}:{model[1]}", alias)
        assert (move is None) == (self.aliases.get(alias) == model)
        self.moves += move is not None
        self.aliases[alias] = model

    @rule(alias=st.sampled_from(["x", "y"]))
    def untag(self, alias: str) -> None:
        if alias in self.aliases:
            self.registry.untag(alias)
            del self.aliases[alias]
            self.moves += 1
        else:
            with pytest.raises(UsageError):
                self.registry.untag(alias)

    @rule(model=consumes(models), force=st.booleans())
    def remove(self, model: tuple[str, int], force: bool) -> None:
        name, version = model
        if self.versions[name][version - 1] is None:  # the same model came out of `add` twice
            with pytest.raises(UsageError, match="was removed"):
                self.registry.remove(f"{name}:{version}", force=force)
            return
        pointing = [alias for alias, to in self.aliases.items() if to == model]
        if pointing and not force:
            with pytest.raises(UsageError, match="in use"):
                self.registry.remove(f"{name}:{version}")
            return
        self.registry.remove(f"{name}:{version}", force=force)
        self.versions[name][version - 1] = None
        for alias in pointing:
            del self.aliases[alias]
            self.moves += 1

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "registry"):
            return
        live = {
            (name, number): content
            for name, versions in self.versions.items()
            for number, content in enumerate(versions, 1)
            if content is not None
        }
        found = {(one.name, one.version): one for one in self.registry.records()}
        assert found.keys() == live.keys()
        assert {alias: f"{n}:{v}" for alias, (n, v) in self.aliases.items()} == (
            self.registry.aliases()
        )
        assert len(self.registry.history()) == self.moves
        for alias, model in self.aliases.items():
            assert self.registry.get(alias) == found[model]
        for name in self.versions:
            newest = max((v for n, v in live if n == name), default=None)
            assert self.registry.find(name) == (newest and found[name, newest])
        kept = self.registry.contents.models
        there = {folder.name for folder in kept.iterdir()} if kept.exists() else set()
        assert there == {one.digits for one in found.values()}


TestRegistryAgainstDictionaries = pytest.mark.slow(Machine.TestCase)
TestRegistryAgainstDictionaries.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


# --- evaluations -------------------------------------------------------------


def test_evaluations_are_added_to_every_record_of_a_content_and_come_back_in_order(
    registry: Registry, folder: Path
) -> None:
    registry.add(folder, "one", PATH)
    registry.add(folder, "two", PATH)
    registry.append_evaluation("one", {"suite": "news", "rougeL": 0.25})
    record = registry.append_evaluation("two", {"suite": "founding", "coverage": 0.5})
    registry.append_evaluation("one", {"rougeL": 0.25, "suite": "news"})  # the same again
    expected = ({"suite": "news", "rougeL": 0.25}, {"suite": "founding", "coverage": 0.5})
    assert record.evaluations == registry.get("one").evaluations == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        registry.append_evaluation("one", {"p": float("nan")})
    with pytest.raises(UsageError, match="no model 'three' is registered; there are: one:1, two:1"):
        registry.append_evaluation("three", {})


# --- several processes at once -----------------------------------------------


def _at_once(barrier: Any, root: Path, folder: Path, name: str, alias: str) -> None:
    registry = Registry(Lab(root))
    barrier.wait(30)
    registry.add(folder, name, PATH)
    registry.tag(name, alias)
    registry.append_evaluation(name, {"by": alias})


@pytest.mark.slow
def test_processes_that_add_the_same_and_other_models_at_once_lose_nothing(
    lab: Lab, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    folders = [make_folder(tmp_path / f"m{n}", b"%d" % n * 99_999) for n in range(3)]
    barrier = context.Barrier(6)
    workers = [
        context.Process(
            target=_at_once, args=(barrier, lab.root, folders[n % 3], f"m{n % 3}", f"a{n}")
        )
        for n in range(6)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    registry = Registry(lab)
    assert sorted(one.reference for one in registry.records()) == ["m0:1", "m1:1", "m2:1"]
    assert registry.aliases() == {f"a{n}": f"m{n % 3}:1" for n in range(6)}
    assert [len(one.evaluations) for one in registry.records()] == [2, 2, 2]
    assert {registry.verify(one).verdict for one in registry.records()} == {"ok"}


# --- damage ------------------------------------------------------------------


def damage(file: Path) -> None:
    """As a disk or a person might."""
    file.chmod(0o600)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_changed_missing_or_added_file_is_found(registry: Registry, folder: Path) -> None:
    record = registry.add(folder, "tuned", PATH).record
    kept = registry.folder(record)
    assert kept is not None
    assert registry.verify(record).verdict == "ok"
    damage(kept / "model.safetensors")
    (kept / "tokenizer.json").unlink()
    (kept / "extra.json").write_text("{}")
    verdict = registry.verify(record)
    assert verdict.verdict == "damaged"
    assert verdict.message.endswith(": extra.json, model.safetensors, tokenizer.json")
    registry.add(folder, "tuned", PATH)
    assert registry.verify(record).verdict == "ok", "the same model mends it"
    shutil.rmtree(kept)
    assert "is gone" in registry.verify(record).message


def test_a_database_that_is_damaged_is_told_with_the_way_out(
    registry: Registry, folder: Path
) -> None:
    registry.add(folder, "tuned", PATH)
    file = registry.database.file
    file.write_bytes(b"no database" * 999)
    with pytest.raises(LlmlabError, match="is damaged: file is not a database") as caught:
        registry.records()
    assert "move" in (caught.value.fix or "")


def test_models_without_their_database_are_not_taken_for_leftovers(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    first = registry.add(folder, "tuned", PATH).record
    registry.database.file.rename(tmp_path / "away")
    with pytest.raises(EnvironmentFailure, match=r"is gone, but .* holds models"):
        registry.add(make_folder(tmp_path / "second", b"other"), "second", PATH)
    (tmp_path / "away").rename(registry.database.file)
    assert registry.verify(first).verdict == "ok"


def test_a_database_of_a_newer_llmlab_is_left_alone(registry: Registry, folder: Path) -> None:
    registry.add(folder, "tuned", PATH)
    with sqlite3.connect(registry.database.file) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(EnvironmentFailure, match="written by a newer llmlab"):
        registry.records()


def test_a_database_of_an_older_llmlab_is_brought_up_to_date(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add(folder, "tuned", PATH)
    step = ("CREATE TABLE something (new TEXT) STRICT",)
    monkeypatch.setattr(registry.database, "_migrations", (*db.MIGRATIONS, step))
    assert registry.get("tuned").version == 1
    with registry.database.reading() as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == len(db.MIGRATIONS) + 1
        assert connection.execute("SELECT count(*) FROM something").fetchone()[0] == 0


def test_a_transaction_that_fails_changes_nothing(registry: Registry, folder: Path) -> None:
    registry.add(folder, "tuned", PATH)
    with pytest.raises(RuntimeError), registry.database.writing() as connection:
        connection.execute("UPDATE records SET removed = 'now'")
        raise RuntimeError
    assert registry.get("tuned").removed == ""


def test_looking_at_a_registry_that_is_not_there_does_not_make_one(
    registry: Registry, lab: Lab
) -> None:
    assert registry.records() == []
    assert (registry.aliases(), registry.history(), registry.find("x")) == ({}, [], None)
    assert not lab.state.exists()


# --- as models of the lab ----------------------------------------------------


def lab_toml(lab: Lab, text: str) -> None:
    lab.config_file.write_text(text)


def test_lab_toml_may_name_registered_models_everywhere(
    lab: Lab, registry: Registry, folder: Path, other: Path
) -> None:
    registry.add(folder, "tuned", PATH)
    registry.add(other, "tuned", PATH)
    registry.tag("tuned:1", "good")
    lab_toml(lab, 'stable = "good"\ndeploy = ["textrank", "tuned:2", "tuned-1"]\n')
    loaded = load_lab(lab)
    config = loaded.config
    assert (config.stable, config.deploy) == ("good", ["textrank", "tuned-2", "tuned-1"])
    record = registry.get("tuned:2")
    assert config.models["tuned-2"] == Model(
        runtime="ctranslate2", source=f"path:.llmlab/registry/models/{record.digits}",
        content_id=record.id, max_length=100, min_length=5,
    )  # fmt: skip
    assert config.models["good"].content_id == registry.get("tuned:1").id
    origins = {path: where for path, _, where in loaded.leaves()}
    assert origins["models.tuned-2.source"] == "registry tuned:2"
    assert Config.model_validate(config.model_dump()) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('stable = "nope"', "routes.summarize: no model 'nope' is defined"),
        ('deploy = ["tuned:7"]', "deploy.0: no model 'tuned:7' is defined"),
        ('fallback = "sha256:12"', "fallback: 'sha256:12' is no content id"),
        ('deploy = ["tuned:1", "tuned-1"]', "two models would be deployed as tuned-1"),
    ],
)
def test_a_model_that_nobody_knows_is_told_with_its_path(
    lab: Lab, registry: Registry, folder: Path, other: Path, text: str, expected: str
) -> None:
    registry.add(folder, "tuned", PATH)
    registry.add(other, "tuned-1", PATH)
    lab_toml(lab, text)
    with pytest.raises(ConfigError, match=expected):
        load_lab(lab)


def test_lab_toml_comes_first_then_aliases_then_names_then_what_a_status_tells(
    lab: Lab, registry: Registry, folder: Path
) -> None:
    registry.add(folder, "falconsai", PATH)
    registry.tag("falconsai", "good")
    catalogue = Catalogue(Config(), registry)
    assert catalogue.get("falconsai").model.source.startswith("hub:")
    assert catalogue.get("falconsai:1").name == "falconsai-1"
    assert catalogue.get("falconsai-1").record == registry.get("falconsai:1")
    assert catalogue.get("good").name == "good"
    config, names = catalogue.with_models(["textrank", "good", "falconsai:1"])
    assert names == ["textrank", "good", "falconsai-1"]
    assert set(config.models) == {"falconsai", "textrank", "smollm2", "good", "falconsai-1"}
    with pytest.raises(UsageError, match="registered: good, falconsai:1"):
        catalogue.get("nobody")
    registry.remove("good", force=True)
    with pytest.raises(UsageError, match="falconsai:1 was removed on"):
        catalogue.get("falconsai:1")


def test_a_hub_model_is_a_record_without_files(registry: Registry) -> None:
    facts = replace(FULL, source="hub")
    added = registry.add_hub("falcon", facts)
    assert added.new
    assert not registry.add_hub("falcon", facts).new
    assert (registry.folder(added.record), dict(added.record.files)) == (None, {})
    model = registry.model(registry.get("falcon"))
    assert (model.repository, model.revision) == ("tiny/t5", "f" * 40)
    assert model.content_id == "sha256:" + "1" * 64
    assert added.record.serves(
        Model(runtime="ctranslate2", source="hub:tiny/t5", revision="f" * 40), ""
    )
    assert registry.verify(added.record).verdict == "absent"


@pytest.fixture
def tuned(registry: Registry, tiny_t5: Path) -> Registry:
    """A registry with a model that can be loaded."""
    registry.add(tiny_t5, "tuned", PATH)
    registry.add(tiny_t5, "slow", Facts("path", runtime="transformers"))
    return registry


def test_a_registered_model_is_converted_and_its_converted_id_leads_back_to_its_record(
    lab: Lab, tuned: Registry
) -> None:
    record = tuned.get("tuned")
    model = tuned.model(record)
    folder = pull("tuned", model, lab.root, say=lambda _: None)
    _, model_id = load(model, folder)
    assert model_id != record.id
    assert tuned.find(model_id) == tuned.find(model_id[:20]) == record
    assert tuned.append_evaluation(model_id, {"by": "its converted id"}).reference == "tuned:1"
    damage(Path(str(folder)) / "model.bin")
    assert "not as it was converted" in tuned.verify(record).message
    with pytest.raises(ModelUnavailable, match="is not as it was converted"):
        load(model, folder)


def test_a_registered_model_that_was_changed_is_neither_converted_nor_loaded(
    lab: Lab, tuned: Registry
) -> None:
    for name in ("tuned", "slow"):
        record = tuned.get(name)
        model, folder = tuned.model(record), tuned.folder(record)
        assert folder is not None
        if name == "tuned":
            damage(folder / "model.safetensors")
            with pytest.raises(ModelUnavailable, match="have another content than they should"):
                pull(name, model, lab.root, say=lambda _: None)
        else:
            with pytest.raises(ModelUnavailable, match=f"and {record.id} is expected"):
                load(model, folder)


def test_another_models_converted_form_is_not_loaded_in_its_place(
    lab: Lab, tuned: Registry
) -> None:
    model = tuned.model(tuned.get("tuned"))
    folder = pull("tuned", model, lab.root, say=lambda _: None)
    wrong = model.model_copy(update={"content_id": "sha256:" + "0" * 64})
    with pytest.raises(ModelUnavailable, match="is expected"):
        load(wrong, folder)


# --- through the command -----------------------------------------------------


def test_up_serves_a_registered_model_and_every_verb_takes_its_names(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, home: Path, article: str, tmp_path: Path
) -> None:
    lab = make_lab()
    lab.env |= {"LLMLAB_HOME": str(home)}
    added = lab.json("models", "add", str(tiny_t5), "--name", "tuned", "--license", "mit")
    assert (added["reference"], added["id"], added["new"]) == ("tuned:1", content_id(tiny_t5), True)
    assert lab.json("models", "tag", "tuned", "good", "--why", "a try")["to"]["version"] == 1
    done = lab.run("up", "--model", "good")
    assert done.returncode == 0, done.stderr
    assert "good (ctranslate2) answers" in done.stdout

    text = tmp_path / "text.txt"
    text.write_text(article[:400])
    for reference in ("good", "tuned", "tuned:1", added["id"][:20]):
        (result,) = lab.json("summarize", str(text), "--model", reference)["results"]
        assert result["model"]["name"] == "good"
    assert "/models/good/summarize/" in lab.ok(
        "summarize", str(text), "--model", "tuned:1", "--as", "curl"
    )
    shown = lab.json("models", "show", result["model"]["id"])
    assert shown["id"] == result["model"]["id"]
    assert shown["converted_from"] == shown["record"]["id"] == added["id"]
    assert shown["record"]["license"] == "mit"

    rows = {row["name"]: row for row in lab.json("models", "list")}
    assert set(rows) == {"falconsai", "textrank", "smollm2", "tuned:1"}
    row = rows["tuned:1"]
    assert (row["registered"], row["ready"], row["aliases"], row["origin"]) == (
        True, True, ["good"], "path",
    )  # fmt: skip
    assert "tuned:1" in lab.ok("models", "list")

    refused = lab.run("models", "rm", "tuned")
    assert refused.returncode == 2
    assert "in use by the alias good and good, which runs" in " ".join(refused.stderr.split())
    (move,) = lab.json("models", "history", "good")
    assert (move["from"], move["to"]["id"], move["why"]) == (None, added["id"], "a try")
    lab.ok("down")

    assert lab.json("models", "rm", "tuned", "--force")["removed"]
    assert lab.json("models", "history")[-1]["to"] is None
    assert lab.run("models", "show", "tuned:1").returncode == 2


def test_a_damaged_model_is_found_by_verify_and_does_not_come_up(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, home: Path
) -> None:
    lab = make_lab(fallback='""')
    lab.env |= {"LLMLAB_HOME": str(home)}
    lab.ok("models", "add", str(tiny_t5), "--name", "tuned", "--runtime", "transformers")
    lab.ok("models", "verify")
    record = Registry(lab.lab).get("tuned")
    damage(Registry(lab.lab).contents.models / record.digits / "model.safetensors")
    done = lab.run("models", "verify", "-o", "json")
    assert done.returncode == 1
    (verdict,) = json.loads(done.stdout)["models"]
    assert (verdict["reference"], verdict["verdict"]) == ("tuned:1", "damaged")
    assert "model.safetensors" in verdict["message"]
    told = lab.run("up", "--model", "tuned")
    assert told.returncode == 3
    assert "is expected" in " ".join(told.stderr.split())


@pytest.fixture
def hub(tiny_t5: Path) -> Iterator[Hub]:
    with serving({file.name: file.read_bytes() for file in tiny_t5.iterdir()}) as hub:
        yield hub


def test_a_model_of_a_hub_is_registered_when_it_is_pulled_and_stays_in_the_hubs_cache(
    make_lab: Callable[..., LabUnderTest], hub: Hub, home: Path, tiny_t5: Path, tmp_path: Path
) -> None:
    lab = make_lab()
    with lab.lab.config_file.open("a") as file:
        file.write(TINY)
    lab.env |= {"LLMLAB_HOME": str(home), **hub_env(hub.url, tmp_path / "hf")}
    assert lab.json("models", "show", "tiny")["record"] is None
    done = lab.run("models", "pull", "tiny")
    assert (done.returncode, "Registered as tiny:1" in done.stderr) == (0, True)
    assert "Registered" not in lab.run("models", "pull", "tiny").stderr
    record = lab.json("models", "show", "tiny")["record"]
    assert (record["id"], record["source"], record["files"]) == (content_id(tiny_t5), "hub", {})
    assert record["base"] == {
        "repository": "tiny/t5", "revision": REVISION, "id": content_id(tiny_t5),
    }  # fmt: skip

    lab.ok("models", "export", "tiny:1", str(tmp_path / "tiny.tar"))
    snapshot = cached(lab)
    damage((snapshot / "config.json").resolve())
    assert lab.run("models", "verify").returncode == 1
    shutil.rmtree(tmp_path / "hf")
    told = lab.json("models", "verify")["models"]
    assert [one["verdict"] for one in told] == ["absent"]

    lab.ok("models", "import", str(tmp_path / "tiny.tar"), "--name", "carried")
    carried = lab.json("models", "show", "carried")
    assert (carried["ready"], carried["record"]["id"]) == (True, record["id"])
    assert lab.json("models", "verify", "carried")["models"][0]["verdict"] == "ok"


def test_the_names_of_lab_toml_are_taken(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, home: Path
) -> None:
    lab = make_lab()
    lab.env |= {"LLMLAB_HOME": str(home)}
    for verb in (("add", str(tiny_t5), "--name", "textrank"), ("tag", "tuned", "falconsai")):
        done = lab.run("models", *verb)
        assert done.returncode == 2
        assert "is a model of lab.toml, which would hide it" in " ".join(done.stderr.split())


def test_a_lab_whose_stable_model_is_not_registered_yet_can_be_mended(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, home: Path
) -> None:
    lab = make_lab(routes__summarize='"tuned"')
    lab.env |= {"LLMLAB_HOME": str(home)}
    assert "no model 'tuned' is defined" in lab.run("up").stderr
    assert lab.run("models", "list").returncode == 0
    lab.ok("models", "add", str(tiny_t5), "--name", "tuned")
    roles = {row["name"]: row["role"] for row in lab.json("models", "list")}
    assert roles == {"falconsai": "", "textrank": "fallback", "smollm2": "", "tuned:1": "stable"}
    done = lab.run("models", "rm", "tuned")
    assert "in use by routes.summarize of lab.toml" in done.stderr
