"""The console's styles: what a page calls its own touches no other page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llmlab.console
from llmlab.console import menu

STYLES = Path(llmlab.console.__file__).parent / "static" / "console.css"
TEMPLATES = STYLES.parent.parent / "templates"
HEAD = re.compile(r"/\* --- (.*?) -+ \*/")
COMMENT = re.compile(r"/\*.*?\*/", re.S)
# These stand in no element, and so cannot be a page's.
ROOTS = ("@keyframes", "html:has(")
PAGES = {page.name: page.path for page in menu.named()}


def sections(styles: str) -> dict[str, str]:
    """The rules below each heading."""
    pieces = HEAD.split(styles)
    return {
        name: COMMENT.sub("", text) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)
    }


def outermost(rules: str) -> list[str]:
    """The selectors that stand in no other; those within @media count as such."""
    found, depth, begin, media = [], 0, 0, []
    for at, sign in enumerate(rules):
        if sign == "{":
            selector = " ".join(rules[begin:at].split())
            if selector.startswith("@media") and depth == len(media):
                media.append(depth)
            elif depth == len(media):
                found.append(selector)
            depth += 1
            begin = at + 1
        elif sign == "}":
            depth -= 1
            begin = at + 1
            if media and depth == media[-1]:
                media.pop()
    assert depth == 0, "its braces are not closed"
    return found


def strays(styles: str) -> list[str]:
    """Selectors of a page's section that would touch other pages as well."""
    wrong = []
    for name, rules in sections(styles).items():
        owners = {f"main.{path}" for page, path in PAGES.items() if page.lower() in name.lower()}
        for selector in outermost(rules) if owners else ():
            parts = set(selector.split(", "))
            if not selector.startswith(ROOTS) and not parts <= owners:
                wrong.append(f"{name}: {selector}")
    return wrong


def test_each_page_of_the_menu_has_its_own_styles_within_its_main() -> None:
    styles = STYLES.read_text()
    assert strays(styles) == []
    scoped = set(re.findall(r"\bmain\.([a-z]+)", COMMENT.sub("", styles)))
    assert scoped == set(PAGES.values())


@pytest.mark.parametrize(
    "stray",
    [".drawn { display: none }", "@media (max-width: 62rem) { .drawn { display: none } }",
     "main.usage { .bar { width: 1px } } .bar { width: 2px }", "main.flags { .bar { width: 1px } }",
     "main.usage, .bar { width: 2px }"],
)  # fmt: skip
def test_a_rule_outside_of_its_page_is_seen(stray: str) -> None:
    assert strays(f"/* --- Usage --- */\n{stray}") != []


def test_a_rule_within_its_page_is_none() -> None:
    own = "main.usage { .bar { width: 1px } @media (max-width: 9rem) { .bar { width: 2px } } }"
    assert strays(f"/* --- Usage --- */\n{own}\n@keyframes x {{ 50% {{ opacity: 0 }} }}") == []


def test_where_a_row_is_a_list_on_a_phone_each_cell_says_what_it_is() -> None:
    cells = {
        file.name: cell
        for file in TEMPLATES.glob("*.j2")
        for table in re.findall(r'<table class="stacked">.*?</table>', file.read_text(), re.S)
        for cell in re.findall(r"<td(?: [^>]*)?>(?:\{\{ interval|<a)?", table)
        # A drawing or a button says itself what it is.
        if "data-label=" not in cell and not cell.endswith(("interval", "<a"))
    }
    assert cells == {}
    assert 'class="stacked"' in (TEMPLATES / "flags.html.j2").read_text()
