"""Which requests go where: the deployments beside the configured ones, and the routes to them.

A route is a public model name: what a client asks for, by a path or by ``model`` in a request of
OpenAI's. Each has its own stable deployment, shares, matches and shadow.

This is what an operator wants, as it is written down (``llmlab.delivery``) and rendered
(``llmlab.gateway``). A leaf: plain data, checked when it is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from llmlab.names import SUMMARIZE

Percent = Annotated[float, Field(ge=0, le=100)]
MOST_REPLICAS = 256  # of one deployment


@dataclass(frozen=True)
class Deployed:
    """A deployment that was started beside those of lab.toml.

    Args:
        name: of the deployment, as in ``/models/<name>/``.
        model: a name of lab.toml, or NAME:VERSION of a registered model; never an alias, which
            may mean another model tomorrow.
        replicas: processes (containers) that share its requests; 0: it rests, and has none unless
            something leads to it.
        rollout: number of the rollout that started it, which also ends it; 0 for a person.
    """

    name: str
    model: str
    replicas: Annotated[int, Field(ge=0, le=MOST_REPLICAS)] = 1
    rollout: int = 0


@dataclass(frozen=True)
class Share:
    """A deployment's part of the requests that no match has taken, in percent."""

    deployment: str
    percent: Percent


@dataclass(frozen=True)
class Split:
    """Shares of a route; the rest goes to its stable deployment.

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
        route: those of which route.
        decoding: defaults for such requests: max_length, min_length, strategy.
    """

    name: str
    percent: Percent = 0.0
    audience: tuple[tuple[str, str], ...] = ()
    deployment: str = ""
    route: str = SUMMARIZE
    decoding: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Route:
    """Where the requests of one route go. The default is one as lab.toml describes it.

    Args:
        stable: the deployment that gets what nothing else takes; "" for the configured one.
        rollout: which one made it so; 0 for none.
        step: at which of its steps it is (from 1); 0 before the first one, and when it is over.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    stable: str = ""
    split: Split | None = None
    matches: tuple[Match, ...] = ()
    shadow: Shadow | None = None
    rollout: int = 0
    step: int = 0

    def weights(self, stable: str) -> dict[str, float]:
        """Percent of its requests by deployment, without matches.

        Args:
            stable: the configured stable deployment.
        """
        shares = {one.deployment: one.percent for one in self.split.shares} if self.split else {}
        first = self.stable or stable
        shares[first] = shares.get(first, 0.0) + max(0.0, 100.0 - sum(shares.values()))
        return shares

    def targets(self) -> set[str]:
        """Every deployment that some request may go to, but for the configured stable one."""
        found = {one.deployment for one in self.matches}
        found |= {one.deployment for one in self.split.shares} if self.split else set()
        found |= {self.shadow.deployment} if self.shadow else set()
        return found | ({self.stable} if self.stable else set())


AS_CONFIGURED = Route()


@dataclass(frozen=True)
class Traffic:
    """All of it. The default is a lab as lab.toml describes it.

    Args:
        routes: those that differ from lab.toml, by name.
        revision: number of the ledger's entry that made this; 0 before there was one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    deployments: tuple[Deployed, ...] = ()
    routes: Mapping[str, Route] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    revision: int = 0

    @classmethod
    def parse(cls, document: str) -> Traffic:
        """Raises ValueError: it is no such document."""
        return _TRAFFIC.validate_json(_as_of_today(document), strict=True)

    def dump(self) -> str:
        return _TRAFFIC.dump_json(self).decode()

    def route(self, name: str) -> Route:
        return self.routes.get(name, AS_CONFIGURED)

    def with_route(self, name: str, route: Route) -> Traffic:
        """The same, but for one route."""
        rest = {one: there for one, there in self.routes.items() if one != name}
        changed = rest if route == AS_CONFIGURED else {**rest, name: route}
        return replace(self, routes=dict(sorted(changed.items())))

    def deployed(self, name: str) -> Deployed | None:
        return next((one for one in self.deployments if one.name == name), None)

    def flags_of(self, route: str) -> tuple[Flag, ...]:
        """The flags that lead requests of a route somewhere, in their order."""
        return tuple(one for one in self.flags if one.deployment and one.route == route)

    def targets(self) -> set[str]:
        """Every deployment that some request may go to, but for the configured stable ones."""
        found = {one.deployment for one in self.flags if one.deployment}
        return found.union(*(route.targets() for route in self.routes.values()))

    def at(self, revision: int) -> Traffic:
        return replace(self, revision=revision)


def _as_of_today(document: str) -> str:
    """Before there were several routes, it said at its top what was the one route's."""
    found = json.loads(document)
    own = {one.name for one in fields(Route)}
    if not isinstance(found, dict) or "routes" in found or not own & found.keys():
        return document
    route = {name: value for name, value in found.items() if name in own}
    rest = {name: value for name, value in found.items() if name not in own}
    says_something = any(route.values())
    return json.dumps({**rest, "routes": {SUMMARIZE: route} if says_something else {}})


_TRAFFIC: TypeAdapter[Traffic] = TypeAdapter(Traffic)
