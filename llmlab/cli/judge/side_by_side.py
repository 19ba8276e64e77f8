"""Summaries beside each other on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from llmlab.cli.output import printable
from llmlab.compare.comparison import (
    SHOWN,
    Comparison,
    Failure,
    Mark,
    Result,
    Row,
    Stretch,
    means,
    shown,
)
from llmlab.evaluate.facts import Kind
from llmlab.evaluate.text import words

STYLES = {
    Mark.PLAIN: "",
    Mark.ALONE: "cyan",
    Mark.UNSUPPORTED: "bold red underline",
    Mark.KEPT: "green",
    Mark.MISSING: "yellow",
}
PAGE = 120  # columns where there is no terminal
NARROW = 34  # columns that a summary needs; below, they stand one under the other
MOST_NAMED = 12
NOTHING = shown("", None)


def print_row(console: Console, row: Row, *, named: bool) -> None:
    """One text: the summaries, then their measures."""
    if named:
        console.print(Rule(f"{printable(row.name)} ({len(words(row.text))} words)", align="left"))
    if not row.is_text:
        console.print(Text(printable(row.text), style="dim"))
    console.print(_summaries(row.results, console.width))
    console.print(_measures(row))
    for title, kind in (("names", Kind.NAME), ("numbers", Kind.NUMBER)):
        for one in row.results:
            if isinstance(one, Result) and (missing := one.missing(kind)):
                _print_missing(console, one.model, title, missing)
    console.print()


def print_means(console: Console, comparison: Comparison) -> None:
    """Over all texts."""
    table = _table("mean", [one.name for one in comparison.models])
    for metric in SHOWN:
        values = [comparison.mean(one.name, metric) for one in comparison.models]
        if any(value is not None for value in values):
            _add(table, metric, [shown(metric, value) for value in values])
    console.print(Rule(f"all {len(comparison.rows)} texts", align="left"))
    console.print(table)
    console.print("[dim]What is counted on words is a proxy: it shows where to look.[/]")


def _summaries(results: Sequence[Result | Failure], width: int) -> RenderableType:
    panels = [
        Panel(_summary(one), title=_model(one), title_align="left", border_style="dim")
        for one in results
    ]
    if width < NARROW * len(panels):
        return Group(*panels)
    grid = Table.grid(expand=True, padding=(0, 1))
    for _ in panels:
        grid.add_column(ratio=1)
    grid.add_row(*panels)
    return grid


def _model(one: Result | Failure) -> Text:
    return Text(one.model, style="bold")


def _summary(one: Result | Failure) -> Text:
    if isinstance(one, Failure):
        return Text(printable(one.error.message), style="red")
    return marked(one.marked) if one.answer.text else Text("(nothing)", style="red")


def marked(stretches: Sequence[Stretch]) -> Text:
    text = Text()
    for one in stretches:
        text.append(printable(one.text), style=STYLES[one.mark])
    return text


def _measures(row: Row) -> Table:
    table = _table("", [one.model for one in row.results])
    for metric in SHOWN:
        cells = [_cell(metric, one) for one in row.results]
        if any(cell != NOTHING for cell in cells):
            _add(table, metric, cells)
    return table


def _cell(metric: str, one: Result | Failure) -> str:
    if isinstance(one, Failure):
        return NOTHING
    value = one.measures.values.get(metric)
    if metric == "unsupported" and value:
        # With its place, so that it can be found in a long summary.
        found = [f"{name.text} (at {name.start})" for name in one.measures.details.unsupported]
        return f"[bold red]{_escaped(', '.join(found))}[/]"
    if metric in ("names_kept", "numbers_kept"):
        kind = Kind.NAME if metric == "names_kept" else Kind.NUMBER
        kept, missing = len(one.kept(kind)), len(one.missing(kind))
        return f"{kept} of {kept + missing}" if kept + missing else NOTHING
    return shown(metric, value)


def _add(table: Table, metric: str, cells: Sequence[str]) -> None:
    table.add_row(metric.replace("_", " "), *cells, f"[dim]{means(metric)}[/]")


def _table(first: str, models: Sequence[str]) -> Table:
    table = Table(first, box=None, header_style="bold", pad_edge=False)
    for model in models:
        table.add_column(_escaped(model), justify="right", overflow="fold")
    table.add_column("")
    return table


def _print_missing(console: Console, model: str, title: str, missing: Sequence[str]) -> None:
    named = ", ".join(missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    line = Text.assemble((f"{model} leaves out the {title} ", "dim"), (printable(named), "yellow"))
    console.print(line.append(more, style="dim"))


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(printable(text))
