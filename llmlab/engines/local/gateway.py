"""Have the running gateway go by another configuration."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

from llmlab.engines.follow import Appended
from llmlab.engines.local.programs import GATEWAY
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.waiting import POLL, why
from llmlab.errors import EnvironmentFailure, LlmlabError
from llmlab.gateway import Releases
from llmlab.gateway.render import LINGER
from llmlab.network import SHARES_PORTS
from llmlab.processes import (
    leaving_workers,
    nginx_workers,
    stop_gracefully,
    superseded_workers,
    take_requests,
)

GATEWAY_DEADLINE = 20.0
QUIT_PATIENCE = 5.0  # seconds for requests that are answered while the gateway is started anew
EMERGENCY, IN_USE = "[emerg]", ": bind() to "  # what NGINX says of an address that is in use


class LocalGateway:
    """NGINX as one of the supervised processes."""

    def __init__(self, state: Path, supervisor: Supervisor, releases: Releases) -> None:
        self._state = state  # the folder in which it works
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
        errors = Appended(self._supervisor.error_log(GATEWAY))
        self._supervisor.signal(GATEWAY, signal.SIGHUP)
        deadline = time.monotonic() + GATEWAY_DEADLINE
        restarted = SHARES_PORTS  # then there is no need
        while take_requests(before) or not take_requests(nginx_workers(self._pid)):
            said = [line for line in errors.lines() if EMERGENCY in line]
            # It tries several times, and says each time that it is in use.
            refused = any(IN_USE not in line for line in said)
            if refused and not restarted and IN_USE in said[0]:
                restarted, errors = True, Appended(self._supervisor.error_log(GATEWAY))
                self._start_anew()
            elif refused or time.monotonic() > deadline:
                raise EnvironmentFailure(
                    "the gateway did not take over the new configuration, and goes on with the "
                    "one from before",
                    fix="correct what NGINX says, then llmlab up; or llmlab down && llmlab up",
                    log="\n".join(said) or why(self._supervisor, GATEWAY),
                )
            time.sleep(POLL / 4)
        # Of a master that was killed just now: they go by the configuration from before.
        orphans = superseded_workers(self._state, self._pid)
        stop_gracefully(orphans)
        while take_requests(orphans) and time.monotonic() < deadline:
            time.sleep(POLL / 4)

    def _start_anew(self) -> None:
        """Where an address cannot be shared, one that contains the one from before is had only
        once that is let go of."""
        pid, patience = self._pid, time.monotonic() + QUIT_PATIENCE
        self._supervisor.signal(GATEWAY, signal.SIGQUIT)
        while self._pid == pid and time.monotonic() < patience:
            time.sleep(POLL)
        if self._pid == pid:
            self._supervisor.signal(GATEWAY, signal.SIGTERM)

    @property
    def _pid(self) -> int | None:
        return self._supervisor.pid(GATEWAY)
