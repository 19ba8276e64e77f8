"""What the shell offers for names: of models, deployments, flags, keys and logs.

Whoever presses TAB wants names or nothing: where there is no lab, or it is damaged, nothing is
offered, and the verb itself will say why. What is a file is left to the shell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import typer

from llmlab.cli.session import Session

if TYPE_CHECKING:
    from llmlab.ledger.store import Store

Names = Callable[[typer.Context, str], list[str]]


def _offering(find: Callable[[Session], Iterable[str]]) -> Names:
    """A function as Typer's ``autocompletion`` wants it."""

    def names(context: typer.Context, incomplete: str) -> list[str]:
        from llmlab.errors import LlmlabError

        # The callback that makes the session has not run.
        session = Session(context.find_root().params.get("lab"))
        try:
            known = dict.fromkeys(find(session))
        except (LlmlabError, OSError):
            return []
        return [one for one in known if one.startswith(incomplete)]

    return names


def _models(session: Session) -> Iterable[str]:
    catalogue = session.catalogue()
    yield from catalogue.config.models
    yield from catalogue.registry.aliases()
    yield from (one.reference for one in catalogue.registry.records())


def _registered(session: Session) -> Iterable[str]:
    registry = session.registry()
    return [*registry.aliases(), *(one.reference for one in registry.records())]


def _deployments(session: Session) -> Iterable[str]:
    from llmlab.delivery.deployments import deployments

    return deployments(session.lab())


def _routes(session: Session) -> Iterable[str]:
    return session.catalogue().config.served


def _flags(session: Session) -> Iterable[str]:
    store: Store = session.store()
    return [one.name for one in store.traffic().flags]


def _keys(session: Session) -> Iterable[str]:
    return [one.kid for one in session.keys().read().keys]


def _api_keys(session: Session) -> Iterable[str]:
    return [one.id for one in session.keys().read().api]


def _recordings(session: Session) -> Iterable[str]:
    from llmlab.recording.store import Recordings

    return [one.id for one in Recordings(session.lab()).all()]


def _logs(session: Session) -> Iterable[str]:
    return sorted(file.stem for file in session.lab().logs.glob("*.log"))


models = _offering(_models)
registered = _offering(_registered)
deployments = _offering(_deployments)
flags = _offering(_flags)
routes = _offering(_routes)
names = _offering(lambda session: [*_routes(session), *_deployments(session)])
keys = _offering(_keys)
api_keys = _offering(_api_keys)
recordings = _offering(_recordings)
logs = _offering(_logs)
