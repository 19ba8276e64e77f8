"""A model as one file: what comes in is what went out, and nothing else comes in."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmlab.errors import EnvironmentFailure, LlmlabError, UsageError
from llmlab.lab import Lab
from llmlab.models import content_id
from llmlab.models.convert import convert
from llmlab.registry import Facts, Registry
from llmlab.registry.archive import LABEL, export_model, import_model
from tests.conftest import LabUnderTest
from tests.test_registry import FULL, damage, make_folder

PATH = Facts("path")
Label = dict[str, Any]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def here(tmp_path: Path) -> Registry:
    registry = Registry(Lab(tmp_path / "here"))
    registry.add(make_folder(tmp_path / "given", b"weights" * 999), "tuned", FULL)
    registry.append_evaluation("tuned", {"suite": "news", "rougeL": 0.25})
    return registry


@pytest.fixture
def there(tmp_path: Path) -> Registry:
    return Registry(Lab(tmp_path / "there"))


@pytest.fixture
def archive(here: Registry, tmp_path: Path) -> Path:
    file = tmp_path / "tuned.tar"
    assert export_model(here, here.get("tuned"), file) == file.stat().st_size
    return file


def nothing_in(registry: Registry) -> bool:
    models = registry.contents.models
    return not registry.records() and not (models.exists() and list(models.iterdir()))


# --- out and in ----------------------------------------------------------------


def test_a_model_that_is_exported_and_imported_elsewhere_is_the_same_model(
    here: Registry, there: Registry, archive: Path
) -> None:
    before, added = here.get("tuned"), import_model(there, archive)
    assert added.new
    after = there.get("tuned:1")
    assert after == added.record
    assert (after.id, after.files, after.created) == (before.id, before.files, before.created)
    assert after.facts == replace(FULL, source="import")
    assert after.evaluations == before.evaluations
    assert there.verify(after).verdict == "ok"
    assert not import_model(there, archive).new, "the same again"
    assert import_model(there, archive, "other").record.reference == "other:1"


def test_the_same_record_gives_the_same_bytes(
    here: Registry, archive: Path, tmp_path: Path
) -> None:
    export_model(here, here.get("tuned"), tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == archive.read_bytes()


def test_it_is_a_tar_that_other_programs_can_list(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        assert tar.getnames() == [LABEL, "config.json", "model.safetensors", "tokenizer.json"]
        assert {(one.mtime, one.uid, one.mode) for one in tar} == {(0, 0, 0o644)}


def test_a_converted_model_travels_too(
    here: Registry, there: Registry, tiny_t5: Path, tmp_path: Path
) -> None:
    converted = convert("tiny", tiny_t5, content_id(tiny_t5), "int8", lambda _: None)
    record = here.add(converted, "fast", replace(PATH, compute_type="float32")).record
    assert (record.id, record.facts.compute_type) == (content_id(converted), "int8")
    export_model(here, record, tmp_path / "fast.tar")
    assert import_model(there, tmp_path / "fast.tar").record.id == record.id


def test_a_damaged_model_is_not_exported(here: Registry, tmp_path: Path) -> None:
    record = here.get("tuned")
    damage(here.contents.models / record.digits / "config.json")
    with pytest.raises(UsageError, match=r"not as registered.*config\.json"):
        export_model(here, record, tmp_path / "x.tar")
    hub = here.add_hub("hub", replace(FULL, source="hub")).record
    with pytest.raises(UsageError, match="tiny/t5 is not on disk"):
        export_model(here, hub, tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_no_file_is_overwritten(here: Registry, archive: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        export_model(here, here.get("tuned"), archive)
    with pytest.raises(EnvironmentFailure, match="No such file"):
        export_model(here, here.get("tuned"), tmp_path / "no" / "folder.tar")


# --- what is refused -----------------------------------------------------------------


Member = tuple[tarfile.TarInfo, bytes]


def members(archive: Path) -> list[Member]:
    with tarfile.open(archive) as tar:
        return [(one, tar.extractfile(one).read()) for one in tar]  # type: ignore[union-attr]


def pack(archive: Path, content: list[Member], kind: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(archive, "w", format=kind) as tar:
        for info, data in content:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return archive


def info(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def with_extra(extra: tarfile.TarInfo) -> Callable[[list[Member]], list[Member]]:
    return lambda given: [*given, (extra, b"extra")]


def instead_of_the_first(name: tarfile.TarInfo) -> Callable[[list[Member]], list[Member]]:
    return lambda given: [given[0], (name, given[1][1]), *given[2:]]


MALICIOUS: dict[str, tuple[Callable[[list[Member]], list[Member]], str]] = {
    "an absolute path": (instead_of_the_first(info("/tmp/x.json")), "is not what it says"),
    "a path upwards": (instead_of_the_first(info("../x.json")), "is not what it says"),
    "a path in a folder": (instead_of_the_first(info("a/config.json")), "is not what it says"),
    "a symbolic link": (
        instead_of_the_first(info("config.json", tarfile.SYMTYPE, "/etc/passwd")), "is a link",
    ),
    "a hard link": (
        instead_of_the_first(info("config.json", tarfile.LNKTYPE, "/etc/passwd")), "is a link",
    ),
    "a device": (instead_of_the_first(info("config.json", tarfile.CHRTYPE)), "is a link, a dev"),
    "a pipe": (instead_of_the_first(info("config.json", tarfile.FIFOTYPE)), "is a link, a dev"),
    "a folder": (instead_of_the_first(info("config.json", tarfile.DIRTYPE)), "is a link, a dev"),
    "a sparse file": (
        instead_of_the_first(info("config.json", tarfile.GNUTYPE_SPARSE)), "is a link",
    ),
    "a long name": (instead_of_the_first(info("x" * 200 + ".json")), "is a link"),
    "a file more": (with_extra(info("extra.json")), "more in it than it announces"),
    "a file twice": (lambda given: [*given, given[-1]], "more in it than it announces"),
    "a file less": (lambda given: given[:-1], "no archive of a model, or broken off"),
    "another order": (lambda given: [given[0], *given[:0:-1]], "is not what it says"),
    "no label": (lambda given: given[1:], f"does not begin with {LABEL}"),
    "a longer file": (
        lambda given: [given[0], (given[1][0], given[1][1] + b" "), *given[2:]],
        "is not what it says",
    ),
    "another content": (
        lambda given: [given[0], (given[1][0], b"[]"), *given[2:]], "its content is sha256:",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALICIOUS)
def test_an_archive_that_holds_anything_unexpected_is_refused_as_a_whole(
    there: Registry, archive: Path, tmp_path: Path, case: str
) -> None:
    change, expected = MALICIOUS[case]
    evil = pack(tmp_path / "evil.tar", change(members(archive)))
    outside = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=expected):
        import_model(there, evil)
    assert nothing_in(there)
    state = there.contents.models.parent.parent
    assert sorted(p for p in tmp_path.rglob("*") if state not in (p, *p.parents)
                  and p != state.parent) == outside  # fmt: skip


def relabel(archive: Path, target: Path, change: Callable[[Label], object]) -> Path:
    content = members(archive)
    label = json.loads(content[0][1])
    change(label)
    return pack(target, [(content[0][0], json.dumps(label).encode()), *content[1:]])


LABELS: dict[str, tuple[Callable[[Label], object], str]] = {
    "a format of later": (lambda label: label.update(format=2), "format"),
    "an unknown key": (lambda label: label.update(more=1), "more"),
    "an unknown fact": (lambda label: label["facts"].update(more=1), r"facts\.more"),
    "a name that is a path": (lambda label: label.update(name="../x"), "cannot be a model's name"),
    "a name that is reserved": (lambda label: label.update(name="live"), "cannot be a model"),
    "a time that is none": (lambda label: label.update(created="\x1b[31m"), "created"),
    "another id": (lambda label: label.update(id="sha256:" + "0" * 64), "contradicts itself"),
    "a hash that is none": (
        lambda label: label["files"]["config.json"].update(sha256="x"), "sha256",
    ),
    "a size below zero": (
        lambda label: label["files"]["config.json"].update(bytes=-1), "bytes",
    ),
    "a pickle": (lambda label: label["files"].update(
        {"pytorch_model.bin": {"sha256": "0" * 64, "bytes": 1}}), "is no file of a model"),
    "a converted model's weights in another": (lambda label: label["files"].update(
        {"model.bin": {"sha256": "0" * 64, "bytes": 1}}), "is no file of a model"),
    "a path": (lambda label: label["files"].update(
        {"../../x.json": {"sha256": "0" * 64, "bytes": 1}}), "is no file of a model"),
    "a hidden file": (lambda label: label["files"].update(
        {".x.json": {"sha256": "0" * 64, "bytes": 1}}), "is no file of a model"),
    "too many files": (lambda label: label["files"].update(
        {f"{n}.json": {"sha256": "0" * 64, "bytes": 1} for n in range(1001)}), "so many"),
    "lengths that cannot be served": (
        lambda label: label["facts"].update(max_length=1, min_length=9), "cannot be registered",
    ),
    "evaluations that are none": (lambda label: label.update(evaluations=[3]), "evaluations"),
    "an evaluation that is no JSON": (
        lambda label: label.update(evaluations=[{"rougeL": float("nan")}]), "JSON has not",
    ),
    "a fact that is no JSON": (
        lambda label: label["facts"].update(duration=float("inf")), "JSON has not",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LABELS)
def test_a_label_that_makes_no_sense_is_refused(
    there: Registry, archive: Path, tmp_path: Path, case: str
) -> None:
    change, expected = LABELS[case]
    with pytest.raises(UsageError, match=expected):
        import_model(there, relabel(archive, tmp_path / "evil.tar", change))
    assert nothing_in(there)


def test_a_model_that_the_disk_has_no_room_for_is_refused_before_it_is_written(
    there: Registry, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=(64 << 20) + 999)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(EnvironmentFailure, match="has room for 0 MB"):
        import_model(there, archive)
    assert nothing_in(there)


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_an_extended_header_is_not_even_read(
    there: Registry, archive: Path, tmp_path: Path, kind: int
) -> None:
    content = members(archive)
    content[1][0].pax_headers = {"path": "/etc/passwd", "size": "1" * 30}
    evil = pack(tmp_path / "evil.tar", content, kind)
    if kind == tarfile.PAX_FORMAT:
        with pytest.raises(UsageError, match="is a link, a device or the like"):
            import_model(there, evil)
        assert nothing_in(there)
    else:  # nothing extended about it
        assert import_model(there, evil).new


@pytest.mark.parametrize(
    "content",
    [b"", b"no tar", bytes(4096), gzip.compress(b"x" * 999), b"\x80\x04K\x01." * 999],
    ids=["empty", "words", "zeros", "gzip", "pickle"],
)
def test_what_is_no_archive_is_refused(there: Registry, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.tar"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"x\.tar"):
        import_model(there, file)
    for missing in (tmp_path / "nowhere.tar", tmp_path):
        with pytest.raises(UsageError):
            import_model(there, missing)


def test_an_archive_that_is_broken_off_anywhere_is_refused(
    there: Registry, archive: Path, tmp_path: Path
) -> None:
    whole = archive.read_bytes()
    cut = tmp_path / "cut.tar"
    for length in [*range(0, len(whole) - 1024, 512), len(whole) - 1024 - 513, 700]:
        cut.write_bytes(whole[:length])
        with pytest.raises(UsageError):
            import_model(there, cut)
    assert nothing_in(there)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_byte_that_changed_on_the_way_never_changes_a_model(
    here: Registry, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    record = here.get("tuned")
    export_model(here, record, folder / "a.tar")
    content = bytearray((folder / "a.tar").read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / "b.tar").write_bytes(content)
    there = Registry(Lab(folder / "lab"))
    try:
        added = import_model(there, folder / "b.tar")
    except LlmlabError:
        assert nothing_in(there)
    else:
        assert added.record.id == record.id
        assert there.verify(added.record).verdict == "ok"


# --- through the command ---------------------------------------------------------------


def test_a_model_travels_from_lab_to_lab_through_the_command(
    make_lab: Callable[..., LabUnderTest], tiny_t5: Path, home: Path, tmp_path: Path
) -> None:
    one, two = make_lab(), make_lab()
    for lab in (one, two):
        lab.env |= {"LLMLAB_HOME": str(home)}
    added = one.json("models", "add", str(tiny_t5), "--name", "tuned")
    file = tmp_path / "tuned.tar"
    told = one.json("models", "export", "tuned", str(file))
    assert (told["id"], told["bytes"]) == (added["id"], file.stat().st_size)
    imported = two.json("models", "import", str(file))
    assert (imported["id"], imported["source"], imported["new"]) == (added["id"], "import", True)
    assert two.run("models", "import", str(file), "--name", "textrank").returncode == 2
    file.write_bytes(file.read_bytes()[:-9000])
    assert two.run("models", "import", str(file), "--name", "again").returncode == 2
