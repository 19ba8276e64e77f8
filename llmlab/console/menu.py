"""All pages, in the order of the menu, and all changes."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route

from llmlab.console import (
    budgets,
    flags,
    ledger,
    models,
    models_compared,
    overview,
    playground,
    playground_asks,
    requests,
    rollouts,
    usage,
)
from llmlab.console.pages import Change, Page

PAGES: Sequence[Page] = (
    *overview.PAGES,
    *playground.PAGES,
    *rollouts.PAGES,
    *requests.PAGES,
    *models.PAGES,
    *models_compared.PAGES,
    *flags.PAGES,
    *budgets.PAGES,
    *usage.PAGES,
    *ledger.PAGES,
)
CHANGES: Sequence[Change] = (
    *rollouts.CHANGES,
    *flags.CHANGES,
)
MORE: Sequence[Route] = (
    *playground_asks.MORE,
    *ledger.MORE,
)


def named() -> list[Page]:
    """The pages that stand in the menu."""
    return [one for one in PAGES if one.name]
