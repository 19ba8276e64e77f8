"""llmlab: a language model behind a real gateway, with one command.

``from llmlab import Client`` gives the client library; everything else is
behind the ``llmlab`` command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmlab.version import __version__

__all__ = ["AsyncClient", "Client", "__version__"]

if TYPE_CHECKING:
    from llmlab.client import AsyncClient, Client


def __getattr__(name: str) -> Any:
    # Imported on first use: `import llmlab` alone stays cheap for the CLI.
    if name in ("Client", "AsyncClient"):
        from llmlab import client

        return getattr(client, name)
    raise AttributeError(f"module 'llmlab' has no attribute {name!r}")
