"""Registering what a person gives: a folder, a language model's file, or a model with another
prompt."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmlab.config.model import Decoding
from llmlab.errors import UsageError
from llmlab.models import gguf, pull
from llmlab.models.language import weights
from llmlab.models.prompts import DEFAULT, prompt_of, read_prompt
from llmlab.near import hint
from llmlab.registry.catalogue import Catalogue, Known
from llmlab.registry.pulled import language_facts, record_pulled
from llmlab.registry.record import Facts, Record
from llmlab.registry.registry import Added

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """How it is to be registered; None and "" for what was not said.

    Args:
        decoding: KEY=VALUE each.
        file: which of several GGUF files of a folder.
    """

    name: str = ""
    license: str = ""
    note: str = ""
    runtime: str | None = None
    compute_type: str = "int8"
    max_length: int | None = None
    min_length: int | None = None
    prompt: Path | None = None
    decoding: tuple[str, ...] = ()
    file: str = ""


def add_model(catalogue: Catalogue, what: str, wanted: Wanted, *, say: Say) -> Added:
    """Register a model as the next version of its name.

    Args:
        what: a folder, a GGUF file, or a model that the lab knows.

    Raises:
        UsageError: it is none of these, or cannot be registered like that.
        ModelUnavailable: a language model that the lab knows is nowhere to be had.
    """
    path = Path(what).expanduser()
    if not path.exists() and (known := _known(catalogue, what)):
        return _another_version(catalogue, known, wanted, say)
    if not wanted.name:
        raise UsageError(f"{what} needs a name", fix=f"llmlab models add {what} --name NAME")
    catalogue.refuse_defined(wanted.name)
    runtime: Any = wanted.runtime or ("llamacpp" if _is_gguf(path) else "ctranslate2")
    facts = Facts(
        "path", runtime=runtime, compute_type=wanted.compute_type,  # type: ignore[arg-type]
        max_length=100 if wanted.max_length is None else wanted.max_length,
        min_length=5 if wanted.min_length is None else wanted.min_length,
        license=wanted.license, note=wanted.note, file=wanted.file,
    )  # fmt: skip
    if facts.chats:
        prompt = read_prompt(wanted.prompt or catalogue.registry.root / DEFAULT)
        facts = replace(facts, prompt=prompt, decoding=decoding_of(wanted.decoding))
    elif wanted.prompt or wanted.decoding or wanted.file:
        raise UsageError(
            f"--prompt, --decoding and --file are for language models, and {what} is none",
            fix=f"llmlab models add {what} --name {wanted.name}",
        )
    return catalogue.registry.add(path, wanted.name, facts, say=say)


def decoding_of(said: Sequence[str]) -> dict[str, Any]:
    """``KEY=VALUE`` each, as a record has it.

    Raises:
        UsageError: there is no such key, or its value is wrong.
    """
    values: dict[str, Any] = {}
    for one in said:
        key, equals, value = one.partition("=")
        if not equals or key not in Decoding.model_fields:
            raise UsageError(
                f"{one!r} is no decoding: it should be KEY=VALUE with one of "
                f"{', '.join(Decoding.model_fields)}{hint(key, Decoding.model_fields)}"
            )
        values[key] = [value] if key == "stop" else _number(value)
    try:
        return Decoding(**values).as_body()
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--decoding {first['loc'][0]}: {first['msg']}") from None


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _known(catalogue: Catalogue, what: str) -> Known | None:
    """A model of the lab; None for what rather looks like a path."""
    return None if "/" in what or what.endswith(gguf.SUFFIX) else catalogue.find(what)


def _is_gguf(path: Path) -> bool:
    if path.is_dir():
        return any(path.glob(gguf.PATTERN)) and not (path / "config.json").exists()
    return path.name.endswith(gguf.SUFFIX)


def _another_version(catalogue: Catalogue, known: Known, wanted: Wanted, say: Say) -> Added:
    """A version that shares the files of a model, and differs in what is said to it."""
    if known.model.runtime != "llamacpp":
        raise UsageError(
            f"{known.name} has the runtime {known.model.runtime}, and only a language model is "
            "registered again with another prompt",
            fix="llmlab models add FOLDER --name NAME registers another model",
        )
    if wanted.runtime not in (None, "llamacpp") or wanted.file:
        raise UsageError("another version has the same weights: leave out --runtime and --file")
    parent = known.record or _recorded(catalogue, known, say)
    name = wanted.name or parent.name
    if name != parent.name:
        catalogue.refuse_defined(name)
    changed: dict[str, Any] = {
        "max_length": wanted.max_length, "min_length": wanted.min_length,
        "license": wanted.license or None, "note": wanted.note or None,
        "prompt": read_prompt(wanted.prompt) if wanted.prompt else None,
        "decoding": decoding_of(wanted.decoding) if wanted.decoding else None,
    }  # fmt: skip
    said = {key: value for key, value in changed.items() if value is not None}
    return catalogue.registry.add_version(parent, name, replace(parent.facts, **said))


def _recorded(catalogue: Catalogue, known: Known, say: Say) -> Record:
    """The record of a model of lab.toml that had none: it is fetched for it, or copied."""
    registry, model = catalogue.registry, known.model
    folder = pull(known.name, model, registry.root, say=say)
    assert folder  # of a language model there is one
    if added := record_pulled(registry, known.name, model, folder):
        return added.record

    prompt = prompt_of(known.name, model, registry.root)
    facts = Facts("path", **language_facts(model, prompt))
    return registry.add(weights(model, folder), known.name, facts, say=say).record
