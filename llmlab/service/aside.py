"""Requests that nobody waits for: copies of others', for whoever compares versions.

They get a model that has nothing else to do, one at a time, and nobody is charged for them.
"""

from __future__ import annotations

from fastapi import Request

# A subject is a header's value, and no header holds a NUL.
SUBJECT = "\0shadow"
_ASIDE = "aside"  # of a request's state


def put_aside(connection: Request) -> None:
    """From here on it takes nobody's turn."""
    connection.scope["state"][_ASIDE] = True


def is_aside(connection: Request) -> bool:
    return bool(connection.scope["state"].get(_ASIDE))


def subject_of(connection: Request) -> str:
    """Whose turn it is to take."""
    return SUBJECT if is_aside(connection) else connection.headers.get("x-subject", "")
