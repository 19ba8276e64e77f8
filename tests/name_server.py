"""A name server on loopback: who is behind a name may change from one question to the next."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

ADDRESS, IN = 1, 1  # type A, class IN: RFC 1035, 3.2


@dataclass
class NameServer:
    """
    Args:
        known: {name: addresses of IPv4}; of any other name it says that there is none.
    """

    port: int
    known: dict[str, list[str]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)

    def answer(self, question: bytes) -> bytes:
        """To a message with one question."""
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind, _ = struct.unpack_from("!HH", question, at + 1)
        name = ".".join(labels)
        self.asked.add(name)
        there = self.known.get(name)
        found = there if there and kind == ADDRESS else []
        flags = 0x8180 if there is not None else 0x8183  # NXDOMAIN
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        records = b"".join(
            b"\xc0\x0c" + struct.pack("!HHIH", ADDRESS, IN, 30, 4) + socket.inet_aton(one)
            for one in found
        )
        return head + question[12 : at + 5] + records


@contextmanager
def name_server(**known: list[str]) -> Iterator[NameServer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.bind(("127.0.0.1", 0))
        one = NameServer(ours.getsockname()[1], dict(known))
        over = threading.Event()

        def serve() -> None:
            while True:
                question, whose = ours.recvfrom(4096)
                if over.is_set():
                    return
                ours.sendto(one.answer(question), whose)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield one
        finally:
            over.set()
            ours.sendto(b"over", ours.getsockname())
            thread.join(10)
