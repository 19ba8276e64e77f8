"""The lab's signing keys: one JWK set file (RFC 7517), mode 0600.

The file is a JWK set that other tools can read. Members of our own that the RFC
tells others to ignore: ``created`` on a key, and ``revoked`` beside ``keys``,
which keeps the ids of revoked keys (without their secrets) and when they ended, ``ended``, which
says of subjects until when their tokens were ended, ``api_keys``, what is kept of each of them, and
``api_signer``, the key that signs the tokens which stand for them at the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmlab import subjects
from llmlab.auth import api_keys, demo
from llmlab.auth.api_keys import ApiKey
from llmlab.auth.keys import Algorithm, Key, KeySet, generate, made_now
from llmlab.errors import AuthError, UsageError, unreadable
from llmlab.files import locked, write_atomically
from llmlab.lab import private_folder


class KeyStore:
    """The key set on disk. Changes are atomic, and safe between processes."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def read(self) -> KeySet:
        """The key set; an empty one where there is no file.

        Raises:
            AuthError: the file is not a JWK set.
        """
        try:
            document = json.loads(self._file.read_bytes())
            keys = tuple(
                Key({name: value for name, value in jwk.items() if name != "created"},
                    jwk.get("created", ""))
                for jwk in document["keys"]
            )  # fmt: skip
            for key in keys:
                _ = key.kid, key.jwk["kty"]
            ended = {str(sub): int(at) for sub, at in document.get("ended", {}).items()}
            api = tuple(api_keys.read(one) for one in document.get("api_keys", []))
            signer = document.get("api_signer")
            return KeySet(
                keys, dict(document.get("revoked", {})), ended, api, Key(signer) if signer else None
            )
        except FileNotFoundError:
            return KeySet()
        except OSError as error:
            raise AuthError(
                f"{self._file} cannot be read: {unreadable(error)}", fix=f"ls -ld {self._file}"
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuthError(
                f"{self._file} is not a JWK set: {unreadable(error)}",
                fix=f"restore it, or move it away and run llmlab keys init: mv {self._file} /tmp/",
            ) from None

    def ensure(self, algorithm: Algorithm = Algorithm.HS256, *, demo_key: bool = False) -> KeySet:
        """Create the first key, and add the published demo key, where they are missing."""
        with self._changing():
            keys = self.read()
            if not any(not key.is_demo for key in keys.keys):
                keys = replace(keys, keys=(generate(algorithm), *keys.keys))
            if demo_key and not keys.has_demo:
                keys = keys.with_key(Key(demo.JWK, made_now()))
            return self._write(keys)

    def rotate(self, algorithm: Algorithm | None = None) -> KeySet:
        """Add a new signing key; the ones before it stay valid until they are revoked."""
        with self._changing():
            keys = self.read()
            return self._write(keys.with_key(generate(algorithm or keys.signing.algorithm)))

    def revoke(self, kid: str) -> KeySet:
        """End a key now: every token signed with it is refused from the next reload on."""
        with self._changing():
            return self._write(self.read().without(kid, made_now()))

    def end_tokens(self, subject: str, *, now: float) -> KeySet:
        """End the tokens of a subject: those made until now are refused from the next reload on.

        Raises:
            UsageError: no valid token has this subject. The gateway could not be told of it, nor
                then of anything else.
        """
        if problem := subjects.problem(subject):
            raise UsageError(f"no token can be valid that is named so: {problem}")
        with self._changing():
            keys = self.read()
            return self._write(replace(keys, ended={**keys.ended, subject: int(now)}))

    def restore_tokens(self, subject: str) -> KeySet:
        """Let the tokens of a subject in again, whenever they were made.

        Raises:
            UsageError: they were not ended.
        """
        with self._changing():
            keys = self.read()
            if subject not in keys.ended:
                raise UsageError(
                    f"the tokens of {subject!r} were not ended", fix="llmlab token revoked"
                )
            rest = {sub: at for sub, at in keys.ended.items() if sub != subject}
            return self._write(replace(keys, ended=rest))

    def ensure_signer(self) -> KeySet:
        """Make the key for what stands for API keys and certificates, where it is missing."""
        with self._changing():
            keys = self.read()
            return keys if keys.signer else self._write(_with_signer(keys))

    def add_api_key(self, key: ApiKey) -> KeySet:
        """Let in whoever has this API key, from the next reload on."""
        with self._changing():
            keys = _with_signer(self.read())
            # What its owner had until this second may have been ended: this is a later one.
            key = replace(key, created=max(key.created, keys.ended.get(key.sub, 0) + 1))
            return self._write(replace(keys, api=(*keys.api, key)))

    def remove_api_key(self, named: str) -> KeySet:
        """End an API key.

        Raises:
            UsageError: there is none of this id.
        """
        with self._changing():
            keys = self.read()
            gone = keys.find_api_key(named)
            return self._write(replace(keys, api=tuple(one for one in keys.api if one != gone)))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        private_folder(self._file.parent)
        with locked(self._file.with_suffix(".lock")):
            yield

    def _write(self, keys: KeySet) -> KeySet:
        document: dict[str, Any] = {
            "keys": [{**key.jwk, "created": key.created} for key in keys.keys],
            "revoked": dict(keys.revoked),
            "ended": dict(keys.ended),
        }
        if keys.api or keys.signer:
            document["api_keys"] = [key.document() for key in keys.api]
            document["api_signer"] = dict(keys.signer.jwk) if keys.signer else None
        write_atomically(self._file, json.dumps(document, indent=1) + "\n", mode=0o600)
        return keys


def _with_signer(keys: KeySet) -> KeySet:
    return replace(keys, signer=keys.signer or generate(Algorithm.HS256, kid=api_keys.SIGNER))
