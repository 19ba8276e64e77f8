from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlab.cli.output import err


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; created if absent.")],
) -> None:
    """Lay out a new lab. Files that are there already are left alone."""
    from llmlab.lab import init_lab

    root = folder.resolve()
    created = init_lab(root)
    console = err()
    for file in created:
        console.print(f"  [green]+[/] {file}", highlight=False)
    if not created:
        console.print(f"{root} is a lab already; nothing was changed.", highlight=False)
        return
    console.print(f"[bold green]✓[/] A lab in {root}", highlight=False)
    console.print(f"Next: cd {folder} && llmlab up", highlight=False)
