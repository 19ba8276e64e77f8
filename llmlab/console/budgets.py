"""Budgets: what each may use, who is nearest to a limit right now, and who was refused."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmlab.console.desk import Desk
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor
from llmlab.engines.budget_counts import file_of, read
from llmlab.errors import LlmlabError
from llmlab.ledger.chain import Kind
from llmlab.usage.refusals import Refusal, Refusals
from llmlab.usage.standing import BudgetStanding, standings

DAY = 86_400.0
# Of each lab and engine, how far its log was read: whoever looks, and however often, a line is
# read once.
_FOLLOWED: defaultdict[tuple[Path, str], Refusals] = defaultdict(Refusals)


@dataclass(frozen=True)
class BudgetsFound:
    """Args:
    pending: what lab.toml says otherwise than the running lab; "" where it is the same.
    entry: of the ledger, which told of these budgets last: its number, and when; None for none.
    refusals: within a day: those refused, then those let pass, the newest first of each.
    """

    budgets: tuple[BudgetStanding, ...]
    refusals: tuple[Refusal, ...]
    pending: str
    entry: tuple[int, str] | None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def gather(desk: Desk, query: Query, visitor: Visitor) -> BudgetsFound:
    """
    Raises:
        UpstreamError: the lab does not run.
    """
    del query, visitor
    now, engine = time.time(), desk.engine
    budgets = desk.running.budgets
    followed = _FOLLOWED[desk.lab.root, engine.name]
    told = desk.store.entries(kind=Kind.LAB, about={"did": "budgets"}, last=1)
    return BudgetsFound(
        standings(budgets, read(file_of(desk.lab, engine.name)), now),
        followed.newest(engine, now - DAY) if budgets else (),
        _pending(desk),
        (told[-1].seq, told[-1].at) if told else None,
    )


def _pending(desk: Desk) -> str:
    try:
        same = desk.config.budgets == desk.running.budgets
    except LlmlabError as error:
        return f"lab.toml cannot be read: {error.message}"
    return "" if same else "lab.toml has other budgets than the running lab."


PAGES = (Page("budgets", "Budgets", "budgets.html.j2", gather, live=True),)
