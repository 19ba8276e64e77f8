from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, escaped, out, print_json
from llmlab.cli.session import Session
from llmlab.cli.teach import classroom

if TYPE_CHECKING:
    from llmlab.course.finding import Finding, Result
    from llmlab.course.pages import Page

app = typer.Typer(
    add_completion=False,
    help="The course: nine objectives, what this lab shows of each, and labs for a class.",
    invoke_without_command=True,
)
app.add_typer(classroom.app, name="class")
MISSING = 8  # exit code
Number = Annotated[int, typer.Argument(metavar="N", min=1, help="Of the objective, from 1.")]


@app.callback()
def course(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the objectives, and what this lab shows of each."""
    if context.invoked_subcommand is None:
        _list(Session.of(context), output)


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the objectives, and what this lab shows of each."""
    _list(Session.of(context), output)


@app.command()
def start(context: typer.Context, number: Number, output: OutputOption = Format.TEXT) -> None:
    """Print the page of an objective: goal, steps, what one should see, and a question.

    The addresses in it are this lab's own.
    """
    from llmlab.client.credentials import address_of
    from llmlab.course.pages import page

    found = page(number).at(address_of(Session.of(context).lab(), os.environ))
    if output is Format.JSON:
        print_json(found.as_json())
        return
    console = out()
    if not console.is_terminal:
        print(found.text, end="")
        return
    from rich.markdown import Markdown

    console.print(Markdown(found.text))


@app.command()
def check(
    context: typer.Context,
    number: Annotated[
        int | None,
        typer.Argument(metavar="[N]", help="Default: the first that something is missing of."),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Look at the lab, and tell what it shows of an objective. Exit code 8 if something is
    missing."""
    from llmlab.course.checks import look, look_at_all
    from llmlab.course.evidence import Evidence
    from llmlab.course.pages import page

    evidence = Evidence(Session.of(context).lab())
    if number is not None:
        result = look(evidence, number)
    else:
        every = look_at_all(evidence)
        result = next((one for one in every if not one.done), every[-1])
    found = page(result.number)
    if output is Format.JSON:
        print_json({"title": found.title, **result.as_json()})
    else:
        _show(found, result)
    if not result.done:
        raise typer.Exit(MISSING)


@app.command()
def reset(
    context: typer.Context,
    yes: Annotated[bool, switch("--yes -y", "Without a question.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Have a clean lab again, and keep its models. What goes is told before."""
    from llmlab.course import resetting
    from llmlab.errors import UsageError

    session = Session.of(context)
    lab, console = session.lab(), err()
    plan = resetting.planned(lab)
    if not plan.nothing:
        if not yes:
            console.print(f"Of the lab in {escaped(str(lab.root))}:", highlight=False)
            for line in plan.told():
                console.print(f"  [red]-[/] {escaped(line)}", highlight=False, soft_wrap=True)
            console.print(f"  [green]+[/] kept: {_kept(plan.kept)}", highlight=False)
            if not console.is_terminal:
                raise UsageError("nobody can be asked here", fix="llmlab course reset --yes")
            typer.confirm("Remove that?", abort=True, err=True)
        plan = resetting.reset(lab)
    if output is Format.JSON:
        print_json(plan.as_json())
    elif plan.nothing:
        console.print("The lab is as it was laid out; nothing was changed.", highlight=False)
    else:
        console.print(f"[bold green]✓[/] A clean lab; kept: {_kept(plan.kept)}", highlight=False)
        console.print("Next: llmlab course start 1", highlight=False)


def _kept(models: tuple[str, ...]) -> str:
    return escaped(", ".join(models)) if models else "the registry, in which there is no model"


def _list(session: Session, output: Format) -> None:
    from llmlab.cli.table import print_table
    from llmlab.course.checks import look_at_all
    from llmlab.course.evidence import Evidence
    from llmlab.course.pages import pages

    results = {one.number: one for one in look_at_all(Evidence(session.lab()))}
    every = pages()
    if output is Format.JSON:
        print_json([
            {"number": one.number, "title": one.title, "done": results[one.number].done,
             "passed": results[one.number].passed, "of": len(results[one.number].findings)}
            for one in every
        ])  # fmt: skip
        return
    rows = [(str(one.number), escaped(one.title), _state(results[one.number])) for one in every]
    print_table(("no", "objective", "done"), rows)
    following = next((one.number for one in results.values() if not one.done), None)
    if following:
        err().print(f"Next: llmlab course start {following}", highlight=False)


def _state(result: Result) -> str:
    """``yes``, ``no``, or how many of its checks pass."""
    if result.done:
        return "[green]yes[/]"
    return f"{result.passed} of {len(result.findings)}" if result.passed else "no"


def _show(page: Page, result: Result) -> None:
    console = out()
    console.print(f"[bold]{page.number}. {escaped(page.title)}[/]", highlight=False)
    for one in result.findings:
        console.print(_line(one), highlight=False, soft_wrap=True)
    if result.done:
        console.print("[bold green]Done.[/]", highlight=False)


def _line(one: Finding) -> str:
    if one.done:
        return f"[green]✓[/] {escaped(one.told)}"
    return f"[yellow]✗[/] {escaped(one.told)}\n  Next: {escaped(one.fix)}"
