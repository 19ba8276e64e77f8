"""The notebook in a real browser, as a person opens and runs it. Run by: make test-browser"""

from __future__ import annotations

import pytest

from llmlab import Client
from tests.browser import chromium
from tests.conftest import LabUnderTest, free_port

pytestmark = pytest.mark.browser

NOTEBOOK = "text_summarization.ipynb"


def test_the_url_opens_jupyterlab_and_the_notebook_shows_its_summary(lab: LabUnderTest) -> None:
    url = lab.ok("notebook", "--no-browser", "--port", str(free_port())).strip()
    with Client(lab=lab.root) as client:
        summary = client.summarize((lab.root / "configs" / "texts" / "founding.txt").read_text())
    with chromium() as page:
        page.open(url)
        page.open_notebook(NOTEBOOK)
        assert page.outputs() == []
        page.run_all_cells()
        outputs = page.wait_for_output("█")  # the bars of the last cell that prints
        page.screenshot("notebook-local")
    assert outputs[0] == lab.url
    assert sum(summary.text in one for one in outputs) == 2  # by hand, and with the client
    assert "F5 is mentioned." in outputs[-2]
    assert not [one for one in outputs if "Traceback" in one]


def test_without_the_token_the_page_asks_for_it(lab: LabUnderTest) -> None:
    url = lab.ok("notebook", "--no-browser").strip()
    with chromium() as page:
        page.open(url.partition("?")[0])
        assert page.address.endswith("/login")
