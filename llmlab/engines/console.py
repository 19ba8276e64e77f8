"""The console's process, under every engine."""

from __future__ import annotations

from llmlab.engines.compose.mounts import releases as compose_releases
from llmlab.engines.record import Record
from llmlab.gateway import Releases
from llmlab.lab import Lab


def active_release(lab: Lab) -> str:
    """The configuration that the gateway goes by; "" where none is laid out."""
    record = Record.read(lab)
    if record and record.engine == "compose":
        return compose_releases(lab).active()
    return Releases(lab.state / "gateway", lab.runtime_dir / "nginx").active()
