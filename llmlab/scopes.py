"""What a token lets its bearer do: words of its claim ``scope`` that begin with ``llmlab:``.

``llmlab:NAME`` is a route or a deployment that may be asked, ``llmlab:*`` all of them.
``llmlab:operator`` is for whoever runs the lab, and ``llmlab:viewer`` for whoever may look at it in
the console. An identity provider's own scopes (``openid``) are none of ours. A token without any of
these may ask whatever ``auth.default_scopes`` says.

https://www.rfc-editor.org/rfc/rfc8693#section-4.2 (scope), https://www.rfc-editor.org/rfc/rfc9068
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIX = "llmlab:"
OPERATOR, VIEWER = "operator", "viewer"
PEOPLE = (OPERATOR, VIEWER)  # what they may do is no matter of routes
EVERYTHING = "*"
# The names of routes and deployments; see config.schema.
NAME = re.compile(r"\*|[a-z0-9][a-z0-9-]{0,62}")


def claim(names: Iterable[str]) -> str:
    """The claim ``scope`` of a token that may do this; "" for no names.

    Raises:
        ValueError: one of them can be no name; the message says which.
    """
    for name in names:
        if not NAME.fullmatch(name):
            raise ValueError(
                f"{name!r} is no scope: name a route or a deployment, * for all of them, "
                f"{OPERATOR} or {VIEWER}"
            )
    return " ".join(f"{PREFIX}{name}" for name in dict.fromkeys(names))


def names(claim: str) -> list[str]:
    """What such a claim lets one do, without what is none of the lab's."""
    return [word.removeprefix(PREFIX) for word in claim.split(" ") if word.startswith(PREFIX)]
