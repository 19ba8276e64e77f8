"""What programs of a lab say in their logs."""

from __future__ import annotations

import json

import pytest

from llmlab.saying import say


def test_it_is_a_json_object_in_a_line_of_ascii_with_time_and_level(
    capsys: pytest.CaptureFixture[str],
) -> None:
    say({"message": "größer\nals 2", "fix": None})
    say({"message": "zu groß", "level": "warning"})
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isascii() for line in lines)
    first, second = map(json.loads, lines)
    assert first.pop("time").endswith("Z")
    assert first == {"level": "info", "message": "größer\nals 2"}
    assert second["level"] == "warning"
