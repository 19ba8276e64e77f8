"""The picture of a lab: clients, gateway, routes, deployments, and arrows as wide as their weights.
Places on a page; a template draws them. All in units of its own picture, which are pixels where it
is shown as wide as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmlab.console.pages import rate
from llmlab.console.ways import RouteNow, Way
from llmlab.engines.status import DeploymentStatus, LabStatus
from llmlab.models.identity import short_id
from llmlab.observe.observer import View

WIDTH = 1000.0
# Of each column: where it begins, and how wide it is.
CLIENTS, GATEWAY, ROUTES, DEPLOYMENTS = (0.0, 74.0), (146.0, 150.0), (372.0, 156.0), (728.0, 266.0)
EDGE, GAP, LINE, PORT = 12.0, 16.0, 18.0, 25.0  # around it, between boxes, of a text, of an arrow
PAD, HEAD = 14.0, 9.0
BELOW = 14.0  # an arrow, to the foot of its label
WIDEST, LEAST = 13.0, 1.5  # of arrows, for 100 % and for 0 %
LETTER = 7.6  # of a text of 13 pixels, in a wide font
STACKED = 2  # boxes behind a deployment's own, at most, that say that there are several processes


@dataclass(frozen=True)
class Text:
    """``title``: all of it, where it was cut."""

    y: float
    text: str
    look: str = ""
    title: str = ""


@dataclass(frozen=True)
class Box:
    """Args:
    behind: how many lie behind it.
    """

    x: float
    y: float
    width: float
    height: float
    look: str
    texts: tuple[Text, ...]
    behind: int = 0

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Arrow:
    """Args:
    path, head: of SVG: the line, and the points of its end.
    x, y: where its label ends.
    """

    path: str
    head: str
    width: float
    look: str
    x: float
    y: float
    label: str
    title: str = ""


@dataclass(frozen=True)
class Picture:
    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]

    @property
    def legend(self) -> list[str]:
        """What the looks of those arrows say that are drawn."""
        looks = {one.look for one in self.arrows}
        return [said for of, said in LEGEND if looks & set(of)]


LEGEND = (
    (("share",), "An arrow is as wide as its weight."),
    (("shadow",), "Dashed: copies, whose answers nobody sees."),
    (("match", "flag"), "Dotted: a match or a flag, which goes first."),
)


def picture(status: LabStatus, view: View | None, routes: Sequence[RouteNow]) -> Picture:
    deployments = _deployments(status, view, routes)
    ways = [(route, way) for route in routes for way in route.ways]
    ends = _ends(deployments, [way for _, way in ways])
    boxes = _routes(routes, ends)
    routed = [one.middle for one in boxes]
    gateway = _gateway(status, (min(routed) + max(routed)) / 2)
    tallest = max(one.y + one.height for one in (gateway, *deployments.values(), *boxes))
    clients = Box(CLIENTS[0], gateway.middle - 26, CLIENTS[1], 52, "clients",
                  (Text(gateway.middle + 5, "clients"),))  # fmt: skip
    told = f"{rate(view.glance.total.per_second)}/s" if view else ""
    arrows = [_arrow(clients, clients.middle, gateway, gateway.middle, 3.0, "in", told)]
    spread = _spread(gateway, len(boxes), 12.0)
    arrows += [
        _arrow(gateway, start, box, box.middle, 3.0, "in", "")
        for start, box in zip(spread, boxes, strict=True)
    ]
    lowest: dict[str, float] = {}
    for _, way in ways:
        if way.deployment in deployments:
            lowest[way.deployment] = max(ends[id(way)], lowest.get(way.deployment, 0.0))
    for route, box in zip(routes, boxes, strict=True):
        starts = _spread(box, len(route.ways), WIDEST + 2)
        for start, way in zip(starts, route.ways, strict=True):
            if target := deployments.get(way.deployment):
                stop, width = ends[id(way)], stroke(way)
                arrow = _arrow(box, start, target, stop, width, way.kind, label(way))
                if start < stop == lowest[way.deployment]:  # from above: its label lies below it
                    arrow = replace(arrow, y=round(stop + width / 2 + BELOW, 1))
                arrows.append(arrow)
    return Picture(
        WIDTH, tallest + EDGE, (clients, gateway, *boxes, *deployments.values()), tuple(arrows)
    )


def stroke(way: Way) -> float:
    """How wide its arrow is."""
    if way.kind != "share" or way.percent is None:
        return 2.0
    return LEAST + (WIDEST - LEAST) * way.percent / 100


def label(way: Way) -> str:
    """``95 %``, ``25 %, measured 12 %``, ``flag new-ui for 10 %``, ``copies, 20 %``"""
    parts = [way.said] if way.said else []
    parts += [f"{way.part:.3g} %"] if way.part is not None else []
    parts += [f"measured {way.measured:.3g} %"] if way.off and way.measured is not None else []
    return ", ".join(parts)


# --- its columns --------------------------------------------------------------------------------


def _deployments(
    status: LabStatus, view: View | None, routes: Sequence[RouteNow]
) -> dict[str, Box]:
    """In the order of the routes that lead to them, so that few arrows cross."""
    led = [way.deployment for route in routes for way in route.ways]
    known = {one.name: one for one in status.deployments}
    order = sorted(known, key=lambda name: _rank(name, routes))
    boxes, y = {}, EDGE
    for name in order:
        height = max(3 * LINE + 18, led.count(name) * PORT + 12)
        boxes[name] = _deployment(known[name], view, y, height, led=name in led)
        y += height + GAP
    return boxes


def _rank(name: str, routes: Sequence[RouteNow]) -> float:
    """The place of the routes that lead to a deployment, each by how wide it does; the last of all
    for one that can be asked by its name only."""
    led = [(number, stroke(way)) for number, route in enumerate(routes) for way in route.ways
           if way.deployment == name]  # fmt: skip
    whole = sum(width for _, width in led)
    return sum(number * width for number, width in led) / whole if whole else len(routes)


def _deployment(
    one: DeploymentStatus, view: View | None, y: float, height: float, *, led: bool
) -> Box:
    named = "" if one.model == one.name else f"{one.model}@"
    identity = short_id(one.model_id) if one.model_id else ""
    model = ", ".join(filter(None, [f"{named}{identity}", one.runtime])) if one.model else "loading"
    state = f"{one.ready} of {one.replicas} ready" if one.replicas > 1 else (
        "rests" if not one.replicas else "ready" if one.healthy else
        f"not ready: {one.state.lower()}"
    )  # fmt: skip
    seen = next((each.seen for each in view.deployments if each.name == one.name), None) if (
        view
    ) else None  # fmt: skip
    asked = bool(seen and seen.requests)
    how = " by name" if asked and not led else ""
    does = (
        f"{rate(seen.per_second)}/s" if seen and asked else "no requests" if led else "by name only"
    )
    mark = "✓" if one.healthy else "✗"
    top = y + (height - 3 * LINE) / 2 + 13
    x, width = DEPLOYMENTS
    return Box(
        x, y, width, height, "well" if one.healthy else "ill",
        (
            _text(top, f"{mark} {one.name}", "name", width),
            _text(top + LINE, model, "soft", width),
            _text(top + 2 * LINE, f"{state}, {does}{how}", "soft", width),
        ),
        behind=min(max(one.replicas - 1, 0), STACKED),
    )  # fmt: skip


def _ends(deployments: dict[str, Box], ways: Sequence[Way]) -> dict[int, float]:
    """Where the arrow of each way ends; by its identity, for two ways may be equal."""
    found: dict[int, float] = {}
    for name, box in deployments.items():
        here = [way for way in ways if way.deployment == name]
        top = box.middle + 4 - PORT * (len(here) - 1) / 2
        found |= {id(way): top + PORT * number for number, way in enumerate(here)}
    return found


def _routes(routes: Sequence[RouteNow], ends: dict[int, float]) -> list[Box]:
    """Each as near as can be to the middle of what it leads to."""
    boxes, y, (x, width) = [], EDGE, ROUTES
    for one in routes:
        lines = [_text(0, one.name, "name", width)]
        if one.rollout:
            lines += [_text(0, part, "under", width) for part in one.rollout.said.split(", ")]
        height = max(LINE * len(lines) + 20, len(one.ways) * (WIDEST + 2) + 8)
        there = [ends[id(way)] for way in one.ways if id(way) in ends]
        wanted = sum(there) / len(there) - height / 2 if there else y
        y = max(y, wanted)
        first = y + (height - LINE * len(lines)) / 2 + 13
        texts = tuple(
            Text(first + LINE * number, line.text, line.look, line.title)
            for number, line in enumerate(lines)
        )
        boxes.append(Box(x, y, width, height, "moving" if one.rollout else "route", texts))
        y += height + GAP
    return boxes


def _gateway(status: LabStatus, middle: float) -> Box:
    """Args:
    middle: where its own is to be, unless it would stand out at the top.
    """
    (x, width), one = GATEWAY, status.gateway
    lines = [f"{'✓' if one.healthy else '✗'} gateway", f"nginx {one.nginx.partition(' ')[0]}"]
    if one.certificate:
        lines.append("speaks TLS")
    if waf := status.waf:
        does = {"block": "WAF refuses", "detect": "WAF looks"}[waf.mode]
        lines.append(does if waf.answers else "✗ WAF does not answer")
    height = LINE * len(lines) + 20
    y = max(EDGE, middle - height / 2)
    texts = (_text(y + 23 + LINE * number, line, "soft" if number else "name", width)
             for number, line in enumerate(lines))  # fmt: skip
    return Box(x, y, width, height, "well" if one.healthy else "ill", tuple(texts))


# --- what they are made of ----------------------------------------------------------------------


def _text(y: float, text: str, look: str, width: float) -> Text:
    """Cut where it would not fit."""
    room = int((width - 2 * PAD) / (LETTER if look != "name" else LETTER + 0.9))
    if len(text) <= room:
        return Text(y, text, look)
    return Text(y, text[: room - 1] + "…", look, text)


def _spread(box: Box, count: int, apart: float) -> list[float]:
    """Where so many arrows begin at the right side of a box."""
    apart = min(apart, (box.height - 16) / max(count - 1, 1))
    return [box.middle + apart * (number - (count - 1) / 2) for number in range(count)]


def _arrow(
    begin: Box, start: float, end: Box, stop: float, width: float, look: str, label: str
) -> Arrow:
    x, to = begin.x + begin.width, end.x - 2
    half = width / 2 + 3.5
    base = to - HEAD
    bend = (x + base) / 2
    room = int((base - x) / LETTER)
    return Arrow(
        path=f"M{x:.1f} {start:.1f}C{bend:.1f} {start:.1f} {bend:.1f} {stop:.1f} "
        f"{base + 1:.1f} {stop:.1f}",
        head=f"{base:.1f},{stop - half:.1f} {to:.1f},{stop:.1f} {base:.1f},{stop + half:.1f}",
        width=round(width, 2), look=look, x=round(base - 3, 1), y=round(stop - width / 2 - 4, 1),
        label=label if len(label) <= room else label[: room - 1] + "…",
        title=label if len(label) > room else "",
    )  # fmt: skip
