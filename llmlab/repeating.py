"""What a process does again and again, beside whatever else it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from llmlab.errors import LlmlabError


def again_and_again(
    look: Callable[[], None], log: logging.Logger, *, every: float, after_failure: float = 0.0
) -> None:
    """In a thread of its own, which ends with the process and not before: nobody would miss it. A
    look that fails is logged, whatever it failed of, and tried again at the next one.

    Args:
        every: seconds before each look.
        after_failure: seconds more before the next one, where one has failed.
    """

    def run() -> None:
        while True:
            time.sleep(every)
            try:
                look()
            except (LlmlabError, OSError) as error:
                log.error("%s", error)
                time.sleep(after_failure)
            except Exception:
                log.exception("a look failed; it goes on with the next one")
                time.sleep(after_failure)

    threading.Thread(target=run, daemon=True).start()
