"""API processes as replicas on nodes; see ``engines.local.placing.Placing``.

What a model elsewhere is asked by computes nothing, and has its key on this machine: those
processes stay here.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from llmlab.config.ray import Ray
from llmlab.engines import probe
from llmlab.engines.base import Plan, Say
from llmlab.engines.local.answering import READY_DEADLINE, wait_for_deployments
from llmlab.engines.local.programs import API_PREFIX, api_programs
from llmlab.engines.local.supervisor import ProcessState, Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.local.waiting import POLL, pause, why
from llmlab.engines.ray.fitting import (
    fits_nowhere,
    refuse_moved,
    refuse_taken,
    refuse_without_ray,
)
from llmlab.engines.ray.links import NAME as LINKS
from llmlab.engines.ray.links import links_of
from llmlab.engines.ray.placed import Placed, Placement, forget_placement, read_placement
from llmlab.engines.ray.wanted import (
    Wanted,
    asked_at,
    is_placed,
    read_wanted,
    wanted_by,
    write_wanted,
    write_what_they_read,
)
from llmlab.engines.record import Record
from llmlab.engines.status import NodeStatus
from llmlab.errors import EnvironmentFailure, LlmlabError
from llmlab.lab import Lab

ENGINE = "ray"
HEAD, NODE, PLACER = OWN = "head", "node", "placer"
HEARS = 5.0  # seconds until the placer has heard of what is wanted
STALE = 30.0  # seconds; the placer writes several times in one
END_DEADLINE = 20.0  # seconds on top of the longest answer

Version = tuple[str, str]  # a process, and that of its settings


class OnNodes:
    """Of one lab."""

    name, linked = ENGINE, True

    def __init__(self, lab: Lab, supervisor: Supervisor) -> None:
        self._lab, self._supervisor = lab, supervisor
        self._left: tuple[NodeStatus, ...] = ()
        self._had: frozenset[Version] = frozenset()  # what was wanted before ``start``

    def fit(self, plan: Plan) -> Plan:
        """No process stands in for another one: that is what several replicas are for."""
        record = Record.read(self._lab)
        if record and record.engine == ENGINE and any(map(self._supervisor.pid, OWN)):
            refuse_moved(record.plan().config.ray, plan.config.ray)
        service = plan.config.service.model_copy(update={"spare": False})
        return replace(plan, config=plan.config.model_copy(update={"service": service}))

    def prepare(self, plan: Plan) -> None:
        refuse_without_ray()
        listen = {"port": HEAD, "link_port": LINKS}  # also while the placer is started anew
        mine = {key for key, program in listen.items() if self._supervisor.pid(program)}
        refuse_taken(plan.config.ray, mine)
        links = links_of(self._lab, plan.config)
        if self._supervisor.pid(PLACER):
            return  # it says where they are and where links lead, be it that those start anew
        forget_placement(self._lab)
        if not self._supervisor.pid(LINKS):
            links.lead((), 0.0)  # those of before may lead anywhere by now

    def programs(self, plan: Plan) -> list[Program]:
        ray, links = plan.config.ray, links_of(self._lab, plan.config)
        nodes = [] if ray.address else [self._own(HEAD, ray, "start_node", "head", priority=1)]
        # A driver, as the placer is one, takes a node on its machine: the head is one as well.
        if ray.address or (ray.cores and not ray.is_alone):
            nodes.append(self._own(NODE, ray, "start_node", "node", priority=2))
        placer = self._own(PLACER, ray, "placer", str(links.nginx), priority=900)
        return [*nodes, links.program, placer, *api_programs(self._lab, _here(plan))]

    def _own(self, name: str, ray: Ray, module: str, *more: str, priority: int) -> Program:
        command = (sys.executable, "-P", "-m", f"llmlab.engines.ray.{module}",
                   str(self._lab.root), ray.model_dump_json(), *more)  # fmt: skip
        return Program(name, command, priority=priority)

    def start(self, plan: Plan) -> None:
        write_what_they_read(self._lab, plan)
        wanted, had = wanted_by(self._lab, plan), self._wanted()
        names, self._had = {one.process for one in wanted}, _versions(had)
        write_wanted(self._lab, [*wanted, *(one for one in had if one.process not in names)])

    def wait(self, plan: Plan, before: Plan | None, say: Say) -> None:
        """One of before may wait for a machine for long, while other things are to be changed."""
        wait_for_deployments(self._lab, self._supervisor, _here(plan), say)
        # Of the two alone, one may be of a change that was killed before it came to an end, and
        # the other may have been led to before anybody has started it.
        old = self._had & _versions(wanted_by(self._lab, before) if before else ())
        deadline = time.monotonic() + READY_DEADLINE
        for one in wanted_by(self._lab, plan):
            if (one.process, one.version) in old:
                if not self._answers(one):
                    say(f"{one.process} does not answer, as before; going on without")
                continue
            say(f"waiting for {one.process}")
            while not self._answers(one):
                if plan.config.ray.is_alone and fits_nowhere(one, self.machines()):
                    raise _no_room(one)  # no other machine will come
                self._pause(one, deadline)

    def _answers(self, one: Wanted) -> bool:
        """Whether it does, by its newest settings."""
        placed = read_placement(self._lab).of(one.process)
        if placed is None or placed.version != one.version or placed.state != "RUNNING":
            return False
        return probe.ready(self._lab.api_socket(one.process))

    def _pause(self, one: Wanted, deadline: float) -> None:
        for program in (LINKS, PLACER):
            pause(self._supervisor, program, float("inf"), fix=f"llmlab logs {program}")
        placement = read_placement(self._lab)
        placed = placement.of(one.process)
        # What had failed before somebody asked for it again is being tried again.
        heard = placement.asked >= asked_at(self._lab)
        if heard and placed and placed.version == one.version and placed.state == "FATAL":
            raise EnvironmentFailure(
                f"{API_PREFIX}{one.process} does not start on {placed.host}",
                fix=f"install on {placed.host} what the model needs, such as pip install "
                "'llmlab[ray,serve,chat]'; or llmlab up --model NAME starts another",
                log=placed.why,
            )  # fmt: skip
        if time.monotonic() > deadline:
            raise self._late(one, placed)
        time.sleep(POLL)

    def _late(self, one: Wanted, placed: Placed | None) -> EnvironmentFailure:
        if placed is None:  # nobody could place it
            return EnvironmentFailure(
                "the cluster's head does not answer, or does not know the token",
                fix=f"llmlab logs {HEAD}; where ray.address names one elsewhere: is ray.token_file "
                "a copy of its token?",
                log=why(self._supervisor, PLACER),
            )
        if placed.version != one.version:
            return EnvironmentFailure(
                f"{one.process} did not come with other settings: its older one keeps its place "
                f"until the newer one serves, and that takes {_takes(one)} beside it",
                fix=f"llmlab deployment scale {one.deployment} with fewer replicas, or less of "
                "cores in [models] of lab.toml; or llmlab down, then llmlab up",
                log=placed.why,
            )
        if placed.state != "PENDING":
            return EnvironmentFailure(
                f"{one.process} did not answer in time ({placed.state}, on {placed.host})",
                fix="llmlab logs placer", log=placed.why,
            )  # fmt: skip
        return _no_room(one)

    def keep_only(self, plan: Plan) -> None:
        """Returns once the placer has heard of it; they end what they have in hand."""
        wanted = wanted_by(self._lab, plan)
        write_wanted(self._lab, wanted)
        names, deadline = {one.process for one in wanted}, time.monotonic() + HEARS
        while time.monotonic() < deadline:
            placement = read_placement(self._lab)
            if not placement.head or names >= {one.process for one in placement.replicas}:
                return
            time.sleep(POLL)

    def end(self) -> None:
        """Also on other machines, as far as those are heard of; see ``left``."""
        # A disk that is full, or read-only, is no reason not to end the others.
        with contextlib.suppress(OSError, LlmlabError):
            write_wanted(self._lab, [])
            self._let_end()
        self._left = read_placement(self._lab).machines
        with contextlib.suppress(OSError):
            forget_placement(self._lab)

    def _let_end(self) -> None:
        """Wait until no actor is left, or nobody hears of it."""
        record = Record.read(self._lab)
        patience = record.plan().config.service.timeout if record else 0.0
        heard, asked = time.monotonic(), time.time()
        deadline = heard + patience + END_DEADLINE
        while (now := read_placement(self._lab)).actors or now.at < asked:
            heard = time.monotonic() if now.head else heard
            silent = time.time() - now.at > STALE or time.monotonic() - heard > END_DEADLINE
            if silent or time.monotonic() > deadline:
                return
            time.sleep(POLL)

    def left(self) -> tuple[str, ...]:
        record = Record.read(self._lab)
        own = record.plan().config.ray.host if record else ""  # they end with the lab's own node
        there = [f"{', '.join(one.replicas)} on {one.name}" for one in self._left
                 if one.replicas and one.host != own]  # fmt: skip
        return () if not there else (
            f"nobody has ended {' and '.join(there)}, which may go on\n"
            "Fix: llmlab up --engine ray, then llmlab down; or end llmlab node add over there",
        )  # fmt: skip

    def processes(self) -> list[ProcessState]:
        placement = read_placement(self._lab)
        wanted = [one.process for one in self._wanted()]
        return [_state(name, placement.of(name)) for name in wanted]

    def machines(self) -> tuple[NodeStatus, ...]:
        return read_placement(self._lab).machines

    def warnings(self) -> tuple[str, ...]:
        placement = read_placement(self._lab)
        if time.time() - placement.at > STALE:
            return ("nobody looks after the replicas\nFix: llmlab logs placer",)
        return tuple(_wrong(placement))

    def _wanted(self) -> Sequence[Wanted]:
        try:
            return read_wanted(self._lab)
        except ValueError:
            return ()


def _wrong(placement: Placement) -> Iterator[str]:
    pending = [one.process for one in placement.replicas if one.state == "PENDING"]
    if not placement.head:
        yield (
            "the cluster's head does not answer; replicas go on, and none is replaced\n"
            f"Fix: llmlab logs {HEAD}"
        )
    elif pending:
        yield f"{', '.join(pending)}: waiting for a machine with room\nFix: llmlab node list"
    for one in placement.replicas:
        if one.state == "FATAL":  # `up` goes on without one that it has had before
            why = "".join(f": {line}" for line in one.why.splitlines()[-1:])
            name = API_PREFIX + one.process
            yield f"{one.process} does not start{why}\nFix: llmlab logs {name}"
    for machine in placement.machines:
        if machine.state == "away":
            yield f"nothing is heard of the machine {machine.name}"


def _no_room(one: Wanted) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"no machine has room for {one.process}: it takes {_takes(one)}",
        fix="llmlab node list shows what is there; llmlab node add makes another machine one",
    )


def _takes(one: Wanted) -> str:
    what = f"{one.cores:g} cores" + (f", {one.gpus:g} GPUs" if one.gpus else "")
    return f"{what} and {one.memory / (1 << 30):.1f} GiB of memory"


def _versions(wanted: Iterable[Wanted]) -> frozenset[Version]:
    return frozenset((one.process, one.version) for one in wanted)


def _here(plan: Plan) -> Plan:
    """Those of a plan whose processes run beside the gateway."""
    mine = tuple(one for one in plan.deployments if not is_placed(one.model))
    return replace(plan, deployments=mine)


def _state(process: str, placed: Placed | None) -> ProcessState:
    name = API_PREFIX + process
    if placed is None:
        return ProcessState(name, "PENDING", None, 0.0, 0)
    uptime = time.time() - placed.since if placed.since else 0.0
    return ProcessState(name, placed.state, placed.pid, uptime, placed.memory, placed.why)
