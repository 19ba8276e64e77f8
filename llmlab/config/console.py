"""[console] of lab.toml: whether people can look at the lab in a browser, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from llmlab.config.gateway import Gateway
from llmlab.config.section import Section

LONGEST = 86_400  # seconds of a session


class Console(Section):
    """Pages of the lab at /console/ of the gateway, for tokens with the scope llmlab:operator or
    llmlab:viewer; `llmlab console` opens them."""

    enabled: Literal["auto", "on", "off"] = Field(
        "auto",
        description="auto: where the gateway listens on loopback (gateway.host); on: wherever it "
        "listens; off: /console/ is 404.",
    )
    session: int = Field(
        28_800,
        ge=60,
        le=LONGEST,
        description="Seconds after which whom `llmlab console` has signed in has to sign in again.",
    )

    def is_on(self, gateway: Gateway) -> bool:
        """Whether there is one, in front of this gateway."""
        return self.enabled == "on" or (self.enabled == "auto" and gateway.loopback)
