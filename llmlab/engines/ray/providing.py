"""Giving a replica what it serves: a certificate, the files of its model, and its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from llmlab.config.ray import Ray
from llmlab.engines.ray.replica import Look, Serving
from llmlab.engines.ray.wanted import Wanted
from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab
from llmlab.links.authority import Authority
from llmlab.models.sources import files_of
from llmlab.service.settings import Settings
from llmlab.version import __version__

PART = 8 << 20  # bytes in one message
QUICK, SLOW = 30.0, 120.0  # seconds for an answer, and for a part of a file
_CHUNK = 1 << 20

Call = Callable[..., Any]  # (method, *arguments, within=seconds)


class Provider:
    """Of one lab."""

    def __init__(self, lab: Lab, ray: Ray) -> None:
        self._lab, self._ray = lab, ray
        self._authority = Authority(lab)
        self._hashes: dict[Path, tuple[tuple[int, int, int], str]] = {}

    def provide(self, call: Call, look: Look, one: Wanted) -> None:
        """
        Raises:
            LlmlabError: it cannot be given that, or cannot serve it.
            OSError: a file of the model is gone.
        """
        if look.version != __version__:
            raise EnvironmentFailure(
                f"{one.process} is on {look.host}, which has llmlab {look.version}, "
                f"and the lab {__version__}",
                fix=f"pip install llmlab=={__version__} on {look.host}",
            )
        file = self._lab.state / "deployments" / one.settings
        settings = Settings.read(file)
        files = self._files(settings)
        self._bring(call, settings.folder, files)
        certificate = self._signed(call, look, one)
        serving = Serving(
            settings=settings.model_dump_json(), files=files, certificate=certificate,
            trusted=self._authority.trusted_by_replicas,
            ports=(self._ray.ports[0], self._ray.ports[-1]),
            settlements=(self._ray.host, self._ray.link_port), longest=one.longest,
            cores=one.cores, memory=one.memory,
        )  # fmt: skip
        call("serve", serving, within=QUICK)

    def renew(self, call: Call, look: Look, one: Wanted) -> None:
        """Another certificate, for another key.

        Raises:
            LlmlabError: it goes on by the one from before.
        """
        signed = self._signed(call, look, one)
        call("renew", signed, self._authority.trusted_by_replicas, within=QUICK)

    def _signed(self, call: Call, look: Look, one: Wanted) -> str:
        mine = look.incarnation
        asked = call("request", mine, within=QUICK)
        return self._authority.sign(asked, one.process, one.deployment, mine).decode()

    def _bring(self, call: Call, folder: Path | None, files: Mapping[str, str]) -> None:
        missing = set(call("missing", list(files.values()), within=QUICK)) if files else set()
        for name, digest in files.items():
            if digest in missing and folder:
                missing.discard(digest)
                with (folder / name).open("rb") as opened:
                    offset, data = 0, opened.read(PART)
                    while True:
                        after = opened.read(PART)
                        call("put", digest, offset, data, not after, within=SLOW)
                        if not after:
                            break
                        offset, data = offset + len(data), after

    def _files(self, settings: Settings) -> dict[str, str]:
        """{name in its folder: SHA-256}, of what makes up a model: of what else lies there, which
        may be a lab's keys, nothing leaves this machine."""
        if settings.folder is None:
            return {}
        return {one.name: self._hash(one) for one in files_of(settings.model, settings.folder)}

    def _hash(self, file: Path) -> str:
        stat = file.stat()
        look = stat.st_ino, stat.st_size, stat.st_mtime_ns
        known = self._hashes.get(file)
        if known and known[0] == look:
            return known[1]
        hashed = hashlib.sha256()
        with file.open("rb") as opened:
            while data := opened.read(_CHUNK):
                hashed.update(data)
        self._hashes[file] = look, hashed.hexdigest()
        return hashed.hexdigest()
