"""A clean lab for the next one who learns: everything but the models goes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llmlab.config.edit import with_value
from llmlab.engines.choice import running_engine
from llmlab.errors import LlmlabError, unreadable
from llmlab.files import write_atomically
from llmlab.lab import CONFIG, Lab, lab_file

# Of the state folder: models, what this lab was given by its class, and the images of this
# machine. All else comes of working in the lab.
KEPT = {"registry", "given.json", "images.json"}
GIVEN = "given.json"
SPELLED_TODAY = {"stable": "routes.summarize"}  # in classes of before there were several routes
RESTORED = (str(CONFIG), "nginx.conf", "docker-compose.yml")
BEFORE = ".before"
TOLD = {
    "keys": "the keys: every token that they signed ends",
    "delivery.db": "the ledger, routes, flags and rollouts",
    "logs": "the logs",
    "tune": "tunes that were broken off",
    "jupyter": "the settings of JupyterLab",
}


@dataclass(frozen=True)
class Reset:
    """What a reset does, or did. Paths are relative to the lab.

    Args:
        stops: the engine under which the lab runs now; "" if it is down.
        removed: names in .llmlab.
        restored: files that go back to what they were; each stays beside it as NAME.before.
        kept: models that stay.
    """

    lab: str
    stops: str
    removed: tuple[str, ...]
    restored: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def nothing(self) -> bool:
        return not (self.stops or self.removed or self.restored)

    def told(self) -> list[str]:
        """Line by line, for a person who decides."""
        lines = ["the lab runs, and is stopped"] if self.stops else []
        lines += [told for name, told in TOLD.items() if name in self.removed]
        if set(self.removed) - set(TOLD) and not self.stops:
            lines.append("what else .llmlab keeps of the last time it ran")
        lines += [f"{one} goes back to what it was; yours stays as {one}{BEFORE}"
                  for one in self.restored]  # fmt: skip
        return lines

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def planned(lab: Lab) -> Reset:
    """What ``reset`` would do. Changes nothing."""
    from llmlab.registry import Registry

    engine = running_engine(lab)
    return Reset(
        str(lab.root),
        engine.name if engine else "",
        tuple(one.name for one in _removable(lab.state)),
        tuple(name for name in RESTORED if _differs(lab, name)),
        tuple(one.reference for one in Registry(lab).records()),
    )


def reset(lab: Lab) -> Reset:
    """Stop the lab if it runs, and have it as it was laid out. The registry is never touched.

    Raises:
        LlmlabError: it does not stop; then nothing is removed.
    """
    from llmlab.engines.turns import processes_turn

    plan = planned(lab)
    with processes_turn(lab):
        if engine := running_engine(lab):
            engine.down()
        if running_engine(lab):
            raise LlmlabError("the lab does not stop, so nothing was removed", fix="llmlab down")
        for name in plan.restored:
            fresh = _fresh(lab, name)  # before its old one moves: it says the address to keep
            file = lab.root / name
            if file.exists():
                file.replace(file.with_name(file.name + BEFORE))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, fresh, mode=0o644)
        _empty(lab.state)
    return plan


def _empty(state: Path) -> None:
    for one in _removable(state):
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink(missing_ok=True)


def _removable(state: Path) -> list[Path]:
    """What a reset removes. A lock holds nothing, and one of them is held meanwhile."""
    if not state.is_dir():
        return []
    return sorted(one for one in state.iterdir() if one.name not in KEPT and one.suffix != ".lock")


def given(lab: Lab) -> Mapping[str, str | int]:
    """The settings of lab.toml that the lab has from its class: {path: value}."""
    file = lab.state / GIVEN
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {SPELLED_TODAY.get(path, str(path)): value for path, value in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        raise LlmlabError(f"{file} cannot be read: {unreadable(error)}", fix=f"rm {file}") from None


def with_given(text: str, settings: Mapping[str, str | int]) -> str:
    """A lab.toml with these settings."""
    for path, value in settings.items():
        text = with_value(text, path, value)
    return text


def _fresh(lab: Lab, name: str) -> str:
    text = lab_file(name).read_text(encoding="utf-8")
    return with_given(text, given(lab) or _address(lab)) if name == str(CONFIG) else text


def _address(lab: Lab) -> dict[str, str | int]:
    """Where a lab is reached is no part of what one learns in it."""
    from llmlab.config import read_config

    try:
        now = read_config(lab.config_file).config
    except LlmlabError:  # what is wrong with it is put away with it
        return {}
    return {
        "gateway.host": now.gateway.host, "gateway.port": now.gateway.port,
        "jupyter.port": now.jupyter.port,
    }  # fmt: skip


def _differs(lab: Lab, name: str) -> bool:
    file = lab.root / name
    return not file.is_file() or file.read_text(encoding="utf-8", errors="replace") != _fresh(
        lab, name
    )
