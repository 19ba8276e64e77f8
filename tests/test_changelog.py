"""CHANGELOG.md has the form of https://keepachangelog.com/en/1.1.0/ and speaks of this version."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from llmlab import __version__

CHANGELOG = Path(__file__).parent.parent / "CHANGELOG.md"
VERSION = re.compile(r"(?m)^## \[(\d+\.\d+\.\d+)\] - (Unreleased|\d{4}-\d\d-\d\d)$")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def versions() -> list[tuple[str, str]]:
    """(version, when) as they stand in the file."""
    text = CHANGELOG.read_text()
    found = VERSION.findall(text)
    assert len(found) == len(re.findall(r"(?m)^## ", text)), "a heading of another form"
    return found


def test_the_newest_version_is_this_one() -> None:
    assert versions()[0][0] == __version__


def test_versions_go_from_the_newest_to_the_oldest_and_only_the_newest_is_unreleased() -> None:
    numbers = [tuple(map(int, version.split("."))) for version, _ in versions()]
    assert numbers == sorted(set(numbers), reverse=True)
    days = [when for _, when in versions() if when != "Unreleased"]
    assert days == sorted(days, key=date.fromisoformat, reverse=True)
    assert "Unreleased" not in [when for _, when in versions()[1:]]


def test_what_changed_is_of_the_kinds_that_there_are() -> None:
    kinds = re.findall(r"(?m)^### (.+)$", CHANGELOG.read_text())
    assert kinds
    assert set(kinds) <= KINDS
