"""What the gateway tells of its WAF."""

from __future__ import annotations

from dataclasses import dataclass

from llmlab.observe.samples import Samples


@dataclass(frozen=True)
class WafFigures:
    """What a WAF has done since the gateway was started, in requests."""

    inspected: int
    found: int
    refused: int
    failed: int

    @classmethod
    def of(cls, page: Samples) -> WafFigures | None:
        """None without one."""
        if not any(page.named("llmlab_waf_inspected_total")):
            return None
        names = ("inspected", "found", "refused", "failed")
        return cls(*(int(page.total(f"llmlab_waf_{name}_total")) for name in names))
