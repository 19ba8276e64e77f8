"""Traffic of a lab that has one route, summarize."""

from __future__ import annotations

from typing import Any

from llmlab.names import SUMMARIZE
from llmlab.traffic import Deployed, Flag, Route, Traffic


def summarizing(
    *,
    deployments: tuple[Deployed, ...] = (),
    flags: tuple[Flag, ...] = (),
    revision: int = 0,
    **route: Any,
) -> Traffic:
    """``route`` is what a ``Route`` says: ``stable``, ``split``, ``matches``, ``shadow``, ..."""
    others = Traffic(deployments=deployments, flags=flags, revision=revision)
    return others.with_route(SUMMARIZE, Route(**route))


def route_of(traffic: Traffic) -> Route:
    return traffic.route(SUMMARIZE)
