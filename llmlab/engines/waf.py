"""How the WAF of a lab is, whichever engine runs it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmlab.config.waf import Waf

NAME = "waf"
ANSWERS = 204  # to a request in which it finds nothing


@dataclass(frozen=True)
class WafStatus:
    """``answers``: whether it looks at requests now. ``paranoia``, ``threshold``: as configured."""

    mode: Literal["detect", "block"]
    paranoia: int
    threshold: int
    state: str
    answers: bool

    @classmethod
    def of(cls, waf: Waf, state: str, *, answers: bool) -> WafStatus:
        return cls(waf.mode, waf.paranoia, waf.threshold, state, answers)

    @property
    def warnings(self) -> tuple[str, ...]:
        if self.answers:
            return ()
        what = (
            "every request that asks a model gets 503"
            if self.mode == "block"
            else "requests go on without it"
        )
        return (f"the WAF does not answer ({self.state}), and {what}\nFix: llmlab logs {NAME}",)
