"""A model elsewhere: what llmlab adds to the way there, beside NGINX's plain ``proxy_pass``.

Three things are measured: the time of a request when there are few, the requests a second when
there are many, and what becomes of the events of 500 streams at once. Both ways take turns.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.asking import ask
from benchmarks.figures import percentile
from benchmarks.talk import Answer
from benchmarks.targets import Judgement
from benchmarks.ways import Cpu, Way, Ways, spent

Say = Callable[[str], None]
CLIENTS = 64  # of a closed loop that saturates
STREAMS = 500
RAMP = 2.5  # seconds in which they begin
GAP = 0.01  # seconds between two requests of the one client of a low load
LATE = 0.020  # seconds
QUESTION = "Why put a gateway before a model? " * 4


@dataclass(frozen=True)
class Pace:
    """How long everything takes, in seconds.

    Args:
        paces: tokens/s of each of the streams; the first one is what the target is about.
    """

    rounds: int
    low: float
    saturated: float
    streams: float
    paces: Sequence[float]


FULL = Pace(rounds=5, low=4.0, saturated=5.0, streams=5.0, paces=(100, 20, 10, 5, 2))
QUICK = Pace(rounds=1, low=2.0, saturated=2.0, streams=4.0, paces=(10,))


@dataclass(frozen=True)
class Events:
    """What became of the events of many streams at once. Times in milliseconds.

    Args:
        pace: tokens/s of each of them.
        rate: events/s that came, of all of them.
        broken: streams that did not end as they should.
        lost, merged: events that never came, and those that came twice or in another order.
        p50, p99: of how late they were.
    """

    pace: float
    rate: float
    broken: int
    lost: int
    merged: int
    p50: float
    p99: float


def events_of(answers: Sequence[Answer], pace: float, tokens: int) -> Events:
    """Of streams that should have so many tokens each."""
    came = [stamp for one in answers for stamp in one.stamps]
    late = [arrived - sent for _, sent, arrived in came] or [float("inf")]
    begin = min(one.start for one in answers)
    until = max((arrived for _, _, arrived in came), default=begin + 1)
    lost = sum(tokens - len({number for number, _, _ in one.stamps}) for one in answers)
    merged = 0
    for one in answers:
        numbers = [number for number, _, _ in one.stamps]
        merged += sum(a != b for a, b in zip(numbers, sorted(set(numbers)), strict=False))
        merged += len(numbers) - len(set(numbers))
    return Events(
        pace=pace, rate=len(came) / (until - begin),
        broken=sum(not one.done or one.status != 200 for one in answers),
        lost=lost, merged=merged,
        p50=1000 * percentile(late, 50), p99=1000 * percentile(late, 99),
    )  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Of a closed loop. ``cpu`` in milliseconds an answer, by who used them."""

    answers: float
    failed: int
    cpu: Mapping[str, float]


@dataclass
class Found:
    """All rounds of one way. Times of requests in milliseconds."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    rates: list[Rate] = field(default_factory=list)
    events: list[Events] = field(default_factory=list)

    def lateness(self, pace: float) -> list[Events]:
        return [one for one in self.events if one.pace == pace]


def measure(ways: Ways, pace: Pace, deadline: float, say: Say) -> dict[str, Found]:
    """All rounds: the first in any case, further ones while there is time."""
    both = {"llmlab": ways.far, "plain": ways.plain}
    found = {name: Found() for name in both}
    for way in both.values():
        _closed(way, ways, 1.0)  # connections and caches
    took = 0.0
    for number in range(pace.rounds):
        begin = time.monotonic()
        if number and begin + took > deadline:
            break
        for name, way in both.items():
            _low(way, pace.low, found[name])
        for name, way in both.items():
            found[name].rates.append(_closed(way, ways, pace.saturated))
        for name, way in both.items():
            for each in pace.paces:
                found[name].events.append(_streams(way, each, pace.streams))
        took = time.monotonic() - begin
        rates = ", ".join(f"{name} {one.rates[-1].answers:.0f}/s" for name, one in found.items())
        say(f"upstream, round {number + 1}: {rates}  {took:.0f} s")
    return found


def _low(way: Way, seconds: float, found: Found) -> None:
    answers = ask(way.task([_question()], clients=1, gap=GAP, seconds=seconds))
    took = [1000 * (one.end - one.start) for one in answers if one.status == 200]
    found.p50.append(percentile(took, 50))
    found.p99.append(percentile(took, 99))


def _closed(way: Way, ways: Ways, seconds: float) -> Rate:
    def used() -> Cpu:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = {"load generator": {0: children.ru_utime + children.ru_stime}}
        return way.cpu() | ways.cpu_of_provider() | own

    before = used()
    answers = ask(way.task([_question()], clients=CLIENTS, seconds=seconds))
    well = [one for one in answers if one.status == 200]
    span = max(one.end for one in well) - min(one.start for one in well)
    cpu = {name: 1000 * value / len(well) for name, value in spent(before, used()).items()}
    return Rate(len(well) / span, len(answers) - len(well), cpu)


def _streams(way: Way, pace: float, seconds: float) -> Events:
    # What the provider is asked is how fast it is to write.
    tokens = max(5, round(pace * seconds))
    body = {
        "messages": [{"role": "user", "content": f"{pace:g}"}], "stream": True,
        "max_tokens": tokens,
    }  # fmt: skip
    return events_of(ask(way.task([body], clients=STREAMS, rounds=1, ramp=RAMP)), pace, tokens)


def _question() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": QUESTION}]}


def judged(found: Mapping[str, Found]) -> list[Judgement]:
    """The targets."""
    here, plain = found["llmlab"], found["plain"]
    p50 = median(a - b for a, b in zip(here.p50, plain.p50, strict=True))
    p99 = median(a - b for a, b in zip(here.p99, plain.p99, strict=True))
    rate = median(one.answers for one in here.rates)
    pace = here.events[0].pace
    events = here.lateness(pace)
    late = median(one.p99 for one in events)
    wrong = sum(one.broken + one.lost + one.merged for one in here.events)
    streams = f"{STREAMS} streams"
    return [
        Judgement("added latency at low load, p50, ms", "≤ 3", p50, p50 <= 3),
        Judgement("added latency at low load, p99, ms", "≤ 15", p99, p99 <= 15),
        Judgement("whole answers/s", "≥ 1500", rate, rate >= 1500),
        Judgement(f"{streams}: events lost, merged or broken off", "≤ 0", wrong, wrong == 0),
        Judgement(f"{streams} of {pace:g} tokens/s: ms that events are late, p99",
                  f"≤ {1000 * LATE:g}", late, late <= 1000 * LATE),
    ]  # fmt: skip
