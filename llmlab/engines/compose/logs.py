"""What the containers of a lab print, under the names that the local engine gives its logs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping

from llmlab.engines.compose.command import Compose
from llmlab.engines.compose.containers import Container
from llmlab.engines.compose.mounts import DEPLOYMENT
from llmlab.engines.follow import lines_of as follow_files
from llmlab.engines.follow import no_logs, readable
from llmlab.shell import run

PATIENCE = 30.0
# `llmapi-1  | text`, with the project in front in some versions, and `_1` in v1.
LINE = re.compile(r"(?P<container>\S+)[-_]\d+ +\| ?(?P<text>.*)")
# They run on this machine itself, under this engine as well.
BESIDE = ("console", "controller", "issuers", "keeper", "scaler")
# Compose clears the line first, terminal or not.
CLEAR = "\x1b[2K"


def log_name(container: Container) -> str:
    """``gateway``, ``api-<deployment>``, or the service's own name."""
    if container.service == "nginx":
        return "gateway"
    name = container.labels.get(DEPLOYMENT)
    _, dot, replica = container.service.partition(".")
    return f"api-{name}{dot}{replica}" if name else container.service


def lines_of(
    compose: Compose, names: Mapping[str, str], *, follow: bool, count: int, only: str
) -> Iterator[str]:
    """``name | line`` for the last ``count`` lines of every log, then, to follow, what comes.

    Args:
        names: service -> name of its log.
        only: a part of the name, or of the service's; or of that of a process that runs beside the
            containers.
    """
    wanted = [service for service, name in names.items() if only in name or only in service]
    if not wanted:
        beside = [one for one in BESIDE if (compose.lab.logs / f"{one}.log").exists()]
        named = [one for one in beside if only in one]
        if not named:
            raise no_logs(only, sorted([*names.values(), *beside]))
        yield from follow_files(compose.lab.logs, follow=follow, count=count, only=named[0])
        return
    options = ["--no-color", "--tail", str(count), *(["--follow"] if follow else [])]
    with subprocess.Popen(
        compose.command("logs", *options, *wanted), cwd=compose.lab.root, text=True,
        errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        try:
            for line in process.stdout or ():
                if found := _read(line, compose.project):
                    service, text = found
                    yield f"{names.get(service, service)} | {text}"
        finally:
            process.terminate()


def last_lines(compose: Compose, service: str) -> str:
    """The end of a service's log, for an error that has to show it."""
    command = compose.command("logs", "--no-color", "--tail", "12", service)
    lines = run(command, timeout=PATIENCE, cwd=compose.lab.root).output.splitlines()
    found = [told for line in lines if (told := _read(line, compose.project))]
    return "\n".join(readable(text) for _, text in found)


def _read(line: str, project: str) -> tuple[str, str] | None:
    """(service, text) of a line; None for what Compose says itself."""
    found = LINE.fullmatch(line.rstrip("\n").replace(CLEAR, ""))
    if found is None:
        return None
    name = found["container"]
    for prefix in (f"{project}-", f"{project}_"):
        name = name.removeprefix(prefix)
    return name, found["text"]
