"""The gateway's log as a person reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmlab.cli.run.log_lines import request, shown, told_took, widths
from llmlab.engines.follow import last_of, lines_of

ASKED = {
    "time": "2026-11-29T19:54:54+00:00", "at": 1795982094.096, "subject": "ada",
    "deployment": "twin", "method": "POST", "path": "/summarize/", "status": 200,
    "seconds": 0.0841, "upstream_status": "200",
}  # fmt: skip


def told(width: int, **values: Any) -> str:
    one = request(json.dumps(ASKED | values))
    assert one
    return str(shown(one, width))


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


@pytest.mark.parametrize(("wanted", "told"), [(1, 1), (50, 50), (2999, 2999), (100_000, 3000)])
def test_as_many_lines_of_a_log_as_are_wanted_are_read_and_each_is_whole(
    tmp_path: Path, wanted: int, told: int
) -> None:
    log = tmp_path / "gateway.log"
    whole = [json.dumps(ASKED | {"at": n, "subject": "a\u2028ümlaut"}, ensure_ascii=False)
             for n in range(3000)]  # fmt: skip
    log.write_text("".join(f"{one}\n" for one in whole))
    found = lines_of(tmp_path, follow=False, count=wanted, only="gateway")
    assert list(found) == [f"gateway | {one}" for one in whole[-told:]]


@pytest.mark.parametrize(
    ("text", "lines"),
    [("", []), ("one", ["one"]), ("one\n", ["one"]), ("one\n\ntwo", ["one", "", "two"])],
)
def test_a_short_log_is_read_as_it_is(tmp_path: Path, text: str, lines: list[str]) -> None:
    log = tmp_path / "api.log"
    log.write_text(text)
    assert last_of(log, 12) == lines
    assert last_of(log, 0) == []


def test_what_is_piped_is_not_cut() -> None:
    line = request(json.dumps(ASKED | {"subject": "3f2a9b1c-77aa-4d0e-9b1f-000000000000"}))
    assert line and line.subject in str(shown(line, 120, whole=True))
    assert line.subject not in str(shown(line, 80))


def test_a_request_is_one_line_of_who_what_and_how_it_ended() -> None:
    assert told(80).split() == [
        "19:54:54.096", "ada", "POST", "/summarize/", "200", "84", "ms", "twin",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"subject": "a-subject-whose-name-is-far-too-long-for-any-column-of-a-table-on-a-screen"},
        {"path": "/models/a-deployment-with-a-long-name/summarize/", "status": 404},
        {"subject": "灯台の守り人が夕暮れに灯をともした", "status": 500},
        {"subject": "", "deployment": "", "upstream_status": "", "status": 401},
    ],
)
def test_columns_stand_below_each_other_and_fit(width: int, values: dict[str, Any]) -> None:
    from rich.cells import cell_len

    line = told(width, **values)
    assert cell_len(line) <= width
    status = str(values.get("status", 200))
    before = line[: line.rindex(f"  {status}  ")]
    subject, asked, _ = widths(width)
    assert cell_len(before) == 12 + 2 + subject + 2 + asked


def test_a_request_that_nobody_was_asked_for_has_no_deployment() -> None:
    """The gateway knows where it would go before it looks at the token."""
    assert told(80, upstream_status="", status=401).endswith(" -")


def test_what_steers_a_terminal_is_shown() -> None:
    assert "\x1b" not in told(80, subject="\x1b[2Jmallory")


@pytest.mark.parametrize("line", ["", "no JSON", "[]", "3", '{"status": 200}', '{"at": "x"}'])
def test_any_other_line_is_none_of_a_request(line: str) -> None:
    assert request(line) is None


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0004, "0 ms"), (0.084, "84 ms"), (1.5, "1500 ms"), (12.34, "12.3 s")]
)
def test_how_long_it_took(seconds: float, said: str) -> None:
    assert told_took(seconds) == said
