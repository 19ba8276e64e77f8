"""Evidence of a shadow rollout: what the candidate made of copies of clients' requests.

The gateway logs nothing of the copies, and nobody sees their answers; the candidate's API keeps
the newest of them, and what is held against them is asked for the same texts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from llmlab.errors import UpstreamError
from llmlab.rollout import texts
from llmlab.rollout.asking import Answered, Pair, ask
from llmlab.rollout.background import Background
from llmlab.rollout.evidence import Evidence
from llmlab.rollout.running import Running
from llmlab.rollout.state import Rollout

PATH = "/shadow/answers"
AT_ONCE = 10  # copies


def begin(
    rollout: Rollout, evidence: Evidence, running: Running, background: Background, now: float
) -> None:
    """Have the stable deployment asked for the texts of the newest copies, if there are any.

    Raises:
        UpstreamError: the candidate does not say what it made of them.
    """
    copies = _copies(running, rollout.candidate.deployment, evidence.texts.copies)
    if not copies:
        return
    base = rollout.base.deployment
    background.do(
        rollout,
        lambda: [
            Pair(texts.case_of(number, text), answered, ask(running, base, text))
            for number, text, answered in copies[:AT_ONCE]
        ],
        now,
    )


def take_in(rollout: Rollout, evidence: Evidence, pairs: Sequence[Pair]) -> None:
    """Count copies that both have answered, and judge the texts once there are enough."""
    for pair in pairs:
        evidence.texts.copies = max(evidence.texts.copies, int(pair.case.id.rpartition("-")[2]))
        evidence.add_probe(pair.tested.seen, pair.base.seen, ratio=rollout.rules.latency_ratio)
    gate = rollout.rules.text_gate
    if gate:
        answered = [pair for pair in pairs if pair.base.summary is not None]
        evidence.texts.rows += texts.kept_of(texts.rows_of(answered), gate)
        del evidence.texts.rows[texts.COPIES :]
        evidence.texts = texts.look_at_copies(rollout, evidence.texts)


def _copies(running: Running, candidate: str, after: int) -> list[tuple[int, str, Answered]]:
    status, body = running.ask(candidate, f"{PATH}?after={after}")
    if status != 200:
        raise UpstreamError(f"{candidate} does not keep copies: {status}")
    try:
        return [
            (
                int(one["n"]), str(one["text"]),
                Answered(
                    candidate, 200 if "summary" in one else 500, float(one["seconds"]),
                    one.get("summary"), bool(one.get("truncated", False)),
                ),
            )
            for one in json.loads(body)["answers"]
        ]  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamError(f"{candidate} does not tell of copies as it should: {error}") from None
