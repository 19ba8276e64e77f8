"""What `compare` and `evaluate` share: which models are asked, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmlab.cli import completing
from llmlab.cli.options import switch
from llmlab.cli.output import err
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.evaluate.answer import Respondent
    from llmlab.evaluate.suite import Case
    from llmlab.service.settings import Settings


PATIENCE = 60.0  # seconds to ask again while a lab says that it is busy
EMBEDDED = "textrank"


class StrategyName(StrEnum):
    AUTO = "auto"
    TRUNCATE = "truncate"
    FULL = "full"


ModelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model", "-m", metavar="NAME", autocompletion=completing.models,
        help="A model, or lead-3; again for another one. Default: all that the lab runs.",
    ),
]  # fmt: skip
OfflineOption = Annotated[
    bool,
    switch("--offline", "Load the models for this alone, instead of asking the running lab."),
]  # fmt: skip
StrategyOption = Annotated[
    StrategyName | None,
    typer.Option(help="auto: all of it; truncate: the first window; full: all of it at once."),
]
MaxLengthOption = Annotated[
    int | None, typer.Option(metavar="N", help="Longest answer, in the model's tokens.")
]
MinLengthOption = Annotated[int | None, typer.Option(metavar="N", help="Shortest summary.")]
PromptOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--prompt", metavar="FILE.md",
        help="A prompt for the model, loaded for this alone; again for another one.",
    ),
]  # fmt: skip
ConcurrencyOption = Annotated[
    int,
    typer.Option(
        "--concurrency", "-c", metavar="N", min=1, max=64,
        help="Texts at a time; with more than one, requests wait for each other.",
    ),
]  # fmt: skip


def chosen_options(
    strategy: StrategyName | None, max_length: int | None, min_length: int | None
) -> dict[str, Any]:
    """What was asked for; everything else is left to the models."""
    given = {"strategy": strategy and strategy.value, "max_length": max_length,
             "min_length": min_length}  # fmt: skip
    return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True)
class Progress:
    """``of`` tells how many answers there will be, ``step`` that there is one more."""

    of: Callable[[int], None]
    step: Callable[[], None]
    say: Callable[[str], None]


@contextmanager
def bar(texts: int) -> Iterator[Progress]:
    """A progress bar on stderr, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = err()
    shown = Bar(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with shown:
        task = shown.add_task("asking", total=texts)
        yield Progress(
            of=lambda models: shown.update(task, total=texts * models),
            step=lambda: shown.update(task, advance=1, description="asking"),
            say=lambda text: shown.update(task, description=text),
        )


async def answers(
    session: Session,
    names: Sequence[str],
    cases: Mapping[str, Case],
    *,
    offline: bool,
    options: Mapping[str, Any],
    concurrency: int,
    progress: Progress,
    at_least: int = 1,
    beside: bool = False,
    prompts: Mapping[str, str] | None = None,
    seed: int = 1,
    each: Mapping[str, Mapping[str, Any]] | None = None,
    after: Mapping[str, float] | None = None,
) -> list[Respondent]:
    """Ask the models for their answers, in the order of ``names``.

    Args:
        at_least: if there are fewer names, lead-3 is one more; of texts only.
        beside: also ask lead-3 and the embedded model; of texts only.
        prompts: {name: template}: the first model is asked by each of these, under their names,
            and not by its own.
        seed: of answers in conversations.
        each: what cases say themselves; see ``Manner.own``.
        after: {name of a case: seconds from the start at which it is asked}; None: as soon as
            there is room.

    Raises:
        UsageError: a model does not exist or is not deployed.
        ModelUnavailable: one cannot be had.
        UpstreamError: the lab does not run.
    """
    from contextlib import AsyncExitStack

    from llmlab.answers import ask_all
    from llmlab.answers.sources import LEAD, Manner, by_rule, through_gateway, without_a_lab
    from llmlab.client import RetryPolicy
    from llmlab.client.client import AsyncClient
    from llmlab.errors import UsageError

    names = list(dict.fromkeys(names)) or (
        _configured(session) if offline else list(_deployed(session))
    )
    prompts = prompts or {}
    prompted = names[:1] if prompts else []
    names = [*prompts, *names[len(prompted) :]]
    talks = any(case.messages for case in cases.values())
    if talks and LEAD in names:
        raise UsageError(f"{LEAD} is a rule for texts, and answers no question")
    if len(names) < at_least and not talks:
        names = [*names, LEAD]
    if beside and not talks:
        names = list(dict.fromkeys([*names, LEAD, EMBEDDED]))
    progress.of(len(names))
    others = [name for name in names if name not in (LEAD, EMBEDDED, *prompts)]
    there = {} if offline or (prompts and not others) else _deployed(session)
    running = list(there)
    named = [name for name in names if name != LEAD and name not in prompts]
    called = {name: _deployment(session, name, running) for name in named}
    alone = {name: one for name, one in called.items() if one not in running}
    if not offline and (missing := [name for name in alone if not (beside and name == EMBEDDED)]):
        raise UsageError(f"{missing[0]} does not run in this lab", fix=_way_to(session, called))
    settings = {name: _settings(session, name, progress.say) for name in alone}
    settings |= {
        label: _settings(session, model, progress.say, prompt)
        for model in prompted
        for label, prompt in prompts.items()
    }
    manner = Manner(options, seed, each or {})
    async with AsyncExitStack() as stack:
        by_name = {LEAD: by_rule()}
        loading = without_a_lab(list(settings.values()), manner, progress.say)
        own = await stack.enter_async_context(loading)
        by_name |= dict(zip(settings, own, strict=True))
        if through := [name for name in called if name not in alone]:
            client = AsyncClient(lab=session.folder, retry=RetryPolicy(PATIENCE))
            await stack.enter_async_context(client)
            about = {one: there[one] for one in (called[name] for name in through)}
            by_deployment = {one.name: one for one in through_gateway(client, about, manner)}
            by_name |= {name: by_deployment[called[name]] for name in through}
        # Two names of one model are two askers: each has answers of its own.
        asked = [replace(by_name[name], name=name, answers={}) for name in names]
        return await ask_all(
            asked, cases, concurrency=concurrency, done=progress.step, after=after or {}
        )


def _way_to(session: Session, wanted: Mapping[str, str]) -> str:
    """How these models come to run. Of one that is not on disk, `up` would have the fallback
    answer in its place, which is what the lab does now.

    Args:
        wanted: {as a person called it: name of its deployment}.
    """
    from llmlab.models import availability

    catalogue = session.catalogue()
    for name in wanted:
        if known := catalogue.find(name):
            found = availability(
                known.name, known.model, catalogue.registry.root,
                llama_server=catalogue.config.service.llama_server,
            )  # fmt: skip
            if not found.ready:
                return f"{found.fix} (for {found.reason}), then llmlab up --model {name}"
    named = " ".join(f"--model {name}" for name in wanted if name != EMBEDDED)
    return f"llmlab up {named}; or --offline"


def _deployment(session: Session, name: str, running: Sequence[str]) -> str:
    """The name of a model's deployment, as it is or would be; a registered model has several
    names.

    Raises:
        UsageError: there is no such model.
    """
    if name in running or name == EMBEDDED:
        return name
    return session.catalogue().get(name).name


def _deployed(session: Session) -> dict[str, tuple[str, str]]:
    """{deployment: (its model's id, its runtime)}"""
    from llmlab.errors import UpstreamError

    status = session.engine().status()
    if not status.running:
        raise UpstreamError("the lab does not run", fix="llmlab up; or --offline")
    return {one.name: (one.model_id, one.runtime) for one in status.deployments}


def _configured(session: Session) -> list[str]:
    config = session.load().config
    return list(dict.fromkeys([*config.served.values(), *config.deploy]))


def _settings(
    session: Session, name: str, say: Callable[[str], None], prompt: str = ""
) -> Settings:
    """The settings of an API process with a model of this lab.

    Args:
        prompt: a template that takes the place of its own; "" for its own.
    """
    from llmlab.answers.alone import settings_alone
    from llmlab.config.schema import TEXTRANK
    from llmlab.errors import UsageError

    config = session.load().config
    if name == EMBEDDED and name not in config.models:
        config = config.model_copy(update={"models": {**config.models, name: TEXTRANK}})
    else:
        config, (name,) = session.catalogue(config).with_models([name])
    if prompt:
        model = config.models[name]
        if not model.chats:
            raise UsageError(f"{name} only summarizes, and takes no prompt")
        asked = model.model_copy(update={"prompt": prompt})
        config = config.model_copy(update={"models": {**config.models, name: asked}})
    return settings_alone(config, name, session.lab().root, say)


def read_prompts(files: Sequence[Path]) -> dict[str, str]:
    """{name: template}; a prompt is called by its file, with the folder where that is needed.

    Raises:
        UsageError: one cannot be read, is no template, or is there twice.
    """
    from llmlab.errors import UsageError
    from llmlab.models.prompts import read_prompt

    short = [file.name for file in files]
    found: dict[str, str] = {}
    for file in files:
        name = file.name if short.count(file.name) == 1 else str(file)
        if name in found:
            raise UsageError(f"--prompt {file} is there twice")
        found[name] = read_prompt(file)
    return found
