"""What came back on a connection, taken apart, and as it may be shown: shortened, secrets masked.

Nothing here opens a connection.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h11

SHOWN = 300  # characters of what was sent, and of what came
_JWT = re.compile(r"\b(eyJ[\w+/=-]*)\.([\w+/=-]*)\.?([\w+/=-]*)")
_BEARER = re.compile(r"(?i)(bearer +|sk-)(?!\[)[^\s,\"]{8,}")


@dataclass(frozen=True)
class Answer:
    """One answer of HTTP/1.

    Args:
        headers: in pairs, names in lower case.
        sent: what was asked, as it may be shown.
        seconds: from the first byte that was sent to its last one.
        whole: its body came to its end.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    version: str = "1.1"
    sent: str = ""
    seconds: float = 0.0
    whole: bool = True

    def header(self, name: str) -> str:
        """Its values, joined; "" if it is not there."""
        return ", ".join(value for one, value in self.headers if one == name.lower())

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Its body as JSON; None if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def shown(self) -> str:
        kind = self.header("content-type").partition(";")[0]
        return shortened(masked(f"{self.status} {kind} {self.text[:4096].strip()}"))


@dataclass(frozen=True)
class Heard:
    """All that came on one connection.

    Args:
        rest: bytes that are no answer of HTTP/1.
        closed: the other side ended it.
        cut: it was reset, or could not be opened at all.
        seconds: for which it was open.
    """

    answers: tuple[Answer, ...]
    sent: str
    rest: bytes = b""
    closed: bool = False
    cut: bool = False
    seconds: float = 0.0

    @property
    def first(self) -> Answer | None:
        return self.answers[0] if self.answers else None

    @property
    def status(self) -> int:
        """Of the first answer; 0 for none."""
        return self.answers[0].status if self.answers else 0

    @property
    def shown(self) -> str:
        told = [one.shown for one in self.answers]
        if self.rest:
            told.append(shortened(masked(repr(self.rest[:4096])), 80))
        end = "reset" if self.cut else "closed" if self.closed else f"open for {self.seconds:.1f} s"
        return shortened(" | ".join([*told, f"({end})"]))


def taken_apart(
    raw: bytes, methods: tuple[str, ...], *, closed: bool
) -> tuple[list[Answer], bytes]:
    """The answers in these bytes, and what is left.

    Args:
        methods: of the requests that they answer; the last one for all further answers.
        closed: there will be no more.
    """
    answers: list[Answer] = []
    while raw:
        method = methods[min(len(answers), len(methods) - 1)]
        found = _one(raw, method, closed)
        if found is None:
            break
        answer, raw = found
        answers.append(answer)
        if not answer.whole:
            break
    return answers, raw


def _one(raw: bytes, method: str, closed: bool) -> tuple[Answer, bytes] | None:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    known = method if re.fullmatch(r"[A-Z]+", method) else "GET"
    connection.send(h11.Request(method=known, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | h11.InformationalResponse | None = None
    body = bytearray()
    try:
        connection.receive_data(raw)
        if closed:
            connection.receive_data(b"")
        while True:
            event = connection.next_event()
            match event:
                case h11.Response():
                    head = event
                case h11.InformationalResponse(status_code=101):
                    return _answer(event, body, whole=True), b""
                case h11.Data():
                    body += event.data
                case h11.EndOfMessage():
                    assert head is not None
                    return _answer(head, body, whole=True), connection.trailing_data[0]
                case h11.PAUSED:  # a tunnel: whatever comes is no answer any more
                    return (_answer(head, body, whole=True), b"") if head else None
                case h11.NEED_DATA | h11.ConnectionClosed():
                    break
    except h11.RemoteProtocolError:
        pass
    return (_answer(head, body, whole=False), b"") if head else None


def _answer(
    head: h11.Response | h11.InformationalResponse, body: bytearray, *, whole: bool
) -> Answer:
    headers = tuple((name.decode("latin-1"), value.decode("latin-1"))
                    for name, value in head.headers)  # fmt: skip
    return Answer(head.status_code, headers, bytes(body), head.http_version.decode(), whole=whole)


# --- as it may be shown -------------------------------------------------------------------


def masked(text: str) -> str:
    """Text in which tokens are told by what they say of themselves, and keys not at all."""
    return _BEARER.sub(r"\1[...]", _JWT.sub(_described, text))


def _described(found: re.Match[str]) -> str:
    header, claims, signature = found.groups()
    try:
        names = ", ".join(map(str, _object(claims))) or "nothing"
        head = json.dumps(_object(header), separators=(",", ":"))
    except ValueError:
        return "[token]"
    return f"[token {head[:160]} of {names[:120]}, {'signed' if signature else 'not signed'}]"


def _object(part: str) -> dict[str, Any]:
    value = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    if not isinstance(value, dict):
        raise ValueError("no object")
    return value


def shortened(text: str, most: int = SHOWN) -> str:
    """One line that is not too long, without what steers a terminal."""
    line = "".join(_visible(text[: most * 4])).strip()
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _visible(text: str) -> Iterator[str]:
    for letter in text:
        if letter.isprintable():
            yield letter
        elif letter in "\r\n\t":
            yield {"\r": "", "\n": "\u23ce ", "\t": "\\t"}[letter]
        else:
            yield repr(letter)[1:-1]


def sent_as_shown(data: bytes) -> str:
    return shortened(masked(data[:4096].decode("latin-1")))
