"""A machine becomes a node whenever the head is there. Small programs stand for Ray here."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from llmlab.config.ray import Ray
from llmlab.engines.ray import joining
from llmlab.engines.ray.cluster import checked_token, make_token
from llmlab.engines.ray.joining import Joining, join
from llmlab.errors import AuthError, EnvironmentFailure, LlmlabError
from llmlab.lab import Lab
from tests.conftest import free_port, wait_until

JOINS = "import time; print('Ray runtime started', flush=True); time.sleep(600)"
ENDS = "print('ray: another version of Python')"
NOT_LET_IN = "import time; print('InvalidAuthToken', flush=True); time.sleep(600)"


class Machine:
    """One that is to be a node, with ``program`` in the place of `ray start`."""

    def __init__(self, told: Joining) -> None:
        self.told, self.program = told, JOINS
        self.said: list[str] = []
        self.error: LlmlabError | None = None
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._join)

    def _join(self) -> None:
        try:
            join(self.told, self.over, self.said.append)
        except LlmlabError as error:
            self.error = error

    def start(self) -> None:
        self._thread.start()

    @property
    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        self.over.set()
        self._thread.join(30)
        assert not self.goes_on


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    address = f"127.0.0.1:{free_port()}"
    made = Machine(Joining(address, "", tmp_path / "token", 1, None, tmp_path / "models"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(joining, "AGAIN", 0.05)
    monkeypatch.setattr(
        joining.cluster, "node_command", lambda *_: [sys.executable, "-c", made.program]
    )
    return made


def head_of(machine: Machine) -> socket.socket:
    host, _, port = machine.told.address.partition(":")
    return socket.create_server((host, int(port)))


def test_a_machine_waits_for_a_head_that_is_not_there_yet_and_says_so_once(
    machine: Machine,
) -> None:
    machine.start()
    wait_until(lambda: bool(machine.said), 10)
    machine.over.wait(0.5)  # several tries
    (said,) = machine.said
    assert said.startswith(f"waits for the head at {machine.told.address} (Connection refused)")
    with head_of(machine):
        wait_until(lambda: len(machine.said) > 1, 20)
        machine.end()
    assert machine.said[1:] == [f"a node of {machine.told.address}, at 127.0.0.1"]
    assert machine.error is None


def test_a_machine_that_is_not_wanted_any_more_waits_no_longer(machine: Machine) -> None:
    machine.start()
    wait_until(lambda: bool(machine.said), 10)
    machine.end()
    assert machine.error is None


def test_a_head_that_goes_while_a_machine_joins_is_waited_for(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.program = ENDS
    with head_of(machine) as head:

        def gone(*_: object) -> bool:
            head.close()
            return False

        monkeypatch.setattr(joining, "_has_joined", gone)
        machine.start()
        wait_until(lambda: "waits for the head" in "".join(machine.said), 20)
    assert machine.goes_on
    machine.end()
    assert machine.error is None


@pytest.mark.parametrize(
    ("program", "kind", "says"),
    [
        (ENDS, EnvironmentFailure, "does not become a node"),
        (NOT_LET_IN, AuthError, "does not know the token"),
    ],
)
def test_what_a_head_that_answers_does_not_take_is_an_error_at_once(
    machine: Machine, program: str, kind: type[LlmlabError], says: str
) -> None:
    machine.program = program
    with head_of(machine):
        machine.start()
        wait_until(lambda: not machine.goes_on, 20)
    assert isinstance(machine.error, kind) and says in machine.error.message
    assert machine.said == []


def test_a_node_that_a_new_head_does_not_let_in_says_so(machine: Machine) -> None:
    machine.program = JOINS.replace("600", "1")
    with head_of(machine):
        machine.start()
        wait_until(lambda: len(machine.said) > 2, 20)
        machine.program = NOT_LET_IN
        wait_until(lambda: not machine.goes_on, 20)
    assert machine.said[:2] == [
        f"a node of {machine.told.address}, at 127.0.0.1", "it ended, and is started again",
    ]  # fmt: skip
    assert isinstance(machine.error, AuthError)


def test_who_joins_and_who_is_told_of_a_cluster_have_the_same_said_of_its_token(
    tmp_path: Path,
) -> None:
    lab, file = Lab(tmp_path), tmp_path / "theirs"

    def said() -> list[str]:
        found = []
        for check in (
            lambda: checked_token(file),
            lambda: make_token(lab, Ray(address="10.0.0.1:6379", token_file="theirs")),
        ):
            with pytest.raises(AuthError) as refused:
                check()
            found.append(f"{refused.value.message} {refused.value.fix}")
        return found

    missing = said()
    assert missing[0] == missing[1] and "cannot be read" in missing[0]
    file.touch(0o640)
    open_to_others = said()
    assert open_to_others[0] == open_to_others[1] and "others can read" in open_to_others[0]
    file.chmod(0o600)
    assert checked_token(file) == make_token(lab, Ray(token_file="theirs")) == file
