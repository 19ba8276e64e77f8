"""The rubric: what makes an answer better, as a person has written it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import ConfigError, unreadable

DEFAULT = "configs/rubric.md"
LARGEST = 20_000  # bytes: it is a part of every question


@dataclass(frozen=True, slots=True)
class Rubric:
    """``digest`` is "sha256:<64 hex digits>" of the text."""

    text: str
    digest: str


def read_rubric(name: str, lab_root: Path) -> Rubric:
    """
    Args:
        name: as `judge.rubric` has it, relative to the lab.

    Raises:
        ConfigError: it cannot be read, is empty or too long.
    """
    file = lab_root / Path(name).expanduser()
    try:
        with file.open("rb") as content:
            data = content.read(LARGEST + 1)
        text = data.decode("utf-8-sig").strip()
    except FileNotFoundError:
        laid_out = f"llmlab init {lab_root} lays out what a lab of this version has"
        raise ConfigError(
            f"judge.rubric: there is no {file}",
            fix=laid_out if name == DEFAULT else "correct judge.rubric, or write that file",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"judge.rubric: {file} cannot be read: {unreadable(error)}", fix=f"ls -l {file}"
        ) from None
    if not text or len(data) > LARGEST:
        why = f"has more than {LARGEST:,} bytes" if text else "says nothing"
        raise ConfigError(f"judge.rubric: {file} {why}", fix=f"correct {file}")
    return Rubric(text, f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
