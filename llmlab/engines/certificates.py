"""Whoever keeps a lab keeps its gateway's certificate, too: told in the status, renewed before it
ends, and taken over when it changes on the disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmlab.config import Gateway
from llmlab.engines.record import RUNNING, Record
from llmlab.engines.status import CertificateStatus
from llmlab.errors import ConfigError, LlmlabError
from llmlab.lab import Lab
from llmlab.repeating import again_and_again
from llmlab.tls.pair import now
from llmlab.tls.store import AuthorityFacts, Certificates

log = logging.getLogger("llmlab.keeper")
LOOK = 2.0  # seconds
RETRY = 30.0  # seconds until what the gateway did not take, or what could not be written, is tried
# Days before the end in which it is said: of one that a person renews, and of one that the lab
# should have renewed by then.
SOON, OVERDUE = 14, 7

Look = tuple[tuple[int, ...], ...]  # what tells one content of the files from another


@dataclass(frozen=True)
class TlsShown:
    """How a lab's gateway speaks TLS.

    ``certificate``: null without TLS, or before the first `up`. ``authority``: the lab's own; null
    before it was needed.
    """

    enabled: bool
    url: str
    certificate: CertificateStatus | None
    authority: AuthorityFacts | None


def tls_of(lab: Lab, gateway: Gateway) -> TlsShown:
    return TlsShown(
        gateway.tls.enabled, gateway.url, certificate_of(lab, gateway),
        Certificates(lab).authority_facts(),
    )  # fmt: skip


def certificate_of(lab: Lab, gateway: Gateway) -> CertificateStatus | None:
    """Of a gateway as it was brought up; None without TLS, or where nothing is kept."""
    if not gateway.tls.enabled:
        return None
    kept = Certificates(lab)
    facts = kept.facts()
    if facts is None:
        return None
    return CertificateStatus(
        facts.names, facts.signed_by, not gateway.tls.own,
        facts.ends.isoformat(timespec="seconds"), facts.days_left(now()), facts.fingerprint,
        gateway.tls.client if gateway.tls.client_ca else "",
        kept.refused().partition("\n")[0],
    )  # fmt: skip


def warnings_of(lab: Lab, gateway: Gateway) -> tuple[str, ...]:
    """What there is to say of the certificate of a gateway that runs, or of none."""
    if not gateway.tls.enabled:
        if not gateway.in_clear:
            return ()
        return (
            "tokens and texts travel unencrypted, and others can reach the gateway\n"
            "Fix: llmlab up --tls, or put TLS in front of it",
        )
    try:
        found = certificate_of(lab, gateway)
    except LlmlabError as error:
        return (f"{error.message}\nFix: {error.fix}",)
    if found is None:
        return ("the gateway's certificate is gone\nFix: llmlab up",)
    said = []
    if found.refused:
        said.append(f"the certificate on disk was not taken over: {Certificates(lab).refused()}")
    if found.days_left < (OVERDUE if found.ours else SOON):
        fix = "llmlab tls renew; llmlab logs keeper" if found.ours else "renew it"
        ended = "ended" if found.days_left < 0 else "ends"
        said.append(f"the gateway's certificate {ended} on {found.ends[:10]}\nFix: {fix}")
    return tuple(said)


class CertificateWatch:
    """Of one lab.

    Args:
        take_over: has the gateway use what is kept; see ``Engine.reload_certificate``.
    """

    def __init__(self, lab: Lab, take_over: Callable[[], bool]) -> None:
        self._lab = lab
        self._take_over = take_over
        self._certificates = Certificates(lab)
        # The files as they were judged last: at the start, by nobody who knows of what was since.
        self._judged: Look = ()
        self._before: Look = ()  # ... and as they were at the look before
        self._gateway: Gateway | None = None
        self._stamp: tuple[int, ...] = ()

    def look(self) -> None:
        """Once. Files are judged when they have not changed since the look before: a certificate
        and its key are two files, and somebody may be about to write the second one.

        Raises:
            LlmlabError, OSError: the lab's own cannot be renewed, or the gateway does not take it.
        """
        gateway = self._running()
        if gateway is None or not gateway.tls.enabled:
            return
        if self._certificates.is_due(gateway):
            self._replace(gateway, renews=True)
        seen = _look(self._files(gateway))
        settled, self._before = seen == self._before, seen
        if not settled or seen == self._judged:
            return
        try:
            self._replace(gateway, renews=False)
        except ConfigError as error:
            # Not again until the files are others.
            self._certificates.note_refused(f"{error.message}\nFix: {error.fix}")
            log.error("the certificate on disk is not taken over: %s", error.message)
        self._judged = seen

    def _replace(self, gateway: Gateway, *, renews: bool) -> None:
        with self._certificates.or_as_before():
            if self._certificates.keep(gateway, pair_alone=renews) and self._take_over():
                facts = self._certificates.facts()
                ends = f"{facts.ends:%Y-%m-%d}" if facts else ""
                log.info("the gateway has another certificate, which ends on %s", ends)

    def _running(self) -> Gateway | None:
        """As it was brought up last; read anew where that was since."""
        stamp = _stat(self._lab.state / RUNNING)
        if stamp != self._stamp:
            record = Record.read(self._lab)
            self._gateway, self._stamp = record.plan().config.gateway if record else None, stamp
        return self._gateway

    def _files(self, gateway: Gateway) -> list[Path]:
        tls = gateway.tls
        named = (tls.certificate, tls.key, tls.ca_file, tls.client_ca)
        return [self._certificates.path(one) for one in named if one]

    def start(self) -> None:
        """Look again and again, beside whatever else the process does: a reload takes its time."""
        again_and_again(self.look, log, every=LOOK, after_failure=RETRY)


def _look(files: list[Path]) -> Look:
    return tuple(_stat(one) for one in files)


def _stat(file: Path) -> tuple[int, ...]:
    """Of what a link leads to: certbot renews by pointing one elsewhere."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode
