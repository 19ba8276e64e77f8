"""What the verbs of `llmlab judge` share: who judges, by what, and how he is asked."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmlab.cli.asking import PATIENCE
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.config.judge import Judge as Bounds
    from llmlab.evaluate.suite import Suite
    from llmlab.judging.asking import Cost, Judge, Judged
    from llmlab.judging.calibration import Calibration
    from llmlab.judging.kept import Kept
    from llmlab.judging.known import Pair
    from llmlab.judging.preference import Compared
    from llmlab.judging.rubric import Rubric
    from llmlab.judging.sides import Paired
    from llmlab.judging.whom import Whom


@dataclass(frozen=True)
class Desk:
    """Args:
    running: {deployment: its model's id}
    """

    session: Session
    bounds: Bounds
    rubric: Rubric
    whom: Whom
    running: dict[str, str]

    @property
    def kept(self) -> Kept:
        from llmlab.judging.kept import Kept

        return Kept(self.session.lab())

    def standing(self) -> tuple[Calibration | None, list[str]]:
        """The latest calibration, and why the judge may not judge; nothing if it may."""
        from llmlab.judging.kept import state_of, suite_digest

        latest = self.kept.latest(self.whom.model_id, self.rubric.digest)
        digest_of = suite_digest(self.session.lab().root)
        return latest, state_of(latest, self.bounds, self.rubric.digest, digest_of)

    def allowed_for(self, judged: Iterable[str]) -> Calibration:
        """The calibration by which the judge may judge these deployments.

        Raises:
            GateFailure: it may not judge.
            UsageError: it is one of them.
        """
        from llmlab.judging.kept import refuse_unless_valid
        from llmlab.judging.whom import refuse_itself

        refuse_itself(self.whom, judged, self.running)
        return refuse_unless_valid(self.whom.deployment, *self.standing())

    async def compare(
        self, suite: Suite, sides: tuple[str, str], both: Paired, *, calibrated: Calibration,
        at_least: float | None, concurrency: int, seed: int, done: Callable[[], None],
    ) -> Compared:  # fmt: skip
        """Which of two models the judge prefers.

        Args:
            sides: how they are called.

        Raises:
            UsageError: the judge is one of them, under a name that nobody knew before it answered.
        """
        from llmlab.judging.preference import Compared, JudgedBy
        from llmlab.judging.whom import refuse_itself

        refuse_itself(self.whom, both.models, both.models)
        pairs = list(both.pairs)
        judged, _, cost = await self.ask(
            pairs, seed, concurrency, done, same_is_tie=True, held=calibrated.held
        )
        key = calibrated.key
        by = JudgedBy(
            self.whom.deployment, key.model_id, key.rubric, calibrated.when, key.suite_name,
            key.suite, calibrated.figures.lacks,
        )  # fmt: skip
        return Compared.of(
            by, {"name": suite.name, "digest": suite.digest, "n": len(suite.cases)}, sides,
            judged, missing=both.missing, at_least=at_least, cost=cost,
        )  # fmt: skip

    async def ask(
        self, pairs: Sequence[Pair], seed: int, concurrency: int, done: Callable[[], None], *,
        again: int = 0, same_is_tie: bool = False, held: bool | None = None,
    ) -> tuple[list[Judged], bool, Cost]:  # fmt: skip
        """What the judge says of pairs, whether it could be held to its form, what it took.

        Args:
            held: whether its form is asked for as a JSON schema, as when it was calibrated; None:
                if it takes one.
        """
        from llmlab.judging.asking import judge_all

        async with self._judge(seed, held) as judge:
            judged = await judge_all(
                judge, pairs, concurrency=concurrency, again=again, same_is_tie=same_is_tie,
                done=done,
            )  # fmt: skip
            return judged, judge.held, judge.cost

    @asynccontextmanager
    async def _judge(self, seed: int, held: bool | None) -> AsyncIterator[Judge]:
        from llmlab.client import RetryPolicy
        from llmlab.client.client import AsyncClient
        from llmlab.judging.asking import Judge

        async with AsyncClient(lab=self.session.folder, retry=RetryPolicy(PATIENCE)) as client:
            yield Judge(
                client.chat, self.whom.deployment, self.whom.model_id, self.rubric.text,
                self.whom.price, seed, self.bounds.max_tokens, held is not False,
                held is not None,
            )  # fmt: skip


def desk_of(session: Session) -> Desk:
    """
    Raises:
        ConfigError: the rubric cannot be read.
        UsageError: there is no judge, or it does not run.
        UpstreamError: the lab does not run.
    """
    from llmlab.config import read_config
    from llmlab.engines.record import Record
    from llmlab.errors import UpstreamError
    from llmlab.judging.rubric import read_rubric
    from llmlab.judging.whom import find_judge

    lab = session.lab()
    bounds = read_config(lab.config_file, environ=os.environ).config.judge
    rubric = read_rubric(bounds.rubric, lab.root)
    status, record = session.engine().status(), Record.read(lab)
    if not status.running or record is None:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    running = {one.name: one.model_id for one in status.deployments}
    name = session.deployment(bounds.model) if bounds.model else ""
    whom = find_judge(name, record.plan(), running)
    return Desk(session, bounds, rubric, whom, running)


def load_named(session: Session, name: str) -> tuple[str, Suite]:
    """A suite, and what it is found by from any folder."""
    from pathlib import Path

    from llmlab.evaluate.suite import find_suite, load_suite

    file = find_suite(name, session.lab().root)
    found = str(file.resolve()) if Path(name).is_file() else name
    return found, load_suite(file)
