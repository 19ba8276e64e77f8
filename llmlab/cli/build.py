from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llmlab.cli.output import Format, OutputOption, err, out, print_json
from llmlab.cli.session import Session


class Progress(StrEnum):
    AUTO = "auto"
    PLAIN = "plain"


class ImageName(StrEnum):
    API = "llmapi"
    GATEWAY = "nginx"
    NOTEBOOKS = "jupyter"


def build(
    context: typer.Context,
    tag: Annotated[str, typer.Option(metavar="TAG", help="Tag of the images.")] = "latest",
    extra: Annotated[
        str,
        typer.Option(
            metavar="models|none",
            help="models: with torch and transformers; none: the embedded model.",
        ),
    ] = "models",
    only: Annotated[
        list[ImageName] | None,
        typer.Option(metavar="|".join(ImageName), help="Build only this one; repeat for several."),
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", metavar="", help="Build every layer anew.")
    ] = False,
    progress: Annotated[Progress, typer.Option(help="How the build shows itself.")] = Progress.AUTO,
    ca: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Certificates that pip has to trust."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", metavar="", help="Print the commands instead of running them."),
    ] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Build the lab's container images: the API, the gateway and the notebooks."""
    from llmlab.engines.compose import images
    from llmlab.errors import UsageError

    if extra not in ("models", "none"):
        raise UsageError(f"--extra {extra!r} is neither models nor none")
    lab = Session.of(context).lab()
    options = images.BuildOptions(
        tag=tag, no_cache=no_cache, progress=progress.value, ca=ca,
        revision=images.revision_of(lab.root),
    )  # fmt: skip
    wheels = images.offered_wheels(lab, os.environ) if extra == "models" else []
    folder = images.lay_out_context(lab, extra=extra, wheels=wheels)
    wanted = [one for one in images.images() if not only or one.service in only]
    commands = [images.build_command(image, lab, folder, options, os.environ) for image in wanted]
    if dry_run:
        for command in commands:
            print(shlex.join(command))
        return
    built = []
    for image, command in zip(wanted, commands, strict=True):
        err().print(f"building {image.name}:{tag}", style="bold", highlight=False)
        built.append(images.build(image, command, tag))
    if output is Format.JSON:
        print_json([asdict(one) for one in built])
        return
    for one in built:
        mark = "[green]✓[/]" if one.size < one.limit else "[yellow]![/]"
        out().print(
            f"{mark} [bold]{one.name}[/] {one.id}  {one.size // images.MIB} MiB "
            f"[dim](limit {one.limit // images.MIB})[/]  {one.seconds} s",
            highlight=False,
        )
    err().print("Next: llmlab keys init && docker compose up -d --wait", highlight=False)
