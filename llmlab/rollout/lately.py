"""Of the newest that were asked, those that said nothing that could be compared.

A step does not pass while these are many: who says nothing where it does badly would choose the
evidence for it.
"""

from __future__ import annotations

from collections.abc import Sequence

LATELY = 50
MOST, SOME = 0.1, 3  # that share, and that number, may say nothing


def noted(lately: Sequence[bool], says: bool) -> list[bool]:
    """With one more, whether it says something."""
    return [*lately, says][-LATELY:]


def too_many(lately: Sequence[bool]) -> int:
    """How many of them say nothing; 0 where so many may."""
    nothing = lately.count(False)
    return nothing if nothing >= SOME and nothing > MOST * len(lately) else 0
