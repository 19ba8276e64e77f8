"""What a model elsewhere calls itself, written down when it changes: nobody can hash it, and its
provider may put another one behind the same name on any day."""

from __future__ import annotations

from datetime import UTC, datetime

from llmlab.ledger.chain import Entry, Kind
from llmlab.ledger.store import Store

# Some providers answer by turns from servers that call themselves differently: each of them is
# told once in so many seconds.
ONCE_IN = 3600.0
# Others have a new name for every answer. What they are called is in log and trace of each; the
# ledger, which nobody can shorten, tells so many in that time, and that there are more.
MOST = 10


def take_note(store: Store, deployment: str, model: str, fingerprint: str) -> Entry | None:
    """Add an entry if a model elsewhere calls itself otherwise than it was noted last.

    Args:
        model, fingerprint: "" for what it does not say.

    Returns:
        The entry; None if there is nothing new.
    """
    noted = _noted(store, deployment)
    now = {"model": model, "fingerprint": fingerprint}
    new = [one for one in noted if _is_new(one)]
    if noted and (_is(noted[-1], now) or any(_is(one, now) for one in new) or len(new) >= MOST):
        return None
    before = {name: noted[-1].document[name] for name in now} if noted else None
    last = {"restless": True} if len(new) + 1 == MOST else {}
    told = {"deployment": deployment, **now, "before": before, **last}
    return store.note(Kind.UPSTREAM, told)


def is_told(store: Store, deployment: str, model: str, fingerprint: str) -> bool:
    """Whether the newest entry says so: there is nothing left to take note of."""
    now = {"model": model, "fingerprint": fingerprint}
    return any(_is(one, now) for one in _noted(store, deployment)[-1:])


def _noted(store: Store, deployment: str) -> list[Entry]:
    return store.entries(kind=Kind.UPSTREAM, last=MOST, about={"deployment": deployment})


def _is(entry: Entry, said: dict[str, str]) -> bool:
    return all(entry.document.get(name) == value for name, value in said.items())


def _is_new(entry: Entry) -> bool:
    age = datetime.now(UTC) - datetime.fromisoformat(entry.at)
    return age.total_seconds() < ONCE_IN
