"""Tokens for a probe: good ones, and such as no honest issuer makes."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import shlex
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from llmlab.auth import Key
from llmlab.auth.keys import generate
from llmlab.errors import AuthError, UpstreamError, UsageError

LIVES = 600  # seconds
SUBJECT = "{subject}"  # in a command
PATIENCE = 30.0  # seconds for a command
LONGEST = 16_384  # characters
Part = Mapping[str, Any] | str | bytes


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(content: Part) -> str:
    """A part of a token: text and bytes as they are, all else as JSON."""
    if isinstance(content, Mapping):
        content = json.dumps(content, separators=(",", ":"))
    return b64(content if isinstance(content, bytes) else content.encode())


def opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token; empty where it is none."""
    try:
        header, claims = (
            json.loads(base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)))
            for one in token.split(".")[:2]
        )
    except ValueError:
        return {}, {}
    both = isinstance(header, dict) and isinstance(claims, dict)
    return (header, claims) if both else ({}, {})


@dataclass(frozen=True)
class Signer:
    """A key, and what tokens of it have to say.

    Args:
        more: claims that the gateway wants, beside sub and the times.
    """

    key: Key
    more: Mapping[str, Any] = field(default_factory=dict)

    def claims(self, subject: str, **changed: Any) -> dict[str, Any]:
        now = int(time.time())
        said = {"sub": subject, "iss": "llmlab", **self.more, "iat": now, "exp": now + LIVES}
        return said | changed

    def header(self, **changed: Any) -> dict[str, Any]:
        return {"alg": self.key.algorithm, "typ": "JWT", "kid": self.key.kid, **changed}

    def sign(self, claims: Part, header: Part | None = None) -> str:
        """A token of any content, rightly signed."""
        import jwt

        signing = f"{part(self.header() if header is None else header)}.{part(claims)}"
        jwk = jwt.PyJWK(dict(self.key.jwk), self.key.algorithm)
        return f"{signing}.{b64(jwk.Algorithm.sign(signing.encode(), jwk.key))}"

    def another(self) -> Signer:
        """The same with a key that nobody knows, under the same name."""
        made = generate(self.key.algorithm)
        return replace(self, key=Key({**made.jwk, "kid": self.key.kid}))


class Tokens(Protocol):
    """Where good tokens come from."""

    signer: Signer | None
    several: bool  # each subject has its own

    async def good(self, subject: str) -> str:
        """A token that the gateway should take.

        Raises:
            LlmlabError: there is none.
        """
        ...


class Signed:
    """Signs them itself."""

    several = True

    def __init__(self, signer: Signer) -> None:
        self.signer: Signer | None = signer
        self._sign = signer

    async def good(self, subject: str) -> str:
        return self._sign.sign(self._sign.claims(subject))


class Commanded:
    """Asks a program for them, once for each subject.

    Args:
        command: what prints one; ``{subject}`` in it is the subject.
    """

    def __init__(self, command: str) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError:
            raise UsageError("--token-command cannot be read: its quotes do not match") from None
        if not self._words:
            raise UsageError("--token-command is empty", fix="name a program that prints a token")
        self.signer: Signer | None = None
        self.several = any(SUBJECT in word for word in self._words)
        self._known: dict[str, str] = {}

    async def good(self, subject: str) -> str:
        name = subject if self.several else ""
        if name not in self._known:
            self._known[name] = await self._ask(name)
        return self._known[name]

    async def _ask(self, subject: str) -> str:
        words = [word.replace(SUBJECT, subject) for word in self._words]
        try:
            process = await asyncio.create_subprocess_exec(
                *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            raise UsageError(
                f"--token-command cannot be run: {words[0]}: {error.strerror}",
                fix="name a program that prints a token",
            ) from None
        try:
            async with asyncio.timeout(PATIENCE):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise UpstreamError(
                f"--token-command gave no token within {PATIENCE:g} s", fix="run it by hand"
            ) from None
        ended = f"--token-command ended with {process.returncode} and"
        return _token(said, ended, "run it by hand")


def _token(said: bytes, who: str, fix: str) -> str:
    token = said.decode("ascii", "replace").strip()
    # Not shown: it may be a secret all the same.
    if not token or " " in token or not token.isprintable() or len(token) > LONGEST:
        raise AuthError(f"{who} printed no token", fix=fix)
    return token


def key_of_file(file: Path) -> Key:
    """The signing key in a file: a JWK, or the last one of a set.

    Raises:
        AuthError: others may read it, or it is no key that can sign.
    """
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        document = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise AuthError(f"--key-file {file}: {why}", fix="name a JWK, or a set of them") from None
    if mode & 0o077 and os.name == "posix":
        raise AuthError(
            f"--key-file {file} can be read by others, and its key signs tokens",
            fix=f"chmod 600 {shlex.quote(str(file))}",
        )
    keys = document.get("keys", [document]) if isinstance(document, dict) else []
    found = [one for one in keys if isinstance(one, dict) and one.get("kty") and _signs(one)]
    if not found:
        raise AuthError(f"--key-file {file} holds no key that signs", fix="name a private JWK")
    return Key({"kid": "", **found[-1]})


def _signs(jwk: Mapping[str, Any]) -> bool:
    return bool(jwk.get("k") or jwk.get("d"))


def subject(name: str) -> str:
    """A subject that nobody had before."""
    return f"probe-{name}-{secrets.token_hex(3)}"
