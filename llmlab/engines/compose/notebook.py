"""The notebook server as a container: what it may know, and what docker-compose.yml asks for."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from llmlab.auth import Claims, KeySet, mint
from llmlab.config.schema import Jupyter
from llmlab.engines.compose.containers import Container
from llmlab.files import write_atomically
from llmlab.lab import Lab
from llmlab.notebook import access

JUPYTER = "jupyter"  # the service
SUBJECT = "notebook"
TTL = 30 * 86400  # seconds
OWN_TOKEN, GATEWAY_TOKEN = "jupyter-token", "token"  # names of files


def write_tokens(lab: Lab, keys: KeySet, folder: Path, *, mode: int) -> None:
    """Write the two tokens that the container gets: of its own server, and for the gateway.

    The second one is signed here, so that the signing key stays out of a container in
    which others write programs. It lasts 30 days, and is replaced whenever this runs: by
    `llmlab keys init`, and by every change of the keys. The client reads the file for each
    request, so a container that runs has the new one at once.

    The first one is written only where it changes, so that its file tells since when it
    holds; see ``has_an_old_token``.
    """
    own, file = access.token(lab), folder / OWN_TOKEN
    if not file.exists() or file.read_text(encoding="ascii") != own:
        write_atomically(file, own, mode)
    for_gateway = mint(keys.signing, Claims(sub=SUBJECT, ttl=TTL))
    write_atomically(folder / GATEWAY_TOKEN, for_gateway, mode)


def has_an_old_token(one: Container, folder: Path) -> bool:
    """Whether a container that runs started before its server's token was written.

    JupyterLab reads that file when it starts, and never again.
    """
    started = datetime.fromisoformat(one.started).timestamp()
    return one.alive and started < (folder / OWN_TOKEN).stat().st_mtime


def variables(jupyter: Jupyter, built: str) -> dict[str, str]:
    """What docker-compose.yml asks of the environment for its service ``jupyter``.

    ``built`` is the image that `llmlab build` made, which runs unless another is configured.

    The container's user becomes the lab's owner, who can write the notebooks; never root.
    """
    image = built if jupyter.image == Jupyter().image else jupyter.image
    asked = {"JUPYTER_IMAGE": image, "JUPYTER_PORT": str(jupyter.port)}
    if os.geteuid() != 0:
        asked |= {"JUPYTER_UID": str(os.geteuid()), "JUPYTER_GID": str(os.getegid())}
    return asked
