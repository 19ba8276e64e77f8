"""What the verbs of `llmlab rollout` start from, and what they say at the end."""

from __future__ import annotations

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
    from llmlab.rollout.desk import desk_of

    return desk_of(session.lab(), say, route)


def known_of(session: Session) -> Known:
    """What the running lab has, and its models.

    Raises:
        UpstreamError: it does not run.
    """
    from llmlab.rollout.desk import known_of

    return known_of(session.lab())


def view_of(session: Session, route: str = "") -> View:
    """The rollout that is under way, or the last one."""
    from llmlab.rollout.desk import status_of, view_of

    lab = session.lab()
    return view_of(lab, status_of(lab), route)


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
