"""Changes of a lab's flags: what is wanted, its entry in the ledger, and the running gateway."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TypedDict

from llmlab.errors import EnvironmentFailure, LlmlabError, UsageError
from llmlab.flags.defining import MOST, checked_name
from llmlab.lab import Lab
from llmlab.ledger.chain import Entry
from llmlab.ledger.store import Store
from llmlab.near import hint
from llmlab.traffic import Flag, Traffic

KIND = "flag"


class FlagEntry(TypedDict):
    """An entry of the ledger about a flag.

    Args:
        at: in UTC, ISO 8601.
        definition: null: it was removed.
    """

    seq: int
    at: str
    who: str
    why: str
    flag: str
    definition: Flag | None


def find(traffic: Traffic, name: str) -> Flag | None:
    return next((one for one in traffic.flags if one.name == name), None)


def get(traffic: Traffic, name: str) -> Flag:
    """Raises UsageError: there is none of that name."""
    found = find(traffic, checked_name(name))
    if found is None:
        known = [one.name for one in traffic.flags]
        raise UsageError(
            f"there is no flag {name}; flags: {', '.join(known) or 'none'}{hint(name, known)}",
            fix="llmlab flag list",
        )
    return found


def set_flag(
    store: Store, name: str, change: Callable[[Flag | None], Flag], why: str = "", *, who: str = ""
) -> tuple[Flag, bool]:
    """Define a flag, or define it anew.

    Args:
        change: from the flag as it was, if it was, to the flag as it is to be.

    Returns:
        The flag, and whether that changed anything.
    """
    checked_name(name)
    what: dict[str, object] = {"flag": name}
    news: list[Flag] = []

    def changed(traffic: Traffic) -> Traffic:
        before = find(traffic, name)
        flag = change(before)
        what["definition"] = as_document(flag)
        news[:] = [] if flag == before else [flag]
        return replace(traffic, flags=_with(traffic.flags, flag))

    after = store.change(KIND, what, changed, why, who=who)
    return get(after, name), bool(news)


def remove(store: Store, name: str, why: str = "", *, who: str = "") -> None:
    """Take a flag away; its history stays.

    Raises:
        UsageError: there is none, or a route is by it.
    """

    def without(traffic: Traffic) -> Traffic:
        gone = get(traffic, name)
        matches = [one for route in traffic.routes.values() for one in route.matches]
        if any(one.kind == "flag" and one.name == name for one in matches):
            raise UsageError(
                f"requests are routed by the flag {name}", fix=f"llmlab flag set {name} --off"
            )
        return replace(traffic, flags=tuple(one for one in traffic.flags if one is not gone))

    store.change(KIND, {"flag": name, "definition": None}, without, why, who=who)


def take_over(lab: Lab) -> bool:
    """Have the gateway go by the flags as they are now, if the lab runs. Returns whether it
    does."""
    from llmlab.engines.choice import running_engine

    if running_engine(lab) is None:
        return False
    from llmlab.delivery.applying import route

    try:
        route(lab)
    except LlmlabError as error:
        raise EnvironmentFailure(
            f"the flag is written down, but the gateway goes on as before: {error.message}",
            fix="llmlab up", log=error.log,
        ) from error  # fmt: skip
    return True


def changes(store: Store, name: str = "", *, last: int = 0) -> list[Entry]:
    """What the ledger says of flags, or of one; the oldest first."""
    return store.entries(kind=KIND, last=last, about={"flag": name} if name else {})


def as_entry(one: Entry) -> FlagEntry:
    return {
        "seq": one.seq, "at": one.at, "who": one.who, "why": one.why,
        "flag": one.document["flag"], "definition": one.document["definition"],
    }  # fmt: skip


def as_document(flag: Flag) -> dict[str, object]:
    return asdict(flag)


def _with(flags: tuple[Flag, ...], flag: Flag) -> tuple[Flag, ...]:
    """A new flag comes last: where several say the same, the first one counts."""
    if any(one.name == flag.name for one in flags):
        return tuple(flag if one.name == flag.name else one for one in flags)
    if len(flags) >= MOST:
        raise UsageError(f"a lab has at most {MOST} flags", fix="llmlab flag rm NAME")
    return (*flags, flag)
