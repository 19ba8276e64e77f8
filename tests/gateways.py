"""Gateways without a lab: the real nginx.conf, or another one, in front of one scripted API."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from llmlab.auth import KeySet
from llmlab.auth.keys import generate
from llmlab.config import RateLimit
from llmlab.engines.local.staging import worker_user
from llmlab.gateway import GatewayPlan, Nginx, Upstream, find_nginx, render
from tests.api import PROMPT, Api
from tests.conftest import wait_until

NGINX_CONF = Path(__file__).parents[1] / "nginx.conf"
SCRIPTED = {"runtime": "scripted", "source": "embedded:script"}
# High enough for a probe to get on, low enough for it to be met.
RATE = RateLimit(rate="30r/s", burst=20)


class ScriptedApi(Api):
    """The real API with the scripted model, on a socket that NGINX's workers may use."""

    def __init__(self) -> None:
        super().__init__(SCRIPTED)
        settings = json.loads((self.home / "settings.json").read_text())
        settings |= {"name": "scripted", "deployment": "scripted", "prompt": PROMPT.read_text()}
        (self.home / "settings.json").write_text(json.dumps(settings))
        self.home.chmod(0o755)

    def until_ready(self) -> ScriptedApi:
        super().until_ready()
        self.socket.chmod(0o777)
        return self


def plan_of(api: Api, port: int, **changed: object) -> GatewayPlan:
    one = GatewayPlan(
        listen=f"127.0.0.1:{port}",
        stable="scripted",
        upstreams=(Upstream("scripted", (f"unix:{api.socket}",)),),
        rate_limit=RATE,
        max_body="256k",
        timeout=30,
        further={"chat": "scripted"},
        worker_user=worker_user(),
    )
    return replace(one, **changed)  # type: ignore[arg-type]


def files_of(plan: GatewayPlan, keys: KeySet) -> dict[str, str]:
    """All files of the lab's own gateway, as they are."""
    return {
        "nginx.conf": NGINX_CONF.read_text(),
        "llmapi.jwk": keys.gateway_jwks(),
        **render(plan),
    }


@dataclass(frozen=True)
class RunningGateway:
    """
    Args:
        key_file: with the key whose tokens it takes.
    """

    port: int
    keys: KeySet
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key_file(self) -> Path:
        file = self.folder / "key.jwk"
        file.write_text(json.dumps(dict(self.keys.signing.jwk)))
        file.chmod(0o600)
        return file


def new_keys(algorithm: str = "HS256") -> KeySet:
    return KeySet((generate(algorithm),))


@contextmanager
def started(
    files: Mapping[str, str], port: int, keys: KeySet, nginx: Nginx | None = None
) -> Iterator[RunningGateway]:
    """NGINX with these files, until the end of the block."""
    nginx = nginx or find_nginx()
    folder = Path(tempfile.mkdtemp(prefix="gateway-", dir="/tmp"))
    folder.chmod(0o755)
    for sub in ("own", "logs"):
        (folder / sub).mkdir()
    for name, text in files.items():
        file = folder / "conf" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command = nginx.command(folder, folder / "conf" / "nginx.conf", "-g", "daemon off;")
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, stdout=errors, stderr=errors)
    try:
        wait_until(lambda: _listens(port) or process.poll() is not None, 20)
        assert process.poll() is None, (folder / "errors").read_text()
        yield RunningGateway(port, keys, folder)
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError):
        import socket

        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    return False


REFERENCE = Path(__file__).parent / "reference_lab" / "nginx.conf"
PATHS = """
    client_body_temp_path a; proxy_temp_path a; fastcgi_temp_path a; uwsgi_temp_path a;
    scgi_temp_path a;
"""


def reference_files(api: Api, port: int, limit: str) -> dict[str, str]:
    """The reference lab's own configuration: only where things lie, and how fast, is otherwise."""
    text = REFERENCE.read_text()
    user = f"user {worker_user()};" if worker_user() else ""
    for old, new in (
        ("user              nginx;", user),
        ("/var/log/nginx/error.log", "stderr"),
        ("pid               /var/run/nginx.pid;", "pid nginx.pid;"),
        ("include       /etc/nginx/mime.types;", PATHS),
        ("access_log    /var/log/nginx/access.log;", "access_log off;"),
        ("server llmapi:80;", f"server unix:{api.socket};"),
        ("rate=2r/s", "rate=200r/s"),  # so that a probe gets on
        ("limit_req         zone=per_client;", limit),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("/etc/nginx/llmapi.jwk", "llmapi.jwk"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return {"nginx.conf": text, "llmapi.jwk": REFERENCE.with_name("llmapi.jwk").read_text()}
