"""nginx.conf of both sides of the links: pure, from what links there are to text.

Both ends are ours, so they speak TLS 1.3 and nothing else, and each says who it is. What passes is
not looked at: a streamed answer comes on as it comes, and a client that leaves is gone at the
other end as well.

Where a replica cannot be reached, a 503 is the answer, after which the gateway asks another one:
see ``links.away``. A machine that says nothing is waited for first, so a link to a replica that is
gone is to be left out: then nothing listens at its socket, which is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmlab.gateway.directives import joined
from llmlab.gateway.quoting import exactly
from llmlab.links import away as nobody
from llmlab.links import names
from llmlab.links.quoting import address, quoted, unix
from llmlab.tls.pair import Pair

# Beside the configuration, which names them so.
GATEWAY, GATEWAY_KEY, TRUSTED = "gateway.pem", "gateway.key", "trusted.pem"
LOG = "error.log"  # below the prefix
CONNECT = 2  # seconds until a machine that says nothing is taken for one that is gone
HANDSHAKE = 5  # seconds
GRACE = 30  # seconds on top of the longest answer
IDLE = 60  # seconds for which the gateway keeps a connection without a request: keepalive_timeout
# Seconds for which it goes on using one (keepalive_time). Workers of a configuration from before
# stay as long: who ended them earlier would cut off what is just being answered.
REUSED = 3600
CONNECTIONS = 4096  # of a worker; each that passes takes two
SESSIONS = 3600  # seconds for which a handshake is shortened, without asking for certificates


@dataclass(frozen=True)
class Link:
    """One replica: the unix socket on this machine, and where its TLS is spoken.

    ``socket``: on the lab's machine, at which the replica is asked; on its own one, at which it
    listens. ``host``: an address of its machine, IPv4 or IPv6. ``incarnation``: of the replica;
    without one the lab takes no settlements from it.
    """

    process: str
    deployment: str
    socket: Path
    host: str
    port: int
    incarnation: str = ""

    @property
    def name(self) -> str:
        """What its certificate has to say.

        Raises:
            ConfigError: the deployment has no such process.
        """
        return names.replica(self.process, self.deployment)


@dataclass(frozen=True)
class Settlements:
    """The way back, by which replicas tell what was used: ``socket``, on the lab's machine the
    gateway's, on another one where a replica tells it; and where the lab takes it by TLS."""

    socket: Path
    host: str
    port: int


@dataclass(frozen=True)
class End:
    """A link's end at its replica, with the replica's own way back, if it has one."""

    link: Link
    settlements: Settlements | None = None

    @property
    def certificate(self) -> str:
        """Its file beside the configuration."""
        return f"{self.link.name}.pem"

    @property
    def key(self) -> str:
        return f"{self.link.name}.key"

    def files(self, own: Pair, trusted: str) -> dict[str, str]:
        """{name: PEM} of what ``node_side`` names for it.

        Args:
            trusted: who signs for the gateway.
        """
        return {self.certificate: own.certificate, self.key: own.key, TRUSTED: trusted}


@dataclass(frozen=True)
class Setting:
    """How an NGINX of links runs.

    Args:
        longest: seconds of the longest answer.
        worker_user: ``user group`` of its workers, where its master is root.
        load_modules: paths of modules that are not built in.
        log: where errors go; relative to the prefix.
    """

    longest: float
    worker_user: str = ""
    load_modules: tuple[str, ...] = ()
    log: str = LOG


def lab_side(
    links: Sequence[Link], setting: Setting, settlements: Settlements | None = None
) -> str:
    """What ``lab_files`` gives lies beside it.

    Raises:
        ConfigError: a name, a path or an address is none that may stand there.
    """
    away = _away(links)
    servers = [_to_replica(number, one, away) for number, one in enumerate(links, 1)]
    if settlements:
        servers += [_known(links, settlements), _server(_takes_settlements(settlements))]
    return _whole(setting, servers, workers=2) + _answers(away, tls=True)


def lab_files(own: Pair, away: Pair, trusted: str) -> dict[str, str]:
    """{name: PEM} of what ``lab_side`` names.

    Args:
        own: the gateway's.
        away: of who answers in the place of replicas that are away.
        trusted: who signs for replicas.
    """
    return {
        GATEWAY: own.certificate, GATEWAY_KEY: own.key, TRUSTED: trusted,
        nobody.CERTIFICATE: away.certificate, nobody.KEY: away.key,
    }  # fmt: skip


def node_side(ends: Sequence[End], setting: Setting) -> str:
    """What ``End.files`` gives, for each of them, lies beside it.

    Raises:
        ConfigError: a name, a path or an address is none that may stand there.
    """
    servers, away = [], _away([one.link for one in ends])
    for number, end in enumerate(ends, 1):
        servers.append(_from_lab(number, end, away))
        if end.settlements:
            servers.append(_server(_tells_settlements(end, end.settlements)))
    return _whole(setting, servers, workers=1) + _answers(away, tls=False)


def sockets(text: str) -> tuple[Path, ...]:
    """The unix sockets at which a configuration of this module listens."""
    return tuple(
        Path(one) for one in re.findall(r"^        listen unix:(\S+?)(?: ssl)?;$", text, re.M)
    )


def _to_replica(number: int, link: Link, away: str) -> str:
    server = _server([
        f"listen {unix(link.socket)};",
        f"proxy_pass link_{number};",
        *_as_client(GATEWAY, GATEWAY_KEY, link.name),
    ])  # fmt: skip
    return _or_nobody(number, address(link.host, link.port), away) + server


def _from_lab(number: int, end: End, away: str) -> str:
    link = end.link
    server = _server([
        *_as_server(address(link.host, link.port), end.certificate, end.key),
        f"proxy_pass link_{number};",
    ])  # fmt: skip
    return _or_nobody(number, unix(link.socket), away) + server


def _away(links: Sequence[Link]) -> str:
    """What answers in the place of those that are away, as NGINX takes it; "" without links."""
    return unix(nobody.beside(links[0].socket)) if links else ""


def _answers(away: str, *, tls: bool) -> str:
    return joined(nobody.http(away, tls=tls)) if away else ""


def _or_nobody(number: int, at: str, away: str) -> str:
    """Whom a link leads to. max_fails=0: one that is back is asked again at once."""
    return _indented([
        f"upstream link_{number} {{",
        f"    server {at} max_fails=0;",
        f"    server {away} backup;",
        "}",
    ])  # fmt: skip


def _tells_settlements(end: End, to: Settlements) -> list[str]:
    return [
        f"listen {unix(to.socket)};",
        f"proxy_pass {address(to.host, to.port)};",
        *_as_client(end.certificate, end.key, names.GATEWAY),
    ]


def _takes_settlements(settlements: Settlements) -> list[str]:
    at = address(settlements.host, settlements.port)
    return [*_as_server(at, GATEWAY, GATEWAY_KEY), "proxy_pass $links_settlements;"]


def _known(links: Iterable[Link], settlements: Settlements) -> str:
    """A certificate outlives its replica, and one that takes its place has the same name: only the
    very ones that have a link now are let through."""
    known = [names.as_nginx_says(one.process, one.deployment, one.incarnation)
             for one in links if one.incarnation]  # fmt: skip
    lines = [f"    {exactly(one)} settlements;" for one in known]
    return _indented(
        ["upstream settlements {", f"    server {unix(settlements.socket)};", "}",
         "map $ssl_client_s_dn $links_settlements {", *lines,
         '    default "";                 # no address: the connection ends', "}"]
    )  # fmt: skip


def _as_client(certificate: str, key: str, name: str) -> list[str]:
    return [
        "proxy_ssl on;",
        f"proxy_ssl_certificate {certificate};",
        f"proxy_ssl_certificate_key {key};",
        f"proxy_ssl_name {name};",
    ]


def _as_server(at: str, certificate: str, key: str) -> list[str]:
    return [
        # A machine that vanished is noticed, though nobody has anything to say.
        f"listen {at} ssl so_keepalive=30s:10s:3;",
        f"ssl_certificate {certificate};",
        f"ssl_certificate_key {key};",
        "ssl_verify_client on;",
    ]


def _whole(setting: Setting, servers: Iterable[str], *, workers: int) -> str:
    passes = max(setting.longest, IDLE) + GRACE
    leaves = REUSED + passes
    head = [
        *(f'load_module "{quoted(one)}";' for one in setting.load_modules),
        *([f"user {setting.worker_user};"] if setting.worker_user else []),
        f"worker_processes {workers};",
        f"worker_rlimit_nofile {2 * CONNECTIONS};",
        f"worker_shutdown_timeout {_milliseconds(leaves)};",
        "pid nginx.pid;",
        f'error_log "{quoted(setting.log)}" error;',
        "events {",
        f"    worker_connections {CONNECTIONS};",
        "}",
        "stream {",
        "    access_log off;",
        f"    proxy_timeout {_milliseconds(passes)};",
        f"    proxy_connect_timeout {CONNECT}s;",
        "    proxy_socket_keepalive on;",
    ]
    return joined(head) + _indented(_TLS) + "".join(servers) + "}\n"


# Of both ends.
_TLS = (
    "proxy_ssl_protocols TLSv1.3;",
    f"proxy_ssl_trusted_certificate {TRUSTED};",
    "proxy_ssl_verify on;",
    "proxy_ssl_verify_depth 1;",
    "proxy_ssl_session_reuse on;",
    "ssl_protocols TLSv1.3;",
    f"ssl_client_certificate {TRUSTED};",
    "ssl_verify_depth 1;",
    f"ssl_handshake_timeout {HANDSHAKE}s;",
    "ssl_session_cache shared:links:1m;",
    f"ssl_session_timeout {SESSIONS}s;",
)


def _server(lines: Iterable[str]) -> str:
    return _indented(["server {", *(f"    {line}" for line in lines), "}"])


def _indented(lines: Iterable[str]) -> str:
    return joined(f"    {line}" for line in lines)


def _milliseconds(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
