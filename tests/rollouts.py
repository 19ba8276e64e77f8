"""Rollouts for tests, and a gateway that is played."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlab.errors import LlmlabError, UpstreamError
from llmlab.lab import Lab
from llmlab.rollout.background import Background
from llmlab.rollout.controller import Controller
from llmlab.rollout.machine import Deployed, step
from llmlab.rollout.state import (
    Finding,
    Kind,
    Outcome,
    Paused,
    Phase,
    Rollout,
    Rules,
    Verdict,
    Version,
)
from llmlab.rollout.store import Rollouts

STABLE = Version("base", "base")
CANDIDATE = Version("tuned-2", "tuned:2")
OTHER = Version("other", "other")
RULES = Rules(probe_suite="founding", interval=60.0, progress_deadline=600.0, bake=600.0)


def rollout(kind: Kind = Kind.CANARY, **values: Any) -> Rollout:
    """One that was just begun: ``tuned-2`` beside ``base``; for ab, ``base`` and ``tuned-2``."""
    arms = (STABLE, CANDIDATE) if kind is Kind.AB else (CANDIDATE,)
    one = Rollout(
        1, kind, STABLE, "", arms, configured="base", rules=RULES, started=("tuned-2",),
        percent=0.0 if kind is Kind.CANARY else 20.0, who="ada", created=1000.0, since=1000.0,
    )  # fmt: skip
    return replace(one, **values)


def at(phase: Phase, kind: Kind = Kind.CANARY, **values: Any) -> Rollout:
    """One in this phase; a canary is at its second step."""
    begun = rollout(kind)
    if phase is Phase.STARTING:
        return replace(begun, **values)
    one = step(begun, Deployed(), 1000.0)
    if kind is Kind.CANARY:
        one = replace(one, step=2, percent=25.0)
    more: dict[Phase, dict[str, Any]] = {
        Phase.PAUSED: {"paused": Paused.PERSON},
        Phase.COMPLETING: {"promoted": "" if kind is Kind.SHADOW else "tuned-2"},
        Phase.COMPLETED: {"promoted": "" if kind is Kind.SHADOW else "tuned-2", "ended": 1100.0},
        Phase.ABORTING: {"ending": "because", "promoted": ""},
        Phase.ABORTED: {"ending": "because", "promoted": "", "ended": 1100.0},
    }  # fmt: skip
    return replace(one, phase=phase, **{**more.get(phase, {}), **values})


def verdict(outcome: Outcome, *, samples: int = 40, waiting: bool = True) -> Verdict:
    finding = Finding("errors", outcome, f"errors: {outcome}", {}, waiting)
    if outcome is Outcome.NONE:
        samples, finding = 0, replace(finding, outcome=Outcome.INCONCLUSIVE)
    return Verdict(outcome, f"errors: {outcome}", (finding,), samples)


def line(deployment: str, **values: Any) -> str:
    """A line of the gateway's access log."""
    fields = {
        "request_id": "r", "subject": "ada", "deployment": deployment, "method": "POST",
        "path": "/summarize/", "status": 200, "upstream_status": "200", "upstream_seconds": "0.200",
        "rule": "split", "route": "summarize", "revision": 3, "at": 1000.0, "flags": "",
        "trace_id": "0" * 32, "timing": "",
    }  # fmt: skip
    return json.dumps(fields | values)


@dataclass
class Played:
    """A running lab as a rollout sees it, without one: what it was told is recorded."""

    rollouts: Rollouts
    lines: list[str] = field(default_factory=list)
    revision: int = 0
    up: bool = True
    broken: str = ""  # why `apply` fails
    without: str = ""  # why `apply` leaves the candidate out
    unroutable: str = ""  # why `route` fails
    done: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)  # deployment -> body, or status
    asked: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)

    def alive(self) -> bool:
        return self.up

    def taken(self) -> int:
        return self.revision

    def lacks(self, deployments: Iterable[str]) -> str:
        return self.without if list(deployments) else ""

    def apply(self, say: Any) -> bool:
        say("applying")
        if self.broken:
            raise LlmlabError(self.broken)
        self.done.append("apply")
        return self._take()

    def route(self) -> bool:
        if self.unroutable:
            raise LlmlabError(self.unroutable)
        self.done.append("route")
        return self._take()

    def _take(self) -> bool:
        before, self.revision = self.revision, self.rollouts.traffic().revision
        return before != self.revision

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        begin = int(cursor or len(self.lines))  # "0" is the oldest
        return self.lines[begin:], str(len(self.lines))

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        assert timeout > 0 and method in ("GET", "POST")
        self.asked.append((deployment, path, headers or {}))
        answer = self.answers.get(deployment, "A summary of it all.")
        if callable(answer):
            answer = answer(path, body)
        if answer is None:
            raise UpstreamError(f"{deployment} does not answer")
        if isinstance(answer, int):
            return answer, b"{}"
        if isinstance(answer, dict):
            return 200, json.dumps(answer).encode()
        usage = {"input_tokens": 9, "output_tokens": 5, "windows": 1, "truncated": False}
        return 200, json.dumps({"summary": answer, "usage": usage}).encode()


AT_A_TICK = 20  # lines of a log that `drive` hears of


def drive(root: Path, log: Path) -> None:
    """Drive the rollout of a lab to its end, by the lines of a log, a few at each tick.

    The gateway is a file beside the log that holds the revision which it has taken.
    """
    rollouts = Rollouts(Lab(root))
    lines, taken = log.read_text().splitlines(), log.with_suffix(".taken")

    class Filed(Played):
        def taken(self) -> int:
            return int(taken.read_text() or -1) if taken.exists() else -1

        def _take(self) -> bool:
            before, now = self.taken(), rollouts.traffic().revision
            taken.write_text(str(now))
            return before != now

        def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
            begin = int(cursor or 0)
            return lines[begin : begin + AT_A_TICK], str(min(len(lines), begin + AT_A_TICK))

    with ThreadPoolExecutor(1) as executor:
        running = Filed(rollouts)
        clock = iter(range(10_000, 1_000_000)).__next__
        controller = Controller(
            rollouts, running, Background(running, executor), root, clock, lambda _: None
        )
        for _ in range(200):
            if not controller.tick():
                return
    raise AssertionError("it does not end")
