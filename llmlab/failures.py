"""What the operating system refuses, as errors with a way out: a disk that is full, a folder that
is closed or somebody else's. Anything else keeps its traceback: it is a mistake of ours."""

from __future__ import annotations

import errno
import os
import pwd
from pathlib import Path

from llmlab.errors import EnvironmentFailure, LlmlabError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM)


def explained(error: OSError) -> LlmlabError | None:
    """The error to show in the place of this one; None if nobody foresaw it."""
    where = Path(os.fsdecode(error.filename)) if error.filename else None
    what = str(where) if where else "a file"
    folder = _there(where)
    if error.errno in NO_SPACE:
        return EnvironmentFailure(
            f"there is no space left for {what}",
            fix=f"df -h {folder}, and make room; then the same again",
        )
    if error.errno == errno.EROFS:
        return EnvironmentFailure(
            f"{what} cannot be written: its file system is read-only",
            fix=f"findmnt -T {folder} says which; have it writable, then the same again",
        )
    if error.errno in CLOSED and where:
        return _closed(what, folder)
    return None


def owner_of(path: Path) -> str:
    """The name of the user to whom a file belongs."""
    found = path.lstat().st_uid
    try:
        return pwd.getpwuid(found).pw_name
    except KeyError:
        return f"#{found}"  # as sudo takes it


def as_its_owner(owner: str) -> str:
    """How to go on with what belongs to somebody else. Never to remove it: that would take keys
    and the ledger with it."""
    return f"run it as {owner} (sudo -u {owner} llmlab ...), or llmlab init a lab of your own"


def _closed(what: str, there: Path) -> LlmlabError:
    owner = owner_of(there)
    if there.lstat().st_uid != os.geteuid():
        return EnvironmentFailure(
            f"{what} is closed to you: {there} belongs to {owner}", fix=as_its_owner(owner)
        )
    return EnvironmentFailure(f"{what} is closed to you", fix=f"ls -ld {there}, and chmod u+rwX it")


def _there(path: Path | None) -> Path:
    """The nearest folder, or the file itself, that one can look at."""
    for one in (path, *path.absolute().parents) if path else ():
        try:
            one.lstat()
        except OSError:
            continue
        return one
    return Path.cwd()
