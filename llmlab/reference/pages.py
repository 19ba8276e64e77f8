"""Which pages there are, and what makes each."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from llmlab.reference.llms import llms_txt

LLMS = "llms.txt"
# Page -> the module of this package that makes it, by its function ``markdown``.
MADE_BY = {
    "reference/verbs.md": "verbs",
    "reference/configuration.md": "configuration",
    "reference/json.md": "json_documents",
    "reference/http.md": "http_api",
    "reference/metrics.md": "metrics",
    "reference/exit-codes.md": "exit_codes",
    "reference/errors.md": "errors",
}


def made(docs: Path) -> dict[str, str]:
    """{path below docs/: the page as the code has it}; llms.txt lists those in ``docs`` as well."""
    pages = {path: _maker(module)() for path, module in MADE_BY.items()}
    return {**pages, LLMS: llms_txt(docs, pages)}


def _maker(module: str) -> Callable[[], str]:
    maker: Callable[[], str] = import_module(f"llmlab.reference.{module}").markdown
    return maker


def write(docs: Path) -> list[Path]:
    """Write the pages that are not as they should be, and say which."""
    return [docs / path for path, text in made(docs).items() if write_one(docs / path, text)]


def write_one(file: Path, text: str) -> bool:
    """Whether there was anything to write."""
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return True
