"""One look of one guard at one text, within its time. Whatever goes wrong is a failure of the
guard, and so of the request: it fails closed."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from llmlab.guards.base import About, Finding
from llmlab.guards.rules import GuardFailed, Rule

T = TypeVar("T")
QUICK = 20_000  # characters that the built-in guards look at in a millisecond or two
# Looks that nobody waits for any more hold a thread each; with so many a guard is not asked again.
MOST_LOST = 8
_LABEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


@dataclass(frozen=True, slots=True)
class Seen:
    """
    Args:
        findings: by their place.
        pending: from where on something may begin that is not all there yet.
    """

    findings: list[Finding]
    pending: int


async def look(rule: Rule, text: str, about: About) -> Seen:
    """
    Raises:
        GuardFailed: it raised, took too long, or gave what is no finding.
    """

    def seen() -> Seen:
        found = sorted(rule.guard.find(text, about), key=lambda one: (one.start, one.end))
        pending = len(text) if about.ended else rule.guard.pending(text)
        return Seen(found, min(max(0, pending), len(text)))

    try:
        if rule.guard.quick and len(text) <= QUICK:
            start = time.thread_time()  # how busy the machine is says nothing about the guard
            result = seen()
            if time.thread_time() - start > rule.timeout:
                raise GuardFailed(rule, f"took longer than {rule.timeout:g} s")
        else:
            result = await _aside(seen, rule)
    except (GuardFailed, asyncio.CancelledError):
        raise
    except Exception as error:  # anybody's code; its message may quote the text
        raise GuardFailed(rule, f"raised {type(error).__name__}") from None
    for one in result.findings:
        if not (0 <= one.start < one.end <= len(text) and _LABEL.fullmatch(one.label)):
            raise GuardFailed(rule, "gave a finding that is none of this text, or has no label")
    return result


async def _aside(work: Callable[[], T], rule: Rule) -> T:
    """In a thread of its own: one that hangs is nobody else's, and no end of the process waits
    for it."""
    if len(rule.lost) >= MOST_LOST:
        raise GuardFailed(rule, f"has {MOST_LOST} looks under way that do not end")
    loop = asyncio.get_running_loop()
    came: asyncio.Future[T] = loop.create_future()
    ended = False

    def told(result: T | None, error: BaseException | None) -> None:
        nonlocal ended
        ended = True
        rule.lost.discard(came)
        if came.cancelled():
            return
        if error is not None:
            came.set_exception(error)
        else:
            came.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        try:
            result, error = work(), None
        except BaseException as raised:  # a SystemExit is to end nothing but this look
            plain = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
            result, error = None, raised if plain else RuntimeError(type(raised).__name__)
        try:
            loop.call_soon_threadsafe(told, result, error)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    threading.Thread(target=run, name=f"guard {rule.name}", daemon=True).start()
    try:
        async with asyncio.timeout(rule.timeout):
            return await came
    except TimeoutError:
        if came.cancelled():
            raise GuardFailed(rule, f"took longer than {rule.timeout:g} s") from None
        raise  # the guard's own
    finally:
        if came.cancelled() and not ended:
            rule.lost.add(came)
