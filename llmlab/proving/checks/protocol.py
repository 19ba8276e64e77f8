"""protocol, second part: requests that no honest client sends, and how they are refused."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from llmlab.network import is_loopback
from llmlab.proving.answers import Heard
from llmlab.proving.checks.desync import FRAMING
from llmlab.proving.findings import Finding, failed, insist, not_applicable, passed, undecided
from llmlab.proving.target import CHAT, Target

PROTOCOL = FRAMING
REFUSED = (400, 403, 404, 405, 411, 413, 414, 415, 421, 431, 501, 505)
KILO = 1024


def refused(heard: Heard, *also: int) -> Finding:
    """Somebody who sends this is shown out: by an answer, or by the end of the connection."""
    if heard.status in (*REFUSED, *also):
        return passed(f"it is refused with {heard.status}", heard)
    if not heard.answers and (heard.closed or heard.cut):
        return passed("the connection is ended", heard)
    if not heard.answers:
        return undecided(f"no answer came within {heard.seconds:.0f} s", heard)
    if heard.status >= 500:
        return failed(f"it brings about {heard.status}, an error of the gateway's own", heard)
    return failed(f"it is answered with {heard.status}", heard)


async def sent(
    target: Target, line: str, *headers: str, method: str = "GET", linger: float = 0.0
) -> Heard:
    """A request of these lines, with a good token."""
    own = f"Authorization: Bearer {await target.token('odd')}"
    data = "\r\n".join([line, own, *headers, "", ""]).encode("latin-1")
    return await target.raw(data, methods=(method,), patience=5.0, linger=linger)


def _host(target: Target) -> str:
    return f"Host: {target.host}"


# --- sizes ----------------------------------------------------------------------------------


@PROTOCOL.check("long-line", "A request line without end is refused.",
                fix="large_client_header_buffers 4 8k;")  # fmt: skip
async def long_line(target: Target) -> Finding:
    line = f"GET {target.guarded}?{'a' * 64 * KILO} HTTP/1.1"
    return refused(await sent(target, line, _host(target)))


@PROTOCOL.check("long-header", "A header without end is refused.",
                fix="large_client_header_buffers 4 8k;")  # fmt: skip
async def long_header(target: Target) -> Finding:
    line = f"GET {target.guarded} HTTP/1.1"
    return refused(await sent(target, line, _host(target), f"X-Long: {'a' * 64 * KILO}"))


@PROTOCOL.check("many-headers", "Headers without number are refused.",
                fix="large_client_header_buffers 4 8k;")  # fmt: skip
async def many_headers(target: Target) -> Finding:
    line = f"GET {target.guarded} HTTP/1.1"
    many = [f"X-Many-{number}: {number}" for number in range(8000)]
    return refused(await sent(target, line, _host(target), *many))


# --- Host ---------------------------------------------------------------------------------


@PROTOCOL.check("host-missing", "A request without Host is refused.",
                fix="RFC 9112 3.2 demands it")  # fmt: skip
async def host_missing(target: Target) -> Finding:
    return refused(await sent(target, f"GET {target.guarded} HTTP/1.1"))


@PROTOCOL.check("host-twice", "A request with two Hosts is refused.",
                fix="RFC 9112 3.2 demands it")  # fmt: skip
async def host_twice(target: Target) -> Finding:
    line = f"GET {target.guarded} HTTP/1.1"
    return refused(await sent(target, line, _host(target), "Host: evil.example"))


@PROTOCOL.check("host-odd", "A Host that is no name is refused.", requests=3,
                fix="refuse it, or put your own name in its place")  # fmt: skip
async def host_odd(target: Target) -> Finding:
    for odd in ("a b", "evil.example/..", "a\\b"):
        heard = await sent(target, f"GET {target.guarded} HTTP/1.1", f"Host: {odd}")
        if (found := refused(heard)).verdict != "passed":
            return found
    return found


# --- methods and versions --------------------------------------------------------------------


@PROTOCOL.check("trace", "TRACE tells nobody what was sent.", fix="NGINX answers it with 405")
async def trace(target: Target) -> Finding:
    heard = await sent(target, f"TRACE {target.guarded} HTTP/1.1", _host(target), method="TRACE")
    return refused(heard)


@PROTOCOL.check("unknown-method", "A method that there is not is refused.",
                fix="answer 405, or 400")  # fmt: skip
async def unknown_method(target: Target) -> Finding:
    heard = await sent(target, f"BREW {target.guarded} HTTP/1.1", _host(target), method="BREW")
    return refused(heard)


@PROTOCOL.check("unknown-version", "A version that there is not is refused.",
                fix="NGINX answers it with 505")  # fmt: skip
async def unknown_version(target: Target) -> Finding:
    return refused(await sent(target, f"GET {target.guarded} HTTP/3.7", _host(target)))


@PROTOCOL.check("version-0.9", "A line without a version gets nothing.",
                fix="refuse HTTP/0.9")  # fmt: skip
async def version_0_9(target: Target) -> Finding:
    heard = await target.raw(f"GET {target.guarded}\r\n".encode(), patience=5.0)
    return refused(heard, 401)


@PROTOCOL.check("version-1.0", "A client of HTTP/1.0 is answered as it can read it.",
                fix="answer HTTP/1.0 without chunks, and end the connection")  # fmt: skip
async def version_1_0(target: Target) -> Finding:
    heard = await sent(target, f"GET {target.guarded} HTTP/1.0", linger=1.0)
    answer = heard.first
    if answer is None:
        return failed("there is no answer", heard)
    if answer.header("transfer-encoding"):
        return failed("the answer comes in chunks, which HTTP/1.0 does not know", heard)
    return insist(heard.closed and answer.status < 500, "it is answered, and the connection ended",
                  "it is not answered, or the connection stays open", heard)  # fmt: skip


@PROTOCOL.check("head", "HEAD is GET without a body.", requests=2,
                fix="answer HEAD with the status of GET, and no body")  # fmt: skip
async def head(target: Target) -> Finding:
    token = await target.token("head")
    whole = await target.open(token)
    data = target.request("HEAD", target.guarded, token=token, headers={"Connection": "close"})
    heard = await target.raw(data, methods=("HEAD",), linger=0.3)
    if heard.rest or (heard.first and heard.first.body):
        return failed("an answer to HEAD has a body", heard)
    return insist(heard.status == whole.status, f"both are answered with {whole.status}",
                  f"GET: {whole.status}, HEAD: {heard.status}", heard)  # fmt: skip


@PROTOCOL.check("upgrade", "Nobody gets a connection of its own through the gateway.",
                fix="do not pass Upgrade and Connection on")  # fmt: skip
async def upgrade(target: Target) -> Finding:
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    for asked in ("websocket", "h2c"):
        heard = await sent(
            target, f"GET {target.guarded} HTTP/1.1", _host(target), "Connection: Upgrade",
            f"Upgrade: {asked}", f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
        )  # fmt: skip
        if heard.status == 101:
            return failed(f"the connection is handed over ({asked})", heard)
    return passed("asked for another protocol, it goes on with this one", heard)


# --- not a proxy -----------------------------------------------------------------------------


@asynccontextmanager
async def _trap(target: Target) -> AsyncIterator[tuple[str, list[str]]]:
    """HOST:PORT of a server that nobody has business with, and who came; for a gateway
    elsewhere a name that leads nowhere."""
    came: list[str] = []
    if not is_loopback(target.url):
        yield "198.51.100.1:80", came  # RFC 5737: no host has this address
        return

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append("somebody")
        with contextlib.suppress(OSError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ntrapped")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(note, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", came


@PROTOCOL.check("connect", "The gateway is no tunnel.", fix="do not answer CONNECT")
async def connect(target: Target) -> Finding:
    async with _trap(target) as (where, came):
        line = f"CONNECT {where} HTTP/1.1"
        heard = await sent(target, line, f"Host: {where}", method="CONNECT")
        return failed("it connects to where it is told", heard) if came else refused(heard)


@PROTOCOL.check("another-server", "The gateway fetches nothing from another server.", requests=2,
                fix="do not pass a request on to where its Host or its line says")  # fmt: skip
async def another_server(target: Target) -> Finding:
    async with _trap(target) as (where, came):
        for line, host in (
            (f"GET http://{where}{target.guarded} HTTP/1.1", target.host),
            (f"GET {target.guarded} HTTP/1.1", where),
        ):
            heard = await sent(target, line, f"Host: {host}")
            if came or "trapped" in heard.shown:
                return failed("it asks the server that the client names", heard)
    return passed(f"it answers by itself: {heard.status}", heard)


@PROTOCOL.check("redirects", "The gateway sends nobody to another server.", requests=4,
                fix="absolute_redirect off; and no address of a client's in Location")  # fmt: skip
async def redirects(target: Target) -> Finding:
    for path in ("//evil.example/..", "/\\evil.example", "/models", "/%0d%0aLocation:%20//evil/"):
        heard = await sent(target, f"GET {path} HTTP/1.1", "Host: evil.example")
        answer = heard.first
        if answer and ("evil" in answer.header("location") or answer.header("x-split")):
            return failed(f"Location is {answer.header('location')}", heard)
    return passed("no answer leads to a name that the client has sent", heard)


@PROTOCOL.check("origins", "Pages of any other site may not ask from a browser.", requests=2,
                fix="list the origins that may (gateway.cors_origins)")  # fmt: skip
async def origins(target: Target) -> Finding:
    asked = {"Origin": "https://evil.example"}
    answer = await target.open(await target.token("page"), headers=asked)
    allowed = answer.header("access-control-allow-origin")
    if allowed in ("*", "https://evil.example"):
        return failed(f"Access-Control-Allow-Origin is {allowed}", answer)
    first = {**asked, "Access-Control-Request-Method": "GET"}
    before = await target.ask("OPTIONS", target.guarded, headers=first)
    allowed = before.header("access-control-allow-origin")
    return insist(allowed not in ("*", "https://evil.example"),
                  "a page of elsewhere is told nothing",
                  f"a browser that asks first is told {allowed}", before)  # fmt: skip


# --- bodies and slow clients -------------------------------------------------------------------


@PROTOCOL.check("compressed-body", "A body that is packed is refused, or read, but no bomb.",
                fix="answer 415 to Content-Encoding")  # fmt: skip
async def compressed(target: Target) -> Finding:
    if not target.model:
        return not_applicable("there is no address for chats")
    packed = gzip.compress(b" " * (32 << 20), 9)
    answer = await target.ask("POST", CHAT, token=await target.token("gzip"), body=packed,
                              headers={"Content-Encoding": "gzip"})  # fmt: skip
    return insist(400 <= answer.status < 500, f"it is refused with {answer.status}",
                  f"32 MiB, packed into {len(packed) >> 10} KiB: {answer.status}",
                  answer)  # fmt: skip


@PROTOCOL.check("slow-head", "A client that never ends its head is shown out.", slow=True,
                fix="client_header_timeout 10s;")  # fmt: skip
async def slow_head(target: Target) -> Finding:
    head = f"GET {target.guarded} HTTP/1.1\r\nHost: {target.host}\r\n".encode()
    crumbs = [f"X-{number}: a\r\n".encode() for number in range(int(target.patience / 0.4))]
    heard = await target.raw(head, *crumbs, between=0.4, patience=target.patience)
    return insist(heard.closed or heard.status == 408,
                  f"it is shown out after {heard.seconds:.1f} s",
                  f"after {heard.seconds:.0f} s it still has its connection", heard)  # fmt: skip
