"""A recording of a lab in containers, with a real Docker engine."""

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


def test_a_container_records_what_only_the_lab_can_read(contained: LabUnderTest) -> None:
    with contained.client() as client:

        def recorded() -> str | None:
            answer = client.post("/summarize/", json={"text": SENTENCE})
            assert answer.status_code == 200
            return answer.headers.get("X-Recorded")

        assert recorded() is None
        name = contained.json("record", "start", "--route", "summarize")["id"]
        wait_until(lambda: recorded() == name, "it is recorded")
        wait_until(lambda: contained.json("record", "list")[0]["requests"], "it is counted")
        contained.ok("record", "stop", name)
        wait_until(lambda: recorded() is None, "it has ended")
    kept = contained.json("record", "show", name)
    assert kept["records"][0]["request"] == {"text": SENTENCE}
    assert list(kept["answered_by"]) == ["textrank"]
    contained.ok("record", "remove", name)
    assert contained.json("record", "list") == []
