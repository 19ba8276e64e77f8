"""How long `llmlab --help` takes, in seconds: python benchmarks/startup.py

The target is 0.3 s on a quiet machine. The figure beside it is what the interpreter
takes to do nothing, so that machines can be compared.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 15
COMMANDS = {
    "llmlab --help": [sys.executable, "-m", "llmlab", "--help"],
    "python -c pass": [sys.executable, "-c", "pass"],
}


def main() -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(RUNS):  # in turn, so that a busy moment meets both
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - start)
    for name, taken in seconds.items():
        print(f"{name:<16} min {min(taken):.3f}  median {statistics.median(taken):.3f}")


if __name__ == "__main__":
    main()
