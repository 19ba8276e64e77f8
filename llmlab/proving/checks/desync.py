"""protocol, first part: one sequence of bytes is one sequence of requests, for everybody who reads
it. What is framed in two ways is refused, so that nothing can be hidden behind it.

RFC 9112 6.3 and 11.2.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from llmlab.proving.answers import Heard
from llmlab.proving.findings import Finding, Group, failed, passed, undecided
from llmlab.proving.target import CHAT, Target, mark

FRAMING = Group("protocol")
PATIENCE = 3.0  # seconds
FRAMED = "refuse what is framed in two ways; NGINX does, so do not patch it out or pass it on raw"


@dataclass(frozen=True)
class Vector:
    """
    Args:
        head: lines of the head, which stand for the body's length.
        body: of it; {hidden} is a request that is to be smuggled.
        legal: it may also be answered, once.
    """

    name: str
    proves: str
    head: tuple[str, ...]
    body: str
    legal: bool = False


CHUNKED = "Transfer-Encoding: chunked"
VECTORS = [
    Vector("length-and-chunks", "A length and chunks at once are refused.",
           ("Content-Length: 6", CHUNKED), "0\r\n\r\n{hidden}"),
    Vector("chunks-and-length", "Chunks and a length at once are refused.",
           (CHUNKED, "Content-Length: {size}"), "0\r\n\r\n{hidden}"),
    Vector("two-lengths", "Two lengths are refused.",
           ("Content-Length: 2", "Content-Length: {size}"), "{{}}{hidden}"),
    Vector("two-lengths-alike", "The same length twice is refused, or one.",
           ("Content-Length: 2", "Content-Length: 2"), "{{}}", legal=True),
    Vector("list-of-lengths", "A list of lengths is refused.",
           ("Content-Length: 2, {size}",), "{{}}{hidden}"),
    Vector("length-with-sign", "A length has no sign.", ("Content-Length: +2",), "{{}}{hidden}"),
    Vector("length-negative", "A length is not negative.", ("Content-Length: -1",), "{{}}{hidden}"),
    Vector("length-hexadecimal", "A length is decimal.",
           ("Content-Length: 0x2",), "{{}}{hidden}"),
    Vector("length-too-long", "A length beyond all numbers is refused.",
           ("Content-Length: 184467440737095516162",), "{{}}{hidden}"),
    Vector("unknown-coding", "A coding that nobody knows is refused.",
           ("Transfer-Encoding: xchunked",), "0\r\n\r\n{hidden}"),
    Vector("coding-before-chunks", "A coding around chunks is refused.",
           ("Transfer-Encoding: gzip, chunked",), "0\r\n\r\n{hidden}"),
    Vector("coding-behind-chunks", "Chunks that are not the last coding are refused.",
           ("Transfer-Encoding: chunked, identity",), "0\r\n\r\n{hidden}"),
    Vector("two-codings", "Two headers of codings are refused.",
           (CHUNKED, "Transfer-Encoding: identity"), "0\r\n\r\n{hidden}"),
    Vector("coding-with-tab", "A coding with a sign behind it is refused.",
           ("Transfer-Encoding: chunked\x0b", "Content-Length: {size}"), "0\r\n\r\n{hidden}"),
    Vector("space-before-colon", "A space before the colon makes no header.",
           ("Transfer-Encoding : chunked", "Content-Length: {size}"), "0\r\n\r\n{hidden}",
           legal=True),
    Vector("folded-header", "A header over two lines is refused, or one line.",
           ("Transfer-Encoding:\r\n chunked", "Content-Length: {size}"), "0\r\n\r\n{hidden}"),
    Vector("line-without-colon", "A line without a colon is no header.",
           ("Content-Length 2", "Content-Length: 2"), "{{}}"),
    Vector("null-in-header", "A header with NUL is refused.",
           ("X-Odd: a\x00b", "Content-Length: 2"), "{{}}"),
    Vector("return-in-header", "A lone CR ends no line.",
           ("X-Odd: a\rTransfer-Encoding: chunked", "Content-Length: {size}"),
           "0\r\n\r\n{hidden}", legal=True),
    Vector("chunk-size-odd", "The size of a chunk is hexadecimal, and nothing else.",
           (CHUNKED,), "0x2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
    Vector("chunk-size-negative", "The size of a chunk is not negative.",
           (CHUNKED,), "-2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
    Vector("chunk-size-overflow", "The size of a chunk does not begin anew above all numbers.",
           (CHUNKED,), "10000000000000002\r\n{{}}\r\n0\r\n\r\n{hidden}"),
    Vector("chunk-longer-than-said", "A chunk ends where it says.",
           (CHUNKED,), "2\r\n{{}}XX\r\n0\r\n\r\n{hidden}"),
]  # fmt: skip


def _tried(vector: Vector) -> Callable[[Target], Awaitable[Finding]]:
    async def run(target: Target) -> Finding:
        planted = mark()
        token = await target.token("desync")
        path = CHAT if target.model else target.guarded
        inner = target.request("GET", target.guarded, token=token, headers={"X-Mark": planted})
        if target.witness:
            said = target.chat_body({"say": "x", "mark": planted})
            inner = target.request("POST", CHAT, token=token, body=said)
        body = vector.body.format(hidden=inner.decode("latin-1"))
        lines = [one.format(size=len(body)) for one in vector.head]
        head = [
            f"POST {path} HTTP/1.1", f"Host: {target.host}", f"Authorization: Bearer {token}",
            "Content-Type: application/json", *lines,
        ]  # fmt: skip
        data = "\r\n".join([*head, "", body]).encode("latin-1")
        hides = "{hidden}" in vector.body
        heard = await target.raw(
            data, methods=("POST",), patience=PATIENCE, linger=0.3 if hides else 0.0
        )
        if target.witness and hides and not vector.legal and await target.was("seen", planted):
            return failed("a request that was hidden behind another reached the model", heard)
        return weighed(heard, vector)

    return run


def weighed(heard: Heard, vector: Vector) -> Finding:
    """What the answers to such a request say."""
    if len(heard.answers) > 1:
        return failed(f"{len(heard.answers)} answers came to what should be one request", heard)
    answer = heard.first
    if answer is None:
        if heard.closed or heard.cut:
            return passed("the connection is ended", heard)
        return undecided(f"no answer came within {heard.seconds:.0f} s", heard)
    if answer.status >= 500 and answer.status != 501:
        return failed(f"it brings about {answer.status}, an error of the gateway's own", heard)
    if answer.status in (400, 411, 413, 501):
        return passed(f"it is refused with {answer.status}", heard)
    if vector.legal:
        return passed(f"it is read as one request ({answer.status})", heard)
    return failed(f"it is read and passed on: {answer.status}", heard)


for _one in VECTORS:
    FRAMING.add(_one.name, _one.proves, _tried(_one), fix=FRAMED, requests=2)


@FRAMING.check("pipelined", "Two requests at once get two answers, in their order.", requests=2,
               fix="keep the order of answers on a connection")  # fmt: skip
async def pipelined(target: Target) -> Finding:
    token = await target.token("pipe")
    marks = [mark(), mark()]
    asked = [target.request("GET", target.guarded, token=token, headers={"X-Request-ID": one})
             for one in marks]  # fmt: skip
    heard = await target.raw(b"".join(asked), answers=2, requests=2)
    if len(heard.answers) == 1 and heard.closed:
        return passed("one is answered, and the connection ended", heard)
    if len(heard.answers) != 2:
        return failed(f"{len(heard.answers)} answers came to two requests", heard)
    told = [one.header("x-request-id") for one in heard.answers]
    if not all(told):
        return undecided("answers do not say which request they are of", heard)
    return failed("they are answered in another order", heard) if told != marks else passed(
        "both are answered, in their order", heard
    )  # fmt: skip
