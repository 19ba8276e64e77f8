"""By which certificates the server of a model elsewhere is known."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx2

from llmlab.errors import EnvironmentFailure, unreadable


def trusted(ca: Path | None) -> ssl.SSLContext:
    """
    Args:
        ca: a bundle of the certificates to trust; None for those that the machine trusts.

    Raises:
        EnvironmentFailure: there is no such bundle, or it is none.
    """
    if ca is None:
        return httpx2.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(ca))
    except OSError as error:  # ssl.SSLError is one
        raise EnvironmentFailure(
            f"{ca} holds no certificates to trust: {unreadable(error)}",
            fix="ca_file should name a file of PEM certificates",
        ) from None
