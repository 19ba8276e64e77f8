"""Text that was laid out in pages, as pdftotext writes it: back to running text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from llmlab.terminals import is_ended

PAGE_END = "\f"
_BLOCK_END = re.compile(r"\n[ \t]*\n\s*")
_ITEM = re.compile(r"\(?(?:\d{1,3}|[ivx]{1,5}|\w)[.)]\s")
_MOST_LINES = 2  # that a page may repeat at its top and at its bottom


def text_of_pages(text: str) -> str:
    """Leave out what pages repeat (headers, footers, their numbers), and let a paragraph go on
    that a page or a column ended: before a small letter nothing has ended. Any text that has
    no end of a page stays as it is."""
    if PAGE_END not in text:
        return text
    pages = [page.split("\n") for page in text.replace("\r\n", "\n").split(PAGE_END)]
    pages = [page for page in map(_trimmed, pages) if page]
    for place in (0, -1) * _MOST_LINES:
        pages = _without_repeated(pages, place)
    return "\n\n".join(_joined("\n".join(page) for page in pages))


def _without_repeated(pages: list[list[str]], place: int) -> list[list[str]]:
    """Drop the first (0) or last (-1) line of each page that another page has there as well,
    but for its number."""
    seen = Counter(_shape(page[place]) for page in pages)
    rest = []
    for page in pages:
        kept = page
        if seen[_shape(page[place])] > 1:
            kept = _trimmed(page[1:] if place == 0 else page[:-1])
        if kept:
            rest.append(kept)
    return rest


def _shape(line: str) -> str:
    return re.sub(r"\d+", "#", " ".join(line.split())).casefold()


def _trimmed(lines: list[str]) -> list[str]:
    """Without blank lines at its ends."""
    full = [at for at, line in enumerate(lines) if line.strip()]
    return lines[full[0] : full[-1] + 1] if full else []


def _joined(pages: Iterable[str]) -> list[str]:
    blocks: list[list[str]] = []
    for page in pages:
        for block in _BLOCK_END.split(page):
            if blocks and _goes_on(blocks[-1][-1], block.lstrip()):
                blocks[-1].append(block)
            else:
                blocks.append([block])
    return ["\n".join(block) for block in blocks]


def _goes_on(before: str, after: str) -> bool:
    return (
        after[:1].islower()
        and not _ITEM.match(after)
        and not is_ended(before)
        and not before.rstrip().endswith(":")
    )
