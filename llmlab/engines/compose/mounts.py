"""What docker-compose.yml mounts: settings, models and the gateway's configuration of a lab.

Everything below .llmlab/ is closed to other users of this machine. The containers' users see
only the folders that are mounted, which have to be open to them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmlab.auth import KeySet
from llmlab.config import Config
from llmlab.config.console import Console
from llmlab.config.waf import Waf
from llmlab.engines.address import refuse_demo_beyond_loopback
from llmlab.engines.base import Plan
from llmlab.engines.budget_counts import set_aside_damaged
from llmlab.engines.compose import waf
from llmlab.engines.compose.command import OVERRIDE
from llmlab.engines.compose.notebook import write_tokens
from llmlab.engines.compose.upstreams import as_mounted, lay_out_upstream, mounted_upstream
from llmlab.engines.console import console_front
from llmlab.engines.fronting import fronting
from llmlab.engines.local.programs import STOP_GRACE, suffixes, unpriced
from llmlab.engines.planning import make_plan
from llmlab.engines.taken import taken_by
from llmlab.errors import UsageError
from llmlab.files import write_atomically
from llmlab.gateway import Releases, Upstream, WafFront, fitting, metrics, render
from llmlab.issuers.trust import trust_of
from llmlab.lab import SETTLEMENTS_SOCKET, Lab, private_folder
from llmlab.recording import telling
from llmlab.service.settings import SOCKET, Settings
from llmlab.tls.store import Certificates

STABLE_SERVICE = "llmapi"
DEPLOYMENT, MADE_OF = "llmlab.deployment", "llmlab.settings"  # labels of an API's container
GATEWAY_MOUNT = "/etc/nginx/lab"
# Where the containers themselves ask the gateway. It is not published, and speaks no TLS: whoever
# could listen to it could read the containers' memory as well.
INSIDE = 8080
MODEL_MOUNT = Path("/model")
SOCKETS = Path("/run/llmapi")  # of the APIs, in a volume that their containers and the gateway have
COUNTS, DESK = "/var/lib/counts", "/run/desk"  # the gateway's; docker-compose.yml mounts them
_KEPT = COUNTS, f"unix:{DESK}/{SETTLEMENTS_SOCKET}"
OPEN_FOLDER, OPEN_FILE = 0o755, 0o644
SHARED_FOLDER = 0o777  # below a folder that no user of this machine gets into


def service_of(name: str, plan: Plan) -> str:
    """The Compose service that runs a deployment. A promotion changes none of them."""
    return STABLE_SERVICE if name == plan.stable else f"{STABLE_SERVICE}-{name}"


def services_of(name: str, plan: Plan) -> list[str]:
    """The services of all its replicas: each is one of its own, so that the gateway can let go
    of one before it is stopped."""
    return [service_of(name, plan) + suffix for suffix in suffixes(plan.replicas(name))]


def socket_of(service: str) -> Path:
    """Where an API listens, as its container and the gateway see it."""
    return SOCKETS / f"{service}.sock"


def api_services(plan: Plan) -> list[str]:
    return [service for name in plan.names for service in services_of(name, plan)]


def prepare(lab: Lab, config: Config, keys: KeySet) -> Plan:
    """Lay out what a plain `docker compose up` mounts. Nothing is fetched or converted: a stable
    model that is not on disk as its runtime reads it is replaced by the fallback.

    Returns:
        What will run; its warnings say what was replaced, and why.

    Raises:
        ModelUnavailable: neither is on disk.
        UsageError: NGINX Plus has no licence.
    """
    only = [config.stable]
    plan = make_plan(config, lab.root, lambda _: None, only=only, fetch=False, runs_here=False)
    if plan.deployments[0].model.runtime == "openai":
        why = (
            f"{plan.stable} is elsewhere, and a plain `docker compose up` starts no network for it"
        )
        plan = replace(plan, warnings=(*plan.warnings, f"{why}.\nFix: llmlab up"))
    if config.auth.issuers:
        why = "nobody fetches the keys of identity providers, and their tokens will be refused"
        plan = replace(plan, warnings=(*plan.warnings, f"{why}.\nFix: llmlab up"))
    plan = replace(plan, warnings=(*plan.warnings, *budgets_unkept(lab, config)))
    tls = config.gateway.tls
    if tls.enabled and tls.redirect_port:
        why = f"nobody listens at port {tls.redirect_port} (redirect_port of [gateway.tls])"
        plan = replace(plan, warnings=(*plan.warnings, f"{why}.\nFix: llmlab up --engine local"))
    if config.gateway.waf.enabled:
        why = "a plain `docker compose up` starts no WAF, and the gateway will ask for it in vain"
        plan = replace(
            plan,
            warnings=(*plan.warnings, f"{why}.\nFix: docker compose --profile waf up -d --wait"),
        )
    Certificates(lab).keep_if_none(config.gateway)
    # Nobody would start the console's process.
    without = config.model_copy(update={"console": Console(enabled="off")})
    files = gateway_files(lab, replace(plan, config=without), keys)
    _lay_out(lab, plan)
    write_notebook_tokens(lab, keys)
    ours = releases(lab)
    private_folder(ours.folder, OPEN_FOLDER)
    ours.activate(ours.write(files))
    ours.keep_only_current()  # the others may hold keys that were revoked since
    return plan


def releases(lab: Lab) -> Releases:
    """The gateway's configurations, as its container sees them."""
    folder = private_folder(lab.state / "compose") / "nginx"
    return Releases(folder, Path("/run/llmlab"), folder_mode=OPEN_FOLDER, file_mode=OPEN_FILE)


def gateway_files(lab: Lab, plan: Plan, keys: KeySet, conf: Path | None = None) -> dict[str, str]:
    """All files of a release. ``conf``: the nginx.conf to go by; default: the lab's own."""
    refuse_demo_beyond_loopback(plan.config, keys)
    upstreams = (
        Upstream(
            name,
            tuple(
                f"unix:{socket_of(service)}"
                for service in services_of(name, plan) or [service_of(name, plan)]
            ),
            replicas=plan.replicas(name),
            elsewhere=plan.settings(name).model.runtime == "openai",
            fallback=plan.fallback(name),
            model=plan.settings(name).model,
        )
        for name in plan.names
    )
    trust = trust_of(lab, plan.config.auth, keys.kids, time.time())
    counts, settlements = ("", "") if _unkept(lab, plan.config) else _KEPT
    wanted = replace(
        fronting(lab, plan, keys, trust, listen="80", upstreams=upstreams),
        inside=(str(INSIDE),),
        metrics=str(metrics.PORT),
        scraped_at=f"nginx:{metrics.PORT}",
        license=f"{GATEWAY_MOUNT}/current/license.jwt",
        counts=counts,
        settlements=settlements,
        waf=_front(plan.config.gateway.waf),
        console=console_front(lab, plan.config, "compose"),
    )
    text = (conf or lab.nginx_conf).read_text(encoding="utf-8")
    return {
        "nginx.conf": fitting(text, wanted),
        "llmapi.jwk": keys.gateway_jwks(trust.jwks),
        **licence_file(lab, plan.config),
        **render(wanted),
    }


def _front(said: Waf) -> WafFront | None:
    return WafFront(f"unix:{waf.SOCKET}", said.mode) if said.enabled else None


def budgets_unkept(lab: Lab, config: Config) -> tuple[str, ...]:
    """A warning where there are budgets, and what they count is neither kept nor all told."""
    why = _unkept(lab, config) if config.budgets else ""
    if not why:
        return ()
    own = bool(config.gateway.image)
    return (
        f"{why}: a stream stays charged with what it reserved, and counts begin anew with the "
        "gateway's container.\nFix: "
        + (
            'gateway.image = "" in configs/lab.toml, then llmlab up'
            if own
            else "llmlab init FOLDER lays out one that does; take over what differs, then llmlab up"
        ),
    )


def _unkept(lab: Lab, config: Config) -> str:
    """Another image than ours could not start again where a killed one has left its socket, and a
    docker-compose.yml of an earlier lab has no such mounts."""
    if config.gateway.image:
        return "gateway.image is an image of your own, without a place for budgets"
    file = lab.root / "docker-compose.yml"
    mounted = file.read_text(encoding="utf-8") if file.exists() else ""
    if COUNTS not in mounted or DESK not in mounted:
        return "docker-compose.yml is that of an earlier lab, without mounts for budgets"
    return ""


def refuse_redirect_port(config: Config) -> None:
    """Raise UsageError where a second port is asked for: docker-compose.yml publishes one."""
    tls = config.gateway.tls
    if tls.enabled and tls.redirect_port:
        raise UsageError(
            "gateway.tls.redirect_port is for the engine local: the gateway's container has one "
            "port, at which plain requests are led to https as well",
            fix="set redirect_port = 0 in [gateway.tls], or llmlab up --engine local",
        )


def is_laid_out(lab: Lab) -> bool:
    """Whether there is a gateway configuration, and keys with it, that a container would read."""
    return (lab.state / "compose" / "nginx" / "current").exists()


def licence_file(lab: Lab, config: Config) -> dict[str, str]:
    """The licence of NGINX Plus, beside the configuration: a file of its own that is mounted
    would be closed to the gateway's user, as secrets are."""
    if config.gateway.edition != "plus":
        return {}
    if not config.gateway.license:
        raise UsageError(
            "NGINX Plus in a container needs its licence",
            fix="set gateway.license in configs/lab.toml to your license.jwt (from my.f5.com)",
        )
    file = lab.root / config.gateway.license
    try:
        return {"license.jwt": file.read_text(encoding="utf-8")}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"gateway.license: {file} cannot be read: {getattr(error, 'strerror', error)}",
            fix=f"ls -l {file}",
        ) from None


def write_notebook_tokens(lab: Lab, keys: KeySet) -> None:
    """What the notebooks' container may know: its own token, and one for the gateway."""
    folder = private_folder(notebook_folder(lab), OPEN_FOLDER)
    write_tokens(lab, keys, folder, mode=OPEN_FILE)


def notebook_folder(lab: Lab) -> Path:
    return private_folder(lab.state / "compose") / "jupyter"


def lay_out(lab: Lab, plan: Plan) -> None:
    """Write each deployment's settings and point to its model, and what the CLI adds to
    docker-compose.yml. The gateway's configuration is not touched.

    Raises:
        UsageError: a model elsewhere cannot be reached from a container.
        EnvironmentFailure: its file of certificates cannot be read.
    """
    for settings in plan.deployments:
        lay_out_upstream(lab, settings)
    _lay_out(lab, plan)


def _lay_out(lab: Lab, plan: Plan) -> None:
    folder = private_folder(lab.state / "compose")
    counts = private_folder(lab.compose_counts, SHARED_FOLDER)
    set_aside_damaged(counts)
    private_folder(lab.compose_console_socket.parent, OPEN_FOLDER)
    waf.lay_out(lab, plan.config.gateway.waf)
    # Mounted before anything is recorded: a mount that came later would be another container.
    recordings = private_folder(telling.folder_of(lab), telling.FOLDER_MODE)
    services: dict[str, Any] = {}
    for settings in plan.deployments:
        service = service_of(settings.deployment, plan)
        digest = _lay_out_api(folder, service, settings)
        entry: dict[str, Any] = {
            "labels": {DEPLOYMENT: settings.deployment, MADE_OF: digest},
            "stop_grace_period": f"{math.ceil(settings.service.timeout) + STOP_GRACE}s",
        }
        if (memory := taken_by(plan, settings.deployment).memory) != settings.service.memory:
            entry["mem_limit"] = memory
        for replica in services_of(settings.deployment, plan):
            own = {} if replica == STABLE_SERVICE else _as_the_stable_one(lab, folder, service)
            where = {"environment": {SOCKET: str(socket_of(replica))}}
            service_entry = entry | where | own
            mounted = [*service_entry.get("volumes", ()), f"{recordings}:{telling.MOUNT}"]
            service_entry |= {"volumes": mounted}
            services[replica] = service_entry | mounted_upstream(lab, settings, service_entry)
    override = {"services": services}
    write_atomically(lab.state / OVERRIDE, json.dumps(override, indent=1) + "\n")
    telling.deliver(lab, shared=True)


def _as_the_stable_one(lab: Lab, folder: Path, service: str) -> dict[str, Any]:
    """``service``: the one whose settings and model are mounted."""
    base = {"file": str(lab.root / "docker-compose.yml"), "service": STABLE_SERVICE}
    return {
        "extends": base,
        "volumes": [
            f"{_settings_folder(folder, service)}:/etc/llmapi:ro",
            f"{_model_link(folder, service)}:{MODEL_MOUNT}:ro",
        ],
    }


def _lay_out_api(folder: Path, service: str, settings: Settings) -> str:
    """Returns a digest of all that the API is made of: another one makes another container."""
    where = settings.folder
    inside = MODEL_MOUNT / _mounted_part(where)[1] if where else None
    told = as_mounted(unpriced(settings)).model_copy(update={"folder": inside})
    content = told.model_dump_json(indent=1) + "\n"
    target = private_folder(_settings_folder(folder, service), OPEN_FOLDER)
    write_atomically(target / "settings.json", content, OPEN_FILE)
    _link_model(_model_link(folder, service), where)
    mounted = _mounted_part(where)[0] if where else ""
    return hashlib.sha256(f"{content}\0{mounted}".encode()).hexdigest()[:12]


def _settings_folder(folder: Path, service: str) -> Path:
    return folder / service


def _model_link(folder: Path, service: str) -> Path:
    return folder / service.replace(STABLE_SERVICE, "model", 1)


def _mounted_part(folder: Path) -> tuple[Path, Path]:
    """(what has to be mounted, the model's folder in it).

    The files of a hub snapshot are links to ../../blobs, so its whole repository is mounted.
    """
    folder = folder.resolve()
    if folder.parent.name == "snapshots" and (folder.parents[1] / "blobs").is_dir():
        return folder.parent.parent, Path("snapshots", folder.name)
    return folder, Path()


def _link_model(link: Path, folder: Path | None) -> None:
    """Point ``link`` at what is mounted as the model: a folder, empty for an embedded model."""
    if link.is_symlink():
        link.unlink()
    if folder is None:
        private_folder(link, OPEN_FOLDER)
        return
    if link.is_dir():
        link.rmdir()
    link.symlink_to(_mounted_part(folder)[0])
