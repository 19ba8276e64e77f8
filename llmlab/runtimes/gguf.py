"""What a GGUF file says of its model: the part before the weights.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md: a magic, a version, two
counts, then key after key, then where each tensor is. Nothing in such a file is code, but its chat
template is a program in Jinja's language, which llama.cpp runs in a sandbox of its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from llmlab.errors import ModelUnavailable, unreadable

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 1 was in use for three weeks of 2023
# By the format's own number of a type: how struct reads it.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
           12: "d"}  # fmt: skip
STRING, ARRAY = 8, 9
# Far above what any model has. A file that says more is broken, and would be read for ever.
LONGEST_KEY, LONGEST_STRING, MOST = 65_535, 64 << 20, 1 << 24
# A longer list of numbers is of a vocabulary, and is passed over as its words are.
LONGEST_LIST = 10_000
HALF = 2  # bytes of a number in the cache of keys and values


class NoGguf(ValueError):
    """It is no GGUF, or breaks off; says why."""


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
            weights=file.stat().st_size,
            embeds=f"{kind}.pooling_type" in said,
        )
    except NoGguf as error:
        why = str(error)
    except (OSError, KeyError, TypeError, ZeroDivisionError) as error:
        why = unreadable(error)
    raise ModelUnavailable(
        f"{file} is no GGUF file of a language model: {why}",
        fix="llmlab models pull NAME fetches it again",
    )


def metadata(file: Path) -> dict[str, Any]:
    """{key: value}: numbers, texts and lists of numbers; of other lists, only that there is one.

    Raises:
        NoGguf: it is none, or breaks off before its last tensor.
        OSError: it cannot be read.
    """
    with file.open("rb") as content:
        try:
            return _metadata(content)
        except NoGguf:
            raise
        except (struct.error, ValueError, TypeError, OverflowError, MemoryError):
            raise NoGguf("it breaks off, or is damaged") from None


def _metadata(content: BinaryIO) -> dict[str, Any]:
    if content.read(4) != MAGIC:
        raise NoGguf("it does not begin like one")
    version = _number(content, "I")
    if version not in VERSIONS:
        raise NoGguf(f"its version of the format is {version}, and {VERSIONS} are known")
    tensors, entries = _number(content, "Q"), _number(content, "Q")
    if max(tensors, entries) > MOST:
        raise NoGguf(f"it claims {tensors} tensors and {entries} entries")
    said = dict(_entries(content, entries))
    if said.get("split.count", 0) > 1:
        raise NoGguf("it is one part of several")
    _check_length(content, tensors, int(said.get("general.alignment", 32)))
    return said


def _entries(content: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = _string(content, LONGEST_KEY)
        yield key, _value(content, _number(content, "I"))


def _value(content: BinaryIO, kind: int) -> Any:
    if kind in NUMBERS:
        return _number(content, NUMBERS[kind])
    if kind == STRING:
        return _string(content, LONGEST_STRING)
    if kind != ARRAY:
        raise NoGguf(f"it has a value of an unknown kind ({kind})")
    of, count = _number(content, "I"), _number(content, "Q")
    if of == ARRAY or of not in (*NUMBERS, STRING) or count > MOST:
        raise NoGguf(f"it has a list of {count} values of kind {of}")
    if of == STRING:
        for _ in range(count):
            content.seek(_length(content, LONGEST_STRING), os.SEEK_CUR)
        return []
    form = f"<{count}{NUMBERS[of]}"
    if count > LONGEST_LIST:
        content.seek(struct.calcsize(form), os.SEEK_CUR)
        return []
    return list(struct.unpack(form, content.read(struct.calcsize(form))))


def _check_length(content: BinaryIO, tensors: int, alignment: int) -> None:
    """The last tensor has to begin inside the file. How long it is, only its type would say."""
    last = -1
    for _ in range(tensors):
        _string(content, LONGEST_KEY)
        dimensions = _number(content, "I")
        if dimensions > 8:
            raise NoGguf(f"it has a tensor of {dimensions} dimensions")
        content.seek(8 * dimensions + 4, os.SEEK_CUR)
        last = max(last, _number(content, "Q"))
    begin = -(-content.tell() // max(1, alignment)) * max(1, alignment)
    if tensors and content.seek(0, os.SEEK_END) <= begin + last:
        raise NoGguf("it breaks off before its last tensor")


def _number(content: BinaryIO, form: str) -> Any:
    return struct.unpack(f"<{form}", content.read(struct.calcsize(f"<{form}")))[0]


def _length(content: BinaryIO, most: int) -> int:
    length = int(_number(content, "Q"))
    if length > most:
        raise NoGguf(f"it has a string of {length} bytes")
    return length


def _string(content: BinaryIO, most: int) -> str:
    data = content.read(length := _length(content, most))
    if len(data) < length:
        raise NoGguf("it breaks off")
    return data.decode("utf-8", "replace")
