"""A page of the console: what it shows, gathered once, for a person or a program."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from llmlab import __version__
from llmlab.console.ages import ago, clock, iso, lasting, moment
from llmlab.console.desk import Desk
from llmlab.console.visitor import Visitor
from llmlab.errors import LlmlabError, UsageError
from llmlab.models.identity import short_id

if TYPE_CHECKING:
    from jinja2 import Environment

Query = Mapping[str, str]  # what a visitor has asked for in the address; names it once each
LIVE = "live"  # the block of a template that is sent anew when it changes
PREFIX = "/console/"


@dataclass(frozen=True)
class Page:
    """Args:
    path: below /console/, without a slash; its document is at the same one with ``.json``.
    name: in the menu; "" for a page that does not stand there.
    gather: what it shows. It runs in a thread, and may raise any LlmlabError.
    asks: the names that its address may ask by; no other one gets to it.
    live: whether its block ``live`` is kept up to date in a browser, or of which queries it is.
    document: what ``.json`` answers, where that is not all that is gathered.
    csv: what ``.csv`` answers; None where there is no such.
    menu: the path of the page of the menu that it belongs to; "" for itself.
    """

    path: str
    name: str
    template: str
    gather: Callable[[Desk, Query, Visitor], Any]
    live: bool | Callable[[Query], bool] = False
    document: Callable[[Any], Any] | None = None
    menu: str = ""
    csv: Callable[[Any], str] | None = None
    asks: tuple[str, ...] = ()

    def is_live(self, query: Query) -> bool:
        return self.live(query) if callable(self.live) else self.live

    def as_json(self, found: Any) -> Any:
        told = self.document(found) if self.document else found
        if hasattr(told, "as_json"):
            return told.as_json()
        return asdict(told) if is_dataclass(told) and not isinstance(told, type) else told


class Missing(UsageError):
    """What a page was asked for is not there."""


@dataclass(frozen=True)
class Change:
    """What an operator may have done from a page: a POST to ``path``, which leads back to one.

    Args:
        do: changes it by the code of its verb, and returns the path (below /console/) to go to.
            It runs in a thread, and raises a LlmlabError for whatever is not to be.
    """

    path: str
    do: Callable[[Desk, Query, Visitor], str]


@cache
def templates() -> Environment:
    from jinja2 import ChoiceLoader, Environment, PackageLoader, PrefixLoader, StrictUndefined

    from llmlab.rollout.page import called

    own = PackageLoader("llmlab.console", "templates")
    reports = PrefixLoader({"report": PackageLoader("llmlab.report", "templates")})  # their plots
    environment = Environment(
        loader=ChoiceLoader([own, reports]), autoescape=True,
        trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined,
    )  # fmt: skip
    environment.globals |= {"version": __version__, "prefix": PREFIX}
    environment.filters |= {
        "short": short_id, "duration": lasting, "moment": moment, "iso": iso, "number": number,
        "percent": percent, "seconds": seconds, "ago": ago, "clock": clock,
        "plain": plain, "amount": amount, "money": money, "called": called, "sentence": sentence,
        "json": lambda it: json.dumps(it, indent=2),
    }  # fmt: skip
    return environment


def rendered(template: str, **values: Any) -> str:
    """A whole page. Every value is escaped."""
    return templates().get_template(template).render(**values)


def live_part(template: str, **values: Any) -> str:
    """Only its block ``live``."""
    found = templates().get_template(template)
    return "".join(found.blocks[LIVE](found.new_context(values))).strip()


# --- how values are told ------------------------------------------------------------------------


def sentence(said: str) -> str:
    """What an error says, with a large first letter and a full stop. What is a name of a setting,
    or stands in quotes, stays as it is."""
    said = said.strip()
    first = said.partition(" ")[0].rstrip(".,:;")
    if first.isalpha() and first != "llmlab":
        said = said[:1].upper() + said[1:]
    return said if said.endswith((".", "!", "?", "…")) or not said else f"{said}."


def plain(value: Any, indent: int | None = None) -> str:
    """A value as JSON, as people read it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def amount(value: float) -> str:
    """``12,345``, ``1.25``, ``<0.0001``: of what a budget counts, whole where it is."""
    return f"{value:,.0f}" if float(value).is_integer() else _digits(value, 4)


def money(value: float) -> str:
    """``1,234.50``, ``0.000025``, ``<0.000001``; ``0``. Every cost is told by this one."""
    return f"{value:,.2f}" if value >= 1 and _is_short(value) else _digits(value, 6)


def number(value: float) -> str:
    """``12,345``, ``12.35``, ``0.00001``."""
    if isinstance(value, int) or abs(value) >= 999.95:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 else _digits(value, 6)


def rate(value: float) -> str:
    """Of a second: ``1,500``, ``12.5``, ``0.17``: two digits below one say enough."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else _digits(value, 2)


def percent(value: float) -> str:
    """Of 0 to 100: ``12.5 %``; ``2,227 %`` of what has no end there."""
    if abs(value) >= 99.95:
        return f"{value:,.0f} %"
    return f"{value:.3g} %" if abs(value) >= 0.001 else f"{_digits(value, 3)} %"


def seconds(value: float) -> str:
    """``0.25 ms``, ``2.1 ms``, ``1.2 s``, ``20 min 35 s``."""
    if value >= 59.95:
        from llmlab.rollout.page import took

        return took(round(value))
    if value >= 0.9995:
        return f"{value:.3g} s"
    return f"{1000 * value:.3g} ms" if value >= 1e-6 else f"{_digits(1000 * value, 3)} ms"


def _digits(value: float, places: int) -> str:
    """With at most that many digits behind the point, and none that says nothing."""
    if 0 < value < 0.5 * 10**-places:
        return f"<{10**-places:.{places}f}"
    return f"{value:,.{places}f}".rstrip("0").rstrip(".")


def _is_short(value: float) -> bool:
    """Whether two digits behind the point say all of it that six do."""
    return round(value, 2) == round(value, 6)


def told(error: LlmlabError) -> tuple[str, str]:
    """What a person is told of an error, and how to go on."""
    return error.message, error.fix or ""
