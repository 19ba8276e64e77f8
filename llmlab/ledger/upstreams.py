"""What a model elsewhere calls itself, written down when it changes: nobody can hash it, and its
provider may put another one behind the same name on any day."""

from __future__ import annotations

from datetime import UTC, datetime

from llmlab.ledger.chain import Entry, Kind
from llmlab.ledger.store import Store

# Some providers answer by turns from servers that call themselves differently: each of them is
# told once in so many seconds.
ONCE_IN = 3600.0
LOOKED_AT = 50  # entries


def take_note(store: Store, deployment: str, model: str, fingerprint: str) -> Entry | None:
    """Add an entry if a model elsewhere calls itself otherwise than it was noted last.

    Args:
        model, fingerprint: "" for what it does not say.

    Returns:
        The entry; None if there is nothing new.
    """
    noted = store.entries(kind=Kind.UPSTREAM, last=LOOKED_AT, about={"deployment": deployment})
    now = {"model": model, "fingerprint": fingerprint}
    if noted and (_is(noted[-1], now) or any(_is(one, now) and _is_new(one) for one in noted)):
        return None
    before = {name: noted[-1].document[name] for name in now} if noted else None
    return store.note(Kind.UPSTREAM, {"deployment": deployment, **now, "before": before})


def _is(entry: Entry, said: dict[str, str]) -> bool:
    return all(entry.document.get(name) == value for name, value in said.items())


def _is_new(entry: Entry) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(entry.at)
    return age.total_seconds() < ONCE_IN
