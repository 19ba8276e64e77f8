"""Have the checks run one after the other, those that only wait beside them, and note what each
of them found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from llmlab.proving.findings import Check, Finding, Report, Result, Verdict, undecided
from llmlab.proving.target import NoAnswer, OutOfBudget, Target
from llmlab.proving.wire import Unreached

LIMITS = "limits"
LONGEST = 60.0  # seconds for one check, beside those that its pace takes
Watch = Callable[[Check], None]
ORDER = list(Verdict)


async def run(
    target: Target, checks: Sequence[Check], *, deadline: float, known: str,
    begins: Watch = lambda _: None,
) -> Report:  # fmt: skip
    """
    Args:
        deadline: seconds in all; what has not begun by then is undecided.
        known: as of ``Report``.
        begins: told of each check.
    """
    began, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    until = clock + deadline
    waiting = [asyncio.create_task(_timed(one, target, until)) for one in checks if one.slow]
    results: list[Result] = []
    try:
        for one in checks:
            if not one.slow:
                begins(one)
                results.append(await _timed(one, target, until))
        results += await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
    place = {one.id: number for number, one in enumerate(checks)}
    results.sort(key=lambda one: (ORDER.index(one.verdict), place[one.id]))
    return Report(
        target.url, known, target.witness, began, target.pace.sent,
        round(time.monotonic() - clock, 1), tuple(results),
    )  # fmt: skip


async def _timed(check: Check, target: Target, until: float) -> Result:
    start = time.monotonic()
    longest = LONGEST + 2 * check.requests * target.pace.gap
    found = await finding(check, target, min(longest, until - start))
    return Result(
        check.id, check.group, check.proves, found.verdict, found.why, check.fix,
        round(time.monotonic() - start, 3), found.evidence,
    )  # fmt: skip


async def finding(check: Check, target: Target, seconds: float = LONGEST) -> Finding:
    """What a check finds; undecided where it could not come to its end."""
    if seconds <= 0:
        return undecided("there was no time left for it (--deadline)")
    try:
        async with asyncio.timeout(seconds):
            found = await check.run(target)
    except OutOfBudget:
        return undecided("all requests of the budget were sent (--requests)")
    except NoAnswer as none:
        return undecided("the connection gave no answer of HTTP", none.heard)
    except Unreached as error:
        return undecided(f"no connection could be made: {error}")
    except TimeoutError:
        return undecided(f"it did not come to its end within {seconds:.0f} s")
    # Whoever is limited learns nothing of what was asked; the limits have checks of their own.
    limited = any(one.got.startswith("429 ") for one in found.evidence)
    if found.verdict is Verdict.FAILED and check.group != LIMITS and limited:
        return undecided(f"the gateway limits who asks: {found.why}", *found.evidence)
    return found
