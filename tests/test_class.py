"""Labs for a class: laid out, brought up a few at a time, looked at, and stopped."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner, Result

from llmlab.auth import KeyStore, describe
from llmlab.cli.app import app
from llmlab.config import read_config
from llmlab.course import attending, classes
from llmlab.course.attending import estimate
from llmlab.course.classes import Class, Seat, create, token_holds
from llmlab.course.resetting import GIVEN, given, planned, reset, with_given
from llmlab.errors import EnvironmentFailure, LlmlabError, UsageError
from llmlab.lab import Lab, init_lab
from tests.conftest import clean_env, free_port

LABS = 5
GIB = 1 << 30
HOUR = 3600


def some_ports(count: int) -> range:
    """A range in which so many are free by now; others may take some of them meanwhile."""
    first = free_port()
    return range(first, min(first + 4 * count, 65535))


def made(root: Path, count: int = 2, ports: range | None = None, model: str = "textrank") -> Class:
    return create(
        root, count, ports or some_ports(count), model=model, ttl=HOUR, say=lambda _: None
    )


def llmlab(*words: str) -> Result:
    return CliRunner().invoke(app, ["course", "class", *words], prog_name="llmlab")


def run(folder: Path, *words: str) -> Any:
    """The command in a process of its own, as an instructor types it; its JSON."""
    verb = ["course", "class", *words, "--dir", str(folder), "-o", "json"]
    done = subprocess.run(
        [sys.executable, "-m", "llmlab", *verb],
        env=clean_env(LLMLAB_PORT="1"),  # for the lab of a terminal, and for none of these
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


# --- A class of five that runs --------------------------------------------------------------


def test_a_class_of_five_is_made_started_looked_at_and_stopped(tmp_path: Path) -> None:
    """One test, so that five labs are brought up once."""
    folder, ports = tmp_path / "class", some_ports(LABS)
    told = run(folder, "create", str(LABS), "--ports", f"{ports.start}-{ports.stop - 1}")
    names = [one["name"] for one in told["labs"]]
    assert names == [f"lab-0{number}" for number in range(1, LABS + 1)] and told["memory"] > 0
    try:
        assert run(folder, "up") == [{"name": name, "done": True, "problem": ""} for name in names]
        status_has_a_line_for_each(folder, names)
        the_token_of_a_lab_opens_that_lab_and_no_other_one(Class.read(folder))
        assert run(folder, "down", names[-1])[0]["done"]
        states = {one["name"]: one["running"] for one in run(folder, "status")["labs"]}
        assert [name for name, running in states.items() if not running] == [names[-1]]
    finally:
        run(folder, "down")
    assert not any(one.running for one in attending.status(Class.read(folder), at_a_time=2))


def status_has_a_line_for_each(folder: Path, names: list[str]) -> None:
    shown = llmlab("status", "--dir", str(folder))
    assert shown.exit_code == 0
    head, *lines = [line.split() for line in shown.stdout.splitlines()]
    assert head == ["lab", "address", "state", *map(str, range(1, 10))]
    assert [line[0] for line in lines] == names
    assert len({line[1] for line in lines}) == LABS
    assert {line[2] for line in lines} == {"up"}
    assert {line[4] for line in lines} == {"1/2"}, "the API runs, and was not asked yet"


def the_token_of_a_lab_opens_that_lab_and_no_other_one(found: Class) -> None:
    first, second = found.seats[:2]
    token = (found.lab(first).root / classes.TOKEN).read_text().strip()
    text = {"text": "A ship read the lamp. The keeper slept."}
    with httpx2.Client(
        headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60
    ) as client:
        answers = [
            client.post(f"http://127.0.0.1:{seat.port}/summarize/", json=text).status_code
            for seat in (first, second)
        ]
    assert answers == [200, 401]
    done = {one.seat.name: one.results[1].done for one in attending.status(found, at_a_time=2)}
    assert done[first.name] and not done[second.name], "the second objective"


# --- What is laid out -------------------------------------------------------------------------


def test_each_lab_has_ports_keys_and_a_token_of_its_own(tmp_path: Path) -> None:
    found = made(tmp_path / "class", 3)
    assert Class.read(tmp_path / "class") == found
    ports = [port for seat in found.seats for port in (seat.port, seat.notebook_port)]
    assert len(set(ports)) == 6
    for seat in found.seats:
        lab = found.lab(seat)
        assert f"port = {seat.port}" in lab.config_file.read_text()
        token = (lab.root / "token").read_text().strip()
        told = describe(token, KeyStore(lab.keys_file).read())
        assert told.valid and told.claims["sub"] == seat.name
        assert "token" in (lab.root / ".gitignore").read_text().splitlines()
    kids = {KeyStore(found.lab(seat).keys_file).read().signing.kid for seat in found.seats}
    assert len(kids) == 3


def test_up_makes_a_token_anew_where_the_one_in_the_file_is_not_valid_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path / "class")
    seat, lab = found.seats[0], found.lab(found.seats[0])
    file = lab.root / classes.TOKEN
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setattr(attending, "_verb", lambda lab, seat, verb: attending.Done(seat.name))
    first = file.read_text()
    assert [one.problem for one in attending.up(found, [seat], HOUR, at_a_time=1)] == [""]
    assert file.read_text() == first
    keys = KeyStore(lab.keys_file)
    old = keys.read().signing.kid
    keys.rotate()
    keys.revoke(old)
    assert not token_holds(lab)
    assert [one.problem for one in attending.up(found, [seat], HOUR, at_a_time=1)] == [""]
    assert token_holds(lab) and file.read_text() != first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_reset_of_a_lab_keeps_what_its_class_gave_it(tmp_path: Path) -> None:
    found = made(tmp_path / "class")
    seat, lab = found.seats[0], found.lab(found.seats[0])
    before = lab.config_file.read_text()
    lab.config_file.write_text(before.replace("2r/s", "9r/s").replace(str(seat.port), "1234"))
    lab.nginx_conf.write_text("# mine\n")
    assert planned(lab).restored == ("configs/lab.toml", "nginx.conf")
    reset(lab)
    assert lab.config_file.read_text() == before
    assert "auth_jwt" in lab.nginx_conf.read_text()
    assert (lab.root / "nginx.conf.before").read_text() == "# mine\n"
    assert not token_holds(lab), "its keys are gone, and `class up` makes it anew"


def test_a_folder_that_is_there_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "class"
    folder.mkdir()
    with pytest.raises(UsageError, match="is there already") as raised:
        made(folder)
    assert "another --dir" in str(raised.value.fix)
    assert not list(folder.iterdir())


def test_without_enough_free_ports_nothing_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentFailure, match="only 0 are free") as raised:
            made(tmp_path / "class", 1, range(port, port + 1))
    assert "--ports" in str(raised.value.fix)
    assert not list(tmp_path.iterdir())


def test_a_taken_port_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = made(tmp_path / "class", 1, range(port, min(port + 20, 65535)))
    assert port not in (found.seats[0].port, found.seats[0].notebook_port)


@pytest.mark.parametrize("broken", ["_lay_out", "write_atomically"])
def test_what_fails_half_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    real, calls = getattr(classes, broken), []

    def fails(*arguments: Any, **settings: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        real(*arguments, **settings)

    monkeypatch.setattr(classes, broken, fails)
    with pytest.raises(EnvironmentFailure, match="No space left"):
        made(tmp_path / "class")
    assert not list(tmp_path.iterdir())


def test_a_model_that_no_lab_would_know_is_refused_before_anything_is_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model 'textrak'"):
        made(tmp_path / "class", model="textrak")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ports", ["9000", "9100-9000", "0-80", "9000-99999", "a-b"])
def test_a_wrong_range_is_told(tmp_path: Path, ports: str) -> None:
    done = llmlab("create", "2", "--dir", str(tmp_path / "class"), "--ports", ports)
    assert isinstance(done.exception, UsageError)
    assert "is no range of ports" in done.exception.message


# --- What is told -----------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["up", "status", "down"])
def test_where_there_is_no_class_the_way_to_one_is_told(tmp_path: Path, verb: str) -> None:
    done = llmlab(verb, "--dir", str(tmp_path))
    assert isinstance(done.exception, UsageError)
    assert "there is no class" in done.exception.message
    assert "llmlab course class create" in str(done.exception.fix)


def test_a_misspelt_lab_is_asked_back_for(tmp_path: Path) -> None:
    found = Class(tmp_path, (Seat("lab-01", 1, 2), Seat("lab-02", 3, 4)))
    with pytest.raises(UsageError, match="did you mean 'lab-02'"):
        found.only(["lab-2"])
    assert found.only(()) == found.seats


def test_a_damaged_class_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "class.json").write_text('{"labs": [{"name": 1}]}')
    with pytest.raises(LlmlabError, match="cannot be read"):
        Class.read(tmp_path)


def test_one_lab_that_fails_keeps_no_other_from_coming_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Class(tmp_path, tuple(Seat(f"lab-0{n}", n, n) for n in range(1, 4)))
    under_way: list[str] = []

    def verb(lab: Lab, seat: Seat, verb: str) -> attending.Done:
        under_way.append(seat.name)
        assert len(under_way) <= 2
        if seat.name == "lab-02":
            raise EnvironmentFailure("port 2 is taken")
        under_way.remove(seat.name)
        return attending.Done(seat.name)

    monkeypatch.setattr(attending, "_verb", verb)
    done = {one.name: one.problem for one in attending.down(found, found.seats, at_a_time=2)}
    assert done == {"lab-01": "", "lab-02": "port 2 is taken", "lab-03": ""}


def test_twenty_labs_fit_into_four_gigabytes_on_up_to_sixteen_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each core adds a worker to each lab's NGINX."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    assert 1 * GIB < estimate(20).needed < 4 * GIB


def test_what_a_class_of_before_there_were_routes_was_given_is_understood(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    init_lab(lab.root)
    lab.make_state()
    (lab.state / GIVEN).write_text('{"stable": "textrank", "gateway.port": 8123}')
    text = with_given(lab.config_file.read_text(), given(lab))
    lab.config_file.write_text(text)
    config = read_config(lab.config_file).config
    assert (config.stable, config.gateway.port) == ("textrank", 8123)
