"""What `llmlab load` says in the end."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.cli.output import Format, err, out, print_json, printable
from llmlab.probe.figures import Figures, Latency, span
from llmlab.probe.plot import draw
from llmlab.probe.setup import described

if TYPE_CHECKING:
    from rich.table import Table

    from llmlab.probe.load import Profile, Run
    from llmlab.probe.slo import Search, Trial
    from llmlab.probe.target import Target

HIGHEST = ", the highest that is tried"
LATE = 0.05  # seconds; from there on the load generator is part of what is measured


@dataclass(frozen=True)
class Report:
    """Prints figures, and draws the plot.

    Args:
        texts: what was sent, in a few words.
    """

    target: Target
    profile: Profile
    texts: str
    output: Format
    plot: Path | None

    def run(self, run: Run, interrupted: bool) -> None:
        """One run, or what there is of it."""
        figures = Figures.of(run)
        if self.output is Format.JSON:
            print_json(self._setup(interrupted) | figures.as_json())
        else:
            self._print_title(self._how(run.profile), interrupted)
            _print_figures(figures, run)
        self._draw(run, self._how(run.profile))

    def search(self, search: Search, interrupted: bool) -> None:
        """The trials of a search and their outcome. Drawn is the best one, else the last."""
        if self.output is Format.JSON:
            print_json(
                self._setup(interrupted) | {"loop": "open", "concurrency": None} | search.as_json()
            )
        else:
            self._print_title(f"until {search.promise.text}", interrupted)
            _print_search(search, interrupted)
        drawn = search.best or (search.trials[-1] if search.trials else None)
        if drawn:
            self._draw(drawn.run, f"until {search.promise.text}: {self._how(drawn.run.profile)}")

    # --- pieces ------------------------------------------------------------------

    def _setup(self, interrupted: bool) -> dict[str, object]:
        return {
            "url": self.target.url,
            **described(self.profile),
            "subjects": len(self.target.tokens),
            "texts": self.texts,
            "interrupted": interrupted,
        }

    def _how(self, profile: Profile) -> str:
        loop = (
            f"open loop, {profile.rate:.4g} requests/s"
            if profile.rate
            else f"closed loop, {profile.concurrency} client{_s(profile.concurrency)}"
        )
        subjects = len(self.target.tokens)
        return loop + (f", {subjects} subjects" if subjects > 1 else "")

    def _print_title(self, how: str, interrupted: bool) -> None:
        from rich.markup import escape

        console = out()
        ended = "  [yellow]interrupted[/]" if interrupted else ""
        console.print(f"[bold]{escape(self.target.url + self.profile.path)}[/]  {how}{ended}",
                      highlight=False)  # fmt: skip
        console.print(f"[dim]texts: {self.texts}; seed {self.profile.seed}[/]", highlight=False)

    def _draw(self, run: Run, how: str) -> None:
        if not self.plot:
            return
        models = _models(Figures.of(run)) or "no model"
        title = f"{self.target.url}{self.profile.path}, answered by {models}"
        texts = f"texts: {self.texts}; seed {self.profile.seed}"
        draw(run, title, [how, texts], self.plot)
        err().print(f"Plot: {self.plot}", markup=False, highlight=False)


def _print_figures(figures: Figures, run: Run) -> None:
    from rich.table import Table

    console = out()
    rates = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    rates.add_column(style="dim")
    rates.add_column(justify="right", style="bold")
    rates.add_column(style="dim")
    rates.add_row("requests/s", f"{figures.requests_per_second:.1f}",
                  f"{figures.requests} in {figures.seconds:.1f} s")  # fmt: skip
    answers = "answers/s" if figures.streams else "texts/s"
    rates.add_row(answers, f"{figures.texts_per_second:.1f}", _by(figures))
    if streams := figures.streams:
        rates.add_row("tokens/s", f"{figures.tokens_out_per_second:,.1f}",
                      f"written, {figures.tokens_in_per_second:,.0f} read")  # fmt: skip
        slowest = f"the median; one in twenty {_rate(streams.rate.slowest_5)} or less"
        rates.add_row("  of a stream", _rate(streams.rate.p50), slowest)
        rates.add_row("cut off", f"{streams.cut_off:.1%}", "of the answers, at --max-tokens")
    else:
        rates.add_row("tokens/s", f"{figures.tokens_in_per_second:,.0f}",
                      f"in, {figures.tokens_out_per_second:,.0f} out")  # fmt: skip
    split = [_deployments(figures)] if len(figures.deployments) > 1 else []
    for table in (rates, _statuses(figures), *split, _latencies(figures)):
        console.print()
        console.print(table)
    notes = [*_notes(figures, run)]
    if notes:
        console.print()
    for note in notes:
        console.print(note, highlight=False)


def _models(figures: Figures) -> str:
    """The models that answered; what a service calls itself may hold anything."""
    return printable(" and ".join(figures.models))


def _by(figures: Figures) -> str:
    from rich.markup import escape

    told = escape(_models(figures))
    cached = f", {figures.cached:.1%} from the cache" if figures.cached > 0 else ""
    return f"by {told}{cached}" if told else "no summary"


def _statuses(figures: Figures) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("answer")
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    for status, count in figures.statuses.items():
        style = "green" if status == "200" else "yellow" if status in ("429", "503") else "red"
        name = f"{status} {HTTPStatus(int(status)).phrase}" if status.isdigit() else status
        table.add_row(f"[{style}]{name}[/]", f"{count}", f"{count / figures.requests:.1%}")
    return table


def _deployments(figures: Figures) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("deployment")
    for name in ("requests", "share", "failed", "p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for name, asked in figures.deployments.items():
        times = (span(getattr(asked.latency, one)) for one in ("p50", "p95", "p99"))
        share = asked.requests / figures.requests
        table.add_row(escape(printable(name)), f"{asked.requests}", f"{share:.1%}",
                      f"{asked.failed:.1%}", *times)  # fmt: skip
    return table


def _latencies(figures: Figures) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column("seconds to")
    columns = ("p50", "p90", "p95", "p99", "max")
    for name in columns:
        table.add_column(name, justify="right")

    def add(name: str, latency: Latency) -> None:
        if latency.max == latency.max:  # not nan: something was measured
            table.add_row(name, *(span(getattr(latency, column)) for column in columns))

    if figures.streams:
        add("the first token", figures.streams.first_token)
        add("the next one", figures.streams.gaps)
    add("the whole answer" if figures.streams else "a summary", figures.latency)
    add("  in the queue", figures.queue)
    add("  computing and on the way", figures.compute)
    add("a refusal", figures.refusal)
    return table


def _rate(rate: float) -> str:
    return "-" if rate != rate else f"{rate:.1f}"  # nan


def _notes(figures: Figures, run: Run) -> list[str]:
    """What is not in every run."""
    notes = []
    refusals = figures.refusals
    for who, count, why in (
        ("gateway", refusals.by_gateway, "its rate limit, or no API behind it"),
        ("API", refusals.by_api, "a full queue, or a model that loads"),
    ):
        if count:
            notes.append(f"Refused by the {who}: {count} ({why}).")
    if refusals.by_gateway or refusals.by_api:
        said = refusals.without_retry_after
        notes.append(f"{said} of these without Retry-After." if said else "All with Retry-After.")
    if figures.retried:
        notes.append(f"{figures.retried} requests were asked again, after the time that was said.")
    if run.dropped:
        notes.append(f"{run.dropped} requests were under way when it ended; they do not count.")
    if figures.missed:
        notes.append(
            f"[yellow]Note:[/] {figures.missed} requests were not sent: "
            "too many were under way already."
        )
    if figures.late.p95 > LATE:
        notes.append(
            f"[yellow]Note:[/] one request in twenty was sent {span(figures.late.p95)} late or "
            "more: this machine cannot send so fast, and its delay is in the latency."
        )
    return notes


def _print_search(search: Search, interrupted: bool) -> None:
    from rich.table import Table

    console = out()
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("requests/s", "texts/s", "p50", "p95", "p99", "failed", "kept"):
        table.add_column(name, justify="right")
    for trial in search.trials:
        table.add_row(*_cells(trial))
    console.print()
    console.print(table)
    console.print()
    best, broken = search.best, search.broken
    if best and not interrupted:
        until = f", not at {broken.rate:.3g} ({broken.why})" if broken else HIGHEST
        console.print(
            f"[green]{search.promise.text} holds up to {best.rate:.3g} requests/s[/]{until}.",
            highlight=False,
        )


def _cells(trial: Trial) -> list[str]:
    figures, latency = trial.figures, trial.figures.latency
    return [
        f"{trial.rate:.3g}", f"{figures.texts_per_second:.3g}", span(latency.p50),
        span(latency.p95), span(latency.p99), f"{figures.failed:.1%}",
        "[green]yes[/]" if trial.kept else "[red]no[/]",
    ]  # fmt: skip


def _s(count: int) -> str:
    return "" if count == 1 else "s"
