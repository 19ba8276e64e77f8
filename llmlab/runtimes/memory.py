"""How this process gets its memory from the system."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

# The parameters of mallopt(3), from glibc's malloc.h.
TRIM_THRESHOLD, MMAP_MAX, ARENA_MAX = -1, -4, -8
MOST = 2**31 - 1


def keep_freed_memory(environ: Mapping[str, str] | None = None) -> bool:
    """Have glibc keep what is freed for what is needed next, in one arena.

    For every layer of every step CTranslate2 takes buffers of many MB and gives them back.
    glibc returns each of them to the system and fetches it anew, page by page: that was a
    third of the time of a T5-small in batches of 16 texts with 4 beams (a sixth in batches
    of 8). Kept in one arena, what one batch frees serves the next, so the process grows to
    what its largest batches need, and no further.

    To be called while there is a single thread: glibc gives each further one an arena that
    is there to stay.

    Returns:
        Whether it is so now: not where somebody has set malloc up by the environment, nor
        with another C library.
    """
    environ = os.environ if environ is None else environ
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # musl, macOS
        return False
    wanted = ((ARENA_MAX, 1), (MMAP_MAX, 0), (TRIM_THRESHOLD, MOST))
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted)
