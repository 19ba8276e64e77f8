from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import err, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmlab.proving.findings import Check, Report
    from llmlab.proving.setup import Found


class ReportFormat(StrEnum):
    TEXT = "text"
    JSON = "json"
    JUNIT = "junit"
    SARIF = "sarif"


def probe(
    context: typer.Context,
    url: Annotated[
        str | None,
        typer.Argument(
            metavar="URL", help="Another gateway; default: the lab that runs, else a copy of it."
        ),
    ] = None,
    only: Annotated[
        str, typer.Option(metavar="NAMES", help="These groups or checks, with commas between.")
    ] = "",
    skip: Annotated[
        str, typer.Option(metavar="NAMES", help="All but these groups or checks.")
    ] = "",
    show_list: Annotated[bool, switch("--list", "List the checks, and try nothing.")] = False,
    apart: Annotated[
        bool,
        switch(
            "--apart",
            "Try a copy of the lab, whose model tells what it hears, even if the lab runs.",
        ),
    ] = False,
    token_command: Annotated[
        str,
        typer.Option(
            metavar="COMMAND",
            help="Prints a token; run without a shell. {subject} in it is the subject it is for.",
        ),
    ] = "",
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The key that signs its tokens: a private JWK (0600)."),
    ] = None,
    claim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="What tokens of that key have to say, such as iss; again."
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="NAME", help="The model to chat with.")
    ] = "",
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Who signs its certificate (PEM).")
    ] = None,
    i_may_test_this_host: Annotated[
        bool, switch("--i-may-test-this-host", "It is another machine, and its owner agrees.")
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.1,
            max=2000,
            help="Requests/s; default: 200 on this machine, 5 elsewhere.",
        ),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, max=100_000, help="Send no more than so many in all."),
    ] = None,
    deadline: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, max=7200, help="What has not begun by then is undecided."
        ),
    ] = 600.0,
    patience: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=1,
            max=120,
            help="For one answer, and for a slow client to be shown out.",
        ),
    ] = 15.0,
    every: Annotated[bool, switch("--all", "Tell of checks that passed as well.")] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what was found into a .html file.")
    ] = None,
    output: Annotated[
        ReportFormat,
        typer.Option("--output", "-o", help="text for people; json, junit or sarif for programs."),
    ] = ReportFormat.TEXT,
) -> None:
    """Try from outside whether a gateway holds what it promises, this lab's or another one."""
    from llmlab.cli.judge.probe_view import print_list, print_report
    from llmlab.proving import catalogue
    from llmlab.proving.page import page
    from llmlab.proving.setup import Wishes, find
    from llmlab.report.file import check_place, write

    checks = catalogue.chosen(only, skip)
    if show_list:
        if output is ReportFormat.JSON:
            print_json([{"id": one.id, "proves": one.proves, "fix": one.fix} for one in checks])
        else:
            print_list(checks)
        return
    if report:
        check_place(report, "--report")
    wishes = Wishes(
        url, token_command, key_file, claim or (), model, ca_file, apart, i_may_test_this_host,
        rate, requests, patience, dict(os.environ),
    )  # fmt: skip
    with progress("looking") as say, find(wishes, Session.of(context).folder, checks, say) as found:
        pace, most = wishes.pace(found.target.url, checks)
        err().print(
            f"{found.target.url}: {len(checks)} checks, about {catalogue.requests(checks)} "
            f"requests and no more than {most}, at most {pace:g} a second, within {deadline:g} s",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        told = _run(found, checks, deadline, say)
    if report:
        write(report, page(told))
        err().print(f"wrote {report}", highlight=False, soft_wrap=True)
    if output is ReportFormat.TEXT:
        print_report(told, every=every)
    else:
        _print_document(told, output)
    told.insist()


def _run(found: Found, checks: list[Check], deadline: float, say: Callable[[str], None]) -> Report:
    import asyncio

    from llmlab.proving.looking import look
    from llmlab.proving.running import run

    async def look_and_run() -> Report:
        target = found.target
        # What is asked of TLS says nothing, and may be why nothing else can be asked.
        if any(one.group != "tls" for one in checks):
            target = await look(target)
        return await run(target, checks, deadline=deadline, known=found.known, begins=_telling(say))

    return asyncio.run(look_and_run())


def _telling(say: Callable[[str], None]) -> Callable[[Check], None]:
    """Each check, to a person who watches; elsewhere a line for each group."""
    watched, told = err().is_terminal, {""}

    def tell(one: Check) -> None:
        if watched:
            say(one.id)
        elif one.group not in told:
            told.add(one.group)
            say(f"trying {one.group}")

    return tell


def _print_document(report: Report, form: ReportFormat) -> None:
    from llmlab.proving import junit, sarif

    match form:
        case ReportFormat.JUNIT:
            print(junit.document(report), end="")
        case ReportFormat.SARIF:
            print_json(sarif.document(report))
        case _:
            print_json(report.as_json())
