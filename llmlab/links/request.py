"""A replica's side of its certificate: a key that never leaves its machine, and what is asked of
the lab with it."""

from __future__ import annotations

from pathlib import Path

from llmlab.errors import EnvironmentFailure, unreadable
from llmlab.files import write_atomically
from llmlab.lab import private_folder
from llmlab.links.names import replica
from llmlab.tls import profile

KEY = "replica.key"


def make(folder: Path, process: str, deployment: str) -> bytes:
    """Make a new key in a folder that is closed to others, and ask for a certificate with it.

    A certificate from before has no key any more then: who renews does so in another folder.

    Returns:
        The request (PEM), which holds nothing secret.

    Raises:
        ConfigError: the deployment has no such process.
        EnvironmentFailure: the folder is somebody else's, or cannot be written to.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    key, name = profile.new_key(), replica(process, deployment)
    asked = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))  # it is the lab that says who this is
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .sign(key, hashes.SHA256())
    )
    try:
        write_atomically(private_folder(folder) / KEY, profile.pem_key(key))
    except OSError as error:
        raise EnvironmentFailure(
            f"{folder / KEY} cannot be written: {unreadable(error)}", fix=f"ls -ld {folder}; df ."
        ) from None
    return profile.pem(asked).encode()
