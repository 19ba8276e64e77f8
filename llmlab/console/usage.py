"""Usage: tokens and their cost, by whom or of what, as `llmlab usage` adds them up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from llmlab.console.desk import Desk
from llmlab.console.pages import Page, Query
from llmlab.console.visitor import Visitor
from llmlab.delivery.adding_up import BY, add_up, as_csv, currency
from llmlab.engines.choice import running_engine
from llmlab.usage.store import Row

PERIODS = {"1h": "the last hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days",
           "90d": "90 days", "365d": "a year"}  # fmt: skip
CLAIM = "claim:"


@dataclass(frozen=True)
class Found:
    """Args:
    rows: in the order of the verb; days from the newest on.
    untold: why something is missing; "" where nothing is.
    ways: what it may be added up by.
    """

    by: str
    since: str
    rows: tuple[Row, ...]
    untold: str
    currency: str
    ways: tuple[str, ...]

    @property
    def total(self) -> Row:
        return Row("", *(sum(getattr(one, name) for one in self.rows) for name in NUMBERS))

    @property
    def shown(self) -> list[Row]:
        return sorted(self.rows, key=lambda one: one.name, reverse=True) if self.by == "day" else (
            list(self.rows)
        )  # fmt: skip

    @property
    def counts_tokens(self) -> bool:
        """Else bars are those of requests."""
        return bool(self.total.tokens_in or self.total.tokens_out)

    @property
    def most(self) -> int:
        """What the longest bar stands for; never 0."""
        sizes = (
            one.tokens_in + one.tokens_out if self.counts_tokens else one.requests
            for one in self.rows
        )  # fmt: skip
        return max(sizes, default=0) or 1

    @property
    def periods(self) -> dict[str, str]:
        """{what is asked for: how it is called}."""
        return PERIODS if self.since in PERIODS else {**PERIODS, self.since: self.since}

    @property
    def query(self) -> str:
        return urlencode({"by": self.by, "since": self.since})


NUMBERS = ("requests", "refused", "estimated", "tokens_in", "tokens_out", "cost")


def gather(desk: Desk, query: Query, visitor: Visitor) -> Found:
    """
    Raises:
        UsageError: it is no claim, or no duration.
    """
    del visitor
    by = query.get("by", "").strip() or "subject"
    since = query.get("since", "").strip() or "7d"
    config = desk.running
    found = add_up(desk.lab, running_engine(desk.lab), config, by, since)
    claims = {one.by for one in config.budgets if one.by.startswith(CLAIM)}
    ways = [*BY, *sorted(claims)]
    if by not in ways:  # of a budget that there was, or by its short name
        ways += [by]
    return Found(by, since, found.rows, found.untold, currency(config), tuple(ways))


PAGES = (
    Page(
        "usage", "Usage", "usage.html.j2", gather,
        document=lambda found: [asdict(one) for one in found.rows],
        csv=lambda found: as_csv(found.rows),
    ),
)  # fmt: skip
