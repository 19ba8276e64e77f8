"""Every page of the console in a real browser: what axe-core says of it in both themes, on a phone
and on a desk; whether its policy holds; what it weighs, and whom it asks.

Pictures of them are kept in artifacts/console/, and what they cost in pages.json there. Run by:
make test-browser
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import httpx2
import pytest

from llmlab.console import menu
from llmlab.console.live import PARTS_OF_ONE
from llmlab.scopes import OPERATOR, VIEWER
from tests import browser
from tests.conftest import LabUnderTest, wait_until
from tests.console_browser import ConsolePage, Visit, console_browser
from tests.console_walk import walked

pytestmark = pytest.mark.browser

PATHS = [page.path for page in menu.PAGES]
SCHEMES = ("light", "dark")
SCREENS = (390, 1440)  # pixels, which axe-core judges ...
BETWEEN = 800  # a tablet's, where much is laid out otherwise
SCROLLED = """
return [...document.querySelectorAll('table.stacked')].map(one => one.parentElement)
    .filter(one => one.scrollWidth > one.clientWidth).length;
"""
PICTURES = (390, 1024, 1920)  # ... and which people look at
HEAVIEST = 150_000  # bytes of a page with all that it loads
# What only a form leads to.
ASKED_FOR = {
    "flags/explain": "flag=short&sub=ada",
    "rollout/start": "kind=canary&route=summarize&model=again",
    "rollout/pairs": "number=1",
    "requests": "model=textrank",
}
ARTICLE = "The lamp was lit at dusk by Ingrid Halvorsen. {} boats came in. The hall stood empty."
MORE = """
[models.second]
runtime = "extractive"
source = "embedded:textrank"

[[budgets]]
tokens_per_minute = 100000
requests_per_day = 5000
"""


@pytest.fixture(scope="module")
def page() -> Iterator[ConsolePage]:
    with console_browser() as page:
        yield page


def until_there(lab: LabUnderTest) -> None:
    """`up` waits for models and the gateway, and for no console: that comes a second later."""
    address = f"{lab.url}/console/sign-in"
    wait_until(lambda: httpx2.get(address, trust_env=False).status_code == 200)


@pytest.fixture(scope="module")
def empty(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that nobody has asked anything yet."""
    one = make_lab(console__enabled='"auto"')
    one.ok("up")
    until_there(one)
    return one


@pytest.fixture(scope="module")
def lived(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab with a past, and a canary under way."""
    lab = make_lab(gateway__rate_limit__enabled="false", console__enabled='"auto"')
    with (lab.root / "configs" / "lab.toml").open("a") as config:
        config.write(MORE)
    lab.ok("up")
    until_there(lab)
    lab.ok("deploy", "second", "--name", "next")
    lab.ok("deploy", "textrank", "--name", "again")
    lab.ok("flag", "set", "short", "--percent", "30", "--max-length", "20",
           "--for", "sub=<b>caller-1</b>", "--why", "<i>shorter</i> for some & others")  # fmt: skip
    lab.ok("flag", "set", "next", "--off", "--deployment", "next", "--why", "not yet")
    lab.run("evaluate", "-s", "founding", "-m", "textrank", "-b", "lead-3", "--offline")
    canary = ("--steps", "50,100", "--interval", "10m", "--text-gate", "")
    lab.ok("drill", "worse-text", "--deployment", "again")
    lab.ok("rollout", "start", "canary", "again", *canary, "--pairs", "1",
           "--why", "<i>a lesson</i>")  # fmt: skip
    wait_until(lambda: has_pair(lab), 120)
    lab.run("rollout", "abort", "--why", "seen enough & <more>")  # or the gate has done it
    lab.run("rollout", "status", "--timeout", "60s")
    lab.ok("rollout", "start", "canary", "next", *canary, "--why", "shorter texts are wanted")
    asked(lab, 40)
    return lab


def has_pair(lab: LabUnderTest) -> bool:
    """Whether there is a pair to be shown, having asked for some."""
    asked(lab, 10)
    return bool(lab.json("rollout", "pairs", "1")["worst"])


def asked(lab: LabUnderTest, times: int) -> None:
    for number in range(times):
        with lab.client(f"caller-{number % 7}") as client:
            client.post("/summarize/", json={"text": ARTICLE.format(number)})
    with lab.client("<b>caller</b>") as client:
        assert client.post("/summarize/", json={"text": 7}).status_code == 422
        assert client.get("/models/nowhere/").status_code == 404


@pytest.fixture(scope="module")
def addresses(lived: LabUnderTest) -> dict[str, list[str]]:
    found = walked(asking(lived), list(menu.PAGES))
    for path in ASKED_FOR.keys() & found.keys():
        address = f"/console/{path}?{ASKED_FOR[path]}"
        found[path] = [one for one in found[path] if "?" not in one] + [address]
    return found


def token(lab: LabUnderTest, scope: str) -> str:
    return lab.token("ada", extra={"scope": f"llmlab:{scope}"})


def asking(lab: LabUnderTest, scope: str = OPERATOR) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token(lab, scope)}"}
    return httpx2.Client(base_url=lab.url, headers=headers, timeout=60, trust_env=False)


@pytest.fixture(scope="module")
def costs() -> Iterator[dict[str, Visit]]:
    """What pages have cost, which is kept."""
    found: dict[str, Visit] = {}
    yield found
    told = {name: asdict(one) | {"hosts": sorted(one.hosts)} for name, one in found.items()}
    folder = browser.ARTIFACTS / "console"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pages.json").write_text(json.dumps(told, indent=1) + "\n")


def judged(
    page: ConsolePage, address: str, name: str, pictures: tuple[int, ...] = PICTURES
) -> None:
    """That nothing is wrong with the page that is open, in any theme, on any screen."""
    wrong = []
    for scheme in SCHEMES:
        page.paint(scheme)
        for width in SCREENS:
            page.resize(width)
            wrong += [f"{scheme}, {width}: {one}" for one in page.violations()]
            if too_wide := page.too_wide():
                wrong.append(f"{scheme}, {width}: {too_wide} pixels too wide")
            if width == min(SCREENS) and (scrolled := page.run(SCROLLED)):
                wrong.append(f"{scheme}, {width}: {scrolled} lists have to be scrolled")
        page.resize(BETWEEN)
        wrong += [f"{scheme}, {BETWEEN}, ragged: {one}" for one in page.ragged()]
        if too_wide := page.too_wide():
            wrong.append(f"{scheme}, {BETWEEN}: {too_wide} pixels too wide")
        for width in pictures:
            page.picture(f"console/{name}-{scheme}-{width}", width)
    assert not wrong, f"{address}\n" + "\n".join(wrong)


def named(address: str) -> str:
    path, _, query = address.removeprefix("/console/").partition("?")
    return path.replace("/", "-") + ("-of" if query else "")


@pytest.mark.parametrize("path", PATHS)
def test_a_page_can_be_used_by_all_is_light_and_asks_nobody_else(
    path: str, lived: LabUnderTest, addresses: dict[str, list[str]], page: ConsolePage,
    costs: dict[str, Visit],
) -> None:  # fmt: skip
    assert addresses[path], f"no page leads to {path}"
    page.let_in(lived.url, token(lived, OPERATOR))
    for address in addresses[path]:
        page.resize(1440)
        visit = costs[named(address)] = page.visit(lived.url + address)
        assert page.run("return document.querySelectorAll('h1').length") == 1
        judged(page, address, named(address), PICTURES if address == addresses[path][0] else ())
        assert visit.weight < HEAVIEST
        assert visit.hosts == {f"127.0.0.1:{lived.port}"}
        assert page.blocked() == [] and page.problems() == []


@pytest.mark.parametrize("path", [page.path for page in menu.PAGES if page.name])
def test_where_nothing_is_yet_a_page_says_what_to_do(
    path: str, empty: LabUnderTest, page: ConsolePage
) -> None:
    page.let_in(empty.url, token(empty, VIEWER))
    page.visit(f"{empty.url}/console/{path}")
    judged(page, path, f"empty-{path.replace('/', '-')}", (1024,))
    assert page.blocked() == [] and page.problems() == []


# Before its first script: a page that is in the background, and what it opens.
BACKGROUND = """
window.isHidden = true;
window.opened = [];
Object.defineProperty(document, 'hidden', {get: () => window.isHidden});
const Real = window.EventSource;
window.EventSource = function (address) {
    const one = new Real(address);
    window.opened.push(one);
    return one;
};
window.turn = isHidden => {
    window.isHidden = isHidden;
    document.dispatchEvent(new Event('visibilitychange'));
};
window.streams = () => window.opened.filter(one => one.readyState !== Real.CLOSED).length;
"""


def test_a_page_has_one_stream_while_it_is_seen_and_none_in_the_background(
    empty: LabUnderTest,
) -> None:
    with console_browser() as page:
        page.before_each(BACKGROUND)
        page.let_in(empty.url, token(empty, VIEWER))
        page.visit(f"{empty.url}/console/overview")
        streams = [page.run("return window.streams()")]
        for is_hidden in (False, False, True, False):
            page.run(f"window.turn({str(is_hidden).lower()})")
            streams.append(page.run("return window.streams()"))
    assert streams == [0, 1, 1, 0, 1]


def test_a_page_for_which_there_is_no_room_says_so_and_what_to_do(
    empty: LabUnderTest, page: ConsolePage
) -> None:
    mine = token(empty, VIEWER)
    address = f"{empty.url}/console/rollout/live?number="
    with ExitStack() as open_, httpx2.Client(trust_env=False, timeout=30) as client:
        for number in range(PARTS_OF_ONE):
            asked = client.stream("GET", f"{address}{number}",
                                  headers={"Authorization": f"Bearer {mine}"})  # fmt: skip
            assert open_.enter_context(asked).status_code == 200
        page.let_in(empty.url, mine)
        page.visit(f"{empty.url}/console/overview")
        said = "return document.getElementById('stream').innerText"
        page.wait(f"{said}.includes('close some of them')")
        assert page.run(said).startswith("This page is not kept up to date: ")
    page.wait(f"{said} === ''")
    page.problems()


def test_on_a_phone_the_menu_shows_the_page_that_one_is_on(
    empty: LabUnderTest, page: ConsolePage
) -> None:
    page.let_in(empty.url, token(empty, VIEWER))
    page.resize(390)
    for path in ("overview", "ledger"):
        page.visit(f"{empty.url}/console/{path}")
        left, right = page.run(
            "const at = document.querySelector('nav [aria-current]').getBoundingClientRect();"
            "return [at.left, at.right]"
        )
        assert left >= 0 and right <= 390, path
        assert page.too_wide() == 0


def test_on_paper_a_page_is_light_and_without_what_one_presses(
    empty: LabUnderTest, page: ConsolePage
) -> None:
    page.let_in(empty.url, token(empty, VIEWER))
    page.visit(f"{empty.url}/console/requests")
    ink = "return getComputedStyle(document.body).color"
    pressed = (
        "return [...document.querySelectorAll('nav, form, a.button, button')]"
        ".filter(one => one.checkVisibility()).length"
    )
    page.paint("light")
    light = page.run(ink)
    page.paint("dark")
    assert page.run(ink) != light and page.run(pressed)
    page.print_out("dark")
    try:
        assert page.run(ink) == light and page.run(pressed) == 0
    finally:
        page.paint("light")


BAD = "<script>document.title = 'evil'</script>"


@pytest.mark.parametrize(
    ("what", "address", "scope", "status"),
    [("signed-out", "overview", None, 401), ("sign-in", "sign-in", None, 200),
     ("no-scope", "overview", "summarize", 403), ("unknown", f"nowhere/{BAD}", VIEWER, 404),
     ("unknown-code", "enter?code=unknown", None, 403)],
)  # fmt: skip
def test_who_is_not_let_in_or_is_lost_is_told_so(
    what: str, address: str, scope: str | None, status: int, empty: LabUnderTest,
    page: ConsolePage,
) -> None:  # fmt: skip
    page.let_in(empty.url, token(empty, scope) if scope else "")
    visit = page.visit(f"{empty.url}/console/{address}")
    timing = "return performance.getEntriesByType('navigation')[0].responseStatus"
    assert page.run(timing) == status
    assert page.run("return document.title") != "evil"
    judged(page, address, what, (390, 1024))
    assert visit.blocked == () and visit.hosts == {f"127.0.0.1:{empty.port}"}


def test_axe_and_the_policy_see_what_is_wrong(page: ConsolePage, empty: LabUnderTest) -> None:
    """Or nothing above would say anything."""
    page.let_in(empty.url, "")
    page.visit(f"{empty.url}/console/sign-in")
    page.run(
        "document.querySelector('main').insertAdjacentHTML('beforeend',"
        '\'<img src="/console/static/icon.svg"><input><p style="color: #ddd">pale</p>\')'
    )
    found = "\n".join(page.violations())
    assert "image-alt" in found and "label" in found
    assert any("style-src" in one for one in page.blocked())
    page.problems()


def test_the_judge_of_pages_is_the_published_one() -> None:
    from hashlib import sha256

    folder = Path(__file__).parent / "axe"
    said = (folder / "README.md").read_text().split()
    assert sha256((folder / "axe.min.js").read_bytes()).hexdigest() in said
