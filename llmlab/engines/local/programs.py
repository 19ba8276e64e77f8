"""Which processes a plan needs: argument lists, and the files that they read."""

from __future__ import annotations

import hashlib
import ipaddress
import math
import sys
from dataclasses import replace
from pathlib import Path

from llmlab.auth.keys import KeySet
from llmlab.config.budgets import Price
from llmlab.config.scale import Scale
from llmlab.engines.base import Plan
from llmlab.engines.console import console_front
from llmlab.engines.fronting import fronting
from llmlab.engines.local.supervisor_conf import Program
from llmlab.files import write_atomically
from llmlab.gateway import GatewayPlan, Nginx, Upstream, WafFront
from llmlab.issuers.trust import Trust
from llmlab.lab import COUNTS_FOLDER, LOGS_LINK, Lab, private_folder
from llmlab.network import SHARES_PORTS
from llmlab.service.settings import Settings

GATEWAY = "gateway"
KEEPER = "keeper"
API_PREFIX = "api-"
SPARE = ".spare"  # no model's name has a dot
PLUS_LICENSE = "/etc/nginx/license.jwt"  # where NGINX Plus itself looks for it
STOP_GRACE = 5  # seconds on top of the longest generation until a process is killed
CANNOT_LOAD = 78  # llmlab.service's exit code when a model cannot be loaded


def gateway_program(nginx: Nginx, prefix: Path, conf: Path) -> Program:
    command = [
        sys.executable,
        "-P",
        "-m",
        "llmlab.engines.local.start_nginx",
        *nginx.command(prefix, conf),
    ]
    return Program(GATEWAY, tuple(command), stop_signal="QUIT", priority=10)


def keeper_program(lab: Lab) -> Program:
    """What looks after the others, and after who starts them."""
    command = [sys.executable, "-P", "-m", "llmlab.engines.local.keeper", str(lab.root)]
    return Program(KEEPER, tuple(command), priority=1000)  # stopped first


def api_program(lab: Lab, settings: Settings, suffix: str = "") -> Program:
    """An API process. ``suffix`` tells a replica's and a spare's name and socket from the first
    one's."""
    process = settings.deployment + suffix
    file, socket = settings_file(lab, settings), lab.api_socket(process)
    command = [sys.executable, "-P", "-m", "llmlab.service", str(file), "--uds", str(socket),
               "--log", str(lab.logs / f"{API_PREFIX}{process}.log")]  # fmt: skip
    # What it was asked before it was stopped it still answers.
    patience = math.ceil(settings.service.timeout) + STOP_GRACE
    return Program(API_PREFIX + process, tuple(command), final_exit=CANNOT_LOAD, stop_wait=patience)


def api_programs(lab: Lab, plan: Plan) -> list[Program]:
    """The API processes of all deployments, without spares."""
    return [
        api_program(lab, settings, suffix)
        for settings in plan.deployments
        for suffix in suffixes(plan.replicas(settings.deployment))
    ]


def processes_of(plan: Plan) -> list[str]:
    """The names of all API processes, without spares."""
    return [name + suffix for name in plan.names for suffix in suffixes(plan.replicas(name))]


def suffixes(replicas: int) -> list[str]:
    """What tells the names of a deployment's processes: nothing, .2, .3 ...; one that rests has
    none."""
    return ["", *(f".{number}" for number in range(2, replicas + 1))][:replicas]


def sockets(lab: Lab, deployment: str, replicas: int) -> list[Path]:
    """Where its processes listen."""
    return [lab.api_socket(deployment + suffix) for suffix in suffixes(replicas)]


def settings_file(lab: Lab, settings: Settings) -> Path:
    """Where a deployment's settings stand: under a name that says their content.

    So a changed setting changes the command line, which is how the supervisor
    learns that the process has to be replaced.
    """
    digest = hashlib.sha256(_content(unpriced(settings)).encode()).hexdigest()[:12]
    return lab.state / "deployments" / f"{settings.deployment}-{digest}.json"


def unpriced(settings: Settings) -> Settings:
    """Without what is no process's own business: at another price, or with other bounds of how many
    there are, it is no other process."""
    model = settings.model.model_copy(update={"price": Price(), "scale": Scale()})
    return settings.model_copy(update={"model": model})


def write_settings(lab: Lab, settings: Settings) -> None:
    file = settings_file(lab, settings)
    private_folder(file.parent)
    if not file.exists():
        write_atomically(file, _content(unpriced(settings)))


def _content(settings: Settings) -> str:
    return settings.model_dump_json(indent=1) + "\n"


def listens(host: str, port: int) -> list[str]:
    """The addresses of the gateway, as NGINX takes them. `::` is all of this machine: every
    address of IPv4 as well.

    Who listens everywhere has a socket of loopback beside, where sockets can share a port: then
    whoever waits in that one to be let in is not reset when a lab is opened to others, or closed
    again. (Not one of IPv6: [::1] is not on every machine that has [::].)
    """
    hosts = [host]
    if ipaddress.ip_address(host).is_unspecified:
        hosts += ["0.0.0.0"] * (":" in host)  # noqa: S104  that was asked for
        hosts += ["127.0.0.1"] * SHARES_PORTS
    end = " reuseport" if SHARES_PORTS else ""
    return [f"[{one}]:{port}{end}" if ":" in one else f"{one}:{port}{end}" for one in hosts]


def gateway_plan(
    lab: Lab, plan: Plan, *, worker_user: str, keys: KeySet, trust: Trust, nginx: Nginx
) -> GatewayPlan:
    gateway = plan.config.gateway
    spares = {one.deployment for one in plan.spares}
    listen, *more = listens(gateway.host, gateway.port)
    plain = gateway.tls.redirect_port
    upstreams = (
        Upstream(
            name,
            tuple(f"unix:{one}" for one in sockets(lab, name, max(1, plan.replicas(name)))),
            (f"unix:{lab.api_socket(name + SPARE)}",) if name in spares else (),
            replicas=plan.replicas(name),
            elsewhere=plan.settings(name).model.runtime == "openai",
            fallback=plan.fallback(name),
            model=plan.settings(name).model,
        )
        for name in plan.names
    )
    return replace(
        fronting(
            lab, plan, keys, trust, listen=listen, upstreams=upstreams,
            redirect=listens(gateway.host, plain) if plain else (),
        ),
        also=tuple(more),
        inside=(f"unix:{lab.front_socket}",),
        worker_user=worker_user,
        logs=LOGS_LINK,
        metrics=f"unix:{lab.gateway_socket}",
        counts=COUNTS_FOLDER,
        settlements=f"unix:{lab.settlements_socket}",
        waf=WafFront(f"unix:{lab.waf_socket}", gateway.waf.mode) if gateway.waf.enabled else None,
        console=console_front(lab, plan.config, "local"),
        load_modules=nginx.load_modules,
        license=str(lab.root / gateway.license) if gateway.license else PLUS_LICENSE,
    )  # fmt: skip
