"""The lab's own certificate authority, which signs for this lab's gateway and nothing else.

Whoever trusts it trusts it for the names that it was made for, and for servers only. As short as
a leaf lasts, nobody has to revoke one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.errors import EnvironmentFailure, unreadable
from llmlab.tls import profile
from llmlab.tls.pair import Pair, as_address

if TYPE_CHECKING:
    from cryptography import x509

LEAF_LASTS = timedelta(days=30)
RENEWED = LEAF_LASTS / 3  # before its end
EARLIER = timedelta(hours=1)  # other clocks may be behind
LOOPBACK = ("localhost", "127.0.0.1", "::1")
NETWORKS = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))


@dataclass(frozen=True)
class Authority:
    """PEM texts of its certificate and its key."""

    certificate: str
    key: str = field(repr=False)

    @classmethod
    def make(cls, hosts: Iterable[str], at: datetime, *, label: str) -> Authority:
        """A new one.

        Args:
            hosts: names and addresses beside loopback's that it may sign for.
            label: how it is shown where certificates are listed.
        """
        made = profile.new_authority(
            f"llmlab {label}", _permitted(hosts), begins=at - EARLIER, at=at, server=True
        )
        return cls(made.certificate, made.key)

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Authority | None:
        """The one in two files; None where there are none yet.

        Raises:
            EnvironmentFailure: they are damaged, one is gone, or they cannot be read.
        """
        try:
            found = profile.read_authority(certificate, key)
        except (OSError, ValueError, TypeError) as error:
            raise EnvironmentFailure(
                f"the lab's own authority cannot be used: {certificate.parent}: "
                f"{unreadable(error)}",
                fix="put authority.pem and authority.key back from a copy; or have another one, "
                "which everybody has to trust anew: llmlab tls renew --authority",
            ) from None
        return cls(found.certificate, found.key) if found else None

    def signs_for(self, hosts: Iterable[str]) -> bool:
        """Whether its constraints permit all of these."""
        return set(self._constraints) >= set(_permitted(hosts))

    def has_signed(self, certificate: str) -> bool:
        """Whether a certificate (PEM; the first of several) is one of its own."""
        return profile.has_signed(self.certificate, certificate)

    @property
    def permitted(self) -> tuple[str, ...]:
        """What it may sign for: names, with those below them, and networks."""
        return tuple(str(one.value) for one in self._constraints)

    @property
    def _constraints(self) -> list[x509.GeneralName]:
        from cryptography import x509

        found = self._parsed.extensions.get_extension_for_class(x509.NameConstraints).value
        return list(found.permitted_subtrees or ())

    @property
    def ends(self) -> datetime:
        return self._parsed.not_valid_after_utc

    def sign(self, hosts: Sequence[str], at: datetime) -> Pair:
        """A new key, and a certificate for these hosts and loopback's."""
        key = profile.new_key()
        names = [_general(one) for one in dict.fromkeys((*LOOPBACK, *hosts))]
        signed = profile.leaf(
            Pair(self.certificate, self.key), key.public_key(), profile.named("localhost"), names,
            begins=at - EARLIER, ends=at + LEAF_LASTS, server=True,
        )  # fmt: skip
        return Pair(signed, profile.pem_key(key))

    @property
    def _parsed(self) -> x509.Certificate:
        return profile.parsed(self.certificate)


def _permitted(hosts: Iterable[str]) -> list[x509.GeneralName]:
    from cryptography import x509

    found: list[x509.GeneralName] = [x509.DNSName("localhost")]
    found += [x509.IPAddress(network) for network in NETWORKS]
    for host in hosts:
        address = as_address(host)
        if address is None:
            one: x509.GeneralName = x509.DNSName(host)
        elif any(address in network for network in NETWORKS):
            continue
        else:
            one = x509.IPAddress(ipaddress.ip_network(address))
        if one not in found:
            found.append(one)
    return found


def _general(host: str) -> x509.GeneralName:
    from cryptography import x509

    address = as_address(host)
    return x509.DNSName(host) if address is None else x509.IPAddress(address)
