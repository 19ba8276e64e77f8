"""[judge] of lab.toml: the model that says which of two answers is better."""

from __future__ import annotations

from pydantic import Field

from llmlab.config.section import Section


class Judge(Section):
    """A language model that says which of two answers is better (`llmlab judge`), once it has been
    calibrated."""

    model: str = Field(
        "",
        description='A deployment or a route of a chat model, here or elsewhere; "" = none. It is '
        "never a judge of itself.",
    )
    rubric: str = Field(
        "configs/rubric.md",
        min_length=1,
        description="What makes an answer better, relative to the lab.",
    )
    suite: str = Field(
        "news",
        min_length=1,
        description="It is calibrated by the good answers of this one of configs/suites.",
    )
    pairs: int = Field(
        72,
        ge=1,
        le=10_000,
        description="Pairs with a known answer that it is asked about, both ways around.",
    )
    max_tokens: int = Field(
        256,
        ge=16,
        le=100_000,
        description="Of an answer; a model that thinks before it answers needs more.",
    )
    min_agreement: float = Field(
        0.8,
        gt=0.5,
        lt=1,
        description="In so large a share of them it has to be right, with 97.5 % confidence, and "
        "of no kind of damage may be shown that it is not.",
    )
    max_position_bias: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="So much more often it may prefer the first place than the second, or the "
        "other way around, whatever stands there: as a share of the pairs, likewise.",
    )
    max_noise: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="In so large a share it may say something else if it is asked the same again, "
        "likewise.",
    )
