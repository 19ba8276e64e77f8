"""Start the WAF's NGINX in the foreground: python -m llmlab.engines.local.start_waf SOCKET NGINX

Behind it stand NGINX's own options.

What a master that was killed hard has left is its workers and its socket: they would be in the way.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import psutil

from llmlab.processes import orphaned_workers, stop_gracefully


def main() -> None:
    socket, *command = sys.argv[1:]
    nginx = os.path.realpath(command[0])
    stop_gracefully(one for one in orphaned_workers(Path.cwd()) if _is(one, nginx))
    Path(socket).unlink(missing_ok=True)
    os.execv(command[0], [*command, "-g", "daemon off;"])


def _is(process: psutil.Process, program: str) -> bool:
    """The gateway's own workers are of another NGINX."""
    with contextlib.suppress(psutil.Error):
        return bool(process.exe() == program)
    return False


if __name__ == "__main__":
    main()
