"""A provider of language models on loopback, for tests: a real HTTP server that replays exchanges.

Which one is replayed says the request's ``model``: a lab asks for it by ``model = "hello"`` in its
lab.toml. By hand: ``python -m tests.provider [PORT]``.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import json
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROMPT = 19  # tokens of whatever it is asked
FINGERPRINT = "fp_44709d6fcb"
OWN = "provider-own.pem"
PHRASES = {
    200: "OK", 307: "Temporary Redirect", 400: "Bad Request", 401: "Unauthorized",
    403: "Forbidden", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass(frozen=True)
class Exchange:
    """What is answered to a request.

    Args:
        words: of the answer; each is a token.
        document: the body as it is, in the place of all that.
        model: what it calls itself; "" for the name that it was asked by.
        pace: words a second; 0 = at once.
        cut: bytes of each piece that is written of a stream; 0 = each event by itself.
        ends_after: events of the stream after which the connection is closed; -1: the whole of it.
        waits: seconds until the head of the answer.
        says_nothing: it closes the connection once it has read the request.
    """

    words: tuple[str, ...] = ("A", " lamp", " lit", " at", " dusk", ".")
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    model: str = ""
    fingerprint: str = FINGERPRINT
    pace: float = 0.0
    cut: int = 0
    ends_after: int = -1
    waits: float = 0.0
    says_nothing: bool = False


def failing(status: int, message: str, code: str = "", **headers: str) -> Exchange:
    error = {"message": message, "type": "an_error", "param": None, "code": code or None}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(status=status, document={"error": error}, headers=named)


EXCHANGES = {
    "hello": Exchange(),
    # Several bytes to a letter, and an emoji: to be cut anywhere.
    "pieces": Exchange(words=("Ein", " Leuchtfeuer", " – ", "灯台", " 🚨", "."), cut=7),
    "single-bytes": Exchange(words=("é", " 灯", " 🚨"), cut=1),
    "all-at-once": Exchange(cut=1 << 20),
    "slow": Exchange(words=tuple(f" {number}" for number in range(300)), pace=100),
    "dripping": Exchange(words=tuple(f" {number}" for number in range(300)), pace=4),
    "hundred": Exchange(words=tuple(f" {number}" for number in range(100)), pace=100),
    "renamed": Exchange(model="llama-3.3-70b-0915", fingerprint="fp_0000000001"),
    "late": Exchange(waits=30),
    "unauthorized": failing(401, "Incorrect API key provided: sk-test-*****", "invalid_api_key"),
    "forbidden": failing(403, "Your organization may not use this model"),
    "missing": failing(404, "The model `missing` does not exist", "model_not_found"),
    "too-long": failing(400, "This model's maximum context length is 8192 tokens",
                        "context_length_exceeded"),
    "too-many": failing(429, "Rate limit reached", "rate_limit_exceeded", retry_after="7"),
    "broken": failing(500, "The server had an error"),
    "overloaded": failing(503, "Overloaded", retry_after="11"),
    "moved": Exchange(status=307, document={}, headers={"Location": "/v1/elsewhere"}),
    "meddling": Exchange(headers={"X-Accel-Redirect": "/metrics", "Set-Cookie": "spy=1"}),
    "silent": Exchange(says_nothing=True),
    "cut": Exchange(words=tuple(f" {number}" for number in range(20)), ends_after=5),
    "no-beginning": Exchange(ends_after=0),
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """What a provider was asked. Names of headers in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Provider:
    """Listens on a port of loopback for as long as a ``with`` block lasts.

    Args:
        key: that it wants as a bearer; "" for anybody. May be changed meanwhile.
        tls: with a certificate that only ``ca_file`` vouches for.
        now: an exchange by which everything is answered, whatever was asked; "" for none.

    ``asked`` are the requests that it got, models and chats alike; ``gone`` counts the streams
    whose client left before their end. ``read`` and ``written`` are all the tokens that it has
    counted, of answers that nobody has waited for as well.
    """

    def __init__(self, *, key: str = "", tls: Path | None = None, now: str = "") -> None:
        self.key, self.now = key, now
        self.asked: list[Request] = []
        self.connections = self.gone = self.port = 0
        self.read = self.written = 0
        self.ca_file = tls / "provider-ca.pem" if tls else None
        self._tls = _with_certificate(tls) if tls else None

    # --- running -------------------------------------------------------------------

    def __enter__(self) -> Provider:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()

        async def run() -> None:
            server = await asyncio.start_server(
                self._connected, "127.0.0.1", self.port, ssl=self._tls, backlog=1024
            )
            self.port = int(server.sockets[0].getsockname()[1])
            started.set()
            await self._stop.wait()
            server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await asyncio.sleep(0)  # connections close with the next turn of the loop

        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(run()))
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Request]:
        """What it was asked to write."""
        return [one for one in self.asked if one.method == "POST"]

    # --- answering -------------------------------------------------------------------

    def exchange(self, body: Any) -> Exchange:
        """By which a request is answered."""
        return EXCHANGES[self.now or body["model"]]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer. Returns whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        method, path, _ = first.split(" ")
        asked = Request(method, path, headers, json.loads(content) if content else None)
        self.asked.append(asked)
        if self.key and headers.get("authorization") != f"Bearer {self.key}":
            return await self._document(writer, EXCHANGES["unauthorized"], {})
        if method == "GET":
            data = [{"id": name, "object": "model", "owned_by": "tests"} for name in EXCHANGES]
            return await self._document(writer, Exchange(), {"object": "list", "data": data})
        one = self.exchange(asked.body)
        if one.says_nothing:
            return False
        await asyncio.sleep(one.waits)
        self.read += PROMPT if one.document is None else 0
        if one.document is not None:
            return await self._document(writer, one, one.document)
        if asked.body.get("stream"):
            return await self._stream(writer, one, asked.body)
        if one.pace:
            await asyncio.sleep(len(one.words) / one.pace)
        self.written += len(one.words)
        return await self._document(writer, one, answer(one, asked.body))

    async def _document(
        self, writer: asyncio.StreamWriter, one: Exchange, document: Mapping[str, Any]
    ) -> bool:
        content = json.dumps(document).encode()
        extra = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        writer.write(_head(one, extra) + content)
        await writer.drain()
        return True

    async def _stream(
        self, writer: asyncio.StreamWriter, one: Exchange, body: Mapping[str, Any]
    ) -> bool:
        extra = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
        writer.write(_head(one, extra))
        try:
            async for piece in _pieces(one, body):
                self.written += piece.count(b'"content": "') - piece.count(b'"content": ""')
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
                if writer.transport.is_closing():
                    raise ConnectionResetError
        except ConnectionError:
            self.gone += 1
            raise
        if one.ends_after >= 0:
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def _head(one: Exchange, extra: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {one.status} {PHRASES[one.status]}"]
    lines += [f"{name}: {value}" for name, value in {**one.headers, **extra}.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _pieces(one: Exchange, body: Mapping[str, Any]) -> AsyncIterator[bytes]:
    """The bytes of a stream, cut as the exchange says."""
    whole = list(events(one, body))
    sent = whole if one.ends_after < 0 else whole[: one.ends_after]
    if one.cut:
        together = b"".join(sent)
        for start in range(0, len(together), one.cut):
            yield together[start : start + one.cut]
        return
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, event in enumerate(sent):
        if one.pace:
            await asyncio.sleep(max(0.0, began + number / one.pace - loop.time()))
        yield event


def events(one: Exchange, body: Mapping[str, Any]) -> Iterator[bytes]:
    """The events of a stream, whole."""
    head = _about(one, body) | {"object": "chat.completion.chunk"}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = head | {"choices": [choice]}
        return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()

    yield event({"role": "assistant", "content": ""})
    for word in one.words:
        yield event({"content": word})
    yield event({}, "stop")
    if (body.get("stream_options") or {}).get("include_usage"):
        usage = head | {"choices": [], "usage": _usage(one)}
        yield f"data: {json.dumps(usage)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def answer(one: Exchange, body: Mapping[str, Any]) -> dict[str, Any]:
    """The whole of an answer."""
    message = {"role": "assistant", "content": "".join(one.words), "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _about(one, body) | {
        "object": "chat.completion", "choices": [choice], "usage": _usage(one),
        "service_tier": "default",
    }  # fmt: skip


def _about(one: Exchange, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "created": 1741569952,
        "model": one.model or body["model"], "system_fingerprint": one.fingerprint,
    }  # fmt: skip


def _usage(one: Exchange) -> dict[str, int]:
    written = len(one.words)
    return {"prompt_tokens": PROMPT, "completion_tokens": written,
            "total_tokens": PROMPT + written}  # fmt: skip


def _with_certificate(folder: Path) -> ssl.SSLContext:
    """TLS by the certificate in a folder, which is made if it is not there."""
    if not (folder / OWN).exists():
        make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / OWN)
    return context


def make_certificate(folder: Path) -> None:
    """For 127.0.0.1, one that vouches for itself: what a client trusts, and that with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a provider of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public = made.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "provider-ca.pem").write_bytes(public)
    (folder / OWN).write_bytes(private + public)


def main() -> None:
    provider = Provider()
    provider.port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    with provider:
        print(provider.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
