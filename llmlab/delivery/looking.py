"""A whole lab at one moment: what runs, who attends to it, and what was done to it on purpose."""

from __future__ import annotations

from dataclasses import replace

from llmlab.delivery import drills
from llmlab.engines.attendants import attendance
from llmlab.engines.base import Engine
from llmlab.engines.budget_counts import FILE, crowded
from llmlab.engines.console import looking
from llmlab.engines.issuers import issuers_status
from llmlab.engines.status import LabStatus
from llmlab.errors import LlmlabError
from llmlab.lab import Lab
from llmlab.recording.store import Recordings


def look(engine: Engine, lab: Lab) -> LabStatus:
    """How the lab is. A warning has its way out in a line of its own, which begins with `Fix:`."""
    found = engine.status()
    if not found.running:
        return found
    drilled = (f"drill: {name}: {told}\nFix: llmlab drill off --deployment {name}"
               for name, told in drills.active(lab).items())  # fmt: skip
    there, providers, watched = attendance(lab), issuers_status(lab), looking(lab)
    return replace(
        found, healthy=found.healthy and there.healthy and providers.healthy,
        controller=there.controller, issuers=providers.issuers, console=watched.console,
        warnings=(*found.warnings, *there.warnings, *providers.warnings, *watched.warnings,
                  *drilled, *_recorded(lab),
                  *crowded([lab.counts_folder / FILE, lab.compose_counts / FILE])),
    )  # fmt: skip


def _recorded(lab: Lab) -> tuple[str, ...]:
    try:
        active = Recordings(lab).active()
    except LlmlabError as error:
        return (f"recordings: {error.message}\nFix: {error.fix}",)
    by_itself = {"full": "is full, and has ended by itself", "over": "has ended by itself"}
    return tuple(
        f"recording: {one.share:g} % of what {one.route} is asked is kept as {one.id} "
        f"({one.requests} so far); it {by_itself.get(one.state, f'ends by itself at {one.until}')}"
        f"\nFix: llmlab record stop {one.id}"
        for one in active
    )
