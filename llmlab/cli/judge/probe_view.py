"""What a probe found, for people: what failed first, with what was sent and what came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmlab.cli.output import escaped, out
from llmlab.cli.table import print_table
from llmlab.proving.findings import Verdict

if TYPE_CHECKING:
    from llmlab.proving.findings import Check, Report, Result

MARKS = {
    Verdict.FAILED: "[bold red]✗[/]",
    Verdict.UNDECIDED: "[yellow]?[/]",
    Verdict.PASSED: "[green]✓[/]",
    Verdict.NOT_APPLICABLE: "[dim]–[/]",
}
SHOWN = 160  # characters of what was sent or came back
KNOWN = {
    "own": "the running lab",
    "apart": "a copy of this lab, which is gone again",
    "another": "another gateway",
}


def print_list(checks: Sequence[Check]) -> None:
    print_table(("check", "proves"), [(one.id, escaped(one.proves)) for one in checks])


def print_report(report: Report, *, every: bool) -> None:
    """
    Args:
        every: those that passed, or do not apply, as well.
    """
    console = out()
    for one in report.of(Verdict.FAILED):
        _print_failed(one)
    shown = [one for one in report.results if every or one.verdict is Verdict.UNDECIDED]
    shown = [one for one in shown if one.verdict is not Verdict.FAILED]
    if shown:
        print_table(
            ("", "check", "found"),
            [(MARKS[one.verdict], one.id, escaped(_said(one))) for one in shown],
        )
        console.print()
    _print_groups(report)
    console.print(f"\n{_sentence(report)}", highlight=False, soft_wrap=True)


def _print_failed(one: Result) -> None:
    console = out()
    console.print(
        f"{MARKS[one.verdict]} [bold]{one.id}[/]  {escaped(one.why)}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    lines = [("should hold", one.proves)]
    for seen in one.evidence[:2]:
        lines += [("sent", _short(seen.sent)), ("got", _short(seen.got))]
    lines.append(("Fix:", one.fix))
    if console.is_terminal:
        _print_hanging(lines)
    else:  # a line stays a line
        for name, text in lines:
            console.print(f"    {name:<11} {escaped(text)}", highlight=False, soft_wrap=True)
    console.print()


def _print_hanging(lines: Sequence[tuple[str, str]]) -> None:
    """Names, and beside them texts over as many lines as they take."""
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in lines:
        style = "green" if name == "Fix:" else "dim"
        grid.add_row(f"[{style}]{name}[/]", escaped(text))
    out().print(Padding(grid, (0, 0, 0, 4)), highlight=False)


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _said(one: Result) -> str:
    return one.why if one.verdict is Verdict.UNDECIDED else f"{one.proves} ({one.why})"


def _print_groups(report: Report) -> None:
    order = sorted({one.group for one in report.results})
    rows = []
    for group in order:
        found = Counter(one.verdict for one in report.results if one.group == group)
        rows.append((group, *(str(found[one] or "") for one in Verdict)))
    print_table(("group", *(one.value for one in Verdict)), rows)


def _sentence(report: Report) -> str:
    found = Counter(one.verdict for one in report.results)
    told = ", ".join(f"{found[one]} {one.value}" for one in Verdict if found[one])
    witness = "" if report.witness else "; no model told what reached the API"
    return (
        f"{report.target}, {KNOWN[report.known]}: {told}. {report.requests} requests in "
        f"{report.seconds:.0f} s{witness}."
    )
