"""An evaluation on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from llmlab.cli.judge.side_by_side import PAGE
from llmlab.cli.output import out, printable
from llmlab.evaluate.comparison import Comparison, Level
from llmlab.evaluate.evaluation import Evaluation
from llmlab.evaluate.measures import METRICS, Better
from llmlab.evaluate.verdict import Outcome, Verdict
from llmlab.models.identity import short_id

SIGNS = {
    Outcome.PASS: ("green", "✓ pass"),
    Outcome.FAIL: ("red", "✗ fail"),
    Outcome.INCONCLUSIVE: ("yellow", "? inconclusive"),
}
SHARE_OF = 0.05  # p values from which a difference is called clear


def print_evaluation(evaluation: Evaluation) -> None:
    """The verdict and why, the scores, the differences, the worst texts."""
    console = out(PAGE)
    suite = evaluation.suite
    console.print(
        f"[bold]{escape(suite.name)}[/], {len(suite.cases)} texts, "
        f"suite {suite.digest.removeprefix('sha256:')[:12]}, seed {evaluation.seed}",
        highlight=False,
    )
    if evaluation.verdict:
        _print_verdict(console, evaluation.verdict)
    console.print(_levels(evaluation))
    console.print("[dim]Means, with the 95 % interval of the judged model. ↑ better when higher, ↓ "
                  "when lower. Measures on words are proxies.[/]")  # fmt: skip
    if evaluation.comparisons and evaluation.baseline:
        title = f"{evaluation.model.name} against {evaluation.baseline.name}"
        console.print(Rule(escape(title), align="left"))
        console.print(_differences(evaluation))
        _print_regressions(console, evaluation)


def _print_verdict(console: Console, verdict: Verdict) -> None:
    colour, sign = SIGNS[verdict.outcome]
    console.print(Text(sign, style=f"bold {colour}"), Text(verdict.gate))
    for finding in verdict.findings:
        colour, sign = SIGNS[finding.outcome]
        console.print(Text.assemble((f"  {sign[0]} ", colour), finding.reason), highlight=False)
    console.print()


def _levels(evaluation: Evaluation) -> Table:
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for one in evaluation.judged:
        name = escape(printable(one.name))
        of = f" [dim]{short_id(one.model_id)}[/]" if one.model_id else ""
        table.add_column(f"{name}{of}", justify="right")
        if one is evaluation.model:
            table.add_column("95 %", justify="right", style="dim")
    for place, metric in enumerate(METRICS.values()):
        levels = [one.levels[place] for one in evaluation.judged]
        if not any(one.n for one in levels):
            continue
        cells = [_number(one.value) for one in levels]
        cells.insert(1, _interval(levels[0]))
        arrow = {Better.HIGHER: "↑", Better.LOWER: "↓", Better.NEITHER: " "}[metric.better]
        table.add_row(f"{metric.name} [dim]{arrow}[/]", *cells)
    return table


def _interval(level: Level) -> str:
    found = level.interval
    return f"{_number(found.low)} … {_number(found.high)}" if found else ""


def _differences(evaluation: Evaluation) -> Table:
    table = Table("", box=None, header_style="bold", pad_edge=False)
    for title in ("difference", "95 %", "p (Holm)", "effect", "wins", "ties", "losses"):
        table.add_column(title, justify="right")
    for one in evaluation.comparisons:
        effect = "" if one.effect is None else f"{one.effect:+.2f}"
        counts = ["" if count is None else str(count) for count in (one.wins, one.ties, one.losses)]
        colour = _colour(one)
        table.add_row(
            one.metric, Text(f"{one.difference:+.4f}", style=colour),
            f"{one.interval.low:+.4f} … {one.interval.high:+.4f}", f"{one.p_holm:.4f}",
            effect, *counts,
        )  # fmt: skip
    return table


def _colour(one: Comparison) -> str:
    """Only what is clear after the correction for several metrics has a colour."""
    better = METRICS[one.metric].better
    if one.p_holm > SHARE_OF or better is Better.NEITHER or not one.difference:
        return ""
    return "green" if (one.difference > 0) == (better is Better.HIGHER) else "red"


def _print_regressions(console: Console, evaluation: Evaluation) -> None:
    worst, baseline = evaluation.regressions, evaluation.baseline
    if worst is None or baseline is None or not worst.found:
        return
    console.print(Rule(f"worst by {worst.metric}", align="left"))
    for one in worst.found:
        console.print(
            f"[bold]{escape(one.id)}[/]: {one.candidate:.3f} after {one.baseline:.3f}",
            highlight=False,
        )
        for judged in (baseline, evaluation.model):
            text = Text(printable(judged.summary(one.id)) or "(nothing)")
            console.print(Panel(text, title=escape(judged.name), title_align="left",
                                border_style="dim"))  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"
