"""README and the site of docs/: what is linked is there, and no page asks another host."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# What a browser fetches when it opens a page, and not only when one clicks.
FETCHES = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


def test_the_readme_is_one_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 250
    assert len(text.split()) <= 1800


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text())
    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).is_file()] == []


def in_navigation(entries: list[Any]) -> Iterator[tuple[str, str]]:
    """What the menu calls each page, and its path."""
    for entry in entries:
        for name, target in entry.items():
            if isinstance(target, str):
                yield name, target
            else:
                yield from in_navigation(target)


@pytest.fixture(scope="module")
def navigation() -> list[tuple[str, str]]:
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    return list(in_navigation(nav))


def test_every_page_is_in_the_navigation_once(navigation: list[tuple[str, str]]) -> None:
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert sorted(path for _, path in navigation) == sorted(pages)


def test_a_pages_title_begins_with_what_the_menu_calls_it(
    navigation: list[tuple[str, str]],
) -> None:
    for name, path in navigation:
        text = (DOCS / path).read_text()
        if shown := re.match(r'--8<-- "(.+)"', text):  # as it is elsewhere in the project
            text = (ROOT / shown[1]).read_text()
        title = re.search(r"(?m)^# (.+)$", text)
        assert title and title[1].startswith(name), f"{path} is {title and title[1]}, not {name}"


class Fetched(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses.append(dict(attrs).get(FETCHES.get(tag, "")) or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    zensical = Path(sys.executable).with_name("zensical")
    if not zensical.exists():
        pytest.skip("make docs has not installed zensical here")
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "benchmarks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("work", "*.json"))
    for name in ("zensical.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder)
    done = subprocess.run(
        [zensical, "build", "--strict"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def test_the_site_builds_without_a_warning_and_asks_no_other_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= len(list(DOCS.rglob("*.md")))
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        elsewhere = [one for one in fetched.addresses if re.match(r"(https?:)?//", one)]
        assert elsewhere == [], page.name
        assert 'class="mermaid"' not in page.read_text()  # its script would be fetched elsewhere


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_the_screen(site: Path, width: int) -> None:
    from tests.browser import browsing, on_a_phone

    wider = "return document.documentElement.scrollWidth > window.innerWidth"
    with on_a_phone() if width == 390 else browsing(width) as page:
        for file in sorted(site.rglob("*.html")):
            page.open(file.as_uri())
            assert page.run(wider) is False, file.name
