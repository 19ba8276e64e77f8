"""The prompt of a chat model: the template that lab.toml names, or that is in its record."""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.errors import ConfigError, UsageError, unreadable
from llmlab.runtimes.prompt import Prompt

DEFAULT = "configs/prompts/summarize.md"
LARGEST = 1 << 20  # bytes


def prompt_of(name: str, model: Model, lab_root: Path) -> str:
    """The template of a model, as it stands; "" for one that holds no conversation.

    Args:
        name: of the model, for an error.

    Raises:
        ConfigError: there is no such file, or it is no template; names the path.
    """
    if not model.chats:
        return ""
    key = f"models.{name}.prompt"
    if "\n" in model.prompt:
        text, where = model.prompt, key
    else:
        file = lab_root / Path(model.prompt or DEFAULT).expanduser()
        laid_out = f"llmlab init {lab_root} lays out what a lab of this version has"
        fix = laid_out if file == lab_root / DEFAULT else f"correct {key}, or write that file"
        text, where = _read(key, file, fix), f"{key}: {file}"
    try:
        Prompt.parse(text, where)
    except UsageError as error:
        raise ConfigError(error.message, fix=error.fix) from None
    return text


def read_prompt(file: Path) -> str:
    """A template from a file that somebody names.

    Raises:
        ConfigError: it cannot be read, or is no template.
        UsageError: likewise.
    """
    text = _read("the prompt", file, "name a file that is there")
    Prompt.parse(text, str(file))
    return text


def _read(key: str, file: Path, fix: str) -> str:
    try:
        with file.open("rb") as content:
            data = content.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{key}: there is no {file}", fix=fix) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{key}: {file} cannot be read: {unreadable(error)}",
                          fix=f"ls -l {file}") from None  # fmt: skip
    if len(data) > LARGEST:
        raise ConfigError(f"{key}: {file} has more than {LARGEST:,} bytes, and is no prompt")
    return text
