"""Clients that ask while something else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def meanwhile(ask: Callable[[int, Event], None], clients: int = 4) -> Iterator[None]:
    """So many threads, each with its number, that ask until the body is over.

    Raises:
        AssertionError: one of them ended before; whatever the body made of it came from that.
    """
    over, died = Event(), list[Exception]()

    def asks(number: int) -> None:
        try:
            ask(number, over)
        except Exception as error:
            died.append(error)

    threads = [Thread(target=asks, args=(number,)) for number in range(clients)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()
        if died:
            raise AssertionError(f"{len(died)} of {clients} clients ended early") from died[0]
