"""Who signs for the ends of a lab's links: one authority for replicas, another for the gateway.

The gateway's side trusts the first and replicas trust the second, so that a replica's certificate
opens no other replica. Both stay on the lab's machine; of a replica only its request comes here,
and of that only the key is taken over: the name is said here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from llmlab.errors import AuthError, ConfigError, EnvironmentFailure, unreadable
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.links import names
from llmlab.tls import profile
from llmlab.tls.pair import Pair, facts_of, now

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

LASTS = timedelta(days=30)
RENEWED = LASTS / 3  # before its end
EARLIER = timedelta(days=1)  # other machines' clocks may be behind
LONGEST = 8192  # bytes of a request; one has some 450
LOCK_PATIENCE = 30.0  # seconds


class Authority:
    """Of one lab; below its state, which is closed to other users. What is not there yet is made
    when it is asked for."""

    def __init__(self, lab: Lab, clock: Callable[[], datetime] = now) -> None:
        self._lab = lab
        self._clock = clock
        self.folder = lab.state / "links" / "authority"

    @property
    def trusted(self) -> str:
        """PEM of who signs for replicas: whom the lab's side of links trusts.

        Raises:
            EnvironmentFailure: it cannot be read or made.
        """
        return self._authority("replicas").certificate

    @property
    def trusted_by_replicas(self) -> str:
        """PEM of who signs for the gateway: whom replicas trust, and nobody else.

        Raises:
            EnvironmentFailure: it cannot be read or made.
        """
        return self._authority("gateways").certificate

    def gateway(self) -> Pair:
        """The gateway's own certificate and key: its side of links shows it to replicas, and where
        it takes settlements. It is signed anew where it ends soon, with another key.

        Raises:
            EnvironmentFailure: it cannot be read or made.
        """
        return self._kept(
            "gateway", "gateways", [names.GATEWAY], profile.named(names.GATEWAY), client=True
        )

    def away(self, deployments: Iterable[str]) -> Pair:
        """The certificate of who answers in the place of these deployments' replicas, on the lab's
        machine: for the names of all of them. It is signed anew as the gateway's is, and for
        others.

        Raises:
            EnvironmentFailure: it cannot be read or made.
        """
        wanted = sorted(names.any_replica(one) for one in {*deployments}) or [names.REPLICAS]
        return self._kept("away", "replicas", wanted, profile.named("away"), client=False)

    def sign(
        self, request: bytes, process: str, deployment: str, incarnation: str, *,
        settles: bool = True,
    ) -> bytes:  # fmt: skip
        """A certificate (PEM) for a replica's key.

        Args:
            request: what ``links.request.make`` has given, PEM.
            incarnation: of the replica, as it has told.
            settles: whether the replica connects to the lab as well, to tell what was used.

        Raises:
            ConfigError: the deployment has no such process, or it no such incarnation.
            AuthError: the request is not as it must be, or asks for another name.
            EnvironmentFailure: the lab's own files cannot be read.
        """
        name = names.replica(process, deployment)
        subject = names.subject(process, deployment, incarnation)
        key = _checked(request, name)
        signs = self._authority("replicas")
        return self._leaf(signs, key, subject, [name], client=settles).encode()

    def _kept(
        self, name: str, kind: str, hosts: Sequence[str], subject: x509.Name, *, client: bool
    ) -> Pair:
        file, signs = self.folder / f"{name}.pem", self._authority(kind)
        with self._alone():
            if found := self._still_good(file, signs, hosts):
                return found
            key = profile.new_key()
            signed = self._leaf(signs, key.public_key(), subject, hosts, client=client)
            made = Pair(signed, profile.pem_key(key))
            write_atomically(file, made.as_text())
            return made

    def _leaf(
        self, signs: Pair, key: EllipticCurvePublicKey, subject: x509.Name,
        hosts: Sequence[str], *, client: bool,
    ) -> str:  # fmt: skip
        from cryptography import x509

        at = self._clock()
        return profile.leaf(
            signs, key, subject, [x509.DNSName(one) for one in hosts],
            begins=at - EARLIER, ends=at + LASTS, server=True, client=client,
        )  # fmt: skip

    def _authority(self, kind: str) -> Pair:
        from cryptography import x509

        certificate, key = self.folder / f"{kind}.pem", self.folder / f"{kind}.key"
        below = names.REPLICAS if kind == "replicas" else names.GATEWAYS
        with self._alone():
            try:
                there = profile.read_authority(certificate, key)
            except (OSError, ValueError, TypeError) as error:
                raise self._damaged(kind, error) from None
            at = self._clock()
            # One that ends before what it would sign is of no use any more.
            if there and profile.parsed(there.certificate).not_valid_after_utc - at > LASTS:
                return there
            made = profile.new_authority(
                f"llmlab {kind} {self._lab.runtime_dir.name[:6]}", [x509.DNSName(below)],
                begins=at - EARLIER, at=at, server=True, client=True,
            )  # fmt: skip
            write_atomically(key, made.key)
            write_atomically(certificate, made.certificate)
            return made

    def _still_good(self, file: Path, signs: Pair, hosts: Sequence[str]) -> Pair | None:
        """A pair of the lab's own, where it can go on with it."""
        try:
            found = Pair.from_text(file.read_text(encoding="ascii"))
            own = profile.belong_together(found)
            facts = facts_of(found.certificate)
        except (OSError, ValueError, TypeError, ConfigError):
            return None
        signed = profile.has_signed(signs.certificate, found.certificate)
        good = own and signed and facts.names == tuple(hosts)
        return found if good and self._clock() < facts.ends - RENEWED else None

    def _alone(self) -> AbstractContextManager[None]:
        private_folder(self.folder)
        return locked(self.folder / "lock", patience=LOCK_PATIENCE)

    def _damaged(self, kind: str, error: Exception) -> EnvironmentFailure:
        return EnvironmentFailure(
            f"who signs for the lab's links cannot be used: {self.folder / kind}.*: "
            f"{unreadable(error)}",
            fix=f"put {kind}.pem and {kind}.key back from a copy; or, and replicas get new "
            f"certificates: llmlab down && rm -r {self.folder} && llmlab up",
        )


def due(certificate: str) -> datetime:
    """When a certificate (PEM) is to be replaced: 10 days before its end, UTC."""
    return profile.parsed(certificate).not_valid_after_utc - RENEWED


def _checked(request: bytes, name: str) -> EllipticCurvePublicKey:
    """The key of a request that is sound and asks for this name alone."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec

    if len(request) > LONGEST:
        raise _refused(name, f"it has {len(request)} bytes, more than {LONGEST}")
    try:
        asked = x509.load_pem_x509_csr(request)
        key = asked.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
            raise _refused(name, "its key is none of EC P-256")
        if not asked.is_signature_valid:
            raise _refused(name, "it is not signed with its own key")
        found = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        if list(found) != [x509.DNSName(name)]:
            raise _refused(name, "it asks for another name")
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.ExtensionNotFound) as error:
        raise _refused(name, unreadable(error)) from None
    return key


def _refused(name: str, why: str) -> AuthError:
    return AuthError(
        f"a certificate for {name} was asked for, and refused: {why}",
        fix="the same version of llmlab on both machines; and see who else has this node's token",
    )
