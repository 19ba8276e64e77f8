"""Takes what the stable version was asked and has answered, has the candidate answer the same, and
measures both.

Each process of the stable API remembers some of what it is asked for as long as it is told to,
again and again; the candidate's reads copies of that aside, when it has nothing else to do, as
those of a shadow. Nobody waits for either, and no budget is charged.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from llmlab.errors import UpstreamError, UsageError, unreadable
from llmlab.evaluate.conversations import Message
from llmlab.evaluate.suite import Case
from llmlab.judging.question import task_of
from llmlab.recording.sampling import LASTS, Sample
from llmlab.rollout.evidence import SLICE, Evidence
from llmlab.rollout.judge_asking import JudgeAsking
from llmlab.rollout.judge_evidence import judged, offer
from llmlab.rollout.pairs import unit_of
from llmlab.rollout.pairs_gate import Ended, measured
from llmlab.rollout.running import FRESH, Running
from llmlab.rollout.state import Rollout
from llmlab.rollout.worst_pair import WorstPair, WorstPairs

ASKED, ANSWERS = "/shadow/asked", "/shadow/answers"
COPY, COPY_OF_CHAT = "/shadow/pair", "/shadow/chat"
NAMED = "pair-"  # how the ids of its requests begin
AT_ONCE = 30  # texts that the candidate may have and has not answered
WITHIN = 130.0  # seconds; the API itself gives up before
PATIENCE = 2.0  # seconds for what the API has at hand
BUSY = 0.7  # seconds of a tick that it goes on for, at most, if there is more


@dataclass(frozen=True)
class Asked:
    """What a client asked and got, and until when the candidate may answer it.

    Args:
        by: who it was, until it is copied: neither evidence nor the worst pair has it.
        ended: how the answer to a conversation did; None of a summary.
        left_out: it was too long, and the API tells nothing else of it.
    """

    process: str
    n: int
    at: float
    subject: str
    text: str
    summary: str
    options: dict[str, Any]
    ended: Ended | None
    by: str = ""
    left_out: bool = False
    until: float = 0.0

    @property
    def body(self) -> bytes:
        """What the candidate is asked."""
        asked = self.options if self.ended else {"text": self.text} | self.options
        return json.dumps(asked).encode()

    @property
    def case(self) -> Case:
        """What a judge is shown of it."""
        if not self.ended:
            return Case("pair", self.text)
        said = (Message(one["role"], _words(one)) for one in self.options["messages"])
        return Case("pair", "", messages=tuple(said))


def _words(message: Mapping[str, Any]) -> str:
    """What one of a conversation's has said, in whatever way its client wrote that."""
    content = message.get("content") or message.get("refusal") or ""
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text") or part.get("refusal") or "") for part in content)


@dataclass
class Pairing:
    """Of one route, in memory: texts are kept nowhere else.

    Args:
        key: of pseudonyms; another one for each process.
        waiting: by the id of the request.
        processes: of the stable version; looked up as often as the order is renewed.
        away: those of them that did not tell, and are left alone until then: each would be waited
            for again and again.
        judge: is asked about the pairs where their gate says so.
    """

    running: Running
    worst: WorstPairs
    clock: Callable[[], float]
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    renew_at: float = 0.0
    answers_read: int = 0
    waiting: dict[str, Asked] = field(default_factory=dict)
    processes: list[str] = field(default_factory=list)
    away: set[str] = field(default_factory=set)
    judge: JudgeAsking | None = None

    def tick(self, rollout: Rollout, evidence: Evidence) -> bool:
        """Take it a little further. Returns whether there is anything new to be written down: it
        may be all that happens for long.

        Raises:
            UpstreamError: one of the two does not say what it should.
            UsageError: lab.toml says by now that nothing of this route is paired.
        """
        now = self.clock()
        if now >= self.renew_at:
            self._refuse_never(rollout)
        heard = judged(self.judge, rollout, evidence, self.worst)
        if now >= self.renew_at:
            self.running.remember(
                rollout.route,
                Sample(
                    deployment=rollout.base.deployment, route=rollout.route,
                    share=100 * rollout.rules.pairs, slice=SLICE, until=now + LASTS,
                    pseudonyms=self.key,
                ),
            )  # fmt: skip
            self.processes = self.running.processes(rollout.base.deployment)
            self.away.clear()
            self.renew_at = now + LASTS / 4
        ends = time.monotonic() + BUSY
        while self._ask(rollout, evidence, now):
            heard = True
            self._take_answers(rollout, evidence, ends)
            if time.monotonic() >= ends:
                break
        else:
            heard |= bool(self.waiting) and self._take_answers(rollout, evidence, ends)
        late = [name for name, one in self.waiting.items() if now >= one.until]
        for name in late:
            del self.waiting[name]
        evidence.pairs.dropped += len(late)
        return heard or bool(late)

    def _refuse_never(self, rollout: Rollout) -> None:
        """Somebody may have forbidden it since the rollout began: then even what waits is
        forgotten, and no judge is shown any more of it."""
        if path := self.running.never_paired(rollout.route):
            self.end(rollout.route)
            raise UsageError(f"{path} names {rollout.route}", fix=f"llmlab config show {path}")

    def end(self, route: str) -> None:
        """Nothing is remembered of this route any more."""
        self.running.remember(route, None)
        self.renew_at, self.answers_read = 0.0, 0
        self.waiting.clear()
        if self.judge:
            self.judge.end()

    def _ask(self, rollout: Rollout, evidence: Evidence, now: float) -> bool:
        """Have the candidate read what is new, as far as it has time for it now. Returns whether
        there was anything."""
        pairs, asked = evidence.pairs, False
        for one in self._asked(rollout.route, pairs.read):
            if one.left_out:
                pairs.dropped += 1
                pairs.read[one.process], asked = one.n, True
                continue
            unit, text = unit_of(one.subject, one.at, SLICE), self._digest(one.text)
            if pairs.is_new(unit, text):
                if len(self.waiting) >= AT_ONCE:
                    break
                name = f"{NAMED}{rollout.number}-{self.processes.index(one.process)}-{one.n}"
                taken = self._copy(rollout, name, one)
                if taken is False:
                    break
                if taken:
                    self.waiting[name] = replace(one, by="", until=now + WITHIN)
                else:
                    pairs.miss()
                pairs.meet(unit, text)
                asked = True
            pairs.read[one.process] = one.n
        return asked

    def _copy(self, rollout: Rollout, name: str, one: Asked) -> bool | None:
        """Whether the candidate has taken it; None for never, as it finds something wrong."""
        candidate = rollout.candidate.deployment
        by = {"X-Subject": one.by} if one.by else {}
        status, body = self.running.ask(
            candidate, COPY_OF_CHAT if one.ended else COPY, method="POST", body=one.body,
            timeout=PATIENCE,
            headers={**FRESH, **by, "X-Request-ID": name, "X-Route": rollout.route},
        )  # fmt: skip
        if status != 202:
            return None if 400 <= status < 500 else False
        try:
            return bool(json.loads(body)["taken"])
        except (ValueError, KeyError, TypeError) as error:
            raise _unexpected(candidate, error) from None

    def _take_answers(self, rollout: Rollout, evidence: Evidence, ends: float) -> bool:
        """Take in what the candidate has answered, or some of it: one at least, and no more after
        that time. The rest is there at the next tick."""
        candidate, heard = rollout.candidate.deployment, False
        for answer in self._list(candidate, f"{ANSWERS}?after={self.answers_read}", "answers"):
            try:
                name, self.answers_read = str(answer["request_id"]), int(answer["n"])
            except (ValueError, KeyError, TypeError) as error:
                raise _unexpected(candidate, error) from None
            # A client may call a request of its own as one of these, and a shadow gets a copy.
            asked = self.waiting.pop(name, None) if answer.get("pair") else None
            if asked is None:
                continue
            heard = True
            # What the stable version failed is not remembered, so it would not be held against it.
            if answer.get("left_out") or "error" in answer:
                evidence.pairs.miss()
                continue
            try:
                summary = str(answer["summary"])
                ended = Ended.parse(answer["ended"]) if "ended" in answer else None
            except (ValueError, KeyError) as error:
                raise _unexpected(candidate, error) from None
            self._add(rollout, evidence, asked, summary, ended)
            if time.monotonic() >= ends:
                break
        return heard

    def _add(
        self,
        rollout: Rollout,
        evidence: Evidence,
        asked: Asked,
        summary: str,
        ended: Ended | None,
    ) -> None:
        pairs, both = evidence.pairs, (ended, asked.ended)
        found = measured(asked.text, summary, asked.summary, pairs.bounds, both)
        pair = WorstPair(asked.at, asked.text, summary, asked.summary, found.values)
        if pairs.add(found.values, found.untold):
            self.worst.keep(rollout.number, pair)
        offer(self.judge, rollout, evidence, pair, task_of(asked.case))

    def _asked(self, route: str, read: Mapping[str, int]) -> list[Asked]:
        """What is new, of all processes that tell, the oldest first.

        Args:
            read: the number of the newest that was taken over from each.

        Raises:
            UpstreamError: none of them tells; of some, the others are enough.
        """
        found: list[Asked] = []
        told, failed = 0, None
        for process in [one for one in self.processes if one not in self.away] or self.processes:
            try:
                found += self._asked_of(process, route, read.get(process, 0))
                told += 1
            except UpstreamError as error:
                self.away.add(process)
                failed = error
        if failed and not told:
            raise failed
        return sorted(found, key=lambda one: one.at)

    def _asked_of(self, process: str, route: str, after: int) -> list[Asked]:
        found = self._list(process, f"{ASKED}?route={route}&after={after}", "asked")
        try:
            return [
                Asked(
                    process, int(one["n"]), float(one["at"]), str(one["subject"]),
                    str(one["text"]), str(one["summary"]), dict(one["options"]),
                    None if one.get("ended") is None else Ended.parse(one["ended"]),
                    str(one["by"]), left_out=bool(one.get("left_out")),
                )
                for one in found
            ]  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise _unexpected(process, error) from None

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
