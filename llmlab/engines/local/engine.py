"""Bring a lab up and down as supervised processes."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import httpx2

from llmlab.auth import KeyStore
from llmlab.config import Config
from llmlab.engines import follow as following
from llmlab.engines import probe
from llmlab.engines.address import check_address, refuse_demo_beyond_loopback
from llmlab.engines.base import LabStatus, Plan, Say
from llmlab.engines.local.folders import WORKER, make_folders
from llmlab.engines.local.notebook import NotebookServer
from llmlab.engines.local.programs import (
    API_PREFIX,
    GATEWAY,
    SPARE,
    api_program,
    gateway_plan,
    gateway_program,
    write_settings,
)
from llmlab.engines.local.report import ENGINE, report
from llmlab.engines.local.supervisor import Program, Supervisor
from llmlab.engines.local.waiting import POLL, pause, why
from llmlab.engines.record import Record
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError, UsageError
from llmlab.files import locked
from llmlab.gateway import Nginx, Releases, find_nginx, render
from llmlab.lab import Lab, private_folder, refuse_foreign
from llmlab.processes import is_supervisor, lab_processes, nginx_workers, take_requests
from llmlab.shell import run

READY_DEADLINE = 180.0  # seconds; a large model on a slow disk
GATEWAY_DEADLINE = 20.0


class LocalEngine:
    """Supervised processes under .llmlab/; see ``Engine`` for the contract."""

    name = ENGINE

    def __init__(self, lab: Lab) -> None:
        refuse_foreign(lab.runtime_dir.parent)
        refuse_foreign(lab.runtime_dir)
        self.lab = lab
        self.supervisor = Supervisor(lab)
        self.keys = KeyStore(lab.keys_file)
        self.notebooks = NotebookServer(lab, self.supervisor)
        self.releases = Releases(lab.state / "gateway", lab.runtime_dir / "nginx")

    def _alone(self) -> AbstractContextManager[None]:
        """One command at a time changes a lab; a second one waits for its turn."""
        private_folder(self.lab.state)
        return locked(self.lab.state / "engine.lock")

    # --- up and down -----------------------------------------------------------

    def up(self, plan: Plan, say: Say) -> bool:
        with self._alone():
            return self._up(plan, say)

    def _up(self, plan: Plan, say: Say) -> bool:
        before = self._record() if self.supervisor.running() else None
        if before is None:
            self.supervisor.shutdown()  # orphans, or what another version started
            self.notebooks.forget()
        if before is None or before.url != plan.config.gateway.url:
            check_address(plan.config)
        try:
            return self._bring_up(plan, before, say)
        except BaseException:
            if before is None:
                self._down()  # a half-started lab leaves nothing behind
            else:
                say("that failed; going back to what ran before")
                with contextlib.suppress(LlmlabError):
                    self._bring_up(before.plan(), before, say)
            raise

    def _bring_up(self, plan: Plan, before: Record | None, say: Say) -> bool:
        """Start what is new, wait for it, move the gateway over, then stop what is gone.

        Spares are started last: they are not to compete with what the lab waits for, and
        one from before stands in while the deployment's first process is replaced.
        """
        nginx = _nginx(plan.config)
        make_folders(self.lab)
        for settings in plan.deployments:
            write_settings(self.lab, settings)
        release = self.releases.stage(self._gateway_files(plan, nginx), nginx)
        if before is None:
            self.releases.activate(release)
        wanted = self._programs(plan, nginx)
        names = {program.name for program in wanted}
        spares = self._spares(plan)
        running = (
            [*self._programs(before.plan(), nginx), *self._spares(before.plan())] if before else []
        )
        old = [one for one in running if one.name not in names]
        say(("applying to " if before else "starting ") + ", ".join(sorted(names)))
        self.supervisor.apply([*wanted, *old])
        self._wait_for_deployments(plan, say)
        moved = False
        if before is None:
            self.releases.mark_taken()  # it starts with it
        else:
            moved = self._move_gateway(release)
        self._wait_for_gateway(plan, say)
        if old or spares:
            self.supervisor.apply([*wanted, *spares])
        record = Record.of(plan, ENGINE, f"{nginx.version} ({nginx.origin})")
        record.write(self.lab)
        return moved or record != before

    def _programs(self, plan: Plan, nginx: Nginx) -> list[Program]:
        gateway = gateway_program(nginx, self.releases.prefix, self.releases.conf)
        return [gateway, *(
            api_program(self.lab, settings) for settings in plan.deployments
        ), *self.notebooks.programs()]  # fmt: skip

    def _spares(self, plan: Plan) -> list[Program]:
        return [api_program(self.lab, settings, SPARE) for settings in plan.spares]

    def _move_gateway(self, release: str) -> bool:
        """Make a staged release the one that runs. A gateway that runs it already is left alone."""
        moved = self.releases.activate(release)
        if not moved and self.releases.taken():
            return False
        before = nginx_workers(self.supervisor.state(GATEWAY).pid)
        self.supervisor.signal(GATEWAY, "HUP")
        deadline = time.monotonic() + GATEWAY_DEADLINE
        while take_requests(before):
            if time.monotonic() > deadline:
                raise EnvironmentFailure(
                    "the gateway did not take over the new configuration",
                    log=why(self.supervisor, GATEWAY),
                )
            time.sleep(POLL / 4)
        self.releases.mark_taken()
        return moved

    def _record(self) -> Record | None:
        """What this engine started last."""
        record = Record.read(self.lab)
        return record if record and record.engine == ENGINE else None

    def running(self) -> bool:
        if Record.read(self.lab) and not self._record():
            return False  # supervised processes are another engine's keeper
        return self.supervisor.running() or bool(lab_processes(self.lab.state))

    def commands(self, plan: Plan) -> list[list[str]]:
        nginx = _nginx(plan.config)
        programs = [*self._programs(plan, nginx), *self._spares(plan)]
        return [self.supervisor.command(), *(list(one.command) for one in programs)]

    def down_commands(self, *, volumes: bool = False) -> list[list[str]]:
        del volumes  # there are none
        pids = [str(one.pid) for one in lab_processes(self.lab.state) if is_supervisor(one)]
        return [["kill", "-TERM", *pids]] if pids else []

    def down(self, *, volumes: bool = False) -> bool:
        del volumes  # there are none
        with self._alone():
            return self._down()

    def _down(self) -> bool:
        was_running = self.supervisor.shutdown()
        self.notebooks.forget()
        shutil.rmtree(self.lab.runtime_dir, ignore_errors=True)
        return was_running

    def reload_keys(self) -> bool:
        with self._alone():
            return self._reload_keys()

    def _reload_keys(self) -> bool:
        record = self._record()
        if record is None or not self.supervisor.running():
            if lab_processes(self.lab.state):
                raise EnvironmentFailure("it runs without its supervisor", fix="llmlab up")
            return False
        make_folders(self.lab)
        plan = record.plan()
        nginx = _nginx(plan.config)
        files = self._gateway_files(plan, nginx) | {"nginx.conf": _read(self.releases.conf)}
        moved = self._move_gateway(self.releases.stage(files, nginx))
        self.releases.keep_only_current()  # the others hold keys that were revoked since
        self.notebooks.follow_keys()
        return moved

    def start_notebook(self, config: Config, say: Say, *, port: int | None = None) -> str:
        with self._alone():
            if not self.supervisor.running() or self._record() is None:
                raise UpstreamError(
                    "the lab does not run, and the notebook is one of its processes",
                    fix="llmlab up",
                )
            return self.notebooks.start(config.jupyter.port, say, port=port)

    def notebook_url(self) -> str:
        return self.notebooks.url()

    def gateway_metrics(self) -> str:
        try:
            return probe.page_at(self.lab.gateway_socket)
        except httpx2.HTTPError as error:
            raise UpstreamError(
                f"the gateway does not tell its metrics: {error}", fix="llmlab up"
            ) from None

    def gateway_configuration(self) -> str:
        record = self._record()
        if record is None or not self.releases.conf.exists():
            raise UsageError("nothing is rendered before the lab was up once", fix="llmlab up")
        make_folders(self.lab)
        nginx = _nginx(record.plan().config)
        return run(
            nginx.command(self.releases.prefix, self.releases.conf, "-T", "-q"), timeout=20
        ).output

    def _gateway_files(self, plan: Plan, nginx: Nginx) -> dict[str, str]:
        keys = self.keys.read()
        refuse_demo_beyond_loopback(plan.config, keys)
        wanted = gateway_plan(
            self.lab, plan, nginx=nginx,
            worker_user=_worker_user(), demo_kid=keys.demo_kid,
        )  # fmt: skip
        return {
            "nginx.conf": _read(self.lab.nginx_conf),
            "llmapi.jwk": keys.gateway_jwks(),
            **render(wanted),
        }

    # --- waiting ---------------------------------------------------------------

    def _wait_for_deployments(self, plan: Plan, say: Say) -> None:
        deadline = time.monotonic() + READY_DEADLINE
        for settings in plan.deployments:
            say(f"waiting for {settings.deployment} ({settings.model.runtime})")
            while not probe.ready(self.lab.api_socket(settings.deployment)):
                program = API_PREFIX + settings.deployment
                pause(self.supervisor, program, deadline, fix=_fix(program))

    def _wait_for_gateway(self, plan: Plan, say: Say) -> None:
        say("waiting for the gateway")
        deadline = time.monotonic() + GATEWAY_DEADLINE
        while not probe.gateway_healthy(plan.config.gateway.url):
            pause(self.supervisor, GATEWAY, deadline, fix=_fix(GATEWAY))

    # --- looking ---------------------------------------------------------------

    def status(self) -> LabStatus:
        return replace(report(self.lab, self.supervisor), notebook=self.notebooks.address())

    def logs(self, *, follow: bool, lines: int, only: str = "") -> Iterator[str]:
        return following.lines_of(self.lab.logs, follow=follow, count=lines, only=only)


def _nginx(config: Config) -> Nginx:
    return find_nginx(config.gateway.nginx, config.gateway.edition)


def _worker_user() -> str:
    """``user group`` for NGINX's workers, where its master runs as root; else ""."""
    if os.geteuid() != 0:
        return ""
    group = grp.getgrgid(pwd.getpwnam(WORKER).pw_gid).gr_name
    return f"{WORKER} {group}"


def _fix(program: str) -> str:
    return f"llmlab logs {program} has all of it; llmlab up --model NAME starts another"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise LlmlabError(f"{file} cannot be read: {error.strerror}", fix="llmlab init .") from None
