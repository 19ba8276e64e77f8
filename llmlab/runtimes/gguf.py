"""What a GGUF file says of its model: the part before the weights.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a magic, a version, two counts, and
then key after key. Vocabularies are in there as well, and are passed over.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmlab.errors import ModelUnavailable

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS, LONGEST_TEXT, LONGEST_ARRAY = 10_000, 1 << 24, 1 << 24
# By the number of its type: how a value is packed.
_PACKED = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?",
           10: "Q", 11: "q", 12: "d"}  # fmt: skip
_TEXT, _ARRAY = 8, 9
HALF = 2  # bytes of a number in the cache of keys and values
_FURTHER_PART = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides how much memory a model takes, and what it can be asked for.

    Args:
        context: tokens that it was made for.
        token_bytes: of the cache, for each token that is read or written.
        weights: bytes.
        embeds: it gives embeddings, and writes nothing.
    """

    context: int
    token_bytes: int
    weights: int
    embeds: bool


def model_file(folder: Path, pattern: str = "") -> Path:
    """The GGUF file of a folder; of one in several parts, the first.

    Raises:
        ModelUnavailable: there is none, or more than one model.
    """
    found = [file for file in parts(folder, pattern) if not _FURTHER_PART.search(file.name)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} GGUF models" if found else "no GGUF file"
    which = f" that match {pattern!r}" if pattern else ""
    raise ModelUnavailable(
        f"there are {what}{which} in {folder}" if found else f"there is {what}{which} in {folder}",
        fix='name one by file = "*Q4_K_M.gguf" in the model\'s table of configs/lab.toml',
    )


def parts(folder: Path, pattern: str = "") -> list[Path]:
    """The GGUF files of a folder, sorted by name."""
    return sorted(file for file in folder.glob(pattern or "*.gguf") if file.is_file())


def shape(file: Path) -> Shape:
    """
    Raises:
        ModelUnavailable: it is no GGUF file, or does not say what has to be known.
    """
    try:
        said = metadata(file)
        kind = said["general.architecture"]
        layers = said[f"{kind}.block_count"]
        heads = said[f"{kind}.attention.head_count"]
        heads = max(heads) if isinstance(heads, list) else heads
        shared = said.get(f"{kind}.attention.head_count_kv", heads)
        width = said[f"{kind}.embedding_length"] // heads
        key = said.get(f"{kind}.attention.key_length", width)
        value = said.get(f"{kind}.attention.value_length", width)
        all_heads = sum(shared) if isinstance(shared, list) else layers * shared
        return Shape(
            context=said[f"{kind}.context_length"],
            token_bytes=all_heads * (key + value) * HALF,
            weights=sum(one.stat().st_size for one in _all_parts(file)),
            embeds=f"{kind}.pooling_type" in said,
        )
    except (OSError, ValueError, KeyError, TypeError, struct.error, ZeroDivisionError) as error:
        raise ModelUnavailable(
            f"{file} is no GGUF file of a language model: {type(error).__name__}: {error}",
            fix="llmlab models pull NAME fetches it again",
        ) from error


def _all_parts(file: Path) -> list[Path]:
    stem, first, _ = file.name.partition("-00001-of-")
    return sorted(file.parent.glob(f"{stem}-*-of-*.gguf")) if first else [file]


def metadata(file: Path) -> dict[str, Any]:
    """{key: value} of numbers, texts and short arrays of numbers.

    Raises:
        ValueError, struct.error: it is no GGUF file.
    """
    with file.open("rb") as content:
        if content.read(4) != MAGIC:
            raise ValueError("it does not begin as one")
        version, _, keys = _unpacked(content, "<IQQ")
        if version not in VERSIONS or keys > MOST_KEYS:
            raise ValueError(f"version {version} with {keys} keys")
        return {_text(content): _value(content, _unpacked(content, "<I")[0]) for _ in range(keys)}


def _value(content: BinaryIO, kind: int) -> Any:
    if kind == _TEXT:
        return _text(content)
    if kind == _ARRAY:
        return _array(content)
    return _unpacked(content, f"<{_PACKED[kind]}")[0]


def _array(content: BinaryIO) -> list[Any]:
    """An array of numbers; nothing of others, which are vocabularies."""
    kind, length = _unpacked(content, "<IQ")
    if length > LONGEST_ARRAY:
        raise ValueError(f"an array of {length}")
    if kind == _TEXT:
        for _ in range(length):
            content.seek(_length(content), 1)
        return []
    if kind == _ARRAY:
        raise ValueError("an array of arrays")
    return list(_unpacked(content, f"<{length}{_PACKED[kind]}"))


def _text(content: BinaryIO) -> str:
    return content.read(_length(content)).decode(errors="replace")


def _length(content: BinaryIO) -> int:
    length: int = _unpacked(content, "<Q")[0]
    if length > LONGEST_TEXT:
        raise ValueError(f"a text of {length} bytes")
    return length


def _unpacked(content: BinaryIO, how: str) -> tuple[Any, ...]:
    return struct.unpack(how, content.read(struct.calcsize(how)))
