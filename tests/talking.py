"""Clients that ask while something else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def meanwhile(ask: Callable[[int, Event], None], clients: int = 4) -> Iterator[None]:
    """So many threads, each with its number, that ask until the body is over."""
    over = Event()
    threads = [Thread(target=ask, args=(number, over)) for number in range(clients)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()
