"""What a lab shows of itself: configuration, processes, the gateway's log, ledger, registry.

Nothing here asks what somebody typed. Each part is read once, when a check wants it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from llmlab.config import Config, Loaded
from llmlab.engines.base import Engine, Plan
from llmlab.engines.choice import engine_named, running_engine
from llmlab.engines.record import Record as Running
from llmlab.engines.status import DeploymentStatus, LabStatus
from llmlab.lab import Lab
from llmlab.ledger.chain import Entry, Kind
from llmlab.ledger.store import Store
from llmlab.registry.record import Record

if TYPE_CHECKING:
    from llmlab.auth.keys import KeySet
    from llmlab.config import Model

Line = dict[str, Any]
OLDEST = "0"  # of the gateway's log, for `Engine.requests_since`


class Evidence:
    """One lab at one moment."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    @cached_property
    def _engine(self) -> Engine:
        """What runs the lab; of one that is down, the local engine, which reads what is left."""
        return running_engine(self.lab) or engine_named("local", self.lab)

    @cached_property
    def loaded(self) -> Loaded:
        """Raises ConfigError: lab.toml is not as it must be."""
        from llmlab.registry.catalogue import load_lab

        return load_lab(self.lab, environ=os.environ)

    @property
    def config(self) -> Config:
        return self.loaded.config

    @property
    def url(self) -> str:
        """Where the gateway answers, or will: a variable or a flag may have moved it."""
        gateway = self.status.gateway
        return gateway.url if self.status.running else self.config.gateway.url

    @property
    def model(self) -> Model:
        """The chosen model."""
        return self.config.models[self.config.stable]

    @cached_property
    def status(self) -> LabStatus:
        return self._engine.status()

    @cached_property
    def plan(self) -> Plan | None:
        """What the running lab was brought up as; None if it is down."""
        record = Running.read(self.lab) if self.status.running else None
        return record.plan() if record else None

    @property
    def running(self) -> Config | None:
        """The configuration that the running lab was brought up with; None if it is down."""
        return self.plan.config if self.plan else None

    @property
    def stable(self) -> DeploymentStatus | None:
        """The deployment that has most of the requests; None if the lab is down."""
        return max(self.status.deployments, key=lambda one: one.weight, default=None)

    @cached_property
    def requests(self) -> list[Line]:
        """The gateway's log, the oldest line first."""
        lines, _ = self._engine.requests_since(OLDEST)
        return [line for text in lines if (line := _parsed(text))]

    @property
    def answered(self) -> list[Line]:
        """The requests that got a summary."""
        return [
            one for one in self.requests
            if one.get("status") == 200 and one.get("deployment") and one.get("method") == "POST"
        ]  # fmt: skip

    def refused(self, status: int) -> list[Line]:
        """The requests that the gateway turned away itself, with this status."""
        return [
            one for one in self.requests
            if one.get("status") == status and not one.get("deployment")
        ]  # fmt: skip

    def answers_to(self, subject: str) -> list[Line]:
        return [one for one in self.answered if one.get("subject") == subject]

    @cached_property
    def entries(self) -> list[Entry]:
        """The whole ledger, the oldest entry first."""
        return Store(self.lab).entries()

    @cached_property
    def problems(self) -> list[str]:
        """What is wrong with the ledger's chain."""
        from llmlab.ledger.verifying import verify_store

        return list(verify_store(Store(self.lab)).problems)

    @cached_property
    def keys(self) -> KeySet:
        from llmlab.auth import KeyStore

        return KeyStore(self.lab.keys_file).read()

    @cached_property
    def registered(self) -> list[Record]:
        from llmlab.registry import Registry

        return Registry(self.lab).records()

    @property
    def own_models(self) -> list[Record]:
        """Registered models that are no hub's, the oldest first."""
        return [one for one in self.registered if one.owned]

    def served_as(self, record: Record) -> set[str]:
        """All names under which a registered model was served."""
        names = {record.name, f"{record.name}-{record.version}"}
        for one in self.entries:
            if one.kind == Kind.DEPLOYMENT and one.document.get("model") == record.reference:
                names.add(str(one.document["deployment"]))
        return names

    @property
    def second_versions(self) -> list[str]:
        """Deployments of the stable model under another name, and candidates of rollouts, the
        oldest first."""
        from llmlab.registry import Registry
        from llmlab.registry.catalogue import Catalogue

        known = Catalogue(self.config, Registry(self.lab))
        tried = {name for _, one in self.rollouts() for name in one.document["candidates"]}

        def is_one(what: Mapping[str, Any]) -> bool:
            if what["deployment"] in tried:
                return True
            found = known.find(str(what["model"]))
            again = found is not None and found.model in self._stable_models
            return again and what["deployment"] != self.config.stable

        deployed = [
            one.document for one in self.entries
            if one.kind == Kind.DEPLOYMENT and one.document.get("did") == "deploy"
        ]  # fmt: skip
        return [str(what["deployment"]) for what in deployed if is_one(what)]

    @property
    def _stable_models(self) -> list[Model]:
        """The chosen model, and what leads the running lab in its place, if anything does."""
        if (plan := self.plan) is None:
            return [self.model]
        return [self.model, *(one.model for one in plan.deployments
                              if one.deployment == plan.leading())]  # fmt: skip

    def rollouts(self) -> Iterator[tuple[int, Entry]]:
        """Numbers of rollouts with the entry of their start, the newest first."""
        for one in reversed(self.entries):
            if one.kind == Kind.ROLLOUT and "of" in one.document:
                yield int(one.document["rollout"]), one

    def ended(self, number: int) -> str:
        """The last phase of a rollout."""
        for one in reversed(self.entries):
            if one.kind == Kind.ROLLOUT and one.document.get("rollout") == number:
                return str(one.document.get("phase", ""))
        return ""

    @cached_property
    def ids(self) -> list[str]:
        """The content ids of the chosen model, if it is on this machine."""
        from llmlab.models.inspect import ids

        llama_server = self.config.service.llama_server
        return ids(self.config.stable, self.model, self.lab.root, llama_server=llama_server)

    @cached_property
    def not_ready(self) -> tuple[str, str]:
        """Why the chosen model cannot serve from this machine, and the fix; "" if it can."""
        from llmlab.models import availability

        found = availability(
            self.config.stable, self.model, self.lab.root,
            llama_server=self.config.service.llama_server,
        )  # fmt: skip
        return ("", "") if found.ready else (found.reason, found.fix)


def _parsed(text: str) -> Line | None:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
