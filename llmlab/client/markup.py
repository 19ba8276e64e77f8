"""The text of a page of the web: what a reader of it would read."""

from __future__ import annotations

import re
from collections.abc import Set
from html.parser import HTMLParser

_SUFFIXES = (".html", ".htm", ".xhtml")
_BEGINS = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_UNSEEN = frozenset(["head", "noscript", "script", "style", "svg", "math", "template"])
_OPERATED = frozenset(["nav", "button", "select", "textarea"])  # a page's controls
_BLOCK_NAMES = """
address article aside blockquote body caption dd details div dl dt fieldset figcaption figure footer
form h1 h2 h3 h4 h5 h6 header hr html main ol p pre section summary table tbody tfoot thead tr ul
"""
_BLOCKS = frozenset(_BLOCK_NAMES.split())
_CELLS = frozenset(("td", "th"))
# Left out before parsing: the parser takes the square of the time for those without an end.
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_SPACE = re.compile(r"[ \t\n\r\f]+")


def is_html(text: str, name: str) -> bool:
    """Whether a file is a page of the web, by its name or by how it begins."""
    return name.lower().endswith(_SUFFIXES) or bool(_BEGINS.match(text))


def text_of_html(page: str) -> str:
    """The page's text: a blank line between blocks, "- " before items; no scripts, styles,
    menus and buttons."""
    page = _COMMENT.sub("", page)
    for unread in (_UNSEEN | _OPERATED, _UNSEEN):
        reader = _Reader(unread)
        reader.feed(page)
        reader.close()
        if not reader.skipped:  # else one was never closed, and all behind it is lost
            break
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self, unread: Set[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.skipped: list[str] = []  # elements that are open and not read, of one name
        self._unread = unread
        self._parts: list[str] = []
        self._kept = 0  # open <pre>

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.append(tag)
            elif tag == "body" and self.skipped[-1] == "head":  # </head> may be left out
                self.skipped.clear()
        elif tag in self._unread:
            self.skipped.append(tag)
        elif tag == "li":
            self._parts.append("\n- ")
        elif tag == "br":
            self._parts.append("\n")
        elif tag in _CELLS:
            self._parts.append(" ")
        elif tag in _BLOCKS:
            self._parts.append("\n\n")
            self._kept += tag == "pre"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._unread:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self.skipped:
            if tag == self.skipped[-1]:
                self.skipped.pop()
        elif tag in _BLOCKS:
            self._parts.append("\n\n")
            self._kept = max(0, self._kept - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self._parts.append(data if self._kept else _SPACE.sub(" ", data))

    def text(self) -> str:
        lines = (line.strip() for line in "".join(self._parts).split("\n"))
        return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
