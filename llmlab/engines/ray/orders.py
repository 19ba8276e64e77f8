"""What a lab tells its API processes in small files beside their settings: drills, and texts to
remember for a while. Replicas have copies."""

from __future__ import annotations

from collections.abc import Mapping

from llmlab.lab import Lab
from llmlab.recording.sampling import sample_file
from llmlab.service.drill import drill_file


def orders_for(lab: Lab, deployment: str) -> Mapping[str, str]:
    """{name beside a replica's settings: content}."""
    here = lab.state / "deployments" / "of-all.json"  # where several deployments share a folder
    there = here.with_name("settings.json")
    files = {
        drill_file(there, deployment).name: drill_file(here, deployment),
        sample_file(there).name: sample_file(here),
    }
    found = {}
    for name, file in files.items():
        try:
            found[name] = file.read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
    return found
