"""How one gets into the notebook server: its token, and the address that carries it.

Whoever has the token runs programs as the server's user. So it is random in every lab,
and travels in files that only their owner can open; demo mode has the reference lab's.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from urllib.parse import quote

from llmlab.auth import KeyStore
from llmlab.browsing import leading_page
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder

HOST = "127.0.0.1"  # the only address it is ever reached at
DEMO_TOKEN = "nginxrocks!"  # noqa: S105  the reference lab's, published


def token_file(lab: Lab) -> Path:
    """The file (mode 0600) with the server's token, made on first use.

    Demo mode has a file of its own: the name of the file says which token is in force.
    There is no line break in it, for JupyterLab takes the content as it is; and it is
    never empty, for an empty token would let everybody in.
    """
    demo = KeyStore(lab.keys_file).read().has_demo
    folder = private_folder(lab.state / "jupyter")
    file = folder / ("demo-token" if demo else "token")
    with locked(folder / "token.lock"):
        if not _content(file):
            write_atomically(file, DEMO_TOKEN if demo else secrets.token_hex(24))
    return file


def token(lab: Lab) -> str:
    """What the notebook server of this lab asks for."""
    return _content(token_file(lab))


def address(port: int) -> str:
    """The server's page on this machine, without the token."""
    return f"http://{HOST}:{port}/lab"


def url(port: int, secret: str) -> str:
    """The address that lets its reader in."""
    return f"{address(port)}?token={quote(secret, safe='!')}"


def redirect_page(lab: Lab, target: str) -> Path:
    """A page (mode 0600) that leads to ``target``."""
    return leading_page(private_folder(lab.state / "jupyter") / "open.html", target, "JupyterLab")


def _content(file: Path) -> str:
    return file.read_text(encoding="ascii") if file.exists() else ""
