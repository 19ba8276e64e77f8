"""How a lab is reached: at an address that is one, past proxies on this machine, and elsewhere
through what the environment says, which is looked at before anything is sent."""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import proxy_bypass

import httpx2

from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.lab import Lab
from llmlab.network import is_loopback
from llmlab.version import __version__

H = TypeVar("H", httpx2.Client, httpx2.AsyncClient)
PROXIES = ("http", "https", "all")


@dataclass(frozen=True)
class Trust:
    """By what two sides of a connection know each other, beside a token: files of PEM.

    ``ca``: who may have signed the lab's certificate; None for whom the machine trusts.
    ``certificate``: the client's own, with its key; None for none.
    """

    ca: Path | None = None
    certificate: Path | None = None

    @classmethod
    def named(cls, environ: Mapping[str, str], ca: Path | None = None) -> Trust:
        """As LLMLAB_CA_FILE and LLMLAB_CERTIFICATE_FILE say; ``ca`` where there is no first."""
        said, own = environ.get("LLMLAB_CA_FILE"), environ.get("LLMLAB_CERTIFICATE_FILE")
        return cls(Path(said).expanduser() if said else ca, Path(own).expanduser() if own else None)

    def __bool__(self) -> bool:
        return self != Trust()

    def context(self) -> ssl.SSLContext:
        """
        Raises:
            EnvironmentFailure: a file is not what it should be.
        """
        if self.ca and (why := _wrong_certificates("", self.ca)):
            raise EnvironmentFailure(
                f"nobody can be trusted by {self.ca}: {why}",
                fix="LLMLAB_CA_FILE should name a file of PEM certificates; in the lab: llmlab tls "
                "trust --pem",
            )
        made = ssl.create_default_context(cafile=self.ca) if self.ca else _of_the_machine()
        if self.certificate:
            try:
                made.load_cert_chain(self.certificate)
            except OSError as error:  # ssl.SSLError is one
                raise EnvironmentFailure(
                    f"{self.certificate} is no certificate with its key: {error.strerror}",
                    fix="LLMLAB_CERTIFICATE_FILE should name a file with both, in PEM",
                ) from None
        return made


def _of_the_machine() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


NOBODY = Trust()


def trust_in(lab: Lab, environ: Mapping[str, str] | None = None) -> Trust:
    """By what a lab's gateway and its clients on this machine know each other."""
    ca = lab.trusted_ca
    return Trust.named(os.environ if environ is None else environ, ca if ca.exists() else None)


def connect(kind: type[H], url: str, *, trust: Trust = NOBODY, **options: Any) -> H:
    """A client for a lab.

    Raises:
        EnvironmentFailure: a variable for proxies or certificates is wrong; it says which.
    """
    # A proxy that is set for the internet must not see a lab on this machine.
    here = is_loopback(url)
    if not here:
        check_environment(os.environ)
    headers = {"User-Agent": f"llmlab/{__version__}"}
    if trust and url.startswith("https:"):
        options["verify"] = trust.context()
    return kind(base_url=url, headers=headers, trust_env=not here, **options)


def checked_url(url: str) -> str:
    """The address of a lab, without a slash at its end.

    Raises:
        UsageError: it is none. A password in it is not shown.
    """
    if why := _wrong_url(url):
        shown = repr(url)[1:-1] if "@" not in url else "the URL of the lab"
        raise UsageError(f"{shown} is no URL of a lab: {why}", fix="give it as http://HOST:PORT")
    return url.rstrip("/")


def _wrong_url(url: str) -> str:
    if not url.isprintable() or re.search(r"\s", url):
        return "it has a space, a line break or another character that no URL has"
    try:
        parts = urlsplit(url)
        _ = parts.port
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return "it has to begin with http://HOST or https://HOST"
        if "@" in parts.netloc:
            return "it has a user name or a password, where a token is asked for (LLMLAB_TOKEN)"
        if "?" in url or "#" in url:
            return "it has a query or a fragment"
        host = httpx2.URL(url).raw_host
        if b":" not in host:  # what it spells, and how long its labels are
            host.decode("idna")
            host.decode().encode("idna")
    except (ValueError, httpx2.InvalidURL) as error:
        return str(error)
    return ""


def check_environment(environ: Mapping[str, str]) -> None:
    """Raises EnvironmentFailure: a variable by which addresses elsewhere are reached is wrong.

    Values are not shown: that of a proxy may hold a password.
    """
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if (value := environ.get(name)) and (why := _wrong_certificates(name, Path(value))):
            raise EnvironmentFailure(f"{name}: {why}", fix=f"unset {name}, or name one that is")
        if value:
            break  # the folder counts only without the file
    for scheme in PROXIES:
        if (name := _variable(environ, scheme)) and (why := _wrong_proxy(environ[name])):
            socks = why.startswith("socksio")
            raise EnvironmentFailure(
                f"{name}: {why}",
                fix=f"pip install socksio; or unset {name} for llmlab" if socks
                else f"{name}=http://HOST:PORT; or unset {name} for llmlab",
            )  # fmt: skip


def proxy_variable(url: str) -> str:
    """The variable whose proxy stands between here and an address; "" if none does."""
    parts = urlsplit(url)
    if is_loopback(url) or proxy_bypass(parts.netloc):
        return ""
    return _variable(os.environ, parts.scheme) or _variable(os.environ, "all")


def _variable(environ: Mapping[str, str], scheme: str) -> str:
    """As the standard library has it: in small letters first."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if environ.get(name)), "")


def _wrong_proxy(value: str) -> str:
    if not value.isprintable():  # urlsplit would drop what is not
        return "this is no address of a proxy"
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        if parts.scheme not in ("http", "https", "socks5", "socks5h"):
            return "this is no proxy that can be used (http, https, socks5)"
        if not parts.hostname or (parts.port is not None and not parts.port):
            return "this is no address of a proxy"
        httpx2.URL(parts.geturl())
    except (ValueError, httpx2.InvalidURL):
        return "this is no address of a proxy"
    if parts.scheme.startswith("socks") and not importlib.util.find_spec("socksio"):
        return "socksio, which speaks with SOCKS proxies, is not installed"
    return ""


def _wrong_certificates(name: str, path: Path) -> str:
    if name == "SSL_CERT_DIR":
        return "" if path.is_dir() else f"there is no folder {path}"
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return f"there are no certificates in {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return ""
