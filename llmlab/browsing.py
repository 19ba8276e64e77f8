"""Lead a browser to an address that lets its reader in."""

from __future__ import annotations

import html
from pathlib import Path

from llmlab.files import write_atomically


def leading_page(file: Path, target: str, title: str) -> Path:
    """A page (mode 0600) that leads to ``target``.

    A browser is given this file to open: its command line, which every user of the machine can
    read, must not hold what lets somebody in.
    """
    there, said = html.escape(target), html.escape(title)
    write_atomically(
        file,
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={there}">'
        f'<title>{said}</title><a href="{there}">{said}</a>\n',
    )
    return file
