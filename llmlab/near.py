"""What a misspelt name was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like this one, whatever its case; "" if none does."""
    spelled = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), spelled, n=1)
    return spelled[found[0]] if found else ""


def hint(name: str, known: Iterable[str]) -> str:
    """For the end of a message: ``; did you mean 'textrank'?``, or nothing."""
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""
