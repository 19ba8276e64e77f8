"""The engines that a lab on one machine has: a fixture for tests that take long. What every engine
does, the engine ray as well, is in test_engines."""

from __future__ import annotations

import pytest


@pytest.fixture(
    scope="module", params=["local", pytest.param("compose", marks=pytest.mark.containers)]
)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)
