from __future__ import annotations

import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.output import Format, OutputOption, out, print_json, printable
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.auth.tokens import Explained


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
    kid: Annotated[
        str, typer.Option(metavar="KID", help="Sign with this key; default: the newest.")
    ] = "",
    decode: Annotated[
        str, typer.Option(metavar="FILE|-", help="Explain the token in a file or on stdin instead.")
    ] = "",
    header: Annotated[
        bool,
        typer.Option(
            "--header", metavar="", help="Print the whole header, as curl -H @FILE reads it."
        ),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Print a token (JWT) for the lab, and nothing else."""
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
        extra=_claims(claim or []),
    )  # fmt: skip
    made = mint(key, claims)
    if output is Format.JSON:
        print_json({"token": made, "kid": key.kid, "sub": claims.sub, "expires_in": claims.ttl})
    else:
        print(f"Authorization: Bearer {made}" if header else made)


def _claims(given: list[str]) -> dict[str, str]:
    from llmlab.errors import UsageError

    pairs = [one.partition("=") for one in given]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise UsageError(f"--claim {name!r} is not K=V", fix="llmlab token --claim team=blue")
    return {name: value for name, _, value in pairs}


def _explain(session: Session, source: str, output: Format) -> None:
    from llmlab.auth import describe
    from llmlab.errors import AuthError, UsageError, unreadable

    if re.search(r"eyJ[\w-]+\.[\w-]+\.", source):
        raise UsageError(
            "a token on the command line can be read by every user of this machine",
            fix="llmlab token --decode -   and paste it, or name a file",
        )
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {unreadable(error)}") from None
    told = describe(text.strip(), session.keys().read())
    if output is Format.JSON:
        print_json(asdict(told))
    else:
        _show(told)
    if not told.valid:
        raise typer.Exit(AuthError.exit_code)


def _show(told: Explained) -> None:
    console = out()
    console.print("[green]valid[/]: " if told.valid else "[red]refused[/]: ", end="")
    console.print(printable(told.reason), markup=False, highlight=False)
    for part, values in (("header", told.header), ("claims", told.claims)):
        console.print(f"[bold]{part}[/]")
        for name, value in values.items():
            console.print(printable(f"  {name}: {value}"), markup=False, highlight=False)
    console.print("[bold]expires[/] ", end="")
    console.print(told.expires, markup=False, highlight=False)
