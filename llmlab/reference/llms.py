"""llms.txt: the pages of the documentation, one line each, for programs that read them
(https://llmstxt.org). Titles and first sentences are the pages' own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmlab.reference.markdown import MADE

SUMMARY = (
    "A language model behind a real gateway with one command, and every new version proved before "
    "it takes traffic."
)
ABOUT = """llmlab is a command (Python 3.11 or newer) that brings up a model's API behind NGINX on
one machine, as processes or as containers: with tokens, rate limits, several versions at once,
rollouts under a statistical gate, feature flags, a ledger of who served what, and metrics."""
# Folders of docs/ in the order in which one reads them; "" are the pages at its top.
SECTIONS = {
    "": "Overview",
    "course": "Course",
    "guide": "Guides",
    "reference": "Reference",
    "explain": "Explanations",
}


def llms_txt(docs: Path, made: Mapping[str, str]) -> str:
    """
    Args:
        docs: where the pages are that people write.
        made: those that the code makes, by their paths.
    """
    pages = {
        path.relative_to(docs).as_posix(): path.read_text(encoding="utf-8")
        for path in docs.rglob("*.md")
    } | dict(made)
    parts = [f"# llmlab\n\n> {SUMMARY}\n\n{ABOUT}\n"]
    folders = [*SECTIONS, *sorted({_folder(path) for path in pages} - set(SECTIONS))]
    for folder in folders:
        lines = [_line(path, pages[path]) for path in _in(pages, folder)]
        if lines:
            parts.append(
                f"## {SECTIONS.get(folder, folder.capitalize())}\n\n" + "\n".join(lines) + "\n"
            )
    return "\n".join(parts)


def _folder(path: str) -> str:
    return path.partition("/")[0] if "/" in path else ""


def _in(pages: Mapping[str, str], folder: str) -> Iterator[str]:
    """Its pages in order: what comes first by its name is read first."""
    return (path for path in sorted(pages) if _folder(path) == folder)


def _line(path: str, page: str) -> str:
    title = re.search(r"(?m)^# (.+)$", page)
    name = title[1].strip() if title else path
    said = _first_sentence(page[title.end() if title else 0 :])
    return f"- [{name}]({path})" + (f": {said}" if said else "")


def _first_sentence(page: str) -> str:
    """Of the first paragraph of text: no heading, list, table, comment or block of code."""
    for paragraph in re.split(r"\n\s*\n", page.replace(MADE, "")):
        if paragraph.strip() and not re.match(
            r"\s*([#|<>!*+-]|```|\d+\. |    )", paragraph.lstrip("\n")
        ):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            sentence = re.match(r".*?[.:?!](?= [A-Z`]|$)", text)
            return sentence[0].rstrip(":") if sentence else text
    return ""
