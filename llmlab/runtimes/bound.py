"""Run a program that ends with its parent: python -m llmlab.runtimes.bound PARENT PROGRAM ...

It becomes that program, after it has asked the kernel to kill it once its parent is gone, be it
by ``kill -9``. Elsewhere than on Linux it only becomes that program.

The kernel's parent is a thread: whoever starts this must do so from one that lives as long.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before the kernel was asked
            sys.exit(0)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main()
