"""Checks of the machine and the lab: one line each, with a way out where something is wrong."""

from __future__ import annotations

import platform
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import psutil

from llmlab import models
from llmlab.auth import KeyStore
from llmlab.config import Config
from llmlab.config.auth import Issuer
from llmlab.config.load import unknown_variables
from llmlab.engines.certificates import SOON
from llmlab.engines.choice import running_engine
from llmlab.engines.compose.command import find_program
from llmlab.engines.compose.containers import DockerEngine
from llmlab.engines.compose.extras import RUNTIMES_LABEL, check_runtimes
from llmlab.engines.compose.images import images_to_build
from llmlab.engines.record import Record
from llmlab.errors import AuthError, EnvironmentFailure, LlmlabError, UsageError
from llmlab.failures import explained
from llmlab.gateway import find_nginx
from llmlab.lab import Lab
from llmlab.names import SUMMARIZE
from llmlab.network import port_holder, port_is_free, without_login
from llmlab.processes import lab_processes
from llmlab.shell import run
from llmlab.tls.pair import now
from llmlab.tls.store import Certificates

GIB = 1 << 30
NEEDED_DISK, NEEDED_MEMORY = 2 * GIB, 1 * GIB
HUB_PATIENCE = 3.0


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Check:
    name: str
    verdict: Verdict
    message: str
    fix: str = ""


def examine(lab: Lab, config: Config, environ: Mapping[str, str]) -> Iterator[Check]:
    """Run every check, one after the other; a check never raises.

    What is needed depends on ``config.engine``: containers bring their own NGINX and torch.
    """
    containers = config.engine == "compose"
    checks: dict[str, Callable[[], Check]] = {
        "python": _python,
        **({"images": lambda: _images(lab, config)} if containers
           else {"nginx": lambda: _nginx(config)}),
        **({"waf": _waf} if config.gateway.waf.enabled and not containers else {}),
        "port": lambda: _port(lab, config),
        "tls": lambda: _tls(lab, config),
        "disk": lambda: _disk(lab),
        "memory": _memory,
        "keys": lambda: _keys(lab),
        "model": lambda: _stable_model(lab, config, runs_here=not containers),
        **{f"route {route}": _model_of(route, lab, config, runs_here=not containers)
           for route, model in config.served.items()
           if route != SUMMARIZE and config.models[model].runtime != "openai"},
        "hub": lambda: _hub(config, environ),
        **{f"models.{name}": _upstream(name, lab, config, environ)
           for name, model in config.models.items() if model.runtime == "openai"},
        **{f"issuer {one.name}": _issuer(one, lab) for one in config.auth.issuers},
        "docker": _compose if containers else _docker,
        "environment": lambda: _variables(config, environ),
    }  # fmt: skip
    for name, check in checks.items():
        yield _answered(name, check)


def _answered(name: str, check: Callable[[], Check]) -> Check:
    """What a check says; what it cannot even look at is its finding."""
    try:
        return check()
    except LlmlabError as error:
        return _fail(name, error.message, error.fix or "")
    except OSError as error:
        known = explained(error)
        if known is None:
            raise
        return _fail(name, known.message, known.fix or "")


def _python() -> Check:
    # Never older than 3.11: pip does not install llmlab there.
    return _ok("python", f"{platform.python_version()} at {sys.executable}")


def _nginx(config: Config) -> Check:
    try:
        found = find_nginx(config.gateway.nginx, config.gateway.edition)
    except EnvironmentFailure as error:
        return _fail("nginx", error.message, error.fix or "")
    able = "auth_jwt" if config.gateway.edition == "plus" else "auth_jwt and njs"
    return _ok("nginx", f"{found.version} with {able}, from {found.origin}")


def _waf() -> Check:
    from llmlab.waf.installed import find_installed

    found = find_installed()
    return _ok("waf", f"{found.nginx} with ModSecurity, OWASP Core Rule Set {found.rule_set}")


def _port(lab: Lab, config: Config) -> Check:
    host, port = config.gateway.host, config.gateway.port
    record = Record.read(lab)
    if record and running_engine(lab):
        if record.url == config.gateway.url:
            return _ok("port", f"{port} is this lab's gateway")
        move = f"the gateway runs at {record.url}; the next `llmlab up` moves it to {port}"
        return _warn("port", move, "set gateway.host and gateway.port in configs/lab.toml")
    if orphans := lab_processes(lab.state):
        return _fail(
            "port",
            f"{len(orphans)} processes of this lab run without their supervisor",
            "llmlab up",
        )
    if port_is_free(host, port):
        return _ok("port", f"{port} is free")
    if not port_is_free(host, 0):
        return _fail("port", f"{host} is no address of this machine", "correct gateway.host")
    fix = f"stop it, or llmlab up --port {port + 1}"
    return _fail("port", f"{port} is taken by {port_holder(port)}", fix)


def _tls(lab: Lab, config: Config) -> Check:
    """As lab.toml has it; what a running gateway has is in `status`."""
    gateway = config.gateway
    if not gateway.tls.enabled:
        if gateway.in_clear:
            said = f"off, and other machines can reach {gateway.host}"
            return (_warn if gateway.insecure else _fail)("tls", said, "llmlab up --tls")
        return _ok("tls", "off; nobody but this machine reaches the gateway")
    certificates = Certificates(lab)
    facts = certificates.examined(gateway)
    if facts is None:
        return _ok("tls", "on; the next `llmlab up` signs a certificate")
    said = f"on, by {facts.signed_by}, until {facts.ends:%Y-%m-%d}"
    if gateway.tls.own and facts.days_left(now()) < SOON:
        return _warn("tls", said, "renew it; the lab takes it over when its files change")
    return _ok("tls", said)


def _disk(lab: Lab) -> Check:
    free = shutil.disk_usage(lab.root).free
    said = f"{free / GIB:.1f} GiB free"
    if free < NEEDED_DISK:
        needed = f"; a model and its packages need {NEEDED_DISK // GIB}"
        return _warn("disk", said + needed, "free some space")
    return _ok("disk", said)


def _memory() -> Check:
    free = psutil.virtual_memory().available
    said = f"{free / GIB:.1f} GiB available"
    if free < NEEDED_MEMORY:
        return _warn("memory", f"{said}; a transformers model needs about 1",
                     'summarize = "textrank" in [routes] needs 0.1 GiB')  # fmt: skip
    return _ok("memory", said)


def _keys(lab: Lab) -> Check:
    file = lab.keys_file
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        return _ok("keys", "none yet; the first `llmlab up` makes one")
    if mode & 0o077:
        fix = f"chmod 600 {file} && llmlab keys rotate, then revoke the keys before"
        return _fail("keys", f"{file} has mode {mode:04o}: others can read it", fix)
    try:
        KeyStore(file).read()
    except AuthError as error:
        return _fail("keys", error.message, error.fix or "")
    return _ok("keys", "readable by their owner only")


def _stable_model(lab: Lab, config: Config, *, runs_here: bool) -> Check:
    stable = config.models[config.stable]
    found = models.availability(
        config.stable, stable, lab.root, runs_here=runs_here,
        llama_server=config.service.llama_server,
    )  # fmt: skip
    if found.ready:
        return _ok("model", f"{config.stable} is on disk")
    instead = (
        f"; {config.fallback} would serve" if config.fallback not in ("", config.stable) else ""
    )
    return _warn("model", f"{config.stable}: {found.reason}{instead}", found.fix)


def _model_of(route: str, lab: Lab, config: Config, *, runs_here: bool) -> Callable[[], Check]:
    """Without its model a lab comes up, and has no such route."""

    def check() -> Check:
        name = config.served[route]
        found = models.availability(
            name, config.models[name], lab.root, runs_here=runs_here,
            llama_server=config.service.llama_server,
        )  # fmt: skip
        if found.ready:
            return _ok(f"route {route}", f"{name} is on disk")
        return _warn(f"route {route}", f"{name}: {found.reason}", found.fix)

    return check


def _hub(config: Config, environ: Mapping[str, str]) -> Check:
    if not any(model.source.startswith("hub:") for model in config.models.values()):
        return _ok("hub", "not needed: no model comes from a hub")
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return _warn("hub", "HF_HUB_OFFLINE: models are not fetched", "unset HF_HUB_OFFLINE")
    endpoint = environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        url = urlsplit(endpoint)
        port = url.port or (443 if url.scheme == "https" else 80)
        socket.create_connection((url.hostname or "", port), HUB_PATIENCE).close()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        fix = "nothing to do: models on disk and the embedded one work without it"
        return _warn("hub", f"{without_login(endpoint)} cannot be reached: {why}", fix)
    return _ok("hub", f"{without_login(endpoint)} answers")


def _upstream(
    name: str, lab: Lab, config: Config, environ: Mapping[str, str]
) -> Callable[[], Check]:
    def check() -> Check:
        from llmlab.upstreams.trying import Outcome, try_upstream

        tried = try_upstream(name, config.models[name], lab, environ)
        needed = name in (*config.served.values(), *config.deploy)
        if tried.outcome is Outcome.WELL:
            return _ok(f"models.{name}", tried.message)
        is_wrong = needed and tried.outcome is Outcome.WRONG
        return (_fail if is_wrong else _warn)(f"models.{name}", tried.message, tried.fix)

    return check


def _issuer(issuer: Issuer, lab: Lab) -> Callable[[], Check]:
    """Asks for its keys now, whatever is kept of them."""

    def check() -> Check:
        from llmlab.issuers.fetching import fetch

        name = f"issuer {issuer.name}"
        try:
            found = fetch(issuer, lab.root).accepted
        except LlmlabError as error:
            fix = error.fix or f"correct issuer or jwks_url of {issuer.name} in configs/lab.toml"
            return _fail(name, error.message, fix)
        left_out = f", {len(found.dropped)} left out: {found.dropped[0]}" if found.dropped else ""
        count = len(found.keys)
        return _ok(name, f"{count} key{'' if count == 1 else 's'} of {issuer.issuer}{left_out}")

    return check


def _docker() -> Check:
    """Docker is optional: the local engine does without."""
    path = shutil.which("docker")
    if not path:
        return _ok("docker", "not installed, and not needed by the local engine")
    try:
        result = run([path, "version", "--format", "{{.Server.Version}}"], timeout=5)
    except EnvironmentFailure as error:
        return _ok("docker", f"{error.message}; not needed by the local engine")
    if result.code != 0:
        return _ok("docker", "no engine answers; not needed by the local engine")
    return _ok("docker", f"engine {result.output.strip()}")


def _compose() -> Check:
    """What the engine compose cannot do without."""
    try:
        docker = DockerEngine()
        program = " ".join(find_program())
    except EnvironmentFailure as error:
        return _fail("docker", error.message, error.fix or "")
    return _ok("docker", f"engine {docker.version}, and {program}")


def _images(lab: Lab, config: Config) -> Check:
    names = images_to_build(lab, config)
    wanted = {
        name: model.runtime
        for name, model in config.models.items()
        # One that is not on disk is the next check's business: the fallback may replace it.
        if name in (*config.served.values(), *config.deploy)
        and models.availability(name, model, lab.root, runs_here=False).ready
    }
    try:
        docker = DockerEngine()
        if not docker.has_images(names):
            return _fail("images", f"{' and '.join(names)} are not there yet", "llmlab build")
        check_runtimes(names[0], docker.image_label(names[0], RUNTIMES_LABEL), wanted)
    except (EnvironmentFailure, UsageError) as error:
        return _fail("images", error.message, error.fix or "")
    return _ok("images", " and ".join(names))


def _variables(config: Config, environ: Mapping[str, str]) -> Check:
    if unknown := unknown_variables(environ, config):
        fix = f"unset {' '.join(unknown)}, or correct the spelling"
        return _warn("environment", f"{', '.join(unknown)} set nothing", fix)
    return _ok("environment", "no unknown LLMLAB_ variables")


def _ok(name: str, message: str) -> Check:
    return Check(name, Verdict.OK, message)


def _warn(name: str, message: str, fix: str) -> Check:
    return Check(name, Verdict.WARN, message, fix)


def _fail(name: str, message: str, fix: str) -> Check:
    return Check(name, Verdict.FAIL, message, fix)
