"""Codes that sign a browser in: each stands for a token, once, and for some minutes.

What travels to a browser in an address is in its history, and maybe in a log. So it is no token,
and good for nothing once it was used. A code is kept as its SHA-256, with the token beside it, in a
file that only the lab's owner can open.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import time
from pathlib import Path

from llmlab.errors import AuthError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder

LIFE = 300  # seconds
CODE = re.compile(r"[A-Za-z0-9_-]{43}")  # 256 bits in base64url
BITS = 256


def make(lab: Lab, token: str) -> str:
    """A code for this token."""
    folder = _folder(lab)
    forget_old(lab)
    code = secrets.token_urlsafe(BITS // 8)
    kept = {"token": token, "until": time.time() + LIFE}
    write_atomically(_file(folder, code), json.dumps(kept))
    return code


def take(lab: Lab, code: str) -> str:
    """The token that a code stands for; the code is used up.

    Raises:
        AuthError: there is no such code, or it is too old, or was used before.
    """
    folder = _folder(lab)
    forget_old(lab)
    if CODE.fullmatch(code):
        # Of several who ask at once, one alone can rename it.
        taken = folder / f"taken-{secrets.token_hex(8)}"
        # One that is no longer whole stands for nothing.
        with contextlib.suppress(FileNotFoundError, ValueError, TypeError, KeyError):
            _file(folder, code).rename(taken)
            text = taken.read_bytes()
            taken.unlink()
            kept = json.loads(text)
            if time.time() < kept["until"]:
                return str(kept["token"])
    raise AuthError(
        "This address has signed somebody in already, or is older than 5 minutes.",
        fix="llmlab console",
    )


def is_waiting(lab: Lab, code: str) -> bool:
    """Whether nobody has used it yet."""
    return _file(_folder(lab), code).exists()


def drop(lab: Lab, code: str) -> None:
    _file(_folder(lab), code).unlink(missing_ok=True)


def folder_of(lab: Lab) -> Path:
    return private_folder(lab.state / "console")


def _folder(lab: Lab) -> Path:
    return private_folder(folder_of(lab) / "codes")


def _file(folder: Path, code: str) -> Path:
    return folder / hashlib.sha256(code.encode()).hexdigest()


def forget_old(lab: Lab) -> None:
    """Those that nobody has used, or whose process ended as it took them."""
    for file in _folder(lab).iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - file.stat().st_mtime > LIFE:
                file.unlink()
