"""A tile for each test of a rollout's gate: its estimate beside its bound, and the bets on it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from llmlab.evaluate.gate import parse_gate
from llmlab.evaluate.statistics import Interval, difference_of_samples, difference_of_shares, wilson
from llmlab.rollout.state import Finding, Outcome

WIDTH, SIDE = 300.0, 12.0  # of the picture of a test, in pixels
ROOM = 0.15  # of what is drawn, beyond it on either side
SIGNS = {Outcome.PASS: ("✓", "passes", "good"), Outcome.FAIL: ("✗", "fails", "wrong"),
         Outcome.INCONCLUSIVE: ("…", "not decided", "unsure"),
         Outcome.NONE: ("–", "no answer yet", "unsure")}  # fmt: skip
NAMES = {"errors": "Errors", "text": "Texts", "refused": "Refused", "first_token": "First token",
         "gap": "Longest pause", "cut_off": "Cut off", "invalid": "Wrong format",
         "refusals": "Refusals"}  # fmt: skip
UNJUDGED = ("–", "not judged", "")
POINTS, OF_ANSWERS = "candidate minus stable", "of its answers are slower"
RICH = 100  # of wealth beyond this and beyond what is needed no more is told
EVIDENCE = re.compile(r":? (?:evidence|wealth) [^;]*")  # what the bars say; "wealth": of before


@dataclass(frozen=True)
class Gauge:
    """An estimate, its interval and its bound on one line; places in pixels.

    Args:
        zero: where there is no difference; None where that is no place on this line.
        bound: None where there is none.
        good: from where to where it may lie; None without a bound.
        interval: ``95 % interval``; "" where none is drawn.
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
    interval: str
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
    goes_by: what decides it, beside an interval that is drawn; "" without one.
    """

    title: str
    sign: str
    word: str
    look: str
    samples: str
    gauges: tuple[Gauge, ...]
    bets: tuple[Bet, ...]
    reason: str
    goes_by: str


def tile(found: Finding, *, over: bool = False) -> Tile:
    """
    Args:
        over: its rollout has ended: bets that nobody made will not be made any more.
    """
    figures = found.figures
    sign, word, look = UNJUDGED if "unjudged" in figures else SIGNS[found.outcome]
    if _compares(figures):
        differ = figures["p"] <= figures["level"]
        sign, word, look = ("≠", "they differ", "link") if differ else ("=", "no difference", "")
    reason = found.reason.removeprefix(f"{found.metric}: ")
    gauges, bets = tuple(_gauges(found)), tuple(_bets(figures))
    if bets:
        reason = EVIDENCE.sub("", reason)
    if over and not any(one.share for one in bets):
        bets = ()
    return Tile(
        _title(found.metric), sign, word, look, _samples(figures), gauges, bets,
        reason[:1].upper() + reason[1:],
        _goes_by(found) if any(one.interval for one in gauges) else "",
    )  # fmt: skip


def _compares(figures: Mapping[str, float]) -> bool:
    """Whether it is of ab, which no gate ends."""
    return "p" in figures and "level" in figures


def _goes_by(found: Finding) -> str:
    if found.metric == "text":
        return "The gate goes by this interval."
    if _compares(found.figures):
        return "Whether they differ goes by bets, not by this interval."
    if "fail_wealth" in found.figures:
        return "The gate goes by its bets, not by this interval."
    return ""


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
            most = max(RICH, needed)
            told = f">{most:.0f}" if wealth > most else _short(wealth)
            yield Bet(name, told, _short(needed), round(min(way, 1.0), 3))


def _short(wealth: float) -> str:
    return f"{wealth:.1f}" if wealth < 10 else f"{wealth:,.0f}"


# --- its picture --------------------------------------------------------------------------------


def _gauges(found: Finding) -> Iterator[Gauge]:
    figures = found.figures
    if found.metric == "text":
        yield from _of_texts(figures)
        return
    ab = _compares(figures)
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
    interval: Interval | None = None
    if "above" in figures:
        interval = difference_of_shares(figures["above"], figures["below"], int(n))
    elif not _is_of_pairs(found):
        interval = difference_of_samples((mine, int(n)), (theirs, int(m)))
    yield gauge("", "B minus A" if ab else POINTS, mine - theirs, interval, bound)


def _is_of_pairs(found: Finding) -> bool:
    """Whether both answered the same texts. Without what they have in common, which those of
    before do not tell, their difference has no interval."""
    return found.metric.startswith("pairs ")


def _is_slow(found: Finding) -> bool:
    """Whether its figures are shares of answers slower than a limit, which only its own have."""
    return found.metric.startswith(("latency", "first_token", "gap"))


def _of_texts(figures: Mapping[str, float]) -> Iterator[Gauge]:
    for name in dict.fromkeys(key.rpartition(":")[0] for key in figures if ":" in key):
        estimate = figures.get(f"{name}:estimate")
        if estimate is None:
            continue
        (condition,) = parse_gate(name).conditions
        # Without its level, which those of before do not tell, it would be drawn as another one.
        ends = [figures.get(f"{name}:{which}") for which in ("low", "high", "level")]
        told = [one for one in ends if one is not None]
        interval = Interval(*told) if len(told) == len(ends) else None
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
    which = f"{100 * interval.level:.4g} % interval" if interval else ""
    said = f"{told(estimate)} {means}".rstrip()
    if ends:
        said += f", {which} {told(ends[0])} to {told(ends[1])}"
    return Gauge(
        name, means, at(estimate), at(ends[0]) if ends else None, at(ends[1]) if ends else None,
        None if zero is None else at(zero), limit, good, told(estimate), may_be,
        which, said + (f"; it may be {may_be}" if may_be else ""),
    )  # fmt: skip
