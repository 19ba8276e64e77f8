"""Where the time of one request went: its parts in a row, as far as they are known.

The gateway's log has how long they took, and not when each began. That follows from their order:
the gateway reads a request before it asks an API, one try comes after another, and an answer's
first token comes before the others. What cannot be placed so is not drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmlab.delivery.tracing import Traced

LEAST = 0.004  # of the whole: what is shorter is still seen
WHOLE = 1000.0  # units of the drawing


@dataclass(frozen=True)
class Part:
    """Args:
    name: what a person calls it.
    said: what it is, in half a sentence.
    kind: what it is drawn as: gateway, try, failed, queue, model, first or tokens.
    begin, seconds: from the first byte of the request on.
    """

    name: str
    said: str
    kind: str
    begin: float
    seconds: float


@dataclass(frozen=True)
class Drawn:
    """A part, in units of WHOLE."""

    part: Part
    x: float
    width: float


def drawn(one: Traced) -> list[Drawn]:
    """From left to right, the whole request first."""
    total = max(one.timings.total, 1e-9)
    found = []
    for part in parts(one):
        width = max(part.seconds / total, LEAST) * WHOLE
        x = min(part.begin / total * WHOLE, WHOLE - width)
        found.append(Drawn(part, round(max(x, 0.0), 2), round(min(width, WHOLE), 2)))
    return found


def parts(one: Traced) -> list[Part]:
    took, total = one.timings, one.timings.total
    found = [Part("request", "from its first byte to the answer's last one", "gateway", 0.0, total)]
    # NGINX rounds each of its times: together they may come out longer than the whole.
    asked = min(sum(took.upstream), total)
    at = total - asked
    if took.upstream and at > 0:
        found.append(Part("gateway", "reading, judging, routing it", "gateway", 0.0, at))
    last = total
    for number, seconds in enumerate(took.upstream):
        status = one.upstream_status[number] if number < len(one.upstream_status) else ""
        name = f"try {number + 1}" if len(took.upstream) > 1 else "model's API"
        seconds = min(seconds, total - at)
        failed = status[:1] == "5"
        found.append(
            Part(name, f"it answered {status}" if status else "", "failed" if failed else "try",
                 at, seconds)
        )  # fmt: skip
        last, at = at, at + seconds
    if took.upstream:
        found += _inside(one, last, at)
    return found


def _inside(one: Traced, begin: float, end: float) -> list[Part]:
    """Of the try that answered: what its API and its model told."""
    took, answer = one.timings, one.answer
    queue = took.queue
    found = []
    if queue is not None:
        found.append(Part("queue", "until it had its turn", "queue", begin, queue))
    if answer and answer.first is not None:
        first, writing = answer.first, answer.writing or 0.0
        # Once it had its turn; where nobody says when that was, its end is what is known.
        at = begin + queue if queue is not None else max(begin, end - first - writing)
        found.append(Part("first token", "the prompt is read", "first", at, first))
        if writing:
            told = f"{answer.tokens:,} tokens" + (f", {answer.rate:.1f}/s" if answer.rate else "")
            found.append(Part("writing", told, "tokens", at + first, writing))
    elif queue is not None and took.api is not None and took.api > queue:
        rest = min(took.api, end - begin) - queue
        found.append(Part("model", "reading and writing", "model", begin + queue, max(rest, 0.0)))
    return found
