"""A request to an API in a container: nobody reaches its socket but the gateway, so Python in
the container asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from llmlab.engines.compose.containers import Container
from llmlab.errors import UpstreamError
from llmlab.service.settings import SOCKET
from llmlab.shell import run

GRACE = 10.0  # seconds for Docker itself
CONNECTED = f"""
import base64, http.client, json, os, socket, sys
def connected(timeout):
    one = http.client.HTTPConnection("api")
    one.sock = socket.socket(socket.AF_UNIX)
    one.sock.settimeout(timeout)
    one.sock.connect(os.environ["{SOCKET}"])
    return one
"""
# The body comes by stdin, for argv has its limits. What is answered goes back in one line.
ASK = f"""{CONNECTED}
method, path, timeout, headers = sys.argv[1:]
api, body = connected(float(timeout)), sys.stdin.buffer.read()
api.request(method, path, body or None, json.loads(headers))
answer = api.getresponse()
told = base64.b64encode(answer.read()).decode()
print(json.dumps({{"status": answer.status, "body": told}}))
"""
METRICS = f"""{CONNECTED}
api = connected(10)
api.request("GET", "/metrics")
print(api.getresponse().read().decode())
"""


def python(program: str) -> list[str]:
    """A command in an API's container. What its image has installed is not looked at."""
    return ["python", "-I", "-S", "-c", program]


def ask(
    container: Container | None, deployment: str, path: str, *, method: str, body: bytes,
    timeout: float, headers: Mapping[str, str],
) -> tuple[int, bytes]:  # fmt: skip
    """Status and body.

    Raises:
        UpstreamError: it does not answer.
    """
    fix = f"llmlab logs api-{deployment}"
    if container is None or container.state != "running":
        raise UpstreamError(f"{deployment} does not run", fix="llmlab status")
    command = ["docker", "exec", "--interactive", container.id, *python(ASK),
               method, path, str(timeout), json.dumps(dict(headers))]  # fmt: skip
    done = run(command, timeout=timeout + GRACE, stdin=body.decode("utf-8"))
    try:
        told = json.loads(done.output)
        return int(told["status"]), base64.b64decode(told["body"])
    except (ValueError, KeyError, TypeError):
        raise UpstreamError(
            f"{deployment} does not answer", fix=fix, log="\n".join(done.output.splitlines()[-3:])
        ) from None
