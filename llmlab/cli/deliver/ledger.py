from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.documents import ExportedLedger
from llmlab.cli.output import Format, OutputOption, err, out, print_json, printable
from llmlab.cli.session import Session
from llmlab.ledger.chain import Kind

if TYPE_CHECKING:
    from llmlab.ledger.chain import Entry

LAST = 20
LONGEST = 100  # letters of a reason, in a list; -o json has all of it
app = typer.Typer(
    add_completion=False,
    help="The ledger: who changed what of the lab, when and why.",
    invoke_without_command=True,
)
KindOption = Annotated[Kind | None, typer.Option("--kind", "-k", help="Only entries of this kind.")]
LastOption = Annotated[
    int, typer.Option("--last", "-n", metavar="N", min=0, help="So many; 0 for all.")
]


@app.callback()
def ledger(
    context: typer.Context,
    kind: KindOption = None,
    last: LastOption = LAST,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show the newest entries of the ledger, the oldest of them first."""
    if context.invoked_subcommand is None:
        _show(Session.of(context), kind, last, output)


@app.command()
def show(
    context: typer.Context,
    kind: KindOption = None,
    last: LastOption = LAST,
    output: OutputOption = Format.TEXT,
) -> None:
    """Show the newest entries, the oldest of them first."""
    _show(Session.of(context), kind, last, output)


@app.command()
def verify(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="One that was exported; default: here.")
    ] = None,
    head: Annotated[
        str,
        typer.Option(metavar="HASH", help="A hash that was noted down, or its first digits."),
    ] = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Check that no entry was changed or taken out. Exit code 1 if one was."""
    from llmlab.ledger.verifying import checked_head, verify_file, verify_store

    wanted = checked_head(head)
    if file is not None:
        found, where = verify_file(file, wanted), str(file)
    else:
        store = Session.of(context).store()
        found, where = verify_store(store, wanted), str(store.database.file)
    if output is Format.JSON:
        print_json(found.as_json())
    elif found.whole:
        err().print(
            f"[bold green]✓[/] {found.entries} entries, unbroken; the hash of the last one:",
            highlight=False,
        )
        print(found.head)
    else:
        for problem in found.problems:
            out().print(f"[red]broken[/] {where}: ", end="", highlight=False, soft_wrap=True)
            out().print(printable(problem), markup=False, highlight=False, soft_wrap=True)
    if not found.whole:
        raise typer.Exit(1)


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; it is replaced.")],
    output: OutputOption = Format.TEXT,
) -> None:
    """Write all entries to a file, one JSON object a line; `verify FILE` can check it."""
    from llmlab.errors import UsageError
    from llmlab.files import write_atomically
    from llmlab.ledger import exported

    entries = Session.of(context).store().entries()
    try:
        write_atomically(file, "".join(exported.lines(entries)))
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}") from None
    head = entries[-1].hash if entries else ""
    if output is Format.JSON:
        print_json(ExportedLedger(file=str(file), entries=len(entries), head=head))
        return
    err().print(f"[bold green]✓[/] {len(entries)} entries in {file}", highlight=False)


def _show(session: Session, kind: Kind | None, last: int, output: Format) -> None:
    entries = session.store().entries(kind=kind or "", last=last)
    if output is Format.JSON:
        print_json([entry.as_json() for entry in entries])
        return
    if not entries:
        err().print(f"No entry{f' of the kind {kind}' if kind else ''} yet.", markup=False)
        return
    print_entries(entries)


def print_entries(entries: list[Entry]) -> None:
    """A verdict, and what followed from it, have one reason; it is shown once."""
    from llmlab.cli.moments import here
    from llmlab.cli.table import print_table
    from llmlab.ledger.telling import told

    rows, before = [], ""
    for one in entries:
        why = shorten(one.why, LONGEST, placeholder=" …") if one.why != before else ""
        before = one.why
        cells = (str(one.seq), here(one.at), one.who, one.kind, told(one), why)
        rows.append([_cell(text) for text in cells])
    print_table(("no", "when", "who", "kind", "what", "why"), rows)


def _cell(text: str) -> str:
    from llmlab.cli.output import escaped

    return escaped(text)
