"""The reference lab's own compose file and nginx.conf, with our images put in.

The nginx.conf is one for NGINX Plus, and the published token has no exp. Plus takes such a
token, the open module does not: the gateway image makes up for that by itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
import requests

from tests.conftest import LabUnderTest, free_port, wait_until
from tests.provider import make_certificate
from tests.test_gateway import PUBLISHED
from tests.test_reference_saas import KEY, ask

pytestmark = [
    pytest.mark.containers,
    pytest.mark.filterwarnings("ignore:The HMAC key:jwt.InsecureKeyLengthWarning"),  # as published
]

FIXTURE = Path(__file__).parent / "reference_lab"
TAG = "reference-lab-test"
NOTEBOOK_TOKEN = "nginxrocks!"
PAUSE = 0.6  # seconds; the limit is two requests a second, and no burst


@dataclass(frozen=True)
class ReferenceLab:
    """A copy of the reference lab, driven with docker compose and curl as its text says."""

    folder: Path
    port: int
    notebook_port: int

    def compose(self, *arguments: str) -> str:
        env = os.environ | {
            "COMPOSE_PROJECT_NAME": TAG, "TAG": TAG, "PORT": str(self.port),
            "JUPYTER_PORT": str(self.notebook_port),
        }  # fmt: skip
        done = subprocess.run(
            ["docker", "compose", "-f", "compose.yml", *arguments], cwd=self.folder, env=env,
            text=True, capture_output=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, path: str, *options: str, token: str = PUBLISHED) -> tuple[int, str]:
        """(status, body) of one call, after a pause that the rate limit asks for."""
        time.sleep(PAUSE)
        return self.curl_at_once(path, *options, token=token)

    def curl_at_once(self, path: str, *options: str, token: str = PUBLISHED) -> tuple[int, str]:
        authorization = ["-H", f"Authorization: Bearer {token}"] if token else []
        done = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-w", "\n%{http_code}", *authorization, *options,
             f"http://localhost:{self.port}{path}"],
            text=True, capture_output=True, timeout=60, check=True,
        )  # fmt: skip
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def reference(
    make_lab: Callable[..., LabUnderTest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReferenceLab]:
    built = make_lab().run("build", "--extra", "none", "--tag", TAG, "--progress", "plain")
    assert built.returncode == 0, built.stderr[-3000:]
    folder = tmp_path_factory.mktemp("reference") / "lab"
    shutil.copytree(FIXTURE, folder)
    one = ReferenceLab(folder, free_port(), free_port())
    try:
        one.compose("up", "-d")
        _wait_for_the_api(one)
        yield one
    finally:
        one.compose("down", "--volumes")
        for name in ("llmapi", "llmlab-nginx", "llmlab-jupyter"):
            subprocess.run(["docker", "rmi", f"{name}:{TAG}"], capture_output=True)


def _wait_for_the_api(lab: ReferenceLab) -> None:
    deadline = time.monotonic() + 60
    while lab.curl("/")[0] in (502, 503):
        assert time.monotonic() < deadline, lab.compose("logs")


def test_the_published_token_opens_the_api(reference: ReferenceLab) -> None:
    status, body = reference.curl("/")
    assert (status, json.loads(body)) == (200, {"message": "Hello World"})


def test_a_text_is_summarized(reference: ReferenceLab, article: str) -> None:
    for kind in (["-H", "Content-Type: application/json"], ["-H", "Content-Type:"]):
        status, body = reference.curl(
            "/summarize/", "-X", "POST", *kind, "--data-raw", json.dumps({"text": article})
        )
        assert status == 200
        assert 20 < len(json.loads(body)["summary"].split()) < len(article.split())


def test_without_a_token_nobody_gets_in(reference: ReferenceLab) -> None:
    assert reference.curl("/", token="")[0] == 401
    assert reference.curl("/summarize/", "--data-raw", '{"text": "a"}', token="")[0] == 401


# What a cell of the reference's notebook does: no Content-Type header, and Compose's names.
CELL = """
import json, requests, sys
asked = {"data": json.dumps({"text": "One. Two. Three."})}
headers = {"Authorization": f"Bearer {sys.argv[1]}"}
answer = requests.post("http://nginx/summarize/", headers=headers, **asked)
print(answer.status_code, sorted(answer.json()))
"""


def test_the_notebooks_open_with_the_published_token_and_reach_the_api(
    reference: ReferenceLab,
) -> None:
    def status(token: str) -> int:
        headers = {"Authorization": f"token {token}"}
        url = f"http://127.0.0.1:{reference.notebook_port}/api/status"
        try:
            return httpx2.get(url, headers=headers, trust_env=False).status_code
        except httpx2.HTTPError:
            return 0

    wait_until(lambda: status(NOTEBOOK_TOKEN) == 200, 60)
    assert status("another") == 403
    time.sleep(PAUSE)
    printed = reference.compose("exec", "-T", "jupyter", "python", "-c", CELL, PUBLISHED)
    assert printed.startswith("200 [")
    assert "'summary'" in printed


def test_quick_calls_meet_the_rate_limit(reference: ReferenceLab) -> None:
    time.sleep(PAUSE)
    seen = [reference.curl_at_once("/")[0] for _ in range(8)]
    assert seen[0] == 200
    assert 503 in seen  # what limit_req says when it is told no other status
    assert set(seen) <= {200, 503}


def test_the_published_token_is_the_only_leniency(reference: ReferenceLab) -> None:
    now = int(time.time())
    claims: dict[str, tuple[dict[str, Any], int]] = {
        "valid for a minute": ({"sub": "quotes", "exp": now + 60}, 200),
        "expired": ({"sub": "quotes", "exp": now - 60}, 401),
        "not valid yet": ({"sub": "quotes", "nbf": now + 60}, 401),
        "exp that is no time": ({"sub": "quotes", "exp": "tomorrow"}, 401),
    }
    for what, (payload, expected) in claims.items():
        assert reference.curl("/", token=signed(payload, "fantasticjwt"))[0] == expected, what
    assert reference.curl("/", token=signed({"sub": "quotes"}, "another secret"))[0] == 401


def signed(claims: dict[str, Any], secret: str) -> str:
    payload = json.dumps(claims).encode()
    return jwt.PyJWS().encode(payload, secret, algorithm="HS256", headers={"kid": "0001"})


# --- its seventh objective: a provider's model, whose key nobody sees ------------------

# Inside of the gateway's own network, where it finds what it takes for the provider.
PROVIDER = """
import sys, threading
from pathlib import Path
sys.path.insert(0, "/provider")
from provider import Provider
one = Provider(key=sys.argv[1], tls=Path("/provider"))
one.port = 443
with one:
    threading.Event().wait()
"""


@pytest.fixture
def saas(reference: ReferenceLab, tmp_path: Path) -> Iterator[str]:
    """The reference lab's gateway once more, with the nginx.conf of the objective. Its URL."""
    shutil.copy(Path(__file__).parent / "provider.py", tmp_path)
    make_certificate(tmp_path)
    port, gateway = free_port(), f"{TAG}-saas"
    mounts = [f"{FIXTURE / 'saas.conf'}:/etc/nginx/nginx.conf:ro",
              f"{FIXTURE / 'llmapi.jwk'}:/etc/nginx/llmapi.jwk:ro"]  # fmt: skip
    docker(
        "run", "--detach", "--name", gateway, "--network", f"{TAG}_default",
        "--publish", f"127.0.0.1:{port}:80", "--add-host", "api.openai.com:127.0.0.1",
        *(option for one in mounts for option in ("--volume", one)), f"llmlab-nginx:{TAG}",
    )  # fmt: skip
    try:
        docker(
            "run", "--detach", "--name", f"{gateway}-provider", "--network", f"container:{gateway}",
            "--user", "0", "--volume", f"{tmp_path}:/provider:ro", "--entrypoint", "python",
            f"llmapi:{TAG}", "-c", PROVIDER, KEY,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}/openai/v1/chat/completions"
        wait_until(lambda: reaches(url), 60)
        yield url
    finally:
        docker("rm", "--force", f"{gateway}-provider", gateway)


def docker(*arguments: str) -> None:
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def reaches(url: str) -> bool:
    """Whether the provider answers; two questions a second are let through."""
    try:
        return ask(url).status_code == 200
    except requests.ConnectionError:
        return False


def test_a_notebooks_cell_reaches_a_provider_whose_key_it_does_not_know(saas: str) -> None:
    time.sleep(PAUSE)
    response = ask(saas)
    assert response.json()["choices"][0]["message"]["content"] == "A lamp lit at dusk."
    assert KEY not in f"{response.headers}{response.text}"
    time.sleep(PAUSE)
    assert ask(saas, token=KEY).status_code == 401


# --- what the image makes of other files ---------------------------------------------

LIKE_PLUS = "auth_jwt_validate_exp off;"
READS = {
    "for Plus": ("http {\n auth_jwt a; }", True),
    "with the brace close by": ("http{auth_jwt a;}", True),
    "with the brace on a line of its own": ("http\n{\n auth_jwt a; }", False),
    "without tokens": ("http { }", False),
    "for the open module": ("http { auth_jwt a; auth_jwt_validate_exp on; }", False),
    "that only speaks of the open module": ("# auth_jwt_validate_exp\nhttp { auth_jwt a; }", True),
}


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("user", ["root", "nginx"])
def test_a_conf_is_read_as_plus_would_unless_it_knows_better(
    reference: ReferenceLab, tmp_path: Path, user: str, what: str
) -> None:
    text, lenient = READS[what]
    told = dump(
        tmp_path, f"events {{}}\n{text}\n", "--user", user, "--tmpfs", "/run/llmlab:uid=101,gid=101"
    )
    assert told.returncode == 0, told.stderr
    assert (LIKE_PLUS in told.stdout) == lenient
    assert ("tokens without exp are refused" in told.stderr) == ("brace on a" in what)


def test_a_broken_conf_is_named_by_its_own_path(reference: ReferenceLab, tmp_path: Path) -> None:
    told = dump(tmp_path, "events {} http { auth_jwtt on; }")
    assert told.returncode != 0
    assert 'unknown directive "auth_jwtt" in /etc/nginx/nginx.conf:1' in told.stderr


def dump(folder: Path, conf: str, *options: str) -> subprocess.CompletedProcess[str]:
    """`nginx -T` of the gateway image with this nginx.conf."""
    file = folder / "nginx.conf"
    file.write_text(conf)
    mount = f"{file}:/etc/nginx/nginx.conf:ro"
    return subprocess.run(
        ["docker", "run", "--rm", "--read-only", *options, "-v", mount, f"llmlab-nginx:{TAG}",
         "nginx", "-T"],
        text=True, capture_output=True, timeout=60,
    )  # fmt: skip


# --- changes of the running lab come last --------------------------------------------


def test_an_edited_nginx_conf_is_taken_over_by_a_reload(reference: ReferenceLab) -> None:
    edit(reference, "limit_req ", "limit_req_status 429; limit_req ")
    reference.compose("exec", "nginx", "nginx", "-s", "reload")
    deadline = time.monotonic() + 20
    while 429 not in [reference.curl_at_once("/")[0] for _ in range(8)]:
        assert time.monotonic() < deadline
    assert reference.curl("/")[0] == 200


def test_a_conf_that_decides_about_exp_itself_is_obeyed(reference: ReferenceLab) -> None:
    edit(reference, "auth_jwt_key", "auth_jwt_validate_exp on; auth_jwt_key")
    reference.compose("restart", "nginx")
    deadline = time.monotonic() + 20
    while reference.curl("/", token=signed({"exp": time.time() + 60}, "fantasticjwt"))[0] != 200:
        assert time.monotonic() < deadline
    assert reference.curl("/")[0] == 401


def edit(lab: ReferenceLab, old: str, new: str) -> None:
    """Change the mounted file in place: a mount of one file stays with the file."""
    conf = lab.folder / "nginx.conf"
    text = conf.read_text()
    assert old in text
    conf.write_text(text.replace(old, new, 1))
