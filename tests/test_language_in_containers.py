"""A language model and a model elsewhere in containers, behind the gateway of the lab.

Needs a Docker engine. Run by: make test-containers
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmlab.engines.compose.images import BuiltImages
from tests.conftest import LabUnderTest

pytestmark = pytest.mark.containers
TAG = "test-chat"
KEY = "sk-nowhere-but-in-its-file-4711"
FAR = """
[models.far]
runtime = "openai"
base_url = "https://192.0.2.1/v1"
model = "large"
key_file = "far.key"
"""


@pytest.fixture(scope="module")
def chatting(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> Iterator[LabUnderTest]:
    """A lab whose images `llmlab build` has chosen by its models: one of them is a GGUF."""
    lab = make_lab(
        routes__chat='"smollm2"', deploy='["far"]', engine='"compose"',
        gateway__rate_limit__enabled="false",
    )  # fmt: skip
    with lab.lab.config_file.open("a") as file:
        file.write(FAR)
    key = lab.root / "far.key"
    key.touch(mode=0o600)
    key.write_text(KEY + "\n")
    lab.lab.make_state()
    images.write(lab.lab)
    lab.ok("build", "--only", "llmapi", "--extra", "chat", "--tag", TAG, "--progress", "plain")
    lab.ok("up")
    yield lab
    lab.run("down")


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def containers(lab: LabUnderTest, *filters: str) -> list[str]:
    """The lab's own, whatever state they are in: those of other labs come and go beside them."""
    project = f"label=com.docker.compose.project.working_dir={lab.root}"
    asked = (word for one in (project, *filters) for word in ("-f", one))
    return docker("ps", "-aq", *asked).split()


def test_a_language_model_answers_from_a_container_without_a_network(
    chatting: LabUnderTest,
) -> None:
    body = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}
    with chatting.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert answer.headers["X-Deployment"] == "smollm2"
    assert answer.json()["usage"]["completion_tokens"] in range(1, 9)
    (container,) = containers(chatting, "label=com.docker.compose.service=llmapi-smollm2")
    assert docker("inspect", "-f", "{{.HostConfig.NetworkMode}}", container).strip() == "none"


def test_the_key_of_a_model_elsewhere_is_in_its_file_and_nowhere_else(
    chatting: LabUnderTest,
) -> None:
    with chatting.client() as client:  # nobody is there, and says so without the key
        answer = client.post("/models/far/v1/chat/completions", json={
            "messages": [{"role": "user", "content": "Hi"}], "model": "far"},
            headers={"X-Request-Timeout": "2"})  # fmt: skip
    assert answer.status_code in (502, 503, 504)
    assert KEY not in answer.text
    own = containers(chatting)
    assert own
    told = [docker("inspect", *own), docker("ps", "-a", "--no-trunc")]
    told += [docker("logs", one) for one in own]
    for image in {json.loads(docker("inspect", one))[0]["Image"] for one in own}:
        told += [docker("inspect", image), docker("history", "--no-trunc", image)]
    told += [chatting.ok("config", "gateway"), chatting.ok("ledger", "show", "-o", "json")]
    assert [text for text in told if KEY in text] == []
    found = [file for file in _files(chatting.root) if KEY.encode() in file.read_bytes()]
    assert {file.name for file in found} == {"far.key", "key"}
    (copy,) = (file for file in found if file.name == "key")
    assert copy.is_relative_to(chatting.lab.state / "compose" / "upstreams" / "far")


def _files(folder: Path) -> list[Path]:
    return [one for one in folder.rglob("*") if one.is_file() and not one.is_symlink()]
