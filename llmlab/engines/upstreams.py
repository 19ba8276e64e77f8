"""What a plan's models elsewhere need before they are started, and watching what they call
themselves from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from llmlab.engines.base import Plan
from llmlab.engines.probe import Told
from llmlab.engines.record import Record
from llmlab.errors import UsageError
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.ledger.upstreams import is_told, take_note
from llmlab.repeating import again_and_again
from llmlab.upstreams import keys

log = logging.getLogger("llmlab.keeper")
LOOK = 5.0  # seconds


def keep_keys(lab: Lab, plan: Plan, environ: Mapping[str, str]) -> None:
    """Have their keys where they are read.

    Args:
        environ: of whoever starts them. Keys in it are written down, and kept until `down`.

    Raises:
        AuthError: one is missing, or others may read it.
        UsageError: one would be inherited by every process; or who is to answer in the place of
            such a model is not deployed.
    """
    names = set(plan.names)
    for one in plan.deployments:
        if one.model.fallback and one.model.fallback not in names:
            raise UsageError(
                f"{one.deployment} falls back to {one.model.fallback}, which is not deployed",
                fix=f"llmlab deploy {one.model.fallback}",
            )
        keys.keep(one.name, one.model, lab, environ)


class Watch:
    """Has the ledger tell when a model elsewhere calls itself otherwise than before. An API does
    not write there; the lab's keeper does, and asks each API now and then.

    Args:
        told: what the first process of a deployment says of itself.
    """

    def __init__(self, lab: Lab, told: Callable[[str], Told]) -> None:
        self._lab, self._told = lab, told
        self._seen: dict[str, tuple[str, str]] = {}

    def look(self) -> None:
        """
        Raises:
            LlmlabError, OSError: the ledger cannot be written.
        """
        for deployment in self._elsewhere():
            said = self._told(deployment).upstream
            if said and said != self._seen.get(deployment):
                store = Store(self._lab)
                if entry := take_note(store, deployment, *said):
                    log.info("%s is answered by %s %s: entry %d", deployment, *said, entry.seq)
                if is_told(store, deployment, *said):  # else it is put off
                    self._seen[deployment] = said

    def _elsewhere(self) -> list[str]:
        record = Record.read(self._lab)
        found = record.plan().deployments if record else ()
        return [one.deployment for one in found if one.model.runtime == "openai"]

    def start(self) -> None:
        """Look again and again, beside whatever else the process does: an API that is slow to
        answer is to keep nobody."""
        again_and_again(self.look, log, every=LOOK)
