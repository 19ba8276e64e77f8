"""Become a program that gets a signal when its parent ends, however that comes:
python -m llmlab.engines.ray.fated SIGNAL COMMAND...

Linux only, as clusters are: elsewhere the program outlives a parent that was killed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence

SET_PDEATHSIG = 1  # prctl(2)


def fated(command: Sequence[str], number: int) -> list[str]:
    """The argument list that starts a program by this."""
    parent = str(os.getpid())
    module = "llmlab.engines.ray.fated"
    return [sys.executable, "-P", "-m", module, str(int(number)), parent, *command]


def main() -> None:
    number, parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(SET_PDEATHSIG, int(number))
        if os.getppid() != int(parent):  # it has ended before it could be asked for
            sys.exit(0)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
