"""Reading a page of HTML, for tests."""

from __future__ import annotations

from html.parser import HTMLParser


class Parsed(HTMLParser):
    """A page's elements with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def asks_for(page: Parsed) -> list[tuple[str, str]]:
    """What a page would fetch from somewhere, or lead to: (element, attribute)."""
    return [
        (tag, name)
        for tag, attributes in page.elements
        for name in attributes
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
