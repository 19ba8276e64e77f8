"""A headless Chromium that uses a page, or JupyterLab, the way a person does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.wait import WebDriverWait

ARTIFACTS = Path(__file__).parent / "artifacts"
DEADLINE = 90.0  # seconds; JupyterLab is some 10 MB of JavaScript
OUTPUTS = "return [...document.querySelectorAll('.jp-OutputArea-output')].map(n => n.textContent)"


class Page:
    """A page in a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self._wait = WebDriverWait(driver, DEADLINE)

    def open(self, url: str) -> None:
        self._driver.get(url)

    def run(self, script: str) -> Any:
        """What a script returns that runs in the page."""
        return self._driver.execute_script(script)

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds."""
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, text: str) -> None:
        """Write into the first field that a CSS selector finds."""
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(text)

    def wait(self, script: str) -> Any:
        """What a script returns once that is something."""
        return self._wait.until(lambda _: self.run(script), script)

    def paint(self, scheme: str) -> None:
        """Have the browser prefer a colour scheme: light or dark."""
        preferred = [{"name": "prefers-color-scheme", "value": scheme}]
        self._driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})

    def resize(self, width: int) -> None:
        """As a screen of that width, which a window may be too wide for."""
        screen = {"width": width, "height": 3000, "deviceScaleFactor": 1, "mobile": False}
        self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)

    def problems(self) -> list[str]:
        """What the browser complains of: errors, and what a policy has blocked."""
        return [entry["message"] for entry in self._driver.get_log("browser")]

    def screenshot(self, name: str) -> Path:
        """Keep what the page looks like, its top first."""
        ARTIFACTS.mkdir(exist_ok=True)
        file = ARTIFACTS / f"{name}.png"
        self._driver.execute_script(
            "document.querySelector('.jp-WindowedPanel-outer')?.scrollTo(0, 0)"
        )
        assert self._driver.save_screenshot(str(file))
        return file

    @property
    def address(self) -> str:
        """Where the browser is, without what follows the path."""
        parts = urlsplit(self._driver.current_url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


class JupyterPage(Page):
    """JupyterLab in a browser."""

    def open_notebook(self, name: str) -> None:
        """Double-click on it in the file browser, and wait until its kernel is idle."""
        item = f"//li[contains(@class, 'jp-DirListing-item')][.//*[text()='{name}']]"
        ActionChains(self._driver).double_click(self._clickable(item)).perform()
        # Of a cell that is run before, JupyterLab may lose the request.
        self._clickable("//*[@id='jp-main-statusbar']//*[contains(text(), '| Idle')]")

    def run_all_cells(self) -> None:
        """Run > Run All Cells."""
        self._clickable("//li[contains(@class, 'lm-MenuBar-item')][.//*[text()='Run']]").click()
        self._clickable("//li[@data-command='runmenu:run-all']").click()

    def wait_for_output(self, text: str) -> list[str]:
        """Wait until a cell's output holds a text; gives the outputs of all cells."""
        self._wait.until(lambda _: any(text in one for one in self.outputs()), text)
        return self.outputs()

    def outputs(self) -> list[str]:
        """What the cells show below them, with single spaces between the words."""
        return [" ".join(one.split()) for one in self._driver.execute_script(OUTPUTS)]

    def _clickable(self, path: str) -> WebElement:
        return self._wait.until(expected_conditions.element_to_be_clickable((By.XPATH, path)), path)


@contextmanager
def chromium() -> Iterator[JupyterPage]:
    """A browser that is to open JupyterLab."""
    with _driver(1300) as driver, _looked_at(JupyterPage(driver)) as page:
        assert isinstance(page, JupyterPage)
        yield page


@contextmanager
def browsing(width: int = 1300) -> Iterator[Page]:
    """A browser that is to open any page."""
    with _driver(width) as driver, _looked_at(Page(driver)) as page:
        yield page


@contextmanager
def on_a_phone() -> Iterator[Page]:
    """A browser of a phone: 390 pixels, which no window on a desk is as narrow as."""
    phone = {"deviceMetrics": {"width": 390, "height": 844, "pixelRatio": 1}}
    with _driver(390, mobileEmulation=phone) as driver, _looked_at(Page(driver)) as page:
        yield page


@contextmanager
def _looked_at(page: Page) -> Iterator[Page]:
    """If anything goes wrong, a picture says what was to be seen."""
    try:
        yield page
    except BaseException:
        page.screenshot("failed")
        raise


@contextmanager
def _driver(width: int, *logs: str, **emulated: Any) -> Iterator[webdriver.Chrome]:
    """Debian's Chromium, with the driver that is built from the same sources.

    Args:
        logs: what is kept beside what a page says in its console: "performance".
    """
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert browser and driver, "apt-get install chromium chromium-driver"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", dict.fromkeys(("browser", *logs), "ALL"))
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    for argument in ("--headless=new", "--disable-dev-shm-usage", f"--window-size={width},3000",
                     "--no-proxy-server", *sandbox):  # fmt: skip
        options.add_argument(argument)
    for name, value in emulated.items():
        options.add_experimental_option(name, value)
    # Both are named, so that Selenium looks for neither in the network.
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield started
    finally:
        started.quit()
