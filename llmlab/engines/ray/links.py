"""The gateway's side of the links to replicas: an NGINX of its own, beside the gateway's."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from llmlab.config import Config
from llmlab.config.ray import Ray
from llmlab.engines.local.staging import nginx_of, worker_user
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.gateway.binary import Nginx
from llmlab.lab import Lab
from llmlab.links.authority import Authority
from llmlab.links.binary import for_links
from llmlab.links.conf import Link, Setting, Settlements, lab_files, lab_side
from llmlab.links.server import Server

NAME = "links"
LOOKS = 60.0  # seconds; its own certificate is replaced before its end


class LabLinks:
    """Of one lab.

    Args:
        nginx: one that can run links.
        worker_user: ``user group`` of its workers, where its master is root; "" else.
    """

    def __init__(self, lab: Lab, ray: Ray, nginx: Nginx, worker_user: str) -> None:
        self._lab, self._ray, self._nginx = lab, ray, nginx
        self._worker_user = worker_user
        self._authority = Authority(lab)
        pid = partial(Supervisor(lab).pid, NAME)
        self._server = Server(lab.state / "links" / "server", nginx, pid)
        self._led: tuple[float, tuple[Link, ...], float] | None = None

    @property
    def nginx(self) -> Path:
        """The binary."""
        return self._nginx.path

    @property
    def program(self) -> Program:
        return Program(NAME, self._server.command, stop_signal="QUIT", priority=20)

    def lead(self, links: Iterable[Link], longest: float) -> bool:
        """Have these links and no others. Returns whether that is another state than before.

        Args:
            longest: seconds that an answer may take.

        Raises:
            LlmlabError: those from before stay.
        """
        wanted, now = tuple(links), time.monotonic()
        if self._led and self._led[1:] == (wanted, longest) and now - self._led[0] < LOOKS:
            return False
        setting = Setting(longest, self._worker_user, self._nginx.load_modules)
        back = Settlements(self._lab.settlements_socket, self._ray.host, self._ray.link_port)
        names = {one.deployment for one in wanted}
        own, away = self._authority.gateway(), self._authority.away(names)
        files = lab_files(own, away, self._authority.trusted)
        moved = self._server.go_by(lab_side(wanted, setting, back), files)
        self._led = now, wanted, longest
        return moved


def links_of(lab: Lab, config: Config) -> LabLinks:
    """Those of a lab as configured.

    Raises:
        EnvironmentFailure: its nginx cannot have links.
    """
    return LabLinks(lab, config.ray, for_links(nginx_of(config)), worker_user())
