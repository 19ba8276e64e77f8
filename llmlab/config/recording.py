"""[recording] of lab.toml: how much of a recorded route is kept, and for how long."""

from __future__ import annotations

from pydantic import Field

from llmlab.config.section import Section


class Recording(Section):
    """Nothing is recorded unless `llmlab record start` says so."""

    max_bytes: int = Field(
        100_000_000,
        ge=10_000,
        le=10**12,
        description="Of one recording; it ends by itself before there is more.",
    )
    max_seconds: float = Field(
        86_400.0, gt=0, le=2_592_000, description="After so long it ends by itself."
    )
    max_age: float = Field(
        604_800.0,
        gt=0,
        le=31_536_000,
        description="Seconds after its start at which it is removed, with all that it holds.",
    )
    never: list[str] = Field([], description="Routes that nobody may record.")
