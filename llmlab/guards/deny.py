"""Words and patterns that nobody is to say here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from llmlab.guards.base import About, Finding, Guard
from llmlab.guards.escapes import LONGEST, found_in, pending_in
from llmlab.guards.linear import compiled, plain

LABEL = "denied"
LONGEST_PATTERN = 1000  # characters
MOST_SPACES = 8  # between two words of a phrase


class Deny(Guard):
    """
    Args:
        words: found whole, in any case, and with any white space between several.
        patterns: of RE2, as they stand; ``(?i)`` in front of one takes any case.
        longest: characters of a pattern's match.

    Raises:
        ValueError: one is no pattern, or matches nothing at all.
    """

    context, step, quick, labels = LONGEST, 1, True, (LABEL,)

    def __init__(
        self, words: Sequence[str] = (), patterns: Sequence[str] = (), longest: int = 200
    ) -> None:
        self._words = [_compiled(_of_words(word), f"words: {word!r}") for word in words]
        self._patterns = [_compiled(one, f"patterns: {one!r}") for one in patterns]
        of_words = max((len(word) + MOST_SPACES * len(word.split()) for word in words), default=0)
        self.longest = max(of_words, longest if patterns else 0) + 1

    def find(self, text: str, about: About) -> Iterable[Finding]:
        return found_in(text, self._found)

    def pending(self, text: str) -> int:
        return pending_in(text, super().pending)

    def _found(self, text: str) -> Iterator[Finding]:
        text = plain(text)
        for pattern in self._words:
            for start, end in _spans(pattern, text):
                if not (_in_a_word(text, start) or _in_a_word(text, end)):
                    yield Finding(start, end, LABEL)
        for pattern in self._patterns:
            for start, end in _spans(pattern, text):
                yield Finding(start, end, LABEL)


def _of_words(words: str) -> str:
    parts = words.split()
    if not parts:
        raise ValueError("words: one of them is empty")
    return "(?i)" + rf"[\s\p{{Z}}]{{1,{MOST_SPACES}}}".join(re.escape(part) for part in parts)


def _compiled(pattern: str, which: str) -> Any:
    if len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"{which}: has more than {LONGEST_PATTERN} characters")
    try:
        found = compiled(pattern)
    except ValueError as error:
        raise ValueError(f"{which}: is no pattern of RE2 ({error})") from None
    if found.search(""):
        raise ValueError(f"{which}: matches where nothing is, and so everywhere")
    return found


def _spans(pattern: Any, text: str) -> Iterator[tuple[int, int]]:
    for match in pattern.finditer(text):
        start, end = match.span()
        if start < end:
            yield start, end


def _in_a_word(text: str, place: int) -> bool:
    """Whether the characters before and after are of one word."""
    return 0 < place < len(text) and _of_word(text[place - 1]) and _of_word(text[place])


def _of_word(char: str) -> bool:
    return char.isalnum() or char == "_"
