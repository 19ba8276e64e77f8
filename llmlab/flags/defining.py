"""What a flag may be. Its name stands in variables and headers of the gateway, and what it says
reaches every API, so both are bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from llmlab.bounds import LONGEST_SUMMARY
from llmlab.errors import UsageError
from llmlab.flags.split import hundredths
from llmlab.runtimes.base import Strategy
from llmlab.traffic import Flag

MOST = 32  # flags of a lab
MOST_IN_AUDIENCE = 100
LONGEST_VALUE = 256  # characters; of a subject, the gateway takes as many
NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
CLAIM = re.compile(r"[A-Za-z0-9_.:/@-]{1,128}")
EVERYBODY = 100  # percent
LEAST = {"max_length": 1, "min_length": 0}


def parse_audience(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """CLAIM=VALUE each.

    Raises:
        UsageError: one is anything else.
    """
    pairs = []
    for one in given:
        claim, equals, value = one.partition("=")
        if not equals or not CLAIM.fullmatch(claim):
            raise UsageError(f"{one!r} is not CLAIM=VALUE", fix="--for sub=quotes")
        if (
            not value
            or len(value) > LONGEST_VALUE
            or not value.isprintable()
            or value != (value.strip(" "))
        ):
            raise UsageError(
                f"{value!r} is no value of a claim that a flag can be on for: 1 to "
                f"{LONGEST_VALUE} printable characters, without spaces around them"
            )
        pairs.append((claim, value))
    if len(pairs) > MOST_IN_AUDIENCE:
        raise UsageError(
            f"an audience has at most {MOST_IN_AUDIENCE} values",
            fix="mint tokens with a claim for the group, and name that one",
        )
    return tuple(dict.fromkeys(pairs))


def checked_name(name: str) -> str:
    """Raises UsageError: no flag can have this name."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a flag's name: lower-case letters, digits and hyphens, a letter "
            "first, 40 at most",
            fix="llmlab flag set short-summaries --percent 10",
        )
    return name


def defined(
    flag: Flag,
    *,
    percent: float | None = None,
    audience: tuple[tuple[str, str], ...] | None = None,
    deployment: str | None = None,
    decoding: Mapping[str, Any] | None = None,
) -> Flag:
    """A flag with other parts; what is None stays as it is.

    Args:
        decoding: parameters to set; one that is None is taken out.

    Raises:
        UsageError: there is no such flag.
    """
    checked_name(flag.name)
    if percent is not None:
        flag = replace(flag, percent=_percent(percent))
    if audience is not None:
        # Beside everybody nobody can be named: this narrows it down to those.
        everybody = percent is None and flag.percent == EVERYBODY
        flag = replace(flag, audience=audience, percent=0.0 if everybody else flag.percent)
    if deployment is not None:
        flag = replace(flag, deployment=deployment)
    if decoding is not None:
        merged = {**flag.decoding, **decoding}
        flag = replace(flag, decoding=_decoding({
            name: value for name, value in sorted(merged.items()) if value is not None
        }))  # fmt: skip
    return flag


def _percent(percent: float) -> float:
    if not 0 <= percent <= 100 or hundredths(percent) / 100 != percent:
        raise UsageError(
            f"{percent} is no share: 0 to 100 percent, with two decimals at most",
            fix="--percent 12.5",
        )
    return float(percent)


def _decoding(given: dict[str, Any]) -> dict[str, Any]:
    for name, value in given.items():
        if name == "strategy":
            known = [one.value for one in Strategy]
            if value not in known:
                raise UsageError(f"{value!r} is no strategy; there are {', '.join(known)}")
        elif not LEAST[name] <= value <= LONGEST_SUMMARY:
            raise UsageError(f"{name} is {value}: {LEAST[name]} to {LONGEST_SUMMARY}")
    if given.get("min_length", 0) > given.get("max_length", LONGEST_SUMMARY):
        raise UsageError("min_length is above max_length")
    return given
