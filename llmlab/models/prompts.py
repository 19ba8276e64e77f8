"""The prompt of a chat model, as it stands in its file: part of what the model is."""

from __future__ import annotations

from pathlib import Path

from llmlab.config import Model
from llmlab.errors import UsageError, unreadable
from llmlab.runtimes.prompt import Prompt

DEFAULT = Path("configs", "prompts", "summarize.md")


def prompt_of(model: Model, lab_root: Path) -> str:
    """The template by which a model is asked for a summary; "" for one that is no chat model.

    Raises:
        UsageError: the file cannot be read, or is no template.
    """
    if not model.chats:
        return ""
    file = lab_root / (model.prompt or DEFAULT)
    try:
        document = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the prompt {file} cannot be read: {unreadable(error)}", fix=f"ls -l {file}"
        ) from None
    Prompt.parse(document, str(file))
    return document
