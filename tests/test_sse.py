"""Server-sent events are read whole, however the network cuts them."""

from __future__ import annotations

from itertools import pairwise

import hypothesis
import pytest
from hypothesis import strategies

from llmlab.runtimes.sse import LARGEST, Events, TooLarge

STREAM = 'data: {"a": 1}\n\n: a comment\n\ndata: zwölf\ndata:more\n\nevent: x\n\ndata: [DONE]\n\n'
TOLD = ['{"a": 1}', "zwölf\nmore", "[DONE]"]


def read(parts: list[bytes]) -> list[str]:
    events = Events()
    found = [data for part in parts for data in events.feed(part)]
    return [data.decode() for data in [*found, *events.end()]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@hypothesis.given(cuts=strategies.sets(strategies.integers(0, 100)))
def test_events_are_the_same_wherever_the_stream_is_cut(end: str, cuts: set[int]) -> None:
    stream = STREAM.replace("\n", end).encode()
    places = [0, *sorted(cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(places)]
    assert read(parts) == TOLD


def test_a_last_event_without_an_empty_line_is_one() -> None:
    assert read([b"data: a\n\ndata: b"]) == ["a", "b"]
    assert read([b"data: a\n\n"]) == ["a"]


def test_an_event_that_does_not_end_is_refused_before_it_fills_the_memory() -> None:
    events = Events()
    with pytest.raises(TooLarge):
        for _ in range(LARGEST // 65536 + 2):
            events.feed(b"x" * 65536)
