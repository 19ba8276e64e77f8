from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import AddedUpstream


def add_upstream(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in this lab.")],
    base_url: Annotated[
        str,
        typer.Option("--base-url", metavar="URL", help="Up to and with /v1."),
    ],
    model: Annotated[str, typer.Option("--model", "-m", metavar="NAME", help="Its name there.")],
    key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The file with its key, which nobody else may read."),
    ] = None,
    key_env: Annotated[
        str,
        typer.Option(metavar="NAME", help="The environment variable with its key, at `up`."),
    ] = "",
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A further header, no secret; repeat for several."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Who signs its certificate, as PEM, if nobody known."),
    ] = None,
    context_size: Annotated[
        int,
        typer.Option("--context", metavar="N", help="Tokens of prompt and answer; default: 8192."),
    ] = 0,
    fallback: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            autocompletion=completing.models,
            help="The model of lab.toml that answers while this one does not.",
        ),
    ] = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Write a model elsewhere into configs/lab.toml: one behind any server that speaks OpenAI's
    dialect.

    Its key is never an argument: it stands in a file of mode 0600, or in the environment of
    `llmlab up`.
    """
    from llmlab.models.inspect import ids
    from llmlab.upstreams.adding import add, headers_of, in_lab

    session = Session.of(context)
    lab, catalogue = session.lab(), session.catalogue()
    if name not in catalogue.config.models:  # or lab.toml would hide it
        catalogue.refuse_registered(name)
    added = add(lab, name, {
        "base_url": base_url, "model": model, "key_file": in_lab(key_file, lab),
        "key_env": key_env, "headers": headers_of(header or []),
        "ca_file": in_lab(ca_file, lab), "context": context_size, "fallback": fallback,
    })  # fmt: skip
    (model_id,) = ids(name, added, lab.root)
    if output is Format.JSON:
        document: AddedUpstream = {
            "name": name, "id": model_id, "base_url": added.base_url, "model": added.model
        }  # fmt: skip
        print_json(document)
        return
    err().print(
        f"[bold green]✓[/] \\[models.{name}] is in configs/lab.toml. `llmlab doctor` tries it, "
        f"`llmlab deploy {name}` runs it beside the others.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    print(name)
