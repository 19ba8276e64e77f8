"""The spans that a summary copies from its source (Grusky, Naaman and Artzi 2018)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fragment:
    """``length`` words of the summary from ``start`` on that stand so in the source."""

    start: int
    length: int


def fragments(source: Sequence[Hashable], summary: Sequence[Hashable]) -> Iterator[Fragment]:
    """From left to right, the longest span at each place, then on behind it.

    The source becomes an automaton of its spans, so time and memory grow with the words and
    not with their product.
    """
    automaton = _Automaton(source)
    at = 0
    while at < len(summary):
        length = automaton.match(summary, at)
        if length:
            yield Fragment(at, length)
        at += max(length, 1)


class _Automaton:
    """The suffix automaton of a sequence (Blumer et al. 1985): it accepts exactly its spans."""

    def __init__(self, sequence: Sequence[Hashable]) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._length = [0]
        self._link = [-1]
        last = 0
        for symbol in sequence:
            last = self._extend(last, symbol)

    def match(self, symbols: Sequence[Hashable], start: int) -> int:
        """How many symbols from ``start`` on form a span of the sequence."""
        state, at = 0, start
        while at < len(symbols):
            following = self._next[state].get(symbols[at])
            if following is None:
                break
            state, at = following, at + 1
        return at - start

    def _extend(self, last: int, symbol: Hashable) -> int:
        new = self._state({}, self._length[last] + 1, 0)
        state = last
        while state != -1 and symbol not in self._next[state]:
            self._next[state][symbol] = new
            state = self._link[state]
        if state != -1:
            self._link[new] = self._target(state, symbol)
        return new

    def _target(self, state: int, symbol: Hashable) -> int:
        """Where the new state's suffix ends; its state is split if it stands for more."""
        old = self._next[state][symbol]
        if self._length[old] == self._length[state] + 1:
            return old
        copy = self._state(dict(self._next[old]), self._length[state] + 1, self._link[old])
        while state != -1 and self._next[state].get(symbol) == old:
            self._next[state][symbol] = copy
            state = self._link[state]
        self._link[old] = copy
        return copy

    def _state(self, following: dict[Hashable, int], length: int, link: int) -> int:
        self._next.append(following)
        self._length.append(length)
        self._link.append(link)
        return len(self._next) - 1
