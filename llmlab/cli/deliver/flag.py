from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli import completing
from llmlab.cli.deliver.ledger import LAST, LastOption
from llmlab.cli.documents import RemovedFlag
from llmlab.cli.options import WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.traffic import Flag

app = typer.Typer(
    add_completion=False,
    help="Feature flags, which the gateway evaluates for every request.",
    no_args_is_help=True,
)
Name = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=completing.flags, help="The flag's name.")
]


@app.command("set")
def set_(
    context: typer.Context,
    name: Name,
    on: Annotated[bool, switch("--on", "On for everybody.")] = False,
    off: Annotated[bool, switch("--off", "On for nobody.")] = False,
    percent: Annotated[
        float | None,
        typer.Option(metavar="P", min=0, max=100, help="On for so many, always the same ones."),
    ] = None,
    audience: Annotated[
        list[str] | None,
        typer.Option(
            "--for", metavar="CLAIM=VALUE",
            help='On for whose token says so; repeatable. These replace those from before; "": '
            "nobody's.",
        ),
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            "--deployment", "-d", metavar="NAME", autocompletion=completing.deployments,
            help='Where requests go for which it is on; "" for where they would go anyway.',
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Longest summary, unless the request says; 0: none."),
    ] = None,
    min_length: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Shortest summary, likewise.")
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(metavar="NAME", help='auto, truncate or full, likewise; "": none.'),
    ] = None,
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Define a flag, or change it: for whom it is on, and what it does then.

    What is not mentioned stays as it is: --percent keeps the audience of --for, and the other
    way round. --on and --off are about everybody.
    """
    from llmlab.flags.wanting import Wanted, put

    wanted = Wanted(
        on, off, percent, audience, deployment, max_length, min_length, strategy
    )  # fmt: skip
    flag, changed, routed = put(Session.of(context).lab(), name, wanted, why)
    if output is Format.JSON:
        print_json({**_as_json(flag), "changed": changed, "routed": routed})
        return
    from llmlab.flags.telling import told_who

    did = "" if changed else " (as before)"
    err().print(
        f"[bold green]✓[/] {flag.name} is on for {_escaped(told_who(flag))}{did}", highlight=False
    )
    if not routed:
        err().print("The lab does not run; the gateway goes by it from the next llmlab up on.")


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the flags."""
    flags = Session.of(context).store().traffic().flags
    if output is Format.JSON:
        print_json([_as_json(flag) for flag in flags])
        return
    if not flags:
        err().print("No flags yet. Fix: llmlab flag set NAME --percent 10")
        return
    from llmlab.cli.table import print_table
    from llmlab.flags.telling import told_then, told_who

    print_table(
        ("flag", "on for", "then"),
        [(flag.name, _escaped(told_who(flag)), told_then(flag)) for flag in flags],
    )


@app.command()
def history(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this one.")] = "",
    last: LastOption = LAST,
    output: OutputOption = Format.TEXT,
) -> None:
    """The newest changes of the flags, the oldest of them first: what, when, who, and why."""
    from llmlab.flags.changing import as_entry, changes

    entries = changes(Session.of(context).store(), name, last=last)
    if output is Format.JSON:
        print_json([as_entry(one) for one in entries])
        return
    if not entries:
        err().print("No change of a flag yet.")
        return
    from llmlab.cli.deliver.ledger import print_entries

    print_entries(entries)


@app.command()
def rm(
    context: typer.Context, name: Name, why: WhyOption = "", output: OutputOption = Format.TEXT
) -> None:
    """Take a flag away; its history stays."""
    from llmlab.flags.changing import remove, take_over

    session = Session.of(context)
    remove(session.store(), name, why)
    routed = take_over(session.lab())
    if output is Format.JSON:
        print_json(RemovedFlag(flag=name, routed=routed))
        return
    err().print(f"[bold green]✓[/] {name} is gone.", highlight=False)


@app.command()
def explain(
    context: typer.Context,
    name: Name,
    sub: Annotated[str, typer.Option(metavar="NAME", help="The subject of a token.")],
    claim: Annotated[
        list[str] | None, typer.Option(metavar="CLAIM=VALUE", help="What else it says; repeatable.")
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Say whether a flag is on for somebody, and why."""
    from llmlab.flags.changing import get
    from llmlab.flags.evaluate import claimed, explained

    found = explained(get(Session.of(context).store().traffic(), name), claimed(sub, claim or ()))
    if output is Format.JSON:
        print_json(found)
        return
    state = "[green]on[/]" if found["on"] else "[yellow]off[/]"
    out().print(f"{name} is {state} for {_escaped(sub)}: {_escaped(found['why'])}",
                highlight=False, soft_wrap=True)  # fmt: skip


def _as_json(flag: Flag) -> dict[str, Any]:
    from llmlab.flags.changing import as_document

    return as_document(flag)


def _escaped(text: str) -> str:
    from llmlab.cli.output import escaped

    return escaped(text)
