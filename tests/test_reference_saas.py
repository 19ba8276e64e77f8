"""The seventh objective of the reference lab on the gateway's nginx: its nginx.conf, made for NGINX
Plus, passes chats to a provider with a key that callers do not see. No container is needed: only
the addresses and folders of this machine are put in, as a network of containers would."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from llmlab.gateway import find_nginx
from tests.conftest import free_port, wait_until
from tests.provider import Provider
from tests.test_gateway import PUBLISHED

FIXTURE = Path(__file__).parent / "reference_lab"
LIKE_PLUS = Path(__file__).parents[1] / "configs" / "docker" / "gateway"
KEY = "sk-the-key-of-the-lab"
DATA = {"model": "hello", "messages": [{"role": "user", "content": "When is the lamp lit?"}]}


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with Provider(key=KEY, tls=tmp_path_factory.mktemp("provider")) as one:
        yield one


@pytest.fixture(scope="module")
def url(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the gateway is, by the nginx.conf as its readers have it."""
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    (folder / "mime.types").write_text("types { text/html html; }\n")
    (folder / "llmapi.jwk").write_text((FIXTURE / "llmapi.jwk").read_text())
    here = {
        "/etc/nginx/": f"{folder}/", "/var/log/nginx/": f"{folder}/", "/var/run/": f"{folder}/",
        "listen 80;": f"listen 127.0.0.1:{port};", "server llmapi:80": "server 127.0.0.1:1",
        "server api.openai.com:443": f"server 127.0.0.1:{provider.port}",
        "user              nginx;": f"user {getpass.getuser()};",
        "zone=per_client;": "zone=per_client burst=100 nodelay;",
    }  # fmt: skip
    conf = (FIXTURE / "saas.conf").read_text()
    for one, other in here.items():
        assert one in conf
        conf = conf.replace(one, other)
    # What the image's own `nginx` puts first into the http block, for tokens without exp.
    like_plus = (LIKE_PLUS / "like-plus.conf").read_text()
    like_plus = like_plus.replace("/usr/local/share/llmlab", str(LIKE_PLUS))
    conf = conf.replace("http {", f"http {{\n{like_plus}", 1)
    nginx = find_nginx()
    modules = "".join(f"load_module {one};\n" for one in nginx.load_modules)
    (folder / "nginx.conf").write_text(modules + conf)
    command = nginx.command(folder, folder / "nginx.conf", "-g", "daemon off;")
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None)
        assert process.poll() is None, (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}/openai/v1/chat/completions"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ask(url: str, *, token: str = PUBLISHED, **more: Any) -> requests.Response:
    """As a cell of the reference lab's notebook: no Content-Type."""
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            url, headers={"Authorization": f"Bearer {token}"} if token else {},
            data=json.dumps(DATA | more), timeout=20,
        )  # fmt: skip


def test_the_notebooks_cell_is_answered_by_the_provider(url: str, provider: Provider) -> None:
    response = ask(url)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"] == "A lamp lit at dusk."
    asked = provider.chats[-1]
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["host"] == "api.openai.com"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert PUBLISHED not in str(asked), "the caller's token stays here"
    assert KEY not in f"{response.headers}{response.text}"


def test_a_stream_arrives_whole(url: str) -> None:
    *events, done, _ = ask(url, stream=True).text.split("\n\n")
    assert done == "data: [DONE]"
    chunks = [json.loads(one.removeprefix("data: ")) for one in events]
    said = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
    assert said == "A lamp lit at dusk."


def test_the_provider_is_not_asked_without_a_token_of_the_lab(url: str, provider: Provider) -> None:
    before = len(provider.asked)
    for token in ("", "sk-123", KEY):
        assert ask(url, token=token).status_code == 401
    assert len(provider.asked) == before
