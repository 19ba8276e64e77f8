"""The folders that a running lab needs, beside its own."""

from __future__ import annotations

import os
import pwd

from llmlab.engines.local import counts
from llmlab.lab import LOGS_LINK, Lab, private_folder

WORKER = "nobody"  # NGINX's unprivileged workers, where its master is root


def make_folders(lab: Lab) -> None:
    """Create them. Where NGINX's master is root, its workers have to reach the sockets and
    their temporary files, and nothing else."""
    root = os.geteuid() == 0
    reachable = 0o711 if root else 0o700
    private_folder(lab.state)
    private_folder(lab.logs)
    runtime = lab.runtime_dir
    private_folder(runtime.parent, reachable)
    private_folder(runtime, reachable)
    private_folder(runtime / "nginx", reachable)
    private_folder(lab.waf_folder, reachable)
    private_folder(lab.gateway_socket.parent)
    _link_logs(lab)
    guarded = 0o710 if root else 0o700
    sockets = [private_folder(one, guarded) for one in (runtime / "api", lab.console_socket.parent)]
    if not lab.counts_folder.exists():
        counts.put_back(lab, private_folder(lab.counts_folder))
        if root:  # whose workers write there
            os.chown(lab.counts_folder, pwd.getpwnam(WORKER).pw_uid, -1)
    if root:
        for folder in sockets:
            os.chown(folder, 0, pwd.getpwnam(WORKER).pw_gid)


def _link_logs(lab: Lab) -> None:
    """NGINX finds them under a name without signs that mean something to it, such as `$`."""
    link = lab.runtime_dir / "nginx" / LOGS_LINK
    if not link.is_symlink() or link.readlink() != lab.logs:
        link.unlink(missing_ok=True)
        link.symlink_to(lab.logs)
