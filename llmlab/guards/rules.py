"""Rules: guards as a lab has them, each with what happens where it finds something."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from llmlab.guards.base import Finding, Guard, Where

Action = Literal["allow", "redact", "block"]


@dataclass(frozen=True, slots=True)
class Rule:
    """
    Args:
        routes: those whose texts it looks at; none for all.
        timeout: seconds for one look.
        lost: its looks that nobody waits for any more, and that have not ended.
    """

    name: str
    guard: Guard
    where: tuple[Where, ...] = ("request", "answer")
    action: Action = "block"
    routes: tuple[str, ...] = ()
    timeout: float = 2.0
    lost: set[object] = field(default_factory=set, compare=False, repr=False)


class GuardFailed(Exception):
    """A guard could not tell, so nobody knows what there is in a text, and it goes no further.

    Args:
        why: for the log; the text is not in it.
    """

    def __init__(self, rule: Rule, why: str) -> None:
        super().__init__(f"the guard {rule.name}: {why}")
        self.rule, self.why = rule, why


class Blocked(Exception):
    """A guard found something, and its rule is to let nothing of the text through."""

    def __init__(self, rule: Rule, findings: Sequence[Finding]) -> None:
        super().__init__(rule.name)
        self.rule = rule
        self.labels = tuple(dict.fromkeys(one.label for one in findings))


def applying(rules: Iterable[Rule], where: Where, route: str) -> tuple[Rule, ...]:
    """Those that look at a text.

    Args:
        route: by which it was asked; "" where a deployment was asked by its own name, and then
            no rule is left out: that is no way around one.
    """
    return tuple(
        one for one in rules
        if where in one.where and (not route or not one.routes or route in one.routes)
    )  # fmt: skip
