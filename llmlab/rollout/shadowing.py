"""Evidence of a shadow rollout: what the candidate made of copies of clients' requests.

The gateway logs nothing of the copies, and nobody sees their answers; the candidate's API keeps
the texts of the newest of them. Both are asked for the same texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmlab.errors import UpstreamError, unreadable
from llmlab.rollout import texts
from llmlab.rollout.asking import Pair, ask_both
from llmlab.rollout.background import Background
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.running import Running
from llmlab.rollout.state import Rollout

PATH = "/shadow/answers"
AT_ONCE = 10  # copies


@dataclass(frozen=True)
class _Copy:
    """A request that the candidate got a copy of, and whether it failed at it."""

    number: int
    text: str
    failed: bool


def begin(
    rollout: Rollout, evidence: Evidence, running: Running, background: Background, now: float
) -> None:
    """Have both asked for the texts of the newest copies, if there are any.

    Raises:
        UpstreamError: the candidate does not say what it made of them.
    """
    copies = _copies(running, rollout.candidate.deployment, evidence.texts.copies)
    if not copies:
        return
    background.do(rollout, lambda: _answered_again(rollout, running, copies[:AT_ONCE]), now)


def _answered_again(rollout: Rollout, running: Running, copies: Sequence[_Copy]) -> list[Pair]:
    """What both make of these texts. The candidate is asked again: the client may have asked for
    a length of its own, and a copy waits until there is nothing else to do."""
    cases = [texts.case_of(one.number, one.text) for one in copies]
    pairs = ask_both(running, cases, rollout.candidate.deployment, rollout.base.deployment)
    return [
        replace(pair, tested=replace(pair.tested, status=500, summary=None))
        if copy.failed
        else pair
        for copy, pair in zip(copies, pairs, strict=True)
    ]


def take_in(rollout: Rollout, evidence: Evidence, pairs: Sequence[Pair]) -> None:
    """Count copies that both have answered, and judge the texts once there are enough."""
    for pair in pairs:
        evidence.texts.copies = max(evidence.texts.copies, texts.number_of(pair.case))
        evidence.add_probe(pair.tested.seen, pair.base.seen)
    gate = rollout.rules.text_gate
    if gate:
        answered = [pair for pair in pairs if pair.base.summary is not None]
        evidence.texts.rows += texts.kept_of(texts.rows_of(answered), gate)
        del evidence.texts.rows[texts.COPIES :]
        evidence.texts = texts.look_at_copies(rollout, evidence.texts)


def _copies(running: Running, candidate: str, after: int) -> list[_Copy]:
    status, body = running.ask(candidate, f"{PATH}?after={after}")
    if status != 200:
        raise UpstreamError(f"{candidate} does not keep copies: {status}")
    try:
        return [
            _Copy(int(one["n"]), str(one["text"]), "summary" not in one)
            for one in json.loads(body)["answers"]
            if not one.get("pair")  # another route's
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamError(
            f"{candidate} does not tell of copies as it should: {unreadable(error)}"
        ) from None
