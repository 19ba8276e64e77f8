"""The pages of the course, docs/course/N-*.md: what `course start` prints and the site shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError

URL = "http://127.0.0.1:8000"  # how a page calls the gateway; every lab has an address of its own
SECTIONS = ("Goal", "Steps", "What you should see", "Question", "Check")
_TITLE = re.compile(r"# (\d+)\. (.+)")
_SECTION = re.compile(r"(?m)^## (.+)\n")


@dataclass(frozen=True)
class Page:
    """One objective. ``sections`` are those of SECTIONS, in Markdown."""

    number: int
    title: str
    sections: dict[str, str]
    text: str

    def at(self, url: str) -> Page:
        """The page for a lab with this address."""
        told = {name: text.replace(URL, url) for name, text in self.sections.items()}
        return Page(self.number, self.title, told, self.text.replace(URL, url))

    def as_json(self) -> dict[str, Any]:
        """The document of `course start -o json`."""
        names = ("goal", "steps", "see", "question", "check")
        told = dict(zip(names, (self.sections[name] for name in SECTIONS), strict=True))
        return {"number": self.number, "title": self.title, **told}


def pages() -> list[Page]:
    """All of them, in order."""
    found = [parse(file.read_text(encoding="utf-8")) for file in _folder().glob("[0-9]-*.md")]
    return sorted(found, key=lambda one: one.number)


def page(number: int) -> Page:
    """Raises UsageError: there is no such objective."""
    every = pages()
    for one in every:
        if one.number == number:
            return one
    raise UsageError(
        f"there is no objective {number}; there are 1 to {len(every)}", fix="llmlab course list"
    )


def parse(text: str) -> Page:
    """A page from its Markdown: a title, then the sections, each once."""
    first, _, rest = text.partition("\n")
    title = _TITLE.fullmatch(first)
    assert title, f"no title of a page: {first!r}"
    _, *parts = _SECTION.split(rest)
    sections = {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    assert tuple(sections) == SECTIONS, f"{first}: sections {tuple(sections)}"
    return Page(int(title[1]), title[2], sections, text)


def _folder() -> Path:
    """In a wheel the pages stand in llmlab/course_pages, in a checkout in docs/course."""
    package = Path(__file__).parent.parent
    installed = package / "course_pages"
    return installed if installed.is_dir() else package.parent / "docs" / "course"
