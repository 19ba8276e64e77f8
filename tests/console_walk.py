"""Which addresses the pages of a console lead to: each page as its visitors get to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import httpx2

from llmlab.console.pages import PREFIX, Page

MOST = 400  # addresses that are looked at: a ledger leads to each of its entries


class Links(HTMLParser):
    """Where a page leads to, without a script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and (to := dict(attrs).get("href")):
            self.found.append(to)


def walked(asking: httpx2.Client, pages: list[Page]) -> dict[str, list[str]]:
    """{path of a page: addresses of it below the lab's}: as it stands, and of something in it.

    Args:
        asking: as a visitor who is let in.
    """
    found: dict[str, list[str]] = {page.path: [] for page in pages}
    waiting, seen = [f"{PREFIX}{page.path}" for page in pages if page.name], set[str]()
    while waiting and len(seen) < MOST:
        address = waiting.pop(0)
        if address in seen:
            continue
        seen.add(address)
        path = urlsplit(address).path.removeprefix(PREFIX)
        if len(found.get(path, ["", ""])) > 1 or _is_told(address, found.get(path, [])):
            continue
        answer = asking.get(address)
        assert answer.status_code == 200, f"{address}: {answer.status_code}\n{answer.text}"
        found[path].append(address)
        waiting += _leads_to(address, answer.text, found)
    return found


def _is_told(address: str, known: list[str]) -> bool:
    """Whether one of the same kind is known: with a query, or without."""
    return any(bool(urlsplit(one).query) == bool(urlsplit(address).query) for one in known)


def _leads_to(address: str, text: str, found: Mapping[str, object]) -> Iterator[str]:
    for to in Links(text).found:
        parts = urlsplit(urljoin(address, to))
        if not parts.netloc and parts.path.removeprefix(PREFIX) in found:
            yield parts.path + (f"?{parts.query}" if parts.query else "")
