"""Certificates of authorities that are not the lab's, for tests."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass
class Signed:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str

    def write(self, folder: Path, name: str = "own") -> tuple[Path, Path]:
        """Both as files: the certificate's, and the key's, closed to others."""
        files = folder / f"{name}.pem", folder / f"{name}.key"
        files[0].write_text(self.certificate)
        files[1].touch(mode=0o600)
        files[1].write_text(self.key)
        return files


class Root:
    """An authority that signs whatever it is asked to."""

    def __init__(self, name: str = "A test's authority") -> None:
        self.name = named(name)
        self.key = ec.generate_private_key(ec.SECP256R1())
        begun = self._begun(self.name, self.key, -DAY, 365 * DAY)
        begun = begun.add_extension(x509.BasicConstraints(True, None), critical=True)
        self.certificate = self._pem(begun)

    def sign(
        self, *hosts: str, name: str = "somebody", begins: timedelta = -DAY,
        ends: timedelta = 90 * DAY, password: bytes = b"",
    ) -> Signed:  # fmt: skip
        key = ec.generate_private_key(ec.SECP256R1())
        begun = self._begun(named(name), key, begins, ends)
        if hosts:
            names = x509.SubjectAlternativeName([alternative(one) for one in hosts])
            begun = begun.add_extension(names, critical=False)
        secret = BestAvailableEncryption(password) if password else NoEncryption()
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret).decode()
        return Signed(self._pem(begun), text)

    def _begun(self, subject: x509.Name, key: Any, begins: timedelta, ends: timedelta) -> Any:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins)
            .not_valid_after(now + ends)
        )

    def _pem(self, begun: Any) -> str:
        return begun.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
