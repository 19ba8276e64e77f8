from __future__ import annotations

import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.delivery.request_logs import Found
    from llmlab.delivery.searching import LoggedRequest, Wanted
    from llmlab.delivery.tracing import Traced

LISTED, MOST = 20, 10_000  # requests, where nobody says how many; and at once
LIST = ("at", "request id", "status", "subject", "route", "deployment", "took", "asked")


def trace(
    context: typer.Context,
    request_id: Annotated[
        list[str] | None,
        typer.Argument(metavar="REQUEST_ID...", help="As in X-Request-ID; - reads them on stdin."),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=MOST, help="Without an id: list so many, the newest "
                     "first. Default: 20, where one of the next is given."),
    ] = None,
    subject: Annotated[str, typer.Option(metavar="NAME", help="Those of this caller.")] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="Of this deployment, or model.")
    ] = "",
    status: Annotated[
        str, typer.Option(metavar="STATUS", help="With this status: 429, or 5xx for all of them.")
    ] = "",
    route: Annotated[str, typer.Option(metavar="ROUTE", help="That asked for this route.")] = "",
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Of the last 15m, 24h, 7d.")
    ] = "",
    output: OutputOption = Format.TEXT,
) -> None:  # fmt: skip
    """Tell which model served a request, by which route, and how long it took; or list requests.

    Also of a lab that is down, from its logs. Exit code 1 if a request is in none of them.
    """
    from llmlab.errors import UsageError

    session = Session.of(context)
    if last or subject or model or status or route or since:
        if request_id:
            raise UsageError(
                "a request is asked for by its id, or looked for by what it was, and not both",
                fix="llmlab trace REQUEST_ID",
            )
        _list(session, _wanted(last, subject, model, status, route, since), output)
        return
    if not request_id:
        raise UsageError(
            "no request was named; the id of each is in the header X-Request-ID of its answer, and "
            "in what `llmlab summarize -o json` prints",
            fix="llmlab trace REQUEST_ID, or llmlab trace --last 20",
        )
    given = sys.stdin.read().split() if request_id == ["-"] else request_id
    _trace(session, list(dict.fromkeys(given)), output)


def _trace(session: Session, ids: list[str], output: Format) -> None:
    from llmlab.delivery.looking_up import look_up
    from llmlab.engines.follow import no_logs

    traces, found = look_up(session.lab(), ids)
    if output is Format.JSON:
        print_json([one.as_json() for one in traces])
    else:
        for one in traces:
            _show(one)
    known = {one.request_id for one in traces}
    if missing := [one for one in ids if one not in known]:
        if not found.searched:
            raise no_logs("", [])
        _tell_missing(missing, found)
        raise typer.Exit(1)


def _wanted(
    last: int | None, subject: str, model: str, status: str, route: str, since: str
) -> Wanted:
    from llmlab.auth.tokens import parse_ttl
    from llmlab.delivery.searching import Wanted

    begin = time.time() - parse_ttl(since, option="--since") if since else 0.0
    return Wanted("", subject, model, status, route, begin, most=last or LISTED)


def _list(session: Session, wanted: Wanted, output: Format) -> None:
    from llmlab.cli.table import print_table
    from llmlab.delivery.looking_up import search

    sought = search(session.lab(), wanted)
    if output is Format.JSON:
        print_json([asdict(one) for one in sought.requests])
    elif not sought.requests:
        err().print("No request in the logs is such a one.", markup=False)
    else:
        print_table(LIST, [_row(one) for one in sought.requests])
        if sought.has_older:
            err().print(f"There are older ones: --last {min(MOST, 10 * wanted.most)}", markup=False)


def _row(one: LoggedRequest) -> list[str]:
    from llmlab.cli.moments import here
    from llmlab.cli.output import escaped

    status = f"{one.status} broken" if one.broken else str(one.status)
    cells = (
        here(one.at, fine=True), one.request_id, status, one.subject, one.route,
        one.deployment or "-", f"{one.seconds:.3f} s", f"{one.method} {one.path}",
    )  # fmt: skip
    return [escaped(cell) for cell in cells]


def _show(one: Traced) -> None:
    from llmlab.cli.moments import here
    from llmlab.cli.output import escaped
    from llmlab.delivery.telling import facts

    console = out()
    mark = "[green]●[/]" if one.status < 400 else "[red]●[/]"
    console.print(
        f"{mark} [bold]{escaped(one.request_id)}[/]  {one.status}  {escaped(one.method)} "
        f"{escaped(one.path)}  {here(one.at, fine=True)}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for name, text in facts(one).items():
        console.print(f"  [dim]{name:<9}[/]  {escaped(text)}", highlight=False, soft_wrap=True)


def _tell_missing(missing: list[str], found: Found) -> None:
    from llmlab.cli.output import escaped

    console = err()
    for one in missing:
        console.print(
            f"[bold red]Error:[/] no log tells of the request {escaped(repr(one))}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    since = f"back to {found.since}" if found.since else "which tell of no request"
    console.print(
        f"Searched: {_searched(found)}; {since}",
        markup=False, highlight=False, soft_wrap=True,
    )  # fmt: skip


def _searched(found: Found) -> str:
    """The files by their folder."""
    folders: dict[str, list[str]] = {}
    for one in found.searched:
        folder, _, name = one.rpartition("/")
        folders.setdefault(folder, []).append(name)
    return "; ".join(
        ", ".join(names) + (f" in {folder}" if folder else "") for folder, names in folders.items()
    )
