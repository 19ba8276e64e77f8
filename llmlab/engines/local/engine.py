"""Bring a lab up and down as supervised processes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llmlab.config import Config
from llmlab.engines import follow as following
from llmlab.engines import probe
from llmlab.engines.address import check_address, refuse_in_clear
from llmlab.engines.attendants import attendants, scalers
from llmlab.engines.base import Plan, Say
from llmlab.engines.console import console_programs
from llmlab.engines.issuers import fetch_first, issuer_programs
from llmlab.engines.local import access_log, counts
from llmlab.engines.local.answering import wait_for_gateway
from llmlab.engines.local.draining import drain
from llmlab.engines.local.folders import make_folders
from llmlab.engines.local.gateway import LocalGateway
from llmlab.engines.local.notebook import NotebookServer
from llmlab.engines.local.placing import Here, Placing
from llmlab.engines.local.programs import (
    API_PREFIX,
    GATEWAY,
    SPARE,
    api_program,
    gateway_program,
    keeper_program,
    processes_of,
    write_settings,
)
from llmlab.engines.local.report import report
from llmlab.engines.local.staging import Staging, nginx_of, worker_user
from llmlab.engines.local.supervisor import ATTENDANTS, Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.local.waf import waf_programs, wait_for_waf, write_waf
from llmlab.engines.record import Record, with_later_routes
from llmlab.engines.scale_bounds import told_where_it_rests
from llmlab.engines.status import LabStatus
from llmlab.engines.turns import gateway_turn, processes_turn
from llmlab.engines.upstreams import keep_keys
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError, UsageError
from llmlab.gateway import Nginx, Releases
from llmlab.lab import Lab, refuse_foreign
from llmlab.processes import is_supervisor, lab_processes
from llmlab.recording import telling
from llmlab.shell import run
from llmlab.tls.store import Certificates
from llmlab.traffic import Traffic
from llmlab.upstreams import keys


class LocalEngine:
    """Supervised processes under .llmlab/; see ``Engine``. ``placing`` runs those of the APIs."""

    def __init__(self, lab: Lab, placing: Callable[[Lab, Supervisor], Placing] = Here) -> None:
        refuse_foreign(lab.runtime_dir.parent)
        refuse_foreign(lab.runtime_dir)
        self.lab = lab
        self.supervisor = Supervisor(lab)
        self.placing = placing(lab, self.supervisor)
        self.name = self.placing.name
        self.notebooks = NotebookServer(lab, self.supervisor)
        self.releases = Releases(lab.state / "gateway", lab.runtime_dir / "nginx")
        self.staging = Staging(lab, self.releases, linked=self.placing.linked)
        self.gateway = LocalGateway(lab.state, self.supervisor, self.releases)
        self.certificates = Certificates(lab)

    # --- up and down -----------------------------------------------------------

    def up(self, plan: Plan, say: Say) -> bool:
        refuse_in_clear(plan.config)
        with processes_turn(self.lab):
            return self._up(self.placing.fit(plan), say)

    def apply(self, plan: Plan, say: Say) -> bool:
        with processes_turn(self.lab):
            before = self._record() if self._serves() else None
            if before is None:
                raise UpstreamError("the lab does not run", fix="llmlab up")
            self._watch_again(say)
            return self._replace(self.placing.fit(plan), before, say, conf=self.releases.conf)

    def _up(self, plan: Plan, say: Say) -> bool:
        serves = self._serves()
        before = self._record() if serves else None
        goes_on = before is not None or (serves and Record.is_damaged(self.lab))
        if goes_on:
            self._watch_again(say)
        else:
            self.supervisor.shutdown()  # orphans, or what another version started
            self.notebooks.forget()
        if before is None or _address(before.plan()) != _address(plan):
            check_address(plan.config, ours=self.lab.state)
        fetch_first(self.lab, plan.config.auth, say)
        if before is not None:
            return self._replace(plan, before, say, conf=self.lab.nginx_conf)
        if goes_on:  # nobody knows what to go back to
            self.certificates.keep(plan.config.gateway)
            return self._bring_up(plan, None, say, conf=self.lab.nginx_conf, running=True)
        try:
            with self.certificates.or_as_before():
                self.certificates.keep(plan.config.gateway)
                return self._bring_up(plan, None, say, conf=self.lab.nginx_conf)
        except BaseException:
            self._down()  # a half-started lab leaves nothing behind
            raise

    def _serves(self) -> bool:
        """Whether its programs run, be it without anybody who watches them."""
        return self.supervisor.running() or bool(self.supervisor.left())

    def _watch_again(self, say: Say) -> None:
        """Have its processes watched, where their supervisor died or is stuck."""
        if self.supervisor.revive():
            say("nobody watched the lab's processes; taking them over")

    def _replace(self, plan: Plan, before: Record, say: Say, *, conf: Path) -> bool:
        """Bring what runs to another plan, or back to what it was."""
        release = self.releases.active()
        try:
            with self.certificates.or_as_before():
                if conf == self.lab.nginx_conf:  # else a certificate on disk waits for `up` as well
                    self.certificates.keep(plan.config.gateway)
                return self._bring_up(plan, before, say, conf=conf)
        except BaseException:
            say("that failed; going back to what ran before")
            with contextlib.suppress(LlmlabError):
                was = self.releases.folder / release / conf.name
                self._bring_up(before.plan(), before, say, conf=was if was.exists() else conf)
            raise

    def _bring_up(
        self, plan: Plan, before: Record | None, say: Say, *, conf: Path, running: bool = False
    ) -> bool:
        """Start what is new, wait for it, move the gateway over, then stop what is gone.

        Spares are started last: they are not to compete with what the lab waits for, and
        one from before stands in while the deployment's first process is replaced.
        """
        nginx = nginx_of(plan.config)
        make_folders(self.lab)
        keep_keys(self.lab, plan, os.environ)
        for settings in plan.deployments:
            write_settings(self.lab, settings)
        telling.deliver(self.lab)  # what another engine has begun to record goes on
        write_waf(self.lab, plan.config, worker_user())
        self.placing.prepare(plan)
        # Before anything is started, for NGINX may reject it.
        release = self.staging.stage(plan, nginx, conf)
        running = running or before is not None
        if not running:
            self.releases.activate(release)
        wanted = self._programs(plan, nginx)
        say(
            ("applying to " if running else "starting ")
            + ", ".join(sorted(one.name for one in wanted))
        )
        self.supervisor.apply(wanted, others=True)
        self.placing.start(plan)
        self.placing.wait(plan, before.plan() if before else None, say)
        wait_for_waf(self.lab, self.supervisor, plan.config, say)
        moved = False
        with gateway_turn(self.lab):
            plan = with_later_routes(plan, before, self._record())
            record = Record.of(plan, self.name, f"{nginx.version} ({nginx.origin})")
            if not running:
                self.releases.mark_taken()  # it starts with it
            else:
                moved = self.gateway.move(self.staging.stage(plan, nginx, conf))
            record.write(self.lab)
        wait_for_gateway(self.lab, self.supervisor, say)
        wanted = self._programs(plan, nginx)  # by later routes one may be needed that was to rest
        spares = self._spares(plan)
        there = {*ATTENDANTS, *(API_PREFIX + name for name in processes_of(plan))}
        leaving = self._running() - {program.name for program in (*wanted, *spares)} - there
        drain(self.lab, self.supervisor, leaving, plan.config.service.timeout, say)
        if leaving or spares:
            self.supervisor.apply([*wanted, *spares])
        self.placing.keep_only(plan)
        for program in scalers(self.lab, plan):
            self.supervisor.put(program)
        self.supervisor.forget_starts()
        keys.forget(self.lab, [one.model for one in plan.deployments])
        return moved or record != before

    def _running(self) -> set[str]:
        return {one.name for one in (*self.supervisor.processes(), *self.placing.processes())}

    def _programs(self, plan: Plan, nginx: Nginx) -> list[Program]:
        """All that has to be there, but for spares."""
        return [
            gateway_program(nginx, self.releases.prefix, self.releases.conf),
            *self.placing.programs(plan),
            *self.notebooks.programs(),
            keeper_program(self.lab),
            *issuer_programs(self.lab, plan.config),
            *waf_programs(self.lab, plan.config, worker_user()),
            *console_programs(self.lab, plan.config, self.name),
            *attendants(self.lab),
        ]

    def _spares(self, plan: Plan) -> list[Program]:
        return [api_program(self.lab, settings, SPARE) for settings in plan.spares]

    def route(self, traffic: Traffic) -> bool:
        with gateway_turn(self.lab):
            record = self._record()
            if record is None or not self._serves():
                raise UpstreamError("the lab does not run", fix="llmlab up")
            plan = replace(record.plan(), traffic=traffic)
            nginx = nginx_of(plan.config)
            moved = self.gateway.move(self.staging.stage(plan, nginx, self.releases.conf))
            Record.of(plan, self.name, record.nginx).write(self.lab)
            return moved

    def _record(self) -> Record | None:
        """What this engine started last."""
        record = Record.read(self.lab)
        return record if record and record.engine == self.name else None

    def running(self) -> bool:
        if Record.read(self.lab) and not self._record():
            return False  # supervised processes are another engine's keeper
        return self._serves() or bool(lab_processes(self.lab.state))

    def commands(self, plan: Plan) -> list[list[str]]:
        nginx = nginx_of(plan.config)
        programs = [*self._programs(plan, nginx), *self._spares(plan)]
        return [self.supervisor.command(), *(list(one.command) for one in programs)]

    def down_commands(self, *, volumes: bool = False) -> list[list[str]]:
        del volumes  # there are none
        pids = [str(one.pid) for one in lab_processes(self.lab.state) if is_supervisor(one)]
        return [["kill", "-TERM", *pids]] if pids else []

    def down(self, *, volumes: bool = False) -> bool:
        del volumes  # there are none
        with processes_turn(self.lab):
            return self._down()

    def _down(self) -> bool:
        self.placing.end()
        # A disk that is full, or read-only, is no reason not to end it.
        with contextlib.suppress(OSError, LlmlabError):
            counts.keep_now(self.lab)
        was_running = self.supervisor.shutdown()
        with contextlib.suppress(OSError, LlmlabError):
            counts.keep(self.lab)  # of what was under way
        self.notebooks.forget()
        keys.forget(self.lab)
        shutil.rmtree(self.lab.runtime_dir, ignore_errors=True)
        return was_running

    def reload_keys(self) -> bool:
        with processes_turn(self.lab):
            return self._reload_keys()

    def _reload_keys(self) -> bool:
        record = self._record()
        if record is None or not self._serves():
            if lab_processes(self.lab.state):
                raise EnvironmentFailure("nobody knows what runs of it", fix="llmlab up")
            return False
        make_folders(self.lab)
        plan = record.plan()
        nginx = nginx_of(plan.config)
        with gateway_turn(self.lab):
            plan = (self._record() or record).plan()  # its routes may be later ones
            moved = self.gateway.move(self.staging.stage(plan, nginx, self.releases.conf))
        self.gateway.settle()  # a connection from before goes by the keys from before
        self.releases.keep_only_current()  # the others hold keys that were revoked since
        self.notebooks.follow_keys()
        return moved

    def end_api_keys(self, digests: Sequence[str]) -> None:
        if self._serves():
            probe.end_api_keys(self.lab.gateway_socket, digests)

    def reload_certificate(self) -> bool:
        with gateway_turn(self.lab):
            record = self._record()
            if record is None or not self._serves():
                return False
            plan = record.plan()
            nginx = nginx_of(plan.config)
            moved = self.gateway.move(self.staging.stage(plan, nginx, self.releases.conf))
            self.releases.keep_only_current()  # the others hold a key that is out of use
            return moved

    def start_notebook(self, config: Config, say: Say, *, port: int | None = None) -> str:
        with processes_turn(self.lab):
            if not self.supervisor.running() or self._record() is None:
                raise UpstreamError(
                    "the lab does not run, and the notebook is one of its processes",
                    fix="llmlab up",
                )
            return self.notebooks.start(config.jupyter.port, say, port=port)

    def notebook_url(self) -> str:
        return self.notebooks.url()

    def gateway_metrics(self) -> str:
        return probe.gateway_metrics(self.lab.gateway_socket)

    def gateway_configuration(self) -> str:
        record = self._record()
        if record is None or not self.releases.conf.exists():
            raise UsageError("nothing is rendered before the lab was up once", fix="llmlab up")
        make_folders(self.lab)
        nginx = nginx_of(record.plan().config)
        return run(
            nginx.command(self.releases.prefix, self.releases.conf, "-T", "-q"), timeout=20
        ).output

    # --- looking ---------------------------------------------------------------

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        socket = self.lab.api_socket(deployment)
        with told_where_it_rests(self.lab, deployment):
            return probe.ask(
                socket, path, method=method, body=body, timeout=timeout, headers=headers or {}
            )

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        lines, new = access_log.lines_since(self.supervisor.log(GATEWAY), cursor, after=after)
        return [line for line in lines if line.startswith("{")], new

    def status(self) -> LabStatus:
        found = report(self.lab, self.supervisor, self.placing)
        return replace(found, notebook=self.notebooks.address())

    def logs(self, *, follow: bool, lines: int, only: str = "") -> Iterator[str]:
        return following.lines_of(self.lab.logs, follow=follow, count=lines, only=only)


def _address(plan: Plan) -> tuple[str, int, int]:
    gateway = plan.config.gateway
    plain = gateway.tls.redirect_port if gateway.tls.enabled else 0
    return gateway.host, gateway.port, plain
