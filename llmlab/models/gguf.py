"""What a GGUF file says of itself: which language model is in it, read from its head alone.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Nothing in such a file is
code, but its chat template is a program in Jinja's language, which llama.cpp runs in a sandbox
of its own.
"""

from __future__ import annotations

import fnmatch
import os
import re
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

SUFFIX = ".gguf"
PATTERN = "*.gguf"
MAGIC = b"GGUF"
VERSIONS = (2, 3)  # 1 was in use for three weeks of 2023
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,90}\.gguf")
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
# By the format's own number of a type: how struct reads it.
NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
           11: "<q", 12: "<d"}  # fmt: skip
STRING, ARRAY = 8, 9
# Far above what any model has. A file that says more is broken, and would be read for ever.
LONGEST_KEY, LONGEST_STRING, MOST = 65_535, 64 << 20, 1 << 24


class NoGguf(ValueError):
    """It is no GGUF, or breaks off; says why."""


@dataclass(frozen=True)
class Head:
    """
    Args:
        architecture: of llama.cpp's, such as "llama".
        name: of the model, as its maker calls it.
        context: tokens that it was made for; 0 if it does not say.
        chats: whether it has a chat template.
    """

    architecture: str
    name: str
    context: int
    chats: bool


def read(file: Path) -> Head:
    """
    Raises:
        NoGguf: it is none, is one part of several, or breaks off before its last tensor.
        OSError: it cannot be read.
    """
    with file.open("rb") as content:
        try:
            return _head(content)
        except NoGguf:
            raise
        except (struct.error, ValueError, TypeError, OverflowError, MemoryError):
            raise NoGguf("it breaks off, or is damaged") from None


def problem(file: Path) -> str:
    """Why a file is not one that llama.cpp could read; "" if it seems to be."""
    try:
        read(file)
    except NoGguf as error:
        return f"{file} is no GGUF: {error}"
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return ""


def chosen(names: Collection[str], pattern: str, where: object) -> tuple[str, str]:
    """Which of several files is meant.

    Args:
        names: of files, of any kind.
        pattern: as the shell has it; "" for the only one.
        where: what to call the place in a complaint.

    Returns:
        (its name, ""), or ("", why there is none).
    """
    there = sorted(name for name in names if name.lower().endswith(SUFFIX))
    found = [name for name in there if fnmatch.fnmatchcase(name, pattern or "*")]
    if not there:
        return "", f"{where} has no {PATTERN}"
    if len(found) != 1:
        many = f"{len(found)} files" if found else "no file"
        fits = f"{many} that fit file = {pattern!r}" if pattern else many
        return "", f"{where} has {fits}, and one has to be chosen: {', '.join(there)}"
    if PART.search(found[0]):
        return "", (
            f"{found[0]} of {where} is a part of a model in several files, which are not taken; "
            "llama-gguf-split --merge makes one of them"
        )
    return found[0], ""


def _head(content: BinaryIO) -> Head:
    if content.read(4) != MAGIC:
        raise NoGguf("it does not begin like one")
    version = _number(content, "<I")
    if version not in VERSIONS:
        raise NoGguf(f"its version of the format is {version}, and {VERSIONS} are known")
    tensors, entries = _number(content, "<Q"), _number(content, "<Q")
    if max(tensors, entries) > MOST:
        raise NoGguf(f"it claims {tensors} tensors and {entries} entries")
    said = dict(_entries(content, entries))
    if said.get("split.count", 0) > 1:
        raise NoGguf("it is one part of several")
    _check_length(content, tensors, int(said.get("general.alignment", 32)))
    architecture = str(said.get("general.architecture", ""))
    if not architecture:
        raise NoGguf("it does not say which architecture it has")
    return Head(
        architecture,
        str(said.get("general.name", "")),
        int(said.get(f"{architecture}.context_length", 0)),
        "tokenizer.chat_template" in said,
    )


def _entries(content: BinaryIO, count: int) -> Iterator[tuple[str, Any]]:
    """The entries of the head; of a list, only that there is one."""
    for _ in range(count):
        key = _string(content, LONGEST_KEY)
        yield key, _value(content, _number(content, "<I"))


def _value(content: BinaryIO, kind: int) -> Any:
    if kind in NUMBERS:
        return _number(content, NUMBERS[kind])
    if kind == STRING:
        return _string(content, LONGEST_STRING)
    if kind != ARRAY:
        raise NoGguf(f"it has a value of an unknown kind ({kind})")
    of, count = _number(content, "<I"), _number(content, "<Q")
    if of == ARRAY or of not in (*NUMBERS, STRING) or count > MOST:
        raise NoGguf(f"it has a list of {count} values of kind {of}")
    if of in NUMBERS:
        content.seek(count * struct.calcsize(NUMBERS[of]), os.SEEK_CUR)
    else:
        for _ in range(count):
            content.seek(_length(content, LONGEST_STRING), os.SEEK_CUR)
    return ()


def _check_length(content: BinaryIO, tensors: int, alignment: int) -> None:
    """The last tensor has to begin inside the file. How long it is, only its type would say."""
    last = -1
    for _ in range(tensors):
        _string(content, LONGEST_KEY)
        dimensions = _number(content, "<I")
        if dimensions > 8:
            raise NoGguf(f"it has a tensor of {dimensions} dimensions")
        content.seek(8 * dimensions + 4, os.SEEK_CUR)
        last = max(last, _number(content, "<Q"))
    begin = -(-content.tell() // max(1, alignment)) * max(1, alignment)
    if tensors and content.seek(0, os.SEEK_END) <= begin + last:
        raise NoGguf("it breaks off before its last tensor")


def _number(content: BinaryIO, form: str) -> Any:
    return struct.unpack(form, content.read(struct.calcsize(form)))[0]


def _length(content: BinaryIO, most: int) -> int:
    length = int(_number(content, "<Q"))
    if length > most:
        raise NoGguf(f"it has a string of {length} bytes")
    return length


def _string(content: BinaryIO, most: int) -> str:
    data = content.read(length := _length(content, most))
    if len(data) < length:
        raise NoGguf("it breaks off")
    return data.decode("utf-8", "replace")
