"""Load on a running lab: closed loop (so many clients) or open loop (so many requests a second).

A closed loop waits for each answer before it asks again, and so slows down with the lab it
measures. An open loop sends at times that were drawn beforehand, whatever the lab does, and
counts latency from the time at which a request should have been sent; without that, a lab
that stalls is asked less while it stalls and looks faster than it is ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx2

from llmlab.client.retry import RetryPolicy
from llmlab.probe.texts import Texts

# Requests that an open loop has under way at most; what would come on top is counted as missed.
MOST_OPEN = 2000
QUEUE_TIME = re.compile(r"queue;dur=([\d.]+)")
NO_ANSWER = 0


@dataclass(frozen=True)
class Shot:
    """One request. Times in seconds; ``start`` since the run began.

    ``status`` is 0 where there was no answer. ``tries`` counts the first one too.
    """

    start: float
    latency: float
    status: int
    tries: int = 1
    queue: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    cached: bool = False
    retry_after: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 200


@dataclass(frozen=True)
class Profile:
    """What is asked of the lab. ``rate`` in requests/s makes it an open loop.

    Args:
        seconds: length of the measurement; ``requests`` ends it earlier.
        warm_up: seconds before it, whose requests are not counted.
        retry: seconds during which a request that was turned away is asked again.
    """

    path: str = "/summarize/"
    concurrency: int = 4
    rate: float = 0.0
    seconds: float = 30.0
    requests: int = 0
    warm_up: float = 2.0
    retry: float = 0.0
    timeout: float = 120.0
    seed: int = 0


@dataclass
class Run:
    """What was measured. ``seconds`` is the length of it, ``missed`` what was not even sent."""

    profile: Profile
    shots: list[Shot] = field(default_factory=list)
    seconds: float = 0.0
    missed: int = 0


Listener = Callable[[Run, float], None]


class Generator:
    """Sends the requests of a profile.

    Args:
        headers: gives the headers of the n-th request: its token.
    """

    def __init__(self, url: str, headers: Callable[[int], dict[str, str]], texts: Texts) -> None:
        self._url = url
        self._headers = headers
        self._texts = texts
        self._sent = 0

    async def run(self, profile: Profile, listener: Listener = lambda run, now: None) -> Run:
        """Warm up, then measure.

        Args:
            listener: called a few times a second with the run so far and the seconds since
                its start.
        """
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=256)
        async with httpx2.AsyncClient(
            base_url=self._url, timeout=profile.timeout, limits=limits, trust_env=False
        ) as http:
            begin = time.perf_counter() + profile.warm_up
            run = Run(profile)
            watching = asyncio.create_task(_watch(run, begin, listener))
            try:
                if profile.rate:
                    await self._open(http, run, begin)
                else:
                    await self._closed(http, run, begin)
            finally:
                watching.cancel()
            run.seconds = max(time.perf_counter() - begin, 1e-9)
            return run

    # --- the two loops -----------------------------------------------------------

    async def _closed(self, http: httpx2.AsyncClient, run: Run, begin: float) -> None:
        end = begin + run.profile.seconds

        async def client() -> None:
            while time.perf_counter() < end and not _enough(run):
                await self._shoot(http, run, begin, time.perf_counter())

        await asyncio.gather(*(client() for _ in range(run.profile.concurrency)))

    async def _open(self, http: httpx2.AsyncClient, run: Run, begin: float) -> None:
        under_way: set[asyncio.Task[None]] = set()
        try:
            async for intended in _arrivals(run.profile, begin):
                if len(under_way) >= MOST_OPEN:
                    run.missed += intended >= begin
                    continue
                task = asyncio.create_task(self._shoot(http, run, begin, intended))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.gather(*under_way)
        finally:
            for task in under_way:
                task.cancel()

    # --- one request -------------------------------------------------------------

    async def _shoot(
        self, http: httpx2.AsyncClient, run: Run, begin: float, intended: float
    ) -> None:
        number, self._sent = self._sent, self._sent + 1
        body = {"text": self._texts(number)}
        attempts = RetryPolicy(run.profile.retry).attempts()
        pause: float | None = 0.0
        outcome: httpx2.Response | httpx2.RequestError
        while pause is not None:
            await asyncio.sleep(pause)
            try:
                outcome = await http.post(
                    run.profile.path, json=body, headers=self._headers(number)
                )
            except httpx2.RequestError as error:
                outcome = error
            pause = attempts.pause_after(outcome) if run.profile.retry else None
        latency = time.perf_counter() - intended
        if intended >= begin and not _enough(run):
            run.shots.append(_shot(outcome, intended - begin, latency, max(1, attempts.tries)))


def _shot(
    outcome: httpx2.Response | httpx2.RequestError, start: float, latency: float, tries: int
) -> Shot:
    if isinstance(outcome, httpx2.RequestError):
        return Shot(start, latency, NO_ANSWER, tries)
    queue = QUEUE_TIME.search(outcome.headers.get("Server-Timing", ""))
    usage = outcome.json()["usage"] if outcome.status_code == 200 else {}
    return Shot(
        start, latency, outcome.status_code, tries,
        queue=float(queue[1]) / 1000 if queue else 0.0,
        tokens_in=usage.get("input_tokens", 0), tokens_out=usage.get("output_tokens", 0),
        cached=outcome.headers.get("X-Cache", "miss") != "miss",
        retry_after="Retry-After" in outcome.headers,
    )  # fmt: skip


def _enough(run: Run) -> bool:
    return bool(run.profile.requests) and len(run.shots) >= run.profile.requests


async def _arrivals(profile: Profile, begin: float) -> AsyncIterator[float]:
    """The moments at which an open loop sends: a Poisson process."""
    draw = random.Random(profile.seed)  # noqa: S311  repeatable, not secret
    moment = begin - profile.warm_up
    counted = 0
    while True:
        moment += draw.expovariate(profile.rate)
        counted += moment >= begin
        if moment >= begin + profile.seconds or 0 < profile.requests < counted:
            return
        await asyncio.sleep(max(0.0, moment - time.perf_counter()))
        yield moment


async def _watch(run: Run, begin: float, listener: Listener) -> None:
    while True:
        listener(run, time.perf_counter() - begin)
        await asyncio.sleep(0.25)
