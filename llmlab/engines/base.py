"""What every engine promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from llmlab.config import Config
from llmlab.engines.resting import needed
from llmlab.engines.status import LabStatus
from llmlab.names import SUMMARIZE
from llmlab.service.settings import Settings
from llmlab.traffic import Traffic

# Importing torch and transformers alone takes 3 to 5 seconds. A ctranslate2 API with a T5-small
# answers again 2 s after it was killed, most of it the import of the service itself.
SLOW_TO_START = ("transformers",)


@dataclass(frozen=True)
class Plan:
    """What should run: the configuration, and one service per deployment.

    ``deployments`` holds the stable one first: the one that lab.toml, or ``up --model``, put behind
    the route summarize; ``further`` says it of all other routes. A rollout may have promoted
    another one since, which ``traffic`` says.

    ``configured`` names those that lab.toml, or ``up --model``, asks for; the others were deployed
    since. Empty: all of them.
    """

    config: Config
    stable: str
    deployments: tuple[Settings, ...]
    warnings: tuple[str, ...] = ()
    traffic: Traffic = field(default_factory=Traffic)
    configured: tuple[str, ...] = ()
    further: Mapping[str, str] = field(default_factory=dict)

    @property
    def routes(self) -> dict[str, str]:
        """{route: its configured stable deployment}."""
        return {SUMMARIZE: self.stable, **self.further}

    def leading(self, route: str = SUMMARIZE) -> str:
        """The stable deployment of a route as of now: the promoted one, or the configured one."""
        return self.traffic.route(route).stable or self.routes[route]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(one.deployment for one in self.deployments)

    def settings(self, deployment: str) -> Settings:
        """What the API of a deployment is told."""
        return next(one for one in self.deployments if one.deployment == deployment)

    def fallback(self, deployment: str) -> str:
        """The deployment that answers for one whose model is elsewhere, while that does not; "" for
        none."""
        other = self.settings(deployment).model.fallback
        return other if other in self.names else ""

    def is_configured(self, deployment: str) -> bool:
        return deployment in (self.configured or self.names)

    def replicas(self, deployment: str) -> int:
        """How many processes (containers) share its requests; 0 for one that rests."""
        found = self.traffic.deployed(deployment)
        return found.replicas or int(bool(needed(self, deployment))) if found else 1

    def weight(self, deployment: str, route: str = SUMMARIZE) -> float:
        """Its percentage of a route, without matches; whole ones as whole numbers."""
        share = self.traffic.route(route).weights(self.routes[route]).get(deployment, 0)
        return int(share) if float(share).is_integer() else share

    def weights(self, deployment: str) -> dict[str, float]:
        """Its percentage of each route that it has a part of."""
        found = {route: self.weight(deployment, route) for route in self.routes}
        return {route: share for route, share in found.items() if share}

    @property
    def spares(self) -> tuple[Settings, ...]:
        """The deployments that have a second process, to stand in when the first one dies.

        Only stable ones that are slow to start, unless several share their requests."""
        if not self.config.service.spare:
            return ()
        leading = {self.leading(route) for route in self.routes}
        return tuple(
            one for one in self.deployments
            if one.deployment in leading and one.model.runtime in SLOW_TO_START
            and self.replicas(one.deployment) == 1
        )  # fmt: skip


Say = Callable[[str], None]


class Engine(Protocol):
    """Runs a lab. Every wait has a deadline; a failed ``up`` leaves nothing running."""

    name: str

    def up(self, plan: Plan, say: Say) -> bool:
        """Bring the lab to what the plan says. Returns whether anything changed."""
        ...

    def apply(self, plan: Plan, say: Say) -> bool:
        """Bring a running lab to other deployments and routes, and leave all else of it alone:
        an nginx.conf that was edited meanwhile waits for the next ``up``.

        What is new has to answer before the gateway moves; what is not wanted any more is
        stopped after its last request has ended. Where it fails, the lab goes on as before.

        Returns:
            Whether anything changed.

        Raises:
            UpstreamError: the lab does not run.
        """
        ...

    def down(self, *, volumes: bool = False) -> bool:
        """Stop everything. Returns whether anything was running.

        Args:
            volumes: remove the volumes of containers as well.
        """
        ...

    def running(self) -> bool:
        """Whether anything of this lab runs under this engine, in whatever state."""
        ...

    def commands(self, plan: Plan) -> list[list[str]]:
        """The argument lists that ``up`` runs, in order. Changes nothing."""
        ...

    def down_commands(self, *, volumes: bool = False) -> list[list[str]]:
        """The argument lists that ``down`` runs, or what they come to. Changes nothing."""
        ...

    def reload_keys(self) -> bool:
        """Have a running gateway use the keys as they are now; the deployments go on. When it
        returns, nobody is let in by the keys from before, on whatever connection.

        Nothing but the keys changes: an nginx.conf that was edited meanwhile waits
        for the next ``up``.

        Returns:
            Whether there was a gateway, and anything new for it.

        Raises:
            LlmlabError: it is there and goes on with the keys from before.
        """
        ...

    def end_api_keys(self, digests: Sequence[str]) -> None:
        """Have the workers of a running gateway let these in no more, at once and whichever
        configuration they go by; ``reload_keys`` then has it forget them.

        Args:
            digests: SHA-256 in hexadecimal.

        Raises:
            UpstreamError: it could not be told.
        """
        ...

    def reload_certificate(self) -> bool:
        """Have a running gateway use the certificate that is kept for it now. Connections of
        before go on by the one from before, and what they ask is answered.

        Returns:
            Whether there was a gateway, and another certificate for it.

        Raises:
            LlmlabError: the gateway goes on with the one from before.
        """
        ...

    def route(self, traffic: Traffic) -> bool:
        """Move the gateway of a running lab to other routes; its deployments go on as they are.

        Returns:
            Whether anything changed. Once it returns, every new request goes by these routes.

        Raises:
            LlmlabError: the gateway goes on by the routes from before.
        """
        ...

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        """A request to the first process of a deployment, past the gateway.

        Args:
            deployment: with ``.2`` behind its name, its second process, and so on.

        Returns:
            HTTP status and body.

        Raises:
            UpstreamError: it does not answer.
        """
        ...

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        """Lines of the gateway's access log (JSON) that came since, and the next cursor.

        A line is given out once it is whole, and once only. Lines that were rotated away before
        anybody asked are lost.

        Args:
            cursor: what the call before returned; "" starts at the end of the log, "0" at the
                oldest line that is left.
            after: seconds since 1970; with the cursor "0", lines from before may be left out.
        """
        ...

    def gateway_metrics(self) -> str:
        """The gateway's own metrics, in Prometheus's exposition format.

        Raises:
            UpstreamError: it does not answer.
        """
        ...

    def gateway_configuration(self) -> str:
        """All configuration files of the gateway, as `nginx -T` prints them."""
        ...

    def status(self) -> LabStatus: ...

    def logs(self, *, follow: bool, lines: int, only: str = "") -> Iterator[str]:
        """Log lines, each prefixed with the process it is from."""
        ...

    def start_notebook(self, config: Config, say: Say, *, port: int | None = None) -> str:
        """Have JupyterLab running beside a running lab, until the lab goes down.

        Args:
            port: where on this machine; default: where it runs already, else ``jupyter.port``.

        Returns:
            Its URL, with the token.
        """
        ...

    def notebook_url(self) -> str:
        """The URL, with the token, of the JupyterLab that runs; "" if none does."""
        ...
