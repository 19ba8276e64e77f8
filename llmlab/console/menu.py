"""All pages, in the order of the menu, and all changes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route

from llmlab.console import overview, rollouts
from llmlab.console.pages import Change, Page

PAGES: Sequence[Page] = (*overview.PAGES, *rollouts.PAGES)
CHANGES: Sequence[Change] = (*rollouts.CHANGES,)
MORE: Sequence[Route] = ()


def named() -> list[Page]:
    """The pages that stand in the menu."""
    return [one for one in PAGES if one.name]
