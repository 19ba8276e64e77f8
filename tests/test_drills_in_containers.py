"""Fault drills of a lab in containers, with a real Docker engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llmlab.engines.compose.images import BuiltImages
from tests.api import SENTENCE, wait_until
from tests.conftest import LabUnderTest

pytestmark = pytest.mark.containers


@pytest.fixture(scope="module")
def contained(make_lab: Callable[..., LabUnderTest], images: BuiltImages) -> LabUnderTest:
    """A lab that runs in containers, without a rate limit."""
    lab = make_lab(gateway__rate_limit__enabled="false")
    lab.lab.make_state()
    images.write(lab.lab)
    lab.ok("up", "--engine", "compose")
    return lab


def test_a_container_is_drilled_and_behaves_again(contained: LabUnderTest) -> None:
    with contained.client() as client:

        def status() -> int:
            return client.post("/summarize/", json={"text": SENTENCE}).status_code

        assert status() == 200
        contained.ok("drill", "errors", "-d", "textrank")
        wait_until(lambda: status() == 500, "it answers with errors", 3)
        assert "drill: textrank: errors for all texts" in contained.run("status").stdout
        contained.ok("drill", "off", "-d", "textrank")
        wait_until(lambda: status() == 200, "it behaves again", 3)


def test_a_container_that_crashes_is_started_again(contained: LabUnderTest) -> None:
    contained.ok("drill", "crash", "-d", "textrank")
    with contained.client() as client:

        def status() -> int:
            return client.post("/summarize/", json={"text": SENTENCE}).status_code

        wait_until(lambda: status() in (502, 503, 504), "it has crashed", 5)
        contained.ok("drill", "off", "-d", "textrank")
        wait_until(lambda: status() == 200, "it answers again", 60)
