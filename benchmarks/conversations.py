"""A language model: chat through the gateway beside llama.cpp's own server with the same model.

Both read the same prompts, each of them once, and write the same number of tokens at most; they
take turns.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.asking import ask
from benchmarks.figures import percentile
from benchmarks.talk import Answer
from benchmarks.targets import Judgement
from benchmarks.ways import Way, Ways

Say = Callable[[str], None]
Key = tuple[str, int]  # way, clients
WORDS = (
    "lamp", "coast", "storm", "harbour", "keeper", "ship", "signal", "tide", "cliff", "engine",
    "letter", "winter", "captain", "island", "market", "bridge", "garden", "teacher", "river",
    "mountain", "village", "train", "forest", "library", "desert", "orchestra",
)  # fmt: skip


@dataclass(frozen=True)
class Pace:
    """
    Args:
        requests: of a visit, by clients.
        tokens: of an answer, at most.
    """

    rounds: int
    requests: Mapping[int, int]
    tokens: int


FULL = Pace(rounds=100, requests={1: 4, 8: 16, 32: 32}, tokens=64)
QUICK = Pace(rounds=1, requests={1: 2, 8: 8, 32: 32}, tokens=16)


@dataclass(frozen=True)
class Talk:
    """One visit: tokens/s of all clients together, and seconds to the first token (median)."""

    rate: float
    first: float
    tokens: int
    failed: int


def talk_of(answers: Sequence[Answer]) -> Talk:
    well = [one for one in answers if one.status == 200 and one.done]
    tokens = sum(one.tokens for one in well)
    span = max(one.end for one in well) - min(one.start for one in well)
    first = percentile((one.first - one.start for one in well), 50)
    return Talk(tokens / span, first, tokens, len(answers) - len(well))


def measure(ways: Ways, pace: Pace, deadline: float, say: Say) -> dict[Key, list[Talk]]:
    """All rounds: the first in any case, further ones while there is time."""
    both = {"llmlab": ways.lab, "llama.cpp": ways.llama}
    for way in both.values():
        ask(way.task(_bodies(-1, 4, 8), clients=4, anew=True))
    found: dict[Key, list[Talk]] = {}
    took = 0.0
    for number in range(pace.rounds):
        begin = time.monotonic()
        if number and begin + took > deadline:
            break
        for clients, requests in pace.requests.items():
            bodies = _bodies(1000 * number + clients, requests, pace.tokens)
            # Who is asked first in a pair changes from round to round.
            for name, way in _turned(both, number):
                talk = talk_of(ask(way.task(bodies, clients=clients, anew=True)))
                found.setdefault((name, clients), []).append(talk)
                say(
                    f"chat, round {number + 1}  {clients:>2} clients  {name:<9} "
                    f"{talk.rate:6.1f} tokens/s  first after {talk.first:.3f} s"
                )
        took = time.monotonic() - begin
    return found


def _turned(both: Mapping[str, Way], number: int) -> list[tuple[str, Way]]:
    pair = list(both.items())
    return pair if number % 2 == 0 else pair[::-1]


def _bodies(seed: int, requests: int, tokens: int) -> list[dict[str, Any]]:
    """Prompts of which no two begin alike, so that none was read before."""
    draw = random.Random(seed)  # noqa: S311  repeatable, not secret
    return [
        {
            "messages": [{"role": "user", "content": f"{' '.join(draw.choices(WORDS, k=8))}: "
                          "write a long story in which each of these words comes up."}],
            "stream": True, "stream_options": {"include_usage": True},
            "temperature": 0, "max_tokens": tokens,
        }
        for _ in range(requests)
    ]  # fmt: skip


def judged(found: Mapping[Key, Sequence[Talk]]) -> list[Judgement]:
    """The targets."""
    judgements = []
    for clients in dict.fromkeys(clients for _, clients in found):
        pairs = list(zip(found["llmlab", clients], found["llama.cpp", clients], strict=True))
        rate = median(here.rate / other.rate for here, other in pairs)
        # What is left of the time that llmlab may take.
        over = median(1000 * (here.first - 1.05 * other.first) for here, other in pairs)
        who = f"{clients} client{'s' if clients > 1 else ''}"
        failed = sum(here.failed + other.failed for here, other in pairs)
        judgements += [
            Judgement(f"{who}: tokens/s, llmlab / llama.cpp", "≥ 0.97", rate, rate >= 0.97),
            Judgement(f"{who}: first token, ms above 1.05 × llama.cpp's", "≤ 5", over, over <= 5),
            Judgement(f"{who}: answers that failed, of both", "≤ 0", failed, failed == 0),
        ]
    return judgements
