"""Start NGINX in the foreground: python -m llmlab.gateway.launch NGINX -p PREFIX -c CONF

When a master process is killed hard, its workers live on and hold the port, and
no new master can start. So the workers of the last master are told to finish
what they do and leave, before this process becomes NGINX.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from llmlab.files import write_atomically
from llmlab.lab import METRICS_SOCKET
from llmlab.processes import orphaned_workers, stop_gracefully

# Workers that were told to quit close their listening socket at once.
PORT_FREE_AFTER = 0.2


def main() -> None:
    command = sys.argv[1:]
    prefix = Path(command[command.index("-p") + 1])
    record = prefix / "group"
    with contextlib.suppress(OSError, ValueError):  # no record, or none that says anything
        if orphans := orphaned_workers(int(record.read_text()), Path.cwd()):
            stop_gracefully(orphans)
            time.sleep(PORT_FREE_AFTER)
    # A master that was killed hard has left it, and a new one could not listen there.
    (prefix / METRICS_SOCKET).unlink(missing_ok=True)
    # The supervisor made this process the leader of a group that NGINX's workers will join.
    write_atomically(record, str(os.getpgrp()))
    os.execv(command[0], [*command, "-g", "daemon off;"])


if __name__ == "__main__":
    main()
