"""A replica's door, with a real NGINX: who gets in, and another certificate while it is open."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlab.engines.ray import door as doors
from llmlab.engines.ray.door import Door, Place
from llmlab.lab import Lab
from llmlab.links import names
from llmlab.links.authority import Authority
from llmlab.links.conf import Settlements
from llmlab.shell import clean_environment
from tests.conftest import free_port, wait_until

INCARNATION = "0123456789ab"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    one = Lab(tmp_path / "lab")
    one.root.mkdir()
    one.make_state()
    return one


@pytest.fixture
def door(tmp_path: Path, lab: Lab) -> Iterator[Door]:
    folder = tmp_path / "door"
    folder.mkdir(mode=0o700)
    one = Door(folder, "twin.2", "twin")
    signs = Authority(lab)
    first = free_port()
    place = Place(
        tmp_path / "api.sock", Settlements(tmp_path / "back", "127.0.0.1", free_port()),
        "127.0.0.1", range(first, first + 50), 60.0,
    )  # fmt: skip
    certificate = signs.sign(one.request(), "twin.2", "twin", INCARNATION).decode()
    one.open(place, certificate, signs.trusted_by_replicas, clean_environment())
    yield one
    one.close(5)


def serial(lab: Lab, port: int) -> str:
    """Of the certificate that is shown to the gateway, once it was found to be the replica's."""
    signs = Authority(lab)
    pair = lab.root / "gateway.pem"
    pair.write_text(signs.gateway().as_text())
    trusts = ssl.create_default_context(cadata=signs.trusted)
    trusts.load_cert_chain(pair)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        trusts.wrap_socket(plain, server_hostname=names.replica("twin.2", "twin")) as spoken,
    ):
        shown = spoken.getpeercert()
        assert shown is not None
        return str(shown["serialNumber"])


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def test_another_certificate_is_shown_as_soon_as_it_is_there(lab: Lab, door: Door) -> None:
    wait_until(lambda: listens(door.port))
    before, until = serial(lab, door.port), door.due
    signs = Authority(lab)
    asked = door.request()
    assert serial(lab, door.port) == before  # a request alone changes nothing
    door.renew(signs.sign(asked, "twin.2", "twin", INCARNATION).decode(), signs.trusted_by_replicas)
    wait_until(lambda: serial(lab, door.port) != before)
    assert door.due >= until > 0


def test_two_doors_of_a_machine_have_ports_of_their_own(
    lab: Lab, door: Door, tmp_path: Path
) -> None:
    wait_until(lambda: listens(door.port))
    folder = tmp_path / "other"
    folder.mkdir(mode=0o700)
    other, signs = Door(folder, "twin", "twin"), Authority(lab)
    place = Place(
        tmp_path / "other.sock", Settlements(tmp_path / "other.back", "127.0.0.1", free_port()),
        "127.0.0.1", [door.port, free_port()], 60.0,
    )  # fmt: skip
    certificate = signs.sign(other.request(), "twin", "twin", INCARNATION).decode()
    other.open(place, certificate, signs.trusted_by_replicas, clean_environment())
    try:
        assert other.port != door.port
        wait_until(lambda: listens(other.port))
    finally:
        other.close(5)


def test_a_door_whose_port_was_taken_meanwhile_has_another_one(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that are opened at once find the same ports free."""
    folder = tmp_path / "late"
    folder.mkdir(mode=0o700)
    late, signs = Door(folder, "twin", "twin"), Authority(lab)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken, free = other.getsockname()[1], free_port()
        monkeypatch.setattr(doors, "_free", lambda *_: [taken, free])
        place = Place(
            tmp_path / "late.sock", Settlements(tmp_path / "late.back", "127.0.0.1", free_port()),
            "127.0.0.1", [taken, free], 60.0,
        )  # fmt: skip
        certificate = signs.sign(late.request(), "twin", "twin", INCARNATION).decode()
        late.open(place, certificate, signs.trusted_by_replicas, clean_environment())
        try:
            assert late.port == free
            assert listens(free)
        finally:
            late.close(5)
