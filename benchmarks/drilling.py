"""Every way of going wrong that `llmlab drill` knows, in a lab of two routes, each in a canary of
its own: when does the gate give it back, by what, and with how much of the traffic?

Tests ask whether, and `benchmarks.drills` how soon. Both routes are drilled at the same time, in
one lab, whose clients ask all the while.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from benchmarks.drill_clients import ABOUT, CALLERS, CHAT, LONGER, SUMMARIZE, clients
from llmlab.flags.split import position
from llmlab.lab import Lab
from llmlab.rollout.state import Outcome, Phase, Rollout
from llmlab.rollout.store import Kept, Rollouts

# Runs a verb of llmlab in the lab's folder, and fails if that does.
Ok = Callable[..., object]

CANDIDATES: Mapping[str, str] = {CHAT: "two", SUMMARIZE: "second"}
HALF = 50.0  # percent of the traffic: none may come so far
WITHIN = 600.0  # seconds of a rollout, on a machine that has other things to do
FIRST = 200  # answers of each route before the first: what is usual has to be known

SCRIPTED = """
[models.one]
runtime = "scripted"
source = "embedded:script"
slots = 32

[models.two]
runtime = "scripted"
source = "embedded:script"
slots = 32
"""

# The rules are those that a lab is laid out with, but for their times and:
# - latency by its half, and without a ratio: else it would see first what is wrong with the first
#   token, and would see that a machine on which tests run is shared;
# - numbers alone among what is unsupported: the drill with another language has strange names too;
# - chat has no suite, for its model says again what it is asked, and no pairs: what goes wrong
#   there is to be seen in how the answers come and end that clients get.
LAB = (
    """\
engine = "{engine}"
deploy = ["two", "second"]

[gateway]
port = {port}

[gateway.rate_limit]
enabled = false

[routes]
summarize = "textrank"
chat = "one"

[rollout]
interval = 30
progress_deadline = 590
latency_gate = "p50<=300ms"
chat_gate = ""
pairs = 1
pairs_never = ["chat"]
pairs_gate = "unsupported_numbers<=+0.02 empty<=+0.02 repetition<=+0.05 length<=+0.10 \
language<=+0.05 novelty<=+0.20"

[models.textrank]
runtime = "extractive"
source = "embedded:textrank"

[models.second]
runtime = "extractive"
source = "embedded:textrank"
"""
    + SCRIPTED
)


@dataclass(frozen=True)
class Way:
    """A way of going wrong.

    Args:
        drill: as `llmlab drill` has it, without the deployment.
        seen_by: the metrics of a verdict of which one has to fail.
        what: for people.
        steps: percent; pairs are of what the stable version answers.
        of_one: it meets one of the callers only, who stays with the stable version longest.
    """

    name: str
    what: str
    route: str
    drill: tuple[str, ...]
    seen_by: tuple[str, ...]
    steps: str = "25,50,100"
    of_one: bool = False


FEW = "5,25,50,100"
WAYS = (
    Way("late first token", "0.5 s more for a fifth of the answers", CHAT,
        ("late-first-token", "--seconds", "0.5", "--share", "20"), ("first token p95",)),
    Way("stalls", "a pause of 0.5 s in a fifth of them", CHAT,
        ("stalls", "--seconds", "0.5", "--share", "20"), ("gap p95",)),
    Way("truncated", "a fifth ends after a few words", CHAT,
        ("truncated", "--share", "20"), ("cut off",)),
    Way("refusals", "a fifth", CHAT, ("refusals", "--share", "20"), ("refusals",)),
    Way("errors", "a tenth", CHAT, ("errors", "--share", "10"), ("errors",)),
    Way("crash", "in 5 % of them the process ends", CHAT, ("crash", "--share", "5"), ("errors",)),
    # Of a stream it is the first token that is late; latency has a larger part of alpha.
    Way("slow", "0.5 s more for all", CHAT, ("slow", "--seconds", "0.5"),
        ("latency p50", "first token p95")),
    Way("invented numbers", "for a tenth of the texts, by what they are about", SUMMARIZE,
        ("invent", "--containing", ABOUT), ("pairs unsupported_numbers",), FEW),
    Way("other language", "a fifth of the summaries", SUMMARIZE,
        ("other-language", "--share", "20"), ("pairs language", "pairs novelty"), FEW),
    Way("empty for one topic", "a tenth of the texts", SUMMARIZE,
        ("empty", "--containing", ABOUT), ("pairs empty",), FEW),
    Way("only long texts", "a tenth of them, empty", SUMMARIZE,
        ("empty", "--longer-than", str(LONGER)), ("pairs empty", "text"), FEW),
    Way("only one subject", "one of 20 callers, empty", SUMMARIZE,
        ("empty",), ("pairs empty",), FEW, of_one=True),
    Way("worse text", "all: short, without names, other numbers", SUMMARIZE,
        ("worse-text",), ("text", "pairs unsupported_numbers", "pairs length")),
    Way("repeated", "all, five times over", SUMMARIZE,
        ("repeat",), ("text", "pairs repetition", "pairs length")),
)  # fmt: skip


@dataclass(frozen=True)
class Aborted:
    """What became of a rollout that was given back.

    Args:
        by: the metrics that had failed.
        answers: of the candidate, to clients; ``pairs`` that were compared.
        seconds: since it was started.
        percent: of the traffic, that it had.
        why: the sentence of the verdict.
    """

    by: tuple[str, ...]
    answers: int
    pairs: int
    seconds: float
    percent: float
    why: str


@dataclass(frozen=True)
class Missed:
    """It was not given back."""

    why: str


Found = dict[str, Aborted | Missed]  # by the name of the way


def go_through(lab: Lab, url: str, ok: Ok, ways: Sequence[Way] = WAYS) -> Found:
    """All ways, in a lab that is up by ``LAB``: those of a route one after the other, both routes
    at the same time.

    Returns:
        By name, in the order of ``ways``.
    """
    found: Found = {}
    over = threading.Event()
    with clients(lab, url) as answered:
        _wait(lambda: all(answered[route] >= FIRST for route in CANDIDATES), 120)

        def lane(route: str) -> None:
            for way in ways:
                if way.route == route and not over.is_set():
                    found[way.name] = _go_wrong(lab, ok, way, over)

        with ThreadPoolExecutor(len(CANDIDATES)) as executor:
            lanes = [executor.submit(lane, route) for route in CANDIDATES]
            try:
                for one in as_completed(lanes):
                    one.result()
            finally:
                over.set()  # of what is left where one of them failed
    return {way.name: found[way.name] for way in ways}


def _go_wrong(lab: Lab, ok: Ok, way: Way, over: threading.Event) -> Aborted | Missed:
    candidate, drill = CANDIDATES[way.route], ("drill", *way.drill)
    start = ("rollout", "start", "canary", candidate, "--route", way.route, "--steps", way.steps)
    if not way.of_one:
        ok(*drill, "--deployment", candidate)
        ok(*start)
    else:
        ok(*start)
        ok(*drill, "--deployment", candidate, "--subject", _last_to_move(lab, way.route))
    kept = _ending(lab, way.route, over)
    if not kept.rollout.over:
        ok("rollout", "abort", "--route", way.route)
        _wait(lambda: Rollouts(lab).unfinished(way.route) is None, 60)
    ok("drill", "off", "--deployment", candidate)
    return _told(kept)


def _last_to_move(lab: Lab, route: str) -> str:
    """The caller who stays with the stable version longest: whom the candidate answers itself, of
    them there are no pairs."""

    def salt() -> str:
        split = Rollouts(lab).traffic().route(route).split
        return split.salt if split else ""

    _wait(lambda: bool(salt()), 60)
    return max(CALLERS, key=lambda one: position(f"{salt()}:{one}"))


def _ending(lab: Lab, route: str, over: threading.Event) -> Kept:
    """The rollout once it is over or waits for a person, or as it is when its time, or everybody's,
    is over."""
    ends = time.monotonic() + WITHIN
    while True:
        kept = Rollouts(lab).last(route)
        assert kept
        one = kept.rollout
        late = time.monotonic() >= ends or over.wait(0.1)
        if one.over or one.phase is Phase.PAUSED or late:
            return kept


def _told(kept: Kept) -> Aborted | Missed:
    one, verdict = kept.rollout, kept.rollout.verdict
    if one.phase is not Phase.ABORTED or verdict is None:
        said = verdict.reason if verdict else one.ending
        return Missed(f"{one.phase} with {one.percent:g} %: {said}")
    failed = tuple(found.metric for found in verdict.findings if found.outcome is Outcome.FAIL)
    return Aborted(
        failed, kept.evidence.tested.total.answers, kept.evidence.pairs.pairs,
        one.ended - one.created, _had(one), one.ending,
    )  # fmt: skip


def _had(one: Rollout) -> float:
    """Percent of the traffic at the step that it ended in."""
    return one.share_at(one.step)


def _wait(true: Callable[[], bool], seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= ends:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.1)
