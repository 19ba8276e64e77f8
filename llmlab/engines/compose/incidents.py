"""What happened to a lab's containers that Docker itself forgets once they run again."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from llmlab.errors import EnvironmentFailure
from llmlab.lab import Lab, private_folder

MIB = 1 << 20
FIX = (
    'set service.memory in configs/lab.toml, such as memory = "4g", or that of its model, '
    "then llmlab up"
)


@dataclass(frozen=True)
class Incident:
    """A service that the kernel killed for want of memory. ``limit`` in bytes."""

    time: str
    service: str
    limit: int

    def __str__(self) -> str:
        return f"{self.service} ran out of memory at {self.time}; {_limited(self.limit)}"


class Incidents:
    """Kept since the lab came up, one JSON object a line. The keeper writes, status reads."""

    def __init__(self, lab: Lab) -> None:
        self._file = lab.state / "compose" / "incidents.jsonl"

    def add(self, service: str, limit: int) -> Incident:
        one = Incident(time.strftime("%Y-%m-%d %H:%M:%S"), service, limit)
        private_folder(self._file.parent)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(one)) + "\n")
        return one

    def of(self, service: str = "") -> list[Incident]:
        """All of them, or those of one service; the last one of each service stands last."""
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        found = [Incident(**json.loads(line)) for line in lines]
        return [one for one in found if service in ("", one.service)]

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)


def out_of_memory(service: str, limit: int) -> EnvironmentFailure:
    return EnvironmentFailure(f"{service} ran out of memory; {_limited(limit)}", fix=FIX)


def _limited(limit: int) -> str:
    return f"its limit is {limit // MIB} MiB" if limit else "the machine has no more"
