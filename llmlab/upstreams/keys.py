"""The key of a model elsewhere: where it stands, that nobody else may read it, and reading it.

One process reads it, the API that asks that model. All others know the file's name at most.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from llmlab.config import Model
from llmlab.errors import AuthError, UsageError, unreadable
from llmlab.failures import owner_of
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.shell import clean_environment

OTHERS = 0o077
# Statuses of an answer that are about the lab's key or account.
OURS = (401, 402, 403, 407)
LONGEST = 16_384  # bytes; a token of some providers has 2,000

Look = tuple[int, ...]  # what tells one content of a file from another


def place(model: Model, lab: Lab) -> Path | None:
    """Where the key of a model stands while the lab runs; None for a model without one."""
    if model.key_env:
        return kept(lab) / model.key_env
    return (lab.root / Path(model.key_file).expanduser()) if model.key_file else None


def upstream_files(model: Model, lab: Lab) -> dict[str, Path | None]:
    """``key`` and ``ca`` of what a model's API is told."""
    ca = lab.root / Path(model.ca_file).expanduser() if model.ca_file else None
    return {"key": place(model, lab), "ca": ca}


def kept(lab: Lab) -> Path:
    """Where keys of the environment are kept, from `up` to `down`."""
    return lab.state / "upstream-keys"


def keep(name: str, model: Model, lab: Lab, environ: Mapping[str, str]) -> None:
    """Have a model's key where its API reads it, before that is started.

    A key of the environment is written down. Where the variable is not set, it is kept as it was.

    Args:
        name: what to call the model in an error.

    Raises:
        AuthError: there is none, or others may read it.
        UsageError: the variable is one that every process of the lab inherits.
    """
    file = place(model, lab)
    if file is None:
        return
    variable = model.key_env
    if variable:
        if clean_environment({variable: ""}):
            raise UsageError(
                f"models.{name}.key_env: every process of a lab inherits {variable}",
                fix="choose another variable, or key_file",
            )
        if value := environ.get(variable, "").strip():
            write_atomically(private_folder(kept(lab)) / variable, value + "\n")
        elif not file.exists():
            raise AuthError(
                f"{name} needs a key, and the environment variable {variable} is not set",
                fix=f"export {variable}=..., then llmlab up",
            )
    read(file, name)


def forget(lab: Lab, but: Iterable[Model] = ()) -> None:
    """Remove the keys of the environment that nobody reads any more.

    Args:
        but: models that still run; none of them when the lab is down.
    """
    wanted = {one.key_env for one in but}
    with contextlib.suppress(OSError):
        for file in kept(lab).iterdir():
            if file.name not in wanted:
                file.unlink(missing_ok=True)
        kept(lab).rmdir()  # which fails where one is left


def read(file: Path, name: str, *, mounted: bool = False) -> str:
    """The key in a file.

    Args:
        name: of the model, for an error.
        mounted: see ``KeyFile``.

    Raises:
        AuthError: there is none, somebody else owns the file or may read it, or it is no key.
    """
    try:
        with file.open("rb") as opened:
            if not mounted:
                _refuse_open(file, name, os.fstat(opened.fileno()))
            content = opened.read(LONGEST + 1)
    except OSError as error:
        raise AuthError(
            f"the key of {name} cannot be read: {file}: {unreadable(error)}",
            fix=f"(umask 077; cat > {file}), paste the key, then Ctrl-D",
        ) from None
    return value_of(content, file, name)


def value_of(content: bytes, file: Path, name: str) -> str:
    """The key that is a file's content.

    Raises:
        AuthError: it is none.
    """
    key = content.strip()
    if not key or len(key) > LONGEST or not all(33 <= byte <= 126 for byte in key):
        raise AuthError(
            f"{file} holds no key of {name}: it should be one line of letters, digits and signs",
            fix=f"(umask 077; cat > {file}), paste the key, then Ctrl-D",
        )
    return key.decode("ascii")


def _refuse_open(file: Path, name: str, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise AuthError(
            f"the key of {name}, {file}, belongs to {owner_of(file)}",
            fix=f"chown $(id -un) {file}",
        )
    if stat.S_IMODE(found.st_mode) & OTHERS:
        raise AuthError(
            f"the key of {name}, {file}, has mode {stat.S_IMODE(found.st_mode):04o}: "
            "others can read it",
            fix=f"chmod 600 {file}",
        )


class KeyFile:
    """A key that is read again when its file was changed: one that is replaced needs no restart.

    Whether others may read it is looked at each time that it is read.

    Args:
        name: of the model, for an error.
        mounted: it is a copy that only this container has, which says nothing by its mode.
    """

    def __init__(self, file: Path, name: str, *, mounted: bool = False) -> None:
        self._file, self._name, self._mounted = file, name, mounted
        self._look: Look = ()
        self._key = ""

    def __repr__(self) -> str:
        return f"KeyFile({str(self._file)!r})"

    @property
    def last(self) -> str:
        """The key as it was read last; "" if it was not yet."""
        return self._key

    def current(self) -> str:
        """The key as it stands in the file now.

        Raises:
            AuthError: there is none any more, somebody else owns the file or may read it, or it
                is no key.
        """
        try:
            found = self._file.stat()
        except OSError as error:
            raise AuthError(f"the key of {self._name} is gone: {unreadable(error)}") from None
        look = (found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_size)
        if look != self._look:
            self._key = read(self._file, self._name, mounted=self._mounted)
            self._look = look
        return self._key
