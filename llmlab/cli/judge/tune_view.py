"""How a tune looks: a bar for each round on stderr, and what came of it on stdout."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from llmlab.cli.output import duration, err, escaped, out, printable

if TYPE_CHECKING:
    from rich.progress import TaskID

    from llmlab.tune.result import Result, Round
    from llmlab.tune.telling import Listener
    from llmlab.tune.watching import Step

TELLING = ("coverage", "rougeLsum", "unsupported", "checks", "length")
MARKS = {True: "[bold green]✓[/]", False: "[bold red]✗[/]"}
PARTS = 10  # of a round, after each of which a line is printed where there is no terminal


@contextmanager
def shown() -> Iterator[Listener]:
    """Show a tune's progress on stderr, while the body runs."""
    console = err()
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[losses]}"), TextColumn("{task.fields[left]}"),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        yield _View(bar)


class _View:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._told = 0

    def say(self, text: str) -> None:
        self._bar.console.print(
            printable(text), markup=False, highlight=False, soft_wrap=True, style="dim"
        )

    def round_begins(self, number: int, most: int) -> None:
        name = f"round {number} of {most}" if most > 1 else "tuning"
        self._task = self._bar.add_task(name, total=None, losses="", left="reading the data")
        self._told = 0
        if self._bar.disable:
            self.say(name)

    def step(self, step: Step) -> None:
        assert self._task is not None
        losses, left = _losses(step), _left(step.left)
        self._bar.update(
            self._task, completed=step.step, total=step.steps, losses=losses, left=left
        )
        part = PARTS * step.step // step.steps
        if self._bar.disable and part > self._told:
            self._told = part
            self.say(f"  {step.step}/{step.steps} steps, {losses}, {left}")

    def round_ends(self, played: Round) -> None:
        assert self._task is not None
        self._bar.update(self._task, visible=False)
        told = f"round {played.number}: {played.trained.steps} steps, {_figures(played.validation)}"
        if played.verdict:
            told += f": {played.verdict}"
        self.say(told)


def _losses(step: Step) -> str:
    found = (("loss", step.loss), ("validation", step.validation_loss))
    return ", ".join(f"{name} {value:.3f}" for name, value in found if value is not None)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


def _figures(facts: Mapping[str, Any]) -> str:
    metrics = facts["metrics"]
    return ", ".join(
        f"{name} {metrics[name]['value']:.3f}" for name in TELLING if metrics.get(name)
    )


def print_result(result: Result) -> None:
    """The outcome and why, what each round came to, and what to do next."""
    from rich.table import Table

    console = out()
    registered = f" [bold]{result.record.reference}[/]" if result.record else ""
    console.print(f"{MARKS[result.outcome.is_good]} {result.outcome}{registered}", highlight=False)
    console.print(f"  {escaped(result.reason)}", highlight=False, soft_wrap=True)
    table = Table("", "n", "steps", "loss", box=None, header_style="bold")
    judged = [*(one.validation for one in result.rounds), *([result.test] if result.test else [])]
    columns = [name for name in TELLING if any(facts["metrics"].get(name) for facts in judged)]
    for name in columns:
        table.add_column(name, justify="right")
    table.add_column("")
    for one in result.rounds:
        loss = one.trained.best_loss
        _add(table, columns, f"round {one.number}, validation", one.validation,
             str(one.trained.steps), "" if loss is None else f"{loss:.3f}")  # fmt: skip
    if result.test:
        _add(table, columns, f"last test, {result.test['suite']}", result.test, "", "")
    console.print(table)
    data = result.data
    left = f", {data['left_out']} left out" if data["left_out"] else ""
    console.print(
        f"{data['train']} texts to train with ({data['examples']} examples{left}), "
        f"{data['validation']} for validation, {data['test']} held back; "
        f"{duration(result.seconds)}, seed {result.seed}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    _print_next(result)


def _add(
    table: Any,
    columns: Sequence[str],
    name: str,
    facts: Mapping[str, Any],
    steps: str,
    loss: str,
) -> None:
    values = []
    for metric in columns:
        level = facts["metrics"].get(metric)
        values.append(f"{level['value']:.3f}" if level else "")
    verdict = facts["verdict"]["outcome"] if facts["verdict"] else ""
    table.add_row(escaped(name), str(facts["n"]), steps, loss, *values, verdict)


def _print_next(result: Result) -> None:
    console = err()
    if result.overlap["forced"]:
        console.print(
            f"[yellow]Note:[/] {result.overlap['shared']} texts of the data are in a suite that "
            "judges the model; its record says so.", soft_wrap=True,
        )  # fmt: skip
    if result.record:
        console.print(f"\n  llmlab up --model {result.name}", highlight=False)
    else:
        console.print("It is not registered; --keep would do that all the same.")
