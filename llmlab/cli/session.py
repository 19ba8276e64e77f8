"""What every verb starts from: the lab, its configuration, its engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from llmlab.auth import KeyStore
    from llmlab.config import Loaded
    from llmlab.engines.base import Engine
    from llmlab.lab import Lab


class EngineName(StrEnum):
    AUTO = "auto"
    LOCAL = "local"
    COMPOSE = "compose"


EngineOption = Annotated[
    EngineName | None,
    typer.Option(help="What runs the lab: auto, local processes, or containers."),
]


@dataclass(frozen=True)
class Session:
    """One call of the command. ``folder`` is what --lab said."""

    folder: Path | None = None

    @classmethod
    def of(cls, context: typer.Context) -> Session:
        session = context.obj
        assert isinstance(session, Session)
        return session

    def lab(self) -> Lab:
        from llmlab.lab import find_lab

        return find_lab(self.folder, os.environ)

    def load(self, flags: Mapping[str, Any] | None = None) -> Loaded:
        from llmlab.config import load_config

        return load_config(self.lab().config_file, flags=flags, environ=os.environ)

    def keys(self) -> KeyStore:
        from llmlab.auth import KeyStore

        return KeyStore(self.lab().keys_file)

    def engine(self, name: EngineName | None = None) -> Engine:
        """The engine of that name; without one, the engine that runs this lab, or would."""
        from llmlab.engines.choice import engine_named, running_engine

        lab = self.lab()
        if name in (EngineName.LOCAL, EngineName.COMPOSE):
            return engine_named(name.value, lab)
        if running := running_engine(lab):
            return running
        configured = self.load().config.engine
        return engine_named("local" if configured == "auto" else configured, lab)
