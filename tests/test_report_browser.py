"""The reports of `llmlab compare`, `evaluate` and `rollout report` in a real browser, as a person
opens them. Run by: make test-browser"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llmlab.compare.page import page as page_of
from tests.browser import Page, browsing, on_a_phone
from tests.conftest import LabUnderTest
from tests.test_compare import GOOD, model, of

pytestmark = pytest.mark.browser

TEXTS = """
harbour The harbour master of Ravnsby, Ingrid Halvorsen, closed the port on 3 May 2019. A storm \
had torn 14 boats from their moorings during the night. Nobody was hurt. The ferry to Oslo was \
cancelled until the evening, and some 300 passengers waited in the hall of the old customs house.
mill The paper mill in Tambrook will close in March, its owner said on Monday. It has stood on \
the river since 1887. 212 people work there, and many of their parents did. The town council \
wants to buy the land. A museum is one of three plans, and the cheapest of them.
"""


@pytest.fixture(scope="module")
def report(lab: LabUnderTest) -> Path:
    folder = lab.root / "articles"
    folder.mkdir()
    for line in TEXTS.strip().splitlines():
        name, _, text = line.partition(" ")
        (folder / f"{name}.txt").write_text(text)
    lab.ok(
        "compare", "articles", "configs/texts/founding.txt", "--offline", "--model", "textrank",
        "--model", "lead-3", "--report", "report.html",
    )  # fmt: skip
    return lab.root / "report.html"


@pytest.fixture
def page(report: Path) -> Iterator[Page]:
    with browsing() as page:
        page.open(report.as_uri())
        yield page


def test_the_report_shows_all_texts_side_by_side_and_fits_the_window(page: Page) -> None:
    assert page.run("return document.title") == "textrank | lead-3"
    headings = page.run("return [...document.querySelectorAll('h2')].map(n => n.textContent)")
    assert [Path(one.split()[0]).name for one in headings] == [
        "harbour.txt", "mill.txt", "founding.txt", "Overall",
    ]  # fmt: skip
    assert page.run("return document.querySelectorAll('.card h3').length") == 6
    side = page.run(
        "return [...document.querySelector('.side').children].map(n => n.getBoundingClientRect())"
    )
    assert side[0]["top"] == side[1]["top"] and side[0]["right"] < side[1]["left"]
    assert _too_wide(page) == 0
    page.screenshot("report")


def test_the_report_asks_nothing_of_the_network_and_has_no_error(page: Page) -> None:
    assert page.run("return performance.getEntriesByType('resource').length") == 0
    assert page.problems() == []


def test_the_plots_have_their_labels_inside_the_window(page: Page) -> None:
    assert _outside(page) == 0
    overlapping = page.run(
        "let found = 0;"
        "for (const svg of document.querySelectorAll('svg')) {"
        "  const boxes = [...svg.querySelectorAll('text')].map(n => n.getBoundingClientRect());"
        "  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {"
        "    if (a.left < b.right && b.left < a.right && a.top < b.bottom - 1"
        "        && b.top < a.bottom - 1) found += 1; })); }"
        "return found"
    )
    assert overlapping == 0


def test_a_click_opens_the_text_with_what_was_kept_of_it(page: Page) -> None:
    assert page.run("return document.querySelector('.source').checkVisibility()") is False
    page.click("details:has(.source) summary")
    assert page.run("return document.querySelector('.source').checkVisibility()") is True
    marked = page.run("return getComputedStyle(document.querySelector('.kept')).backgroundColor")
    plain = page.run("return getComputedStyle(document.body).backgroundColor")
    assert marked != plain
    page.screenshot("report-source")


def test_on_a_telephone_the_summaries_stand_below_each_other(report: Path) -> None:
    with on_a_phone() as page:
        page.open(report.as_uri())
        assert _too_wide(page) == 0
        tops = page.run(
            "return [...document.querySelector('.side').children]"
            ".map(n => n.getBoundingClientRect().top)"
        )
        assert tops[0] < tops[1]
        page.screenshot("report-narrow")


def test_on_a_telephone_many_models_with_long_names_can_be_read(tmp_path: Path) -> None:
    names = ["textrank", "lead-3", "a-model-that-was-tuned-on-articles-about-harbours", "b", "c"]
    report = tmp_path / "report.html"
    report.write_text(page_of(of(*(model(name, a=GOOD) for name in names))))
    with on_a_phone() as page:
        page.open(report.as_uri())
        page.screenshot("report-many")
        assert _too_wide(page) == 0
        narrowest = page.run(
            "return Math.min(...[...document.querySelectorAll('td, p, h3')]"
            ".filter(n => n.checkVisibility() && n.textContent.trim().length > 40)"
            ".map(n => n.getBoundingClientRect().width))"
        )
        assert narrowest > 200
        heights = page.run(
            "return [...document.querySelectorAll('svg text')]"
            ".map(n => n.getBoundingClientRect().height)"
        )
        assert min(heights) > 9
        assert _outside(page) == 0


@pytest.fixture(scope="module")
def others(lab: LabUnderTest) -> dict[str, Path]:
    """An evaluation that fails its gate, and a canary that a person takes back."""
    lab.run("evaluate", "-s", "news", "-m", "textrank", "-b", "lead-3", "--offline",
            "--gate", "coverage>=0.95 length<=3x", "--report", "evaluation.html")  # fmt: skip
    lab.ok("deploy", "textrank", "--name", "next")
    lab.ok("rollout", "start", "canary", "next", "--steps", "50,100", "--interval", "1s",
           "--text-gate", "", "--why", "<i>a lesson</i>")  # fmt: skip
    told = ("rollout", "report", "1", "--html", "rollout.html")
    for number in range(40):
        with lab.client(f"caller-{number}") as client:
            client.post("/summarize/", json={"text": f"The lamp was lit at dusk. {number} saw."})
        if number > 9 and lab.json(*told)["moments"]:
            break
    lab.ok("rollout", "abort", "--why", "seen enough")
    lab.run("rollout", "status", "--timeout", "60s")
    lab.ok(*told)
    return {name: lab.root / f"{name}.html" for name in ("evaluation", "rollout")}


@pytest.mark.parametrize("name", ["evaluation", "rollout"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_says_what_was_decided_on_the_first_screen_and_fits_any(
    others: dict[str, Path], name: str, scheme: str
) -> None:
    for screen, width in ((browsing, 1280), (on_a_phone, 390)):
        with screen() as page:
            page.paint(scheme)
            page.open(others[name].as_uri())
            page.screenshot(f"{name}-{width}-{scheme}")
            assert _too_wide(page) == 0
            assert page.run(
                "return document.querySelector('.verdict .said').getBoundingClientRect().bottom"
            ) < (700 if width == 390 else 400)  # fmt: skip
            assert page.run("return performance.getEntriesByType('resource').length") == 0
            assert page.problems() == []
            assert page.run("return document.querySelectorAll('i, script').length") == page.run(
                "return document.querySelectorAll('.key i').length"
            )
            assert _outside(page) == 0
            heights = page.run(
                "return [...document.querySelectorAll('svg text')]"
                ".map(n => n.getBoundingClientRect().height)"
            )
            assert min(heights, default=10) > 9


def _too_wide(page: Page) -> int:
    """Pixels that one would have to scroll to the side."""
    return int(
        page.run(
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
    )


def _outside(page: Page) -> int:
    """Parts of plots that one cannot see."""
    return int(
        page.run(
            "return [...document.querySelectorAll('svg text, svg circle')].filter(n => {"
            "  const r = n.getBoundingClientRect();"
            "  return r.left < 0 || r.right > innerWidth || r.width === 0; }).length"
        )
    )
