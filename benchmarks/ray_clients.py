"""Clients that go on asking while machines die, in a process of their own: each asks, waits a
little and asks again. What happened goes to a file, one request a line: when it began and how long
it took in seconds, its status (0 for none), and what went wrong.

    python -m benchmarks.ray_clients URL FILE CLIENTS TEXT, until SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

import httpx2

PAUSE = 0.1  # seconds between an answer and the next question
TIMEOUT = 90.0
NO_ANSWER = 0


async def client(http: httpx2.AsyncClient, body: bytes, to: TextIO, over: asyncio.Event) -> None:
    while not over.is_set():
        begin, status, why = time.monotonic(), NO_ANSWER, ""
        try:
            answer = await http.post("/summarize/", content=body)
            status = answer.status_code
            if status != 200:
                why = answer.text[:80]
            elif not answer.json()["summary"]:
                status, why = NO_ANSWER, "an empty summary"
        except (httpx2.RequestError, ValueError, KeyError) as error:
            why = f"{type(error).__name__}: {error}"[:80]
        print(json.dumps([begin, time.monotonic() - begin, status, why]), file=to, flush=True)
        await asyncio.sleep(PAUSE)


async def run(url: str, file: Path, clients: int, text: str) -> None:
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json"}
    with file.open("a", encoding="utf-8") as to:
        async with httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, headers=headers) as http:
            await asyncio.gather(*(client(http, body, to, over) for _ in range(clients)))


def main() -> None:
    url, file, clients, text = sys.argv[1:]
    asyncio.run(run(url, Path(file), int(clients), Path(text).read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
