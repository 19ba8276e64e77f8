"""All models that a lab knows by name: those of lab.toml, then aliases, then registered ones.

What comes out is a ``config.Model`` under a name that fits URLs: so nobody else has to know
which of them are registered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmlab.config import Config, Loaded, Model, load_config
from llmlab.config.load import with_model
from llmlab.errors import ConfigError, UsageError
from llmlab.lab import Lab
from llmlab.models.identity import ELSEWHERE
from llmlab.models.prompts import prompt_of
from llmlab.near import hint
from llmlab.registry.record import Record
from llmlab.registry.reference import FEWEST_DIGITS
from llmlab.registry.registry import Registry

DEPLOYED = re.compile(r"(.+)-([1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Known:
    """A model, the name that it is deployed under, and its record if it is registered."""

    name: str
    model: Model
    record: Record | None = None


class Catalogue:
    """The models of one lab."""

    def __init__(self, config: Config, registry: Registry) -> None:
        self.config = config
        self.registry = registry

    def find(self, reference: str) -> Known | None:
        """The model of a name of lab.toml, or of a reference as ``Registry.find`` takes it.

        Raises:
            UsageError: it can be neither.
        """
        if model := self.config.models.get(reference):
            return Known(reference, model, self.record_of(model))
        if reference.startswith(ELSEWHERE):
            return self._elsewhere(reference)
        if known := registered(self.registry, reference):
            return known
        return self._by_id(reference) if reference.startswith("sha256:") else None

    def get(self, reference: str) -> Known:
        """As ``find``. Raises UsageError: there is no such model."""
        if known := self.find(reference):
            return known
        if ":" in reference and not reference.startswith(ELSEWHERE):
            self.registry.get(reference)  # says why there is none
        registered = [*self.registry.aliases(), *(one.reference for one in self._records())]
        raise UsageError(
            f"no model {reference!r} is defined; defined: {', '.join(self.config.models)}"
            + (f"; registered: {', '.join(registered)}" if registered else "")
            + hint(reference, [*self.config.models, *registered]),
            fix=f"add [models.{reference}] to configs/lab.toml, or llmlab models add FOLDER "
            f"--name {reference}",
        )

    def with_models(self, references: Sequence[str]) -> tuple[Config, list[str]]:
        """A configuration in which all these are defined, and their names in it.

        Raises:
            UsageError: there is no such model, or two would have one name.
        """
        known = [self.get(reference) for reference in references]
        config = self.config
        for one in known:
            config = with_model(config, one.name, one.model)
        return config, [one.name for one in known]

    def record_of(self, model: Model) -> Record | None:
        """The record of a model of lab.toml, if it is registered as it is there."""
        return next(iter(self._records_of(model)), None)

    def _records_of(self, model: Model) -> list[Record]:
        try:
            prompt = prompt_of("it", model, self.registry.root)
        except ConfigError:  # who wants to serve it is told
            return []
        return [one for one in self._records() if one.serves(model, prompt)]

    def users_of(self, record: Record) -> list[str]:
        """Which models of lab.toml are this one, so that it cannot just be removed."""
        found = [f"[models.{name}]" for name, one in self.config.models.items()
                 if one.content_id and record in self._records_of(one)]  # fmt: skip
        for path, reference in self.config.undefined_models():
            known = self.find(reference)
            if known and known.record and known.record.reference == record.reference:
                found.append(path)
        return [f"{one} of lab.toml" for one in found]

    def refuse_defined(self, name: str) -> None:
        """
        Raises:
            UsageError: lab.toml defines a model of that name, which would hide another.
        """
        if name in self.config.models:
            raise UsageError(
                f"{name} is a model of lab.toml, which would hide it", fix="choose another name"
            )

    def refuse_elsewhere(self, reference: str) -> None:
        """
        Raises:
            UsageError: it is a model of lab.toml that is elsewhere, so nothing of it can be read.
        """
        found = self.config.models.get(reference)
        if found and found.runtime == "openai":
            raise UsageError(
                f"{reference} is elsewhere: its content cannot be hashed, and so not be verified",
                fix="llmlab doctor asks whether it answers; llmlab ledger --kind upstream "
                "shows what it called itself",
            )

    def refuse_registered(self, name: str) -> None:
        """
        Raises:
            UsageError: a registered model or an alias has that name, and lab.toml would hide it.
        """
        if self.registry.find(name):
            raise UsageError(
                f"{name} is a registered model, which lab.toml would hide",
                fix="choose another name",
            )

    def _records(self) -> list[Record]:
        return self.registry.records()

    def _elsewhere(self, reference: str) -> Known | None:
        """A model elsewhere, by what it is asked."""
        from llmlab.models.inspect import ids

        if len(reference) < len(ELSEWHERE) + FEWEST_DIGITS:
            return None
        for name, model in self.config.models.items():
            if model.runtime == "openai" and any(
                one.startswith(reference) for one in ids(name, model, self.registry.root)
            ):
                return Known(name, model)
        return None

    def _by_id(self, reference: str) -> Known | None:
        """A model of lab.toml that is not registered, by its content id. Reads all its files."""
        from llmlab.models.inspect import ids

        for name, model in self.config.models.items():
            found = ids(
                name, model, self.registry.root, llama_server=self.config.service.llama_server
            )
            if any(one.startswith(reference) for one in found):
                return Known(name, model)
        return None


def called(name: str) -> str:
    """Of a version NAME-2 of a registered model: NAME."""
    found = DEPLOYED.fullmatch(name)
    return found[1] if found else name


def registered(registry: Registry, reference: str) -> Known | None:
    """A registered model. NAME-VERSION, the name of its deployment, leads to it as well.

    Raises:
        UsageError: it cannot be a reference, or means several models.
    """
    record = registry.find(reference)
    if record is None and (found := DEPLOYED.fullmatch(reference)):
        record = registry.find(f"{found[1]}:{found[2]}")
    if record is None:
        return None
    # A name or an alias fits URLs as it is.
    name = f"{record.name}-{record.version}" if ":" in reference else reference
    return Known(name, registry.model(record), record)


def load_lab(
    lab: Lab, *, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded:
    """A lab's configuration, in which registered models may be named.

    Raises:
        ConfigError: names the path of every value that is wrong, and its origin.
    """
    registry = Registry(lab)

    def find(reference: str) -> tuple[str, Model] | None:
        known = registered(registry, reference)
        return (known.name, known.model) if known else None

    return load_config(lab.config_file, flags=flags, environ=environ, elsewhere=find)
