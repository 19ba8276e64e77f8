"""What the console's pages are made from: the lab that it belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property

from llmlab.config import Config, read_config
from llmlab.console.watching import watch
from llmlab.engines.base import Engine
from llmlab.engines.record import Record
from llmlab.errors import UpstreamError
from llmlab.gateway.console import cookie
from llmlab.lab import Lab
from llmlab.ledger.store import Store
from llmlab.registry import Registry


@dataclass(frozen=True)
class Desk:
    """Of one lab; made anew for each request, so that what it has read is of one moment."""

    lab: Lab

    @cached_property
    def record(self) -> Record:
        """What runs.

        Raises:
            UpstreamError: nothing does.
        """
        found = Record.read(self.lab)
        if found is None:
            raise UpstreamError("the lab does not run", fix="llmlab up")
        return found

    @cached_property
    def running(self) -> Config:
        """The configuration that the running lab was brought up with."""
        return self.record.plan().config

    @cached_property
    def engine(self) -> Engine:
        """The one that all pages share: they ask for it once a second.

        Raises:
            UpstreamError: the lab does not run.
        """
        return watch(self.lab).engine()

    @property
    def config(self) -> Config:
        """lab.toml as it is now."""
        return read_config(self.lab.config_file, environ=os.environ).config

    @property
    def store(self) -> Store:
        return Store(self.lab)

    @property
    def registry(self) -> Registry:
        return Registry(self.lab)

    @property
    def cookie(self) -> str:
        """The name of the cookie that holds a visitor's token."""
        return cookie(self.running.gateway.port)
