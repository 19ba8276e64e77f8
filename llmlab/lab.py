"""A lab: a folder with configs/lab.toml, and where its run-time state lives."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.failures import as_its_owner, owner_of

CONFIG = Path("configs", "lab.toml")
# What `init` lays out. In a wheel these stand in llmlab/lab_files, in a checkout at its top.
LAB_FILES = ("configs", "nginx.conf", "notebooks", "docker-compose.yml")
GITIGNORE = ".llmlab/\n.ipynb_checkpoints/\n*.token\n*.bak\n"
# Below NGINX's prefix: where it tells its metrics, and where the lab itself asks what everybody
# asks at the gateway's address.
METRICS_SOCKET = Path("own", "metrics.sock")
FRONT_SOCKET = Path("own", "gateway.sock")
SETTLEMENTS_SOCKET = "gateway.settlements"  # beside the APIs' own sockets: they reach both
WAF_SOCKET = "gateway.waf"  # likewise
CONSOLE_SOCKET = Path("console", "console.sock")  # in a folder that holds nothing else
COUNTS_FOLDER = "counts"  # below NGINX's prefix: what its workers write
LOGS_LINK = "logs"  # to the lab's own folder
LEFT_BEHIND = {"__pycache__", ".ipynb_checkpoints"}  # by those who worked in a checkout


@dataclass(frozen=True)
class Lab:
    """The paths of one lab. Nothing here touches the disk."""

    root: Path

    @property
    def config_file(self) -> Path:
        return self.root / CONFIG

    @property
    def nginx_conf(self) -> Path:
        return self.root / "nginx.conf"

    @property
    def state(self) -> Path:
        """Run-time state, git-ignored, mode 0700: keys, logs, rendered configuration."""
        return self.root / ".llmlab"

    @property
    def keys_file(self) -> Path:
        return self.state / "keys" / "jwks.json"

    @property
    def trusted_ca(self) -> Path:
        """Who signed the gateway's certificate, for the lab's own clients. Not there where the
        machine itself knows who did, and without TLS."""
        return self.state / "tls" / "trusted.pem"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def runtime_dir(self) -> Path:
        """Sockets and pid files. Outside the lab: a unix socket's path may have 107
        bytes, and the gateway's workers must be able to walk to it."""
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()[:12]
        return Path(f"/tmp/llmlab-{os.geteuid()}") / digest  # noqa: S108  see private_folder

    def api_socket(self, deployment: str) -> Path:
        return self.runtime_dir / "api" / f"{deployment}.sock"

    @property
    def gateway_socket(self) -> Path:
        """Where the gateway tells its own metrics, under the local engine."""
        return self.runtime_dir / "nginx" / METRICS_SOCKET

    @property
    def front_socket(self) -> Path:
        """Where the lab itself reaches its gateway, under the local engine."""
        return self.runtime_dir / "nginx" / FRONT_SOCKET

    @property
    def settlements_socket(self) -> Path:
        """Where an API says what it has used, once the head of its answer is gone."""
        return self.runtime_dir / "api" / SETTLEMENTS_SOCKET

    @property
    def waf_socket(self) -> Path:
        """Where the gateway asks its WAF, under the local engine."""
        return self.runtime_dir / "api" / WAF_SOCKET

    @property
    def waf_folder(self) -> Path:
        """Where the WAF's NGINX has its pid and temporary files."""
        return self.runtime_dir / "waf"

    @property
    def console_socket(self) -> Path:
        """Where the gateway asks for the console's pages, under the local engine."""
        return self.runtime_dir / CONSOLE_SOCKET

    @property
    def compose_console_socket(self) -> Path:
        """The same, for a gateway in a container. Its path may be longer than a socket's may be."""
        return self.state / "compose" / CONSOLE_SOCKET

    @property
    def console_secret(self) -> Path:
        """What the gateway proves itself by at the console; for its owner only."""
        return self.state / "console" / "gateway.secret"

    @property
    def counts_folder(self) -> Path:
        """Where the gateway keeps what budgets have counted, while it runs."""
        return self.runtime_dir / "nginx" / COUNTS_FOLDER

    @property
    def compose_counts(self) -> Path:
        """The same, of a gateway in a container."""
        return self.state / "compose" / "counts"

    def make_state(self) -> None:
        """Create the state folder, for its owner only."""
        private_folder(self.state)


def private_folder(folder: Path, mode: int = 0o700) -> Path:
    """Create a folder of our own, or refuse one that is somebody else's.

    Raises:
        EnvironmentFailure: another user owns it or may write to it, or it is a link.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        with contextlib.suppress(FileExistsError):  # somebody was faster: judged below
            missing.mkdir(mode=0o700)
            missing.chmod(mode)  # mkdir's own mode is cut by the umask
    refuse_foreign(folder)
    if stat.S_IMODE(folder.lstat().st_mode) != mode:
        folder.chmod(mode)
    return folder


def refuse_foreign(folder: Path) -> None:
    """Raise EnvironmentFailure unless a folder is absent, or our own and closed to others."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        kind = "a link" if stat.S_ISLNK(found.st_mode) else "no folder"
        raise EnvironmentFailure(
            f"{folder} is {kind}, so nothing of this lab can go there",
            fix=f"ls -ld {folder}, and move it out of the way",
        )
    if found.st_uid != os.geteuid():
        owner = owner_of(folder)
        raise EnvironmentFailure(
            f"{folder} belongs to {owner}, so nothing of yours can go there",
            fix=as_its_owner(owner),
        )


def find_lab(start: Path | None = None, environ: Mapping[str, str] | None = None) -> Lab:
    """The lab in ``start``, the one named by LLMLAB_LAB, or the one around this folder.

    A lab's configuration names programs to run. So one that was only met on the
    way up, and not named, has to belong to this user.

    Raises:
        UsageError: there is none, or it is somebody else's.
    """
    environ = environ or {}
    named = start or (Path(environ["LLMLAB_LAB"]) if environ.get("LLMLAB_LAB") else None)
    if named:
        root = named.expanduser().resolve()
        if not (root / CONFIG).is_file():
            raise UsageError(f"there is no {CONFIG} in {root}", fix=f"llmlab init {root}")
        return Lab(checked_root(root))
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CONFIG).is_file():
            _refuse_foreign_lab(folder, environ)
            return Lab(checked_root(folder))
    raise UsageError(f"{here} is not in a lab: there is no {CONFIG}", fix="llmlab init .")


def checked_root(root: Path) -> Path:
    """A lab's folder, if NGINX and supervisord can be told its name."""
    odd = sorted({letter for letter in str(root) if letter in "*?[]" or not letter.isprintable()})
    if odd:
        raise UsageError(
            f"a lab cannot live in {str(root)!r}: its path holds {' '.join(map(repr, odd))}",
            fix="choose a folder without wildcards and control characters in its path",
        )
    return root


def _refuse_foreign_lab(root: Path, environ: Mapping[str, str]) -> None:
    trusted = {0, os.geteuid()}
    if os.geteuid() == 0 and environ.get("SUDO_UID", "").isdecimal():
        trusted.add(int(environ["SUDO_UID"]))
    for path in (root, root / CONFIG.parent, root / CONFIG):
        found = path.stat()
        if found.st_uid not in trusted or found.st_mode & stat.S_IWOTH:
            raise UsageError(
                f"{path} belongs to another user or is open to everybody, and a lab names "
                "programs to run",
                fix=f"if you trust it: llmlab --lab {root} ...",
            )


def init_lab(root: Path) -> list[Path]:
    """Lay out a new lab; what is already there is left alone.

    Returns:
        The files that were created, relative to ``root``.
    """
    checked_root(root)
    source = _lab_files()
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file, so no lab can be laid out there")
    created = []
    for name in LAB_FILES:
        top = source / name
        files = sorted(top.rglob("*")) if top.is_dir() else [top]
        for file in files:
            target = root / file.relative_to(source)
            if not file.is_file() or target.exists() or LEFT_BEHIND & {*file.parts}:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            created.append(target.relative_to(root))
    ignore = root / ".gitignore"
    if not ignore.exists():
        ignore.write_text(GITIGNORE)
        created.append(ignore.relative_to(root))
    return created


def lab_file(name: str) -> Path:
    """What `init` lays out under this name."""
    return _lab_files() / name


def _lab_files() -> Path:
    package = Path(__file__).parent
    installed = package / "lab_files"
    return installed if installed.is_dir() else package.parent
