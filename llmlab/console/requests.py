"""Requests: looked for by what they were, and one of them as a waterfall."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from urllib.parse import urlencode

from llmlab.console.desk import Desk
from llmlab.console.pages import Missing, Page, Query
from llmlab.console.visitor import Visitor
from llmlab.console.waterfall import WHOLE, Drawn, drawn
from llmlab.delivery.following import Following
from llmlab.delivery.looking_up import Sought, look_up, search
from llmlab.delivery.searching import LoggedRequest, Wanted
from llmlab.delivery.telling import CACHE, WAF, besides, facts
from llmlab.delivery.tracing import Traced
from llmlab.engines.record import Record
from llmlab.errors import UsageError

AT_ONCE = 50  # requests on a page
FIELDS = ("id", "subject", "model", "status", "route", "minutes")
MINUTE = 60.0
NUMBER = re.compile("[0-9]{1,9}")
LONGEST = 100 * 365 * 24 * 60  # minutes
WHY = ("served by", "routed by", "routes of", "flags")  # it went where it did
APART = ("took", "besides", "subject")  # what has a place of its own
following = Following()


@dataclass(frozen=True)
class Row:
    """Args:
    kind: good, unsure or wrong.
    notes: what was not as it mostly is.
    """

    one: LoggedRequest
    kind: str
    notes: list[str]


@dataclass(frozen=True)
class Found:
    """Args:
    asked: the fields of the form that say something.
    live: whether what comes is shown as it comes.
    before: whether there are newer ones than these.
    known: what may be chosen, {deployments, routes}.
    """

    sought: Sought
    asked: Mapping[str, str]
    live: bool
    before: bool
    known: Mapping[str, list[str]]

    @property
    def rows(self) -> list[Row]:
        return [Row(one, kind(one), notes(one)) for one in self.sought.requests]

    @property
    def slowest(self) -> float:
        """Seconds; what the others are drawn beside."""
        return max((one.seconds for one in self.sought.requests), default=0.0) or 1.0

    @property
    def older(self) -> str:
        """The query that leads to those before them; "" for none."""
        if not self.sought.has_older:
            return ""
        at, request_id = self.sought.requests[-1].place
        return urlencode({**self.asked, "before": f"{at}:{request_id}"})

    @property
    def newest(self) -> str:
        return urlencode(self.asked)

    @property
    def followed(self) -> str:
        return urlencode({**self.asked, "live": "1"})


@dataclass(frozen=True)
class Told:
    """A request in words, and the parts of its time."""

    one: Traced

    @property
    def kind(self) -> str:
        return kind(self.one)

    @property
    def parts(self) -> list[Drawn]:
        return drawn(self.one)

    @property
    def why(self) -> dict[str, str]:
        """Who has answered, and why it was them."""
        told = facts(self.one)
        return {name: told[name] for name in WHY if name in told}

    @property
    def rest(self) -> dict[str, str]:
        told = facts(self.one)
        return {name: text for name, text in told.items() if name not in (*WHY, *APART)}

    @property
    def besides(self) -> list[str]:
        return besides(self.one)


@dataclass(frozen=True)
class Shown:
    """Requests of one id: a client chooses it, and so there may be several."""

    request_id: str
    traces: tuple[Traced, ...]
    whole: float = WHOLE

    @property
    def told(self) -> list[Told]:
        return [Told(one) for one in self.traces]


def gather(desk: Desk, query: Query, visitor: Visitor) -> Found:
    """
    Raises:
        UsageError: it cannot be looked for so.
    """
    del visitor
    asked = {name: text for name in FIELDS if (text := query.get(name, "").strip())}
    before, is_live = _place(query.get("before", "")), _is_followed(query)
    wanted = Wanted(
        request_id=asked.get("id", ""), subject=asked.get("subject", ""),
        model=asked.get("model", ""), status=asked.get("status", ""),
        route=asked.get("route", ""), since=_since(asked.get("minutes", ""), whole=is_live),
        before=before, most=AT_ONCE,
    )  # fmt: skip
    sought = following.look(desk.lab, desk.engine, wanted) if is_live else search(desk.lab, wanted)
    return Found(sought, asked, is_live, before is not None, _known(desk))


def _is_followed(query: Query) -> bool:
    """What is not has its answer: to search all of a log again each second is for nobody."""
    return query.get("live") == "1" and not query.get("before")


def show(desk: Desk, query: Query, visitor: Visitor) -> Shown:
    """
    Raises:
        UsageError: no request was named.
        Missing: no log tells of it.
    """
    del visitor
    request_id = query.get("id", "").strip()
    if not request_id:
        raise UsageError("no request was named", fix="llmlab trace --last 20")
    traces, found = look_up(desk.lab, [request_id])
    if not traces:
        since = f"They go back to {found.since}." if found.since else "They tell of no request."
        raise Missing(
            f"no log tells of the request {request_id!r}. {since}", fix="llmlab trace --last 20"
        )
    return Shown(request_id, tuple(traces))


def _since(minutes: str, *, whole: bool) -> float:
    """
    Args:
        whole: from a whole minute on, so that who looks again looks for the same.
    """
    if not minutes:
        return 0.0
    if not NUMBER.fullmatch(minutes) or not 0 < int(minutes) <= LONGEST:
        raise UsageError(f"{minutes!r} is no number of minutes", fix="use 15, or 1440 for a day")
    since = time.time() - int(minutes) * MINUTE
    return since // MINUTE * MINUTE if whole else since


def _place(text: str) -> tuple[float, str] | None:
    """As ``Found.older`` has it."""
    if not text:
        return None
    at, _, request_id = text.partition(":")
    try:
        found = float(at)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise UsageError(f"{text!r} is no place in the log")
    return found, request_id


def _known(desk: Desk) -> dict[str, list[str]]:
    record = Record.read(desk.lab)
    plan = record.plan() if record else None
    return {
        "deployments": list(plan.names) if plan else [],
        "routes": list(plan.routes) if plan else [],
    }


# --- how they are told --------------------------------------------------------------------------


def kind(one: LoggedRequest | Traced) -> str:
    """good, unsure (its client's doing) or wrong."""
    if one.broken or one.status >= 500:
        return "wrong"
    return "unsure" if one.status >= 400 else "good"


def notes(one: LoggedRequest) -> list[str]:
    """What was not as it mostly is, in a word or two each."""
    told = [
        "broken off" if one.broken else "",
        f"cache {one.cache}" if one.cache in CACHE else "",
        f"for {one.handed_on}" if one.handed_on else "",
        f"WAF {one.waf}" if one.waf in WAF else "",
        f"over {one.over}" if one.over else "",
        "cut off" if one.answer and one.answer.cut_off else "",
        "refusal" if one.answer and one.answer.refusal else "",
        "not of its format" if one.answer and one.answer.invalid else "",
    ]
    return [word for word in told if word]


PAGES = (
    Page(
        "requests", "Requests", "requests.html.j2", gather, live=_is_followed,
        asks=(*FIELDS, "before", "live"),
        document=lambda found: [asdict(one) for one in found.sought.requests],
    ),
    Page(
        "requests/show", "", "requests_show.html.j2", show, menu="requests", asks=("id",),
        document=lambda found: [one.as_json() for one in found.traces],
    ),
)  # fmt: skip
