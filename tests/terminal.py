"""A terminal with the command behind it, for tests of what a person sees and types."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LINES = 24
CTRL_C, CTRL_D = "\x03", "\x04"
_STEPS = re.compile(r"\x1b\[\??([\d;]*)([A-Za-z])|\r|\n|[^\x1b\r\n]+|\x1b")


@dataclass(frozen=True)
class Seen:
    """Args:
    screen: what stands on it in the end, line by line.
    written: all that was sent to it.
    """

    screen: list[str]
    written: str
    code: int


def type_into(
    *arguments: str, cwd: Path, env: Mapping[str, str], columns: int = 80,
    keys: Sequence[tuple[str, str]] = (), seconds: float = 60,
) -> Seen:  # fmt: skip
    """Run the command in a terminal.

    Args:
        keys: what is typed once the screen shows something new that has this in it.
    """
    program = [sys.executable, "-m", "llmlab", *arguments]
    process, terminal = pty.fork()
    if not process:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        os.chdir(cwd)
        sized = {name: value for name, value in env.items() if name not in ("COLUMNS", "LINES")}
        os.execve(program[0], program, sized | {"TERM": "xterm-256color"})
    written, seen, left = "", 0, list(keys)
    deadline = time.monotonic() + seconds
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 0.1)[0]:
                continue
            try:
                piece = os.read(terminal, 1 << 16)
            except OSError:  # nobody has it open any more
                break
            if not piece:
                break
            written += piece.decode(errors="replace")
            if left and left[0][0] in written[seen:]:
                seen = len(written)
                os.write(terminal, left.pop(0)[1].encode())
        else:
            os.kill(process, 9)
            raise TimeoutError(f"llmlab {arguments}: not within {seconds:g} s\n{written}")
    finally:
        os.close(terminal)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return Seen(_screen(written), written, status)


def _screen(written: str) -> list[str]:
    """What is left of it: lines that were drawn over are gone."""
    lines, row, column = [""], 0, 0
    for step in _STEPS.finditer(written):
        count, letter = step[1], step[2]
        if letter == "A":
            row = max(0, row - int(count or 1))
        elif letter == "K":
            lines[row] = "" if count == "2" else lines[row][:column]
        elif step[0] == "\r":
            column = 0
        elif step[0] == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif letter is None:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + step[0] + line[column + len(step[0]) :]
            column += len(step[0])
    return [line.rstrip() for line in lines]
