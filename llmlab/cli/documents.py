"""What `-o json` prints: the type of each verb's document, where one can look it up.

A type is one of three: a dataclass, of which the verb prints ``asdict``; a TypedDict, which the
type checker holds against what is printed; or several of them joined. Tests hold what the verbs
really print against them, and the reference shows them.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, NotRequired, TypedDict, TypeVar


class Changed(TypedDict):
    """Args:
    changed: whether anything had to be done.
    """

    changed: bool


class Address(TypedDict):
    """Args:
    url: where the deployment can be asked for by name.
    """

    url: str


class Undeployed(TypedDict):
    name: str
    changed: bool


class Listed(TypedDict):
    """A model of lab.toml, or a registered one.

    Args:
        name: of a registered one NAME:VERSION.
        registered: whether it is of the registry rather than of lab.toml.
        id: its content id; "" where only the model's files can tell.
        role: stable or fallback; "" for neither.
        origin: where a registered one is from: hub, path, tuned or import.
        ready: whether it can be served right now; ``reason`` and ``fix`` say why not.
    """

    name: str
    registered: bool
    id: str
    aliases: list[str]
    role: str
    runtime: str
    source: str
    origin: str
    ready: bool
    reason: str
    fix: str | None


class ExportedModel(TypedDict):
    reference: str
    id: str
    file: str
    bytes: int


class New(TypedDict):
    """Args:
    new: whether it was not registered before.
    """

    new: bool


class Key(TypedDict):
    """A key that signs tokens, without its secret.

    Args:
        created: in UTC, ISO 8601; "" for one that was revoked.
        state: signing, valid, or revoked and when.
        demo: whether it is the published one.
    """

    kid: str
    alg: str
    created: str
    state: str
    demo: bool


class Token(TypedDict):
    """Args:
    expires_in: seconds.
    """

    token: str
    kid: str
    sub: str
    expires_in: int


class Ended(TypedDict):
    """Args:
    until: tokens that were made until then are refused, in seconds since 1970; null for none.
    """

    sub: str
    until: int | None


class EndedSubject(TypedDict):
    """Args:
    until: tokens that were made until then are refused; in UTC, ISO 8601.
    """

    sub: str
    until: str


class Value(TypedDict):
    """A value of the configuration.

    Args:
        origin: configs/lab.toml, environment and the variable's name, flag, registry or default.
        running: what the running lab was brought up with; only where one runs.
    """

    path: str
    value: Any
    origin: str
    running: NotRequired[Any]


class NotebookAddress(TypedDict):
    """Args:
    url: with its token: whoever has it can run programs.
    """

    url: str


class Routed(TypedDict):
    """Args:
    routed: whether a running gateway goes by it.
    """

    routed: bool


class RemovedFlag(TypedDict):
    """Args:
    routed: whether a running gateway goes by it.
    """

    flag: str
    routed: bool


class FlagExplained(TypedDict):
    """Args:
    rule: audience: a claim names the subject; share: by its place in the share; nobody.
    why: in one sentence.
    claims: that it was evaluated for.
    """

    flag: str
    on: bool
    rule: Literal["audience", "share", "nobody"]
    why: str
    claims: dict[str, Any]


class WholeLedger(TypedDict):
    """Args:
    whole: whether no problem was found.
    """

    whole: bool


class ExportedLedger(TypedDict):
    """Args:
    head: the hash of the last entry.
    """

    file: str
    entries: int
    head: str


class FalseAlarm(TypedDict):
    """A real rollout of a version beside itself.

    Args:
        paused: why it waits for a person; null if it does not.
    """

    rollout: int
    false_alarm: bool
    paused: str | None
    reason: str


class LoadSetup(TypedDict):
    """How the load was made.

    Args:
        loop: closed: so many clients, each of which waits; open: at its own pace.
        rate: requests a second, of an open loop.
        warm_up, retry: seconds.
        subjects: how many asked.
        texts: where they are from.
    """

    url: str
    path: str
    loop: Literal["open", "closed"]
    concurrency: int | None
    rate: float | None
    warm_up: float
    retry: float
    seed: int
    subjects: int
    texts: str
    interrupted: bool


class CourseObjective(TypedDict):
    """How far a lab is with an objective of the course.

    Args:
        passed: checks, of so many.
    """

    number: int
    done: bool
    passed: int
    of: int


class CourseEntry(CourseObjective):
    title: str


class CourseTitle(TypedDict):
    title: str


class CoursePage(TypedDict):
    """An objective of the course; its sections are Markdown.

    Args:
        see: what one should see.
        check: how one sees that it is done.
    """

    number: int
    title: str
    goal: str
    steps: str
    see: str
    question: str
    check: str


class ClassFolder(TypedDict):
    """Args:
    dir: the class's folder.
    """

    dir: str


class ClassMemory(TypedDict):
    """Args:
    memory: bytes that its labs take with the embedded model, estimated.
    """

    memory: int


class ClassLab(TypedDict):
    """Args:
    problem: why it is not done; "" for nothing.
    """

    name: str
    done: bool
    problem: str


class ClassLabStatus(TypedDict):
    name: str
    url: str
    running: bool
    healthy: bool
    objectives: list[CourseObjective]


class ClassStatus(TypedDict):
    dir: str
    labs: list[ClassLabStatus]


class Joined:
    """Several types in one document: their keys, one after the other."""

    parts: tuple[Any, ...]


def joined(name: str, said: str, *parts: Any) -> type[Joined]:
    """Args:
    said: what the document is, in a sentence.
    """
    return type(name, (Joined,), {"parts": parts, "__doc__": said})


T = TypeVar("T")


class Measured(Generic[T]):
    """A type of figures: where it has NaN, which JSON does not know, null is printed."""


def documents() -> dict[str, Any]:
    """{verb: the type of its document}. Imports what they are made of, which is not little."""
    from llmlab.auth.tokens import Explained
    from llmlab.client.batch import Summaries
    from llmlab.compare.comparison import ComparedTexts
    from llmlab.course.checks import Checks
    from llmlab.course.classes import ClassLabs
    from llmlab.course.resetting import Reset
    from llmlab.delivery.drills import Drilled
    from llmlab.delivery.ledger import Entry
    from llmlab.delivery.ledger import Verdict as LedgerVerdict
    from llmlab.delivery.tracing import Traced
    from llmlab.doctor import Check
    from llmlab.engines.base import DeploymentStatus, LabStatus
    from llmlab.engines.compose.images import Built
    from llmlab.evaluate.evaluation import EvaluationDocument
    from llmlab.evaluate.lint import Finding, SuiteStats
    from llmlab.flags.changing import FlagEntry
    from llmlab.models.inspect import ModelFacts
    from llmlab.observe.observer import LabSeen
    from llmlab.probe.figures import Figures
    from llmlab.registry.checking import VerifiedModels
    from llmlab.registry.record import MoveDocument, OfRegistry, RecordDocument
    from llmlab.rollout.planning import Problem
    from llmlab.rollout.simulating import Simulation
    from llmlab.rollout.state import Rollout
    from llmlab.rollout.view import Shown
    from llmlab.traffic import Flag
    from llmlab.tune.result import Tuned

    rollout = joined("RolloutNow", "A rollout, and how it is at this moment.", Rollout, Shown)
    added = joined("AddedModel", "A registered model.", RecordDocument, New)
    return {
        "status": LabStatus,
        "summarize": Summaries,
        "notebook": NotebookAddress,
        "token": Token,
        "token --decode": Explained,
        "token revoke": Ended,
        "token restore": Ended,
        "token revoked": list[EndedSubject],
        **dict.fromkeys(("top --once", "metrics"), Measured[LabSeen]),
        "load": joined("Load", "How the load was made, and what came of it.",
                       LoadSetup, Measured[Figures]),
        "compare": ComparedTexts,
        "evaluate": EvaluationDocument,
        "tune": Tuned,
        "suite lint": list[Finding],
        "suite stats": SuiteStats,
        "deploy": joined("Deployed", "A deployment that was started, or was there.",
                         DeploymentStatus, Changed, Address),
        "undeploy": Undeployed,
        "scale": joined("Scaled", "A deployment with so many processes.",
                        DeploymentStatus, Changed),
        "trace": list[Traced],
        **dict.fromkeys(("rollout get", "rollout status", "rollout promote", "rollout pause",
                         "rollout resume", "rollout abort", "rollout undo",
                         "rollout start canary", "rollout start bluegreen", "rollout start ab",
                         "rollout start shadow"), rollout),
        "rollout history": list[Rollout],
        "rollout lint": list[Problem],
        "flag set": joined("FlagSet", "A flag as it is now.", Flag, Changed, Routed),
        "flag list": list[Flag],
        "flag rm": RemovedFlag,
        "flag history": list[FlagEntry],
        "flag explain": FlagExplained,
        **dict.fromkeys(("drill slow", "drill errors", "drill worse-text", "drill empty",
                         "drill repeat", "drill crash", "drill off"), Drilled),
        "drill aa": Simulation,
        "drill aa --live": FalseAlarm,
        "ledger": list[Entry],
        "ledger show": list[Entry],
        "ledger verify": joined("LedgerVerdict", "Whether the chain is unbroken.",
                                WholeLedger, LedgerVerdict),
        "ledger export": ExportedLedger,
        "models list": list[Listed],
        "models show": joined("KnownModel", "What is known of a model.", ModelFacts, OfRegistry),
        **dict.fromkeys(("models add", "models import"), added),
        "models rm": RecordDocument,
        "models tag": MoveDocument | None,
        "models untag": MoveDocument,
        "models history": list[MoveDocument],
        "models verify": VerifiedModels,
        "models export": ExportedModel,
        "keys list": list[Key],
        "config show": list[Value],
        "doctor": list[Check],
        "build": list[Built],
        **dict.fromkeys(("course", "course list"), list[CourseEntry]),
        "course start": CoursePage,
        "course check": joined("CourseChecked", "How far this lab is, and what is missing.",
                               CourseTitle, CourseObjective, Checks),
        "course reset": Reset,
        "class create": joined("CreatedClass", "A class that was laid out.",
                               ClassFolder, ClassMemory, ClassLabs),
        **dict.fromkeys(("class up", "class down"), list[ClassLab]),
        "class status": ClassStatus,
    }  # fmt: skip


# Verbs whose documents have no type yet: their shapes, by hand.
UNTYPED = {
    "load --until": (
        "`load`'s keys up to `interrupted`, and `{promise, rate, broken_at, trials: [{rate, kept, "
        "broken_by, and the figures of load}]}`"
    ),
}
