"""A tile for each test of a rollout's gate: its estimate beside its bound, and the bets on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.statistics import Interval, difference_of_samples, wilson
from llmlab.rollout.state import Finding, Outcome

WIDTH, SIDE = 300.0, 12.0  # of the picture of a test, in pixels
ROOM = 0.15  # of what is drawn, beyond it on either side
SIGNS = {Outcome.PASS: ("✓", "passes", "good"), Outcome.FAIL: ("✗", "fails", "wrong"),
         Outcome.INCONCLUSIVE: ("…", "not decided", "unsure"),
         Outcome.NONE: ("–", "no answer yet", "unsure")}  # fmt: skip
NAMES = {"errors": "Errors", "text": "Texts", "refused": "Refused", "first_token": "First token",
         "gap": "Longest pause", "cut_off": "Cut off", "invalid": "Wrong format",
         "refusals": "Refusals"}  # fmt: skip
POINTS, OF_ANSWERS = "candidate less stable", "of its answers are slower"


@dataclass(frozen=True)
class Gauge:
    """An estimate, its 95 % interval and its bound on one line; places in pixels.

    Args:
        zero: where there is no difference; None where that is no place on this line.
        bound: None where there is none.
        good: from where to where it may lie; None without a bound.
        words: estimate, interval and bound, for those who do not see the picture.
    """

    name: str
    means: str
    estimate: float
    low: float | None
    high: float | None
    zero: float | None
    bound: float | None
    good: tuple[float, float] | None
    at: str
    at_bound: str
    words: str


@dataclass(frozen=True)
class Bet:
    """What the bets for or against a candidate had come to. ``share`` of the way, by logarithms."""

    name: str
    wealth: str
    needed: str
    share: float


@dataclass(frozen=True)
class Tile:
    """Args:
    samples: what it rests on, in words; "" where that is not counted.
    """

    title: str
    sign: str
    word: str
    look: str
    samples: str
    gauges: tuple[Gauge, ...]
    bets: tuple[Bet, ...]
    reason: str


def tile(found: Finding) -> Tile:
    figures = found.figures
    sign, word, look = SIGNS[found.outcome]
    if "p" in figures and "level" in figures:  # of ab, which no gate ends
        differ = figures["p"] <= figures["level"]
        sign, word, look = ("≠", "they differ", "link") if differ else ("=", "no difference", "")
    reason = found.reason.removeprefix(f"{found.metric}: ")
    return Tile(
        _title(found.metric), sign, word, look, _samples(figures), tuple(_gauges(found)),
        tuple(_bets(figures)), reason[:1].upper() + reason[1:],
    )  # fmt: skip


def _title(metric: str) -> str:
    kind, _, rest = metric.partition(" ")
    if kind == "pairs":
        return f"Pairs: {rest.replace('_', ' ')}"
    first, colon, quantile = kind.partition(":")
    more = quantile if colon else rest
    return f"{NAMES.get(first, first.replace('_', ' ').capitalize())} {more}".strip()


def _samples(figures: Mapping[str, float]) -> str:
    match figures:
        case {"candidate_n": mine, "stable_n": theirs}:
            return f"{mine:,.0f} answers of the candidate, {theirs:,.0f} of the stable version"
        case {"a_n": a, "b_n": b}:
            return f"{a:,.0f} answers of A, {b:,.0f} of B"
        case {"n": n, "alpha": _}:
            return f"{n:,.0f} texts"
        case {"n": n}:
            return f"{n:,.0f} pairs"
    return ""


def _bets(figures: Mapping[str, float]) -> Iterator[Bet]:
    for which, name in (("pass", "For it"), ("fail", "Against it")):
        if f"{which}_wealth" in figures:
            wealth, needed = figures[f"{which}_wealth"], figures[f"{which}_at"]
            way = math.log(max(wealth, 1.0)) / math.log(needed) if needed > 1 else 1.0
            yield Bet(name, _short(wealth), _short(needed), round(min(way, 1.0), 3))


def _short(wealth: float) -> str:
    return "10⁶+" if wealth >= 1e6 else f"{wealth:.1f}" if wealth < 10 else f"{wealth:.0f}"


# --- its picture --------------------------------------------------------------------------------


def _gauges(found: Finding) -> Iterator[Gauge]:
    figures = found.figures
    if found.metric == "text":
        yield from _of_texts(figures)
        return
    ab = "a" in figures
    if ab:
        mine, theirs = figures["b"], figures["a"]
        n, m = figures.get("b_n", figures.get("n", 0)), figures.get("a_n", figures.get("n", 0))
    elif "candidate" in figures:
        mine, theirs = figures["candidate"], figures["stable"]
        n, m = (figures.get(key, figures.get("n", 0)) for key in ("candidate_n", "stable_n"))
    else:
        return
    if not n or not m:
        return
    bound = figures.get("margin")
    if _is_slow(found) and not ab:
        yield gauge("", OF_ANSWERS, mine, wilson(mine * n, int(n)), bound, zero=None, signed=False)
        return
    interval = difference_of_samples((mine, int(n)), (theirs, int(m)))
    yield gauge("", "B less A" if ab else POINTS, mine - theirs, interval, bound)


def _is_slow(found: Finding) -> bool:
    """Whether its figures are shares of answers slower than a limit, which only its own have."""
    return found.metric.startswith(("latency", "first_token", "gap"))


def _of_texts(figures: Mapping[str, float]) -> Iterator[Gauge]:
    for name in dict.fromkeys(key.rpartition(":")[0] for key in figures if ":" in key):
        estimate = figures.get(f"{name}:estimate")
        if estimate is None:
            continue
        (condition,) = parse_gate(name).conditions
        low, high = figures.get(f"{name}:low"), figures.get(f"{name}:high")
        interval = None if low is None or high is None else Interval(low, high, 0.95)
        yield gauge(
            name, "", estimate, interval, condition.bound, zero=None, percent=False,
            at_least=condition.at_least,
        )  # fmt: skip


def gauge(
    name: str, means: str, estimate: float, interval: Interval | None, bound: float | None, *,
    zero: float | None = 0.0, at_least: bool = False, percent: bool = True, signed: bool = True,
) -> Gauge:  # fmt: skip
    """
    Args:
        estimate: a share if ``percent``, told in points if ``signed`` and else in percent.
        at_least: the bound is one from below.
    """
    ends = [interval.low, interval.high] if interval else []
    shown = [one for one in (*ends, estimate, bound, zero) if one is not None]
    low, high = min(shown), max(shown)
    room = ROOM * (high - low) or 0.1 * abs(high) or 0.1
    low, high = low - room, high + room

    def at(value: float) -> float:
        return round(SIDE + (value - low) / (high - low) * (WIDTH - 2 * SIDE), 1)

    def told(value: float) -> str:
        if not percent:
            return f"{value:.3g}"
        return f"{100 * value:+.1f} points" if signed else f"{100 * value:.1f} %"

    limit = None if bound is None else at(bound)
    good = None if limit is None else (limit, WIDTH - SIDE) if at_least else (SIDE, limit)
    may_be = "" if bound is None else f"at {'least' if at_least else 'most'} {told(bound)}"
    said = f"{told(estimate)}, interval {told(ends[0])} to {told(ends[1])}" if ends else (
        told(estimate)
    )  # fmt: skip
    return Gauge(
        name, means, at(estimate), at(ends[0]) if ends else None, at(ends[1]) if ends else None,
        None if zero is None else at(zero), limit, good, told(estimate), may_be,
        said + (f"; it may be {may_be}" if may_be else ""),
    )  # fmt: skip
