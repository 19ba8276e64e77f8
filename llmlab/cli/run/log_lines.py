"""Lines of the gateway's access log as a person reads them: one request a line, in columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmlab.cli.moments import here
from llmlab.cli.output import printable

if TYPE_CHECKING:
    from rich.text import Text

GATEWAY = "gateway"  # the name of its log
TIME, STATUS, TOOK = 12, 3, 8  # columns that never need more
# Of what is left, a subject, a request and a deployment have so many parts, and so many columns
# at least: `POST /summarize/` is to be read in whole on 80.
SHARES, LEAST = (3, 5, 3), (8, 16, 8)
GAPS = 2 * 5
PIPED = 120  # columns where there is no terminal: for grep, so nothing is cut to fit


@dataclass(frozen=True)
class Request:
    """Args:
    took: seconds; None where nothing is known.
    deployment: who was asked; "" for nobody.
    """

    time: str
    subject: str
    method: str
    path: str
    status: int
    took: float | None
    deployment: str


def request(line: str) -> Request | None:
    """What a line of the access log tells; None for any other line."""
    try:
        told: dict[str, Any] = json.loads(line)
        asked = told.get("upstream_status") not in ("", None)
        return Request(
            here(told["at"] if "at" in told else told["time"], fine=True)[11:],
            str(told.get("subject", "")), str(told["method"]), str(told["path"]),
            int(told["status"]), float(told["seconds"]) if "seconds" in told else None,
            str(told.get("deployment", "")) if asked else "",
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def shown(one: Request, width: int, *, whole: bool = False) -> Text:
    """Args:
    width: columns that there are.
    whole: nothing is cut, though a line gets longer than that.
    """
    from rich.text import Text

    subject, asked, deployment = widths(width)
    return Text("  ").join([
        Text(one.time.rjust(TIME), style="dim"),
        Text(_fit(one.subject or "-", subject, whole), style="" if one.subject else "dim"),
        Text(_fit(f"{one.method} {one.path}", asked, whole)),
        Text(str(one.status).rjust(STATUS), style=style(one.status)),
        Text(told_took(one.took).rjust(TOOK)),
        Text(_fit(one.deployment or "-", deployment, whole).rstrip(),
             style="" if one.deployment else "dim"),
    ])  # fmt: skip


def widths(width: int) -> tuple[int, int, int]:
    """Of a subject, a request and a deployment."""
    spare = max(0, width - TIME - STATUS - TOOK - GAPS - sum(LEAST))
    parts = [spare * share // sum(SHARES) for share in SHARES]
    first, second, third = (least + more for least, more in zip(LEAST, parts, strict=True))
    return first, second, third


def style(status: int) -> str:
    """Green for an answer, yellow for a request that was refused, red for a failure."""
    return "green" if status < 400 else "yellow" if status < 500 else "bold red"


def told_took(seconds: float | None) -> str:
    """``9 ms``, ``12.3 s``."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def _fit(text: str, width: int, whole: bool) -> str:
    """Cut or filled up to so many columns; of a long path, the end tells least."""
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    if cell_len(text) > width:
        if whole:
            return text
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width)
