"""What the verbs of `llmlab rollout` start from, and what they say at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from llmlab.cli.output import Format, err, print_json
from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.rollout.planning import Known
    from llmlab.rollout.state import Rollout
    from llmlab.rollout.verbs import Desk
    from llmlab.rollout.view import View


def desk_of(session: Session, say: Callable[[str], None], route: str = "") -> Desk:
    """Where verbs are done, on the session's lab."""
    from llmlab.rollout.process import start_controller
    from llmlab.rollout.running import RunningLab
    from llmlab.rollout.store import Rollouts
    from llmlab.rollout.verbs import Desk

    lab = session.lab()
    return Desk(Rollouts(lab), RunningLab(lab), lambda: start_controller(lab), say, route=route)


def known_of(session: Session) -> Known:
    """What the running lab has, and its models.

    Raises:
        UpstreamError: it does not run.
    """
    from llmlab.config import read_config
    from llmlab.engines.record import Record
    from llmlab.errors import UpstreamError
    from llmlab.rollout.planning import Known

    lab = session.lab()
    record = Record.read(lab)
    if record is None:
        raise UpstreamError("the lab does not run", fix="llmlab up")
    config = read_config(lab.config_file, environ=os.environ).config
    return Known(record.plan(), session.catalogue(config), lab.root)


def view_of(session: Session, route: str = "") -> View:
    """The rollout that is under way, or the last one."""
    from llmlab.engines.choice import running_engine
    from llmlab.rollout.store import Rollouts
    from llmlab.rollout.view import gather

    lab = session.lab()
    engine = running_engine(lab)
    return gather(lab, Rollouts(lab), engine.status() if engine else None, time.time(), route)


def tell(session: Session, rollout: Rollout, output: Format) -> None:
    """What a verb has come to."""
    if output is Format.JSON:
        print_json(view_of(session, rollout.route).as_json())
        return
    at = f", step {rollout.step} of {rollout.last_step}" if rollout.step else ""
    err().print(
        f"[bold green]✓[/] rollout {rollout.number}: {rollout.phase}{at} "
        "[dim](llmlab rollout get --watch)[/]",
        highlight=False,
    )


def who() -> str:
    from llmlab.ledger.chain import user

    return user()
