"""Options that verbs of several rooms have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

WhyOption = Annotated[str, typer.Option("--why", metavar="TEXT", help="A reason, for the ledger.")]


class ComputeType(StrEnum):
    INT8 = "int8"
    FLOAT32 = "float32"
