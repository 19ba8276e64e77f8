"""Moments as people here read them."""

from __future__ import annotations

from datetime import UTC, datetime


def here(moment: str | float, *, fine: bool = False) -> str:
    """``2026-11-25 10:31:40`` in the time of this machine.

    Args:
        moment: ISO 8601 with an offset, or seconds of the epoch.
        fine: with milliseconds.
    """
    if isinstance(moment, str):
        try:
            at = datetime.fromisoformat(moment)
        except ValueError:
            return moment
    else:
        at = datetime.fromtimestamp(moment, UTC)
    return (
        at.astimezone()
        .replace(tzinfo=None)
        .isoformat(sep=" ", timespec="milliseconds" if fine else "seconds")
    )
