from __future__ import annotations

import typer

from llmlab.cli.output import Format, OutputOption, print_json
from llmlab.cli.session import Session


def url(context: typer.Context, output: OutputOption = Format.TEXT) -> None:
    """Print the address of the lab's gateway; clients of OpenAI's want it with /v1 behind it."""
    from llmlab.cli.documents import Address
    from llmlab.client.credentials import resolve

    found = resolve(None, None, Session.of(context).folder).url
    if output is Format.JSON:
        print_json(Address(url=found))
    else:
        print(found)
