#!/usr/bin/env python3
"""Stands in for a native llama-server: the same server, from the library, told in the same way."""

from __future__ import annotations

import argparse
import os
import signal

import xllamacpp

parser = argparse.ArgumentParser()
for name in ("--model", "--host"):
    parser.add_argument(name, required=True)
for name in ("--ctx-size", "--parallel", "--threads", "--threads-batch"):
    parser.add_argument(name, type=int, required=True)
for name in ("--jinja", "--no-webui", "--embeddings"):
    parser.add_argument(name, action="store_true")
told = parser.parse_args()

asked = xllamacpp.CommonParams()
asked.model.path, asked.hostnames, asked.ui = told.model, [told.host], False
asked.n_ctx, asked.n_parallel, asked.verbosity = told.ctx_size, told.parallel, 1
asked.cpuparams.n_threads = asked.cpuparams_batch.n_threads = told.threads
asked.api_keys = [os.environ["LLAMA_API_KEY"]]
server = xllamacpp.Server(asked)
signal.sigwait({signal.SIGTERM})
