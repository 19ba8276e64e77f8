"""A provider of language models that costs next to nothing: it answers at once, or streams.

Every event of a stream says which one it is and when it was written, in seconds of the machine's
monotonic clock: whoever reads it on this machine knows how late it is, and which one is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Any

import uvloop

TOKENS = 20  # of an answer whose request does not say
ABOUT = {"id": "chatcmpl-1", "created": 1, "model": "fake", "system_fingerprint": "fp_1"}


def usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": 10, "completion_tokens": tokens, "total_tokens": 10 + tokens}


def whole() -> bytes:
    """The one answer that is not streamed, head and all."""
    message = {"role": "assistant", "content": " ".join(["lamp"] * TOKENS), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = json.dumps(
        {**ABOUT, "object": "chat.completion", "choices": [choice], "usage": usage(TOKENS)}
    ).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    document = {**ABOUT, "object": "chat.completion.chunk", "choices": choices, **more}
    return framed(b"data: " + json.dumps(document).encode() + b"\n\n")


def framed(part: bytes) -> bytes:
    """As one chunk of a body whose length nobody knows before its end."""
    return b"%x\r\n%b\r\n" % (len(part), part)


def token(text: str, **more: Any) -> bytes:
    delta = {"content": text, **more}
    return chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}])


WHOLE = whole()
BEGIN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
) + token("", role="assistant")
# Which one, and when; always as long as this, so that nothing around it has to be made anew.
SAID = b"%05d %015.6f"
BEFORE, BEHIND = token((SAID % (0, 0)).decode() + " ").split(SAID % (0, 0))
LAST = chunk([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}])
DONE = framed(b"data: [DONE]\n\n") + b"0\r\n\r\n"


class Conversation(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._pace = 100.0  # tokens/s
        self._given = b""
        self._transport: asyncio.Transport
        self._next: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        if self._next:
            self._next.cancel()

    def data_received(self, data: bytes) -> None:
        self._given += data
        head, end, rest = self._given.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(rest) < length:
            return
        self._given = rest[length:]
        asked = json.loads(rest[:length])
        if asked.get("stream"):
            self._transport.write(BEGIN)
            # What it is asked is how fast it is to write, in tokens/s.
            self._pace = float(asked["messages"][-1]["content"])
            tokens = asked.get("max_tokens") or TOKENS
            self._write(0, tokens, asyncio.get_running_loop().time())
        else:
            self._transport.write(WHOLE)

    def _write(self, number: int, tokens: int, due: float) -> None:
        if number == tokens:
            self._transport.write(LAST + chunk([], usage=usage(tokens)) + DONE)
            return
        self._transport.write(BEFORE + SAID % (number, time.monotonic()) + BEHIND)
        due += 1 / self._pace
        loop = asyncio.get_running_loop()
        self._next = loop.call_at(due, self._write, number + 1, tokens, due)


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Conversation, "127.0.0.1", port, backlog=2048)
    print("ready", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
