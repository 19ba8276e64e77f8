from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing, documents
from llmlab.cli.options import WhyOption
from llmlab.cli.output import Format, OutputOption, err, escaped, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.auth.api_keys import ApiKey

app = typer.Typer(
    add_completion=False,
    help="API keys, for clients that know nothing of tokens: make, list, end.",
    no_args_is_help=True,
)
ScopeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--scope", metavar="NAME",
        help="A route or deployment that it may ask, * for all, operator, viewer; repeatable. "
        "Default: auth.default_scopes.",
    ),
]  # fmt: skip


@app.command()
def create(
    context: typer.Context,
    sub: Annotated[
        str, typer.Option("--sub", metavar="NAME", help="Whose key it is: the tokens' subject.")
    ],
    scope: ScopeOption = None,
    claim: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="What else is so of them; repeatable.")
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="Ends after so long: 12h, 90d; default: never.")
    ] = "",
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Make a key, and print it: this once, for only its hash is kept."""
    import time

    from llmlab.auth import api_keys
    from llmlab.auth.tokens import check_api_key, parse_ttl
    from llmlab.cli.prepare.keys import take_over
    from llmlab.cli.use.token import claims_of, scope_of
    from llmlab.delivery.noting import api_key_made

    session = Session.of(context)
    said = claims_of(claim or []) | scope_of(scope or [])
    secret, digest = api_keys.make()
    now = int(time.time())
    ends = now + parse_ttl(expires, option="--expires") if expires else 0
    made = api_keys.ApiKey(digest, sub, created=now, expires=ends, claims=said)
    check_api_key(made)
    _refuse_in_vain(session)
    session.keys().ensure()
    session.keys().add_api_key(made)
    api_key_made(session.store(), made, why)
    # Told before anything else can fail: nobody could find it out later.
    if output is Format.JSON:
        document: documents.NewApiKey = {"key": secret, **_row(made)}
        print_json(document)
    else:
        print(secret)
    take_over(session)
    err().print(
        f"[bold green]✓[/] {made.id} is a key of {escaped(sub)}. It is not shown again.",
        highlight=False,
    )


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the keys, by what is kept of them."""
    import time

    from llmlab.cli.moments import here

    rows = [_row(one) for one in Session.of(context).keys().read().api]
    if output is Format.JSON:
        print_json(rows)
        return
    if not rows:
        err().print("No API keys yet. Fix: llmlab keys api create --sub NAME")
        return
    from llmlab.cli.table import print_table

    now = time.time()
    keys = Session.of(context).keys().read().api
    states = ["expired" if one.ended(now) else "valid" for one in keys]
    print_table(
        ("id", "subject", "scopes", "created", "expires", "state"),
        [
            (row["id"], row["sub"], " ".join(row["scopes"]) or "(default)", here(row["created"]),
             here(row["expires"]) if row["expires"] else "never", state)
            for row, state in zip(rows, states, strict=True)
        ],
    )  # fmt: skip


@app.command()
def revoke(
    context: typer.Context,
    named: Annotated[
        str,
        typer.Argument(
            metavar="ID", autocompletion=completing.api_keys,
            help="As llmlab keys api list shows it.",
        ),
    ],
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """End a key: from now on it is refused, on connections that are open as well."""
    from llmlab.cli.prepare.keys import take_over
    from llmlab.delivery.noting import api_key_ended
    from llmlab.engines.choice import running_engine

    session = Session.of(context)
    gone = session.keys().read().find_api_key(named)
    session.keys().remove_api_key(named)
    try:
        if engine := running_engine(session.lab()):
            engine.end_api_keys([gone.digest])
    finally:
        try:
            take_over(session)
        finally:
            api_key_ended(session.store(), gone, why)
    if output is Format.JSON:
        print_json(_row(gone))
        return
    err().print(f"[bold green]✓[/] {gone.id} of {escaped(gone.sub)} is ended.", highlight=False)


def _row(key: ApiKey) -> documents.ApiKey:
    from llmlab import scopes
    from llmlab.cli.use.token import iso

    return {
        "id": key.id, "sub": key.sub, "scopes": scopes.names(key.claims.get("scope", "")),
        "claims": {name: value for name, value in key.claims.items() if name != "scope"},
        "created": iso(key.created), "expires": iso(key.expires) if key.expires else None,
    }  # fmt: skip


def _refuse_in_vain(session: Session) -> None:
    """Nobody is given a key that the lab's gateway could not take."""
    from llmlab.gateway.api_keys import refuse_without_njs
    from llmlab.gateway.fitting import CREDENTIAL, insist

    if session.load().config.gateway.edition == "plus":
        refuse_without_njs({"": ""})
    conf = session.lab().nginx_conf
    if conf.is_file():  # without one there is no gateway, as `up` says
        insist(conf.read_text(encoding="utf-8"), CREDENTIAL)
