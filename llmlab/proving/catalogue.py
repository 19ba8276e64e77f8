"""All checks, in the order in which they run, and which of them are wanted.

Whoever adds one adds it to the module of its group; a new group is named here.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmlab.errors import UsageError
from llmlab.near import hint
from llmlab.proving.checks import addresses as _addresses  # noqa: F401  adds to the group protocol
from llmlab.proving.checks import letting_in as _letting_in  # noqa: F401  adds to auth and limits
from llmlab.proving.checks import protocol as _protocol  # noqa: F401  likewise
from llmlab.proving.checks import streams as _streams  # noqa: F401  adds to the group openai
from llmlab.proving.checks.auth import AUTH
from llmlab.proving.checks.desync import FRAMING
from llmlab.proving.checks.identity import IDENTITY
from llmlab.proving.checks.isolation import ISOLATION
from llmlab.proving.checks.limits import LIMITS
from llmlab.proving.checks.openai import OPENAI
from llmlab.proving.checks.resilience import RESILIENCE
from llmlab.proving.checks.tls import TLS
from llmlab.proving.checks.waf import WAF
from llmlab.proving.findings import Check, Group

# Those that make noise come late, and whether all is as before last.
GROUPS: tuple[Group, ...] = (
    TLS, AUTH, IDENTITY, FRAMING, OPENAI, ISOLATION, WAF, LIMITS, RESILIENCE,
)  # fmt: skip


def every() -> list[Check]:
    return [one for group in GROUPS for one in group.checks]


def chosen(only: str = "", skip: str = "") -> list[Check]:
    """
    Args:
        only, skip: groups and ids, with commas between.

    Raises:
        UsageError: there is none of that name, or none is left.
    """
    wanted, left_out = _named(only, "--only"), _named(skip, "--skip")
    found = [
        one for one in every()
        if (not wanted or wanted & {one.id, one.group}) and not left_out & {one.id, one.group}
    ]  # fmt: skip
    if not found:
        raise UsageError("--only and --skip leave no check", fix="llmlab probe --list")
    return found


def _named(said: str, option: str) -> set[str]:
    names = {one.strip() for one in said.split(",") if one.strip()}
    known = {name for one in every() for name in (one.id, one.group)}
    for name in sorted(names - known):
        raise UsageError(
            f"{option}: there is no check and no group {name!r}{hint(name, sorted(known))}",
            fix="llmlab probe --list",
        )
    return names


def requests(checks: Sequence[Check]) -> int:
    """About so many are sent."""
    return sum(one.requests for one in checks)
