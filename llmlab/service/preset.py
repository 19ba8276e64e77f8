"""What the gateway tells an API beside the request: defaults for decoding, and feature flags.

The gateway writes these headers for every request, whatever the client sent, so a wrong one is
a mistake of the lab and none of the client: it is logged and counted, and goes for nothing.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from llmlab.bounds import LONGEST_SUMMARY
from llmlab.runtimes.base import Generation, Strategy
from llmlab.service.metrics import Metrics
from llmlab.service.schemas import SummarizeRequest

DECODING, FLAGS = "X-Decoding", "X-Flags"
LONGEST = 8192  # characters of such a header
TOLD = 200  # of one in the log

NUMBER = re.compile(r"[0-9]{1,4}")
STATE = re.compile(r"([a-z0-9][a-z0-9-]{0,63})=(on|off)")

log = logging.getLogger("llmlab.service")


@dataclass(frozen=True, slots=True)
class Preset:
    """Decoding parameters of a request that names none of its own."""

    max_length: int | None = None
    min_length: int | None = None
    strategy: Strategy | None = None

    @classmethod
    def parse(cls, header: str) -> Preset:
        """``max_length=60,min_length=5,strategy=truncate``: any of these, each once.

        Raises:
            ValueError: it is anything else.
        """
        found: dict[str, Any] = {}
        for part in header.split(",") if header else ():
            name, equals, value = part.partition("=")
            if not equals or name in found:
                raise ValueError(f"{part!r} is no parameter, or there twice")
            match name:
                case "strategy":
                    found[name] = Strategy(value)
                case "max_length" | "min_length":
                    least = 1 if name == "max_length" else 0
                    found[name] = _number(value, least)
                case _:
                    raise ValueError(f"{name!r} is no parameter")
        one = cls(**found)
        if one.max_length is not None and (one.min_length or 0) > one.max_length:
            raise ValueError("min_length is above max_length")
        return one

    def applied_to(self, request: SummarizeRequest) -> Generation:
        """The parameters of a request. What it says itself wins, and a length of the preset
        that contradicts it yields."""
        longest, shortest = request.max_length, request.min_length
        if longest is None and self.max_length is not None:
            longest = max(self.max_length, shortest or 0)
        if shortest is None and self.min_length is not None:
            shortest = self.min_length if longest is None else min(self.min_length, longest)
        said = "strategy" in request.model_fields_set
        return Generation(
            longest, shortest, request.strategy if said else self.strategy or request.strategy
        )


def parse_flags(header: str) -> dict[str, bool]:
    """``a=on,b=off``

    Raises:
        ValueError: it is anything else.
    """
    found: dict[str, bool] = {}
    for part in header.split(",") if header else ():
        state = STATE.fullmatch(part)
        if state is None or state[1] in found:
            raise ValueError(f"{part!r} is no flag, or there twice")
        found[state[1]] = state[2] == "on"
    return found


class Told:
    """Reads these headers. Of equal mistakes only the first is logged: each request has it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._complained: dict[str, str] = {}

    def preset(self, headers: Headers) -> Preset:
        try:
            return Preset.parse(_of(headers, DECODING))
        except ValueError as error:
            self._complain(headers, DECODING, error)
            return Preset()

    def flags(self, headers: Headers) -> dict[str, bool]:
        try:
            return parse_flags(_of(headers, FLAGS))
        except ValueError as error:
            self._complain(headers, FLAGS, error)
            return {}

    def _complain(self, headers: Headers, name: str, error: ValueError) -> None:
        self._metrics.ignored.labels(name).inc()
        value = headers.get(name, "")[:TOLD]
        if self._complained.get(name) != value:
            self._complained[name] = value
            log.error("the gateway's header %s: %r is ignored: %s", name, value, str(error)[:TOLD])


def _of(headers: Headers, name: str) -> str:
    given = headers.getlist(name)
    if len(given) > 1 or len("".join(given)) > LONGEST:
        raise ValueError("it is there twice, or too long")
    return "".join(given)


def _number(text: str, least: int) -> int:
    if not NUMBER.fullmatch(text) or not least <= int(text) <= LONGEST_SUMMARY:
        raise ValueError(f"{text!r} is no length from {least} to {LONGEST_SUMMARY}")
    return int(text)
