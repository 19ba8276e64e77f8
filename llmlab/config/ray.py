"""`[ray]` of lab.toml: where replicas run that are placed on other machines."""

from __future__ import annotations

import ipaddress
import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from llmlab.config.section import Port, Section

ADDRESS = re.compile(r"(\S+):(\d{1,5})")
RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")


def is_address(said: str) -> bool:
    """Whether it is HOST:PORT."""
    found = ADDRESS.fullmatch(said)
    return found is not None and 0 < int(found[2]) < 65536


class Ray(Section):
    """The engine ray: API processes on other machines, placed by a Ray cluster."""

    address: str = Field(
        "",
        description='HOST:PORT of a head that runs elsewhere; "" = the lab runs one itself, and '
        "this machine is its first node.",
    )
    token_file: str = Field(
        "",
        description="With address, a copy of the token there, mode 0600; "
        '"" = one that the lab makes.',
    )
    host: str = Field(
        "127.0.0.1",
        description="This machine's own address, at which nodes reach it; with 127.0.0.1 nobody "
        "else does, and there is one node.",
    )
    port: Port = Field(6379, description="Where the lab's own head listens.")
    link_port: Port = Field(6390, description="Where replicas tell the gateway what they used.")
    replica_ports: str = Field(
        "20000-20999", description="Where replicas listen on their machines, for a firewall."
    )
    cores: int = Field(
        -1, ge=-1, le=4096, description="Of this machine, for replicas; -1 = all, 0 = none."
    )

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not is_address(value):
            raise ValueError('should look like "10.0.0.2:6379"')
        return value

    @field_validator("host")
    @classmethod
    def _is_one_of_a_machine(cls, value: str) -> str:
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError("should be an IP address of this machine") from None
        if found.is_unspecified or found.is_multicast:
            raise ValueError("should be one address of this machine, at which nodes reach it")
        return value

    @field_validator("replica_ports")
    @classmethod
    def _is_a_range(cls, value: str) -> str:
        found = RANGE.fullmatch(value)
        if not found or not 1024 <= int(found[1]) <= int(found[2]) <= 65535:
            raise ValueError('should look like "20000-20999"')
        return value

    @model_validator(mode="after")
    def _token_is_that_clusters(self) -> Self:
        """Whoever has the lab's own one may run programs on its machines."""
        if self.address and not self.token_file:
            raise ValueError(
                "address is of a cluster with a token of its own: say in token_file as well where "
                "a copy of that is"
            )
        return self

    @property
    def ports(self) -> range:
        first, last = self.replica_ports.split("-")
        return range(int(first), int(last) + 1)

    @property
    def is_alone(self) -> bool:
        """Whether this machine is its only node. Ray would take another address of it for
        127.0.0.1 where others may come."""
        return self.host == "127.0.0.1" and not self.address
