"""What the gateway is to go by: rendered from a plan and the lab's keys, and checked by NGINX."""

from __future__ import annotations

import grp
import os
import pwd
import time
from dataclasses import replace
from pathlib import Path

from llmlab.auth import KeyStore
from llmlab.config import Config
from llmlab.engines.address import refuse_demo_beyond_loopback
from llmlab.engines.base import Plan
from llmlab.engines.local.folders import WORKER
from llmlab.engines.local.programs import gateway_plan
from llmlab.errors import LlmlabError
from llmlab.gateway import Nginx, Releases, find_nginx, fitting, render
from llmlab.gateway.binary import refuse_without_js_access
from llmlab.issuers.trust import trust_of
from llmlab.lab import Lab


def nginx_of(config: Config) -> Nginx:
    return find_nginx(config.gateway.nginx, config.gateway.edition)


class Staging:
    """Releases of one lab's gateway, as the local engine has them.

    Args:
        linked: its API processes are behind links.
    """

    def __init__(self, lab: Lab, releases: Releases, *, linked: bool) -> None:
        self._lab = lab
        self._keys = KeyStore(lab.keys_file)
        self._releases = releases
        self._linked = linked

    def stage(self, plan: Plan, nginx: Nginx, conf: Path) -> str:
        """See ``Releases.stage``. ``conf`` is the nginx.conf that people wrote.

        Raises:
            ConfigError: ``nginx -t`` rejects it.
        """
        if plan.config.budgets or plan.config.gateway.waf.enabled:
            refuse_without_js_access(nginx)
        keys = self._keys.read()
        refuse_demo_beyond_loopback(plan.config, keys)
        trust = trust_of(self._lab, plan.config.auth, keys.kids, time.time())
        wanted = gateway_plan(
            self._lab, plan, nginx=nginx, worker_user=worker_user(), keys=keys, trust=trust
        )  # fmt: skip
        wanted = replace(wanted, linked=self._linked)
        files = {
            "nginx.conf": fitting(_read(conf), wanted),
            "llmapi.jwk": keys.gateway_jwks(trust.jwks),
            **render(wanted),
        }
        return self._releases.stage(files, nginx)


def worker_user() -> str:
    """``user group`` for NGINX's workers, where its master runs as root; else ""."""
    if os.geteuid() != 0:
        return ""
    group = grp.getgrgid(pwd.getpwnam(WORKER).pw_gid).gr_name
    return f"{WORKER} {group}"


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise LlmlabError(f"{file} cannot be read: {error.strerror}", fix="llmlab init .") from None
