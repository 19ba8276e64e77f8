"""Planning a rollout in a form: what it takes and what is wrong with it, before it begins."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from llmlab.console.arriving import why_of
from llmlab.console.desk import Desk
from llmlab.console.pages import Change, Page, Query
from llmlab.console.visitor import Visitor
from llmlab.errors import AuthError, LlmlabError, UsageError
from llmlab.names import SUMMARIZE
from llmlab.near import hint
from llmlab.rollout.desk import desk_of, known_of
from llmlab.rollout.linting import lint
from llmlab.rollout.page import KINDS as MEANS
from llmlab.rollout.planning import Known, Wish, deployments, rules_of, stable_of
from llmlab.rollout.power import usual_of
from llmlab.rollout.problems import Problem
from llmlab.rollout.running import RunningLab
from llmlab.rollout.state import Kind, Rules
from llmlab.rollout.store import Rollouts
from llmlab.rollout.wishing import asked

log = logging.getLogger("llmlab.console")
KINDS = (Kind.CANARY, Kind.BLUEGREEN, Kind.AB, Kind.SHADOW)
BESIDE = re.compile(r" \(--[a-z-]+\)")  # an option's name beside what it is
MODELS = ("model", "b")  # fields
ON = "on"  # a box that is ticked


@dataclass(frozen=True)
class Field:
    """One of a form. ``default``: what lab.toml has, in the same words."""

    name: str
    label: str
    hint: str
    value: str
    default: str
    long: bool = False
    ticked: bool = False  # whether it is a box


@dataclass(frozen=True)
class Planned:
    """
    Args:
        given: all of its values, as they are sent to begin it.
        problems: what is wrong, and what it takes; of lab.toml's rules, until a model is named.
        wrong: {field: what is wrong with it}.
        ready: whether nothing keeps it from beginning.
        models: that may be named.
    """

    kind: Kind
    route: str
    stable: str
    routes: tuple[str, ...]
    main: tuple[Field, ...]
    gate: tuple[Field, ...]
    given: Mapping[str, str]
    problems: tuple[Problem, ...]
    wrong: Mapping[str, str]
    ready: bool
    named: bool
    models: tuple[str, ...]
    kinds: tuple[Kind, ...] = KINDS
    means: Mapping[Kind, str] = field(default_factory=lambda: MEANS)

    @property
    def told(self) -> list[Problem]:
        """The problems, for those who have a form and no command line."""
        labels = {one.name: one.label for one in (*self.main, *self.gate)}
        return [replace(one, fix=fix_in_form(one.fix, labels)) for one in self.problems]

    def as_json(self) -> list[dict[str, Any]]:
        """As `llmlab rollout lint -o json`."""
        return [asdict(one) for one in self.problems]


def gather(desk: Desk, query: Query, visitor: Visitor) -> Planned:
    if not visitor.operates:
        raise AuthError(
            "a viewer begins no rollout", fix="a token of the scope llmlab:operator"
        )  # fmt: skip
    known = known_of(desk.lab)
    kind, route = kind_of(query), route_of(query, known)
    traffic = Rollouts(desk.lab).traffic()
    rules = rules_of(known.config, Wish(kind, (), route=route))
    main = tuple(_filled(_main(kind, rules), query))
    gate = tuple(_filled(_gate(kind, route, rules), query))
    named = bool(query.get("model"))
    wrong = dict(_wrong(query, known, visitor, (*main, *gate)))
    right = {name: value for name, value in query.items() if name not in wrong}
    problems = (*wrong.values(), *_problems(desk, right, known, visitor))
    marked = {name: one.message.removeprefix(f"{name}: ") for name, one in wrong.items()}
    marked |= {one.name: said for one in (*main, *gate) if one.name not in wrong
               for said in _about(one, problems)}  # fmt: skip
    catalogue = known.catalogue
    models = {
        **dict.fromkeys(sorted(deployments(known, traffic))),
        **dict.fromkeys(catalogue.config.models),
        **dict.fromkeys(catalogue.registry.aliases()),
        **dict.fromkeys(one.reference for one in catalogue.registry.records()),
    }
    given = {"kind": str(kind), "route": route} | {
        one.name: one.value for one in (*main, *gate) if one.value
    }
    emptied = [one.name for one in gate if one.default and not one.value]
    stable = stable_of(known, traffic, route).deployment
    return Planned(
        kind, route, stable, tuple(known.plan.routes), main, gate,
        given | dict.fromkeys(emptied, ""), problems, marked,
        named and not any(one.severity == "error" for one in problems), named,
        tuple(one for one in models if one != stable),
    )  # fmt: skip


def _wrong(
    query: Query, known: Known, visitor: Visitor, fields: Sequence[Field]
) -> Iterator[tuple[str, Problem]]:
    """The fields that cannot be read, each by itself: so all of them are told of at once."""
    of_all = {name: query[name] for name in ("kind", "route") if name in query}
    for one in fields:
        try:
            wish_of({**of_all, one.name: one.value}, known, visitor)
        except LlmlabError as error:
            yield one.name, Problem("error", error.message, error.fix or "")


def _about(field: Field, problems: Sequence[Problem]) -> Iterator[str]:
    """What is wrong with a setting of the same name, or with the model that it names."""
    setting = f"rollout.{field.name}: "
    for one in problems:
        if one.severity != "error":
            continue
        if one.message.startswith(setting):
            yield one.message.removeprefix(setting)
        elif field.name in MODELS and field.value and repr(field.value) in one.message:
            yield one.message


def fix_in_form(fix: str, labels: Mapping[str, str]) -> str:
    """
    Args:
        fix: ``--steps 5,25,50,100``, ``min_samples 1``, ``a later deadline (--progress-deadline)``.
        labels: {field: its label}.

    Returns:
        The same with the labels of fields for options' names.
    """
    fix = BESIDE.sub("", fix)
    name, _, value = fix.partition(" ")
    label = labels.get(name.removeprefix("--").replace("-", "_"), "")
    return f"{label}: {value}" if label and value else fix


def _problems(desk: Desk, query: Query, known: Known, visitor: Visitor) -> Iterator[Problem]:
    running = RunningLab(desk.lab)
    try:
        wish = wish_of(query, known, visitor)
    except LlmlabError as error:
        yield Problem("error", error.message, error.fix or "")
        return
    yield from lint(
        wish, desk.lab, known.catalogue, lambda: known,
        lambda deployment: usual_of(running, deployment),
    )  # fmt: skip


def start(desk: Desk, form: Query, visitor: Visitor) -> str:
    known, why = known_of(desk.lab), why_of(form)
    wish = wish_of(form, known, visitor, why)
    if not wish.models:
        raise UsageError("which model is to be rolled out?", fix="name it in the form")
    # What takes long (a model that is fetched, an API that starts) is the controller's.
    made = desk_of(desk.lab, log.info).start(wish, known)
    return f"rollout?number={made.number}"


# --- from a form to a wish ----------------------------------------------------------------------


def wish_of(form: Query, known: Known, visitor: Visitor, why: str = "") -> Wish:
    """
    Raises:
        UsageError: a field says what it cannot.
    """
    kind, route = kind_of(form), route_of(form, known)
    rules = rules_of(known.config, Wish(kind, (), route=route))
    fields = {
        one.name: one
        for one in _filled((*_main(kind, rules), *_gate(kind, route, rules)), form)
    }  # fmt: skip

    def changed(name: str) -> str | None:
        one = fields.get(name)
        return None if one is None or one.value == one.default else one.value

    def figure(name: str) -> float | None:
        said = changed(name)
        if not said:
            return None
        try:
            return float(said)
        except ValueError:
            raise UsageError(f"{name}: {said!r} is no number", fix=fields[name].default) from None

    samples = figure("min_samples")
    wanted = asked(
        steps=changed("steps") or "", interval=changed("interval") or "",
        bake=changed("bake") or "", progress_deadline=changed("progress_deadline") or "",
        text_gate=changed("text_gate"), probe_suite=changed("probe_suite") or None,
        probe_rate=_within("probe_rate", figure("probe_rate"), 0, 50),
        min_samples=None if samples is None else int(_within("min_samples", samples, 1, 1e6) or 1),
        answer_gate=changed("answer_gate"), pairs=_within("pairs", figure("pairs"), 0, 1),
        pairs_gate=changed("pairs_gate"),
    )  # fmt: skip
    models = [form.get("model", "").strip(), form.get("b", "").strip()]
    least, most = (1, 99) if kind is Kind.AB else (0.1, 100)
    usual = {Kind.AB: 50.0, Kind.SHADOW: 20.0}.get(kind, 0.0)
    percent = _within("percent", figure("percent"), least, most) if usual else None
    return Wish(
        kind, tuple(one for one in models[: 2 if kind is Kind.AB else 1] if one),
        percent=usual if percent is None else percent, by=form.get("by", "").strip() or "subject",
        auto_promote=form.get("auto_promote") == ON, rules=wanted, who=visitor.subject, why=why,
        route=route,
    )  # fmt: skip


def kind_of(form: Query) -> Kind:
    said = form.get("kind") or str(Kind.CANARY)
    if said not in KINDS:
        raise UsageError(f"{said!r} is no kind of rollout", fix=", ".join(KINDS))
    return Kind(said)


def route_of(form: Query, known: Known) -> str:
    route, routes = form.get("route") or SUMMARIZE, known.plan.routes
    if route not in routes:
        raise UsageError(
            f"this lab has no route {route!r}; routes: {', '.join(routes)}{hint(route, routes)}",
            fix=f"{route} = MODEL in [routes] of configs/lab.toml, then llmlab up",
        )
    return route


def _within(name: str, value: float | None, least: float, most: float) -> float | None:
    if value is None or least <= value <= most:  # no NaN is
        return value
    raise UsageError(
        f"{name}: {value:g} is not from {least:g} to {most:g}", fix=f"{name} {least:g}"
    )


# --- its fields ---------------------------------------------------------------------------------


def _filled(fields: Sequence[Field], query: Query) -> Iterator[Field]:
    for one in fields:
        value = query.get(one.name, "" if one.ticked else one.default).strip()
        yield Field(one.name, one.label, one.hint, value, one.default, one.long, one.ticked)


def _main(kind: Kind, rules: Rules) -> tuple[Field, ...]:
    model = "a deployment, a model of lab.toml, or a registered one"
    found = [_field("model", "Model A" if kind is Kind.AB else "Model", model, "")]
    if kind is Kind.AB:
        found += [
            _field("b", "Model B", model, ""),
            _field("percent", "Percent for A", "of the requests", "50"),
            _field("by", "Kept together", "subject, cookie:NAME or claim:NAME", "subject"),
        ]
        return tuple(found)
    if kind is Kind.CANARY:
        steps = ",".join(f"{one:g}" for one in rules.steps)
        hint = "percent of the requests, up to 100"
        if rules.holdback:
            hint += f", of which {rules.holdback:g} % are held back to compare with"
        found.append(_field("steps", "Steps", hint, steps))
    if kind is Kind.SHADOW:
        found.append(_field("percent", "Percent to copy", "of the requests", "20"))
    found.append(_field("interval", "Interval", "a step takes at least", f"{rules.interval:g}s"))
    if kind is Kind.CANARY:
        found.append(_field("bake", "Last watch", "after the last step", f"{rules.bake:g}s"))
    found.append(_field(
        "progress_deadline", "Deadline", "when a step without a decision pauses",
        f"{rules.progress_deadline:g}s",
    ))  # fmt: skip
    if kind is Kind.BLUEGREEN:
        found.append(Field(
            "auto_promote", "Switch by itself", "once the gate has passed; else a person does",
            "", "", ticked=True,
        ))  # fmt: skip
    return tuple(found)


def _gate(kind: Kind, route: str, rules: Rules) -> tuple[Field, ...]:
    texts = _field(
        "text_gate", "Gate of texts", "empty: no texts are judged", rules.text_gate, True
    )
    samples = _field("min_samples", "Answers at least", "of a step", str(rules.min_samples))
    if kind is Kind.SHADOW:
        return texts, samples
    found = [texts]
    if route != SUMMARIZE and kind in (Kind.CANARY, Kind.AB):
        found.append(_field(
            "answer_gate", "Gate of how answers come and end", "empty: not judged",
            rules.answer_gate, True,
        ))  # fmt: skip
    found += [
        _field("pairs_gate", "Gate of pairs", "of what both make of the same texts",
               rules.pairs_gate, True),
        _field("pairs", "Share of pairs", "of the answers, 0 to 1; 0: none", f"{rules.pairs:g}"),
        _field("probe_suite", "Suite of texts", "that both are asked", rules.probe_suite),
        _field("probe_rate", "Probes a second", "beside the traffic", f"{rules.probe_rate:g}"),
    ]  # fmt: skip
    return (*found, samples) if kind is not Kind.AB else tuple(found)


def _field(name: str, label: str, hint: str, default: str, long: bool = False) -> Field:
    return Field(name, label, hint, default, default, long)


# The fields of all kinds and routes.
ASKS = tuple(dict.fromkeys((
    "kind", "route",
    *(one.name for kind in KINDS for route in (SUMMARIZE, "") for one in (
        *_main(kind, Rules()), *_gate(kind, route, Rules()))),
)))  # fmt: skip
PAGES: Sequence[Page] = (
    Page("rollout/start", "", "rollout_start.html.j2", gather, menu="rollout", asks=ASKS),
)
CHANGES: Sequence[Change] = (Change("rollout/start", start),)
