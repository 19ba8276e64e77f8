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
    from llmlab.client.connection import Trust
    from llmlab.config import Config, Loaded
    from llmlab.engines.base import Engine
    from llmlab.lab import Lab
    from llmlab.ledger.store import Store
    from llmlab.registry import Registry
    from llmlab.registry.catalogue import Catalogue


class EngineName(StrEnum):
    AUTO = "auto"
    LOCAL = "local"
    COMPOSE = "compose"
    RAY = "ray"


EngineOption = Annotated[
    EngineName | None,
    typer.Option(
        help="What runs the lab: auto, local processes, containers, or "
        "processes on several machines."
    ),
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
        """The configuration; the models that it names may be registered ones."""
        from llmlab.registry.catalogue import load_lab

        return load_lab(self.lab(), flags=flags, environ=os.environ)

    def registry(self) -> Registry:
        from llmlab.registry import Registry

        return Registry(self.lab())

    def catalogue(self, config: Config | None = None) -> Catalogue:
        """All models of the lab; without ``config``, of lab.toml, whatever that names."""
        from llmlab.config import read_config
        from llmlab.registry.catalogue import Catalogue

        if config is None:
            config = read_config(self.lab().config_file, environ=os.environ).config
        return Catalogue(config, self.registry())

    def deployment(self, reference: str) -> str:
        """The name under which the lab serves a model: NAME:VERSION and the like are no part
        of a URL. A name that nobody here knows is left to the gateway."""
        from llmlab.engines.record import Record
        from llmlab.errors import UsageError

        if os.environ.get("LLMLAB_URL"):
            return reference  # another machine's lab
        running = Record.read(self.lab())
        if running is None or reference in running.deployments:
            return reference
        try:
            known = self.catalogue().find(reference)
        except UsageError:
            if ":" in reference:
                raise
            return reference
        if known is None or known.record is None:
            return reference
        served = (
            one for one in running.plan().deployments
            if known.record.serves(one.model, one.prompt)
        )  # fmt: skip
        return next((one.deployment for one in served), known.name)

    def store(self) -> Store:
        """What is wanted of the lab beyond lab.toml, and the ledger."""
        from llmlab.ledger.store import Store

        return Store(self.lab())

    def keys(self) -> KeyStore:
        from llmlab.auth import KeyStore

        return KeyStore(self.lab().keys_file)

    def trust(self) -> Trust:
        """By what this lab's gateway and its clients here know each other."""
        from llmlab.client.connection import trust_in

        return trust_in(self.lab())

    def engine(self, name: EngineName | None = None) -> Engine:
        """The engine of that name; without one, the engine that runs this lab, or would."""
        from llmlab.engines.choice import engine_named, running_engine

        lab = self.lab()
        if name and name is not EngineName.AUTO:
            return engine_named(name.value, lab)
        if running := running_engine(lab):
            return running
        configured = self.load().config.engine
        return engine_named("local" if configured == "auto" else configured, lab)
