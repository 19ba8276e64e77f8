"""Open consoles, in a process of their own: each holds the stream of a page, as a browser does that
nobody touches. What to hold comes on stdin as JSON; "ready" goes to stdout once all have been sent
something, and at the end of stdin what they were sent.

Nothing is drawn: what a browser does with an event is done on another machine than the lab's.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field

from benchmarks.systems import TOP, Failed

AGAIN = 0.2  # seconds until a stream that has ended is asked for again, as by console.js
END = b"\n\n"  # of an event


@dataclass(frozen=True)
class Watch:
    """
    Args:
        paths: of streams; the consoles take turns.
        tokens: whom they belong to; likewise.
        lives: seconds after which a console is closed and another one opened; 0: never.
    """

    port: int
    paths: Sequence[str]
    tokens: Sequence[str] = field(repr=False)
    consoles: int = 50
    lives: float = 0.0


@dataclass
class Sent:
    """What all of them were sent together."""

    opened: int = 0
    events: int = 0
    bytes: int = 0


@contextmanager
def watching(watch: Watch) -> Iterator[Sent]:
    """Consoles that are open for as long as a block lasts; what they were sent is told after it.

    Raises:
        Failed: not all of them are sent anything.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watching"], cwd=TOP, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin and process.stdout
    sent = Sent()
    try:
        process.stdin.write(json.dumps(asdict(watch)) + "\n")
        process.stdin.flush()
        if (said := process.stdout.readline()) != "ready\n":
            raise Failed(f"the consoles do not open: {said}")
        yield sent
        process.stdin.close()
        vars(sent).update(json.loads(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


async def hold(watch: Watch, sent: Sent) -> None:
    """Until the end of stdin."""
    shown = [asyncio.Event() for _ in range(watch.consoles)]
    tasks = [
        asyncio.create_task(
            _console(watch, watch.paths[number % len(watch.paths)],
                     watch.tokens[number % len(watch.tokens)], sent, one)
        )
        for number, one in enumerate(shown)
    ]  # fmt: skip
    reading = asyncio.StreamReader()  # not in a thread, which nothing could end
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reading), sys.stdin
    )
    ended = asyncio.create_task(reading.read())
    everyone = asyncio.gather(*(one.wait() for one in shown))
    await asyncio.wait([everyone, ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for one in tasks:
        if one.done():
            one.result()  # which raises what it has failed of
    print("ready", flush=True)
    await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for one in tasks:
        one.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _console(watch: Watch, path: str, token: str, sent: Sent, shown: asyncio.Event) -> None:
    while True:
        reading, writing = await asyncio.open_connection("127.0.0.1", watch.port)
        # HTTP/1.0 has no chunks: what is read is what the page is sent.
        writing.write(
            f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{watch.port}\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        sent.opened += 1
        with suppress(TimeoutError):
            async with asyncio.timeout(watch.lives or None):
                head = await reading.readuntil(b"\r\n\r\n")
                if b" 200 " not in head.partition(b"\r\n")[0]:
                    raise Failed(f"{path}: {head.decode(errors='replace')[:200]}")
                while part := await reading.read(1 << 16):
                    sent.bytes += len(part)
                    sent.events += part.count(END)
                    if b"data:" in part:
                        shown.set()
        writing.close()
        await asyncio.sleep(AGAIN)


def main() -> None:
    watch, sent = Watch(**json.loads(sys.stdin.readline())), Sent()
    asyncio.run(hold(watch, sent))
    print(json.dumps(asdict(sent)), flush=True)


if __name__ == "__main__":
    main()
