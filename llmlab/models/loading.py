"""Loading a model for serving: verified first, and only with what its runtime needs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from llmlab.config import Model
from llmlab.errors import ModelUnavailable
from llmlab.models.identity import content_id, digests, id_of, version_id
from llmlab.models.language import weights
from llmlab.models.store import Manifest, is_stored, verify
from llmlab.runtimes import Runtime
from llmlab.runtimes.chat import ModelServer


def load(
    model: Model, folder: Path | None, *, replicas: int = 0, threads: int = 1
) -> tuple[Runtime, str]:
    """Load a model for serving.

    Args:
        folder: where its files are; None for an embedded model.
        replicas, threads: of the runtime ctranslate2; as many replicas as fill the cores, and
            as a container's memory allows, for 0.

    Returns:
        The runtime and the model's content id.

    Raises:
        ModelUnavailable: a converted model is not as it was converted, or the model is not
            the one that ``content_id`` says.
    """
    limits = {"max_length": model.max_length, "min_length": model.min_length}
    if model.runtime == "extractive":
        from llmlab.runtimes.extractive import TextRank, identity

        model_id = identity()
        _refuse_another(model, "the embedded model", model_id)
        return TextRank(**limits), model_id
    assert folder is not None
    if model.runtime == "ctranslate2":
        from llmlab.runtimes.cores import default_replicas
        from llmlab.runtimes.ct2 import CTranslate2

        model_id = verify(folder)
        _refuse_another(model, folder, model_id, Manifest.read(folder).source)
        fast = CTranslate2(
            folder, **limits, compute_type=model.compute_type,
            replicas=replicas or default_replicas(threads), threads=threads,
        )  # fmt: skip
        return fast, model_id
    from llmlab.runtimes.seq2seq import Seq2Seq

    model_id = content_id(folder)
    _refuse_another(model, folder, model_id)
    return Seq2Seq(folder, **limits), model_id


def language_model(model: Model, folder: Path, prompt: str) -> tuple[Path, str]:
    """What the runtime ``llamacpp`` loads, every byte of it verified.

    Args:
        folder: where its file is.
        prompt: the template that it is asked by.

    Returns:
        The file, and the id of the version: of its weights, prompt and decoding together.

    Raises:
        ModelUnavailable: the file is not there, is not as it was taken out of its package, or
            is not the one that ``content_id`` says.
    """
    file = weights(model, folder)
    if is_stored(folder):
        verify(folder)
        found = dict(Manifest.read(folder).files)
    else:
        found = digests([file])
    _refuse_another(model, file, id_of(found))
    return file, version_id(found, prompt, model.decoding.as_body())


def scripted_id(prompt: str, decoding: Mapping[str, object]) -> str:
    """The content id of the runtime ``scripted``: of its version, its prompt and its decoding."""
    from llmlab.runtimes.scripted import VERSION

    own = hashlib.sha256(f"llmlab scripted {VERSION}".encode()).hexdigest()
    return version_id({"scripted": own}, prompt, decoding)


def load_chat(
    model: Model,
    folder: Path | None,
    prompt: str,
    *,
    server: str = "",
    patience: float = 120.0,
    died: Callable[[int], None] = lambda _: None,
) -> tuple[ModelServer, str]:
    """Load a chat model for serving, or find the way to one elsewhere.

    Args:
        folder: where its files are.
        prompt: the template by which it summarizes: a part of what it is.
        server: the native server to run; see ``llamacpp.start``.
        patience: seconds of silence after which an answer is given up.
        died: called when its server ends by itself.

    Returns:
        The model's server, and the id of this version: weights, prompt and decoding.

    Raises:
        ModelUnavailable: it cannot be loaded, or its weights are not those that ``content_id``
            says.
    """
    from llmlab.runtimes import llamacpp

    assert folder is not None
    file, model_id = language_model(model, folder, prompt)
    running = llamacpp.start(
        file, context=model.context, slots=model.slots, server=server, patience=patience, died=died,
    )  # fmt: skip
    return running, model_id


def _refuse_another(model: Model, where: Path | str, *found: str) -> None:
    """Unless one of the ids found is the one that the model has to have, refuse to load it."""
    if model.content_id and model.content_id not in found:
        raise ModelUnavailable(
            f"{where} has the content {' of '.join(found)}, and {model.content_id} is expected",
            fix="llmlab models verify",
        )
