"""Parts of pages that are kept up to date in browsers, by server-sent events.

However many look at a page, what it shows is gathered once, at most once a second, and only while
somebody does; what has not changed is not sent again. Looks have threads of their own, so that
whoever opens a page waits for none of them. Where many different pages are looked at, or some that
take long to gather, all of them are gathered less often: the lab is there for models.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from llmlab.errors import UsageError
from llmlab.gateway.render import LINGER

PACE = 1.0  # seconds between two looks at a lab
REST = 3.0  # times as long as a look took, the next one waits at least
AT_ONCE = 4  # looks
SHARE = 0.04  # of a core: what all looks together may take, or they are rarer ...
RAREST = 10.0  # ... but for that no more seconds apart than these
QUIET = 15.0  # seconds after which a comment says that the stream is alive
LONGEST = 300.0  # seconds: then a browser asks again, and its token is judged again
# After a reload, NGINX's workers of before answer on connections that browsers keep for so long
# (LINGER), and judge tokens by what held before.
SETTLED = LINGER + 1.0
AGAIN = "again"  # the last event: ask once more
# A browser that reads slower than it is sent to gets only the newest.
Look = Callable[[], str]  # the part as it is now; in a thread
# A part costs looks, another stream of it next to nothing: a class may share one token.
PARTS, PARTS_OF_ONE, STREAMS_OF_ONE = 64, 12, 100


class TooMany(UsageError):
    """More is looked at than one console, or one subject, may have."""


class Room:
    """Which parts are looked at by whom: one subject takes the console from nobody."""

    def __init__(self) -> None:
        self._looking: dict[str, Counter[str]] = {}  # by subject: {part: streams}

    def check(self, subject: str, key: str) -> None:
        """
        Raises:
            TooMany: there is no room for this one.
        """
        own = self._looking.get(subject, Counter())
        if own.total() >= STREAMS_OF_ONE or (key not in own and len(own) >= PARTS_OF_ONE):
            raise TooMany(
                f"{subject or 'somebody without a subject'} looks at as many live pages of the "
                "console as one may",
                fix="close some of them, or open this one without following it live",
            )
        parts = {part for one in self._looking.values() for part in one}
        if key not in parts and len(parts) >= PARTS:
            raise TooMany(
                f"{PARTS} live pages of this console are looked at, and more may not",
                fix="wait until others have closed some",
            )

    def take(self, subject: str, key: str) -> None:
        """
        Raises:
            TooMany: there is no room for this one.
        """
        self.check(subject, key)
        self._looking.setdefault(subject, Counter())[key] += 1

    def give(self, subject: str, key: str) -> None:
        own = self._looking[subject]
        own[key] -= 1
        if not own[key]:
            del own[key]
        if not own:
            del self._looking[subject]

    def __len__(self) -> int:
        """Streams."""
        return sum(one.total() for one in self._looking.values())


@dataclass
class Watched:
    """One part, and those who look at it."""

    look: Look
    version: int = 0
    text: str = ""
    watchers: int = 0
    took: float = 0.0  # CPU-seconds of the last look
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None


class Live:
    """All parts of one console.

    Args:
        release: names what the gateway goes by. A stream that was let in by an earlier one ends:
            it would keep workers of NGINX that are to leave, and a token may have been revoked.
        failed: what a part says whose look fails; asked once until one succeeds.
    """

    def __init__(
        self, release: Callable[[], str], failed: Callable[[Exception], str], pace: float = PACE
    ) -> None:
        self._release, self._failed, self._pace = release, failed, pace
        self._parts: dict[str, Watched] = {}
        self._released, self._asked = "", -math.inf
        self._asking = asyncio.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, "look")
        self.room = Room()
        self._since = -math.inf

    def __len__(self) -> int:
        """How many parts are looked at."""
        return len(self._parts)

    def rest(self) -> float:
        """Seconds from a look at a part to the next one, by what all of them cost."""
        together = sum(part.took for part in self._parts.values())
        return min(max(self._pace, together / SHARE), max(self._pace, RAREST))

    async def stream(self, key: str, look: Look) -> AsyncGenerator[bytes, None]:
        """The events of one browser.

        Args:
            key: what tells parts apart; whoever has the same key sees the same.
        """
        release, clock = await self._current(), asyncio.get_running_loop().time
        began = spoke = clock()
        part = self._parts.setdefault(key, Watched(look))
        part.watchers += 1
        if part.task is None:
            part.task = asyncio.create_task(self._follow(part))
        seen = 0
        try:
            yield b"retry: 1000\n\n"
            while clock() < self._end(began) and await self._current() == release:
                await self._changed(part, seen)
                if part.version != seen:
                    seen, spoke = part.version, clock()
                    yield event(part.text)
                elif clock() - spoke > QUIET:
                    spoke = clock()
                    yield b": still here\n\n"
            yield event("", AGAIN)
        finally:
            part.watchers -= 1
            if not part.watchers:
                self._parts.pop(key, None)
                part.task.cancel()

    async def _current(self) -> str:
        """The release by now. However many look, it is asked for once a pace, in a thread: that
        reads files. Only the first time they wait for one another."""
        clock = asyncio.get_running_loop().time
        if self._asking.locked() and self._asked > -math.inf:
            return self._released
        async with self._asking:
            if clock() - self._asked >= self._pace:
                before, self._released = self._released, await asyncio.to_thread(self._release)
                self._asked = clock()
                if before and self._released != before:
                    self._since = self._asked
        return self._released

    def _end(self, began: float) -> float:
        """Until when a stream may go on that began then."""
        settled = self._since + SETTLED
        return settled if began < settled else began + LONGEST

    async def _changed(self, part: Watched, seen: int) -> None:
        """Until it is another one than was seen, or for a while."""
        async with part.changed:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace):
                    await part.changed.wait_for(lambda: part.version != seen)

    async def _follow(self, part: Watched) -> None:
        failing, loop = False, asyncio.get_running_loop()
        while True:
            text, began = part.text, loop.time()
            try:
                text, part.took = await loop.run_in_executor(self._threads, _timed, part.look)
                failing = False
            except Exception as error:  # those who look go on looking: the next one may succeed
                if not failing:
                    text, failing = self._failed(error), True
            took = loop.time() - began  # the wait for a thread as well: the fuller, the slower
            if text != part.text:
                async with part.changed:
                    part.text, part.version = text, part.version + 1
                    part.changed.notify_all()
            await asyncio.sleep(max(self.rest(), REST * took))


def _timed(look: Look) -> tuple[str, float]:
    """What it shows, and what that has cost: seconds of a core."""
    began = time.thread_time()
    return look(), time.thread_time() - began


def event(text: str, name: str = "") -> bytes:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html"""
    lines = [f"event: {name}"] if name else []
    lines += [f"data: {line}" for line in text.split("\n")]
    return ("\n".join(lines) + "\n\n").replace("\r", "").encode()
