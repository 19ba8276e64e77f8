"""Tuning, from the request to the registered model."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llmlab.config import Config, Model
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.evaluate.gate import Gate, GateError, parse_gate
from llmlab.evaluate.suite import FOLDER, Suite, find_suite, load_suite
from llmlab.lab import Lab
from llmlab.registry import Data, Overlap, Record
from llmlab.registry.catalogue import Catalogue
from llmlab.registry.reference import checked_name
from llmlab.tune.bases import Start, find_start
from llmlab.tune.data import Pairs, load_pairs
from llmlab.tune.judging import Judge, part_as_suite
from llmlab.tune.kinds import Kind, kind_of
from llmlab.tune.overlap import refuse, shared
from llmlab.tune.parameters import Parameters
from llmlab.tune.request import SCRATCH, Request
from llmlab.tune.result import Result, Round
from llmlab.tune.rounds import Ending, go_on
from llmlab.tune.split import Split, digest_of
from llmlab.tune.telling import Listener, Nobody
from llmlab.tune.training import MODEL, train
from llmlab.tune.watching import Clock
from llmlab.tune.work import Work

PACKAGES = ("torch", "transformers", "accelerate", "peft", "gguf", "ctranslate2")
EXTRA = "pip install 'llmlab[tune]'"
RECORDED = (*PACKAGES, "tokenizers", "xllamacpp", "llmlab")


def tune(
    lab: Lab, catalogue: Catalogue, request: Request, listener: Listener | None = None
) -> Result:
    """Tune a model. What was broken off is taken up.

    Raises:
        UsageError: the request, the data or a suite is not as it must be, or the data shares
            texts with a suite.
        ModelUnavailable: the base cannot be had.
        EnvironmentFailure: a package is missing, or the training came to nothing.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise EnvironmentFailure(f"tuning needs the packages {', '.join(missing)}", fix=EXTRA)
    listener = listener or Nobody()
    work = Work(lab, checked_name(request.name))
    with work.alone():
        return _Tune.prepared(catalogue, request, work, listener).run()


@dataclass(frozen=True)
class _Tune:
    """A request, and everything that it means in this lab."""

    request: Request
    catalogue: Catalogue
    config: Config
    work: Work
    listener: Listener
    start: Start
    kind: Kind
    pairs: Pairs
    split: Split
    parameters: Parameters
    gate: Gate | None
    test_suite: Suite | None
    overlap: Overlap

    @classmethod
    def prepared(
        cls, catalogue: Catalogue, request: Request, work: Work, listener: Listener
    ) -> _Tune:
        """All that can be wrong is found before anything takes time."""
        catalogue.refuse_defined(request.name)
        if request.name in catalogue.registry.aliases():
            raise UsageError(f"{request.name} is an alias", fix="choose another name")
        gate = parse_gate(request.until) if request.until is not None else None
        if gate and gate.needs_baseline and not request.baseline and request.base == SCRATCH:
            raise GateError(
                f"{gate.text} compares with a baseline, and {SCRATCH} is none",
                fix="--baseline NAME, or plain bounds such as coverage>=0.8",
            )
        pairs = load_pairs(request.data)
        split = Split.of(pairs.cases)
        root = catalogue.registry.root
        test_suite = load_suite(find_suite(request.suite, root)) if request.suite else None
        overlap = _overlap(split, _suites(root, test_suite), request.force_overlap)
        start = find_start(request.base, catalogue, listener.say)
        parameters = Parameters.of(request, start)
        kind = kind_of(start, request.compute_type, catalogue.config, root)
        if not kind.chats:
            pairs.refuse_chats(start.name)
            _refuse_chats(test_suite)
        if test_suite is None and split.test:
            test_suite = part_as_suite(pairs, "test", split.test)
        return cls(
            request, catalogue, catalogue.config, work, listener, start, kind, pairs, split,
            parameters, gate, test_suite, overlap,
        )  # fmt: skip

    def run(self) -> Result:
        if self.work.begin(self._plan(), fresh=self.request.fresh):
            self.listener.say(f"taking up the tune of {self.request.name} that was broken off")
        state = self.work.state()
        clock = Clock(state["spent"], self.request.budget, lambda s: self.work.keep(spent=s))
        ending = go_on(
            [Round.parse(one) for one in state["rounds"]],
            most=self.request.max_rounds if self.gate else 1,
            gated=self.gate is not None,
            play=lambda number: self._play(number, clock),
            test=self._test,
            is_over=lambda: clock.is_over,
        )
        # Written down once: what is registered must be the same if this is done again.
        seconds = self.work.state().get("seconds")
        if seconds is None:
            seconds = round(clock.spent, 1)
            self.work.keep(seconds=seconds)
        record = self._registered()
        if record is None and (ending.outcome.is_good or self.request.keep):
            record = self._register(ending, seconds)
            self.work.keep(registered=record.reference)
        self._clear(ending, record)
        return Result(
            ending.outcome, ending.reason, self.request.name, self.request.base, ending.rounds,
            ending.test, record, self._counts(ending), self.parameters.as_json(),
            asdict(self.overlap), self.request.seed, seconds,
        )  # fmt: skip

    # --- rounds ----------------------------------------------------------------------

    def _play(self, number: int, clock: Clock) -> Round:
        self.listener.round_begins(number, self.request.max_rounds if self.gate else 1)
        folder = self.work.round(number)
        trained = train(
            self.kind.load, self._start_of(number), folder, self.split,
            self.parameters.in_round(number), clock=clock, tell=self.listener.step,
        )  # fmt: skip
        validation = part_as_suite(self.pairs, "validation", self.split.validation)
        played = Round(number, trained, self._judged(folder / MODEL, validation))
        self.work.keep(
            rounds=[*self.work.state()["rounds"], played.as_json()], spent=clock.spent
        )  # fmt: skip
        self.listener.round_ends(played)
        return played

    def _start_of(self, number: int) -> Path:
        """What a round goes on from: the base, or what the round before has made of it."""
        if number > 1:
            return self.work.round(number - 1) / MODEL
        if self.start.weights:
            return self.start.weights
        base = self.work.folder / "base"
        if not base.is_dir():
            from llmlab.tune.scratch import make_tiny

            part = base.with_name(".base.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            texts = [text for case in self.split.train for text in (case.text, case.reference)]
            make_tiny(part, [text for text in texts if text], seed=self.request.seed)
            part.rename(base)
        return base

    def _test(self, last: Round) -> Mapping[str, Any] | None:
        if self.test_suite is None:
            return None
        if (kept := self.work.state().get("test")) is not None:
            return dict(kept)
        facts = self._judged(self.work.round(last.number) / MODEL, self.test_suite)
        self.work.keep(test=facts)
        return facts

    def _judged(self, folder: Path, suite: Suite) -> dict[str, Any]:
        needed = self.gate is not None and self.gate.needs_baseline
        named = self.request.baseline or (self.start.name if needed else "")
        own = self.start.model if named == self.start.name else None
        judge = Judge(
            self.catalogue, self.config, named, own, self.request.seed, self.listener.say
        )  # fmt: skip
        return judge(self._model(folder), suite, self.gate, self.request.name).facts()

    def _model(self, folder: Path) -> Model:
        """How what is in a folder is served: as the base is."""
        return self.kind.facts.model(f"path:{folder.absolute()}", self.kind.id_of(folder))

    # --- in the end ------------------------------------------------------------------

    def _registered(self) -> Record | None:
        """What this tune has registered before it was killed, if it came that far.

        Raises:
            UsageError: somebody has removed that since.
        """
        reference = self.work.state().get("registered")
        if not reference:
            return None
        if (record := self.catalogue.registry.find(reference)) is None:
            raise UsageError(
                f"this tune has registered {reference}, which was removed since",
                fix="--fresh tunes anew",
            )
        return record

    def _register(self, ending: Ending, seconds: float) -> Record:
        last = ending.rounds[-1]
        folder = self.work.round(last.number) / MODEL
        parts = {"train": self.split.train, "validation": self.split.validation,
                 "test": self.split.test}  # fmt: skip
        facts = replace(
            self.kind.facts, base=self.start.base, parent=self.start.parent,
            note=f"{ending.outcome}: {ending.reason}",
            data=tuple(
                Data(role, digest_of(cases).removeprefix("sha256:"), len(cases), self.pairs.name)
                for role, cases in parts.items()
            ),
            overlap=self.overlap,
            parameters=self._recorded_parameters(ending),
            seed=self.request.seed, libraries=_libraries(), duration=seconds,
        )  # fmt: skip
        judged = [last.validation, *([ending.test] if ending.test else [])]
        added = self.catalogue.registry.admit(
            self.request.name, facts,
            lambda staged: self.kind.copy(folder, staged), evaluations=judged,
        )  # fmt: skip
        return added.record

    def _recorded_parameters(self, ending: Ending) -> dict[str, Any]:
        last = ending.rounds[-1].trained
        return {
            **self.parameters.as_json(), "base": self.request.base,
            "data": self.pairs.digest, "until": self.request.until,
            "outcome": str(ending.outcome), "rounds": len(ending.rounds),
            "steps": sum(one.trained.steps for one in ending.rounds),
            "examples": last.examples, "left_out": last.left_out, "precision": last.precision,
            "device": last.device, "weights": last.weights, "trained_weights": last.trained_weights,
        }  # fmt: skip

    def _clear(self, ending: Ending, record: Record | None) -> None:
        """Nothing stays of what is not registered, neither here nor in the store. What says that
        this tune is over goes last: whoever is killed here clears up by the same command, and does
        not train again."""
        for one in ending.rounds:
            model = self.work.round(one.number) / MODEL
            if not model.is_dir():
                continue
            if record is None or self.kind.id_of(model) != record.weights:
                self.kind.forget(model)
            self.work.discard(one.number)
        self.work.remove()

    def _counts(self, ending: Ending) -> dict[str, int]:
        last = ending.rounds[-1].trained
        return {
            "train": len(self.split.train), "validation": len(self.split.validation),
            "test": len(self.split.test), "repeated": self.split.repeated,
            "examples": last.examples, "left_out": last.left_out,
        }  # fmt: skip

    def _plan(self) -> dict[str, Any]:
        """What has to be the same for a tune to be taken up. The budget and what happens in the
        end may change."""
        return {
            "base": self.start.parent or self.start.name, "data": self.pairs.digest,
            "suite": self.test_suite and self.test_suite.digest, "until": self.request.until,
            "baseline": self.request.baseline, "compute_type": self.request.compute_type,
            "parameters": self.parameters.as_json(),
        }  # fmt: skip


def _suites(root: Path, named: Suite | None) -> list[Suite]:
    """All suites of the lab, and the one that was named."""
    found = [load_suite(file) for file in sorted((root / FOLDER).glob("*.jsonl"))]
    if named and named.digest not in {one.digest for one in found}:
        found.append(named)
    return found


def _refuse_chats(suite: Suite | None) -> None:
    """
    Raises:
        UsageError: a suite has conversations, and what it should judge only summarizes.
    """
    if suite and suite.chats:
        raise UsageError(
            f"{suite.name} has conversations, and what is tuned summarizes texts",
            fix="name a suite of texts, such as news",
        )


def _overlap(split: Split, suites: list[Suite], forced: bool) -> Overlap:
    """What is learned from, the validation part too, must not be what judges.

    Raises:
        UsageError: it is, and that was not forced.
    """
    found = shared([*split.train, *split.validation], suites)
    if not forced:
        refuse(found)
    count = len({one.id for one in found})
    return Overlap({one.name: one.digest for one in suites}, count, forced=forced and count > 0)


def _libraries() -> dict[str, str]:
    found = {}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))
