"""Moments in pages: how long ago, and when exactly."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from llmlab.durations import duration

if TYPE_CHECKING:
    from markupsafe import Markup

MINUTE, HOUR, DAY = 60, 3600, 86_400
OLD = 30 * DAY  # seconds from which on nobody counts days
# A live part is sent anew when it reads otherwise: ages that tick would have it sent each second.
TICK = 5  # seconds


def ago(value: float | str, now: float | None = None) -> Markup:
    """``<time>`` that reads ``25 s ago``, and says the moment itself to whoever asks.

    Args:
        value: seconds of the epoch, or ISO 8601 with an offset; what is neither reads as it is.
        now: seconds of the epoch; default: this moment.
    """
    from markupsafe import Markup, escape

    try:
        then = at(value)
    except (ValueError, OverflowError):
        return escape(value)
    age = (time.time() if now is None else now) - then.timestamp()
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        iso(value), moment(value), f"{then.astimezone():%Y-%m-%d}" if age >= OLD else told(age)
    )


def clock(value: float | str, now: float | None = None) -> Markup:
    """``<time>`` that reads ``10:31:40`` of this day, in the time of this machine, and of any other
    as ``moment`` does.

    Args:
        now: seconds of the epoch; default: this moment.
    """
    from markupsafe import Markup

    today = at(time.time() if now is None else now).astimezone().date()
    full = moment(value)
    short = full.partition(" ")[2] if at(value).astimezone().date() == today else full
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(value), full, short)


def told(age: float) -> str:
    """``just now``, ``25 s ago``, ``3 min ago``, ``2 h ago``, ``4 d ago``; ``in 3 min``."""
    seconds = int(abs(age))
    if seconds < TICK:
        return "just now"
    if seconds < MINUTE:
        long = lasting(seconds)
    elif seconds < HOUR:
        long = f"{seconds // MINUTE} min"
    else:
        long = f"{seconds // HOUR} h" if seconds < DAY else f"{seconds // DAY} d"
    return f"{long} ago" if age > 0 else f"in {long}"


def lasting(long: float) -> str:
    """How long something takes or took, as `llmlab status` says it, but that it does not tick:
    ``less than 5 s``, ``25 s``, ``9 min``, ``3 h 10 min``."""
    if long < TICK:
        return f"less than {TICK} s"
    return duration(long // TICK * TICK if long < MINUTE else long)


def moment(value: float | str) -> str:
    """``2026-11-25 10:31:40 UTC``, in the time of this machine and with its zone."""
    return f"{at(value).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def iso(value: float | str) -> str:
    """For the attribute ``datetime`` of <time>."""
    return at(value).isoformat(timespec="seconds")


def at(value: float | str) -> datetime:
    """Raises ValueError, OverflowError: that is no moment."""
    if isinstance(value, str):
        return datetime.fromisoformat(value)
    return datetime.fromtimestamp(value, UTC)
