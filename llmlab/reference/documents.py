"""The type of what each verb prints with `-o json`.

It is one of three: a dataclass, of which the verb prints ``asdict``; a TypedDict; or several of
them joined. Tests hold what the verbs really print against it, and the reference shows it. Types
of which nothing else is made stand in ``llmlab.cli.documents`` and ``llmlab.cli.teach.documents``,
all others where their values come from.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from llmlab.cli.documents import (
    AddedUpstream,
    Address,
    ApiKey,
    Changed,
    DrainedNode,
    Ended,
    EndedSubject,
    Exported,
    ExportedLedger,
    ExportedModel,
    FalseAlarm,
    Key,
    LoadSetup,
    New,
    NewApiKey,
    NotebookAddress,
    Pem,
    ProbeCheck,
    Records,
    RemovedFlag,
    Renewed,
    Routed,
    SignIn,
    Token,
    Undeployed,
    Value,
    WholeLedger,
)
from llmlab.cli.teach.documents import (
    ClassFolder,
    ClassLab,
    ClassMemory,
    ClassStatus,
    CourseEntry,
    CourseObjective,
    CoursePage,
    CourseTitle,
)


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
    from llmlab.client.chat import Reply
    from llmlab.compare.comparison import ComparedTexts
    from llmlab.course.classes import ClassLabs
    from llmlab.course.finding import Checks
    from llmlab.course.resetting import Reset
    from llmlab.delivery.drills import Drilled
    from llmlab.delivery.searching import LoggedRequest
    from llmlab.delivery.tracing import Traced
    from llmlab.doctor import Check
    from llmlab.engines.certificates import TlsShown
    from llmlab.engines.compose.images import Built
    from llmlab.engines.status import DeploymentStatus, LabStatus, NodeStatus
    from llmlab.evaluate.evaluation import EvaluationDocument
    from llmlab.evaluate.lint import Finding, SuiteStats
    from llmlab.flags.changing import FlagEntry
    from llmlab.flags.evaluate import FlagExplained
    from llmlab.judging.calibration import Calibration, JudgeShown, Standing
    from llmlab.judging.preference import Compared, JudgedBeside
    from llmlab.ledger.chain import Entry
    from llmlab.ledger.chain import Verdict as LedgerVerdict
    from llmlab.models.inspect import ModelFacts
    from llmlab.observe.observer import LabSeen
    from llmlab.probe.figures import Figures
    from llmlab.proving.findings import Report as ProbeReport
    from llmlab.recording.manifest import Recorded
    from llmlab.registry.checking import VerifiedModels
    from llmlab.registry.listing import Listed
    from llmlab.registry.record import MoveDocument, OfRegistry, RecordDocument
    from llmlab.replaying.choosing import MadeSuite
    from llmlab.replaying.judging import ReplayFacts
    from llmlab.rollout.pairs_view import PairsDocument
    from llmlab.rollout.problems import Problem
    from llmlab.rollout.report import ReportDocument
    from llmlab.rollout.simulating import Simulation
    from llmlab.rollout.state import Rollout
    from llmlab.rollout.view import Shown
    from llmlab.tls.store import AuthorityFacts
    from llmlab.traffic import Flag
    from llmlab.tune.result import Tuned
    from llmlab.usage.store import Row

    rollout = joined("RolloutNow", "A rollout, and how it is at this moment.", Rollout, Shown)
    added = joined("AddedModel", "A registered model.", RecordDocument, New)
    return {
        "status": LabStatus,
        "summarize": Summaries,
        "chat": Reply,
        "url": Address,
        "notebook": NotebookAddress,
        "console": SignIn,
        "token": Token,
        "token --decode": Explained,
        "token revoke": Ended,
        "token restore": Ended,
        "token revoked": list[EndedSubject],
        **dict.fromkeys(("top --once", "metrics"), Measured[LabSeen]),
        "probe": ProbeReport,
        "probe --list": list[ProbeCheck],
        "load": joined("Load", "How the load was made, and what came of it.",
                       LoadSetup, Measured[Figures]),
        "compare": ComparedTexts,
        "evaluate": joined("Evaluated", "A model judged by a suite.",
                           EvaluationDocument, JudgedBeside),
        "judge calibrate": joined("JudgeCalibrated", "A judge held against known answers.",
                                  Calibration, Standing),
        "judge compare": Compared,
        "judge show": JudgeShown,
        "replay": joined("Replay", "How a recording was asked again, and what came of it.",
                         ReplayFacts, EvaluationDocument),
        **dict.fromkeys(("record start", "record remove"), Recorded),
        "record stop": joined("StoppedRecording", "A recording that is over.", Recorded, Changed),
        "record list": list[Recorded],
        "record show": joined("ShownRecording", "A recording, and what is kept in it.",
                              Recorded, Records),
        "tune": Tuned,
        "deploy": joined("Deployed", "A deployment that was started, or was there.",
                         DeploymentStatus, Changed, Address),
        "node list": list[NodeStatus],
        "node drain": DrainedNode,
        "deployment stop": Undeployed,
        "deployment scale": joined("Scaled", "A deployment with so many processes.",
                                   DeploymentStatus, Changed),
        "usage": list[Row],
        "trace": list[Traced],
        "trace --last": list[LoggedRequest],
        **dict.fromkeys(("rollout get", "rollout status", "rollout promote", "rollout pause",
                         "rollout resume", "rollout abort", "rollout undo",
                         "rollout start canary", "rollout start bluegreen", "rollout start ab",
                         "rollout start shadow"), rollout),
        "rollout history": list[Rollout],
        "rollout report": ReportDocument,
        "rollout pairs": PairsDocument,
        "rollout lint": list[Problem],
        "flag set": joined("FlagSet", "A flag as it is now.", Flag, Changed, Routed),
        "flag list": list[Flag],
        "flag rm": RemovedFlag,
        "flag history": list[FlagEntry],
        "flag explain": FlagExplained,
        **dict.fromkeys(("drill slow", "drill errors", "drill worse-text", "drill empty",
                         "drill repeat", "drill crash", "drill late-first-token",
                         "drill stalls", "drill truncated", "drill refusals", "drill invent",
                         "drill other-language", "drill off"),
                        Drilled),
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
        "models add-upstream": AddedUpstream,
        "models export": ExportedModel,
        "models suite lint": list[Finding],
        "models suite stats": SuiteStats,
        "models suite from": MadeSuite,
        "keys list": list[Key],
        "keys api create": NewApiKey,
        "keys api list": list[ApiKey],
        "keys api revoke": ApiKey,
        "tls show": TlsShown,
        "tls trust": joined("Trusted", "Who signs the lab's certificates.", AuthorityFacts, Pem),
        "tls renew": Renewed,
        "export kubernetes": Exported,
        "config show": list[Value],
        "doctor": list[Check],
        "build": list[Built],
        **dict.fromkeys(("course", "course list"), list[CourseEntry]),
        "course start": CoursePage,
        "course check": joined("CourseChecked", "How far this lab is, and what is missing.",
                               CourseTitle, CourseObjective, Checks),
        "course reset": Reset,
        "course class create": joined("CreatedClass", "A class that was laid out.",
                                      ClassFolder, ClassMemory, ClassLabs),
        **dict.fromkeys(("course class up", "course class down"), list[ClassLab]),
        "course class status": ClassStatus,
    }  # fmt: skip


# Verbs whose documents have no type yet: their shapes, by hand.
UNTYPED = {
    "logs": "no one document: each line that a process wrote as a JSON object, as it was written; "
    "of the gateway's log, an object for each request",
    "load --until": (
        "`load`'s keys up to `interrupted`, and `{promise, rate, broken_at, trials: [{rate, kept, "
        "broken_by, and the figures of load}]}`"
    ),
}
