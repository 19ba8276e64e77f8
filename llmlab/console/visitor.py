"""Who looks at the console: the gateway has judged their token, and says whose it is.

Nobody but the gateway is heard (front_door.py), and it overwrites what a client claims.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from starlette.requests import HTTPConnection

SUBJECT, ROLE = "X-Subject", "X-Role"  # of each request that has a token


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Visitor:
    """Args:
    token: what they are let in by, which is also what they ask models with.
    """

    subject: str
    role: Role
    token: str = field(default="", repr=False)

    @property
    def operates(self) -> bool:
        """Whether they may change anything, and see texts of others."""
        return self.role is Role.OPERATOR


def visitor_of(connection: HTTPConnection, cookie: str) -> Visitor | None:
    """
    Args:
        cookie: the name of the one that holds a token.

    Returns:
        None where the gateway says of nobody who it is, or their token names no subject.
    """
    role = connection.headers.get(ROLE, "")
    subject = _subject(connection.headers.get(SUBJECT, ""))
    # Whatever somebody changes is written down with who it was: nobody can do that as nobody.
    if role not in list(Role) or not subject:
        return None
    scheme, _, sent = connection.headers.get("Authorization", "").partition(" ")
    token = connection.cookies.get(cookie) or (sent.strip() if scheme.lower() == "bearer" else "")
    return Visitor(subject, Role(role), token)


def _subject(header: str) -> str:
    """ "" for one that is no text: a header is bytes, and a subject is UTF-8, whatever Starlette
    reads them as."""
    try:
        return header.encode("latin-1").decode("utf-8").strip()
    except UnicodeDecodeError:
        return ""
