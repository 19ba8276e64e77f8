"""`llmlab course class`; the word itself cannot be a module's name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import Format, OutputOption, err, escaped, print_json, show_warning

if TYPE_CHECKING:
    from llmlab.course.attending import Attendance, Done, Estimate
    from llmlab.course.classes import Class

app = typer.Typer(
    add_completion=False,
    help="Labs for a class: make them, start them, and see how far each one is.",
    no_args_is_help=True,
)
FOLDER = Path("class")
GIB = 1 << 30
TTL = "7d"
DirOption = Annotated[Path, typer.Option("--dir", metavar="DIR", help="The folder of the class.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[LAB...]", help="Such as lab-03; default: all.")
]
AtATime = Annotated[
    int, typer.Option("--at-a-time", metavar="N", min=1, max=32, help="So many at once.")
]
TtlOption = Annotated[
    str, typer.Option(metavar="TIME", help="How long the tokens are valid: 8h, 7d.")
]


@app.command()
def create(
    count: Annotated[int, typer.Argument(metavar="N", min=1, max=500, help="So many labs.")],
    folder: DirOption = FOLDER,
    ports: Annotated[
        str,
        typer.Option(metavar="FROM-TO", help="Each lab takes two of these that are free."),
    ] = "9000-9099",
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", autocompletion=completing.models,
            help="The stable model of each lab, by its name in lab.toml.",
        ),
    ] = "textrank",
    ttl: TtlOption = TTL,
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Lay out a lab for everybody, each with ports and a token of its own. Nothing is started.

    All of it is made, or nothing.
    """
    from llmlab.auth.tokens import parse_ttl
    from llmlab.course import classes
    from llmlab.course.attending import estimate

    made = classes.create(
        folder.expanduser().resolve(), count, _range(ports), model=model, ttl=parse_ttl(ttl),
        say=lambda _: None,
    )  # fmt: skip
    needed = estimate(count)
    if output is Format.JSON:
        print_json({"dir": str(made.root), "memory": needed.needed, **made.as_json()})
        return
    first, last = made.seats[0], made.seats[-1]
    console = err()
    console.print(
        f"[bold green]✓[/] {count} labs in {escaped(str(made.root))}: "
        f"{first.name} at port {first.port} to {last.name} at {last.port}; "
        f"a token in each one's file `{classes.TOKEN}`",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(_told(needed), highlight=False)
    console.print(f"Next: llmlab course class up{_dir(folder)}", highlight=False)


@app.command()
def up(
    names: Names = None,
    folder: DirOption = FOLDER,
    at_a_time: AtATime = 2,
    ttl: TtlOption = TTL,
    output: OutputOption = Format.TEXT,
) -> None:
    """Start the labs, a few at a time. Exit code 1 if one does not start; the others do."""
    from llmlab.auth.tokens import parse_ttl
    from llmlab.course import attending

    group = _class(folder)
    seats = group.only(names or ())
    needed = attending.estimate(len(seats))
    err().print(_told(needed), highlight=False)
    if not needed.fits:
        few = " ".join(seat.name for seat in seats[:2])
        show_warning(
            f"That is more than is left.\nFix: fewer at once, such as llmlab course class up {few}"
        )
    _report(attending.up(group, seats, parse_ttl(ttl), at_a_time=at_a_time), "up", output)


@app.command()
def status(
    folder: DirOption = FOLDER,
    at_a_time: AtATime = 4,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show each lab in a line: whether it runs, and which objectives it has reached."""
    from llmlab.course import attending

    group = _class(folder)
    found = attending.status(group, at_a_time=at_a_time)
    if output is Format.JSON:
        print_json({"dir": str(group.root), "labs": [one.as_json() for one in found]})
        return
    from llmlab.cli.table import print_table

    numbers = [str(one.number) for one in found[0].results]
    print_table(("lab", "address", "state", *numbers), [_row(one) for one in found])


@app.command()
def down(
    names: Names = None,
    folder: DirOption = FOLDER,
    at_a_time: AtATime = 4,
    output: OutputOption = Format.TEXT,
) -> None:
    """Stop the labs. What was done in them stays."""
    from llmlab.course import attending

    group = _class(folder)
    _report(attending.down(group, group.only(names or ()), at_a_time=at_a_time), "down", output)


def _class(folder: Path) -> Class:
    from llmlab.course.classes import FILE, Class

    here = Path.cwd()
    if folder == FOLDER and not folder.exists() and (here / FILE).is_file():
        return Class.read(here)
    return Class.read(folder.expanduser().resolve())


def _range(text: str) -> range:
    """``9000-9099``, both included.

    Raises:
        UsageError: it is no range of ports.
    """
    from llmlab.errors import UsageError

    first, dash, last = text.partition("-")
    if dash and first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last) <= 65535:
        return range(int(first), int(last) + 1)
    raise UsageError(f"--ports {text!r} is no range of ports", fix="--ports 9000-9099")


def _report(done: Iterable[Done], verb: str, output: Format) -> None:
    """Tell each lab as it is ready. Exit code 1 if one of them went wrong."""
    console, every = err(), []
    for one in done:
        every.append(one)
        if output is Format.TEXT:
            mark = f"[red]✗[/] {one.name}: {escaped(one.problem)}" if one.problem else (
                f"[green]✓[/] {one.name} is {verb}"
            )  # fmt: skip
            console.print(mark, highlight=False, soft_wrap=True)
    failed = [one.name for one in every if one.problem]
    if output is Format.JSON:
        every.sort(key=lambda one: one.name)
        print_json([{"name": one.name, "done": not one.problem, "problem": one.problem}
                    for one in every])  # fmt: skip
    elif not failed:
        console.print(f"[bold green]✓[/] All {len(every)} labs are {verb}.", highlight=False)
    if failed:
        raise typer.Exit(1)


def _told(needed: Estimate) -> str:
    labs = "1 lab takes" if needed.labs == 1 else f"{needed.labs} labs take"
    return (
        f"{labs} about {needed.needed / GIB:.1f} GiB of memory with the embedded model; "
        f"{needed.available / GIB:.1f} GiB are free."
    )


def _row(one: Attendance) -> list[str]:
    state = "[green]up[/]" if one.healthy else "[red]ill[/]" if one.running else "down"
    marks = [
        "[green]yes[/]" if result.done else f"{result.passed}/{len(result.findings)}"
        for result in one.results
    ]
    return [one.seat.name, one.url, state, *marks]


def _dir(folder: Path) -> str:
    return "" if folder == FOLDER else f" --dir {escaped(str(folder))}"
