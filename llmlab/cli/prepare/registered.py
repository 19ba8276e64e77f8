"""The verbs of `llmlab models` that write to the registry, or read nothing but it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.options import ComputeType, WhyOption, switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json, printable
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import ExportedModel
    from llmlab.registry import Added, Record
    from llmlab.registry.catalogue import Catalogue
    from llmlab.registry.checking import VerifiedModels
    from llmlab.registry.record import Target

Reference = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        autocompletion=completing.registered,
        help="NAME, NAME:VERSION, an alias, or sha256:DIGITS.",
    ),
]


class RuntimeName(StrEnum):
    CTRANSLATE2 = "ctranslate2"
    TRANSFORMERS = "transformers"
    LLAMACPP = "llamacpp"


def add(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|FILE.gguf|MODEL",
            autocompletion=completing.models,
            help="A folder laid out like a hub snapshot, or converted; a language model as GGUF, "
            "or the folder with it; or a language model that the lab has, with another prompt "
            "or decoding.",
        ),
    ],
    name: Annotated[
        str,
        typer.Option("--name", "-n", metavar="NAME", help="Its name; of MODEL: default its own."),
    ] = "",
    license_: Annotated[
        str, typer.Option("--license", metavar="TEXT", help="The licence it is under.")
    ] = "",
    note: Annotated[str, typer.Option(metavar="TEXT", help="What a person should know.")] = "",
    runtime: Annotated[
        RuntimeName | None,
        typer.Option(help="What runs it. Default: llamacpp for a GGUF, else ctranslate2."),
    ] = None,
    compute_type: Annotated[
        ComputeType, typer.Option(help="What ctranslate2 converts it to, unless that is done.")
    ] = ComputeType.INT8,
    max_length: Annotated[
        int | None,
        typer.Option(metavar="N", help="Longest summary, in the model's tokens. Default: 100."),
    ] = None,
    min_length: Annotated[
        int | None, typer.Option(metavar="N", help="Shortest summary. Default: 5.")
    ] = None,
    prompt: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="How a language model is asked for a summary; a copy is kept. Default: "
            "configs/prompts/summarize.md, or as MODEL is asked.",
        ),
    ] = None,
    decoding: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What a language model decodes by, such as temperature=0.2; repeat for several.",
        ),
    ] = None,
    file: Annotated[
        str, typer.Option(metavar="PATTERN", help="Which of several GGUF files of a folder.")
    ] = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Register a model, as the next version of its name.

    What is given as a folder or a file is copied. A version of a language model is its weights,
    its prompt and its decoding: `models add NAME --prompt FILE` makes another version of it,
    which shares the weights.
    """
    from llmlab.registry.adding import Wanted, add_model

    wanted = Wanted(
        name=name, license=license_, note=note, runtime=runtime.value if runtime else None,
        compute_type=compute_type.value, max_length=max_length, min_length=min_length,
        prompt=prompt, decoding=tuple(decoding or ()), file=file,
    )  # fmt: skip
    _tell_added(add_model(Session.of(context).catalogue(), what, wanted, say=_say), output)


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `export` wrote.")],
    name: Annotated[
        str, typer.Option("--name", "-n", metavar="NAME", help="Another name than it had.")
    ] = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Register the model of an archive, once every file of it is verified."""
    from llmlab.registry.archive import import_model

    catalogue = Session.of(context).catalogue()
    added = import_model(catalogue.registry, file, name, check=catalogue.refuse_defined)
    _tell_added(added, output)


def export(
    context: typer.Context,
    model: Reference,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    output: OutputOption = Format.TEXT,
) -> None:
    """Write a registered model, verified, to one file, for machines without a network."""
    from llmlab.registry.archive import export_model

    registry = Session.of(context).registry()
    record = registry.get(model)
    size = export_model(registry, record, file)
    if output is Format.JSON:
        document: ExportedModel = {
            "reference": record.reference, "id": record.id, "file": str(file), "bytes": size
        }  # fmt: skip
        print_json(document)
        return
    err().print(f"[bold green]✓[/] {record.reference}: {size:,} bytes", highlight=False)
    print(file)


def tag(
    context: typer.Context,
    model: Reference,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as stable or candidate.")],
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Point an alias to a registered model. A lab that runs follows at the next `up`."""
    catalogue = Session.of(context).catalogue()
    catalogue.refuse_defined(alias)
    move = catalogue.registry.tag(model, alias, why)
    if output is Format.JSON:
        print_json(move.as_json() if move else None)
    elif move is None:
        err().print(f"{alias} points there already.", highlight=False)
    else:
        err().print(f"[bold green]✓[/] {alias}: {_told(move.was)} → {_told(move.to)}",
                    highlight=False)  # fmt: skip


def untag(
    context: typer.Context,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="One that there is.")],
    why: WhyOption = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Take an alias away; its history stays."""
    move = Session.of(context).registry().untag(alias, why)
    if output is Format.JSON:
        print_json(move.as_json())
        return
    err().print(f"[bold green]✓[/] {alias} is gone; it was {_told(move.was)}", highlight=False)


def history(
    context: typer.Context,
    alias: Annotated[str, typer.Argument(metavar="[ALIAS]", help="Only of this one.")] = "",
    output: OutputOption = Format.TEXT,
) -> None:
    """Every move of an alias, the oldest first: from what, to what, when, who, and why."""
    moves = Session.of(context).registry().history(alias)
    if output is Format.JSON:
        print_json([move.as_json() for move in moves])
        return
    from llmlab.cli.output import escaped
    from llmlab.cli.table import print_table

    print_table(
        ("when", "alias", "from", "to", "who", "why"),
        [
            (move.at, move.alias, _told(move.was), _told(move.to), escaped(move.who),
             escaped(move.why))
            for move in moves
        ],
    )  # fmt: skip


def rm(
    context: typer.Context,
    model: Reference,
    force: Annotated[bool, switch("--force", "Even if it is in use; its aliases go too.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Remove a registered model and its files; what was recorded of it stays."""
    session = Session.of(context)
    catalogue = session.catalogue()
    record = catalogue.registry.get(model)
    users = "" if force else " and ".join(_users(session, catalogue, record))
    removed = catalogue.registry.remove(record.reference, in_use=users, force=force)
    if output is Format.JSON:
        print_json(removed.as_json())
        return
    err().print(f"[bold green]✓[/] {removed.reference} is removed.", highlight=False)


def verify(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL...]", autocompletion=completing.registered, help="Default: all."
        ),
    ] = None,
    output: OutputOption = Format.TEXT,
) -> None:
    """Read every byte of the registered models. Exit code 1 if anything is not as registered."""
    catalogue = Session.of(context).catalogue()
    registry = catalogue.registry
    for reference in models or ():
        catalogue.refuse_elsewhere(reference)
    wanted = [registry.get(one) for one in models] if models else registry.records()
    verdicts = [registry.verify(record) for record in wanted]
    problems = registry.database.problems()
    if output is Format.JSON:
        document: VerifiedModels = {
            "database": problems, "models": [one.as_json() for one in verdicts]
        }  # fmt: skip
        print_json(document)
    else:
        for problem in problems:
            out().print(f"[red]damaged[/] {registry.database.file}: {problem}", highlight=False)
        marks = {"ok": "[green]ok     [/]", "damaged": "[red]damaged[/]",
                 "absent": "[yellow]absent [/]"}  # fmt: skip
        for one in verdicts:
            out().print(f"{marks[one.verdict]} [bold]{one.record.reference}[/] ", end="")
            out().print(one.message, markup=False, highlight=False, soft_wrap=True)
    if problems or any(one.verdict == "damaged" for one in verdicts):
        raise typer.Exit(1)


def _users(session: Session, catalogue: Catalogue, record: Record) -> list[str]:
    """Who uses a model, apart from aliases: lab.toml, what is deployed, and the lab that runs."""
    from llmlab.engines.choice import running_engine
    from llmlab.engines.record import Record as Running
    from llmlab.ledger.store import Store

    users = catalogue.users_of(record)
    deployed = Store(session.lab()).traffic().deployments
    users += [f"{one.name}, which is deployed" for one in deployed if one.model == record.reference]
    running = Running.read(session.lab())
    if running and running_engine(session.lab()):
        served = [
            one.deployment for one in running.plan().deployments
            if record.serves(one.model, one.prompt)
        ]  # fmt: skip
        users += [f"{one}, which runs" for one in served]
    return users


def _tell_added(added: Added, output: Format) -> None:
    record = added.record
    if output is Format.JSON:
        print_json({**record.as_json(), "new": added.new})
        return
    did = "is registered" if added.new else "was registered already"
    # Files of a hub or of a Python package are not copied.
    size = f"{record.bytes:,} bytes" if record.bytes else "its files stay where they are"
    err().print(
        f"[bold green]✓[/] {record.reference} {did}: {size}, {record.id}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    print(record.reference)


def _told(target: Target | None) -> str:
    return target.reference if target else "nothing"


def _say(text: str) -> None:
    err().print(printable(text), markup=False, highlight=False, soft_wrap=True)


VERBS: dict[str, Callable[..., None]] = {
    "add": add, "tag": tag, "untag": untag, "history": history, "rm": rm, "verify": verify,
    "export": export, "import": import_,
}  # fmt: skip
