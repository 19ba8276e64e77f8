"""The certificates of one lab: who signs, and the pair that its gateway has.

A gateway never reads a person's files: what was found good is copied here, in one file, and goes
from here into the gateway's releases. So a file that is broken later, or half written, is in
nobody's way: whoever moves a route or revokes a key has the pair from before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from llmlab.config import Gateway
from llmlab.errors import ConfigError, EnvironmentFailure, unreadable
from llmlab.files import locked
from llmlab.lab import Lab, private_folder
from llmlab.tls.authority import LEAF_LASTS, LOOPBACK, RENEWED, Authority
from llmlab.tls.kept_files import content, restore, write
from llmlab.tls.pair import Facts, Pair, facts_of, judge, now, read_authorities, read_pair

LOCK_PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class Kept:
    """What a gateway gets. ``client_ca``: PEM of who signs certificates of clients, "" for none."""

    pair: Pair
    client_ca: str = field(default="", repr=False)


@dataclass(frozen=True)
class AuthorityFacts:
    """Who signs a lab's own certificates.

    ``file``: its certificate, in PEM. ``ends`` in UTC, ISO 8601. ``fingerprint``: SHA-256 of it.
    ``signs_for``: names, with those below them, and networks; in nobody's eyes for others.
    """

    file: str
    ends: str
    fingerprint: str
    signs_for: tuple[str, ...]


class Certificates:
    """Of one lab; below its state, which is closed to other users."""

    def __init__(self, lab: Lab, clock: Callable[[], datetime] = now) -> None:
        self._lab = lab
        self._clock = clock
        self.folder = lab.state / "tls"
        # While a gateway moves: whom its clients trusted before, and whom they will.
        self._trusted_before: str | None = None
        self._trusted_next: str | None = None

    @property
    def authority_file(self) -> Path:
        """The certificate of the lab's own authority, for those who are to trust it."""
        return self.folder / "authority.pem"

    @property
    def _authority_key(self) -> Path:
        return self.folder / "authority.key"

    @property
    def _gateway(self) -> Path:
        return self.folder / "gateway.pem"

    @property
    def _client_ca(self) -> Path:
        return self.folder / "client-ca.pem"

    @property
    def _refused(self) -> Path:
        return self.folder / "refused.txt"

    # --- having them -------------------------------------------------------------

    def keep(
        self, gateway: Gateway, *, anew: bool = False, authority_too: bool = False,
        pair_alone: bool = False,
    ) -> bool:  # fmt: skip
        """Have what the gateway is to have as lab.toml says it.

        The lab's own pair is signed where there is none, where it is for other names or ends soon.

        Args:
            anew: sign another one in any case.
            authority_too: and make another authority, which everybody has to trust anew.
            pair_alone: who signs for clients stays as it was, whatever stands in that file now.

        Returns:
            Whether it is another one than before.

        Raises:
            ConfigError: a person's pair is not as it must be; the one from before is kept.
        """
        if not gateway.tls.enabled:
            return False
        private_folder(self.folder)
        with locked(self.folder / "lock", patience=LOCK_PATIENCE):
            before = self._read()
            clients = before.client_ca if before and pair_alone else self._clients(gateway)
            if gateway.tls.own:
                wanted = Kept(self._own(gateway), clients)
                trusted = self._named_authority(gateway)
            else:
                authority = self._authority(gateway, anew=authority_too)
                pair = before.pair if before and not anew else None
                if pair is None or not self._still_good(pair, authority, gateway):
                    pair = authority.sign(hosts_of(gateway), self._clock())
                wanted = Kept(pair, clients)
                trusted = authority.certificate
            write(self._gateway, wanted.pair.as_text())
            write(self._client_ca, wanted.client_ca)
            self._trust(trusted)
            if not pair_alone:
                self.note_refused("")
            return wanted != before

    def keep_if_none(self, gateway: Gateway) -> None:
        """The same where nothing is kept, or what is has to be renewed. Else it is left alone: a
        gateway may run that has it, brought up otherwise than lab.toml says now.

        Raises:
            ConfigError: as of ``keep``.
        """
        if gateway.tls.enabled and (self._read() is None or self.is_due(gateway)):
            self.keep(gateway)

    def kept(self) -> Kept:
        """What was kept last.

        Raises:
            EnvironmentFailure: there is nothing, or it is damaged.
        """
        found = self._read()
        if found is None:
            raise EnvironmentFailure(
                f"{self._gateway} is gone, and the gateway's certificate with it", fix="llmlab up"
            )
        self._facts_of(found)
        return found

    def facts(self) -> Facts | None:
        """Of the certificate that was kept last; None if none was.

        Raises:
            EnvironmentFailure: it is damaged.
        """
        found = self._read()
        return self._facts_of(found) if found else None

    def _facts_of(self, kept: Kept) -> Facts:
        try:
            return facts_of(kept.pair.certificate)
        except ConfigError:
            raise EnvironmentFailure(
                f"{self._gateway} is damaged: it holds no certificate that can be read",
                fix="llmlab tls renew",
            ) from None

    def examined(self, gateway: Gateway) -> Facts | None:
        """Of what the gateway is to have next, without keeping it; None where the lab has to sign
        first.

        Raises:
            ConfigError: a person's pair, or who signs for clients, is not as it must be.
        """
        self._clients(gateway)
        if gateway.tls.own:
            self._named_authority(gateway)
            return facts_of(self._own(gateway).certificate)
        return self.facts()

    def is_due(self, gateway: Gateway) -> bool:
        """Whether the lab has to sign another one. Nobody can renew a person's own but they."""
        if not gateway.tls.enabled or gateway.tls.own:
            return False
        try:
            facts = self.facts()
        except EnvironmentFailure:
            return True
        return facts is None or self._ends_soon(facts.ends)

    def authority(self) -> Authority | None:
        """The lab's own; None before it was needed.

        Raises:
            EnvironmentFailure: its files are damaged, or cannot be read.
        """
        return Authority.read(self.authority_file, self._authority_key)

    def authority_facts(self) -> AuthorityFacts | None:
        """Of the lab's own; None before it was needed."""
        found = self.authority()
        if found is None:
            return None
        facts = facts_of(found.certificate)
        return AuthorityFacts(
            str(self.authority_file), facts.ends.isoformat(timespec="seconds"), facts.fingerprint,
            found.permitted,
        )  # fmt: skip

    @contextmanager
    def or_as_before(self) -> Iterator[None]:
        """Around a gateway that moves to what is kept inside. Where that fails, all is as it was
        before, who signs included: others trust that one. Until it has moved, the lab's own clients
        go on to trust who signed before."""
        before = {file: content(file) for file in self._files}
        self._trusted_before = (before[self._lab.trusted_ca] or b"").decode("ascii", "replace")
        try:
            yield
        except BaseException:
            if self.folder.exists():
                with locked(self.folder / "lock", patience=LOCK_PATIENCE):
                    for file, was in before.items():
                        restore(file, was)
            raise
        else:
            if self._trusted_next is not None:
                with locked(self.folder / "lock", patience=LOCK_PATIENCE):
                    write(self._lab.trusted_ca, self._trusted_next)
        finally:
            self._trusted_before = self._trusted_next = None

    # --- what is wrong with a newer one --------------------------------------------

    def note_refused(self, why: str) -> None:
        """Why what stands in the person's files now was not taken over; "" once it was."""
        write(self._refused, why)

    def refused(self) -> str:
        with contextlib.suppress(OSError):
            return self._refused.read_text(encoding="utf-8")
        return ""

    # --- parts ---------------------------------------------------------------------

    def _own(self, gateway: Gateway) -> Pair:
        tls = gateway.tls
        pair = read_pair(self.path(tls.certificate), self.path(tls.key))
        judge(pair, [urlsplit(gateway.url).hostname or ""], self._clock())
        return pair

    def path(self, said: str) -> Path:
        """A path of lab.toml."""
        return self._lab.root / Path(said).expanduser()

    def _clients(self, gateway: Gateway) -> str:
        file = gateway.tls.client_ca
        return read_authorities(self.path(file), "gateway.tls.client_ca") if file else ""

    def _named_authority(self, gateway: Gateway) -> str:
        file = gateway.tls.ca_file
        return read_authorities(self.path(file), "gateway.tls.ca_file") if file else ""

    def _authority(self, gateway: Gateway, *, anew: bool) -> Authority:
        there = None if anew else self.authority()
        hosts = hosts_of(gateway)
        outlasts = there is not None and there.ends - self._clock() > LEAF_LASTS
        if there and outlasts and there.signs_for(hosts):
            return there
        made = Authority.make(hosts, self._clock(), label=label_of(self._lab))
        write(self._authority_key, made.key)
        write(self.authority_file, made.certificate)
        return made

    def _still_good(self, pair: Pair, authority: Authority, gateway: Gateway) -> bool:
        try:
            facts = judge(pair, (), self._clock())
        except ConfigError:
            return False
        wanted = {*LOOPBACK, *hosts_of(gateway)}
        return (
            {*facts.names} == wanted
            and not self._ends_soon(facts.ends)
            and authority.has_signed(pair.certificate)
        )

    def _trust(self, wanted: str) -> None:
        """Have the lab's own clients trust ``wanted``, "" for whom the machine trusts."""
        before = self._trusted_before
        if before is None:
            write(self._lab.trusted_ca, wanted)
            return
        self._trusted_next = wanted
        more = wanted if wanted not in before else ""
        # A file beside the authorities of the machine would take their place.
        write(self._lab.trusted_ca, before + more if before else "")

    @property
    def _files(self) -> tuple[Path, ...]:
        return (
            self._authority_key, self.authority_file, self._gateway, self._client_ca,
            self._lab.trusted_ca,
        )  # fmt: skip

    def _ends_soon(self, ends: datetime) -> bool:
        return ends - self._clock() < RENEWED

    def _read(self) -> Kept | None:
        try:
            text = self._gateway.read_text(encoding="ascii")
            clients = ""
            with contextlib.suppress(FileNotFoundError):
                clients = self._client_ca.read_text(encoding="ascii")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise EnvironmentFailure(
                f"{self._gateway} cannot be read: {unreadable(error)}", fix=f"ls -l {self.folder}"
            ) from None
        return Kept(Pair.from_text(text), clients)


def hosts_of(gateway: Gateway) -> list[str]:
    """The hosts beside loopback's that the lab signs for."""
    own = [] if gateway.loopback or gateway.everywhere else [gateway.host]
    return [one for one in dict.fromkeys((*own, *gateway.tls.names)) if one not in LOOPBACK]


def label_of(lab: Lab) -> str:
    """How the authority is told from those of other labs; everybody who connects reads it, so it
    does not say where the lab is."""
    return f"{lab.root.name} {lab.runtime_dir.name[:6]}"
