from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, print_json, show_warning
from llmlab.cli.prepare import api_keys
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import Key
    from llmlab.engines.base import Plan

app = typer.Typer(
    add_completion=False,
    help="The keys that sign tokens, and API keys: make, list, revoke.",
    no_args_is_help=True,
)


app.add_typer(api_keys.app, name="api")


class Alg(StrEnum):
    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


AlgOption = Annotated[
    Alg,
    typer.Option(
        "--alg",
        case_sensitive=False,
        help="HS256 is symmetric; of the others the gateway gets public keys only.",
    ),
]
DEMO_WARNING = (
    "The reference lab's key is public: with it anybody on this machine can use the lab. "
    "It works on loopback only.\nFix: llmlab keys revoke 0001"
)


@app.command()
def init(
    context: typer.Context,
    alg: AlgOption = Alg.HS256,
    demo: Annotated[
        bool,
        switch("--demo", "Add the reference lab's published key as well."),
    ] = False,
) -> None:
    """Make the first key. A lab that has one keeps it."""
    from llmlab.auth.keys import Algorithm
    from llmlab.delivery.noting import keys_changed

    session = Session.of(context)
    if demo:
        _refuse_demo_beyond_loopback(session)
    before = session.keys().read()
    keys = session.keys().ensure(Algorithm(alg.value), demo_key=demo)
    new = keys_changed(session.store(), "made", before, keys)
    laid_out = take_over(session)
    err().print(
        f"[bold green]✓[/] {session.lab().keys_file}: {len(keys.keys)} valid, "
        + (f"{new} new" if new else "unchanged"),
        highlight=False,
    )
    for warning in laid_out.warnings if laid_out else ():
        show_warning(f"With docker compose up {warning}, then llmlab keys init")
    if demo:
        show_warning(DEMO_WARNING)


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the keys, without their secrets."""
    keys = Session.of(context).keys().read()
    signing = keys.signing.kid if keys.keys else ""
    rows: list[Key] = [
        {"kid": key.kid, "alg": key.algorithm, "created": key.created,
         "state": "signing" if key.kid == signing else "valid", "demo": key.is_demo}
        for key in keys.keys
    ]  # fmt: skip
    rows += [
        {"kid": kid, "alg": "", "created": "", "state": f"revoked {when}", "demo": False}
        for kid, when in keys.revoked.items()
    ]
    if output is Format.JSON:
        print_json(rows)
        return
    from llmlab.cli.table import print_table

    if rows:
        print_table(
            ("kid", "alg", "created", "state"),
            [
                (row["kid"], row["alg"], row["created"],
                 row["state"] + (" (published demo key)" if row["demo"] else ""))
                for row in rows
            ],
        )  # fmt: skip
    else:
        err().print("No keys yet. Fix: llmlab keys init")


@app.command()
def rotate(
    context: typer.Context,
    alg: Annotated[
        Alg | None, typer.Option("--alg", case_sensitive=False, help="Default: as before.")
    ] = None,
) -> None:
    """Make a new signing key. The one before stays valid until it is revoked."""
    from llmlab.auth.keys import Algorithm
    from llmlab.delivery.noting import keys_changed

    session = Session.of(context)
    before = session.keys().read()
    keys = session.keys().rotate(Algorithm(alg.value) if alg else None)
    keys_changed(session.store(), "made", before, keys)
    take_over(session)
    err().print(f"[bold green]✓[/] {keys.signing.kid} signs from now on.", highlight=False)


@app.command()
def revoke(
    context: typer.Context,
    kid: Annotated[
        str,
        typer.Argument(
            metavar="KID",
            autocompletion=completing.keys,
            help="The key's id; see llmlab keys list.",
        ),
    ],
) -> None:
    """End a key: the tokens that it signed are refused from now on."""
    from llmlab.delivery.noting import keys_changed

    session = Session.of(context)
    before = session.keys().read()
    keys = session.keys().revoke(kid)
    try:
        take_over(session)  # before anything else that may fail
    finally:
        keys_changed(session.store(), "revoked", before, keys)
    err().print(f"[bold green]✓[/] {kid} is revoked.", highlight=False)


@app.command()
def show(
    context: typer.Context,
    public: Annotated[
        bool,
        switch("--public", "What it always does: secrets are not printed."),
    ] = True,
) -> None:
    """Print the JWK set that verifies tokens elsewhere: public keys only."""
    keys = Session.of(context).keys().read().keys
    print_json({"keys": [key.public() for key in keys if not key.symmetric]})
    if hidden := [key.kid for key in keys if key.symmetric]:
        err().print(f"Left out, for they have no public part: {', '.join(hidden)} (HS256)")


def take_over(session: Session) -> Plan | None:
    """Have a running lab's gateway use the keys as they are now, and a container's next.

    Returns:
        What a plain `docker compose up` would run, if that was laid out anew.
    """
    from llmlab.engines.choice import running_engine
    from llmlab.engines.compose.mounts import is_laid_out, prepare
    from llmlab.errors import EnvironmentFailure, LlmlabError

    engine = running_engine(session.lab())
    try:
        taken = engine.reload_keys() if engine else False
    except LlmlabError as error:
        raise EnvironmentFailure(
            "the keys are changed on disk, but the running lab did not take all of them over: "
            f"{error.message}",
            fix="llmlab up",
            log=error.log,
        ) from error
    if taken:
        err().print("The gateway took over the keys.")
    if engine and engine.name == "compose":
        return None  # what its containers mount is what they run with
    config = session.load().config
    try:
        return prepare(session.lab(), config, session.keys().read())
    except (LlmlabError, OSError) as error:
        fix = getattr(error, "fix", None)
        if is_laid_out(session.lab()):
            raise EnvironmentFailure(
                "the keys are changed on disk, but what docker-compose.yml mounts holds the ones "
                f"from before: {error}",
                fix=fix or "llmlab keys init",
            ) from error
        said = f"Nothing is laid out for docker-compose.yml: {error}"
        err().print(f"{said}\nFix: {fix}" if fix else said, markup=False, highlight=False)
        return None


def _refuse_demo_beyond_loopback(session: Session) -> None:
    from llmlab.engines.record import Record
    from llmlab.errors import UsageError

    configs = [session.load().config]
    if record := Record.read(session.lab()):
        configs.append(record.plan().config)
    for config in configs:
        if not config.gateway.loopback:
            raise UsageError(
                f"the published key would let anybody in through {config.gateway.host}",
                fix="set gateway.host to 127.0.0.1 and llmlab up, then try again",
            )
