"""Debian's NGINX with ModSecurity, and its Core Rule Set, as far as they are installed here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmlab.errors import EnvironmentFailure

# As the packages of Debian and Ubuntu lay them out; see configs/docker/waf.Dockerfile.
NGINX = Path("/usr/sbin/nginx")
MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
UNICODE = Path("/etc/nginx/unicode.mapping")
RULES = Path("/usr/share/modsecurity-crs/rules")
VERSION_FILE = "REQUEST-901-INITIALIZATION.conf"
SERIES = "3.3."  # what rules.py sets up; 4 calls its variables otherwise
PACKAGES = "libnginx-mod-http-modsecurity modsecurity-crs"
FIX = (
    f"apt-get install --no-install-recommends {PACKAGES}, or llmlab up --waf --engine compose, or "
    "gateway.waf.enabled = false"
)


@dataclass(frozen=True)
class Installed:
    """``root``: below which the paths of the packages are; "/" but for tests. ``rule_set``: the
    version of the Core Rule Set."""

    root: Path
    rule_set: str

    @property
    def nginx(self) -> Path:
        return self.root / NGINX.relative_to("/")


def find_installed(root: Path = Path("/")) -> Installed:
    """
    Raises:
        EnvironmentFailure: something of it is missing, or of another series.
    """
    wanted = {"NGINX": NGINX, "its module of ModSecurity": MODULE, "the Core Rule Set": RULES}
    for what, path in wanted.items():
        if not (root / path.relative_to("/")).exists():
            raise EnvironmentFailure(
                f"the WAF needs Debian's NGINX with ModSecurity and the OWASP Core Rule Set, and "
                f"{what} is not here: {path}",
                fix=FIX,
            )
    found = _version(root / RULES.relative_to("/") / VERSION_FILE)
    if not found.startswith(SERIES):
        raise EnvironmentFailure(
            f"the OWASP Core Rule Set of {RULES} is {found or 'of no known version'}, and the WAF "
            f"is set up for {SERIES}x",
            fix="llmlab up --waf --engine compose, or gateway.waf.enabled = false",
        )
    return Installed(root, found)


def _version(file: Path) -> str:
    try:
        said = re.search(
            r"(?m)^SecComponentSignature \"OWASP_CRS/(\d+\.\d+\.\d+)",
            file.read_text(encoding="utf-8"),
        )
    except OSError:
        return ""
    return said[1] if said else ""
