"""kill -9 at any moment: nothing registered is lost, and what is there is whole."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmlab.lab import Lab
from llmlab.registry import Facts, Registry
from llmlab.registry.archive import export_model, import_model
from tests.conftest import clean_env
from tests.test_models import Hub, hub_env, serving
from tests.test_registry import make_folder

TIMES = 50
PAIRS = Path(__file__).parent.parent / "configs" / "data" / "beginnings.jsonl"


@dataclass
class Killer:
    """A process that forks, runs a job, and kills what it forked."""

    process: subprocess.Popen[str]

    def __call__(self, do: str, *arguments: object, **when: float) -> dict[str, Any]:
        job = {"do": do, "arguments": [str(one) for one in arguments], **when}
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = make_folder(tmp_path_factory.mktemp("hub") / "tiny", b"of the hub")
    with serving({file.name: file.read_bytes() for file in folder.iterdir()}) as hub:
        yield hub


@contextmanager
def killing(env: dict[str, str], *imports: str) -> Iterator[Killer]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.killable", *imports], text=True, env=env,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield Killer(process)
    assert process.stdin
    process.stdin.close()
    process.wait(10)


@pytest.fixture(scope="module")
def killer(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killer]:
    home = tmp_path_factory.mktemp("home")
    with killing(clean_env(LLMLAB_HOME=str(home), **hub_env(hub.url, home / "hf"))) as one:
        yield one


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path / "home"))
    root = tmp_path / "lab"
    root.mkdir()
    registry = Registry(Lab(root))
    for number in range(3):
        registry.add(make_folder(tmp_path / f"given-{number}", b"given"), "given", facts(number))
    registry.tag("given:1", "stable", "the first")
    return Lab(root)


def facts(number: int) -> Facts:
    return Facts("path", note=f"number {number}")


def seen(lab: Lab) -> dict[str, Any]:
    """All that the registry knows, after a look at every byte of it."""
    registry = Registry(lab)
    assert registry.database.problems() == []
    for record in registry.records():
        assert registry.verify(record).verdict in ("ok", "absent"), record.reference
    history = registry.history()
    last = {move.alias: move.to.reference for move in history if move.to}
    assert registry.aliases() == last
    return {
        "records": {one.reference: one.id for one in registry.records()},
        "moves": len(history),
        "aliases": last,
    }


def clean(lab: Lab, folder: Path) -> None:
    """The next writer removes what a process that was killed has left."""
    registry = Registry(lab)
    registry.add(folder, "given", facts(0))
    there = {entry.name for entry in registry.contents.models.iterdir()}
    assert there == {one.digits for one in registry.records() if one.owned}


def check(lab: Lab, before: dict[str, Any], finished: bool, folder: Path) -> dict[str, Any]:
    """Nothing from before is lost; what was finished is there; what is there is whole."""
    after = seen(lab)
    assert before["records"].items() <= after["records"].items()
    new = len(after["records"]) - len(before["records"]) + after["moves"] - before["moves"]
    assert new == 1 if finished else new in (0, 1)
    clean(lab, folder)
    return after


def test_fifty_processes_are_killed_at_random_moments_and_nothing_is_lost(
    lab: Lab, killer: Killer, tmp_path: Path
) -> None:
    chance = random.Random(5)
    archive = tmp_path / "model.tar"
    export_model(Registry(lab), Registry(lab).get("given:1"), archive)
    outcomes = []
    for turn in range(TIMES):
        name = f"m{turn}"
        folder = make_folder(tmp_path / name, name.encode() * 999)
        jobs = {
            "add": ("add", lab.root, folder, name),
            "tag": ("tag", lab.root, f"given:{1 + turn % 3}", f"a{turn}"),
            "import": ("import", lab.root, archive, name),
            "pull": ("pull", lab.root, name),
        }
        kind = chance.choice(list(jobs))
        before = seen(lab)
        usual = 0.3 if kind == "pull" else 0.05
        finished = killer(*jobs[kind], seconds=chance.uniform(0, usual))["finished"]
        check(lab, before, finished, tmp_path / "given-0")
        outcomes.append((kind, finished))
        if not finished:  # and done again, it succeeds
            assert killer(*jobs[kind])["finished"]
            assert name in " ".join(seen(lab)["records"]) or f"a{turn}" in seen(lab)["aliases"]
    assert {kind for kind, finished in outcomes if not finished} == set(jobs), "none was killed"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts lines in a memfd")
@pytest.mark.parametrize("kind", ["add", "import", "tag", "remove", "repair"])
def test_a_process_is_killed_at_one_line_after_the_other_and_nothing_is_lost(
    lab: Lab, killer: Killer, tmp_path: Path, kind: str
) -> None:
    folder = make_folder(tmp_path / "new", b"new")
    archive = tmp_path / "model.tar"
    other = Registry(Lab(tmp_path / "other"))
    export_model(other, other.add(folder, "new", facts(0)).record, archive)
    copy = tmp_path / "copy"

    def fresh() -> Lab:
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(lab.root, copy)
        if kind in ("remove", "repair"):
            record = Registry(Lab(copy)).add(folder, "new", facts(0)).record
            if kind == "repair":
                damaged = Registry(Lab(copy)).contents.models / record.digits / "config.json"
                damaged.chmod(0o600)
                damaged.write_text("damaged")
        return Lab(copy)

    job = {
        "add": ("add", copy, folder, "new"),
        "import": ("import", copy, archive, "new"),
        "tag": ("tag", copy, "given:2", "stable"),
        "remove": ("remove", copy, "new:1"),
        "repair": ("add", copy, folder, "new"),
    }[kind]
    fresh()
    lines = killer(*job, line=0)["lines"]
    assert lines > 20
    fresh()
    before = seen(lab)
    step = max(1, lines // 60)
    for line in range(1, lines, step):
        one = fresh()
        assert not killer(*job, line=line)["finished"]
        if kind == "repair":
            assert killer(*job)["finished"]  # the damage is there until somebody mends it
        after = seen(one)
        assert before["records"].items() <= after["records"].items()
        assert after["aliases"].keys() == {"stable"}
        assert after["moves"] == 1 or kind == "tag"
        clean(one, tmp_path / "given-0")


def test_an_export_that_is_killed_leaves_no_file_of_that_name(
    lab: Lab, killer: Killer, tmp_path: Path
) -> None:
    chance = random.Random(9)
    for turn in range(20):
        target = tmp_path / f"{turn}.tar"
        finished = killer(
            "export", lab.root, "given:1", target, seconds=chance.uniform(0, 0.03)
        )["finished"]  # fmt: skip
        assert target.exists() or not finished
        if target.exists():
            there = Registry(Lab(tmp_path / f"lab-{turn}"))
            assert import_model(there, target).record.id == Registry(lab).get("given:1").id


def test_a_killed_writer_leaves_no_lock(lab: Lab, killer: Killer, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "new", b"new" * 9999)
    for turn in range(10):
        killer("add", lab.root, folder, f"n{turn}", seconds=turn / 500)
        Registry(lab).tag(f"given:{1 + turn % 3}", f"a{turn}")  # with a lock, they would wait
        Registry(lab).add(folder, f"n{turn}", Facts("path"))
    assert len(Registry(lab).records()) == 13


def test_a_tune_that_is_killed_again_and_again_loses_nothing_and_comes_to_its_end(
    lab: Lab, tmp_path: Path
) -> None:
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(PAIRS.read_text().splitlines()[:300]) + "\n")
    chance = random.Random(11)
    before = seen(lab)
    folder = lab.state / "tune" / "tuned"
    killed: list[str] = []
    with killing(clean_env(LLMLAB_HOME=str(tmp_path / "home")), "tune") as killer:
        for turn in range(60):
            # The first ones have no time to come far; later ones may be killed in the end.
            usual = chance.uniform(0.1, 2 + turn)
            finished = killer("tune", lab.root, data, "tuned", seconds=usual)["finished"]
            after = seen(lab)
            assert before["records"].items() <= after["records"].items()
            if finished:
                break
            killed.append(_phase(folder))
    assert len(killed) >= 5, "it was hardly ever killed"
    assert "training" in killed
    new = after["records"].keys() - before["records"].keys()
    assert new == {"tuned:1"}
    record = Registry(lab).get("tuned:1")
    assert [one["suite"] for one in record.evaluations] == ["pairs/validation", "pairs/test"]
    assert not folder.exists()
    clean(lab, tmp_path / "given-0")


def _phase(folder: Path) -> str:
    """How far a tune was when it was killed."""
    if (folder / "round-1" / "trained.json").exists():
        return "judging"
    return "training" if (folder / "round-1" / "checkpoints").exists() else "preparing"
