from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, duration, err, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.config import Config
    from llmlab.lab import Lab

OPENS = 20.0  # seconds for a browser to come up and use its code
POLL = 0.1


def console(
    context: typer.Context,
    viewer: Annotated[
        bool, switch("--viewer", "As somebody who may look, and change nothing.")
    ] = False,
    ttl: Annotated[
        str,
        typer.Option(
            metavar="TIME", help="Until one has to sign in again; default: console.session."
        ),
    ] = "",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")
    ] = True,
    output: OutputOption = Format.TEXT,
) -> None:
    """Open the lab's console in a browser, signed in.

    Where no browser can be opened, or none is to be (-o json neither), the address is printed: it
    signs in whoever opens it first, within 5 minutes.
    """
    from llmlab import scopes
    from llmlab.auth import Claims, mint
    from llmlab.cli.documents import SignIn
    from llmlab.cli.use.token import scope_of
    from llmlab.client.credentials import user_name
    from llmlab.console import codes

    session = Session.of(context)
    lab = session.lab()
    address, config = _console_of(lab)
    role = scopes.VIEWER if viewer else scopes.OPERATOR
    seconds = _life(ttl, config)
    sub = user_name()
    claims = Claims(sub=sub, ttl=seconds, extra=scope_of([role]))
    code = codes.make(lab, mint(session.keys().read().signing, claims))
    url = f"{address}/console/enter?code={code}"
    if output is Format.JSON:
        print_json(SignIn(url=url, expires_in=codes.LIFE, sub=sub, role=role, session=seconds))
        return
    if browser and _opened(lab, url, code):
        err().print(
            f"[bold green]✓[/] The console is open: {address}/console/ [dim]({role}, for "
            f"{duration(seconds)})[/]",
            soft_wrap=True, highlight=False,
        )  # fmt: skip
        return
    if browser:
        err().print("There is no browser here to open it in. Open this address in one:")
    print(url)
    err().print(
        f"It signs in once, as {role}, and within {duration(codes.LIFE)}.", style="dim",
        highlight=False,
    )  # fmt: skip


def _console_of(lab: Lab) -> tuple[str, Config]:
    """The gateway's address, and what the lab was brought up with.

    Raises:
        UpstreamError: the lab does not run.
        UsageError: it has no console.
    """
    from llmlab.engines.choice import running_engine
    from llmlab.engines.console import why_none
    from llmlab.engines.record import Record
    from llmlab.errors import UpstreamError, UsageError

    engine, record = running_engine(lab), Record.read(lab)
    if engine is None or record is None:
        raise UpstreamError(
            "the lab does not run, and the console is one of its processes", fix="llmlab up"
        )
    config = record.plan().config
    if none := why_none(lab, config, engine.name):
        raise UsageError(f"this lab has no console: {none[0]}", fix=none[1])
    return record.url, config


def _life(ttl: str, config: Config) -> int:
    from llmlab.auth.tokens import parse_ttl
    from llmlab.config.console import LONGEST
    from llmlab.errors import UsageError

    seconds = parse_ttl(ttl) if ttl else config.console.session
    if seconds > LONGEST:
        raise UsageError(f"--ttl {ttl} is longer than a day", fix="llmlab console --ttl 24h")
    return seconds


def _opened(lab: Lab, url: str, code: str) -> bool:
    """Whether a browser was opened there, and has signed in."""
    import webbrowser

    from llmlab.browsing import leading_page
    from llmlab.console import codes

    page = leading_page(codes.folder_of(lab) / "open.html", url, "llmlab console")
    try:
        if not webbrowser.open(page.as_uri()):
            return False
        deadline = time.monotonic() + OPENS
        while codes.is_waiting(lab, code):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
    finally:
        page.unlink(missing_ok=True)
    return True
