"""LLMLAB_TOKEN_FILE: a token that a client reads from a file; and who writes it for containers."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from llmlab import Client
from llmlab.auth import Claims, KeyStore, describe, mint
from llmlab.auth.keys import generate
from llmlab.auth.unverified import expires_at
from llmlab.client import AuthError
from llmlab.client.credentials import resolve
from llmlab.config.schema import Jupyter
from llmlab.engines.compose.notebook import variables
from llmlab.network import is_loopback
from tests.conftest import LabUnderTest

URL = "http://nginx"
DAY = 86400


def given(file: Path, **more: str) -> str:
    """The token that a client would send when LLMLAB_TOKEN_FILE names ``file``."""
    environ = {"LLMLAB_URL": URL, "LLMLAB_TOKEN_FILE": str(file)} | more
    return resolve(None, None, environ=environ).token()


def test_the_token_in_a_file_is_sent_without_its_line_break(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a.b.c\n")
    assert given(tmp_path / "token") == "a.b.c"


def test_the_file_is_read_for_every_request(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environ = {"LLMLAB_URL": URL, "LLMLAB_TOKEN_FILE": str(file)}
    token = resolve(None, None, environ=environ).token
    for one in ("a.b.c", "d.e.f"):
        file.write_text(one)
        assert token() == one


@pytest.mark.parametrize(
    "host", ["lab.example.com", "127.example.com", "127.0.0.1.example.com", "192.0.2.1"]
)
def test_a_lab_mints_no_token_for_another_host_whatever_it_calls_itself(host: str) -> None:
    with pytest.raises(AuthError, match="does not give its own away"):
        resolve(f"http://{host}:8000", None, environ={})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.0.0.53", "[::1]"])
def test_this_machine_is_known_by_all_its_addresses(host: str) -> None:
    assert is_loopback(f"http://{host}:8000")


def test_a_token_itself_beats_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a.b.c")
    assert given(tmp_path / "token", LLMLAB_TOKEN="d.e.f") == "d.e.f"


@pytest.mark.parametrize("content", [None, "", "two words", "é"])
def test_a_file_without_a_token_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    with pytest.raises(AuthError):
        given(tmp_path / "token")


def test_an_expired_token_is_an_error_that_says_how_to_renew_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(mint(generate("HS256"), Claims(sub="notebook", ttl=60), now=1_000_000))
    with pytest.raises(AuthError, match="has expired") as caught:
        given(file)
    assert "llmlab keys init" in str(caught.value.fix)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.e30.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c"])
def test_a_token_that_says_nothing_of_its_end_has_none(token: str) -> None:
    assert expires_at(token) is None


def test_the_end_of_a_token_is_read_without_its_key() -> None:
    token = mint(generate("ES256"), Claims(sub="alice", ttl=60), now=1_000_000)
    assert expires_at(token) == 1_000_060


def test_a_client_with_a_token_file_needs_no_lab_around_it(
    lab: LabUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text(lab.token())
    monkeypatch.setenv("LLMLAB_URL", lab.url)
    monkeypatch.setenv("LLMLAB_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.chdir(tmp_path)
    with Client() as client:
        assert client.summarize("One. Two. Three.").model.name == "textrank"


# --- what `keys init` lays out for the notebook's container ---------------------------


@pytest.fixture
def laid_out(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab()
    one.ok("keys", "init")
    return one


def mounted(lab: LabUnderTest) -> dict[str, str]:
    folder = lab.lab.state / "compose" / "jupyter"
    return {file.name: file.read_text() for file in folder.iterdir()}


def test_the_container_gets_two_tokens_and_no_key(laid_out: LabUnderTest) -> None:
    found = mounted(laid_out)
    assert set(found) == {"jupyter-token", "token"}
    assert found["jupyter-token"] == (laid_out.lab.state / "jupyter" / "token").read_text()
    keys = KeyStore(laid_out.lab.keys_file).read()
    assert keys.signing.jwk["k"] not in "".join(found.values())
    told = describe(found["token"], keys)
    assert (told.valid, told.claims["sub"]) == (True, "notebook")
    assert told.claims["exp"] - told.claims["iat"] == 30 * DAY


def test_the_container_can_read_its_tokens_and_other_users_cannot(laid_out: LabUnderTest) -> None:
    compose = laid_out.lab.state / "compose"
    assert stat.S_IMODE(compose.stat().st_mode) == 0o700
    assert stat.S_IMODE((compose / "jupyter").stat().st_mode) == 0o755
    for file in (compose / "jupyter").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_change_of_the_keys_brings_a_token_of_the_new_one(laid_out: LabUnderTest) -> None:
    laid_out.ok("keys", "rotate")
    keys = KeyStore(laid_out.lab.keys_file).read()
    assert describe(mounted(laid_out)["token"], keys).header["kid"] == keys.signing.kid


def test_keys_init_renews_the_token_and_leaves_the_servers_as_it_is(
    laid_out: LabUnderTest,
) -> None:
    before = mounted(laid_out)
    file = laid_out.lab.state / "compose" / "jupyter" / "token"
    file.write_text("an old one")
    laid_out.ok("keys", "init")
    after = mounted(laid_out)
    assert after["token"].count(".") == 2
    assert after["jupyter-token"] == before["jupyter-token"]


def test_in_demo_mode_the_containers_server_takes_the_published_token(
    laid_out: LabUnderTest,
) -> None:
    laid_out.ok("keys", "init", "--demo")
    assert mounted(laid_out)["jupyter-token"] == "nginxrocks!"
    keys = KeyStore(laid_out.lab.keys_file).read()
    assert describe(mounted(laid_out)["token"], keys).header["kid"] != "0001"
    laid_out.ok("keys", "revoke", "0001")
    assert mounted(laid_out)["jupyter-token"] != "nginxrocks!"


def test_the_compose_file_is_told_image_port_and_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setattr(os, "getegid", lambda: 5678)
    swapped = Jupyter(port=8899, image="quay.io/jupyter/pytorch-notebook")
    assert variables(swapped, "built:tag") == {
        "JUPYTER_IMAGE": "quay.io/jupyter/pytorch-notebook", "JUPYTER_PORT": "8899",
        "JUPYTER_UID": "1234", "JUPYTER_GID": "5678",
    }  # fmt: skip
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert variables(Jupyter(), "built:tag") == {
        "JUPYTER_IMAGE": "built:tag", "JUPYTER_PORT": "8888",
    }  # fmt: skip
