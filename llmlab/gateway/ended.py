"""Subjects whose tokens were ended: what they were given until then is refused, by its ``iat``.

Two maps, which both editions of NGINX understand. What has no `iat` in plain digits is refused
with the rest: nobody can say when it was made. That it is a number, and no text, token.js checks.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmlab.gateway.quoting import exactly


def ended(subjects: Mapping[str, int]) -> list[str]:
    """Lines that define ``$token_not_ended``.

    Args:
        subjects: {subject: seconds since 1970; tokens that were made until then have ended}.
    """
    if not subjects:
        return ['map "" $token_not_ended { default 1; }']
    # A number instead of the name: the second map joins it with the time by a colon.
    which = [f"    {exactly(sub)} {n};" for n, sub in enumerate(subjects)]
    when = [f'    "~^{n}:(?:{later(until)})\\\\z" 1;' for n, until in enumerate(subjects.values())]
    return [
        "# Whose tokens were ended, and which of theirs are from later.",
        "map $lab_sub $lab_ended {", '    default "";', *which, "}",
        'map "$lab_ended:$jwt_claim_iat" $token_not_ended {', "    default 0;", '    "~^:" 1;',
        *when, "}",
    ]  # fmt: skip


def later(than: int) -> str:
    """A pattern for whole numbers above this one, in digits without leading zeros."""
    digits = str(than)
    patterns = [rf"[1-9]\d{{{len(digits)},}}"]
    for place, digit in enumerate(digits):
        if digit < "9":
            rest = len(digits) - place - 1
            patterns.append(rf"{digits[:place]}[{int(digit) + 1}-9]\d{{{rest}}}")
    return "|".join(patterns)
