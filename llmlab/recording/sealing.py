"""Records at rest: sealed by a public key, opened by a private one that only the lab's owner has.

HPKE (RFC 9180) as the package cryptography has it, which tokens need anyway. So a process that
records, or a container, cannot read what it has written, nor what others have. Each record is
sealed by itself, for its recording: a line is none of another one.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.errors import AuthError, LlmlabError
from llmlab.files import write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.hpke import Suite


class Unopened(Exception):
    """A line that was not sealed for this recording, or was changed since."""


def _suite() -> Suite:
    from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class Seal:
    """What writes. ``public``: 64 hexadecimal digits."""

    def __init__(self, public: str, recording: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

        self._suite, self._info = _suite(), recording.encode()
        self._key = X25519PublicKey.from_public_bytes(bytes.fromhex(public))

    def line(self, record: bytes) -> bytes:
        sealed = self._suite.encrypt(record, self._key, self._info)
        return base64.b64encode(sealed) + b"\n"


@dataclass(frozen=True)
class KeyPair:
    """Of one lab; made when it first records. What was sealed is opened by no new one."""

    private: X25519PrivateKey

    @classmethod
    def made(cls, file: Path) -> KeyPair:
        """The one in a file, or a new one where there is none.

        Raises:
            AuthError: the file holds no key.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        if not file.exists():
            write_atomically(file, X25519PrivateKey.generate().private_bytes_raw().hex() + "\n")
        return cls.of(file)

    @classmethod
    def of(cls, file: Path) -> KeyPair:
        """
        Raises:
            AuthError: there is no file, or it holds no key.
        """
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

        try:
            found = bytes.fromhex(file.read_text(encoding="ascii").strip())
            return cls(X25519PrivateKey.from_private_bytes(found))
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no key"
            raise AuthError(
                f"the key of this lab's recordings, {file}, cannot be read: {why}; without it "
                "nobody can read them",
                fix=f"bring {file} back from a copy, or remove the recordings with it",
            ) from None

    @property
    def public(self) -> str:
        return self.private.public_key().public_bytes_raw().hex()

    def open(self, line: bytes, recording: str) -> bytes:
        """Raises Unopened."""
        from cryptography.exceptions import InvalidTag

        try:
            sealed = base64.b64decode(line.strip(), validate=True)
            return _suite().decrypt(sealed, self.private, recording.encode())
        except (InvalidTag, ValueError, binascii.Error) as error:
            raise Unopened from error


def refuse_unopened(file: Path, number: int) -> LlmlabError:
    """What is said of a line that cannot be opened."""
    return LlmlabError(
        f"{file}:{number} cannot be opened: it was changed, or sealed by another lab's key",
        fix="llmlab record remove RECORDING, and record anew",
    )
