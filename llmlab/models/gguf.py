"""Which file of several is a language model, and what it says of itself."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from llmlab.runtimes.gguf import NoGguf, metadata

SUFFIX = ".gguf"
PATTERN = "*.gguf"
FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,90}\.gguf")
PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


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
    said = metadata(file)
    architecture = str(said.get("general.architecture", ""))
    if not architecture:
        raise NoGguf("it does not say which architecture it has")
    try:
        context = int(said.get(f"{architecture}.context_length", 0))
    except (TypeError, ValueError):
        raise NoGguf("it breaks off, or is damaged") from None
    return Head(
        architecture, str(said.get("general.name", "")), context, "tokenizer.chat_template" in said
    )


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
