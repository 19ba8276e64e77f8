"""What every engine promises, and the words in which it reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from llmlab.config import Config
from llmlab.service.settings import Settings


@dataclass(frozen=True)
class Plan:
    """What should run: the configuration, and one service per deployment.

    ``deployments`` holds the stable one first.
    """

    config: Config
    stable: str
    deployments: tuple[Settings, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeploymentStatus:
    """A deployment as it is. ``weight`` is its percentage of /summarize/."""

    name: str
    model: str
    model_id: str
    runtime: str
    healthy: bool
    weight: int
    state: str
    pid: int | None = None
    uptime: float = 0.0
    requests: int = 0


@dataclass(frozen=True)
class GatewayStatus:
    url: str
    healthy: bool
    state: str
    nginx: str = ""
    pid: int | None = None
    uptime: float = 0.0


@dataclass(frozen=True)
class LabStatus:
    """The whole lab at one moment. Times in seconds.

    ``notebook`` is the address of a running JupyterLab, without its token; "" if none runs.
    """

    lab: str
    engine: str
    running: bool
    healthy: bool
    gateway: GatewayStatus
    deployments: tuple[DeploymentStatus, ...] = ()
    warnings: tuple[str, ...] = ()
    notebook: str = ""

    def as_json(self) -> dict[str, Any]:
        """The document of `status -o json`."""
        return asdict(self)


Say = Callable[[str], None]


class Engine(Protocol):
    """Runs a lab. Every wait has a deadline; a failed ``up`` leaves nothing running."""

    name: str

    def up(self, plan: Plan, say: Say) -> bool:
        """Bring the lab to what the plan says. Returns whether anything changed."""
        ...

    def down(self) -> bool:
        """Stop everything. Returns whether anything was running."""
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
