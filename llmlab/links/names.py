"""What the ends of a link are called in their certificates. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmlab.config.schema import MODEL_NAME
from llmlab.errors import ConfigError

if TYPE_CHECKING:
    from cryptography import x509

REPLICAS, GATEWAYS = "replica.llmlab", "gateway.llmlab"  # below them lie the names of each
GATEWAY = f"lab.{GATEWAYS}"
INCARNATION = re.compile(r"[0-9a-f]{12}")  # of a replica: where it starts again it has another one
FIRST = "1"  # a deployment's first process has no number in its name
_FURTHER = re.compile(r"[a-z0-9]{1,16}")


def replica(process: str, deployment: str) -> str:
    """The host name in a replica's certificate: `textrank.2` has `2.textrank.replica.llmlab`.

    Raises:
        ConfigError: a deployment of this name has no process of that one.
    """
    return f"{_number(process, deployment)}.{deployment}.{REPLICAS}"


def any_replica(deployment: str) -> str:
    """Each of a deployment's replicas, as a host name in a certificate says it."""
    return f"*.{deployment}.{REPLICAS}"


def subject(process: str, deployment: str, incarnation: str) -> x509.Name:
    """The subject of a replica's certificate. Each part of one may have 64 letters, which a whole
    host name may exceed.

    Raises:
        ConfigError: a deployment of this name has no process of that one, or no such incarnation.
    """
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, deployment),
        x509.NameAttribute(NameOID.COMMON_NAME, _number(process, deployment)),
        x509.NameAttribute(NameOID.SERIAL_NUMBER, _told_apart(incarnation)),
    ])  # fmt: skip


def as_nginx_says(process: str, deployment: str, incarnation: str) -> str:
    """That subject as NGINX has it in ``$ssl_client_s_dn`` (RFC 2253: the last part first)."""
    named = f"CN={_number(process, deployment)},OU={deployment}"
    return f"serialNumber={_told_apart(incarnation)},{named}"


def _told_apart(incarnation: str) -> str:
    """It is a node that says it, and it comes to stand in NGINX's configuration."""
    if INCARNATION.fullmatch(incarnation):
        return incarnation
    raise ConfigError(
        f"{incarnation!r} is no incarnation of a replica",
        fix="the same version of llmlab on all machines",
    )


def _number(process: str, deployment: str) -> str:
    begin, dot, number = process.partition(".")
    known = begin == deployment and MODEL_NAME.fullmatch(deployment)
    if known and (_FURTHER.fullmatch(number) and number != FIRST if dot else True):
        return number or FIRST
    raise ConfigError(
        f"{process!r} is no name of a process of the deployment {deployment!r}",
        fix="a deployment's processes are called NAME, NAME.2, NAME.3 ...",
    )
