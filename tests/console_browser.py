"""A headless Chromium that looks at the console: what a page weighs, whom it asks, what its policy
and axe-core say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from tests import browser
from tests.browser import Page

AXE = Path(__file__).parent / "axe" / "axe.min.js"
# https://www.deque.com/axe/core-documentation/api-documentation/#axecore-tags
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
ASKED = """
const [rules, done] = arguments;
axe.run(document, {runOnly: {type: 'tag', values: rules}, resultTypes: ['violations']})
    .then(found => done({passes: found.passes.length, violations: found.violations}),
          error => done({error: String(error)}));
"""
# Told by a page itself, from its first moment on.
WATCHING = """
window.blocked = [];
document.addEventListener('securitypolicyviolation', event => window.blocked.push(
    `${event.effectiveDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""
POSTED = """
const [address, fields, done] = arguments;
fetch(address, {method: 'POST', body: new URLSearchParams(fields), redirect: 'manual'})
    .then(answer => done(answer.status), error => done(-1));
"""
RAGGED = """
const wide = cells => [...cells].filter(one => one.checkVisibility())
    .reduce((sum, one) => sum + one.colSpan, 0);
return [...document.querySelectorAll('table')].flatMap(table => {
    const row = table.tHead && table.tHead.rows[0];
    return !row ? [] : [...table.tBodies].flatMap(body => [...body.rows])
        .filter(one => one.checkVisibility() && wide(one.cells) !== wide(row.cells))
        .map(one => `${row.innerText} | ${one.innerText}`);
});
"""
IS_SETTLED = "return document.readyState === 'complete'"


@dataclass(frozen=True)
class Visit:
    """What one page has cost and asked for.

    Args:
        weight: bytes over the wire, with an empty cache, of the page and all that it loads.
        interactive: seconds until its document could be used.
        hosts: whom it has asked.
        blocked: what its policy has kept it from.
    """

    weight: int
    interactive: float
    hosts: frozenset[str]
    blocked: tuple[str, ...]


class ConsolePage(Page):
    """A page of the console in a browser."""

    def begin(self) -> None:
        self._driver.execute_cdp_cmd("Network.enable", {})
        self._driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        self._driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
        self.before_each(WATCHING)

    def before_each(self, script: str) -> None:
        """Run it in each page that is opened from now on, before anything of its own."""
        self._driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})

    def let_in(self, url: str, token: str) -> None:
        """As somebody who has signed in by this token; "" for nobody.

        Args:
            url: of a lab, on a port of its own.
        """
        self._driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        if token:
            cookie = {"url": f"{url}/console/", "path": "/console/", "httpOnly": True,
                      "name": f"llmlab_console_{urlsplit(url).port}", "value": token,
                      "sameSite": "Strict"}  # fmt: skip
            assert self._driver.execute_cdp_cmd("Network.setCookie", cookie)["success"]

    def visit(self, url: str) -> Visit:
        """Open it, as somebody who comes for the first time."""
        self._driver.get_log("performance")
        self.open(url)
        self.wait(IS_SETTLED)
        weight, hosts = _traffic(self._driver.get_log("performance"))
        timing = "const [at] = performance.getEntriesByType('navigation'); return at."
        return Visit(
            weight, self.run(f"{timing}domInteractive") / 1000, hosts,
            tuple(self.run("return window.blocked")),
        )  # fmt: skip

    def blocked(self) -> list[str]:
        """What the policy of the page that is open has kept it from, by now."""
        return list(self.run("return window.blocked"))

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page as it is shown."""
        if not self.run("return 'axe' in window"):
            self._driver.execute_script(axe())
        found = self._driver.execute_async_script(ASKED, RULES)
        assert found.get("passes"), f"axe-core has judged nothing: {found}"
        return [_told(one) for one in found["violations"]]

    def shown(self) -> str:
        """The text of the page, as one sees it."""
        return str(self.run("return document.body.innerText"))

    def wait_for(self, text: str) -> None:
        """Until the page shows a text."""
        self.wait(f"return document.body.innerText.includes({json.dumps(text)})")

    def too_wide(self) -> int:
        """Pixels that one would have to scroll to the side."""
        root = "document.documentElement"
        return int(self.run(f"return {root}.scrollWidth - {root}.clientWidth"))

    def ragged(self) -> list[str]:
        """Rows of tables that show more or fewer cells than their table has headings: below a
        heading would stand what is another's."""
        return list(self.run(RAGGED))

    def print_out(self, scheme: str) -> None:
        """Have it look as on paper, of somebody whose screen is light or dark."""
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        media = {"media": "print", "features": preferred}
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def picture(self, name: str, width: int) -> Path:
        """Keep what the whole page looks like on a screen of that width."""
        self.resize(width)
        tall = min(int(self.run("return document.documentElement.scrollHeight")), 6000)
        screen = {"width": width, "height": tall, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        (browser.ARTIFACTS / name).parent.mkdir(parents=True, exist_ok=True)
        return self.screenshot(name)

    def resize(self, width: int) -> None:
        """As a screen of that width, of the height of a laptop's."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def fill(self, selector: str, text: str) -> None:
        """Write into a field, in the place of what stands there."""
        self.wait(f"return document.querySelector({json.dumps(selector)})").clear()
        self.type(selector, text)

    def choose(self, selector: str, words: str) -> None:
        """Choose what begins with these words in a list."""
        field = f"document.querySelector({json.dumps(selector)})"
        at = self.wait(f"return {field}") and self.run(
            f"return [...{field}.options].findIndex(one => "
            f"one.text.trim().startsWith({json.dumps(words)}))"
        )
        assert at >= 0, f"{words!r} is not one of {self.run(f'return {field}.innerText')}"
        Select(self._driver.find_element(By.CSS_SELECTOR, selector)).select_by_index(at)

    def press(self, words: str, within: str = "main") -> None:
        """Press the button, or follow the link, that begins with these words. What is kept up to
        date may be another element by the time it is pressed: then it is looked for again."""
        script = (
            f"return [...document.querySelectorAll({json.dumps(within)})].flatMap(one => "
            "[...one.querySelectorAll('button, a, summary')]).find(one => "
            f"one.innerText.trim().startsWith({json.dumps(words)}) && one.checkVisibility())"
        )
        for _ in range(5):
            found = self.wait(script)
            try:
                self._driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
                found.click()
            except StaleElementReferenceException:
                continue
            return
        raise AssertionError(f"{words!r} is never the same")

    def count(self, selector: str) -> int:
        """How many elements there are of a kind."""
        return int(self.run(f"return document.querySelectorAll({json.dumps(selector)}).length"))

    def post(self, address: str, **fields: str) -> int:
        """The status of a form that a script of the page sends, whatever the page offers."""
        self._driver.set_script_timeout(browser.DEADLINE)
        return int(self._driver.execute_async_script(POSTED, address, fields))


@contextmanager
def console_browser(width: int = 1440) -> Iterator[ConsolePage]:
    """A browser that is to open the console."""
    with (
        browser._driver(width, "performance") as driver,
        browser._looked_at(ConsolePage(driver)) as page,
    ):
        assert isinstance(page, ConsolePage)
        driver.set_script_timeout(browser.DEADLINE)
        page.begin()
        yield page


@cache
def axe() -> str:
    return AXE.read_text(encoding="utf-8")


def _traffic(log: list[dict[str, Any]]) -> tuple[int, frozenset[str]]:
    """Bytes received, and the hosts that were asked."""
    weight, hosts = 0, set()
    for entry in log:
        said = json.loads(entry["message"])["message"]
        match said["method"], said["params"]:
            case "Network.requestWillBeSent", {"request": {"url": url}}:
                if urlsplit(url).scheme not in ("data", "blob"):
                    hosts.add(urlsplit(url).netloc)
            case "Network.loadingFinished", {"encodedDataLength": size}:
                weight += int(size)
    return weight, frozenset(hosts)


def _told(violation: dict[str, Any]) -> str:
    nodes = [
        f"{' '.join(map(str, one['target']))}: {one['html'][:120]} ({one['failureSummary']})"
        for one in violation["nodes"][:3]
    ]
    return "\n  ".join([f"{violation['id']}: {violation['help']}", *nodes])
