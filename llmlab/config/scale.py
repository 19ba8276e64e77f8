"""scale of [models.NAME] in lab.toml: between which bounds its replicas follow what is asked."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from llmlab.config.section import Section
from llmlab.traffic import MOST_REPLICAS

DAY = 86_400


class Scale(Section):
    """Processes of a deployment, by how many requests it has under way."""

    min: int = Field(
        1,
        ge=0,
        le=MOST_REPLICAS,
        description="At least so many replicas; 0 = it may rest, where no route leads to it.",
    )
    max: int = Field(
        0,
        ge=0,
        le=MOST_REPLICAS,
        description="At most so many; 0 = nothing but `llmlab scale` changes how many there are.",
    )
    requests: float = Field(
        4.0,
        gt=0,
        le=10_000,
        description="Requests under way, waiting ones included, that each replica is there for.",
    )
    up_after: float = Field(
        10.0,
        ge=1,
        le=600,
        description="Seconds for which there have to be more than that, on average, until there "
        "are more replicas.",
    )
    down_after: float = Field(
        300.0,
        ge=1,
        le=DAY,
        description="Seconds for which fewer would have done, all the time, until there are fewer.",
    )
    rest_after: float = Field(
        900.0,
        ge=1,
        le=7 * DAY,
        description="With min = 0: seconds without a request until it rests.",
    )

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        if self.is_on and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if not self.is_on and self.model_dump() != _OFF:
            raise ValueError("max is missing: without it nothing is scaled")
        if self.down_after < self.up_after:
            raise ValueError(
                f"down_after {self.down_after:g} is below up_after {self.up_after:g}: it would be "
                "taken down before it is known whether that is enough"
            )
        return self

    @property
    def is_on(self) -> bool:
        return self.max > 0

    @property
    def least(self) -> int:
        """How few replicas serve requests: one that is to rest rests only where nobody asks."""
        return max(1, self.min)

    @property
    def told(self) -> str:
        """As ``1-4``."""
        return f"{self.min}-{self.max}" if self.min != self.max else str(self.max)


_OFF = {name: field.default for name, field in Scale.model_fields.items()}
