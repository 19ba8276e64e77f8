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
    document = build_app(settings).openapi()
    document["servers"] = [{"url": config.gateway.url}]
    document.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    document["security"] = [{"token": []}]
    for path, operations in document["paths"].items():
        if path.startswith("/health"):  # the gateway lets these through without a token
            for operation in operations.values():
                operation["security"] = []
    print_json(document)
