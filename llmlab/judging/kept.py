"""What is kept of calibrations, in the lab's state: the figures, not the verdict.

Whether a judge is valid follows from its figures and the bounds of lab.toml at the moment in which
it is asked to judge. The latest calibration of a judge counts, by whatever suite: or one would try
suites until one fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from llmlab.config.judge import Judge as Bounds
from llmlab.errors import EnvironmentFailure, GateFailure, UsageError
from llmlab.evaluate.suite import find_suite, load_suite
from llmlab.files import locked, write_atomically
from llmlab.judging.calibration import Calibration, problems
from llmlab.judging.question import PROTOCOL
from llmlab.lab import Lab

FILE, LOCK = "judge.json", "judge.lock"
MOST = 50  # calibrations; the oldest go
CALIBRATE = "llmlab judge calibrate"
OUTDATED = "is outdated"


class Kept:
    """Of one lab."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.file = lab.state / FILE

    def all(self) -> list[Calibration]:
        """The latest last.

        Raises:
            EnvironmentFailure: the file cannot be read, or was not written by this version.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            content = self.file.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EnvironmentFailure(
                f"{self.file} cannot be read: {error.strerror}", fix=f"ls -l {self.file}"
            ) from None
        try:
            return TypeAdapter(list[Calibration]).validate_json(content, strict=True)
        except ValidationError:
            raise EnvironmentFailure(
                f"{self.file} is damaged, or of another version",
                fix=f"rm {self.file}, then {CALIBRATE}",
            ) from None

    def add(self, calibration: Calibration) -> None:
        """Keep one; it takes the place of an earlier one of the same."""
        import json

        self._lab.make_state()
        with locked(self._lab.state / LOCK, patience=10.0):
            others = [one for one in self.all() if one.key != calibration.key]
            found = [*others, calibration][-MOST:]
            document = json.dumps([asdict(one) for one in found], indent=1)
            write_atomically(self.file, document + "\n")

    def latest(self, model_id: str, rubric: str) -> Calibration | None:
        """Of a judge by a rubric, else by any: that one is outdated."""
        found = [one for one in self.all() if one.key.model_id == model_id]
        by_rubric = [one for one in found if one.key.rubric == rubric]
        return next(reversed(by_rubric or found), None)


def outdated(found: Calibration, rubric: str, digest_of: Callable[[str], str]) -> str:
    """What has changed since a calibration, so that it says nothing any more; "" for nothing.

    Args:
        rubric: the hash of the one that would be asked by now.
        digest_of: the hash of a suite by its name; "" if it is not there.
    """
    if found.key.rubric != rubric:
        return "the rubric is another one"
    if found.key.protocol != PROTOCOL:
        return "judges are asked in another way by now"
    if digest_of(found.key.suite_name) != found.key.suite:
        return f"the suite {found.key.suite_name} is another one"
    return ""


def suite_digest(root: Path) -> Callable[[str], str]:
    """The hash of a lab's suite, by its name."""

    def of(name: str) -> str:
        try:
            return load_suite(find_suite(name, root)).digest
        except UsageError:
            return ""

    return of


def state_of(
    found: Calibration | None, bounds: Bounds, rubric: str, digest_of: Callable[[str], str]
) -> list[str]:
    """Why a judge may not judge; nothing if it may."""
    if found is None:
        return ["it was not calibrated"]
    if why := outdated(found, rubric, digest_of):
        return [f"its calibration of {found.when} {OUTDATED}: {why}"]
    return list(problems(found.figures, bounds))


def refuse_unless_valid(name: str, found: Calibration | None, why: list[str]) -> Calibration:
    """The calibration by which a judge may judge.

    Args:
        found: the latest one.
        why: of ``state_of``.

    Raises:
        GateFailure: it may not, and why.
    """
    if found is not None and not why:
        return found
    measured = found is not None and OUTDATED not in why[0]
    better = f"another judge.model, or a clearer judge.rubric, then {CALIBRATE}"
    raise GateFailure(
        f"{name} may not judge: {'; '.join(why)}", fix=better if measured else CALIBRATE
    )
