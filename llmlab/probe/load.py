"""Load on a running lab: closed loop (so many clients) or open loop (so many requests a second).

A closed loop waits for each answer before it asks again, and so slows down with the lab it
measures. An open loop sends at times that were drawn beforehand, whatever the lab does, and
counts latency from the time at which a request should have been sent; without that, a lab
that stalls is asked less while it stalls and looks faster than it is ("coordinated omission").
"""

from __future__ import annotations

import asyncio
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import httpx2

from llmlab.client import protocol
from llmlab.client.connection import NOBODY, Trust, connect
from llmlab.client.retry import RetryPolicy
from llmlab.errors import UpstreamError
from llmlab.probe.shots import Outcome, Shot, chat_shot_of, refusal_of, shot_of
from llmlab.probe.streams import Streamed, Talk, listen
from llmlab.probe.texts import Texts

# However it is asked, a run ends, and does not eat the machine that it runs on.
MOST_SECONDS, MOST_REQUESTS = 3600.0, 200_000
MOST_CONCURRENCY, MOST_RATE = 512, 2000.0
MOST_OPEN = 1000  # requests under way in an open loop; what would come on top is `missed`
REFRESH = 0.25  # seconds between two calls of a listener
KEPT_OPEN = 256  # idle connections
MADE_UP = {"Cache-Control": "no-store"}  # nobody's requests: no recording is to keep them

Headers = Callable[[int], dict[str, str]]


@dataclass(frozen=True)
class Profile:
    """What is asked of the lab. ``rate`` in requests/s makes it an open loop.

    Args:
        seconds: length of the measurement; ``requests`` ends it earlier.
        warm_up: seconds before it, whose requests are not counted.
        retry: seconds during which a request that was turned away is asked again.
        timeout: seconds for one try.
        talk: what is asked of a chat model; None for summaries.
    """

    path: str = "/summarize/"
    concurrency: int = 4
    rate: float = 0.0
    seconds: float = 30.0
    requests: int = MOST_REQUESTS
    warm_up: float = 2.0
    retry: float = 0.0
    timeout: float = 120.0
    seed: int = 0
    talk: Talk | None = None

    def body(self, text: str) -> dict[str, Any]:
        """What is sent with a text."""
        return self.talk.body(text) if self.talk else {"text": text}


@dataclass
class Run:
    """What was measured so far.

    ``begin`` is the end of the warm-up on the clock of ``time.perf_counter``, ``seconds`` the
    time from there to the last answer. ``missed`` counts what was not even sent, ``refusals``
    every answer 429 and 503, those that were followed by another try included.
    """

    profile: Profile
    shots: list[Shot] = field(default_factory=list)
    begin: float = 0.0
    seconds: float = 0.0
    sent: int = 0
    under_way: int = 0
    missed: int = 0
    refusals: Counter[str] = field(default_factory=Counter)
    failure: Outcome | None = None  # the last one, for an error that has to say what happened

    @property
    def dropped(self) -> int:
        """Requests that were under way when the run was interrupted."""
        return self.sent - self.missed - len(self.shots)

    def insist(self, url: str) -> None:
        """Raises LlmlabError if not one request was answered with a summary, and why."""
        if any(shot.ok for shot in self.shots):
            return
        if self.failure is None:
            raise UpstreamError(
                "not one request was sent, so nothing was measured",
                fix="a longer --duration or a higher --rate",
            )
        if self.profile.talk:
            protocol.answered(self.failure, url)
            raise UpstreamError(f"{url} broke off every answer", fix="llmlab logs")
        protocol.summary_of(self.failure, url)


Listener = Callable[[Run], None]


class Generator:
    """Sends the requests of a profile.

    Args:
        headers: gives the headers of the n-th request: its token.
        trust: by what else the lab and who asks know each other.
    """

    def __init__(self, url: str, headers: Headers, texts: Texts, *, trust: Trust = NOBODY) -> None:
        self._url = url
        self._trust = trust
        self._headers = headers
        self._texts = texts
        self._number = 0

    async def run(self, run: Run, listener: Listener = lambda run: None) -> None:
        """Warm up, then measure. ``run`` holds what was measured even if this is cancelled.

        Args:
            listener: called a few times a second.

        Raises:
            LlmlabError: there is no token to send.
        """
        run.begin = time.perf_counter() + run.profile.warm_up
        room = _room()
        try:
            async with self._connections(run.profile) as http, asyncio.TaskGroup() as group:
                watching = group.create_task(_watch(run, listener))
                await (self._open(http, run, room) if run.profile.rate else self._closed(http, run))
                watching.cancel()
        except BaseExceptionGroup as failed:
            raise _first(failed) from None
        finally:
            run.seconds = max(time.perf_counter() - run.begin, 1e-9)
            listener(run)

    def _connections(self, profile: Profile) -> httpx2.AsyncClient:
        return connect(
            httpx2.AsyncClient,
            self._url,
            trust=self._trust,
            timeout=httpx2.Timeout(profile.timeout, connect=min(5.0, profile.timeout)),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=KEPT_OPEN),
        )

    # --- the two loops -----------------------------------------------------------

    async def _closed(self, http: httpx2.AsyncClient, run: Run) -> None:
        """The clients warm up, finish, and start together, so that the rates are whole."""
        profile = run.profile

        async def client(end: float, counted: bool) -> None:
            while time.perf_counter() < end and (not counted or run.sent < profile.requests):
                run.sent += counted
                run.under_way += 1
                await self._shoot(http, run, time.perf_counter(), counted)

        async def clients(end: float, counted: bool) -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(profile.concurrency):
                    group.create_task(client(end, counted))

        await clients(run.begin, counted=False)
        run.begin = time.perf_counter()
        await clients(run.begin + profile.seconds, counted=True)

    async def _open(self, http: httpx2.AsyncClient, run: Run, room: int) -> None:
        """Warm-up and measurement are one stream: what waits at the end of one is in the other."""
        profile = run.profile
        start = run.begin - profile.warm_up
        end = profile.warm_up + profile.seconds
        async with asyncio.TaskGroup() as group:
            for offset in takewhile(lambda at: at < end, arrivals(profile.rate, profile.seed)):
                intended = start + offset
                counted = intended >= run.begin
                if run.sent >= profile.requests:
                    return  # and the group waits for the answers
                await asyncio.sleep(max(0.0, intended - time.perf_counter()))
                run.sent += counted
                if run.under_way >= room:
                    run.missed += counted
                else:
                    run.under_way += 1
                    group.create_task(self._shoot(http, run, intended, counted))
            # Nothing was to be sent any more, and that is part of the time at this rate.
            await asyncio.sleep(max(0.0, start + end - time.perf_counter()))

    # --- one request -------------------------------------------------------------

    async def _shoot(
        self, http: httpx2.AsyncClient, run: Run, intended: float, counted: bool
    ) -> None:
        try:
            shot, outcome = await self._ask(http, run, intended, counted)
        finally:
            run.under_way -= 1
        if counted:
            run.shots.append(shot)
            run.failure = run.failure if shot.ok else outcome

    async def _ask(
        self, http: httpx2.AsyncClient, run: Run, intended: float, counted: bool
    ) -> tuple[Shot, Outcome]:
        number, self._number = self._number, self._number + 1
        body = run.profile.body(self._texts(number))
        attempts = RetryPolicy(run.profile.retry).attempts()
        first = time.perf_counter()
        pause: float | None = 0.0
        while pause is not None:
            await asyncio.sleep(pause)
            sent = time.perf_counter()
            outcome, streamed = await _post(http, run.profile, body, self._headers(number))
            if counted:
                run.refusals.update(refusal_of(outcome))
            pause = attempts.pause_after(outcome)
        now = time.perf_counter()
        if run.profile.talk:
            shot = chat_shot_of(
                outcome, streamed, intended=intended, begin=run.begin, latency=now - intended,
                took=now - sent, late=first - intended, tries=attempts.tries,
            )  # fmt: skip
            return shot, outcome
        shot = shot_of(
            outcome, start=intended - run.begin, latency=now - intended, took=now - sent,
            late=first - intended, tries=attempts.tries,
        )  # fmt: skip
        return shot, outcome


async def _post(
    http: httpx2.AsyncClient, profile: Profile, body: dict[str, Any], headers: dict[str, str]
) -> tuple[Outcome, Streamed]:
    streamed, headers = Streamed(), headers | MADE_UP
    try:
        async with asyncio.timeout(profile.timeout):  # httpx's own starts anew with every byte
            if not profile.talk:
                return await http.post(profile.path, json=body, headers=headers), streamed
            sending = http.stream("POST", profile.path, json=body, headers=headers)
            async with sending as response:
                await listen(response, streamed)
                return response, streamed
    except httpx2.RequestError as error:
        return error, streamed
    except TimeoutError:
        return httpx2.ReadTimeout("no complete answer in time"), streamed


def arrivals(rate: float, seed: int) -> Iterator[float]:
    """When an open loop sends, in seconds since its start: a Poisson process without end."""
    draw = random.Random(seed)  # noqa: S311  repeatable, not secret
    moment = 0.0
    while True:
        moment += draw.expovariate(rate)
        yield moment


async def _watch(run: Run, listener: Listener) -> None:
    while True:
        listener(run)
        await asyncio.sleep(REFRESH)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the others are as a rule the same."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _room() -> int:
    """So many connections an open loop may have: macOS lets a process open 256 files only."""
    wanted = MOST_OPEN + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_OPEN if soft == resource.RLIM_INFINITY else min(MOST_OPEN, soft - 100)
