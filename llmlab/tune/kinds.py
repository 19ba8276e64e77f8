"""The kinds of models that can be tuned: how each is loaded, served, and registered."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from llmlab.config import Config, Model
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.models import store
from llmlab.models.identity import content_id
from llmlab.models.language import cannot_run, native_server, weights_id
from llmlab.models.prompts import prompt_of
from llmlab.registry import Facts
from llmlab.registry.contents import copy_gguf, copy_in
from llmlab.registry.pulled import language_facts
from llmlab.tune.bases import Start
from llmlab.tune.learner import FILE, Learner


class Kind(Protocol):
    """
    Args:
        facts: what a record says of how its models are served.
        chats: whether they answer questions, rather than only summarizing.
    """

    @property
    def facts(self) -> Facts: ...

    @property
    def chats(self) -> bool: ...

    def load(self, start: Path) -> Learner:
        """As ``learner.Load``."""

    def id_of(self, folder: Path) -> str:
        """The content id of the weights that a round has made."""

    def copy(self, folder: Path, staged: Path) -> None:
        """Copy a model into the registry."""

    def forget(self, folder: Path) -> None:
        """Remove what the store has made of a model."""


def kind_of(start: Start, compute_type: str | None, config: Config, root: Path) -> Kind:
    """
    Args:
        compute_type: as it was asked for.
        root: the lab's folder.

    Raises:
        UsageError: it was asked for, and the base is a language model.
        EnvironmentFailure: nothing here runs language models, so none could be judged.
    """
    if not start.is_language:
        return Summarizers(_facts(start.model, compute_type))
    assert start.model
    if compute_type:
        raise UsageError(
            f"--compute-type is of ctranslate2, and {start.name} is run by llama.cpp",
            fix="leave it out",
        )
    if lacking := cannot_run(root, config.service.llama_server):
        raise EnvironmentFailure(f"tuning a language model: {lacking.reason}", fix=lacking.fix)
    native = native_server(root, config.service.llama_server)
    prompt = prompt_of(start.name, start.model, root)
    facts = Facts("tuned", **language_facts(start.model, prompt))
    return Languages(facts, start.model, str(native or "none"))


@dataclass(frozen=True)
class Summarizers:
    """Encoder-decoders, which ctranslate2 converts."""

    facts: Facts
    chats: bool = False

    def load(self, start: Path) -> Learner:
        from llmlab.tune.seq2seq import load

        return load(start)

    def id_of(self, folder: Path) -> str:
        return content_id(folder)

    def copy(self, folder: Path, staged: Path) -> None:
        copy_in(folder, staged, lambda _: None)

    def forget(self, folder: Path) -> None:
        converted = store.place(content_id(folder), self.facts.compute_type)
        shutil.rmtree(converted, ignore_errors=True)


@dataclass(frozen=True)
class Languages:
    """Language models as GGUF, which are run as they are.

    Args:
        model: the base.
        llama_server: the native server that runs them; "none" for the library.
    """

    facts: Facts
    model: Model
    llama_server: str
    chats: bool = True

    def load(self, start: Path) -> Learner:
        from llmlab.tune.causal import Asked, load

        file = start if start.is_file() else start / FILE
        return load(file, Asked(self.model, self.facts.prompt, self.llama_server))

    def id_of(self, folder: Path) -> str:
        return weights_id(folder / FILE)

    def copy(self, folder: Path, staged: Path) -> None:
        copy_gguf(folder / FILE, "", staged)

    def forget(self, folder: Path) -> None:
        """The store has nothing of it."""


def _facts(base: Model | None, asked: Any) -> Facts:
    if base is None:
        return Facts("tuned", compute_type=asked or "int8", min_length=2)
    runtime: Any = base.runtime
    return Facts(
        "tuned", runtime=runtime, compute_type=asked or base.compute_type,
        max_length=base.max_length, min_length=base.min_length, license=base.license,
    )  # fmt: skip
