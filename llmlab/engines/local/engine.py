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

from llmlab.auth import KeyStore, demo
from llmlab.config import Config
from llmlab.engines import follow as following
from llmlab.engines import probe
from llmlab.engines.base import LabStatus, Plan, Say
from llmlab.engines.local.notebook import NotebookServer
from llmlab.engines.local.programs import (
    API_PREFIX,
    GATEWAY,
    api_program,
    gateway_plan,
    gateway_program,
    write_settings,
)
from llmlab.engines.local.record import Record
from llmlab.engines.local.report import ENGINE, report
from llmlab.engines.local.supervisor import Program, Supervisor
from llmlab.engines.local.waiting import POLL, pause, why
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError, UsageError
from llmlab.files import locked
from llmlab.gateway import Nginx, Releases, find_nginx, render
from llmlab.lab import Lab, private_folder, refuse_foreign
from llmlab.network import port_holder, port_is_free
from llmlab.processes import (
    lab_processes,
    nginx_workers,
    take_requests,
)
from llmlab.shell import run

READY_DEADLINE = 180.0  # seconds; a large model on a slow disk
GATEWAY_DEADLINE = 20.0
WORKER = "nobody"


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
        before = Record.read(self.lab) if self.supervisor.running() else None
        if before is None:
            self.supervisor.shutdown()  # orphans, or what another version started
            self.notebooks.forget()
        if before is None or before.url != plan.config.gateway.url:
            self._check_port(plan.config)
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
        """Start what is new, wait for it, move the gateway over, then stop what is gone."""
        nginx = find_nginx(plan.config.gateway.nginx)
        self._make_folders()
        release = self.releases.stage(self._gateway_files(plan, nginx), nginx)
        if before is None:
            self.releases.activate(release)
        wanted = self._programs(plan, nginx)
        names = {program.name for program in wanted}
        old = (
            [one for one in self._programs(before.plan(), nginx) if one.name not in names]
            if before
            else []
        )
        say(("applying to " if before else "starting ") + ", ".join(sorted(names)))
        self.supervisor.apply([*wanted, *old])
        self._wait_for_deployments(plan, say)
        moved = self._move_gateway(release)
        self._wait_for_gateway(plan, say)
        if old:
            self.supervisor.apply(wanted)
        record = Record.of(plan, nginx)
        record.write(self.lab)
        return moved or record != before

    def _programs(self, plan: Plan, nginx: Nginx) -> list[Program]:
        gateway = gateway_program(nginx, self.releases.prefix, self.releases.conf)
        return [gateway, *(
            api_program(self.lab, settings, write_settings(self.lab, settings))
            for settings in plan.deployments
        ), *self.notebooks.programs()]  # fmt: skip

    def _move_gateway(self, release: str) -> bool:
        """Make a staged release the one that runs. A gateway that runs it already is left alone."""
        if not self.releases.activate(release):
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
        return True

    def down(self) -> bool:
        with self._alone():
            return self._down()

    def _down(self) -> bool:
        was_running = self.supervisor.shutdown()
        self.notebooks.forget()
        shutil.rmtree(self.lab.runtime_dir, ignore_errors=True)
        return was_running

    def reload_keys(self) -> bool:
        """Have a running gateway use the keys as they are now; the deployments go on.

        Nothing but the keys changes: an nginx.conf that was edited meanwhile waits
        for the next ``up``.

        Returns:
            Whether there was a gateway, and anything new for it.

        Raises:
            LlmlabError: it is there and goes on with the keys from before.
        """
        with self._alone():
            return self._reload_keys()

    def _reload_keys(self) -> bool:
        record = Record.read(self.lab)
        if record is None or not self.supervisor.running():
            if lab_processes(self.lab.state):
                raise EnvironmentFailure("it runs without its supervisor", fix="llmlab up")
            return False
        self._make_folders()
        plan = record.plan()
        nginx = find_nginx(plan.config.gateway.nginx)
        files = self._gateway_files(plan, nginx) | {"nginx.conf": _read(self.releases.conf)}
        moved = self._move_gateway(self.releases.stage(files, nginx))
        self.releases.keep_only_current()  # the others hold keys that were revoked since
        self.notebooks.follow_keys()
        return moved

    def start_notebook(self, config: Config, say: Say, *, port: int | None = None) -> str:
        with self._alone():
            if not self.supervisor.running() or Record.read(self.lab) is None:
                raise UpstreamError(
                    "the lab does not run, and the notebook is one of its processes",
                    fix="llmlab up",
                )
            return self.notebooks.start(config.jupyter.port, say, port=port)

    def notebook_url(self) -> str:
        return self.notebooks.url()

    def gateway_configuration(self) -> str:
        """All configuration files of the current release, as `nginx -T` prints them."""
        record = Record.read(self.lab)
        if record is None or not self.releases.conf.exists():
            raise UsageError("nothing is rendered before the lab was up once", fix="llmlab up")
        self._make_folders()
        nginx = find_nginx(record.plan().config.gateway.nginx)
        return run(
            nginx.command(self.releases.prefix, self.releases.conf, "-T", "-q"), timeout=20
        ).output

    def _gateway_files(self, plan: Plan, nginx: Nginx) -> dict[str, str]:
        keys = self.keys.read()
        if keys.has_demo and not plan.config.gateway.loopback:
            raise UsageError(
                f"the published demo key would let anybody in through {plan.config.gateway.host}; "
                "demo mode is for loopback only",
                fix=f"llmlab keys revoke {demo.KID}, or set gateway.host to 127.0.0.1",
            )
        wanted = gateway_plan(
            self.lab, plan, nginx=nginx,
            worker_user=_worker_user(), demo_kid=keys.demo_kid,
        )  # fmt: skip
        return {
            "nginx.conf": _read(self.lab.nginx_conf),
            "llmapi.jwk": keys.gateway_jwks(),
            **render(wanted),
        }

    def _make_folders(self) -> None:
        """Create the lab's folders. NGINX's unprivileged workers, where its master is root,
        have to reach the sockets and their temporary files, and nothing else."""
        root = os.geteuid() == 0
        reachable = 0o711 if root else 0o700
        private_folder(self.lab.state)
        private_folder(self.lab.logs)
        runtime = self.lab.runtime_dir
        private_folder(runtime.parent, reachable)
        private_folder(runtime, reachable)
        private_folder(runtime / "nginx", reachable)
        sockets = private_folder(runtime / "api", 0o710 if root else 0o700)
        if root:
            os.chown(sockets, 0, pwd.getpwnam(WORKER).pw_gid)

    def _check_port(self, config: Config) -> None:
        host, port = config.gateway.host, config.gateway.port
        if not port_is_free(host, 0):
            raise UsageError(
                f"gateway.host: {host} is no address of this machine",
                fix="set gateway.host to 127.0.0.1",
            )
        if not port_is_free(host, port):
            raise EnvironmentFailure(
                f"port {port} is taken by {port_holder(port)}",
                fix=f"stop it, or llmlab up --port {port + 1} (for good: gateway.port in lab.toml)",
            )

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
