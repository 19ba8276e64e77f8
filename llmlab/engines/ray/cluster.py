"""The Ray cluster under a lab: what its processes are told, and the command line of a node.

All processes of a cluster know one token. GCS, which runs on the head, has what it knows on the
disk, and nobody ends because it is away: see docs/explain/more-machines.md.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from llmlab.config.ray import Ray
from llmlab.engines.ray.wanted import folder_of
from llmlab.errors import AuthError, EnvironmentFailure, unreadable
from llmlab.files import locked, write_atomically
from llmlab.lab import Lab, private_folder
from llmlab.shell import clean_environment

TOKEN = "token"  # noqa: S105  its file's name
OTHERS = 0o077
AWAY = 30 * 86_400  # seconds that the head may be away; then nodes end what they run
STORE = 100_000_000  # bytes of Ray's object store: nothing of a lab goes through it
FOLDER = "LLMLAB_NODE"  # the environment variable that says where a node keeps what is its own


def token_file(lab: Lab, ray: Ray) -> Path:
    """Where the cluster's token stands.

    Raises:
        AuthError: one that is named cannot be read, or others may read it.
    """
    if not ray.token_file:
        return folder_of(lab) / TOKEN
    return checked_token(lab.root / Path(ray.token_file).expanduser())


def checked_token(file: Path) -> Path:
    """The file with a cluster's token.

    Raises:
        AuthError: there is none, or others may read it.
    """
    try:
        mode = file.stat().st_mode
    except OSError as error:
        raise AuthError(
            f"the cluster's token cannot be read: {file}: {unreadable(error)}",
            fix="copy it from the machine that runs the head, .llmlab/ray/token of its lab, "
            "mode 0600",
        ) from None
    if mode & OTHERS:
        raise AuthError(f"others can read the cluster's token, {file}", fix=f"chmod 600 {file}")
    return file.resolve()


def make_token(lab: Lab, ray: Ray) -> Path:
    """The same, made where the lab's own is not there yet.

    Raises:
        AuthError: as ``token_file``.
    """
    file = token_file(lab, ray)
    if not ray.token_file:
        private_folder(file.parent)
        with locked(file.with_suffix(".lock")):
            if not file.exists():
                write_atomically(file, secrets.token_hex(32) + "\n")
    return file


def environment(token: Path, *, alone: bool = False) -> dict[str, str]:
    """What every process of the cluster has to be told, before it imports ray.

    Args:
        alone: the cluster has one node, and listens on 127.0.0.1 alone.
    """
    return clean_environment() | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(AWAY),
        "RAY_gcs_storage": "rocksdb",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_raylet_start_wait_time_s": "120",  # a machine may be busy
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",  # else 30 s, without a head to hear of it
        # A machine that says nothing for so long is dead: its replicas start elsewhere.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "3000",
        "RAY_health_check_failure_threshold": "3",
        # What stands for "listen on 127.0.0.1, and take that for your address".
        **({"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if alone else {}),
    }


def head_address(ray: Ray) -> str:
    host = f"[{ray.host}]" if ":" in ray.host else ray.host
    return ray.address or f"{host}:{ray.port}"


def namespace(lab: Lab, ray: Ray) -> str:
    """Of a lab's actors. Several labs may have one cluster, in folders of the same name too."""
    digest = hashlib.sha256(f"{ray.host} {lab.root}".encode()).hexdigest()
    return f"llmlab-{digest[:12]}"


def head_command(lab: Lab, ray: Ray) -> list[str]:
    """What runs the head. It has replicas only where no other node can be: they end with it."""
    cores, gpus = (ray.cores, []) if ray.is_alone else (0, ["--num-gpus=0"])
    return [
        *_start(ray.host, cores, session_folder(lab)), "--head", f"--port={ray.port}",
        "--include-dashboard=false", *gpus,
    ]  # fmt: skip


def node_command(
    address: str, host: str, cores: int, session: Path, gpus: int | None = None
) -> list[str]:
    """What makes a machine a node.

    Args:
        address: of the head.
        cores: that it has for replicas; -1 = all.
        session: a folder for Ray's sockets and logs.
    """
    more = [] if gpus is None else [f"--num-gpus={gpus}"]
    return [*_start(host, cores, session), f"--address={address}", *more]


def _start(host: str, cores: int, session: Path) -> list[str]:
    # Ray takes a head of before for one that runs, if this names it.
    (session / "ray_current_cluster").unlink(missing_ok=True)
    cores = cores if cores >= 0 else len(os.sched_getaffinity(0))
    return [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
        f"--node-ip-address={host}", f"--num-cpus={cores}", f"--object-store-memory={STORE}",
        "--include-log-monitor=false", "--disable-usage-stats", f"--temp-dir={session}",
    ]  # fmt: skip


def session_folder(lab: Lab) -> Path:
    """Where Ray has its sockets and logs: a path that is short enough for a socket's."""
    return session_below(lab.runtime_dir / "ray")


def session_below(folder: Path) -> Path:
    """Ray opens its folder to everybody, and would be spoken to at the socket that somebody else
    has put there: so it has one below a folder that is closed."""
    return private_folder(folder) / "s"


def models_below(folder: Path) -> Path:
    """Where a node keeps models. The folder itself may be somebody's who has other things in it:
    only this one is closed."""
    return private_folder(folder / "models")


def storage(lab: Lab) -> Path:
    """Where GCS keeps what it knows."""
    return folder_of(lab) / "gcs"


def import_ray(environ: Mapping[str, str]) -> None:
    """Import ray into this process, which goes by this environment from then on.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    os.environ.update(environ)
    try:
        import ray  # noqa: F401
    except ImportError:
        raise EnvironmentFailure(
            "the engine ray needs the package ray", fix="pip install 'llmlab[ray]'"
        ) from None
