"""What a tune has on the disk until it ends, so that the same command takes it up again.

.llmlab/tune/NAME/plan.json   what was asked for, and of which data
                  state.json  the time spent, the rounds that were judged, and what was registered
                  base/       the weights of scratch:tiny
                  round-N/    checkpoints, and in the end model/ and trained.json
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmlab.errors import UsageError
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder


class Work:
    """The folder of one tune."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.name = name
        self.folder = lab.state / "tune" / name
        self._lock = lab.state / "tune" / f".{name}.lock"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only process that tunes this.

        Raises:
            UsageError: another one does.
        """
        for folder in (self.folder.parent.parent, self.folder.parent):
            private_folder(folder)
        with self._lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(
                    f"another process is tuning {self.name}", fix="wait for it, or another --name"
                ) from None
            yield

    def begin(self, plan: Mapping[str, Any], *, fresh: bool) -> bool:
        """Lay out the folder, or take up the one that is there.

        Returns:
            Whether there was one.

        Raises:
            UsageError: there is one, of another plan.
        """
        if fresh:
            self.remove()
        found = _read(self.folder / "plan.json")
        if found is None:
            self.remove()
            private_folder(self.folder)
            write_atomically(self.folder / "plan.json", json.dumps(plan, indent=1) + "\n")
            return False
        if found != json.loads(json.dumps(plan)):
            different = [key for key in plan if found.get(key) != plan[key]]
            raise UsageError(
                f"a tune of {self.name} was broken off that was asked for otherwise "
                f"({', '.join(different)})",
                fix="the same command as then goes on with it; --fresh begins anew",
            )
        return True

    def state(self) -> dict[str, Any]:
        return _read(self.folder / "state.json") or {"spent": 0.0, "rounds": []}

    def keep(self, **values: Any) -> None:
        """Write down what is known now."""
        document = self.state() | values
        write_atomically(self.folder / "state.json", json.dumps(document) + "\n")

    def round(self, number: int) -> Path:
        folder = self.folder / f"round-{number}"
        folder.mkdir(exist_ok=True)
        return folder

    def discard(self, number: int) -> None:
        """Remove what a round made. It goes at once: half a model would be taken for one."""
        gone = self.folder / f".round-{number}.gone"
        shutil.rmtree(gone, ignore_errors=True)
        self.round(number).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def remove(self) -> None:
        """The plan goes first: a folder without one is of no use to anybody."""
        (self.folder / "plan.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
