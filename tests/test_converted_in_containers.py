"""A converted model in containers whose image holds neither torch nor transformers.

Needs a Docker engine. Run by: make test-containers
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmlab.engines.compose.images import BuiltImages
from llmlab.models import content_id
from tests.conftest import LabUnderTest
from tests.test_containers import compose

pytestmark = pytest.mark.containers
TAG = "test-serve"


@pytest.fixture(scope="module")
def serving(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> BuiltImages:
    """The images of a lab that leaves the choice of packages to `llmlab build`."""
    lab = make_lab()
    lab.lab.make_state()
    images.write(lab.lab)
    built = json.loads(lab.ok("build", "--only", "llmapi", "--tag", TAG, "-o", "json"))
    assert built[0]["size"] < 500 << 20
    return BuiltImages.read(lab.lab)


@pytest.fixture
def lab(
    make_lab: Callable[..., LabUnderTest], serving: BuiltImages, tiny_t5: Path, tmp_path: Path
) -> Iterator[LabUnderTest]:
    """A lab with the model `tiny` in both runtimes, its store empty, its images built."""
    one = make_lab(
        routes__summarize='"tiny"', engine='"auto"', gateway__rate_limit__enabled="false"
    )
    with one.lab.config_file.open("a") as file:
        for name, runtime in (("tiny", "ctranslate2"), ("as-it-is", "transformers")):
            file.write(f'\n[models.{name}]\nruntime = "{runtime}"\nsource = "path:{tiny_t5}"\n')
    one.env |= {"LLMLAB_HOME": str(tmp_path / "home")}
    one.lab.make_state()
    serving.write(one.lab)
    yield one
    one.run("down")


def converted(lab: LabUnderTest) -> Path:
    (folder,) = (one for one in Path(lab.env["LLMLAB_HOME"], "models").iterdir() if one.is_dir())
    return folder


def is_running(lab: LabUnderTest) -> bool:
    return bool(lab.status()["running"])


def in_api(lab: LabUnderTest, program: str) -> str:
    """What a Python program prints in the API's container."""
    mine = f"label=com.docker.compose.project.working_dir={lab.root}"
    api = "label=com.docker.compose.service=llmapi"
    identifier = subprocess.check_output(
        ["docker", "ps", "-q", "--filter", mine, "--filter", api], text=True
    ).strip()
    command = ["docker", "exec", identifier, "python", "-c", program]
    return subprocess.check_output(command, text=True)


def test_up_converts_a_model_mounts_it_and_serves_it_without_torch(
    lab: LabUnderTest, article: str
) -> None:
    up = lab.run("up")
    assert up.returncode == 0, up.stderr
    assert "tiny: converting it to int8, once" in up.stderr
    assert "tiny (ctranslate2) answers" in up.stdout
    with lab.client() as client:
        wanted = {"text": article, "max_length": 20, "strategy": "truncate"}
        answer = client.post("/summarize/", json=wanted).json()
    model_id = content_id(converted(lab))
    assert answer["model"] == {"name": "tiny", "id": model_id, "runtime": "ctranslate2"}
    assert (answer["usage"]["input_tokens"], answer["usage"]["truncated"]) == (64, True)
    assert 0 < answer["usage"]["output_tokens"] <= 20
    (deployment,) = lab.json("status")["deployments"]
    assert deployment["healthy"]
    assert (deployment["runtime"], deployment["model_id"]) == ("ctranslate2", model_id)

    looked = (
        "import importlib.util as u; print([n for n in ('ctranslate2', 'torch', 'transformers')"
        " if u.find_spec(n)]); open('/model/new', 'w')"
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        in_api(lab, looked)
    assert failed.value.output == "['ctranslate2']\n"
    assert "new" not in {one.name for one in converted(lab).iterdir()}, "it can only be read"
    lab.ok("down")
    assert not is_running(lab)


@pytest.mark.parametrize("engine", ["auto", "compose"])
def test_a_model_that_the_image_cannot_run_is_an_error_that_names_the_one_that_can(
    lab: LabUnderTest, engine: str
) -> None:
    refused = lab.run("up", "--model", "as-it-is", env={"LLMLAB_ENGINE": engine})
    assert refused.returncode == 2
    said = " ".join(refused.stderr.split())
    assert f"llmapi:{TAG} cannot run as-it-is: it has no packages for the runtime" in said
    assert "Fix: llmlab build --extra models" in said
    assert not is_running(lab)


def test_doctor_says_that_the_image_cannot_run_the_stable_model(
    lab: LabUnderTest, images: BuiltImages
) -> None:
    lab.ok("models", "pull", "tiny")

    def told() -> dict[str, str]:
        checks = json.loads(lab.run("doctor", "--engine", "compose", "-o", "json").stdout)
        return next(one for one in checks if one["name"] == "images")

    assert told()["verdict"] == "ok"
    images.write(lab.lab)  # the embedded model only
    assert told()["verdict"] == "fail"
    assert told()["fix"] == "llmlab build --extra serve"


def test_compose_by_hand_serves_a_model_once_it_is_converted_and_says_so_before(
    lab: LabUnderTest, article: str
) -> None:
    done = lab.run("keys", "init")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.replace("│", " ").split())
    assert "tiny cannot serve, so textrank answers in its place." in said
    assert "it is not converted to int8 yet" in said
    assert "Fix: llmlab models pull tiny, then llmlab keys init" in said

    lab.ok("models", "pull", "tiny")
    assert "cannot serve" not in lab.run("keys", "init").stderr
    images = BuiltImages.read(lab.lab)
    names = {"LLMAPI_IMAGE": images.llmapi, "NGINX_IMAGE": images.nginx}
    up = compose(lab, "up", "-d", "--wait", "nginx", **names)
    try:
        assert up.returncode == 0, up.stderr
        with lab.client() as client:
            answer = client.post("/summarize/", json={"text": article, "max_length": 20}).json()
        assert answer["model"]["runtime"] == "ctranslate2"
        assert answer["model"]["id"] == content_id(converted(lab))
    finally:
        compose(lab, "down", **names)


def test_a_container_sees_its_limits_of_cores_and_memory(serving: BuiltImages) -> None:
    program = "from llmlab.runtimes.cores import *; print(usable_cores(), memory_limit())"
    limits = ("--cpus", "1", "--memory", "512m")
    command = ["docker", "run", "--rm", *limits, "--entrypoint", "python", serving.llmapi]
    assert subprocess.check_output([*command, "-c", program], text=True) == f"1 {512 << 20}\n"
