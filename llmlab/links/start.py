"""Start the NGINX of links in the foreground: python -m llmlab.links.start NGINX -p PREFIX
-c CONF ...

It works in its own folder: the gateway's workers may be of the same binary, and each of them is to
find its own orphans alone. What a master that was killed hard has left are its workers and its
sockets; this one goes on with those, and where they cannot be had, they are in the way.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmlab.inheriting import hand_on, paths
from llmlab.links.conf import sockets
from llmlab.processes import orphaned_workers, runs_program, stop_gracefully


def main() -> None:
    command = sys.argv[1:]
    os.chdir(command[command.index("-p") + 1])
    conf = Path(command[command.index("-c") + 1])
    orphans = [one for one in orphaned_workers(Path.cwd()) if runs_program(one, command[0])]
    handed = hand_on(orphans)
    stop_gracefully(orphans)
    for socket in sockets(conf.read_text(encoding="utf-8")):
        if socket.resolve() not in paths(handed):
            socket.unlink(missing_ok=True)
    os.execv(command[0], [*command, "-g", "daemon off;"])


if __name__ == "__main__":
    main()
