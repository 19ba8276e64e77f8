"""What the API image serves by itself: its default settings, and a model baked into it."""

from __future__ import annotations

import shutil
from pathlib import Path

from llmlab import models
from llmlab.config import Config
from llmlab.config.schema import TEXTRANK
from llmlab.errors import ModelUnavailable, UsageError
from llmlab.lab import Lab
from llmlab.models.prompts import prompt_of
from llmlab.models.sources import checked_name, files_of
from llmlab.service.settings import Settings

# Beside /model, which docker-compose.yml mounts over.
BAKED_MODEL = Path("/opt/model")


def bake_embedded(context: Path) -> None:
    """Have the image serve the embedded model, which needs no weights."""
    (context / "model").mkdir()
    _write(Settings(deployment="textrank", name="textrank", model=TEXTRANK), context)


def bake(name: str, config: Config, lab: Lab, context: Path) -> None:
    """Have the image serve a model of the lab, its files in the image.

    Raises:
        UsageError: no such model is defined, its prompt is none, or it is elsewhere.
        ModelUnavailable: it is not on disk.
    """
    model = checked_name(name, config.models)
    if model.runtime == "openai":
        raise UsageError(
            f"{name} is elsewhere: there is nothing of it to bake in",
            fix="llmlab build, and llmlab up --engine compose deploys it",
        )
    llama_server = config.service.llama_server
    found = models.availability(name, model, lab.root, llama_server=llama_server)
    if not found.ready:
        raise ModelUnavailable(f"{name} cannot be baked in: {found.reason}", fix=found.fix)
    if found.folder:
        for file in files_of(model, found.folder):
            shutil.copyfile(file, context / "model" / file.name)  # a hub's files are links
    settings = Settings(
        deployment=name, name=name, model=model, service=config.service,
        folder=BAKED_MODEL if found.folder else None, prompt=prompt_of(name, model, lab.root),
        guards=tuple(config.guards),
    )  # fmt: skip
    _write(settings, context)


def _write(settings: Settings, context: Path) -> None:
    (context / "settings.json").write_text(settings.model_dump_json(indent=1) + "\n")
