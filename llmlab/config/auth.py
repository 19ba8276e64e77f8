"""[auth] of lab.toml: who may ask what."""

from __future__ import annotations

from pydantic import Field, field_validator

from llmlab import scopes
from llmlab.config.section import Section


class Auth(Section):
    """Who may ask what."""

    default_scopes: list[str] = Field(
        ["*"],
        description="What a token may ask that names no scope of the lab (llmlab:NAME): routes and "
        'deployments, or "*" for all of them; [] = nothing.',
    )

    @field_validator("default_scopes")
    @classmethod
    def _are_scopes(cls, values: list[str]) -> list[str]:
        scopes.claim(values)
        if scopes.OPERATOR in values:
            raise ValueError("nobody is an operator without a token that says so")
        return values
