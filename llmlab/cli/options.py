"""Options that verbs of several rooms have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from llmlab.cli import completing


def switch(names: str, told: str) -> Any:
    """An option without a value, for ``Annotated``.

    Args:
        names: as they are typed, with spaces between: ``--watch -w``.
    """
    return typer.Option(*names.split(), metavar="", help=told)


WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="A reason, for the ledger.")]
DeploymentOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", autocompletion=completing.deployments,
        help="This deployment; default: the stable one.",
    ),
]  # fmt: skip


RouteOption = Annotated[
    str,
    typer.Option(
        metavar="ROUTE", autocompletion=completing.routes, show_default=False,
        help="The public name; default: the one that is under way, else summarize.",
    ),
]  # fmt: skip


class ComputeType(StrEnum):
    INT8 = "int8"
    FLOAT32 = "float32"
