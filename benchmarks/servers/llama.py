"""llama.cpp's own server, from the same wheel that llmlab's runtime ``llamacpp`` uses, on a port of
loopback and with nothing in front of it."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

from llmlab.runtimes import native


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    for name in ("port", "context", "slots", "threads", "clients"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--kept", type=int, required=True, help="MiB for prompts read before")
    options = parser.parse_args()
    os.environ.setdefault(*native.PASSIVE)  # as llmlab has it
    import xllamacpp

    asked = xllamacpp.CommonParams()
    asked.model.path = str(options.file)
    asked.n_ctx, asked.n_parallel = options.context * options.slots, options.slots
    asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = options.threads
    asked.cache_ram_mib = options.kept
    asked.hostnames, asked.port, asked.ui = ["127.0.0.1"], options.port, False
    asked.n_threads_http = options.clients + 2  # nobody waits for a thread
    asked.offline, asked.verbosity = True, 1
    server = xllamacpp.Server(asked)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
