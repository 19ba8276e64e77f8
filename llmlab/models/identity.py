"""A model's id is a hash of its content, so that a name can never lie about what answered.

A model elsewhere shows no content. Its id covers what it is asked, and says by its first word that
nobody here can know what answers.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

# What a runtime reads. A model card or a sample picture is not part of a model.
MODEL_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
# A folder with this file is a converted model, and its weights are in WEIGHTS. That name is no
# pattern above: elsewhere such a file may be a pickle.
MANIFEST, WEIGHTS = "llmlab-manifest.json", "model.bin"
HASHED, ELSEWHERE = "sha256:", "elsewhere:"
SHORT = 12  # digits of an id, for people
_CHUNK = 1 << 20


def model_files(folder: Path) -> list[Path]:
    """The files of a folder that make up the model, sorted by name."""
    converted = (WEIGHTS,) if (folder / MANIFEST).is_file() else ()
    found = {file for pattern in (*MODEL_FILES, *converted) for file in folder.glob(pattern)}
    return sorted((file for file in found if file.is_file()), key=lambda file: file.name)


def digests(files: Iterable[Path]) -> dict[str, str]:
    """{name: sha256, 64 hex digits} in the order of the files."""
    return {file.name: _digest(file, hashlib.sha256()) for file in files}


def content_id(folder: Path) -> str:
    """``sha256:<64 hex digits>`` over the names and contents of the model's files."""
    return id_of(digests(model_files(folder)))


def id_of(files: Mapping[str, str]) -> str:
    """The content id of a model that has these ``digests``, sorted by name."""
    lines = "".join(f"{name} {digest}\n" for name, digest in files.items())
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def version_id(files: Mapping[str, str], prompt: str, decoding: Mapping[str, object]) -> str:
    """The id of a chat model: a version of it is its weights, its prompt and its decoding.

    Args:
        files: the ``digests`` of its weights, sorted by name.
        prompt: the template, as it stands in its file.
        decoding: what it decodes by where a request does not say.
    """
    said = {
        "prompt": hashlib.sha256(prompt.encode()).hexdigest(),
        "decoding": hashlib.sha256(json.dumps(decoding, sort_keys=True).encode()).hexdigest(),
    }
    return id_of({**files, **said})


def elsewhere_id(base_url: str, model: str, prompt: str, decoding: Mapping[str, object]) -> str:
    """``elsewhere:<64 hex digits>`` of a model behind somebody else's server: of what is asked.

    What answers may change at any time without a change of this id.

    Args:
        base_url: of the server, with or without a slash at its end.
        model: its name there.
        prompt, decoding: as of ``version_id``.
    """
    asked = [base_url.rstrip("/"), model, prompt, decoding]
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    return f"{ELSEWHERE}{digest.hexdigest()}"


def is_hashed(model_id: str) -> bool:
    """Whether an id is one of a content, so that it says what answers."""
    return model_id.startswith(HASHED)


def damaged_names(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """Names of the files that are missing, changed or added, given the ``digests``."""
    return [one for one in sorted({*expected, *found}) if expected.get(one) != found.get(one)]


def short_id(model_id: str) -> str:
    """The first 12 digits, for people; of a model elsewhere ``elsewhere:`` and 12 digits."""
    if model_id.startswith(ELSEWHERE):
        return model_id[: len(ELSEWHERE) + SHORT]
    return model_id.removeprefix(HASHED)[:SHORT]


def damaged_files(folder: Path, files: Iterable[Path] | None = None) -> Iterator[Path]:
    """Files of a hub snapshot whose content is not what the hub announced.

    In the hub's cache every file is a link to a blob that is named after its
    hash: sha256 for large files, the git object id (sha1 over a header and the
    content) for the rest. So a download can be verified without the network.

    Args:
        files: which of them; default: those that make up a model.
    """
    for file in model_files(folder) if files is None else files:
        expected = file.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", expected):
            actual = _digest(file, hashlib.sha256())
        elif re.fullmatch(r"[0-9a-f]{40}", expected):
            header = f"blob {file.stat().st_size}\0".encode()
            actual = _digest(file, hashlib.sha1(header, usedforsecurity=False))
        else:
            continue
        if actual != expected:
            yield file


def _digest(file: Path, digest: hashlib._Hash) -> str:
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
