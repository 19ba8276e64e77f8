"""Names and values of a person's choice as NGINX's configuration takes them."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import ROUND_DOWN, Decimal

from llmlab.errors import ConfigError

NAMES = {
    "header": r"[A-Za-z0-9-]{1,64}",
    "cookie": r"[A-Za-z0-9_]{1,64}",
    "claim": r"[A-Za-z0-9_.:/@-]{1,128}",
    "flag": r"[a-z0-9][a-z0-9-]{0,62}",
    "salt": r"[A-Za-z0-9 ._:/@-]{0,128}",
    "decoding": r"[a-z_]{1,32}",
    "default": r"[A-Za-z0-9._-]{1,32}",
}
WHAT = {"salt": "the salt of a split", "decoding": "a decoding parameter",
        "default": "a value for decoding"}  # fmt: skip
# Letters of one word. NGINX reads no word that is longer than 4096 bytes, quotes and escapes
# included: NGX_CONF_BUFFER of its ngx_conf_file.c.
LONGEST = 3500


def by_set(variable: str, value: str) -> str:
    return f"set {variable} {value};"


def by_map(variable: str, value: str) -> str:
    return f'map "" {variable} {{ default {value}; }}'


def in_words(variable: str, text: str, define: Callable[[str, str], str]) -> list[str]:
    """Lines that define a variable as a text, however long it is. A `$` would begin a variable."""
    words = [text[at : at + LONGEST] for at in range(0, len(text), LONGEST)] or [""]
    quoted = ["'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'" for word in words]
    if len(quoted) == 1:
        return [define(variable, quoted[0])]
    parts = {f"{variable}_{number}": word for number, word in enumerate(quoted, 1)}
    whole = "".join(parts)
    return [*(define(part, word) for part, word in parts.items()), define(variable, f'"{whole}"')]


def checked(kind: str, name: str) -> str:
    """A name that can be part of a variable's, or stand in quotes as it is.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(NAMES[kind], name):
        raise ConfigError(
            f"{name!r} cannot be {WHAT.get(kind, f'the name of a {kind}')} at the gateway",
            fix=f"choose one like {NAMES[kind]}",
        )
    return name


def exactly(value: str) -> str:
    """What in a `map` stands for this very value: a pattern, because NGINX compares plain
    strings without regard to case, and takes some of them (`default`) for words of its own.

    Raises:
        ConfigError: it holds control characters, which no header carries.
    """
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise ConfigError(
            f"{value!r} holds control characters, so no request could match it",
            fix="leave them out",
        )
    return f'"~^{_pattern(value)}\\\\z"'


def somewhere(text: str) -> str:
    """As ``exactly``, for values that hold this text."""
    return f'"~{_pattern(text)}"'


def ending_with(start: str, last: str) -> str:
    """As ``exactly``, for a start and a list of words (`a, b : c`) of which this is the last."""
    return f'"~^{_pattern(start)}(?:.*[ ,])?{_pattern(last)}\\\\z"'


def _pattern(text: str) -> str:
    # The regular expression, then as a quoted word of the configuration.
    return re.escape(text).replace("\\", "\\\\").replace('"', '\\"')


def percentage(percent: float) -> str:
    """With the two decimals that split_clients takes; "" for a share of nothing. Rounded down:
    shares that sum up to 100 still do not sum up to more."""
    exact = Decimal(repr(float(percent))).quantize(Decimal("0.01"), ROUND_DOWN)
    return f"{exact}%" if exact else ""
