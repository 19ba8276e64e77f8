from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import LabUnderTest, lay_out

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabUnderTest]:
    """One running lab for all of them."""
    one = lay_out(tmp_path_factory, gateway__rate_limit__enabled="false", routes__chat='"textrank"')
    try:
        one.ok("up")
        yield one
    finally:
        one.run("down")
