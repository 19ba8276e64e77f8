"""[[budgets]] of lab.toml: what a subject, or all who share a claim, may use in a while."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmlab.config.section import Section

CLAIM = re.compile(r"claim:[A-Za-z0-9_.:/@-]{1,128}")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Unit = Literal["requests", "tokens", "money"]
Window = Literal["minute", "day", "month"]
# Key -> (what it counts, in which windows of UTC).
LIMITS: dict[str, tuple[Unit, Window]] = {
    "requests_per_minute": ("requests", "minute"),
    "tokens_per_minute": ("tokens", "minute"),
    "requests_per_day": ("requests", "day"),
    "tokens_per_day": ("tokens", "day"),
    "money_per_month": ("money", "month"),
}
MILLIONTHS = 1_000_000  # of money, so that all that is counted is whole


class Budget(Section):
    """Several may hold for a request; the first one that it does not fit refuses it."""

    name: str = Field(
        "",
        description='Of lower-case letters, digits and hyphens; "" = what it is by. What is used '
        "is kept under it.",
    )
    by: str = Field(
        "subject",
        description='Who has one each: "subject", or all tokens with the same value of a claim: '
        '"claim:team". Tokens without it share one.',
    )
    who: list[str] = Field([], description="Only these subjects, or values; none = each one.")
    requests_per_minute: int = Field(0, ge=0, le=10**9, description="0 = no limit, here and below.")
    requests_per_day: int = Field(0, ge=0, le=10**12, description="Days are those of UTC.")
    tokens_per_minute: int = Field(
        0, ge=0, le=10**12, description="Of prompts and answers together."
    )
    tokens_per_day: int = Field(0, ge=0, le=10**15, description="Likewise.")
    money_per_month: float = Field(
        0.0, ge=0, le=10**9, description="By the models' `price`; a model without one is free."
    )
    currency: str = Field(
        "",
        pattern=r"^[A-Z]{0,3}$",
        description="What that is in, for people; nothing is converted.",
    )
    shadow: bool = Field(
        False, description="Refuse nobody; the log says what would have been refused."
    )

    @field_validator("by")
    @classmethod
    def _is_somebody(cls, value: str) -> str:
        if value != "subject" and not CLAIM.fullmatch(value):
            raise ValueError('should be "subject" or "claim:NAME"')
        return value

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.name and not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} cannot be a budget's name: use lower-case letters, digits and "
                "hyphens"
            )
        if not self.limits:
            raise ValueError(f"a budget needs one at least of {', '.join(LIMITS)}")
        if self.currency and not self.money_per_month:
            raise ValueError("currency is of money: say money_per_month as well")
        return self

    @property
    def called(self) -> str:
        """Its name; what it is by where it has none."""
        return self.name or self.by

    @property
    def limits(self) -> dict[str, int]:
        """{key: the most}, money in millionths."""
        found = {key: getattr(self, key) for key in LIMITS}
        found["money_per_month"] = round(self.money_per_month * MILLIONTHS)
        return {key: most for key, most in found.items() if most}


def called_alike(budgets: list[Budget]) -> str:
    """The name of several budgets; "" where each has its own."""
    names = [one.called for one in budgets]
    return next((name for name in names if names.count(name) > 1), "")


class Price(Section):
    """For a million tokens, so that a token's is in millionths."""

    input: float = Field(0.0, ge=0, le=10**6)
    output: float = Field(0.0, ge=0, le=10**6)
