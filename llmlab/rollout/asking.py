"""What two deployments make of the same text, or answer in the same conversation; asked directly,
past the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmlab.errors import UpstreamError
from llmlab.evaluate import dialect
from llmlab.evaluate.suite import Case
from llmlab.rollout.running import FRESH, Running
from llmlab.rollout.seen import Seen

ANSWERS_WITHIN = 130.0  # seconds; the API itself gives up before


@dataclass(frozen=True)
class Answered:
    """An answer to a text or a conversation; without ``summary`` it failed, with this status (0:
    no answer)."""

    deployment: str
    status: int
    seconds: float
    summary: str | None = None
    truncated: bool = False
    cut_off: bool | None = None

    @property
    def seen(self) -> Seen:
        """As it counts in the evidence."""
        failed = self.summary is None
        return Seen(self.deployment, failed, None if failed else self.seconds)


@dataclass(frozen=True)
class Pair:
    """The answers of the candidate and of what it is held against."""

    case: Case
    tested: Answered
    base: Answered


def ask(running: Running, deployment: str, case: Case) -> Answered:
    """One answer that was not kept from before. One that fails is asked for again, once: a
    version that fails now and then would else fail at one text of many nearly always."""
    first = _ask(running, deployment, case)
    failed = first.summary is None and (first.status == 0 or first.status >= 500)
    return _ask(running, deployment, case) if failed else first


def _ask(running: Running, deployment: str, case: Case) -> Answered:
    path, asked = "/summarize/", {"text": case.text}
    if case.messages:
        path, asked = dialect.PATH, dialect.request(case)
    start = time.perf_counter()
    try:
        status, body = running.ask(
            deployment, path, method="POST", body=json.dumps(asked).encode(),
            timeout=ANSWERS_WITHIN, headers=FRESH,
        )  # fmt: skip
    except UpstreamError:
        status, body = 0, b""
    seconds = time.perf_counter() - start
    if status != 200:
        return Answered(deployment, status, seconds)
    try:
        answer = json.loads(body)
        if case.messages:
            reply = dialect.reply_of(answer)
            return Answered(deployment, status, seconds, reply.text, cut_off=reply.cut_off)
        summary, truncated = str(answer["summary"]), bool(answer["usage"]["truncated"])
    except (ValueError, KeyError, TypeError):
        return Answered(deployment, status, seconds)
    return Answered(deployment, status, seconds, summary, truncated)


def ask_both(
    running: Running,
    cases: Sequence[Case],
    tested: str,
    base: str,
    *,
    goes_on: Callable[[], bool] = lambda: True,
) -> list[Pair]:
    """Both answers to each case, one at a time, each time another one first: a moment in which
    the machine is busy meets both.

    Args:
        goes_on: asked before each text; what is there by then is the result.
    """
    found = []
    for number, case in enumerate(cases):
        if not goes_on():
            break
        order = (tested, base) if number % 2 == 0 else (base, tested)
        answers = {name: ask(running, name, case) for name in order}
        found.append(Pair(case, answers[tested], answers[base]))
    return found
