"""A certificate with its key: read from files, judged before a gateway may have it, and told.

``cryptography`` reads and judges them; it is here by PyJWT already.
"""

from __future__ import annotations

import ipaddress
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.errors import ConfigError, unreadable

if TYPE_CHECKING:
    from cryptography import x509

# The owner's group may read a key: so Debian keeps those in /etc/ssl/private.
OTHERS = stat.S_IRWXO | stat.S_IWGRP
LONGEST = 1 << 20  # bytes of a file
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


@dataclass(frozen=True)
class Pair:
    """PEM texts: a certificate, with those between it and its authority behind it, and its key."""

    certificate: str
    key: str = field(repr=False)

    @classmethod
    def from_text(cls, text: str) -> Pair:
        """The pair that ``text`` holds, as ``as_text`` wrote it."""
        blocks = BLOCK.findall(text)
        return cls("".join(blocks), BLOCK.sub("", text))

    def as_text(self) -> str:
        """Both in one, so that one replacement of a file replaces both."""
        return self.key + self.certificate


@dataclass(frozen=True)
class Facts:
    """What a certificate says. ``names``: host names and addresses it is for. ``fingerprint``:
    SHA-256 of it, in hexadecimal digits."""

    names: tuple[str, ...]
    signed_by: str
    begins: datetime
    ends: datetime
    fingerprint: str

    def days_left(self, now: datetime) -> int:
        """Whole days until it ends; negative once it has ended."""
        return (self.ends - now).days

    def is_for(self, host: str) -> bool:
        """Whether a client that asks for this host takes it."""
        _, _, parent = host.partition(".")
        return host in self.names or (bool(parent) and f"*.{parent}" in self.names)


def now() -> datetime:
    return datetime.now(UTC)


def read_pair(certificate: Path, key: Path) -> Pair:
    """A person's own pair.

    Raises:
        ConfigError: a file cannot be read, others may read the key, or it is none of its kind.
    """
    shown = _read(certificate, "gateway.tls.certificate")
    secret = _read(key, "gateway.tls.key")
    if key.stat().st_mode & OTHERS:
        raise ConfigError(
            f"gateway.tls.key: other users can read or change {key}", fix=f"chmod 600 {key}"
        )
    chain = BLOCK.findall(shown)
    if not chain:
        raise ConfigError(
            f"gateway.tls.certificate: there is no certificate in {certificate}",
            fix=f"openssl x509 -in {certificate} -noout says what it is; PEM is asked for",
        )
    if "-----BEGIN" not in secret or "PRIVATE KEY-----" not in secret:
        raise ConfigError(
            f"gateway.tls.key: there is no key in {key}", fix=f"name the file of its key, not {key}"
        )
    # Whatever else stands in the files, such as a key beside the certificate, stays out.
    ends = [one if one.endswith("\n") else f"{one}\n" for one in chain]
    return Pair("".join(ends), secret[secret.index("-----BEGIN") :].rstrip() + "\n")


def read_authorities(file: Path, what: str) -> str:
    """The certificates of a PEM file, for those who trust whoever has them.

    Args:
        what: the key of lab.toml that names it, for an error.

    Raises:
        ConfigError: it cannot be read, or holds none.
    """
    chain = BLOCK.findall(_read(file, what))
    try:
        for one in chain:
            _parsed(one)
    except ValueError:
        chain = []
    if not chain:
        raise ConfigError(
            f"{what}: there are no certificates in {file}", fix="name a file of PEM certificates"
        )
    return "".join(one if one.endswith("\n") else f"{one}\n" for one in chain)


def judge(pair: Pair, hosts: Sequence[str], at: datetime) -> Facts:
    """Whether a gateway can have a pair. NGINX does not ask how long a certificate lasts.

    Args:
        hosts: what the lab's own clients ask for.

    Raises:
        ConfigError: it is none, the key is another one's, it does not hold now, or it is for
            other hosts.
    """
    facts = facts_of(pair.certificate)
    key = _key(pair.key)
    if _public(key) != _public(_parsed(pair.certificate)):
        raise ConfigError(
            "gateway.tls: the key is not the one of the certificate",
            fix="name two files that belong together; the gateway's certificate comes first in its",
        )
    if at > facts.ends:
        raise ConfigError(
            f"gateway.tls.certificate: it ended on {facts.ends:%Y-%m-%d}", fix="renew it"
        )
    if at < facts.begins:
        raise ConfigError(
            f"gateway.tls.certificate: it holds only from {facts.begins:%Y-%m-%d %H:%M} UTC on",
            fix="wait, or put this machine's clock right: date",
        )
    for host in hosts:
        if not facts.is_for(host):
            known = next((one for one in facts.names if not one.startswith("*")), "NAME")
            raise ConfigError(
                f"gateway.tls.certificate: it is for {', '.join(facts.names) or 'no host'}, and "
                f"the lab's clients ask for {host}",
                fix=f'names = ["{known}"] in [gateway.tls], a name that leads to this machine',
            )
    return facts


def facts_of(certificate: str) -> Facts:
    """
    Args:
        certificate: PEM; of several the first.

    Raises:
        ConfigError: it cannot be read.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    try:
        one = _parsed(certificate)
        names: tuple[str, ...] = ()
        for extension in one.extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                found = extension.value
                names = (
                    *(name.lower() for name in found.get_values_for_type(x509.DNSName)),
                    *(str(name) for name in found.get_values_for_type(x509.IPAddress)),
                )
        signed_by = one.issuer.rfc4514_string()
    except ValueError as error:
        raise ConfigError(
            f"gateway.tls.certificate: it cannot be read: {unreadable(error)}",
            fix="name a file with a certificate in PEM",
        ) from None
    return Facts(
        names, signed_by, one.not_valid_before_utc, one.not_valid_after_utc,
        one.fingerprint(hashes.SHA256()).hex(),
    )  # fmt: skip


def _parsed(certificate: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode())


def _key(text: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise ConfigError(
            "gateway.tls.key: the key is encrypted, and nobody is there to say its password",
            fix="(umask 077; openssl pkey -in KEY -out KEY.open), and name that",
        ) from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"gateway.tls.key: it cannot be read: {unreadable(error)}",
            fix="name a file with a private key in PEM",
        ) from None


def _public(one: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public: bytes = one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return public


def _read(file: Path, what: str) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LONGEST).decode("ascii", errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{what}: {file} cannot be read: {error.strerror}", fix=f"ls -l {file}"
        ) from None


def as_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """A host as an address; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
