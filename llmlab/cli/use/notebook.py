from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmlab.cli.output import Format, OutputOption, err, print_json, progress
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.cli.documents import NotebookAddress


class Action(StrEnum):
    OPEN = "open"
    URL = "url"


def notebook(
    context: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(help="open: start JupyterLab and show it; url: print where it runs."),
    ] = Action.OPEN,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=1, max=65535, help="Port on this machine, to open."),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")
    ] = True,
    output: OutputOption = Format.TEXT,
) -> None:
    """Open the lab's notebooks in JupyterLab. Whoever has the URL can run programs here."""
    from llmlab.errors import UpstreamError, UsageError

    session = Session.of(context)
    engine = session.engine()
    if action is Action.URL:
        if port:
            raise UsageError("--port is for open", fix=f"llmlab notebook open --port {port}")
        url = engine.notebook_url()
        if not url:
            raise UpstreamError("no notebook server runs", fix="llmlab notebook")
    else:
        with progress("looking") as say:
            url = engine.start_notebook(session.load().config, say, port=port)
    if output is Format.JSON:
        document: NotebookAddress = {"url": url}
        print_json(document)
    else:
        print(url)
    if action is Action.OPEN and browser:
        _show(session, url)


def _show(session: Session, url: str) -> None:
    import webbrowser

    from llmlab.notebook.access import redirect_page

    page: Path = redirect_page(session.lab(), url)
    if not webbrowser.open(page.as_uri()):
        err().print("There is no browser here to open it in.")
