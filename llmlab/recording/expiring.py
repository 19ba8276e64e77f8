"""The lab's keeper ends recordings that are full or over, and removes those that are as old as they
may get."""

from __future__ import annotations

import logging

from llmlab.lab import Lab
from llmlab.recording.store import Recordings
from llmlab.repeating import again_and_again

log = logging.getLogger("llmlab.keeper")
PAUSE = 60.0  # seconds


def start(lab: Lab) -> None:
    """Again and again, beside whatever else the process does."""
    recordings = Recordings(lab)

    def look() -> None:
        for name in recordings.expire():
            log.info("recording %s was too old, and is gone", name)

    again_and_again(look, log, every=PAUSE)
