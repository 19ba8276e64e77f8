"""Have the running gateway go by another configuration."""

from __future__ import annotations

import contextlib
import time
import xmlrpc.client

from llmlab.engines.local.programs import GATEWAY
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.waiting import POLL, why
from llmlab.errors import EnvironmentFailure, LlmlabError
from llmlab.gateway import Releases
from llmlab.gateway.render import LINGER
from llmlab.processes import leaving_workers, nginx_workers, take_requests

GATEWAY_DEADLINE = 20.0


class LocalGateway:
    """NGINX as one of the supervised processes."""

    def __init__(self, supervisor: Supervisor, releases: Releases) -> None:
        self._supervisor = supervisor
        self._releases = releases

    def move(self, release: str) -> bool:
        """Make a staged release the one that runs. A gateway that runs it already is left alone.

        Returns:
            Whether it is another one than before.

        Raises:
            EnvironmentFailure: the gateway goes on with the one from before.
        """
        previous = self._releases.active()
        moved = self._releases.activate(release)
        if not moved and self._releases.taken():
            return False
        try:
            self._reload()
        except BaseException:
            if moved and previous:
                self._releases.activate(previous)
                with contextlib.suppress(LlmlabError):
                    self._reload()
            raise
        self._releases.mark_taken()
        return moved

    def settle(self) -> None:
        """Wait until no connection of a client goes by a configuration from before any more,
        but for a request that is being answered: it has been let in."""
        deadline = time.monotonic() + LINGER
        while leaving_workers(self._pid) and time.monotonic() < deadline:
            time.sleep(POLL)

    def _reload(self) -> None:
        """Have it read the configuration, and wait until it goes by it.

        One that is just being started reads it then; a signal may even be too early for it, and
        the supervisor starts it again.
        """
        before = nginx_workers(self._pid)
        with contextlib.suppress(xmlrpc.client.Fault):
            self._supervisor.signal(GATEWAY, "HUP")
        deadline = time.monotonic() + GATEWAY_DEADLINE
        while take_requests(before) or not take_requests(nginx_workers(self._pid)):
            if time.monotonic() > deadline:
                raise EnvironmentFailure(
                    "the gateway did not take over the new configuration",
                    log=why(self._supervisor, GATEWAY),
                )
            time.sleep(POLL / 4)

    @property
    def _pid(self) -> int | None:
        return self._supervisor.state(GATEWAY).pid
