"""What a judge has said, on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from llmlab.cli.judge.side_by_side import PAGE
from llmlab.cli.moments import here
from llmlab.cli.output import escaped, out, printable
from llmlab.judging.calibration import Calibration, Missed, Share
from llmlab.models.identity import is_hashed, short_id

if TYPE_CHECKING:
    from llmlab.judging.asking import Cost
    from llmlab.judging.calibration import JudgeShown
    from llmlab.judging.preference import Compared, JudgedPair

SHOWN = 3  # cases without a pair


def print_calibration(found: Calibration, why: list[str]) -> None:
    """The verdict and why, the figures, what was missed, what it took."""
    console = out(PAGE)
    _print_verdict(console, found.judge, found.key.model_id, why)
    _print_figures(console, found)
    for one in found.missed:
        console.print(_missed(one), highlight=False)
    console.print(_cost(found.cost), highlight=False)


def print_judge(document: JudgeShown) -> None:
    """Who judges, whether it may, and by which figures."""
    console, found = out(PAGE), document["calibration"]
    _print_verdict(console, document["judge"], document["model_id"], document["problems"])
    if found is not None:
        console.print(
            f"calibrated {here(found.when)} by {escaped(found.key.suite_name)}", highlight=False
        )
        _print_figures(console, found)


def print_preference(found: Compared) -> None:
    """The sentence, and the pairs of which the other one is preferred."""
    console = out(PAGE)
    if found.passed is not None:
        sign = Text("✓ pass", "bold green") if found.passed else Text("✗ fail", "bold red")
        console.print(sign, Text(f"win rate >= {found.at_least:g}"))
    console.print(Text(found.why), highlight=False)
    for id_, why in [*found.missing.items()][:SHOWN]:
        console.print(Text(f"{id_}: {printable(why)}", style="yellow"), highlight=False)
    if (more := len(found.missing) - SHOWN) > 0:
        console.print(Text(f"and {more} more", style="yellow"), highlight=False)
    for one in found.worst:
        _print_pair(console, one, found.a, found.b)
    by = found.judge
    console.print(
        f"[dim]Judged by {escaped(by.name)} ({short_id(by.model_id)}), calibrated "
        f"{here(by.calibrated)} by {escaped(by.suite)}.[/]",
        highlight=False,
    )
    if by.suite_digest != found.suite["digest"]:
        console.print(
            f"[yellow]It was not calibrated by {escaped(found.suite['name'])}: whether it can "
            "judge such answers was not tried.[/]",
            highlight=False,
        )
    _print_lacks(console, by.lacks)
    console.print(_cost(found.cost), highlight=False)


def _print_verdict(console: Console, judge: str, model_id: str, why: list[str]) -> None:
    sign = Text("✗ may not judge", "bold red") if why else Text("✓ may judge", "bold green")
    console.print(sign, Text(f"{judge} ({short_id(model_id)})"))
    for one in why:
        console.print(Text.assemble(("  ✗ ", "red"), printable(one)), highlight=False)
    if not is_hashed(model_id):
        console.print("[dim]A model elsewhere: its id is one of what is asked, and what answers "
                      "may change without it. Calibrate it again now and then.[/]")  # fmt: skip


def _print_figures(console: Console, found: Calibration) -> None:
    figures = found.figures
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for title in ("share", "95 %", "of"):
        table.add_column(title, justify="right")
    _add(table, "right", figures.agreement)
    for kind, share in figures.kinds.items():
        _add(table, f"  {kind}", share)
    bias = figures.position_bias
    table.add_row("position bias", f"{bias.value:+.2f}",
                  f"{bias.interval.low:+.2f} … {bias.interval.high:+.2f}",
                  f"first {bias.first}, second {bias.second} of {bias.n}")  # fmt: skip
    _add(table, "noise", figures.noise)
    _add(table, "contradicts itself", figures.contradictions)
    _add(table, "unreadable", figures.unreadable)
    if figures.refused.hits:
        _add(table, "refused", figures.refused)
    console.print(table)
    _print_lacks(console, figures.lacks)
    if not found.held:
        console.print("[dim]It takes no JSON schema: the form of its answers was only asked for in "
                      "words.[/]")  # fmt: skip


def _print_lacks(console: Console, kinds: tuple[str, ...]) -> None:
    if kinds:
        console.print(f"[yellow]No pair of its calibration was of these kinds: "
                      f"{', '.join(kinds)}.[/]", highlight=False)  # fmt: skip


def _add(table: Table, name: str, share: Share) -> None:
    value = "-" if share.value is None else f"{share.value:.2f}"
    interval = f"{share.interval.low:.2f} … {share.interval.high:.2f}"
    table.add_row(name, value, interval, f"{share.hits} of {share.n}")


def _missed(one: Missed) -> Text:
    said = f": {printable(one.why)}" if one.why else ""
    return Text.assemble(("missed ", "dim"), f"{one.id}, {one.kind}, {one.choice}{said}")


def _print_pair(console: Console, one: JudgedPair, a: str, b: str) -> None:
    console.print(Rule(f"{printable(one.id)}: {printable(b)} is better", align="left"))
    if one.why:
        console.print(Text(printable(one.why)), highlight=False)
    for name, answer in ((a, one.a), (b, one.b)):
        text = Text(printable(answer) or "(nothing)")
        console.print(Panel(text, title=escaped(name), title_align="left", border_style="dim"))


def _cost(cost: Cost) -> str:
    money = "" if cost.money is None else f", {cost.money:.4f} by its price"
    return (
        f"[dim]{cost.requests} questions, {cost.tokens_in:,} tokens read and {cost.tokens_out:,} "
        f"written in {cost.seconds:.1f} s{money}[/]"
    )
