"""Whether a model is on this machine, and what is said where it is another one."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import ModelUnavailable
from llmlab.models.identity import short_id


@dataclass(frozen=True)
class Availability:
    """Whether a model can be served from this machine's disk right now.

    ``folder`` is None for an embedded model and for one elsewhere, and where ``ready`` is False.
    """

    ready: bool
    folder: Path | None = None
    reason: str = ""
    fix: str = ""


def not_the_same(name: str, folder: Path, found: str, expected: str) -> ModelUnavailable:
    """The error that a model is not the one that was registered, or that lab.toml wants."""
    return ModelUnavailable(
        f"the files of {name} have another content than they should: {short_id(found)} instead "
        f"of {short_id(expected)}, in {folder}",
        fix="llmlab models verify says which; then add or import it again, or correct content_id",
    )


def not_installed(packages: list[str]) -> str:
    return f"the packages {', '.join(packages)} are not installed"


def missing_packages(needed: tuple[str, ...]) -> list[str]:
    return [name for name in needed if importlib.util.find_spec(name) is None]
