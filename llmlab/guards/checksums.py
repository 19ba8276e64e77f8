"""Check digits: what tells a number of a kind from any other number of that length."""

from __future__ import annotations

import zlib

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# Luhn's: a digit that is doubled, its own digits added.
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B: cards."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        total += _DOUBLED[int(digit)] if place % 2 else int(digit)
    return total % 10 == 0


def mod_97(compact: str) -> bool:
    """ISO 13616: IBANs, without spaces, in capitals."""
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def mod_11_10(digits: str) -> bool:
    """ISO/IEC 7064: its last digit checks those before it."""
    product = 10
    for digit in digits[:-1]:
        total = (int(digit) + product) % 10 or 10
        product = (2 * total) % 11
    return (11 - product) % 10 == int(digits[-1])


def crc_base62(token: str) -> bool:
    """GitHub's tokens and npm's: behind the random part, its CRC32 in six digits of base 62.

    https://github.blog/2021-04-05-behind-githubs-new-authentication-token-formats/
    """
    return crc_digits(token[:-6]) == token[-6:]


def crc_digits(part: str) -> str:
    number, digits = zlib.crc32(part.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = BASE62[rest] + digits
    return digits
