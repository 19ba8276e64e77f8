"""What answers in the place of a replica that cannot be reached. Pure.

NGINX takes a connection before it knows whether it can pass it on. A gateway has sent its request
by then; of a connection that merely ended it could not know whether the replica had received that,
and so would not ask again whoever may only be asked once. So an NGINX of links passes on to itself
what it has nobody for, and says 503: nobody has received it, and the gateway asks the next replica.
Where a request may only go on if nobody has received it, the gateway is told so by a header.
"""

from __future__ import annotations

from pathlib import Path

CERTIFICATE, KEY = "away.pem", "away.key"  # where it is asked by TLS, as a replica is
TURNED_AWAY = "@turned_away"  # a location of the gateway, which asks the others
SAYS = "The API of this model cannot be reached right now; try again in 1 s."
_PROBLEM = (
    f'{{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"{SAYS}",'
    f'"message":"{SAYS}","request_id":"$links_id"}}'
)
_OPENAI = (
    f'{{"error":{{"message":"{SAYS}","type":"server_error","param":null,"code":"unavailable"}}}}'
)


def beside(socket: Path) -> Path:
    """Where it listens: beside one replica's socket, which no other NGINX has."""
    return socket.with_name(f"{socket.name}.away")


def http(socket: str, *, tls: bool) -> list[str]:
    """The block that answers.

    Args:
        socket: as NGINX's ``listen`` takes it.
        tls: whether it has a certificate, CERTIFICATE with KEY.
    """
    own = [
        f"        ssl_certificate {CERTIFICATE};",
        f"        ssl_certificate_key {KEY};",
        "        ssl_protocols TLSv1.3;",
    ]
    return [
        "http {",
        "    access_log off;",
        "    server_tokens off;",
        "    keepalive_timeout 0;            # the next request asks for the replica again",
        "    lingering_close always;         # who sends a long one still reads the answer",
        *(f"    {one}_temp_path {one}_temp;"
          for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")),
        '    map $http_x_request_id $links_id { "~^[A-Za-z0-9._:-]{1,128}\\z" $http_x_request_id; '
        'default ""; }',
        "    server {",
        f"        listen {socket}{' ssl' * tls};",
        *(own if tls else []),
        "        client_max_body_size 0;",
        "        types {}",
        "        default_type application/problem+json;",
        "        add_header Retry-After 1 always;",
        f"        add_header X-Accel-Redirect {TURNED_AWAY} always;",
        "        location / {",
        f"            return 503 '{_PROBLEM}\\n';",
        "        }",
        "        location /v1/ {",
        "            default_type application/json;",
        f"            return 503 '{_OPENAI}\\n';",
        "        }",
        "    }",
        "}",
    ]  # fmt: skip
