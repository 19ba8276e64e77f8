"""What the container of a model elsewhere has beyond the others': a way out, and its key.

The key is a copy in a folder of its own below .llmlab/, which is closed to all users of this
machine. That folder is mounted into this one container, whose only user reads it. So nothing of it
is in an image, in an environment or in what `docker inspect` tells.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from llmlab.errors import EnvironmentFailure, UsageError, unreadable
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.network import is_loopback
from llmlab.service.settings import Settings
from llmlab.upstreams import keys

MOUNT = Path("/run/upstream")
KEY, CA = "key", "ca.pem"
OPEN_FOLDER, OPEN_FILE = 0o755, 0o644
WAY_OUT = {"network_mode": "bridge"}  # of Docker itself; nobody can come in by it: it has no port


def lay_out_upstream(lab: Lab, settings: Settings) -> None:
    """Copy what a model elsewhere needs to where it is mounted.

    Raises:
        AuthError: its key cannot be read.
        UsageError: it is on this machine, to which a container has no way.
        EnvironmentFailure: its file of certificates cannot be read.
    """
    if settings.model.runtime != "openai":
        return
    if is_loopback(settings.model.base_url):
        raise UsageError(
            f"{settings.name} is at {settings.model.base_url}, which in a container is the "
            "container itself",
            fix="llmlab up --engine local, or an address of this machine that containers reach",
        )
    lab.make_state()
    private_folder(lab.state / "compose")
    folder = private_folder(_folder(lab, settings), OPEN_FOLDER)
    if settings.key:
        key = keys.read(settings.key, settings.name)
        write_atomically(folder / KEY, key + "\n", OPEN_FILE)
    if settings.ca:
        try:
            write_atomically(folder / CA, settings.ca.read_bytes(), OPEN_FILE)
        except OSError as error:
            raise EnvironmentFailure(
                f"the certificates of {settings.name} cannot be read: {settings.ca}: "
                f"{unreadable(error)}",
                fix=f"ls -l {settings.ca}",
            ) from None


def as_mounted(settings: Settings) -> Settings:
    """The settings as its container reads them."""
    return settings.model_copy(update={
        "key": MOUNT / KEY if settings.key else None, "ca": MOUNT / CA if settings.ca else None,
        "mounted": settings.model.runtime == "openai",
    })  # fmt: skip


def mounted_upstream(lab: Lab, settings: Settings, service: Mapping[str, Any]) -> dict[str, Any]:
    """What is added to a Compose service for it."""
    if settings.model.runtime != "openai":
        return {}
    mount = f"{_folder(lab, settings)}:{MOUNT}:ro"
    return {"volumes": [*service.get("volumes", ()), mount], **WAY_OUT}


def forget_upstreams(lab: Lab, but: Collection[str] = ()) -> None:
    """Remove the copies that no container reads any more.

    Args:
        but: deployments that still run; none of them when the lab is down.
    """
    with contextlib.suppress(OSError):
        for folder in _all(lab).iterdir():
            if folder.name not in but:
                shutil.rmtree(folder)
        _all(lab).rmdir()  # which fails where one is left


def _folder(lab: Lab, settings: Settings) -> Path:
    return _all(lab) / settings.deployment


def _all(lab: Lab) -> Path:
    return lab.state / "compose" / "upstreams"
