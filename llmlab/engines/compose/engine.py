"""Bring a lab up and down as Docker Compose services."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from llmlab.auth import KeyStore
from llmlab.config import Config
from llmlab.config.gateway import Gateway
from llmlab.engines.address import check_address, refuse_demo_beyond_loopback, refuse_in_clear
from llmlab.engines.attendants import attendants, scalers
from llmlab.engines.base import Plan, Say
from llmlab.engines.compose import mounts, waf
from llmlab.engines.compose.access_log import lines_since
from llmlab.engines.compose.asking import ask
from llmlab.engines.compose.command import Compose, GatewayImage, forget_sockets
from llmlab.engines.compose.containers import Container, DockerEngine
from llmlab.engines.compose.fitting import check_images, check_models
from llmlab.engines.compose.gateway import (
    GATEWAY,
    GATEWAY_DEADLINE,
    NGINX,
    ComposeGateway,
)
from llmlab.engines.compose.logs import lines_of, log_name
from llmlab.engines.compose.notebook import JUPYTER
from llmlab.engines.compose.notebook_server import NotebookContainer
from llmlab.engines.compose.observability import STOP_SOON, down_arguments
from llmlab.engines.compose.observing import observe
from llmlab.engines.compose.project import COMMAND_DEADLINE, READY_DEADLINE, UP, Project
from llmlab.engines.compose.report import ENGINE, report, runs
from llmlab.engines.compose.upstreams import forget_upstreams
from llmlab.engines.console import console_programs
from llmlab.engines.issuers import fetch_first, issuer_programs
from llmlab.engines.local.folders import make_folders
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.record import Record, with_later_routes
from llmlab.engines.scale_bounds import told_where_it_rests
from llmlab.engines.status import LabStatus
from llmlab.engines.turns import gateway_turn, processes_turn
from llmlab.engines.upstreams import keep_keys
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError, UsageError
from llmlab.gateway.render import LINGER
from llmlab.lab import Lab
from llmlab.shell import run
from llmlab.tls.store import Certificates
from llmlab.traffic import Traffic
from llmlab.upstreams import keys
from llmlab.usage.store import Books

KEEPER = "keeper"


class ComposeEngine:
    """Containers of docker-compose.yml; see ``Engine`` for the contract."""

    name = ENGINE

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.keys = KeyStore(lab.keys_file)
        self.project = Project(lab)
        self.notebooks = NotebookContainer(self.project)
        self.certificates = Certificates(lab)

    @property
    def docker(self) -> DockerEngine:
        return self.project.docker

    @property
    def gateway(self) -> ComposeGateway:
        return ComposeGateway(self.lab, self.docker)

    def running(self) -> bool:
        """Whether there are containers of this lab, in whatever state."""
        try:
            return bool(self.project.containers())
        except EnvironmentFailure:
            if self.project.record():
                raise  # it was brought up and not down: nobody knows
            return False

    # --- up and down -----------------------------------------------------------

    def up(self, plan: Plan, say: Say) -> bool:
        refuse_in_clear(plan.config)
        mounts.refuse_redirect_port(plan.config)
        with processes_turn(self.lab):
            changed = self._up(plan, say)
            if plan.config.observability.enabled:
                observe(self.project, plan, say)
            return changed

    def _up(self, plan: Plan, say: Say) -> bool:
        compose = self.project.compose(plan)
        check_images(self.docker, self.lab, plan)
        before = self.project.containers()
        record = self.project.record() if before else None
        if not any(one.published == _address(plan) for one in before):
            check_address(plan.config)
        fetch_first(self.lab, plan.config.auth, say)
        if before and record is not None:
            return self._replace(plan, record, say, conf=self.lab.nginx_conf)
        try:
            with self.certificates.or_as_before():
                self.certificates.keep(plan.config.gateway)
                return self._bring_up(plan, compose, before, record, say, conf=self.lab.nginx_conf)
        except BaseException:
            if not before:
                self._down(volumes=False)  # a half-started lab leaves nothing behind
            raise

    def apply(self, plan: Plan, say: Say) -> bool:
        with processes_turn(self.lab):
            record = self.project.record()
            if record is None or not self.running():
                raise UpstreamError("the lab does not run", fix="llmlab up")
            check_models(self.docker, self.lab, plan)
            return self._replace(plan, record, say, conf=mounts.releases(self.lab).conf)

    def _replace(self, plan: Plan, old: Record, say: Say, *, conf: Path) -> bool:
        """Bring what runs to another plan, or back to what it was."""
        try:
            with self.certificates.or_as_before():
                if conf == self.lab.nginx_conf:  # else a certificate on disk waits for `up` as well
                    self.certificates.keep(plan.config.gateway)
                return self._bring_up(
                    plan, self.project.compose(plan), self.project.containers(), old, say, conf=conf
                )
        except BaseException:
            say("that failed; going back to what ran before")
            with contextlib.suppress(LlmlabError):
                was = old.plan()
                self._bring_up(
                    was, self.project.compose(was), self.project.containers(), old, say, conf=conf
                )
            raise

    def _bring_up(
        self, plan: Plan, compose: Compose, before: Sequence[Container],
        old: Record | None, say: Say, *, conf: Path,
    ) -> bool:  # fmt: skip
        """Start what is new, wait for it, move the gateway over, then remove what is gone."""
        apis = mounts.api_services(plan)
        patience = plan.config.service.timeout
        releases = mounts.releases(self.lab)
        keep_keys(self.lab, plan, os.environ)
        mounts.lay_out(self.lab, plan)
        mounts.write_notebook_tokens(self.lab, self.keys.read())
        judge = GatewayImage(compose, mounts.GATEWAY_MOUNT)
        # Before anything is started, for NGINX may reject it.
        releases.stage(self._gateway_files(plan, conf), judge)
        if not before:
            self.project.incidents.forget()
        say(("applying to " if before else "starting ") + ", ".join(apis))
        # One that is replaced ends first what it was asked.
        self.project.run(compose.command(*UP, "--no-deps", *apis), extra=patience)
        self.project.wait(apis, READY_DEADLINE, say)
        waf.start(self.project, compose, plan.config.gateway.waf, say)
        with gateway_turn(self.lab):
            plan = with_later_routes(plan, old, self.project.record())
            record = Record.of(plan, ENGINE, f"image {compose.variables['NGINX_IMAGE']}")
            files = self._gateway_files(plan, conf)
            moved = self.gateway.move(compose, releases.stage(files, judge))
            record.write(self.lab)
        apis = mounts.api_services(plan)  # by later routes one may be needed that was to rest
        self.gateway.drain(apis, patience, say)
        self._take_usage()  # its container may be another one then
        self.project.run(compose.command(*self._up_arguments(plan)), extra=patience)
        self.project.wait([GATEWAY], GATEWAY_DEADLINE, say)
        waf.remove_unwanted(self.project, compose, plan.config.gateway.waf)
        self.notebooks.follow_token(compose)
        self._keep(plan)
        keys.forget(self.lab, [one.model for one in plan.deployments])
        forget_upstreams(self.lab, but=plan.names)
        same = {(one.id, one.started) for one in before}
        after = {(one.id, one.started) for one in self.project.containers()}
        return moved or record != old or after != same

    def route(self, traffic: Traffic) -> bool:
        with gateway_turn(self.lab):
            record = self.project.record()
            if record is None or self.project.container(GATEWAY) is None:
                raise UpstreamError("the lab does not run", fix="llmlab up")
            plan = replace(record.plan(), traffic=traffic)
            moved = self._move(plan)
            Record.of(plan, ENGINE, record.nginx).write(self.lab)
            return moved

    def _move(self, plan: Plan) -> bool:
        """Have the running gateway go by a plan, with the nginx.conf that it has."""
        compose, releases = self.project.compose(plan), mounts.releases(self.lab)
        files = self._gateway_files(plan, releases.conf)
        judge = GatewayImage(compose, mounts.GATEWAY_MOUNT)
        return self.gateway.move(compose, releases.stage(files, judge))

    def _keep(self, plan: Plan) -> None:
        """Have the keeper running, which starts again what Docker itself would leave dead, and who
        keeps the keys of identity providers."""
        make_folders(self.lab)
        command = (sys.executable, "-P", "-m", "llmlab.engines.compose.keeper", str(self.lab.root))
        programs = [
            Program(KEEPER, command),
            *issuer_programs(self.lab, plan.config),
            *console_programs(self.lab, plan.config, ENGINE),
            *scalers(self.lab, plan),
        ]
        Supervisor(self.lab).apply([*programs, *attendants(self.lab)])

    def down(self, *, volumes: bool = False) -> bool:
        with processes_turn(self.lab):
            return self._down(volumes=volumes)

    def _down(self, *, volumes: bool) -> bool:
        Supervisor(self.lab).shutdown()  # the keeper first: it would start everything again
        there = self.project.containers()
        for project in {one.project for one in there} or {self.project.name()}:
            compose = replace(self.project.compose(), project=project)
            with contextlib.suppress(LlmlabError):  # what it had under way gets its line
                self.project.run(compose.command("stop", "--timeout", STOP_SOON, GATEWAY))
            self._take_usage()
            self.project.run(compose.command(*down_arguments(volumes)))
            run(forget_sockets(project), timeout=COMMAND_DEADLINE)
        keys.forget(self.lab)
        forget_upstreams(self.lab)
        Record.forget(self.lab)
        return bool(there)

    def _take_usage(self) -> None:
        """Add up what the gateway's log says: it goes with its container."""
        with contextlib.suppress(LlmlabError, OSError):
            Books(self.lab.state).take(ENGINE, self.requests_since)

    def commands(self, plan: Plan) -> list[list[str]]:
        """What ``up`` runs, in order."""
        compose = self.project.compose(plan)
        apis = mounts.api_services(plan)
        return [
            compose.command(*UP, "--no-deps", *apis, with_override=True),
            *waf.commands(compose, plan.config.gateway.waf),
            compose.command(*self._up_arguments(plan), with_override=True),
        ]

    def _up_arguments(self, plan: Plan) -> list[str]:
        """Everything at once: what is not named here any more is removed. The notebooks'
        container stays if it is there; `llmlab notebook` starts it."""
        services = mounts.api_services(plan)
        there = [JUPYTER] if self.project.container(JUPYTER) else []
        return [*UP, "--remove-orphans", *services, GATEWAY, *there]

    def down_commands(self, *, volumes: bool = False) -> list[list[str]]:
        """What ``down`` runs."""
        compose = self.project.compose()
        return [compose.command(*down_arguments(volumes)), forget_sockets(compose.project)]

    def reload_keys(self) -> bool:
        """Have a running gateway use the keys as they are now; the deployments go on."""
        with processes_turn(self.lab):
            if not self.running():
                return False
            plan = self.project.running_plan()
            releases = mounts.releases(self.lab)
            self._refuse_published_demo()
            compose = self.project.compose(plan)
            with gateway_turn(self.lab):
                moved = self._move(self.project.running_plan())  # its routes may be later ones
            if moved:
                time.sleep(LINGER)  # a connection from before goes by the keys from before
            releases.keep_only_current()  # the others hold keys that were revoked since
            mounts.write_notebook_tokens(self.lab, self.keys.read())
            self.notebooks.follow_token(compose)
            return moved

    def end_api_keys(self, digests: Sequence[str]) -> None:
        self.gateway.end_api_keys(digests)

    def reload_certificate(self) -> bool:
        with gateway_turn(self.lab):
            if self.project.container(GATEWAY) is None:
                return False
            moved = self._move(self.project.running_plan())
            mounts.releases(self.lab).keep_only_current()  # the others hold a key from before
            return moved

    def start_notebook(self, config: Config, say: Say, *, port: int | None = None) -> str:
        with processes_turn(self.lab):
            if not self.running():
                raise UpstreamError(
                    "the lab does not run, and the notebook talks to it", fix="llmlab up"
                )
            return self.notebooks.start(self.project.running_plan(), config.jupyter, say, port=port)

    def notebook_url(self) -> str:
        return self.notebooks.url()

    def _refuse_published_demo(self) -> None:
        """A person may have published the gateway wider than lab.toml says."""
        for one in self.project.containers():
            if one.service == GATEWAY and one.published:
                seen = Gateway(host=one.published[0].strip("[]"), port=one.published[1])
                refuse_demo_beyond_loopback(Config(gateway=seen), self.keys.read())

    def gateway_metrics(self) -> str:
        return self.gateway.metrics()

    def gateway_configuration(self) -> str:
        """All configuration files of the running gateway, as `nginx -T` prints them."""
        gateway = self.project.container(GATEWAY)
        if gateway is None:
            raise UsageError("the lab does not run", fix="llmlab up")
        return self.docker.output_of(gateway, [*NGINX, "-T", "-q"])

    def _gateway_files(self, plan: Plan, conf: Path) -> dict[str, str]:
        return mounts.gateway_files(self.lab, plan, self.keys.read(), conf)

    # --- looking ---------------------------------------------------------------

    def ask(
        self, deployment: str, path: str, *, method: str = "GET", body: bytes = b"",
        timeout: float = 10.0, headers: Mapping[str, str] | None = None,
    ) -> tuple[int, bytes]:  # fmt: skip
        named = (one for one in self.project.containers() if runs(one, deployment))
        first = next(named, None)  # the others' services sort behind it
        with told_where_it_rests(self.lab, deployment):
            return ask(first, deployment, path, method=method, body=body, timeout=timeout,
                       headers=headers or {})  # fmt: skip

    def requests_since(self, cursor: str, *, after: float = 0.0) -> tuple[list[str], str]:
        gateway = self.project.container(GATEWAY)
        there = self.docker.sdk_container(gateway) if gateway else None
        return lines_since(there, cursor, after=after) if there else ([], cursor or "0")

    def status(self) -> LabStatus:
        return report(self.lab, self.docker, self.project.incidents)

    def logs(self, *, follow: bool, lines: int, only: str = "") -> Iterator[str]:
        """As of the local engine, under the same names: gateway, api-<deployment>, ..."""
        names = {one.service: log_name(one) for one in self.project.containers()}
        return lines_of(self.project.compose(), names, follow=follow, count=lines, only=only)


def _address(plan: Plan) -> tuple[str, int]:
    return plan.config.gateway.host, plan.config.gateway.port
