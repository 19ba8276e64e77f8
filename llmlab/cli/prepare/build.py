from __future__ import annotations

import os
import shlex
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import switch
from llmlab.cli.output import DryRunOption, Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmlab.engines.compose.images import Built


class Progress(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"


class ImageName(StrEnum):
    API = "llmapi"
    GATEWAY = "nginx"
    NOTEBOOKS = "jupyter"
    WAF = "waf"


def build(
    context: typer.Context,
    tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of the images.")] = "latest",
    extra: Annotated[
        str,
        typer.Option(
            metavar="serve|models|chat|none",
            help="serve: ctranslate2, for converted models; models: torch and transformers as "
            "well; chat: llama.cpp, for language models; serve,chat or models,chat: both; none: "
            "the embedded model only. Default: what the stable model, those deployed, the "
            "fallback and --with-model need; at least serve.",
        ),
    ] = "",
    with_model: Annotated[
        str,
        typer.Option(
            "--with-model",
            metavar="NAME",
            autocompletion=completing.models,
            help="Bake this model's weights into the API image.",
        ),
    ] = "",
    push: Annotated[
        str, typer.Option(metavar="REPO", help="Push the images as REPO/NAME:TAG.")
    ] = "",
    only: Annotated[
        list[ImageName] | None,
        typer.Option(metavar="|".join(ImageName), help="Build only this one; repeat for several."),
    ] = None,
    no_cache: Annotated[bool, switch("--no-cache", "Build every layer anew.")] = False,
    progress: Annotated[Progress, typer.Option(help="How the build shows itself.")] = Progress.AUTO,
    ca: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Certificates that pip has to trust."),
    ] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Build the lab's container images: the API, the gateway and the notebooks, and the WAF's where
    lab.toml has gateway.waf.enabled, or --only waf asks for it."""
    from llmlab.engines.compose import images
    from llmlab.engines.compose.extras import chosen_extra
    from llmlab.engines.compose.push import checked_repository, push_commands, push_image

    session = Session.of(context)
    lab, config = session.lab(), session.load().config
    if with_model:
        config, (with_model,) = session.catalogue(config).with_models([with_model])
    extra = chosen_extra(extra, config, with_model)
    repository = checked_repository(push) if push else ""
    options = images.BuildOptions(
        tag=tag, no_cache=no_cache, progress=progress.value, ca=ca,
        revision=images.revision_of(lab.root),
    )  # fmt: skip
    wheels = images.offered_wheels(lab, os.environ, extra)
    folder = images.lay_out_context(
        lab, config=config, extra=extra, wheels=wheels, model=with_model
    )
    every = images.images(extra, waf=config.gateway.waf.enabled or ImageName.WAF in (only or ()))
    wanted = [one for one in every if not only or one.service in only]
    commands = [images.build_command(one, lab, folder, options, os.environ) for one in wanted]
    if dry_run:
        if repository:
            commands += [c for one in wanted for c in push_commands(one.name, tag, repository)]
        for command in commands:
            print(shlex.join(command))
        return
    built = []
    for image, command in zip(wanted, commands, strict=True):
        _say(f"building {image.name}:{tag}")
        built.append(images.build(image, command, tag))
    made = {image.service: one.name for image, one in zip(wanted, built, strict=True)}
    replace(images.BuiltImages.read(lab), **made).write(lab)
    if repository:
        _say(f"pushing to {repository}")
        names = [push_image(image.name, tag, repository) for image in wanted]
        built = [replace(one, pushed=name) for one, name in zip(built, names, strict=True)]
    if output is Format.JSON:
        print_json([asdict(one) for one in built])
        return
    _show(built)
    err().print(
        "Next: llmlab up, or without llmlab: llmlab keys init && docker compose up -d --wait",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _say(text: str) -> None:
    err().print(text, style="bold", highlight=False)


def _show(built: Sequence[Built]) -> None:
    for one in built:
        mark = "[green]✓[/]" if one.size < one.limit else "[yellow]![/]"
        out().print(
            f"{mark} [bold]{one.name}[/] {one.id}  {one.size >> 20} MiB "
            f"[dim](limit {one.limit >> 20})[/]  {one.seconds} s"
            + (f"  pushed as {one.pushed}" if one.pushed else ""),
            highlight=False,
        )
