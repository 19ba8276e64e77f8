"""The lab's own certificate authority, which signs for this lab's gateway and nothing else.

Whoever trusts it trusts it for the names that it was made for: its name constraints are critical,
so that its key, if it ever got lost, signs for no other host in anybody's eyes. It signs no
further authorities (a path length of 0), and for servers only.

The profile is RFC 5280's; as short as a leaf lasts, nobody has to revoke one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.errors import EnvironmentFailure, unreadable
from llmlab.tls.pair import Pair, as_address

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

AUTHORITY_LASTS = timedelta(days=3650)
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
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = _named(f"llmlab {label}")
        permitted = _permitted(hosts)
        built = _begun(key, name, name, at, at + AUTHORITY_LASTS)
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        built = built.add_extension(_usage(signs=True), critical=True)
        built = built.add_extension(
            x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None),
            critical=True,
        )
        built = built.add_extension(_for_servers(), critical=False)
        return cls(_pem(built.sign(key, hashes.SHA256())), _pem_key(key))

    @classmethod
    def read(cls, certificate: Path, key: Path) -> Authority | None:
        """The one in two files; None where there are none yet.

        Raises:
            EnvironmentFailure: they are damaged, one is gone, or they cannot be read.
        """
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if not certificate.exists() and not key.exists():
            return None
        try:
            found = cls(certificate.read_text(encoding="ascii"), key.read_text(encoding="ascii"))
            signs: Any = load_pem_private_key(found.key.encode(), password=None)
            if signs.public_key() != found._parsed.public_key():
                raise ValueError  # as if one of them were of another authority
        except (OSError, ValueError, TypeError) as error:
            raise EnvironmentFailure(
                f"the lab's own authority cannot be used: {certificate.parent}: "
                f"{unreadable(error)}",
                fix="put authority.pem and authority.key back from a copy; or have another one, "
                "which everybody has to trust anew: llmlab tls renew --authority",
            ) from None
        return found

    def signs_for(self, hosts: Iterable[str]) -> bool:
        """Whether its constraints permit all of these."""
        return set(self._constraints) >= set(_permitted(hosts))

    def has_signed(self, certificate: str) -> bool:
        """Whether a certificate (PEM; the first of several) is one of its own."""
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature

        one = x509.load_pem_x509_certificate(certificate.encode())
        try:
            one.verify_directly_issued_by(self._parsed)
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True

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
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        own: Any = load_pem_private_key(self.key.encode(), password=None)
        issuer, key = self._parsed, ec.generate_private_key(ec.SECP256R1())
        names = [_general(one) for one in dict.fromkeys((*LOOPBACK, *hosts))]
        built = _begun(key, _named("localhost"), issuer.subject, at, at + LEAF_LASTS)
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        built = built.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        built = built.add_extension(_usage(signs=False), critical=True)
        built = built.add_extension(_for_servers(), critical=False)
        built = built.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
        )
        return Pair(_pem(built.sign(own, hashes.SHA256())), _pem_key(key))

    @property
    def _parsed(self) -> x509.Certificate:
        from cryptography import x509

        return x509.load_pem_x509_certificate(self.certificate.encode())


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


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # RFC 5280: at most 64 characters.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _begun(
    key: EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name,
    at: datetime, ends: datetime,
) -> x509.CertificateBuilder:  # fmt: skip
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _for_servers() -> x509.ExtendedKeyUsage:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM).decode()


def _pem_key(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
