"""The WAF as one of a lab's processes."""

from __future__ import annotations

import hashlib
import sys
import time

from llmlab.config import Config
from llmlab.engines import probe
from llmlab.engines.base import Say
from llmlab.engines.local.supervisor import Supervisor
from llmlab.engines.local.supervisor_conf import Program
from llmlab.engines.local.waiting import pause
from llmlab.engines.waf import ANSWERS, NAME
from llmlab.files import write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.waf.installed import find_installed
from llmlab.waf.rules import NGINX_CONF, RULES_CONF, Place, render

DEADLINE = 20.0  # seconds; it reads some 800 rules
FIX = "llmlab logs waf has all of it; gateway.waf.enabled = false does without"


def waf_programs(lab: Lab, config: Config, worker_user: str) -> list[Program]:
    """Its process, where there is to be one.

    Raises:
        EnvironmentFailure: what it takes is not installed.
    """
    if not config.gateway.waf.enabled:
        return []
    nginx = find_installed().nginx
    folder, _ = _rendered(lab, config, worker_user)
    command = (sys.executable, "-P", "-m", "llmlab.engines.local.start_waf", str(lab.waf_socket),
               str(nginx), "-e", "stderr", "-p", f"{lab.waf_folder}/",
               "-c", str(lab.state / folder / NGINX_CONF))  # fmt: skip
    return [Program(NAME, command, stop_signal="QUIT", priority=20)]


def write_waf(lab: Lab, config: Config, worker_user: str) -> None:
    """What its process reads."""
    if not config.gateway.waf.enabled:
        return
    folder, files = _rendered(lab, config, worker_user)
    private_folder(lab.state / folder.partition("/")[0])
    for name, text in files.items():
        write_atomically(private_folder(lab.state / folder) / name, text)


def _rendered(lab: Lab, config: Config, worker_user: str) -> tuple[str, dict[str, str]]:
    """(folder below the lab's state, its files). Its name says their content: what changes there
    changes the command, which is how the supervisor learns of it."""

    def at(folder: str) -> dict[str, str]:
        place = Place(f"unix:{lab.waf_socket}", f"{folder}/{RULES_CONF}", worker_user)
        return render(config.gateway.waf, place)

    digest = hashlib.sha256("\0".join(at("").values()).encode()).hexdigest()[:12]
    folder = f"{NAME}/{digest}"
    return folder, at(folder)


def wait_for_waf(lab: Lab, supervisor: Supervisor, config: Config, say: Say) -> None:
    """
    Raises:
        EnvironmentFailure: it does not come.
    """
    if not config.gateway.waf.enabled:
        return
    say("waiting for the WAF")
    deadline = time.monotonic() + DEADLINE
    while probe.status_at(lab.waf_socket, "/") != ANSWERS:
        pause(supervisor, NAME, deadline, fix=FIX)
