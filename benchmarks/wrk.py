"""One turn of wrk, the load generator of what costs little: https://github.com/wg/wrk"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.systems import Failed

SCRIPT = """\
wrk.method = "POST"
wrk.body = [==[{body}]==]
wrk.headers["Authorization"] = "Bearer {secret}"
wrk.headers["Content-Type"] = "application/json"
"""
MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class Turn:
    """Requests/s, and milliseconds to an answer: half of them took no longer."""

    rate: float
    p50: float


def turn(folder: Path, url: str, secret: str, body: Any, clients: int, seconds: int) -> Turn:
    """
    Args:
        folder: for what wrk is told; private, for the secret.

    Raises:
        Failed: a request was not answered well.
    """
    script = folder / "ask.lua"
    script.write_text(SCRIPT.format(body=json.dumps(body), secret=secret))
    done = subprocess.run(
        ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--latency", "-s", str(script), url],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    half = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)
    wrong = "Non-2xx" in done.stdout or "Socket errors" in done.stdout
    if done.returncode or not rate or not half or wrong:
        raise Failed(f"{url}: {done.stdout}{done.stderr}")
    return Turn(float(rate[1]), float(half[1]) * MILLISECONDS[half[2]])
