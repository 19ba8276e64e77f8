"""What one API process is told: a small JSON file, written by an engine."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from llmlab.config import Guard, Model, Service
from llmlab.version import __version__

# The environment variable of a container that says on which socket its API listens.
SOCKET = "LLMAPI_SOCKET"
# That of the gateway, where it says what requests have used; else it is beside its own.
SETTLEMENTS = "LLMAPI_SETTLEMENTS"


class Settings(BaseModel):
    """One deployment's settings.

    Args:
        folder: where its files are; None for an embedded model, and for one elsewhere.
        prompt: of a chat model, the template itself; "" for another model.
        key, ca: of a model elsewhere, the files with its key and with the certificates to trust.
        mounted: they are copies in a container, where nobody else is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    deployment: str
    name: str
    model: Model
    folder: Path | None = None
    prompt: str = ""
    key: Path | None = None
    ca: Path | None = None
    mounted: bool = False
    service: Service = Service()
    guards: tuple[Guard, ...] = ()
    version: str = __version__

    @classmethod
    def read(cls, file: Path) -> Settings:
        return cls.model_validate_json(file.read_bytes(), strict=False)
