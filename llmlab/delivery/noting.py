"""Entries of the ledger about what is kept elsewhere: keys, and the lab as it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from llmlab.ledger.store import Store

if TYPE_CHECKING:
    from llmlab.auth.api_keys import ApiKey
    from llmlab.auth.keys import KeySet
    from llmlab.config.auth import Auth
    from llmlab.config.budgets import Budget
    from llmlab.engines.status import LabStatus

KEY, LAB, ISSUERS = "key", "lab", "issuers"


def keys_changed(store: Store, did: Literal["made", "revoked"], before: KeySet, now: KeySet) -> int:
    """Take note of each key that is new, or that is no more; never of its secret.

    Returns:
        How many.
    """
    older, newer = (before, now) if did == "made" else (now, before)
    known = {key.kid for key in older.keys}
    changed = [key for key in newer.keys if key.kid not in known]
    for key in changed:
        what = {"did": did, "kid": key.kid, "alg": key.algorithm}
        store.note(KEY, what | ({"demo": True} if key.is_demo else {}))
    return len(changed)


def tokens_ended(store: Store, subject: str, until: int | None, why: str = "") -> None:
    """Take note that the tokens of a subject were ended, or let in again.

    Args:
        until: seconds since 1970; None: again.
    """
    did = "restored" if until is None else "ended"
    store.note(KEY, {"did": did, "tokens_of": subject, "until": until}, why)


def api_key_made(store: Store, key: ApiKey, why: str = "") -> None:
    """Take note of a new API key; nothing that would let anybody in."""
    store.note(KEY, {
        "did": "made", "api_key": key.id, "sub": key.sub, "claims": dict(key.claims),
        "expires": key.expires or None,
    }, why)  # fmt: skip


def api_key_ended(store: Store, key: ApiKey, why: str = "") -> None:
    store.note(KEY, {"did": "ended", "api_key": key.id, "sub": key.sub}, why)


def issuers_changed(store: Store, auth: Auth) -> None:
    """Take note of which identity providers' tokens are valid, if that is something else than the
    ledger says."""
    now = {one.name: one.model_dump(mode="json", exclude={"name"}) for one in auth.issuers}
    last = store.entries(kind=ISSUERS, last=1)
    if now != (last[0].document["now"] if last else {}):
        store.note(ISSUERS, {"now": now})


def lab_is_up(store: Store, status: LabStatus, routes: Mapping[str, str]) -> None:
    """Take note of what runs now.

    Args:
        routes: {route: its configured stable deployment}.
    """
    store.note(LAB, {
        "did": "up", "engine": status.engine, "url": status.gateway.url,
        "routes": dict(routes),
        "deployments": {
            one.name: {"model": one.model, "model_id": one.model_id, "runtime": one.runtime}
            for one in status.deployments
        },
    })  # fmt: skip


def budgets_are(store: Store, budgets: Sequence[Budget]) -> None:
    """Take note of the budgets, where they are others than those that were noted last."""
    said = [{"name": one.called, **one.model_dump(exclude_defaults=True)} for one in budgets]
    before = store.entries(kind=LAB, about={"did": "budgets"}, last=1)
    if said != (before[-1].document["budgets"] if before else []):
        store.note(LAB, {"did": "budgets", "budgets": said})


def lab_is_down(store: Store, engine: str) -> None:
    store.note(LAB, {"did": "down", "engine": engine})
