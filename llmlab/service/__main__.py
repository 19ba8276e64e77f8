"""Run one API process: python -m llmlab.service SETTINGS.json [--uds PATH] [--port N]

It listens where it is told to. In a container, the environment variable LLMAPI_SOCKET says the
same as ``--uds``: there whoever looks after it has to know the path as well.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import math
import os
import signal
import socket
import sys
import time
from pathlib import Path

import uvicorn

from llmlab.lab import SETTLEMENTS_SOCKET
from llmlab.recording.order import orders_file
from llmlab.recording.sampling import sample_file
from llmlab.rotation import LOG_BACKUPS, LOG_BYTES, RotatingLog
from llmlab.runtimes.memory import keep_freed_memory
from llmlab.service.app import build_app
from llmlab.service.drill import drill_file
from llmlab.service.settings import SETTLEMENTS, SOCKET, Settings

# sysexits.h EX_CONFIG: a supervisor must not try this again until something changed.
CANNOT_LOAD = 78
NEW_OBJECTS = 20_000  # until the garbage collector looks at them; some 4 MB


class JsonLines(logging.Formatter):
    """One JSON object a line: of a message that is an object (the access log), its fields."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created))}
        if isinstance(record.msg, dict):
            line |= record.msg
        else:
            line |= {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def listening(unix: socket.socket, uds: str, host: str, port: int | None) -> list[socket.socket]:
    """Bind what was asked for: a socket, or that and a port, which uvicorn would not take."""
    with contextlib.suppress(FileNotFoundError):
        Path(uds).unlink()  # of one that was killed
    unix.bind(uds)
    Path(uds).chmod(0o666)  # as uvicorn does: who may come in is a matter of the folder
    return [unix] if port is None else [unix, socket.create_server((host, port))]


def _collect_rarely() -> None:
    """What is there by now stays, so the garbage collector need not look at it again. Most of a
    request goes without it: 700 new objects, Python's own threshold, are three requests, and a
    tenth of the time of an answer that is passed on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)


def main() -> None:
    # The first of all, for the lowest number: when a process is killed its files are closed in
    # their order, and this way no connection ends while the next one would still be taken.
    unix = socket.socket(socket.AF_UNIX)
    parser = argparse.ArgumentParser(prog="python -m llmlab.service")
    parser.add_argument("settings", type=Path)
    parser.add_argument("--uds", default=os.environ.get(SOCKET), help="listen on this unix socket")
    parser.add_argument("--port", type=int, help="listen on this TCP port")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--log", type=Path, help="write here, and rotate; default: stdout")
    options = parser.parse_args()
    if not options.uds and options.port is None:
        parser.error(f"nowhere to listen: give --uds or --port, or set {SOCKET}")

    handler: logging.Handler = logging.StreamHandler(sys.stdout)
    if options.log:
        handler = RotatingLog(options.log, maxBytes=LOG_BYTES, backupCount=LOG_BACKUPS)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for noisy in ("httpx2", "transformers", "uvicorn.error"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    failed = False

    def stop() -> None:
        nonlocal failed
        failed = True
        server.should_exit = True

    # uvicorn raises the signal again once it has shut down; that is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))

    settings = Settings.read(options.settings)
    if settings.model.runtime == "ctranslate2":
        keep_freed_memory()
    drill = drill_file(options.settings, settings.deployment)
    beside = Path(options.uds).with_name(SETTLEMENTS_SOCKET) if options.uds else None
    desk = Path(os.environ[SETTLEMENTS]) if os.environ.get(SETTLEMENTS) else beside
    app = build_app(
        settings, on_load_failure=stop, drill=drill, settlements=desk,
        recording=orders_file(options.settings), sample=sample_file(options.settings),
    )  # fmt: skip
    # The gateway keeps idle connections for 60 s; the API must not close them first.
    server = uvicorn.Server(
        uvicorn.Config(
            app, uds=options.uds, host=options.host, port=options.port or 0,
            http="h11", log_config=None, access_log=False,
            server_header=False, proxy_headers=False,
            timeout_keep_alive=75, timeout_graceful_shutdown=math.ceil(settings.service.timeout),
        )
    )  # fmt: skip
    sockets = None
    if options.uds:
        sockets = listening(unix, options.uds, options.host, options.port)
    _collect_rarely()
    server.run(sockets)
    if failed:
        sys.exit(CANNOT_LOAD)


if __name__ == "__main__":
    main()
