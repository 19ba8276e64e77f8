"""What `llmlab build` lays out, runs and publishes; those that need an engine are marked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import httpx2
import pytest

from llmlab import __version__
from llmlab.config import Config, Model
from llmlab.config.schema import TEXTRANK
from llmlab.engines.compose import images
from llmlab.engines.compose.extras import RUNTIMES, check_runtimes, chosen_extra
from llmlab.engines.compose.push import checked_repository, push_image
from llmlab.errors import ModelUnavailable, UpstreamError, UsageError
from llmlab.models import pull
from llmlab.models.store import verify
from llmlab.service.settings import Settings
from tests.conftest import LabUnderTest, free_port
from tests.registry import Registry, running_registry

MakeLab = Callable[..., LabUnderTest]
TAG = "build-test"


@pytest.fixture(scope="module")
def lab(make_lab: MakeLab) -> LabUnderTest:
    """A lab that is never started."""
    return make_lab()


def tiny_model(source: Path) -> Config:
    model = Model(runtime="transformers", source=f"path:{source}", max_length=20)
    return Config(models={**Config().models, "tiny": model})


# --- the build context ---------------------------------------------------------------


def test_the_context_holds_what_the_dockerfiles_copy_and_little_else(lab: LabUnderTest) -> None:
    context = images.lay_out_context(lab.lab, config=Config(), extra="none")
    kept = {line[1:] for line in (context / ".dockerignore").read_text().split() if line[0] == "!"}
    assert {one.name for one in context.iterdir()} == kept | {".dockerignore"}
    for file in (lab.root / "configs" / "docker").glob("*.Dockerfile"):
        for source in copied(file):
            assert (context / source).exists(), f"{file.name} copies {source}"


def copied(dockerfile: Path) -> Iterator[str]:
    """What COPY and bind mounts of a Dockerfile take from the context."""
    for line in dockerfile.read_text().splitlines():
        words = line.split()
        if words[:1] == ["COPY"] and "--from" not in line:
            yield from (word for word in words[1:-1] if not word.startswith("--"))
        if "source=" in line:
            yield line.split("source=")[1].split(",")[0]


def test_in_the_context_everything_can_be_read_by_the_images_own_user(lab: LabUnderTest) -> None:
    before = os.umask(0o077)
    try:
        context = images.lay_out_context(lab.lab, config=Config(), extra="none")
    finally:
        os.umask(before)
    for path in context.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644), path
    assert stat.S_IMODE(context.stat().st_mode) == 0o700


def test_the_image_installs_what_the_api_imports_and_not_the_engines(lab: LabUnderTest) -> None:
    torch, rest = images.requirements("models")
    assert [line.split("<")[0] for line in torch] == ["torch"]
    assert any(line.startswith("transformers") for line in rest)
    assert not any(line.startswith(tuple(images.NOT_IN_THE_API)) for line in rest)
    assert images.requirements("serve")[0] == []


def test_an_image_for_converted_models_has_neither_torch_nor_what_comes_with_it() -> None:
    torch, rest = images.requirements("serve")
    names = {line.split("<")[0].split(">")[0] for line in rest}
    assert torch == []
    assert {"ctranslate2", "tokenizers"} <= names
    assert names.isdisjoint({"transformers", "sentencepiece", "protobuf"})


def test_every_extra_of_an_image_is_one_of_the_package() -> None:
    for extra in set(RUNTIMES) - {"none"}:
        assert len(images.requirements(extra)[1]) > len(images.requirements("none")[1])


def configured(*runtimes: str, **values: object) -> Config:
    """A configuration with the models m0, m1 ... of these runtimes; m0 is the stable one."""
    found = {
        f"m{place}": TEXTRANK if one == "extractive" else Model(runtime=one, source="path:x")  # type: ignore[arg-type]
        for place, one in enumerate(runtimes)
    }
    return Config(**{"stable": "m0", "fallback": "", "models": found, **values})  # type: ignore[arg-type]


T, C, E, L = "transformers", "ctranslate2", "extractive", "llamacpp"


@pytest.mark.parametrize(
    ("config", "model", "extra"),
    [
        (Config(), "", "serve,chat"),  # its route chat leads to a language model
        (configured(E), "", "serve"),
        (configured(C, T), "", "serve"),  # defined, and used by nobody
        (configured(C, T), "m1", "models"),
        (configured(C, T, deploy=["m1"]), "", "models"),
        (configured(C, T, fallback="m1"), "", "models"),
        (configured(T), "", "models"),
        (configured(C, L), "", "serve"),
        (configured(L), "", "serve,chat"),
        (configured(C, L), "m1", "serve,chat"),
        (configured(T, L, deploy=["m1"]), "", "models,chat"),
    ],
)
def test_the_image_holds_what_the_labs_models_need(config: Config, model: str, extra: str) -> None:
    assert chosen_extra("", config, model) == extra
    assert chosen_extra("models,chat", config, model) == "models,chat"


def test_an_image_for_language_models_has_llama_cpp_and_nothing_of_torch() -> None:
    torch, rest = images.requirements("chat")
    assert torch == []
    (ours,) = set(rest) - set(images.requirements("none")[1])
    assert ours.startswith("xllamacpp==")
    both = images.requirements("serve,chat")[1]
    assert set(both) == {*rest, *images.requirements("serve")[1]}


def test_an_extra_that_cannot_run_the_model_to_be_baked_in_is_refused() -> None:
    with pytest.raises(UsageError, match="no packages that could run m0") as refused:
        chosen_extra("serve", configured(T), "m0")
    assert refused.value.fix == "llmlab build --extra models --with-model m0"


@pytest.mark.parametrize(
    ("label", "wanted", "fix"),
    [
        ("extractive", {"a": C}, "llmlab build --extra serve"),
        ("extractive ctranslate2", {"a": C, "b": T}, "llmlab build --extra models"),
        ("", {"a": E}, "llmlab build --extra none"),
        ("extractive ctranslate2", {"a": L}, "llmlab build --extra chat"),
        ("extractive ctranslate2", {"a": C, "b": L}, "llmlab build --extra serve,chat"),
    ],
)
def test_an_image_runs_only_what_it_is_labelled_with(
    label: str, wanted: dict[str, str], fix: str
) -> None:
    with pytest.raises(UsageError, match="the image cannot run") as refused:
        check_runtimes("the image", label, wanted)
    assert refused.value.fix == fix
    check_runtimes("the image", " ".join(RUNTIMES["models,chat"]), wanted)


def test_a_labs_own_wheels_go_along_and_torch_only_where_it_is_installed(
    lab: LabUnderTest, tmp_path: Path
) -> None:
    folder = lab.root / "wheels"
    folder.mkdir()
    for name in ("ctranslate2-4.8.2-cp311.whl", "torch-2.9.0-cp311-cp311-linux.whl"):
        (folder / name).touch()
    (tmp_path / "torch-2.9.0+cpu-cp311-cp311-linux.whl").touch()
    environ = {"PIP_FIND_LINKS": str(tmp_path)}
    try:
        offered = {
            extra: [wheel.name.partition("-cp")[0] for wheel in found]
            for extra in RUNTIMES
            if (found := images.offered_wheels(lab.lab, environ, extra))
        }
    finally:
        shutil.rmtree(folder)
    with_torch = ["ctranslate2-4.8.2", "torch-2.9.0", "torch-2.9.0+cpu"]
    assert offered == {
        "none": ["ctranslate2-4.8.2"],
        "chat": ["ctranslate2-4.8.2"],
        "serve": ["ctranslate2-4.8.2"],
        "serve,chat": ["ctranslate2-4.8.2"],
        "models": with_torch,
        "models,chat": with_torch,
    }


@pytest.mark.slow
def test_the_api_imports_nothing_that_its_image_leaves_out() -> None:
    modules = {"typer", "rich", "jwt", "cryptography", "docker", "supervisor"}
    program = (
        "import sys, llmlab.service.__main__, llmlab.runtimes.extractive\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert told.returncode == 0
    assert "fastapi" in told.stdout.split()
    assert modules.isdisjoint(told.stdout.split())


def test_without_a_model_the_image_serves_the_embedded_one(lab: LabUnderTest) -> None:
    context = images.lay_out_context(lab.lab, config=Config(), extra="none")
    settings = Settings.read(context / "settings.json")
    assert (settings.name, settings.folder) == ("textrank", None)
    assert list((context / "model").iterdir()) == []


def test_a_baked_in_model_is_copied_whole_with_its_settings(
    lab: LabUnderTest, tiny_t5: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshots" / ("0" * 40)  # as in a hub's cache: links to blobs
    snapshot.mkdir(parents=True)
    for file in tiny_t5.iterdir():
        (snapshot / file.name).symlink_to(file)
    (snapshot / "README.md").write_text("no part of the model")
    config = tiny_model(snapshot)
    context = images.lay_out_context(lab.lab, config=config, extra="models", model="tiny")
    files = {one.name: one for one in (context / "model").iterdir()}
    assert "README.md" not in files
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    for name, file in files.items():
        assert not file.is_symlink()
        assert file.read_bytes() == (tiny_t5 / name).read_bytes()
    settings = Settings.read(context / "settings.json")
    assert (settings.name, str(settings.folder)) == ("tiny", "/opt/model")
    assert settings.model == config.models["tiny"]


def test_a_baked_in_converted_model_has_its_manifest_and_its_weights(
    lab: LabUnderTest, tiny_t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMLAB_HOME", str(tmp_path))
    model = Model(runtime="ctranslate2", source=f"path:{tiny_t5}")
    config = Config(models={**Config().models, "tiny": model})
    with pytest.raises(ModelUnavailable, match="cannot be baked in: it is not converted") as no:
        images.lay_out_context(lab.lab, config=config, extra="serve", model="tiny")
    assert no.value.fix == "llmlab models pull tiny"
    folder = pull("tiny", model, lab.root, say=lambda _: None)
    assert folder is not None
    context = images.lay_out_context(lab.lab, config=config, extra="serve", model="tiny")
    assert verify(context / "model") == verify(folder)
    assert Settings.read(context / "settings.json").model.runtime == "ctranslate2"


def test_a_model_that_is_not_on_disk_cannot_be_baked_in(lab: LabUnderTest) -> None:
    config = tiny_model(Path("/nowhere"))
    with pytest.raises(ModelUnavailable, match="no folder /nowhere"):
        images.lay_out_context(lab.lab, config=config, extra="models", model="tiny")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--with-model", "nobody"], "no model 'nobody' is defined"),
        (["--with-model", "falconsai", "--extra", "none"], "no packages that could run falconsai"),
        (["--extra", "nonsense"], "is none of none, chat, serve, serve,chat, models, models,chat"),
        (["--push", "https://registry.example.com"], "is no place for images"),
        (["--push", "registry.example.com/Team"], "is no place for images"),
    ],
)
def test_what_cannot_be_built_is_said_before_anything_is(
    lab: LabUnderTest, options: list[str], said: str
) -> None:
    done = lab.run("build", "--dry-run", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert "Fix: " in done.stderr


# --- the commands --------------------------------------------------------------------


def test_push_is_a_tag_and_a_push_for_each_image(lab: LabUnderTest) -> None:
    place = "registry.example.com:5000/team"
    told = lab.ok("build", "--dry-run", "--tag", "v1", "--push", f"{place}/").splitlines()
    commands = [shlex.split(line) for line in told]
    built = [one[one.index("--tag") + 1] for one in commands if one[1] == "build"]
    assert {"llmapi:v1", "llmlab-nginx:v1"} <= set(built)
    published = [
        command
        for name in built
        for command in (
            ["docker", "tag", name, f"{place}/{name}"],
            ["docker", "push", f"{place}/{name}"],
        )
    ]
    assert commands[len(built) :] == published


@pytest.mark.parametrize("place", ["localhost:5000", "ghcr.io/a/b-c", "team", "127.0.0.1:1/a_b"])
def test_a_place_for_images_is_accepted_as_docker_writes_it(place: str) -> None:
    assert checked_repository(place) == place
    assert checked_repository(f"{place}/") == place


@pytest.mark.parametrize("place", ["http://a/b", "a b", "A/b/", "-x", "a//b", "a:tag/b:c", "/"])
def test_anything_else_is_no_place_for_images(place: str) -> None:
    with pytest.raises(UsageError):
        checked_repository(place)


def test_a_push_that_fails_says_where_and_how_to_sign_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\n[ "$1" = tag ] || { echo denied >&2; exit 1; }\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UpstreamError) as failed:
        push_image("llmapi", "v1", "registry.example.com/team")
    assert "registry.example.com/team/llmapi:v1 was not pushed" in failed.value.message
    assert "docker push failed with exit code 1" in failed.value.message
    assert "docker login registry.example.com" in (failed.value.fix or "")


# --- with an engine ------------------------------------------------------------------


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def registry() -> Iterator[Registry]:
    with running_registry() as one:
        yield one


@pytest.mark.containers
def test_pushed_images_can_be_pulled_and_are_what_was_built(
    lab: LabUnderTest, registry: Registry
) -> None:
    place = f"127.0.0.1:{registry.port}/team"
    built = json.loads(
        lab.ok("build", "--extra", "none", "--tag", TAG, "--push", place, "-o", "json")
    )
    names = [one["name"] for one in built]
    try:
        assert [one["pushed"] for one in built] == [f"{place}/{name}" for name in names]
        for one in built:
            docker("rmi", one["pushed"])
            docker("pull", "--quiet", one["pushed"])
            assert docker("inspect", "-f", "{{.Id}}", one["pushed"]).startswith(one["id"])
    finally:
        docker("rmi", "--force", *(one["pushed"] for one in built), *names)


@pytest.mark.containers
def test_a_registry_that_does_not_answer_is_an_error_after_the_build(lab: LabUnderTest) -> None:
    place = f"127.0.0.1:{free_port()}"
    done = lab.run("build", "--extra", "none", "--tag", TAG, "--push", place)
    try:
        assert done.returncode == 5
        assert f"{place}/llmapi:{TAG} was not pushed" in " ".join(done.stderr.split())
        assert docker("images", "-q", f"llmapi:{TAG}")
    finally:
        docker("rmi", "--force", f"llmapi:{TAG}", f"llmlab-nginx:{TAG}", f"{place}/llmapi:{TAG}")


DOCKERFILES = sorted((Path(__file__).parents[1] / "configs" / "docker").glob("*.Dockerfile"))


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_an_image_is_labelled_as_oci_has_it(file: Path) -> None:
    """https://github.com/opencontainers/image-spec/blob/main/annotations.md; ``created`` would
    make each build another one, and where the source is published nobody has said."""
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', file.read_text()))
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert labels.keys() == {"title", "description", "version", "revision", "licenses"}
    assert labels["title"].startswith("llmlab ")
    assert labels["licenses"] == project["license"]
    assert (labels["version"], labels["revision"]) == ("$VERSION", "$REVISION")


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.stem)
def test_another_version_or_commit_builds_no_layer_anew(file: Path) -> None:
    """A build argument is part of each later step's key in the cache."""
    text = file.read_text()
    after = text[min(text.index("ARG VERSION"), text.index("ARG REVISION")) :]
    assert not re.search(r"(?m)^(RUN|COPY|ADD|FROM) ", after)


def test_each_image_is_told_the_version_and_the_commit(lab: LabUnderTest) -> None:
    options = images.BuildOptions(revision="0123abc")
    for image in images.images():
        command = images.build_command(image, lab.lab, Path("/context"), options, {})
        given = [one for flag, one in pairwise(command) if flag == "--build-arg"]
        assert {f"VERSION={__version__}", "REVISION=0123abc"} <= {*given}


@pytest.mark.containers
def test_an_image_says_its_version_and_the_commit_that_it_is_from(make_lab: MakeLab) -> None:
    lab = make_lab()
    git = ["git", "-C", str(lab.root), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a lab"], check=True)
    head = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    built = json.loads(lab.ok("build", "--extra", "none", "--tag", TAG, "-o", "json"))
    try:
        for one in built:
            labels = json.loads(docker("inspect", "-f", "{{json .Config.Labels}}", one["name"]))
            assert labels["org.opencontainers.image.version"] == __version__
            assert labels["org.opencontainers.image.revision"] == head
            assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    finally:
        docker("rmi", "--force", *(one["name"] for one in built))


@pytest.mark.containers
def test_an_image_with_torch_and_weights_is_small_enough_and_serves_by_itself(
    make_lab: MakeLab, tiny_t5: Path, article: str
) -> None:
    if not images.offered_wheels(make_lab().lab, os.environ, "models"):
        pytest.skip("no CPU build of torch is at hand: the image would hold CUDA's gigabytes")
    lab = make_lab()
    with (lab.root / "configs" / "lab.toml").open("a") as file:
        file.write(f'\n[models.tiny]\nruntime = "transformers"\nsource = "path:{tiny_t5}"\n')
    built = json.loads(lab.run("build", "--with-model", "tiny", "--tag", TAG, "-o", "json").stdout)
    try:
        for one in built:
            assert one["size"] < one["limit"], one
        with running_alone(f"llmapi:{TAG}") as (api, container):
            answer = api.post("/summarize/", json={"text": article}).json()
            assert answer["summary"]
            assert (answer["model"]["name"], answer["model"]["runtime"]) == ("tiny", "transformers")
            compilers = "command -v cc gcc g++ c++ clang rustc || true"
            assert docker("exec", container, "sh", "-c", compilers) == ""
    finally:
        docker("rmi", "--force", *(one["name"] for one in built))


@pytest.mark.containers
def test_an_image_with_a_converted_model_serves_it_by_itself_without_torch(
    make_lab: MakeLab, tiny_t5: Path, article: str, tmp_path: Path
) -> None:
    lab = make_lab()
    lab.env |= {"LLMLAB_HOME": str(tmp_path)}
    with (lab.root / "configs" / "lab.toml").open("a") as file:
        file.write(f'\n[models.tiny]\nruntime = "ctranslate2"\nsource = "path:{tiny_t5}"\n')
    folder = Path(lab.ok("models", "pull", "tiny").strip())
    build = ("build", "--only", "llmapi", "--with-model", "tiny", "--tag", f"{TAG}-ct2")
    (built,) = json.loads(lab.ok(*build, "-o", "json"))
    try:
        assert built["size"] < 500 << 20
        with running_alone(built["name"]) as (api, container):
            answer = api.post("/summarize/", json={"text": article, "max_length": 20}).json()
            assert answer["model"] == {
                "name": "tiny", "id": verify(folder), "runtime": "ctranslate2",
            }  # fmt: skip
            assert answer["usage"]["output_tokens"] > 0
            torch = "import importlib.util as u; print(u.find_spec('torch'))"
            assert docker("exec", container, "python", "-c", torch) == "None"
    finally:
        docker("rmi", "--force", built["name"])


@contextmanager
def running_alone(image: str) -> Iterator[tuple[httpx2.Client, str]]:
    """An API from its image and nothing else, with a client for it and the container's id."""
    port = free_port()
    container = docker(
        "run", "-d", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL",
        "-p", f"127.0.0.1:{port}:80", image,
    )  # fmt: skip
    try:
        api = httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        wait_for(api, container)
        yield api, container
    finally:
        docker("rm", "--force", container)


def wait_for(api: httpx2.Client, container: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if api.get("/health/ready").status_code == 200:
                return
        except httpx2.HTTPError:
            pass
        assert time.monotonic() < deadline, docker("logs", container)
        time.sleep(0.5)
