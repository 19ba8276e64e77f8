from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.endings import INTERRUPTED
from llmlab.cli.options import DeploymentOption, switch
from llmlab.cli.output import Format, OutputOption
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Coroutine


def load(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE|DIR|-", help="Own texts to send; default: a built-in set."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N",
            min=1,
            max=512,
            help="Closed loop: so many clients, each of which waits for its answer; default: 4.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.01,
            max=2000,
            help="Open loop: so many requests/s at random times, whatever the lab does.",
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(metavar="TIME", help="Such as 30s, the default, 5m or 1h.")
    ] = None,
    requests: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=200_000, help="End after so many.")
    ] = None,
    warm_up: Annotated[
        str, typer.Option(metavar="TIME", help="Time before that does not count.")
    ] = "2s",
    until: Annotated[
        str | None,
        typer.Option(
            metavar="PROMISE",
            help="Find the highest rate that keeps 'p95<2s', 'failed<1%' or the like, of a chat "
            "also 'first_token.p95<500ms' or 'gaps.p99<100ms'; where it is a time, at most 1 % of "
            "the requests may fail.",
        ),
    ] = None,
    chat: Annotated[
        bool,
        switch("--chat", "Ask a chat model, by streams: first token, gaps and tokens/s as well."),
    ] = False,
    route: Annotated[
        str | None,
        typer.Option(
            metavar="ROUTE",
            autocompletion=completing.routes,
            help="Of a chat: this public name; default: the lab's own for chats.",
        ),
    ] = None,
    model: DeploymentOption = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=100_000,
            help="Of a chat: tokens of an answer; default: 128.",
        ),
    ] = None,
    subjects: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=1000,
            help="Ask as so many callers in turn; the rate limit holds for each.",
        ),
    ] = 1,
    repeat: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=10_000,
            help="Send so many texts again and again: the lab's cache may answer.",
        ),
    ] = 0,
    retry: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=600,
            help="Ask again for so long after 429, 502, 503, when Retry-After says; 0 = never.",
        ),
    ] = 0.0,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, max=600, help="Seconds for one try.")
    ] = 150.0,
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="For the same texts and times as another run."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A lab elsewhere; its token is in LLMLAB_TOKEN."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw latency over time into a .html or .png file."),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Put the lab under load, and tell how it bears it."""  # fmt: skip
    from llmlab.cli.judge.load_report import Report
    from llmlab.cli.judge.load_view import live
    from llmlab.client.sources import collect
    from llmlab.probe.load import Generator, Run
    from llmlab.probe.plot import check_plot
    from llmlab.probe.setup import Wishes, supply
    from llmlab.probe.slo import Promise, Search
    from llmlab.probe.target import Target

    promise = Promise.parse(until) if until else None
    profile = Wishes(
        model,
        concurrency,
        rate,
        duration,
        requests,
        warm_up,
        retry,
        timeout,
        promise,
        seed,
        chat,
        route,
        max_tokens,
    ).profile()
    if plot:
        check_plot(plot)
    supplied = supply(collect(inputs or []), repeat, profile.seed, chat)
    target = Target.find(url, Session.of(context).folder, subjects)
    target.check(profile)
    generator = Generator(target.url, target.headers, supplied.texts, trust=target.trust)
    report = Report(target, profile, supplied.told, output, plot)
    with live(target.url + profile.path) as watch:
        if promise:
            search = Search(promise, profile)
            interrupted = _interrupted(search.run(generator, watch))
        else:
            run = Run(profile)
            interrupted = _interrupted(generator.run(run, watch))
    if promise:
        report.search(search, interrupted)
    else:
        report.run(run, interrupted)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if promise:
        search.insist()
    else:
        run.insist(target.url)


def _interrupted(work: Coroutine[None, None, None]) -> bool:
    """Do it, and tell whether Ctrl-C ended it; what was measured until then is there."""
    import asyncio

    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        return True
    return False
