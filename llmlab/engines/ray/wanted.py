"""What the engine wants to run on nodes: a file in the lab's state, which the placer goes by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from llmlab.config import Model
from llmlab.engines.base import Plan
from llmlab.engines.local.programs import settings_file, suffixes, write_settings
from llmlab.engines.taken import Taken, taken_by
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.service.settings import Settings

ELSEWHERE = "openai"  # of this runtime no process computes: it stays beside the gateway
DIGITS = 12  # of the digest in a settings file's name


@dataclass(frozen=True)
class Wanted:
    """An API process that is to run somewhere.

    Args:
        process: its name, such as ``textrank.2``, and that of its socket on the lab's machine.
        settings: the name of its file in the lab's folder of deployments, which says its content.
        longest: seconds of its longest answer, and ``patience`` for one that is not streamed.
        cores, gpus: that it is given; ``memory`` in bytes.
    """

    process: str
    deployment: str
    settings: str
    longest: float = 600.0
    patience: float = 120.0
    cores: Annotated[float, Field(ge=0)] = 1.0
    gpus: Annotated[float, Field(ge=0)] = 0.0
    memory: Annotated[int, Field(ge=0)] = 0

    @property
    def version(self) -> str:
        """Another one has other settings."""
        return Path(self.settings).stem[-DIGITS:]

    def fits(self, cores: float, gpus: float, memory: int) -> bool:
        """Whether a machine with so much could have it, were it empty."""
        return self.cores <= cores and self.gpus <= gpus and self.memory <= memory


_LIST = TypeAdapter(list[Wanted])


def is_placed(model: Model) -> bool:
    """Whether its processes run on nodes, rather than beside the gateway."""
    return model.runtime != ELSEWHERE


def wanted_by(lab: Lab, plan: Plan) -> list[Wanted]:
    """The replicas of a plan."""
    return [
        Wanted(
            settings.deployment + suffix, settings.deployment, settings_file(lab, settings).name,
            longest=max(settings.service.timeout, settings.service.stream_timeout),
            patience=settings.service.timeout, memory=taken.bytes,
            cores=taken.cores, gpus=taken.gpus,
        )
        for settings, taken in _placed(plan)
        for suffix in suffixes(plan.replicas(settings.deployment))
    ]  # fmt: skip


def write_what_they_read(lab: Lab, plan: Plan) -> None:
    """The settings of the replicas of a plan."""
    for settings, _ in _placed(plan):
        write_settings(lab, settings)


def _placed(plan: Plan) -> Iterator[tuple[Settings, Taken]]:
    """What runs on nodes. Their settings say what they take, whoever has said it: at other numbers
    they are other replicas, for Ray places each by those of its first day."""
    for settings in plan.deployments:
        if is_placed(settings.model):
            taken = taken_by(plan, settings.deployment)
            model = settings.model.model_copy(update=asdict(taken))
            yield settings.model_copy(update={"model": model}), taken


def read_wanted(lab: Lab) -> list[Wanted]:
    """
    Raises:
        ValueError: the file is damaged.
    """
    try:
        return _LIST.validate_json(_file(lab).read_bytes(), strict=False)
    except FileNotFoundError:
        return []


def write_wanted(lab: Lab, wanted: Iterable[Wanted]) -> None:
    rows = [asdict(one) for one in wanted]
    private_folder(_file(lab).parent)
    write_atomically(_file(lab), json.dumps(rows, indent=1) + "\n")


def asked_at(lab: Lab) -> float:
    """Seconds of the epoch, when that was written last, as it was before or not; 0: never."""
    try:
        return _file(lab).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _file(lab: Lab) -> Path:
    return folder_of(lab) / "wanted.json"


def folder_of(lab: Lab) -> Path:
    """Where the engine keeps what is its own, for its owner only."""
    return lab.state / "ray"
