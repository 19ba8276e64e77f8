"""Configurations of the gateway as immutable releases.

A release is a folder named after its content: a copy of nginx.conf, the files
rendered beside it, and the key set. It is written aside, checked with
``nginx -t``, and becomes ``current`` by one atomic rename of a link. So what a
restarted NGINX reads is always a configuration that was accepted once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from llmlab.errors import ConfigError, EnvironmentFailure, LlmlabError
from llmlab.files import write_atomically
from llmlab.lab import private_folder
from llmlab.shell import run

KEPT = 5  # releases that stay on disk, for a look back
CHECK_DEADLINE = 60.0  # seconds; the check may have to start a container
# What only NGINX itself says, of a configuration that it does not take.
VERDICT = r"\[emerg\]|configuration file \S+ test failed"


class Checker(Protocol):
    """An NGINX that can judge a configuration: one of this machine, or a container's."""

    def command(self, prefix: Path, conf: Path, *options: str) -> list[str]:
        """The argument list that runs it."""
        ...


class Releases:
    """The releases of one lab's gateway.

    Args:
        folder: where they live.
        prefix: NGINX's prefix (``-p``): pid file and temporary files.
        folder_mode, file_mode: who may read a release, beside its owner.
    """

    def __init__(
        self, folder: Path, prefix: Path, *, folder_mode: int = 0o700, file_mode: int = 0o600
    ) -> None:
        self.folder = folder
        self.prefix = prefix
        self._folder_mode, self._file_mode = folder_mode, file_mode

    @property
    def current(self) -> Path:
        return self.folder / "current"

    @property
    def conf(self) -> Path:
        return self.current / "nginx.conf"

    def stage(self, files: Mapping[str, str], nginx: Checker) -> str:
        """Write a release and have NGINX check it; nothing that runs is touched.

        Returns:
            The release's name, for ``activate``.

        Raises:
            ConfigError: ``nginx -t`` rejects it.
            EnvironmentFailure: it could not be run.
        """
        private_folder(self.folder, self._folder_mode)
        name = _digest(files)
        if self.active() != name:
            self._check(self.folder / self.write(files), nginx)
        return name

    def activate(self, name: str) -> bool:
        """Make a staged release the current one. Returns whether that changed anything."""
        if self.active() == name:
            return False
        link = self.folder / f".current-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(name)
        link.replace(self.current)
        self._prune(KEPT)
        return True

    def taken(self) -> bool:
        """Whether the running gateway is known to have read the current release."""
        try:
            return self._taken.read_text(encoding="ascii") == self.active()
        except OSError:
            return False

    def mark_taken(self) -> None:
        """The running gateway has read the current release."""
        write_atomically(self._taken, self.active())

    def standing(self) -> str:
        """Another text whenever another release is active, and once more when the running gateway
        is known to go by it: until then its workers are those of before."""
        try:
            read = self._taken.stat().st_mtime_ns
        except OSError:
            read = 0
        return f"{self.active()} {read}"

    @property
    def _taken(self) -> Path:
        return self.folder / ".taken"

    def keep_only_current(self) -> None:
        """Remove every release but the current one, and the keys that they hold."""
        self._prune(1)

    def active(self) -> str:
        """Name of the current release; "" before there was one."""
        return self.current.readlink().name if self.current.is_symlink() else ""

    def _check(self, release: Path, nginx: Checker) -> None:
        command = nginx.command(self.prefix, release / "nginx.conf", "-t", "-q")
        try:
            result = run(command, timeout=CHECK_DEADLINE)
            if result.code != 0:
                raise _refusal(result.code, result.output.replace(f"{release}/", "").strip())
        except BaseException:
            shutil.rmtree(release)
            raise

    def write(self, files: Mapping[str, str]) -> str:
        """Write a release without a check. Returns its name."""
        name = _digest(files)
        release = self.folder / name
        if _holds(release, files):  # somebody may be reading it
            os.utime(release)
            return name
        staging = self.folder / f".{name}-{os.getpid()}"
        shutil.rmtree(staging, ignore_errors=True)
        for path, content in files.items():
            target = staging / path
            private_folder(target.parent, self._folder_mode)
            write_atomically(target, content, self._file_mode)
        if not _holds(release, files):  # nor has anybody written the same meanwhile
            shutil.rmtree(release, ignore_errors=True)
            staging.rename(release)
        shutil.rmtree(staging, ignore_errors=True)
        return name

    def _prune(self, count: int) -> None:
        """Keep the current release and the newest others, ``count`` in all."""
        active = self.active()
        others = [
            one
            for one in self.folder.iterdir()
            if one.is_dir() and not one.is_symlink() and one.name != active
        ]
        others.sort(key=lambda one: one.stat().st_mtime, reverse=True)
        for old in others[count - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _refusal(code: int, said: str) -> LlmlabError:
    """Why a check failed: NGINX's verdict, or that there was none (no image, no engine)."""
    if re.search(VERDICT, said):
        return ConfigError(
            "NGINX rejects the configuration, so it was not taken over",
            fix="correct nginx.conf, or the value in configs/lab.toml; then llmlab up",
            log=said,
        )
    return EnvironmentFailure(
        f"the configuration could not be checked (exit code {code}), so it was not taken over",
        fix="llmlab doctor",
        log="\n".join(said.splitlines()[-12:]),
    )


def _holds(release: Path, files: Mapping[str, str]) -> bool:
    """Whether a release holds what its name says: nobody may have changed it since."""
    try:
        return all((release / path).read_bytes() == text.encode() for path, text in files.items())
    except OSError:
        return False


def _digest(files: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for path, content in sorted(files.items()):
        digest.update(f"{path}\0{len(content)}\0{content}".encode())
    return digest.hexdigest()[:16]
