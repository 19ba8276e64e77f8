"""From what was found out to a page: the templates, all of whose values are escaped."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from llmlab import __version__
from llmlab.models.identity import short_id

# Told apart by people with any colour vision (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")


def rendered(template: str, *, now: datetime | None = None, **values: Any) -> str:
    """A page.

    Args:
        template: ``NAME.html.j2`` of the folder beside this module.
        now: what it is dated with.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("llmlab.report", "templates"), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.filters["short"] = short_id
    return environment.get_template(template).render(
        date=f"{now or datetime.now(UTC):%Y-%m-%d %H:%M} UTC", version=__version__, **values
    )


def colour(number: int) -> str:
    """Of the n-th of several things, from 0."""
    return COLOURS[number % len(COLOURS)]
