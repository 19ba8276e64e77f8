"""The language of gates: ``rougeLsum>=-0.01 coverage>=+0.05 p95<=1.2x empty<=0.02``.

A condition is a metric, ``>=`` or ``<=``, and a bound. How the bound is written says what it
is compared with:

- with a sign, ``+0.05`` or ``-0.01``: the difference from the baseline;
- with an x, ``1.2x``: the ratio to the baseline;
- plain, ``0.8``: the value itself, whether there is a baseline or not.

All conditions have to hold. ``verdict.judge`` decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from llmlab.errors import UsageError
from llmlab.evaluate.measures import METRICS, Better, Metric
from llmlab.near import hint

EXAMPLE = "rougeLsum>=-0.01 coverage>=+0.05 unsupported<=+0.00 p95<=1.2x"
_CONDITION = re.compile(r"([A-Za-z_]\w*)(>=|<=)([+-]?)(\d+(?:\.\d+)?|\.\d+)(x?)", re.ASCII)
_OPERATOR = re.compile(r"\s*([<>=!≤≥]+)\s*")


class Against(StrEnum):
    """What a bound is compared with."""

    VALUE = "value"
    DIFFERENCE = "difference"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a gate, as it was written in ``text``."""

    text: str
    metric: Metric
    at_least: bool
    against: Against
    bound: float


@dataclass(frozen=True, slots=True)
class Gate:
    """Conditions, all of which must hold. There is at least one."""

    conditions: tuple[Condition, ...]

    @property
    def text(self) -> str:
        return " ".join(one.text for one in self.conditions)

    @property
    def needs_baseline(self) -> bool:
        return any(one.against is not Against.VALUE for one in self.conditions)


class GateError(UsageError):
    """A gate is not written as it must be, or cannot be judged with what there is."""


def parse_gate(text: str) -> Gate:
    """Read a gate.

    Conditions are separated by white space or commas.

    Raises:
        GateError: says which condition is wrong, why, and what it should look like.
    """
    parts = _OPERATOR.sub(r"\1", text).replace(",", " ").split()
    if not parts:
        raise GateError("the gate is empty, so everything would pass", fix=f'--gate "{EXAMPLE}"')
    conditions = tuple(_condition(part) for part in parts)
    seen: dict[tuple[str, bool, Against], str] = {}
    for one in conditions:
        key = one.metric.name, one.at_least, one.against
        if key in seen:
            raise GateError(
                f"{seen[key]} and {one.text} bound the same thing twice", fix="leave out one"
            )
        seen[key] = one.text
    return Gate(conditions)


def _condition(part: str) -> Condition:
    found = _CONDITION.fullmatch(part)
    if not found:
        raise _unreadable(part)
    name, operator, sign, number, ratio = found.groups()
    metric = _metric(name)
    at_least = operator == ">="
    if metric.better is (Better.LOWER if at_least else Better.HIGHER):
        word = "higher" if metric.better is Better.HIGHER else "lower"
        right = ">=" if word == "higher" else "<="
        raise GateError(
            f"{part}: {name} is better when it is {word}, so this would ask for a bad model",
            fix=f"{name}{right}{sign}{number}{ratio}",
        )
    if sign and ratio:
        raise GateError(
            f"{part}: a bound is either a difference or a ratio",
            fix=f"{name}{operator}{sign}{number} or {name}{operator}{number}x",
        )
    bound = float(f"{sign}{number}")
    if ratio and bound == 0:
        raise GateError(f"{part}: nothing is a ratio of 0", fix=f"{name}{operator}1.2x")
    against = Against.RATIO if ratio else Against.DIFFERENCE if sign else Against.VALUE
    return Condition(part, metric, at_least, against, bound)


def _metric(name: str) -> Metric:
    if name in METRICS:
        return METRICS[name]
    raise GateError(
        f"there is no metric {name!r}{hint(name, METRICS)}",
        fix=f"name one of {', '.join(METRICS)}",
    )


def _unreadable(part: str) -> GateError:
    pieces = re.fullmatch(r"([^<>=!≤≥]*)([<>=!≤≥]*)(.*)", part, re.DOTALL)
    assert pieces
    name, operator, bound = pieces.groups()
    if operator and operator not in (">=", "<="):
        return GateError(f"{part}: {operator} is none of >= and <=", fix=f"{name}>={bound}")
    if operator and bound.endswith("%"):
        return GateError(
            f"{part}: bounds are no percentages",
            fix=f"{name}{operator}+0.05 or {name}{operator}1.2x",
        )
    return GateError(
        f"{part!r} is no condition: it should be a metric, >= or <=, and a number",
        fix=f'such as "{EXAMPLE}"',
    )
