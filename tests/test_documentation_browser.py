"""/docs in a headless Chromium, through the gateway. What it looks like is in tests/artifacts/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Page, browsing
from tests.conftest import LabUnderTest

pytestmark = pytest.mark.browser

SHOWN = "return document.querySelectorAll('.opblock').length"
TOLD = "return document.querySelector('#told').textContent"
WIDER = "return document.documentElement.scrollWidth > document.documentElement.clientWidth"
LOADED = "return performance.getEntriesByType('resource').map(one => one.name)"
ROW = "document.querySelector('.live-responses-table tr.response"
STATUS = f"return {ROW} .response-col_status')?.innerText"
ANSWER = f"return {ROW} .response-col_description').innerText"
PAPER = "return getComputedStyle(document.body).backgroundColor"
OPERATION = "#operations-texts-summarize"


@pytest.fixture
def page(lab: LabUnderTest) -> Iterator[Page]:
    with browsing() as one:
        one.open(f"{lab.url}/docs")
        yield one


def sign_in(page: Page, token: str) -> None:
    page.type("#token", token)
    page.click("#sign-in button")


def test_whoever_signs_in_can_ask_the_lab_from_the_page(page: Page, lab: LabUnderTest) -> None:
    assert page.run(SHOWN) == 0, "nothing of the lab is shown to whoever has no token"
    sign_in(page, f"Bearer {lab.token('a-reader')}\n")
    assert page.wait(SHOWN) == 12
    page.screenshot("docs")
    page.click(f"{OPERATION} .opblock-summary-control")
    page.wait(f"return document.querySelector('{OPERATION} button.execute')")
    page.click(f"{OPERATION} button.execute")
    assert page.wait(STATUS).startswith("200")
    assert '"summary": "A long text."' in page.run(ANSWER)
    page.screenshot("docs-asked")
    assert page.problems() == []
    assert all(one.startswith((lab.url, "data:")) for one in page.run(LOADED))
    assert "a-reader" in lab.ok("logs", "gateway"), "by the name that the token has"


def test_a_token_that_is_refused_is_told_in_words(page: Page) -> None:
    for wrong in ("x.y.z", "ключ"):
        sign_in(page, wrong)
        page.wait("return document.querySelector('#told.refused')")
        page.run("document.querySelector('#sign-in').reset()")
    assert page.run(SHOWN) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_either_scheme(page: Page, lab: LabUnderTest, scheme: str) -> None:
    page.paint(scheme)
    page.resize(390)
    sign_in(page, lab.token())
    page.wait(SHOWN)
    page.click(f"{OPERATION} .opblock-summary-control")
    page.wait(f"return document.querySelector('{OPERATION} button.execute')")
    page.screenshot(f"docs-390-{scheme}")
    assert page.run(WIDER) is False
    red = int(page.run(PAPER).partition("(")[2].partition(",")[0])
    assert (red < 128) == (scheme == "dark")
