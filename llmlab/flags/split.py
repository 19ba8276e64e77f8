"""Which side of a split somebody is on: the arithmetic of NGINX's ``split_clients``, bit by bit.

Source: src/core/ngx_murmurhash.c and src/http/modules/ngx_http_split_clients_module.c of nginx, as
1.31.3 has them; a test holds it against that one. Older ones differ for a few of four billion
hashes, where shares sum up to 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, Decimal

LARGEST = 0xFFFFFFFF
WHOLE = 10_000  # hundredths of a percent
MULTIPLIER, SHIFT = 0x5BD1E995, 24  # MurmurHash2's


def murmur2(data: bytes) -> int:
    """MurmurHash2 of Austin Appleby, 32 bits, with the seed 0."""
    h = len(data) & LARGEST
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * MULTIPLIER & LARGEST
        k = (k ^ k >> SHIFT) * MULTIPLIER & LARGEST
        h = (h * MULTIPLIER & LARGEST) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * MULTIPLIER & LARGEST
    h = (h ^ h >> 13) * MULTIPLIER & LARGEST
    return h ^ h >> 15


def hundredths(percent: float) -> int:
    """A share as the gateway has it: with two decimals, rounded down, so that shares which sum
    up to 100 do not sum up to more."""
    return int(Decimal(repr(float(percent))).quantize(Decimal("0.01"), ROUND_DOWN) * 100)


def side(key: str, percents: Sequence[float]) -> int | None:
    """Which of several shares a key falls in, counted from 0; None for the rest."""
    hashed = murmur2(key.encode())
    end = total = 0
    for number, percent in enumerate(percents):
        part = hundredths(percent)
        end += part * LARGEST // WHOLE
        total += part
        # Each end is rounded down: the share with which they are 100 % has what is left over.
        if part and (hashed < end or total >= WHOLE):
            return number
    return None


def position(key: str) -> float:
    """Where a key stands, in percent: it is in a first share that is larger than this."""
    return murmur2(key.encode()) * 100 / LARGEST
