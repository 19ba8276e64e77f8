"""[gateway.waf] of lab.toml: whether requests are looked at by a web application firewall."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmlab.config.section import Section


class Waf(Section):
    """ModSecurity with the OWASP Core Rule Set, behind token and rate limit. It looks at addresses,
    headers and fields, and at no text: those are for guards."""

    enabled: bool = Field(False, description="Whether there is one; as `llmlab up --waf`.")
    mode: Literal["detect", "block"] = Field(
        "detect",
        description="detect: what is found is noted, and goes on; block: it gets 403, and "
        "everything 503 while the WAF does not answer.",
    )
    # Level 4 takes braces for an attack, and so all JSON.
    paranoia: int = Field(
        1,
        ge=1,
        le=3,
        description="Which of its rules: 1 = those that seldom mistake, 3 = nearly all.",
    )
    threshold: int = Field(
        5, ge=1, le=1000, description="Score of a finding: a critical rule counts 5, a warning 3."
    )

    @property
    def blocks(self) -> bool:
        """Whether what it finds is refused."""
        return self.enabled and self.mode == "block"
