"""Takes what the stable version was asked and has answered, has the candidate answer the same, and
measures both.

The stable API remembers some of its texts for as long as it is told to, again and again; the
candidate's reads copies of them aside, when it has nothing else to do, as those of a shadow.
Nobody waits for either, and no budget is charged.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from llmlab.errors import UpstreamError, unreadable
from llmlab.recording.sampling import LASTS, Sample
from llmlab.rollout.evidence import SLICE, Evidence
from llmlab.rollout.pairs import unit_of
from llmlab.rollout.pairs_gate import measured
from llmlab.rollout.running import FRESH, Running
from llmlab.rollout.state import Rollout
from llmlab.rollout.worst_pair import WorstPair, WorstPairs

ASKED, COPY, ANSWERS = "/shadow/asked", "/shadow/", "/shadow/answers"
AT_ONCE = 30  # texts that the candidate may have and has not answered
WITHIN = 130.0  # seconds; the API itself gives up before
PATIENCE = 2.0  # seconds for what the API has at hand
BUSY = 0.7  # seconds of a tick that it goes on for, at most, if there is more


@dataclass(frozen=True)
class _Asked:
    """What a client asked and got, and until when the candidate may answer it.

    Args:
        by: who it was, until it is copied: neither evidence nor the worst pair has it.
    """

    n: int
    at: float
    subject: str
    text: str
    summary: str
    options: dict[str, Any]
    by: str = ""
    until: float = 0.0


@dataclass
class Pairing:
    """Of one route, in memory: texts are kept nowhere else.

    Args:
        key: of pseudonyms; another one for each process.
        waiting: by the id of the request.
    """

    running: Running
    worst: WorstPairs
    clock: Callable[[], float]
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    renew_at: float = 0.0
    answers_read: int = 0
    waiting: dict[str, _Asked] = field(default_factory=dict)

    def tick(self, rollout: Rollout, evidence: Evidence) -> bool:
        """Take it a little further. Returns whether there is a pair more.

        Raises:
            UpstreamError: one of the two does not say what it should.
        """
        now = self.clock()
        if now >= self.renew_at:
            self.running.remember(
                Sample(
                    deployment=rollout.base.deployment, route=rollout.route,
                    share=100 * rollout.rules.pairs, slice=SLICE, until=now + LASTS,
                    pseudonyms=self.key,
                )
            )  # fmt: skip
            self.renew_at = now + LASTS / 4
        heard, ends = False, time.monotonic() + BUSY
        while self._ask(rollout, evidence, now):
            heard |= self._take_answers(rollout, evidence)
            if time.monotonic() >= ends:
                break
        heard |= bool(self.waiting) and self._take_answers(rollout, evidence)
        late = [name for name, one in self.waiting.items() if now >= one.until]
        for name in late:
            del self.waiting[name]
        evidence.pairs.dropped += len(late)
        return heard

    def end(self) -> None:
        """Nothing is remembered any more."""
        self.running.remember(None)
        self.renew_at, self.answers_read = 0.0, 0
        self.waiting.clear()

    def _ask(self, rollout: Rollout, evidence: Evidence, now: float) -> bool:
        """Have the candidate read what is new, as far as it has time for it now. Returns whether
        there was anything."""
        base, pairs, asked = rollout.base.deployment, evidence.pairs, False
        for one in self._asked(base, pairs.read.get(base, 0)):
            unit, text = unit_of(one.subject, one.at, SLICE), self._digest(one.text)
            if pairs.is_new(unit, text):
                if len(self.waiting) >= AT_ONCE:
                    break
                name = f"pair-{rollout.number}-{one.n}"
                if not self._copy(rollout.candidate.deployment, name, one):
                    break
                self.waiting[name] = _Asked(
                    one.n, one.at, one.subject, one.text, one.summary, {}, until=now + WITHIN
                )
                pairs.meet(unit, text)
                asked = True
            pairs.read[base] = one.n
        return asked

    def _copy(self, candidate: str, name: str, one: _Asked) -> bool:
        """Whether the candidate has taken it. What it finds wrong it never answers."""
        asked, by = {"text": one.text} | one.options, {"X-Subject": one.by} if one.by else {}
        status, body = self.running.ask(
            candidate, COPY, method="POST", body=json.dumps(asked).encode(),
            timeout=PATIENCE, headers={**FRESH, **by, "X-Request-ID": name},
        )  # fmt: skip
        if status != 202:
            return 400 <= status < 500
        try:
            return bool(json.loads(body)["taken"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unexpected(candidate, error) from None

    def _take_answers(self, rollout: Rollout, evidence: Evidence) -> bool:
        candidate, heard = rollout.candidate.deployment, False
        for answer in self._list(candidate, f"{ANSWERS}?after={self.answers_read}", "answers"):
            try:
                name, self.answers_read = str(answer["request_id"]), int(answer["n"])
            except (ValueError, KeyError, TypeError) as error:
                raise _unexpected(candidate, error) from None
            asked = self.waiting.pop(name, None)
            if asked is None:
                continue
            # One that failed is an empty one: whoever asks has nothing in either case.
            self._add(rollout, evidence, asked, str(answer.get("summary", "")))
            heard = True
        return heard

    def _add(self, rollout: Rollout, evidence: Evidence, asked: _Asked, summary: str) -> None:
        pairs = evidence.pairs
        values = measured(asked.text, summary, asked.summary, pairs.bounds).values
        if pairs.add(values):
            self.worst.keep(
                rollout.number, WorstPair(asked.at, asked.text, summary, asked.summary, values)
            )

    def _asked(self, base: str, after: int) -> list[_Asked]:
        found = self._list(base, f"{ASKED}?after={after}", "asked")
        try:
            return [
                _Asked(
                    int(one["n"]), float(one["at"]), str(one["subject"]), str(one["text"]),
                    str(one["summary"]), dict(one["options"]), str(one["by"]),
                )
                for one in found
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise _unexpected(base, error) from None

    def _list(self, deployment: str, path: str, name: str) -> list[dict[str, Any]]:
        status, body = self.running.ask(deployment, path, timeout=PATIENCE)
        if status != 200:
            raise UpstreamError(f"{deployment} tells nothing of pairs: {status}")
        try:
            return list(json.loads(body)[name])
        except (ValueError, KeyError, TypeError) as error:
            raise _unexpected(deployment, error) from None

    def _digest(self, text: str) -> str:
        """Nobody can guess a text by it without the key, which is nowhere written down."""
        return hmac.new(bytes.fromhex(self.key), text.encode(), hashlib.sha256).hexdigest()[:16]


def _unexpected(deployment: str, error: Exception) -> UpstreamError:
    return UpstreamError(f"{deployment} does not tell of pairs as it should: {unreadable(error)}")
