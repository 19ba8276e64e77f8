"""Where a client finds the lab's URL and a token."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from llmlab.auth import Claims, KeyStore, mint
from llmlab.auth.unverified import expires_at
from llmlab.client.connection import NOBODY, Trust, checked_url, trust_in
from llmlab.config import read_config
from llmlab.errors import AuthError, LlmlabError, unreadable
from llmlab.lab import Lab, find_lab
from llmlab.network import is_loopback

OWN_TTL = 600  # seconds; a client's own token is renewed when half of that is gone


class TokenSource(Protocol):
    """Where a token comes from."""

    def __call__(self) -> str:
        """A token that is valid now, as far as this side can see."""
        ...

    def renew(self) -> bool:
        """The last one was refused. Whether the next is another one."""
        ...

    @property
    def advice(self) -> str:
        """What to do about tokens from here that are refused."""
        ...


@dataclass(frozen=True)
class Credentials:
    """A base URL, the tokens for it, and by what else the two sides know each other."""

    url: str
    token: TokenSource
    trust: Trust = NOBODY


def resolve(
    url: str | None,
    token: str | None,
    lab: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Credentials:
    """Arguments beat LLMLAB_URL and LLMLAB_TOKEN, which beat the lab around ``lab`` or here.

    LLMLAB_TOKEN_FILE, a file with a token in it (mode 0600), stands behind LLMLAB_TOKEN. Who may
    have signed the lab's certificate is in LLMLAB_CA_FILE; a lab around here knows it. A client's
    own certificate is in LLMLAB_CERTIFICATE_FILE.

    Raises:
        UsageError: something is missing and there is no lab to take it from.
        AuthError: the token is not one line of visible ASCII, or the lab has no key.
    """
    environ = os.environ if environ is None else environ
    url = url or environ.get("LLMLAB_URL")
    tokens = _given(token, environ)
    url = checked_url(url) if url else ""
    if url and tokens:
        return Credentials(url, tokens, trust_at(url, lab, environ))
    if url and not is_loopback(url):
        raise AuthError(
            f"there is no token for {url}, and this machine's lab does not give its own away",
            fix="set LLMLAB_TOKEN to a token of that lab, or LLMLAB_TOKEN_FILE to a file with one",
        )
    found = find_lab(lab, environ)
    return Credentials(
        url or address_of(found, environ),
        tokens or LabTokens(found.keys_file, lab=found.root),
        trust_in(found, environ),
    )


def address_of(lab: Lab, environ: Mapping[str, str]) -> str:
    """Where a lab's gateway is, or would be: as it was started, which may differ from lab.toml.

    Raises:
        ConfigError: lab.toml is not as it must be.
    """
    configured = read_config(lab.config_file, environ=environ).config.gateway.url
    return _running_url(lab.state) or configured


def trust_at(url: str, lab: Path | None, environ: Mapping[str, str]) -> Trust:
    """Whoever names the address of the lab around here means that lab, which knows who signed."""
    trust = Trust.named(environ)
    if trust.ca is None and url.startswith("https:"):
        with contextlib.suppress(LlmlabError):
            found = find_lab(lab, environ)
            if address_of(found, environ) == url:
                return trust_in(found, environ)
    return trust


def _given(token: str | None, environ: Mapping[str, str]) -> TokenSource | None:
    """The tokens that a person named; None if they named none."""
    if token:
        return OneToken(_checked(token), "give a token of that lab; llmlab token makes one")
    if token := environ.get("LLMLAB_TOKEN"):
        return OneToken(
            _checked(token),
            "unset LLMLAB_TOKEN, or set it to a fresh one: export LLMLAB_TOKEN=$(llmlab token)",
        )
    file = environ.get("LLMLAB_TOKEN_FILE")
    return FileTokens(Path(file).expanduser()) if file else None


def _checked(token: str) -> str:
    if not (token.isascii() and token.isprintable() and token and " " not in token):
        raise AuthError("the token holds characters that no JWT has", fix="llmlab token")
    return token


@dataclass(frozen=True)
class OneToken:
    """A token that was given as it is."""

    token: str
    advice: str

    def __call__(self) -> str:
        return self.token

    def renew(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "OneToken(...)"


class FileTokens:
    """The token in a file, read anew for every request: whoever renews it writes that file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._last = ""

    def __call__(self) -> str:
        try:
            self._last = token = _checked(self._file.read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise AuthError(
                f"the token file {self._file} cannot be read: {unreadable(error)}",
                fix=self.advice,
            ) from None
        expiry = expires_at(token)
        if expiry is not None and expiry <= time.time():
            raise AuthError(
                f"the token in {self._file} has expired",
                fix="llmlab keys init, in the lab, renews that of its containers; "
                "llmlab token makes one for elsewhere",
            )
        return token

    def renew(self) -> bool:
        """Whether somebody has written another one meanwhile."""
        last = self._last
        return self() != last

    @property
    def advice(self) -> str:
        return (
            "put a fresh token into the file that LLMLAB_TOKEN_FILE names: "
            f"(umask 077; llmlab token > {shlex.quote(str(self._file))})"
        )


class LabTokens:
    """Mints tokens with the lab's own key, and renews them before they expire.

    Args:
        sub: their subject; default: the user's name.
        lab: its folder.
    """

    def __init__(self, keys_file: Path, sub: str = "", *, lab: Path | None = None) -> None:
        self._keys_file = keys_file
        self._store = KeyStore(keys_file)
        self._sub = sub
        self._lab = lab
        self._token = ""
        # By the clock that the token's own times are of: a machine that slept has not counted.
        self._from = self._until = 0.0

    def of(self, sub: str) -> LabTokens:
        """Tokens of another subject."""
        return LabTokens(self._keys_file, sub, lab=self._lab)

    def __call__(self) -> str:
        now = time.time()
        if not (self._token and self._from <= now < self._until):
            claims = Claims(sub=self._sub or user_name(), ttl=OWN_TTL)
            self._token = mint(self._store.read().signing, claims)
            self._from, self._until = now, now + OWN_TTL / 2
        return self._token

    def renew(self) -> bool:
        """The keys may be others by now, or the clock was put right."""
        last, self._token = self._token, ""
        return self() != last

    @property
    def advice(self) -> str:
        where = f" of {self._lab}" if self._lab else ""
        return (
            f"the token was made with the keys{where}: if that is the lab at this address, "
            "llmlab up; if it is another one, --lab DIR or LLMLAB_TOKEN"
        )


def user_name() -> str:
    """The default subject of a token."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid-{os.getuid()}"


def _running_url(state: Path) -> str:
    """The address at which the lab was last started, which may differ from lab.toml by a flag."""
    import json

    try:
        return str(json.loads((state / "running.json").read_text())["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
