from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli import completing
from llmlab.cli.deliver.ledger import LAST, LastOption
from llmlab.cli.documents import FlagExplained, RemovedFlag
from llmlab.cli.options import WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.flags.changing import FlagEntry
    from llmlab.flags.evaluate import Evaluated
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
    from llmlab.delivery.deployments import check_deployment
    from llmlab.flags.changing import set_flag, take_over
    from llmlab.flags.defining import defined
    from llmlab.traffic import Flag

    session = Session.of(context)
    lab, store = session.lab(), session.store()
    parts = _who(on, off, percent, audience)
    parts |= {"deployment": deployment, "decoding": _decoding(max_length, min_length, strategy)}
    if deployment:
        check_deployment(lab, deployment)

    def change(before: Flag | None) -> Flag:
        if before is None and parts["percent"] is None and not parts["audience"]:
            _refuse_without_audience(name)
        return defined(before or Flag(name), **parts)

    flag, changed = set_flag(store, name, change, why)
    routed = take_over(lab)  # also if nothing changed: it may have failed before
    if output is Format.JSON:
        print_json({**_as_json(flag), "changed": changed, "routed": routed})
        return
    did = "" if changed else " (as before)"
    err().print(
        f"[bold green]✓[/] {flag.name} is on for {_escaped(_told_who(flag))}{did}", highlight=False
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

    print_table(
        ("flag", "on for", "then"),
        [(flag.name, _escaped(_told_who(flag)), _told_then(flag)) for flag in flags],
    )


@app.command()
def history(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="Only of this one.")] = "",
    last: LastOption = LAST,
    output: OutputOption = Format.TEXT,
) -> None:
    """The newest changes of the flags, the oldest of them first: what, when, who, and why."""
    from llmlab.flags.changing import KIND

    about = {"flag": name} if name else {}
    entries = Session.of(context).store().entries(kind=KIND, last=last, about=about)
    if output is Format.JSON:
        told: list[FlagEntry] = [
            {"seq": one.seq, "at": one.at, "who": one.who, "why": one.why,
             "flag": one.document["flag"], "definition": one.document["definition"]}
            for one in entries
        ]  # fmt: skip
        print_json(told)
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
    from llmlab.flags.defining import parse_audience
    from llmlab.flags.evaluate import SUBJECT, evaluate

    flag = get(Session.of(context).store().traffic(), name)
    claims = dict(parse_audience(claim or ())) | {SUBJECT: sub}
    found = evaluate(flag, claims)
    if output is Format.JSON:
        print_json(_explained(found, claims))
        return
    state = "[green]on[/]" if found.on else "[yellow]off[/]"
    out().print(f"{name} is {state} for {_escaped(sub)}: {_escaped(found.why)}",
                highlight=False, soft_wrap=True)  # fmt: skip


def _who(on: bool, off: bool, percent: float | None, audience: list[str] | None) -> dict[str, Any]:
    """For whom a flag is on; None for what is not said of it."""
    from llmlab.errors import UsageError
    from llmlab.flags.defining import parse_audience

    if on + off + (percent is not None or bool(audience)) > 1:
        raise UsageError("--on, --off, and --percent with --for exclude each other")
    if on or off:
        return {"percent": 100.0 if on else 0.0, "audience": ()}
    given = None if audience is None else parse_audience([one for one in audience if one])
    return {"percent": percent, "audience": given}


def _decoding(
    max_length: int | None, min_length: int | None, strategy: str | None
) -> dict[str, Any] | None:
    """What is said of decoding; what is taken out is None."""
    found: dict[str, Any] = {}
    if max_length is not None:
        found["max_length"] = max_length or None
    if min_length is not None:
        found["min_length"] = min_length or None
    if strategy is not None:
        found["strategy"] = strategy or None
    return found or None


def _refuse_without_audience(name: str) -> None:
    from llmlab.errors import UsageError

    raise UsageError(
        f"{name} is new, and nothing says for whom it is on",
        fix=f"llmlab flag set {name} --percent 10",
    )


def _as_json(flag: Flag) -> dict[str, Any]:
    from llmlab.flags.changing import as_document

    return as_document(flag)


def _explained(found: Evaluated, claims: dict[str, str]) -> FlagExplained:
    return {"flag": found.flag, "on": found.on, "rule": found.rule, "why": found.why,
            "claims": claims}  # fmt: skip


def _told_who(flag: Flag) -> str:
    who = [f"{claim}={value}" for claim, value in flag.audience]
    others = "of the others" if who else ""
    if flag.percent == 100:
        return "everybody"
    if flag.percent:
        who.append(f"{flag.percent:g} % {others}".strip())
    return ", ".join(who) or "nobody"


def _told_then(flag: Flag) -> str:
    parts = [f"to {flag.deployment}"] if flag.deployment else []
    parts += [f"{name}={value}" for name, value in flag.decoding.items()]
    return ", ".join(parts)


def _escaped(text: str) -> str:
    from llmlab.cli.output import escaped

    return escaped(text)
