"""The console's process: ``python -m llmlab.console LAB --socket PATH``."""

from __future__ import annotations

import argparse
import logging
import os
import socket
from pathlib import Path

from llmlab.lab import Lab

BACKLOG = 128
OPEN = 0o666  # to whoever gets into its folder; who is heard there, front_door.py says


def main() -> None:
    parser = argparse.ArgumentParser(prog="llmlab.console")
    parser.add_argument("lab", type=Path)
    parser.add_argument("--socket", type=Path, required=True)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each look at an API
    serve(Lab(given.lab), given.socket)


def serve(lab: Lab, path: Path) -> None:
    """Until it is told to end."""
    import uvicorn

    from llmlab.console import codes
    from llmlab.console.app import build_app
    from llmlab.console.front_door import FrontDoor
    from llmlab.engines.console import active_release

    codes.forget_old(lab)
    listening = listen(path)
    app = FrontDoor(build_app(lab, lambda: active_release(lab)), lab)
    config = uvicorn.Config(
        app, access_log=False, log_config=None,
        server_header=False, date_header=False, timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=32 * 1024,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def listen(path: Path) -> socket.socket:
    """A socket at a path of whatever length: its name may have 107 bytes, its folder's any number.
    Who may open it is a matter of that folder."""
    path.unlink(missing_ok=True)  # of a process that was killed
    listening = socket.socket(socket.AF_UNIX)
    before = os.open(".", os.O_PATH)
    try:
        os.chdir(path.parent)
        listening.bind(path.name)
        Path(path.name).chmod(OPEN)
    finally:
        os.fchdir(before)
        os.close(before)
    listening.listen(BACKLOG)
    return listening


if __name__ == "__main__":
    main()
