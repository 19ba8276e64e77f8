"""What `make dist` makes: all that the package needs, and nothing that lay about beside it."""

from __future__ import annotations

import email
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from llmlab import __version__

ROOT = Path(__file__).parent.parent
NAME = f"llmlab-{__version__}"
# What a checkout gathers in use: secrets, caches, what was built and what tests have left.
LEFT_ABOUT = [
    ".llmlab/keys/jwks.json", ".venv/bin/llmlab", "benchmarks/work/ray.log", "site/index.html",
    "build/llmlab.txt", "llmlab/__pycache__/lab.cpython-311.pyc", "configs/data/__pycache__/a.pyc",
    "notebooks/.ipynb_checkpoints/tuning.ipynb", "docs/course/.ipynb_checkpoints/1-model.md",
    "tests/artifacts/top.png", "llmlab.egg-info/PKG-INFO",
]  # fmt: skip
# Where what stands outside the package in a checkout goes in a wheel.
MOVED = {
    "configs": "llmlab/lab_files/configs",
    "notebooks": "llmlab/lab_files/notebooks",
    "nginx.conf": "llmlab/lab_files/nginx.conf",
    "docker-compose.yml": "llmlab/lab_files/docker-compose.yml",
    "docs/course": "llmlab/course_pages",
}


def of_the_project() -> list[str]:
    """The files of this checkout that git knows, or will once they are added."""
    asked = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def files() -> list[str]:
    return of_the_project()


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, files: list[str]) -> Path:
    """A checkout that somebody has worked in."""
    root = tmp_path_factory.mktemp("checkout")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for name in LEFT_ABOUT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("this must stay here")
    return root


def build(checkout: Path, *what: str) -> Path:
    """Build as `make dist` does, by the packages that are installed here: without a network."""
    command = [sys.executable, "-m", "build", "--no-isolation", *what]
    out = checkout / "dist" / "-".join(["made", *what])
    done = subprocess.run(
        [*command, "--outdir", str(out)], cwd=checkout, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def dist(used: Path) -> Path:
    """The folder with the sdist, and the wheel that was built from it."""
    return build(used)


def in_the_wheel(name: str) -> str | None:
    """Where a file of the checkout goes in the wheel; None for one that is not in it."""
    if name.startswith("llmlab/"):
        return name
    for path in [PurePosixPath(name), *PurePosixPath(name).parents]:
        if moved := MOVED.get(str(path)):
            return str(moved / PurePosixPath(name).relative_to(path))
    return None


def test_the_wheel_holds_the_package_the_lab_s_files_and_the_course(
    dist: Path, files: list[str]
) -> None:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        names = wheel.namelist()
    about = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    package = {moved for name in files if (moved := in_the_wheel(name))}
    # Said by name, too: the rule above would also hold for folders that became empty.
    assert {
        "llmlab/py.typed", "llmlab/lab_files/configs/lab.toml", "llmlab/lab_files/nginx.conf",
        "llmlab/lab_files/docker-compose.yml", "llmlab/lab_files/configs/docker/llmapi.Dockerfile",
        "llmlab/lab_files/notebooks/tuning.ipynb", "llmlab/course_pages/1-model.md",
        "llmlab/course_pages/8-delivery.md", "llmlab/gateway/token.js",
    } <= package  # fmt: skip
    assert sorted(set(names) - about) == sorted(package)
    assert {name.partition("/")[2] for name in about} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE",
    }  # fmt: skip


def test_the_sdist_holds_what_the_wheel_is_built_from(dist: Path, files: list[str]) -> None:
    with tarfile.open(dist / f"{NAME}.tar.gz") as sdist:
        names = {one.name.removeprefix(f"{NAME}/") for one in sdist.getmembers()}
    beside = {"pyproject.toml", ".gitignore", "README.md", "CHANGELOG.md", "LICENSE"}
    assert names == {name for name in files if in_the_wheel(name)} | beside | {"PKG-INFO"}


def test_from_a_checkout_in_use_comes_the_same_wheel(used: Path, dist: Path) -> None:
    """`pip install .` builds one without an sdist between."""
    (direct,) = build(used, "--wheel").iterdir()
    assert direct.read_bytes() == (dist / direct.name).read_bytes()


def test_the_licence_is_said_as_pep_639_has_it_and_is_in_the_wheel(dist: Path) -> None:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        told = email.message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))
        licence = wheel.read(f"{NAME}.dist-info/licenses/LICENSE")
    assert (told["License-Expression"], told["License-File"]) == ("Apache-2.0", "LICENSE")
    assert told["License"] is None
    assert licence == (ROOT / "LICENSE").read_bytes()
    assert told["Version"] == __version__
