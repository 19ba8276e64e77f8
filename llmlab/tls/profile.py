"""What certificates of a lab's own authorities are made of. RFC 5280's profile; EC P-256 alone.

An authority signs no further ones (a path length of 0), and its name constraints are critical: so
that its key, if it ever got lost, signs for nothing else in anybody's eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmlab.tls.pair import Pair

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

AUTHORITY_LASTS = timedelta(days=3650)


def new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def new_authority(
    name: str, permitted: Sequence[x509.GeneralName], *, begins: datetime, at: datetime,
    server: bool = False, client: bool = False,
) -> Pair:  # fmt: skip
    """An authority with a new key.

    Args:
        permitted: all that it may sign for.
        server, client: whom it may sign for, each of these.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key, called = new_key(), named(name)
    built = _begun(key.public_key(), called, called, begins, at + AUTHORITY_LASTS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    built = built.add_extension(
        x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True
    )
    built = built.add_extension(_purposes(server, client), critical=False)
    return Pair(pem(built.sign(key, hashes.SHA256())), pem_key(key))


def leaf(
    authority: Pair, key: EllipticCurvePublicKey, subject: x509.Name,
    names: Sequence[x509.GeneralName], *, begins: datetime, ends: datetime,
    server: bool = False, client: bool = False,
) -> str:  # fmt: skip
    """A certificate (PEM) that an authority signs for a key and these names."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    own, issuer = private_key(authority.key), parsed(authority.certificate)
    built = _begun(key, subject, issuer.subject, begins, ends)
    built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=False), critical=True)
    built = built.add_extension(_purposes(server, client), critical=False)
    built = built.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False
    )
    return pem(built.sign(own, hashes.SHA256()))


def read_authority(certificate: Path, key: Path) -> Pair | None:
    """The one in two files; None where there are none yet.

    Raises:
        OSError: one is gone, or they cannot be read.
        ValueError, TypeError: they are damaged, or do not belong together.
    """
    if not certificate.exists() and not key.exists():
        return None
    found = Pair(certificate.read_text(encoding="ascii"), key.read_text(encoding="ascii"))
    if not belong_together(found):
        raise ValueError  # as if one of them were of another authority
    return found


def belong_together(pair: Pair) -> bool:
    """Whether the key is the certificate's.

    Raises:
        ValueError, TypeError: one of them cannot be read.
    """
    return bool(private_key(pair.key).public_key() == parsed(pair.certificate).public_key())


def has_signed(authority: str, certificate: str) -> bool:
    """Whether a certificate (PEM; the first of several) is one of this authority's."""
    from cryptography.exceptions import InvalidSignature

    try:
        parsed(certificate).verify_directly_issued_by(parsed(authority))
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # RFC 5280: at most 64 characters.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def parsed(certificate: str) -> x509.Certificate:
    from cryptography import x509

    return x509.load_pem_x509_certificate(certificate.encode())


def private_key(text: str) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(text.encode(), password=None)


def pem(one: x509.Certificate | x509.CertificateSigningRequest) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return one.public_bytes(Encoding.PEM).decode()


def pem_key(key: EllipticCurvePrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _begun(
    key: EllipticCurvePublicKey, subject: x509.Name, issuer: x509.Name,
    begins: datetime, ends: datetime,
) -> x509.CertificateBuilder:  # fmt: skip
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _purposes(server: bool, client: bool) -> x509.ExtendedKeyUsage:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    both = ((server, ExtendedKeyUsageOID.SERVER_AUTH), (client, ExtendedKeyUsageOID.CLIENT_AUTH))
    return x509.ExtendedKeyUsage([purpose for wanted, purpose in both if wanted])
