from __future__ import annotations

import typer

from llmlab.cli.output import print_json
from llmlab.cli.session import Session


def openapi(context: typer.Context) -> None:
    """Print the API's OpenAPI document; the lab need not run."""
    from llmlab.service.app import build_app
    from llmlab.service.settings import Settings

    config = Session.of(context).load().config
    settings = Settings(
        deployment=config.stable, name=config.stable, model=config.models[config.stable]
    )
    print_json(build_app(settings).openapi())
