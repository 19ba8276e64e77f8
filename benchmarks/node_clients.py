"""Clients of a lab that go on asking while its machines die, in a process of their own. Each
request is of a subject that has asked nothing before, so that shares are those of requests. What
happened goes to a file, one request a line: when it began and how long it took in seconds, its
status (0 for none), the deployment that answered, and what went wrong.

    python -m benchmarks.node_clients LAB FILE CLIENTS, until SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TextIO

import httpx2

from benchmarks.node_bed import configured
from llmlab.auth import Claims, KeyStore, mint
from llmlab.lab import Lab

PAUSE = 0.15  # seconds between an answer and the next question
TIMEOUT = 60.0
NO_ANSWER = 0


@dataclass(frozen=True)
class Asked:
    """One request: ``at`` of the machine's monotonic clock, ``took`` in seconds."""

    at: float
    took: float
    status: int
    model: str
    why: str

    @property
    def end(self) -> float:
        return self.at + self.took


def read(file: Path) -> list[Asked]:
    """All of a file whose process has ended."""
    return [Asked(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


class Clients:
    def __init__(self, lab: Lab, http: httpx2.AsyncClient, to: TextIO) -> None:
        self._key = KeyStore(lab.keys_file).read().signing
        self._http, self._to = http, to
        self._numbers: Iterator[int] = count()
        self.over = asyncio.Event()

    async def ask(self) -> None:
        """One client, until all is over."""
        while not self.over.is_set():
            number = next(self._numbers)
            token = mint(self._key, Claims(sub=f"reader-{number}"))
            text = f"The keeper lit the lamp at dusk. A ship read it, the {number}th one. It went."
            begin, status, model, why = time.monotonic(), NO_ANSWER, "", ""
            try:
                answer = await self._http.post(
                    "/summarize/", json={"text": text}, headers={"Authorization": f"Bearer {token}"}
                )
                status, model = answer.status_code, answer.headers.get("X-Model", "")
                if status != 200:
                    why = answer.text[:160]
                elif not answer.json()["summary"]:
                    status, why = NO_ANSWER, "an empty summary"
            except (httpx2.RequestError, ValueError, KeyError) as error:
                why = f"{type(error).__name__}: {error}"[:160]
            took = time.monotonic() - begin
            line = [begin, took, status, model.partition("@")[0], why]
            print(json.dumps(line), file=self._to, flush=True)
            await asyncio.sleep(PAUSE)


async def run(lab: Lab, file: Path, clients: int) -> None:
    url = configured(lab).gateway.url
    with file.open("a", encoding="utf-8") as to:
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, trust_env=False) as http:
            them = Clients(lab, http, to)
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, them.over.set)
            await asyncio.gather(*(them.ask() for _ in range(clients)))


def main() -> None:
    root, file, clients = sys.argv[1:]
    asyncio.run(run(Lab(Path(root)), Path(file), int(clients)))


if __name__ == "__main__":
    main()
