"""Which requests go where: the deployments beside the configured ones, and the routes to them.

This is what an operator wants, as it is written down (``llmlab.delivery``) and rendered
(``llmlab.gateway``). A leaf: plain data, checked when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

Percent = Annotated[float, Field(ge=0, le=100)]


@dataclass(frozen=True)
class Deployed:
    """A deployment that was started beside those of lab.toml.

    Args:
        name: of the deployment, as in ``/models/<name>/``.
        model: a name of lab.toml, or NAME:VERSION of a registered model; never an alias, which
            may mean another model tomorrow.
        replicas: processes (containers) that share its requests.
        rollout: number of the rollout that started it, which also ends it; 0 for a person.
    """

    name: str
    model: str
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    rollout: int = 0


@dataclass(frozen=True)
class Share:
    """A deployment's part of the requests that no match has taken, in percent."""

    deployment: str
    percent: Percent


@dataclass(frozen=True)
class Split:
    """Shares of ``/summarize/``; the rest goes to the stable deployment.

    Who goes where is a function of ``by`` and ``salt`` alone. The first share begins at 0, so
    raising it moves nobody back.

    Args:
        by: ``subject`` (the token's ``sub``, else the cookie ``llmlab``, else the address),
            ``cookie:NAME`` or ``claim:NAME`` (with the same fallbacks where it is absent).
        salt: of the hash, so that the first subjects of one rollout are not those of the next.
    """

    shares: tuple[Share, ...]
    by: str = "subject"
    salt: str = ""


@dataclass(frozen=True)
class Match:
    """Requests of one kind that go to one deployment, whatever the shares say.

    ``kind`` header: ``name`` is the header's; cookie and claim likewise; flag: ``name`` is the
    flag's, and ``value`` "on".
    """

    kind: Literal["header", "cookie", "claim", "flag"]
    name: str
    value: str
    deployment: str


@dataclass(frozen=True)
class Shadow:
    """A deployment that gets copies of so many percent of the requests; nobody sees its answers."""

    deployment: str
    percent: Percent


@dataclass(frozen=True)
class Flag:
    """A feature flag, which the gateway evaluates for every request.

    It is on for a subject that ``audience`` names, and for ``percent`` of the others, always
    the same ones.

    Args:
        audience: (claim, value) pairs, any of which is enough.
        deployment: where requests go for which it is on; "" for anywhere.
        decoding: defaults for such requests: max_length, min_length, strategy.
    """

    name: str
    percent: Percent = 0.0
    audience: tuple[tuple[str, str], ...] = ()
    deployment: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Traffic:
    """All of it. The default is a lab as lab.toml describes it.

    Args:
        stable: the deployment that gets what nothing else takes; "" for the configured one.
        rollout, step: which rollout made these routes, and at which of its steps (from 1);
            0 for none.
        revision: number of the ledger's entry that made this; 0 before there was one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    stable: str = ""
    deployments: tuple[Deployed, ...] = ()
    split: Split | None = None
    matches: tuple[Match, ...] = ()
    shadow: Shadow | None = None
    flags: tuple[Flag, ...] = ()
    rollout: int = 0
    step: int = 0
    revision: int = 0

    @classmethod
    def parse(cls, document: str) -> Traffic:
        """Raises ValueError: it is no such document."""
        return _TRAFFIC.validate_json(document, strict=True)

    def dump(self) -> str:
        return _TRAFFIC.dump_json(self).decode()

    def weights(self, stable: str) -> dict[str, float]:
        """Percent of ``/summarize/`` by deployment, without matches.

        Args:
            stable: the configured stable deployment.
        """
        shares = {one.deployment: one.percent for one in self.split.shares} if self.split else {}
        first = self.stable or stable
        shares[first] = shares.get(first, 0.0) + max(0.0, 100.0 - sum(shares.values()))
        return shares

    def deployed(self, name: str) -> Deployed | None:
        return next((one for one in self.deployments if one.name == name), None)

    def targets(self) -> set[str]:
        """Every deployment that some request may go to, but for the configured stable one."""
        found = {one.deployment for one in self.matches}
        found |= {one.deployment for one in self.flags if one.deployment}
        found |= {one.deployment for one in self.split.shares} if self.split else set()
        found |= {self.shadow.deployment} if self.shadow else set()
        return found | ({self.stable} if self.stable else set())

    def at(self, revision: int) -> Traffic:
        return replace(self, revision=revision)


_TRAFFIC: TypeAdapter[Traffic] = TypeAdapter(Traffic)
