"""[gateway.tls] of lab.toml: whether the gateway speaks TLS, and with which certificate."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmlab import subjects
from llmlab.config.section import Section

LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
LONGEST_SUBJECT = 512  # characters
NAME = re.compile(rf"(?:{LABEL}\.)*{LABEL}")


class Tls(Section):
    """HTTPS and HTTP/2 at the gateway's port. Without a certificate of yours the lab signs one."""

    enabled: bool = Field(
        False, description="Whether that port speaks TLS, and nothing else; as `llmlab up --tls`."
    )
    certificate: str = Field(
        "",
        description="Path of your certificate, and of those between it and its authority (PEM), "
        'taken over when it changes; "" = one that the lab signs, and renews by itself.',
    )
    key: str = Field("", description="Path of its key, closed to other users.")
    ca_file: str = Field(
        "",
        description='Who signed your certificate, for this lab\'s own clients; "" = somebody whom '
        "this machine knows.",
    )
    names: list[str] = Field(
        [],
        description="Names and addresses by which others ask for the gateway: the lab signs for "
        "them as well. With a certificate of yours the first stands in the lab's URL.",
    )
    client_ca: str = Field(
        "",
        description='Who signs the certificates of clients (PEM); "" = they are not asked for one.',
    )
    client: Literal["required", "optional"] = Field(
        "required", description="With client_ca: whether a client needs one. A token it needs too."
    )
    client_subjects: dict[str, str] = Field(
        {},
        description='With client_ca: whose certificates stand for a token, as { "CN=orders" = '
        '"orders" }: the subject of the certificate (RFC 2253), and the subject that it is here.',
    )
    hsts: int = Field(
        0,
        ge=0,
        le=63_072_000,
        description="Seconds for which browsers are to ask for this host by HTTPS alone; 0 = say "
        "nothing.",
    )
    redirect_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="A further port, of plain HTTP, that leads here; 0 = none. Engine local only.",
    )

    @field_validator("names")
    @classmethod
    def _are_names(cls, values: list[str]) -> list[str]:
        for value in values:
            if not (len(value) <= 253 and NAME.fullmatch(value)) and not _is_address(value):
                raise ValueError(
                    "should be host names in small letters, such as llm.example.org, or IP "
                    "addresses, each"
                )
        return values

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key belong together: say both, or neither")
        if self.ca_file and not self.certificate:
            raise ValueError("ca_file is of a certificate of yours; the lab's own clients know its")
        if self.client != "required" and not self.client_ca:
            raise ValueError("client is of certificates of clients: say client_ca as well")
        if self.client_subjects and not self.client_ca:
            raise ValueError("client_subjects is of certificates of clients: say client_ca as well")
        for said, sub in self.client_subjects.items():
            if not said or not said.isprintable() or len(said) > LONGEST_SUBJECT:
                raise ValueError(f"client_subjects: {said!r} can be no subject of a certificate")
            if problem := subjects.problem(sub) or ("it is empty" if not sub else ""):
                raise ValueError(f"client_subjects: {sub!r} can be no subject here: {problem}")
        return self

    @property
    def own(self) -> bool:
        """Whether the certificate is the person's, and not one that the lab signs."""
        return bool(self.certificate)


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return "%" not in value
