"""Asking a provider for its keys: what it says is bounded in size, in time, and in where it leads.

Redirects are not followed: a provider names its addresses in its own document, and whoever could
make it redirect could name keys of his own.
"""

from __future__ import annotations

import json
import re
import ssl
import time
from pathlib import Path
from typing import Any

import httpx2

from llmlab.config.auth import Issuer, wrong_url
from llmlab.errors import LlmlabError, UpstreamError, unreadable
from llmlab.issuers.jwks import Fetched, read_jwks
from llmlab.network import is_loopback
from llmlab.upstreams.tls import trusted

DISCOVERY = "/.well-known/openid-configuration"
LARGEST = 1 << 18  # bytes; NGINX's module takes no more
DEADLINE = 10.0  # seconds for both documents
MAX_AGE = re.compile(r"(?:^|[,\s])max-age=\"?(\d{1,9})\"?(?=$|[,\s])", re.IGNORECASE)
NEVER = re.compile(r"(?:^|[,\s])no-(?:store|cache)(?=$|[,\s=])", re.IGNORECASE)


def fetch(issuer: Issuer, root: Path, *, deadline: float = DEADLINE) -> Fetched:
    """
    Args:
        root: of the lab, which ``ca_file`` is relative to.
        deadline: seconds for all of it.

    Raises:
        UpstreamError: it does not answer, or not as it should; or none of its keys is of use.
        EnvironmentFailure: its ``ca_file`` cannot be used.
    """
    context = trusted(root / issuer.ca_file if issuer.ca_file else None)
    end = time.monotonic() + deadline
    try:
        with httpx2.Client(
            verify=context, trust_env=False, timeout=deadline, follow_redirects=False,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        ) as client:  # fmt: skip
            where = issuer.jwks_url or _discovered(client, issuer, end)
            body, control = _asked(client, where, end)
    except httpx2.TimeoutException:
        raise late(issuer.jwks_url or issuer.issuer) from None
    except (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError) as error:  # of a host's name, too
        raise UpstreamError(f"cannot be reached: {_why(error)}") from None
    accepted = read_jwks(body, issuer.algorithms)
    # A provider that has no keys any more has withdrawn them all: then nobody is let in by those
    # from before.
    if not accepted.keys and accepted.dropped:
        raise UpstreamError(
            f"{where} holds no key that can be used here: " + "; ".join(accepted.dropped[:3]),
            fix=f"algorithms of the issuer {issuer.name} in configs/lab.toml",
        )
    return Fetched(accepted, _good_for(control))


def _discovered(client: httpx2.Client, issuer: Issuer, end: float) -> str:
    """Where its keys are, by its own document.

    Raises:
        UpstreamError: that is not to be trusted.
    """
    where = issuer.issuer.rstrip("/") + DISCOVERY
    body, _ = _asked(client, where, end)
    try:
        document = json.loads(body)
        said, keys = document["issuer"], document["jwks_uri"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UpstreamError(f"{where} is no discovery document: {unreadable(error)}") from None
    # OpenID Connect Discovery 4.3: it must be exactly the one that was asked.
    if said != issuer.issuer:
        raise UpstreamError(
            f"{where} says that it is of {str(said)[:200]!r}, not of {issuer.issuer!r}",
            fix=f"correct issuer of {issuer.name} in configs/lab.toml, slashes included; or set "
            "its jwks_url",
        )
    problem = "a text" if not isinstance(keys, str) else wrong_url(keys)
    # A provider elsewhere has nothing to say of who answers on this machine.
    if problem or (is_loopback(keys) and not is_loopback(issuer.issuer)):
        raise UpstreamError(f"{where} has a jwks_uri that should be {problem or 'elsewhere'}")
    return str(keys)


def _asked(client: httpx2.Client, url: str, end: float) -> tuple[bytes, str]:
    """(body, Cache-Control)."""
    with client.stream("GET", url) as answer:
        if answer.is_redirect:
            raise UpstreamError(
                f"{url} redirects, which is not followed", fix="set the address that it leads to"
            )
        if answer.status_code != 200:
            raise UpstreamError(f"{url} answers {answer.status_code}")
        if answer.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamError(f"{url} answers compressed, which was not asked for")
        body = b""
        for part in answer.iter_raw():
            body += part
            if len(body) > LARGEST:
                raise UpstreamError(f"{url} answers more than {LARGEST >> 10} KiB")
            if time.monotonic() > end:
                raise late(url)
        return body, ",".join(answer.headers.get_list("cache-control"))


def late(url: str) -> UpstreamError:
    return UpstreamError(f"{url} does not answer in time")


def _why(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            why: Any = getattr(cause, "verify_message", "") or cause.reason or "TLS"
            return f"its TLS cannot be trusted: {why}"
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__


def _good_for(control: str) -> int | None:
    if NEVER.search(control):
        return 0
    found = MAX_AGE.search(control)
    return int(found[1]) if found else None


def told(error: LlmlabError) -> str:
    """A failure in one line, as it is kept and shown."""
    return error.message.splitlines()[0][:500]
