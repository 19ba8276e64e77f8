"""Checks of the machine and the lab: one line each, with a way out where something is wrong."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import psutil

from llmlab import models
from llmlab.config import Config
from llmlab.config.load import unknown_variables
from llmlab.engines.local.record import Record
from llmlab.engines.local.supervisor import Supervisor
from llmlab.errors import EnvironmentFailure
from llmlab.gateway import find_nginx
from llmlab.lab import Lab
from llmlab.processes import port_holder, port_is_free

GIB = 1 << 30
NEEDED_DISK, NEEDED_MEMORY = 2 * GIB, 1 * GIB
HUB_PATIENCE = 3.0


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    name: str
    verdict: Verdict
    message: str
    fix: str = ""


def examine(lab: Lab, config: Config, environ: Mapping[str, str]) -> Iterator[Check]:
    """Run every check, one after the other; a check never raises."""
    checks: tuple[Callable[[], Check], ...] = (
        _python,
        lambda: _nginx(config),
        lambda: _port(lab, config),
        lambda: _disk(lab),
        _memory,
        lambda: _keys(lab),
        lambda: _stable_model(lab, config),
        lambda: _hub(config, environ),
        _docker,
        lambda: _variables(config, environ),
    )
    for check in checks:
        yield check()


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info < (3, 11):
        return Check("python", Verdict.FAIL, f"{version} is too old", "install Python 3.11 or newer")
    return Check("python", Verdict.OK, f"{version} at {sys.executable}")


def _nginx(config: Config) -> Check:
    try:
        found = find_nginx(config.gateway.nginx)
    except EnvironmentFailure as error:
        return Check("nginx", Verdict.FAIL, error.message, error.fix or "")
    message = f"{found.version} with auth_jwt and njs, from {found.origin}"
    return Check("nginx", Verdict.OK, message)


def _port(lab: Lab, config: Config) -> Check:
    host, port = config.gateway.host, config.gateway.port
    record = Record.read(lab)
    if record and record.url == config.gateway.url and Supervisor(lab).running():
        return Check("port", Verdict.OK, f"{port} is this lab's gateway")
    if port_is_free(host, port):
        return Check("port", Verdict.OK, f"{port} is free")
    return Check(
        "port", Verdict.FAIL, f"{port} is taken by {port_holder(port)}",
        f"stop it, or llmlab up --port {port + 1}",
    )  # fmt: skip


def _disk(lab: Lab) -> Check:
    free = shutil.disk_usage(lab.root).free
    if free < NEEDED_DISK:
        return Check("disk", Verdict.WARN, f"{free / GIB:.1f} GiB free; a model and its packages "
                     f"need {NEEDED_DISK // GIB}", "free some space")  # fmt: skip
    return Check("disk", Verdict.OK, f"{free / GIB:.0f} GiB free")


def _memory() -> Check:
    free = psutil.virtual_memory().available
    if free < NEEDED_MEMORY:
        return Check("memory", Verdict.WARN, f"{free / GIB:.1f} GiB available; a transformers model "
                     "needs about 1", "stable = \"textrank\" needs 0.1 GiB")  # fmt: skip
    return Check("memory", Verdict.OK, f"{free / GIB:.1f} GiB available")


def _keys(lab: Lab) -> Check:
    try:
        mode = stat.S_IMODE(lab.keys_file.stat().st_mode)
    except FileNotFoundError:
        return Check("keys", Verdict.OK, "none yet; the first `llmlab up` makes one")
    if mode & 0o077:
        return Check("keys", Verdict.FAIL, f"{lab.keys_file} has mode {mode:04o}: others can read it",
                     f"chmod 600 {lab.keys_file} && llmlab keys rotate")  # fmt: skip
    return Check("keys", Verdict.OK, "readable by their owner only")


def _stable_model(lab: Lab, config: Config) -> Check:
    found = models.availability(config.stable, config.models[config.stable], lab.root)
    if found.ready:
        return Check("model", Verdict.OK, f"{config.stable} is on disk")
    instead = f"; {config.fallback} would serve" if config.fallback else ""
    return Check("model", Verdict.WARN, f"{config.stable}: {found.reason}{instead}", found.fix)


def _hub(config: Config, environ: Mapping[str, str]) -> Check:
    if not any(model.source.startswith("hub:") for model in config.models.values()):
        return Check("hub", Verdict.OK, "not needed: no model comes from a hub")
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Check("hub", Verdict.WARN, "HF_HUB_OFFLINE is set: models are not fetched",
                     "unset HF_HUB_OFFLINE")  # fmt: skip
    url = urlsplit(environ.get("HF_ENDPOINT") or "https://huggingface.co")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        socket.create_connection((url.hostname or "", port), HUB_PATIENCE).close()
    except OSError as error:
        return Check("hub", Verdict.WARN, f"{url.geturl()} cannot be reached: {error.strerror or error}",
                     "models on disk and the embedded one work without it")  # fmt: skip
    return Check("hub", Verdict.OK, f"{url.geturl()} answers")


def _docker() -> Check:
    """Docker is optional: the local engine does without."""
    path = shutil.which("docker")
    if not path:
        return Check("docker", Verdict.OK, "not installed, and not needed by the local engine")
    from llmlab.shell import run

    try:
        result = run([path, "version", "--format", "{{.Server.Version}}"], timeout=5)
    except EnvironmentFailure as error:
        return Check("docker", Verdict.OK, f"{error.message}; not needed by the local engine")
    if result.code != 0:
        return Check("docker", Verdict.OK, "no engine answers; not needed by the local engine")
    return Check("docker", Verdict.OK, f"engine {result.output.strip()}")


def _variables(config: Config, environ: Mapping[str, str]) -> Check:
    unknown = unknown_variables(environ, config)
    if unknown:
        return Check("environment", Verdict.WARN, f"{', '.join(unknown)} set nothing",
                     f"unset {' '.join(unknown)}, or correct the spelling")  # fmt: skip
    proxies = [name for name in ("http_proxy", "HTTP_PROXY") if os.environ.get(name)]
    note = f"; {proxies[0]} is ignored for this machine's own lab" if proxies else ""
    return Check("environment", Verdict.OK, f"no unknown LLMLAB_ variables{note}")
