"""The load generator, a process of its own and the same for every system: a closed loop (so
many clients, each asks again when it is answered), or an open one (so many requests a second,
whatever happens; Poisson). A job comes on stdin, what happened goes to stdout, both as JSON.

Every answer is checked: the same tokens read, the same tokens written.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx2

from benchmarks.materials import text

NO_ANSWER = 0
# A first round that takes longer than so many measurements is the measurement.
PATIENCE = 2.0
HEALTH_EVERY = 0.25  # seconds


@dataclass(frozen=True)
class Job:
    """What is asked.

    Args:
        concurrency: clients of a closed loop.
        rate: requests/s of an open loop, if not 0.
        seconds: how long to measure.
        words, length: a file, and how many of its words make a text.
        first: the number of the first text.
        read, written: tokens that every answer must have.
        timeout: seconds after which a client gives up.
        health: a path to ask for all the while, in an open loop.
    """

    words: str
    length: int
    read: int
    written: int
    concurrency: int = 1
    rate: float = 0.0
    seconds: float = 10.0
    first: int = 0
    url: str = ""
    uds: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 900.0
    health: str = ""

    @classmethod
    def of(cls, line: str) -> Job:
        return cls(**json.loads(line))

    def document(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Shot:
    """One request: when it was sent (in an open loop: should have been) and answered, in
    seconds of the machine's monotonic clock; status 0 for no answer."""

    start: float
    end: float
    status: int
    retry_after: int = 0


@dataclass(frozen=True)
class Result:
    """What happened. ``begin`` and ``until`` are the moments between which it counts; ``health``
    is what the checks of its health took, in seconds (infinity for one that failed)."""

    begin: float
    until: float
    shots: list[Shot]
    health: list[float] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        return {
            "begin": self.begin, "until": self.until,
            "shots": [[s.start, s.end, s.status, s.retry_after] for s in self.shots],
            "health": self.health,
        }  # fmt: skip

    @classmethod
    def of(cls, line: str) -> Result:
        found = json.loads(line)
        shots = [Shot(*one) for one in found["shots"]]
        return cls(found["begin"], found["until"], shots, found["health"])


class Clients:
    """The clients of one job."""

    def __init__(self, job: Job, http: httpx2.AsyncClient) -> None:
        self._job, self._http = job, http
        words = Path(job.words).read_text(encoding="utf-8").split()
        self._bodies: Iterator[bytes] = (
            json.dumps({"text": text(words, job.length, number)}).encode()
            for number in count(job.first)
        )
        self._shots: list[Shot] = []
        self._health: list[float] = []

    async def closed(self) -> Result:
        """Every client asks once; then all keep on asking while it is measured. Where the first
        round alone takes too long for that, it is what is measured."""
        job, start = self._job, time.monotonic()
        begin = until = float("inf")

        async def client() -> None:
            nonlocal begin, until
            while time.monotonic() < until:
                await self._shoot(time.monotonic())
                now, answered = time.monotonic(), len(self._shots)
                if (now - start) * job.concurrency / answered > PATIENCE * job.seconds:
                    return
                if answered >= job.concurrency and begin == float("inf"):
                    begin, until = now, now + job.seconds

        await asyncio.gather(*(client() for _ in range(job.concurrency)))
        if begin == float("inf"):
            begin, until = start, time.monotonic()
        return Result(begin, until, self._shots)

    async def open(self) -> Result:
        job, begin = self._job, time.monotonic()
        draw = random.Random(job.first)  # noqa: S311  repeatable, not secret
        moment = begin
        under_way: set[asyncio.Task[None]] = set()
        watching = asyncio.create_task(self._watch_health()) if job.health else None
        while (moment := moment + draw.expovariate(job.rate)) < begin + job.seconds:
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            task = asyncio.create_task(self._shoot(moment))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        if watching:
            watching.cancel()
        return Result(begin, begin + job.seconds, self._shots, self._health)

    async def _shoot(self, start: float) -> None:
        try:
            answer = await self._http.post("/summarize/", content=next(self._bodies))
        except httpx2.RequestError:
            self._shots.append(Shot(start, time.monotonic(), NO_ANSWER))
            return
        end = time.monotonic()
        if answer.status_code == 200:
            self._check(answer.json()["usage"])
        again = int(answer.headers.get("Retry-After", 0))
        self._shots.append(Shot(start, end, answer.status_code, again))

    async def _watch_health(self) -> None:
        while True:
            start = time.monotonic()
            try:
                healthy = (await self._http.get(self._job.health)).status_code == 200
            except httpx2.RequestError:
                healthy = False
            self._health.append(time.monotonic() - start if healthy else float("inf"))
            await asyncio.sleep(HEALTH_EVERY)

    def _check(self, usage: dict[str, int]) -> None:
        found = usage["input_tokens"], usage["output_tokens"]
        if found != (self._job.read, self._job.written):
            raise SystemExit(f"another amount of work: {found} tokens read and written")


async def run(job: Job) -> Result:
    transport = httpx2.AsyncHTTPTransport(
        uds=job.uds or None, verify=False,  # there is no TLS, and loading certificates takes time
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
    )  # fmt: skip
    headers = {"Content-Type": "application/json", **job.headers}
    async with httpx2.AsyncClient(
        transport=transport, base_url=job.url, timeout=job.timeout, headers=headers
    ) as http:
        clients = Clients(job, http)
        return await (clients.open() if job.rate else clients.closed())


def main() -> None:
    job = Job.of(sys.stdin.readline())
    print(json.dumps(asyncio.run(run(job)).document()), flush=True)


if __name__ == "__main__":
    main()
