"""A real NGINX that splits keys, and keys whose hash is known before they are hashed."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmlab.flags.split import LARGEST, MULTIPLIER, SHIFT
from llmlab.gateway import find_nginx

CONF = """
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off; keepalive_requests 1000000;
    client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t;
    scgi_temp_path t; large_client_header_buffers 4 64k; ignore_invalid_headers off;
{splits}
    server {{ listen unix:{socket}; location / {{ return 200 "{answer}"; }} }}
}}
"""
INVERSE = pow(MULTIPLIER, -1, LARGEST + 1)


@contextmanager
def splitting(*splits: Sequence[str]) -> Iterator[Splitter]:
    """NGINX with one split_clients for each list of percentages, as they stand in its
    configuration; all of them of the same key."""
    # Not under pytest's folder: the path of a unix socket may have 107 bytes.
    home = Path(tempfile.mkdtemp(prefix="split-", dir="/tmp"))
    blocks = "\n".join(
        f'split_clients "$http_x_key" $side{number} {{ '
        + "".join(f"{percent} {side}; " for side, percent in enumerate(percents))
        + "* -; }"
        for number, percents in enumerate(splits)
    )
    # Each answer has so many bytes that its end is found without reading its head.
    answer = " ".join(f"$side{number}" for number in range(len(splits)))
    conf = home / "nginx.conf"
    conf.write_text(CONF.format(splits=blocks, socket=home / "sock", answer=f"={answer}="))
    nginx = find_nginx("", "open")
    process = subprocess.Popen(nginx.command(home, conf), stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 10
        while not (home / "sock").exists():
            assert process.poll() is None and time.monotonic() < deadline, process.stderr
            time.sleep(0.01)
        yield Splitter(home / "sock", len(splits))
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(home)


class Splitter:
    """Asks it, many requests on one connection."""

    def __init__(self, path: Path, splits: int) -> None:
        self._path, self._splits = path, splits

    def sides(self, keys: Sequence[str]) -> list[list[int | None]]:
        """For each key its side of each split; None for the rest."""
        found: list[list[int | None]] = []
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self._path))
            for start in range(0, len(keys), 100):
                part = keys[start : start + 100]
                head = b"GET / HTTP/1.1\r\nHost: a\r\nX-Key: "
                connection.sendall(b"".join(head + key.encode() + b"\r\n\r\n" for key in part))
                answers = b""
                while answers.count(b"=") < 2 * len(part):
                    received = connection.recv(1 << 16)
                    assert received, answers
                    answers += received
                found += [
                    [None if side == b"-" else int(side) for side in answer.split()]
                    for answer in answers.split(b"=")[1::2]
                ]
        return found


def key_with_hash(wanted: int, chance: random.Random) -> str:
    """Eight printable characters with this MurmurHash2, of which every step can be undone."""
    h = _unshifted(wanted, 15)
    h = _unshifted(h * INVERSE & LARGEST, 13)
    while True:
        first = bytes(chance.choices(range(0x21, 0x7F), k=4))
        before = (8 * MULTIPLIER & LARGEST) ^ _mixed(int.from_bytes(first, "little"))
        k = h ^ (before * MULTIPLIER & LARGEST)
        k = _unshifted(k * INVERSE & LARGEST, SHIFT) * INVERSE & LARGEST
        second = k.to_bytes(4, "little")
        if all(0x21 <= byte < 0x7F for byte in second):
            return (first + second).decode()


def _mixed(k: int) -> int:
    k = k * MULTIPLIER & LARGEST
    return (k ^ k >> SHIFT) * MULTIPLIER & LARGEST


def _unshifted(value: int, by: int) -> int:
    """What ``x ^ x >> by`` was made of."""
    found = value
    for _ in range(32 // by):
        found = value ^ found >> by
    return found
