from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmlab.cli.options import switch
from llmlab.cli.output import Format, OutputOption, err, out, print_json, progress, show_warning
from llmlab.cli.session import Session

app = typer.Typer(
    add_completion=False,
    help="The lab as files for another platform.",
    no_args_is_help=True,
)


@app.callback()
def _group() -> None:
    """Without it, a group of one verb would be that verb."""


@app.command()
def kubernetes(
    context: typer.Context,
    folder: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", file_okay=False, help="Where they are written."),
    ] = Path("kubernetes"),
    gateway_api: Annotated[
        str,
        typer.Option(
            metavar="[NAMESPACE/]NAME",
            help="A Gateway of the cluster, from which an HTTPRoute leads to the lab's own.",
        ),
    ] = "",
    hostname: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Of that route; repeat for several. Default: any."),
    ] = None,
    namespace: Annotated[
        str, typer.Option(metavar="NAME", help="The namespace that all of it is in.")
    ] = "llmlab",
    registry: Annotated[
        str, typer.Option(metavar="REPO", help="Where the images are: REPO/NAME:TAG.")
    ] = "",
    tag: Annotated[
        str, typer.Option(metavar="TAG", help="Of images without a model. Default: the version.")
    ] = "",
    image: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IMAGE",
            help="The image of one deployment, or of the gateway; repeat for several.",
        ),
    ] = None,
    models_claim: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="A PersistentVolumeClaim with the models' files. Default: images hold them.",
        ),
    ] = "",
    pull_secret: Annotated[
        str, typer.Option(metavar="NAME", help="The Secret by which images are pulled.")
    ] = "",
    cores: Annotated[
        int,
        typer.Option(
            min=0,
            max=1024,
            show_default=False,
            help="Of each process whose model has weights. Default: cores of the model, else 2.",
        ),
    ] = 0,
    most: Annotated[
        int,
        typer.Option(
            "--max-replicas",
            min=0,
            max=64,
            show_default=False,
            help="Processes that a deployment may come to. Default: scale of its model, else 4.",
        ),
    ] = 0,
    gateways: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            show_default=False,
            help="Processes of the gateway. Default: 2, and 1 in a lab with budgets.",
        ),
    ] = 0,
    cluster_domain: Annotated[
        str, typer.Option(metavar="NAME", help="What names of the cluster end with.")
    ] = "cluster.local",
    resolver: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            show_default=False,
            help="The cluster's name server. Default: kube-dns.kube-system.svc.cluster.local.",
        ),
    ] = "",
    force: Annotated[bool, switch("--force", "Replace an export of before.")] = False,
    output: OutputOption = Format.TEXT,
) -> None:
    """Write the lab as Kubernetes manifests, a kustomize base: as it runs, or as it would.

    They are checked against Kubernetes' schemas, and were not run. The keys are in files of their
    own, for you alone, which git ignores.
    """  # fmt: skip
    from llmlab.cli.documents import Exported
    from llmlab.export.deployed import plan_of
    from llmlab.export.kubernetes import export
    from llmlab.export.readme import command
    from llmlab.export.wishes import Wishes
    from llmlab.export.writing import write
    from llmlab.version import __version__

    session = Session.of(context)
    lab = session.lab()
    wishes = Wishes(
        namespace=namespace, registry=registry.rstrip("/"), tag=tag or __version__,
        images=_images(image or []), claim=models_claim, pull_secret=pull_secret, cores=cores,
        most=most, gateways=gateways, domain=cluster_domain, resolver=resolver,
        parent=gateway_api, hostnames=tuple(hostname or ()),
    )  # fmt: skip
    with progress("looking at the models") as say:
        told = export(lab, plan_of(lab, say), session.keys().read(), wishes)
    files = write(folder, told.files, force=force)
    builds = [command(one) for one in told.builds]
    if output is Format.JSON:
        print_json(Exported(
            folder=str(folder.absolute()), files=files, images=list(told.images), builds=builds,
            notes=list(told.notes), checked="schema-checked, not run",
        ))  # fmt: skip
        return
    for note in told.notes:
        show_warning(note)
    err().print(
        f"[bold green]✓[/] {len(files)} files in {folder}: schema-checked, not run.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    shown = [*builds, f"kubectl apply -k {folder} --server-side"]
    out().print("\n".join(["Next:", *(f"  {one}" for one in shown)]), markup=False,
                highlight=False, soft_wrap=True)  # fmt: skip


def _images(said: list[str]) -> dict[str, str]:
    from llmlab.errors import UsageError

    found = {}
    for one in said:
        name, equals, image = one.partition("=")
        if not (name and equals and image):
            raise UsageError(
                f"--image {one!r} does not say whose image it is",
                fix="--image textrank=registry.example.com/team/llmapi:1",
            )
        found[name] = image
    return found
