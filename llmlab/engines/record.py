"""What was started last: enough to find a running lab, and to render its gateway again."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from llmlab.config import Config
from llmlab.engines.base import Plan
from llmlab.files import write_atomically
from llmlab.lab import Lab
from llmlab.service.settings import Settings
from llmlab.traffic import Traffic

RUNNING = "running.json"  # in the state of a lab


@dataclass(frozen=True)
class Record:
    """A plan that was brought up. Holds no secrets.

    ``nginx`` says which NGINX runs: a version and where it is from, or an image.
    """

    engine: str
    url: str
    nginx: str
    stable: str
    config: dict[str, Any]
    settings: list[dict[str, Any]]
    warnings: list[str]
    traffic: dict[str, Any] = field(default_factory=dict)
    configured: list[str] = field(default_factory=list)
    further: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, engine: str, nginx: str) -> Record:
        return cls(
            engine=engine,
            url=plan.config.gateway.url,
            nginx=nginx,
            stable=plan.stable,
            config=plan.config.model_dump(mode="json"),
            settings=[one.model_dump(mode="json") for one in plan.deployments],
            warnings=list(plan.warnings),
            traffic=json.loads(plan.traffic.dump()),
            configured=list(plan.configured),
            further=dict(plan.further),
        )

    @classmethod
    def read(cls, lab: Lab) -> Record | None:
        """The last record; None if there is none, or one of another version."""
        try:
            record = cls(**json.loads(_file(lab).read_text(encoding="utf-8")))
            record.plan()
        except (OSError, ValueError, TypeError):
            return None
        return record

    @staticmethod
    def forget(lab: Lab) -> None:
        with contextlib.suppress(OSError):  # a read-only disk keeps nothing from stopping a lab
            _file(lab).unlink(missing_ok=True)

    @staticmethod
    def is_damaged(lab: Lab) -> bool:
        """Whether there is one that nobody can have written: it is no JSON object."""
        try:
            return not isinstance(json.loads(_file(lab).read_text(encoding="utf-8")), dict)
        except OSError:
            return False
        except ValueError:
            return True

    def write(self, lab: Lab) -> None:
        write_atomically(_file(lab), json.dumps(asdict(self), indent=1) + "\n")

    def plan(self) -> Plan:
        deployments = tuple(Settings.model_validate(one, strict=False) for one in self.settings)
        return Plan(
            Config.model_validate(self.config), self.stable, deployments, tuple(self.warnings),
            Traffic.parse(json.dumps(self.traffic)), tuple(self.configured), self.further,
        )  # fmt: skip

    @property
    def notes(self) -> tuple[str, ...]:
        """Its warnings in a line each. All that they say, `up` has said once."""
        return tuple(one.partition("\n")[0] for one in self.warnings)

    @property
    def deployments(self) -> list[str]:
        return [str(one["deployment"]) for one in self.settings]


def with_later_routes(plan: Plan, before: Record | None, now: Record | None) -> Plan:
    """A plan that is about to be in force, with the routes that were taken while its deployments
    started, if any.

    Args:
        before: what ran then.
        now: what runs by now.
    """
    if before is None or now is None:
        return plan
    was, latest = before.plan().traffic.revision, now.plan().traffic
    later = latest.revision != was and latest.revision > plan.traffic.revision
    return replace(plan, traffic=latest) if later else plan


def _file(lab: Lab) -> Path:
    return lab.state / RUNNING
