from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing, documents
from llmlab.cli.options import WhyOption, switch
from llmlab.cli.output import (
    Format,
    OutputOption,
    duration,
    err,
    escaped,
    out,
    print_json,
    printable,
)
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.auth.tokens import Explained


app = typer.Typer(
    add_completion=False,
    help="Print a token (JWT) for the lab, explain one, or end somebody's tokens.",
    invoke_without_command=True,
)
SubOption = Annotated[str, typer.Option("--sub", metavar="NAME", help="The tokens' subject.")]


@app.callback()
def token(
    context: typer.Context,
    sub: Annotated[
        str, typer.Option(metavar="NAME", help="Subject; default: your user name.")
    ] = "",
    name: Annotated[str, typer.Option(metavar="TEXT", help="Full name of the subject.")] = "",
    iss: Annotated[str, typer.Option(metavar="NAME", help="Issuer.")] = "llmlab",
    aud: Annotated[str, typer.Option(metavar="NAME", help="Audience.")] = "",
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help="Lifetime: 90, 30s, 15m, 1h, 7d.")
    ] = "1h",
    claim: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="A claim of your own; repeatable.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A route or deployment that it may ask, * for all, operator, viewer; repeatable.",
        ),
    ] = None,
    kid: Annotated[
        str,
        typer.Option(
            metavar="KID",
            autocompletion=completing.keys,
            help="Sign with this key; default: the newest.",
        ),
    ] = "",
    decode: Annotated[
        str, typer.Option(metavar="FILE|-", help="Explain the token in a file or on stdin instead.")
    ] = "",
    header: Annotated[
        bool,
        switch("--header", "Print the whole header, as curl -H @FILE reads it."),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Print a token (JWT) for the lab, and nothing else."""
    if context.invoked_subcommand is not None:
        return
    session = Session.of(context)
    if decode:
        _explain(session, decode, output)
        return
    from llmlab.auth import Claims, mint
    from llmlab.auth.tokens import parse_ttl
    from llmlab.client.credentials import user_name

    keys = session.keys().read()
    key = keys.find(kid) if kid else keys.signing
    claims = Claims(
        sub=sub or user_name(), name=name, iss=iss, aud=aud, ttl=parse_ttl(ttl),
        extra=claims_of(claim or []) | scope_of(scope or []),
    )  # fmt: skip
    made = mint(key, claims)
    if output is Format.JSON:
        document: documents.Token = {
            "token": made, "kid": key.kid, "sub": claims.sub, "expires_in": claims.ttl
        }  # fmt: skip
        print_json(document)
    else:
        print(f"Authorization: Bearer {made}" if header else made)


@app.command()
def revoke(
    context: typer.Context, sub: SubOption, why: WhyOption = "", output: OutputOption = Format.TEXT
) -> None:
    """End all tokens that a subject has now. Those that are made from now on are valid, so whoever
    can make tokens has to be told, too."""
    import time

    from llmlab.cli.prepare.keys import take_over
    from llmlab.delivery.noting import tokens_ended

    session = Session.of(context)
    keys = session.keys().end_tokens(sub, now=time.time())
    try:
        take_over(session)  # before anything else that may fail
    finally:
        tokens_ended(session.store(), sub, keys.ended[sub], why)
    if output is Format.JSON:
        print_json(documents.Ended(sub=sub, until=keys.ended[sub]))
        return
    err().print(
        f"[bold green]✓[/] The tokens that {escaped(sub)} had are refused.", highlight=False
    )


@app.command()
def restore(
    context: typer.Context, sub: SubOption, why: WhyOption = "", output: OutputOption = Format.TEXT
) -> None:
    """Undo `revoke`: let in again what has not expired meanwhile."""
    from llmlab.cli.prepare.keys import take_over
    from llmlab.delivery.noting import tokens_ended

    session = Session.of(context)
    session.keys().restore_tokens(sub)
    tokens_ended(session.store(), sub, None, why)
    take_over(session)
    if output is Format.JSON:
        print_json(documents.Ended(sub=sub, until=None))
        return
    err().print(f"[bold green]✓[/] The tokens of {escaped(sub)} are valid again.", highlight=False)


@app.command()
def revoked(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the subjects whose tokens were ended, and until when those were made."""
    from llmlab.cli.moments import here

    keys = Session.of(context).keys().read()
    rows = [documents.EndedSubject(sub=sub, until=iso(until)) for sub, until in keys.ended.items()]
    if output is Format.JSON:
        print_json(rows)
        return
    if not rows:
        err().print("Nobody's tokens were ended.")
        return
    from rich.table import Table

    table = Table("subject", "tokens made until", box=None, header_style="bold")
    for row in rows:
        table.add_row(escaped(row["sub"]), here(row["until"]))
    out().print(table)


def iso(seconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def claims_of(given: list[str]) -> dict[str, str]:
    from llmlab.errors import UsageError

    pairs = [one.partition("=") for one in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"--claim {name!r} is not K=V", fix="llmlab token --claim team=blue")
    return {name: value for name, _, value in pairs}


def scope_of(names: list[str]) -> dict[str, str]:
    """{"scope": ...} of a token that may do this; {} for no names."""
    from llmlab import scopes
    from llmlab.errors import UsageError

    try:
        said = scopes.claim(names)
    except ValueError as error:
        raise UsageError(str(error), fix="--scope summarize --scope chat") from None
    return {"scope": said} if said else {}


def _explain(session: Session, source: str, output: Format) -> None:
    import time

    from llmlab.auth import describe
    from llmlab.errors import AuthError, UsageError, unreadable
    from llmlab.issuers.trust import trust_of

    if re.search(r"eyJ[\w-]+\.[\w-]+\.", source):
        raise UsageError(
            "a token on the command line can be read by every user of this machine",
            fix="llmlab token --decode -   and paste it, or name a file",
        )
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {unreadable(error)}") from None
    config, keys = session.load().config, session.keys().read()
    trust = trust_of(session.lab(), config.auth, keys.kids, time.time())
    told = describe(text.strip(), keys, leeway=config.gateway.token_leeway, trust=trust)
    if output is Format.JSON:
        print_json(asdict(told))
    else:
        _show(told)
    if not told.valid:
        raise typer.Exit(AuthError.exit_code)


def _show(told: Explained) -> None:
    from llmlab.auth.tokens import expiry

    console = out()
    console.print("[green]valid[/]: " if told.valid else "[red]refused[/]: ", end="")
    console.print(printable(told.reason), markup=False, highlight=False)
    if told.issuer and told.valid:
        console.print("[bold]subject here[/] ", end="")
        console.print(printable(told.subject), markup=False, highlight=False)
    for part, values in (("header", told.header), ("claims", told.claims)):
        console.print(f"[bold]{part}[/]")
        for name, value in values.items():
            console.print(printable(f"  {name}: {value}"), markup=False, highlight=False)
    console.print("[bold]expires[/] ", end="")
    console.print(expiry(told.claims, duration), markup=False, highlight=False)
