"""Start NGINX in the foreground: python -m llmlab.engines.local.start_nginx NGINX -p PREFIX -c CONF

When a master process is killed hard, its workers live on. Where several processes may listen at
one address (`reuseport`), they answer until the new master does, which listens on their own
sockets where that can be had, and are told to leave by who keeps the lab; elsewhere no new master
can start, so they are told to leave before this process becomes NGINX.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from llmlab.engines.budget_counts import set_aside_damaged
from llmlab.inheriting import hand_on, paths
from llmlab.lab import COUNTS_FOLDER, FRONT_SOCKET, METRICS_SOCKET, SETTLEMENTS_SOCKET
from llmlab.network import SHARES_PORTS
from llmlab.processes import orphaned_workers, runs_program, stop_gracefully

# Workers that were told to quit close their listening socket at once.
PORT_FREE_AFTER = 0.2


def main() -> None:
    command = sys.argv[1:]
    prefix = Path(command[command.index("-p") + 1])
    orphans = [one for one in orphaned_workers(Path.cwd()) if runs_program(one, command[0])]
    handed = hand_on(orphans) if SHARES_PORTS else []
    if orphans and not SHARES_PORTS:
        stop_gracefully(orphans)
        time.sleep(PORT_FREE_AFTER)
    # A master that was killed hard has left them, and a new one could not listen there anew.
    for socket in (METRICS_SOCKET, FRONT_SOCKET, Path("..", "api", SETTLEMENTS_SOCKET)):
        if (prefix / socket).resolve() not in paths(handed):
            (prefix / socket).unlink(missing_ok=True)
    for file in set_aside_damaged(prefix / COUNTS_FOLDER):
        print(f"{file}: what it has counted begins anew", file=sys.stderr)
    os.execv(command[0], [*command, "-g", "daemon off;"])


if __name__ == "__main__":
    main()
