"""[auth] and [[auth.issuers]] of lab.toml: who may ask what, and whose tokens are valid beside the
lab's own."""

from __future__ import annotations

import re
from itertools import permutations
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmlab import scopes
from llmlab.config.section import Section
from llmlab.network import is_loopback

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
# What is said of the lab's own keys, so that no issuer can be mistaken for them.
RESERVED = frozenset({"lab", "default"})
# Of a signature that whoever can check it could make as well (HS256), nobody knows who made it.
Algorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
# A claim's name, or names with dots between that lead into objects. Auth0's are URLs.
Claim = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/@-]{1,128}$")]
Text = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]
Wanted = Text | bool | int
MOST_ISSUERS = 8
LONGEST_PREFIX = 64


def routed(names: list[str] | None) -> list[str] | None:
    """Raises ValueError where one is no scope of a route or a deployment."""
    scopes.claim(names or ())
    for name, said in ((scopes.OPERATOR, "an operator"), (scopes.VIEWER, "a viewer")):
        if name in (names or ()):
            raise ValueError(f"nobody is {said} without a token that says so")
    return names


class Issuer(Section):
    """An identity provider whose tokens are valid here."""

    name: str = Field(
        description="What it is called here, in the subjects of its users as well: lower-case "
        "letters, digits and hyphens.",
    )
    issuer: Text = Field(
        description="Its URL, letter by letter as it stands in the claim iss of its tokens."
    )
    audience: Text | list[Text] = Field(
        description="Its name of this gateway: one of these has to be among the aud of a token. "
        "Without it, tokens that were made for others would be valid here.",
    )
    jwks_url: str = Field(
        "",
        description='Where its public keys are; "" = where its '
        "ISSUER/.well-known/openid-configuration says.",
    )
    algorithms: list[Algorithm] = Field(
        ["RS256", "ES256"],
        min_length=1,
        description="How its tokens may be signed: RS, PS and ES with 256, 384 or 512, or EdDSA.",
    )
    subject: Claim = Field(
        "sub", description="The claim that says whose token it is; without it a token is refused."
    )
    prefix: str | None = Field(
        None,
        max_length=LONGEST_PREFIX,
        pattern=r"^[^\x00-\x1f\x7f ][^\x00-\x1f\x7f]*$|^$",
        description='What stands before it in the subject; left out = "NAME:". With "" somebody '
        "there may have the name of a subject of the lab's own keys.",
    )
    require: dict[Claim, Wanted | list[Wanted]] = Field(
        {},
        description="Claims that a token needs, with their value, or values of which one is "
        "enough; of a claim that is a list, one of its items.",
    )
    scopes: list[Text] = Field(
        [], description="Scopes that a token needs, all of them: in its scope or its scp."
    )
    operators: bool = Field(
        False,
        description="Whether its tokens may say that somebody is an operator (llmlab:operator), or "
        "may look at the console (llmlab:viewer), in scope, scp or roles.",
    )
    default_scopes: list[str] | None = Field(
        None,
        description="What its tokens may ask that name no scope of the lab; left out = "
        "auth.default_scopes.",
    )
    ca_file: str = Field(
        "",
        description="Who signs the certificate of its server, if nobody known: PEM, relative "
        "to the lab.",
    )

    @property
    def audiences(self) -> list[str]:
        return [self.audience] if isinstance(self.audience, str) else self.audience

    @property
    def before(self) -> str:
        """What stands before the subject of its tokens."""
        return f"{self.name}:" if self.prefix is None else self.prefix

    _are_scopes = field_validator("default_scopes")(routed)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not NAME.fullmatch(value) or value in RESERVED:
            raise ValueError(
                f"{value!r} cannot be its name: use lower-case letters, digits and hyphens, at "
                f"most 32, and none of {', '.join(sorted(RESERVED))}"
            )
        return value

    @field_validator("issuer", "jwks_url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        if value and (problem := wrong_url(value)):
            raise ValueError(f"should be {problem}")
        return value

    @field_validator("audience", "algorithms")
    @classmethod
    def _are_there(cls, value: list[str] | str) -> list[str] | str:
        if not value or len(value) > (512 if isinstance(value, str) else 20):
            raise ValueError("should name at least one, and at most 20")
        return value

    @field_validator("require")
    @classmethod
    def _say_something(
        cls, value: dict[str, Wanted | list[Wanted]]
    ) -> dict[str, Wanted | list[Wanted]]:
        if len(value) > 20 or any(wanted == [] for wanted in value.values()):
            raise ValueError("should be at most 20 claims, each with a value or several")
        return value

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if self.issuer.partition("?")[1] or "#" in self.issuer:
            raise ValueError("issuer should be a URL without a query and a fragment")
        return self


def wrong_url(value: str) -> str:
    """What a URL of an identity provider should be, to complete "should be "; "" if it is."""
    try:
        url = urlsplit(value)
        url.port  # noqa: B018  it is parsed when it is asked for
    except ValueError:
        return "a URL"
    if not re.fullmatch(r"[\x21-\x7e]{1,512}", value) or not url.hostname:
        return "a URL"
    if url.username is not None or url.password is not None:
        return "a URL without user and password"
    if url.scheme == "https" or (url.scheme == "http" and is_loopback(value)):
        return ""
    return "an https URL (http on this machine alone)"


class Auth(Section):
    """Who may ask what; and tokens of identity providers, beside the lab's own: an
    [[auth.issuers]] for each."""

    default_scopes: list[str] = Field(
        ["*"],
        description="What a token may ask that names no scope of the lab (llmlab:NAME): routes and "
        'deployments, or "*" for all of them; [] = nothing.',
    )
    refresh: int = Field(
        3600,
        ge=60,
        le=86_400,
        description="Seconds after which a provider's keys are fetched anew, unless it says itself "
        "how long they are good for (Cache-Control: 5 minutes to a day).",
    )
    max_stale: int = Field(
        86_400,
        ge=300,
        le=30 * 86_400,
        description="So many seconds after they could last be fetched, its keys are taken out, and "
        "its tokens are refused.",
    )
    issuers: list[Issuer] = Field([], max_length=MOST_ISSUERS)

    _are_scopes = field_validator("default_scopes")(routed)

    @field_validator("issuers")
    @classmethod
    def _are_told_apart(cls, issuers: list[Issuer]) -> list[Issuer]:
        for what, values in (
            ("name", [one.name for one in issuers]),
            ("issuer", [one.issuer for one in issuers]),
            ("prefix", [one.before for one in issuers]),
        ):
            if twice := {value for value in values if values.count(value) > 1}:
                raise ValueError(f"two have the same {what}: {', '.join(sorted(twice))}")
        for one, other in permutations(issuers, 2):
            # Or somebody at the one could have the name of somebody at the other.
            if one.before and other.before.startswith(one.before):
                raise ValueError(
                    f"{one.name} and {other.name}: the prefix {one.before!r} begins the other's, "
                    f"{other.before!r}, so their users could not be told apart"
                )
        return issuers

    @model_validator(mode="after")
    def _is_fetched_in_time(self) -> Self:
        if self.max_stale < self.refresh:
            raise ValueError(
                f"max_stale {self.max_stale} is before the keys are fetched again "
                f"(refresh {self.refresh})"
            )
        return self
