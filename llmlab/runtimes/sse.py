"""Server-sent events as they are read: whole, however the network cuts them.

https://html.spec.whatwg.org/multipage/server-sent-events.html: lines end with LF, CR LF or CR,
an event with an empty line, and lines that begin with a colon are comments.
"""

from __future__ import annotations

import re

LARGEST = 8 << 20  # bytes of one event; a longer one is no event of a language model
# Atomic, or a CR LF would be taken apart into two ends. One that the network cuts in two may
# end an event early, by an empty line more than there is: that is none.
_END = re.compile(rb"(?>\r\n|\n|\r){2}")
_LINE = re.compile(rb"\r\n|\n|\r")


class TooLarge(Exception):
    """An event that does not end."""


class Events:
    """Puts a stream's bytes together; gives the data of each event that is whole."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._only_lf = True  # as nearly always; then there is a faster way to find the ends

    def feed(self, part: bytes) -> list[bytes]:
        """The data of the events that these bytes complete, in their order.

        Raises:
            TooLarge: one has more than LARGEST bytes.
        """
        begin = max(0, len(self._rest) - 3)  # an end may have been cut in two
        self._rest += part
        self._only_lf = self._only_lf and b"\r" not in part
        if self._only_lf:
            found = self._rest.find(b"\n\n", begin) >= 0
        else:
            found = _END.search(self._rest, begin) is not None
        if not found:
            if len(self._rest) > LARGEST:
                raise TooLarge
            return []
        read = bytes(self._rest)
        *whole, rest = read.split(b"\n\n") if self._only_lf else _END.split(read)
        self._rest = bytearray(rest)
        return [data for event in whole if (data := _data(event)) is not None]

    def end(self) -> list[bytes]:
        """What the end of the stream completes: servers forget the last empty line."""
        rest, self._rest = bytes(self._rest), bytearray()
        data = _data(rest)
        return [] if data is None else [data]


def _data(event: bytes) -> bytes | None:
    """The data of an event; None for one without any, such as a comment."""
    if event.startswith(b"data: ") and b"\n" not in event and b"\r" not in event:
        return event[6:]  # as nearly all of them are
    lines = [
        line.removeprefix(b"data:").removeprefix(b" ")
        for line in _LINE.split(event)
        if line.startswith(b"data:")
    ]
    return b"\n".join(lines) if lines else None
