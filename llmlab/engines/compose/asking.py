"""A request to an API in a container: it publishes no port, so Python in the container asks."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from llmlab.engines.compose.containers import Container
from llmlab.errors import UpstreamError
from llmlab.shell import run

GRACE = 10.0  # seconds for Docker itself
# The body comes by stdin, for argv has its limits. What is answered goes back in one line.
ASK = """
import base64, json, sys, urllib.error, urllib.request
method, path, timeout, headers = sys.argv[1:]
body, url = sys.stdin.buffer.read(), "http://127.0.0.1" + path
asked = urllib.request.Request(url, body or None, json.loads(headers), method=method)
try:
    # urllib would say that it is a form.
    asked.headers.setdefault("Content-type", "application/json")
    answer = urllib.request.urlopen(asked, timeout=float(timeout))
except urllib.error.HTTPError as error:
    answer = error
told = base64.b64encode(answer.read()).decode()
print(json.dumps({"status": answer.status, "body": told}))
"""


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
    command = ["docker", "exec", "--interactive", container.id, "python", "-I", "-S", "-c", ASK,
               method, path, str(timeout), json.dumps(dict(headers))]  # fmt: skip
    done = run(command, timeout=timeout + GRACE, stdin=body.decode("utf-8"))
    try:
        told = json.loads(done.output)
        return int(told["status"]), base64.b64decode(told["body"])
    except (ValueError, KeyError, TypeError):
        raise UpstreamError(
            f"{deployment} does not answer", fix=fix, log="\n".join(done.output.splitlines()[-3:])
        ) from None
