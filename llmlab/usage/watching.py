"""The lab's keeper adds up the gateway's log while it is there."""

from __future__ import annotations

import logging
from collections.abc import Callable

from llmlab.repeating import again_and_again
from llmlab.usage.store import Books, Since

log = logging.getLogger("llmlab.keeper")
PAUSE = 2.0  # seconds; a log of 10 MB, of which three are kept, has 14,000 requests


def start(books: Books, engine: str, since: Since, more: Callable[[], None] = lambda: None) -> None:
    """Again and again, beside whatever else the process does.

    Args:
        more: what is to be done as often.
    """

    def look() -> None:
        books.take(engine, since)
        more()

    again_and_again(look, log, every=PAUSE)
