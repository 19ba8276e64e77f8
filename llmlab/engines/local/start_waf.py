"""Start the WAF's NGINX in the foreground: python -m llmlab.engines.local.start_waf SOCKET NGINX

Behind it stand NGINX's own options.

What a master that was killed hard has left is its workers and its socket. This one goes on with
that socket; where it cannot be had, it is in the way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmlab.inheriting import hand_on, paths
from llmlab.processes import orphaned_workers, runs_program, stop_gracefully


def main() -> None:
    socket, *command = sys.argv[1:]
    # The gateway's own workers are of another NGINX.
    orphans = [one for one in orphaned_workers(Path.cwd()) if runs_program(one, command[0])]
    handed = hand_on(orphans)
    stop_gracefully(orphans)
    if Path(socket).resolve() not in paths(handed):
        Path(socket).unlink(missing_ok=True)
    os.execv(command[0], [*command, "-g", "daemon off;"])


if __name__ == "__main__":
    main()
