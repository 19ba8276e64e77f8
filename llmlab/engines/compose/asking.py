"""A request to an API in a container: nobody reaches its socket but the gateway, so Python in
the container asks."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Mapping

from llmlab.engines.compose.containers import Container
from llmlab.errors import EnvironmentFailure, UpstreamError
from llmlab.service.settings import SOCKET
from llmlab.shell import Dialogue

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
# A question a line, each with its answer in one: to start a process in a container takes Docker a
# tenth of a second and more of processor time, and would be in every latency that is measured.
ANSWER = f"""{CONNECTED}
def answered(method, path, timeout, headers, body):
    api = connected(timeout)
    api.request(method, path, base64.b64decode(body) or None, headers)
    answer = api.getresponse()
    return {{"status": answer.status, "body": base64.b64encode(answer.read()).decode()}}
for line in sys.stdin:
    try:
        told = answered(**json.loads(line))
    except (OSError, http.client.HTTPException) as error:
        told = {{"error": repr(error)}}
    print(json.dumps(told), flush=True)
"""
METRICS = f"""{CONNECTED}
api = connected(10)
api.request("GET", "/metrics")
print(api.getresponse().read().decode())
"""


def python(program: str) -> list[str]:
    """A command in an API's container. What its image has installed is not looked at."""
    return ["python", "-I", "-S", "-c", program]


class _Kept:
    """Processes in containers that nobody asks anything just now, by the container's id."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Dialogue]] = {}
        self._lock = threading.Lock()

    def take(self, container: str) -> Dialogue | None:
        with self._lock:
            for idle in self._idle.values():
                idle[:] = [one for one in idle if not one.is_over]
            self._idle = {name: idle for name, idle in self._idle.items() if idle}
            there = self._idle.get(container)
            return there.pop() if there else None

    def give_back(self, container: str, one: Dialogue) -> None:
        with self._lock:
            self._idle.setdefault(container, []).append(one)


_kept = _Kept()


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
    question = json.dumps({
        "method": method, "path": path, "timeout": timeout, "headers": dict(headers),
        "body": base64.b64encode(body).decode(),
    })  # fmt: skip
    try:
        said = _said(container.id, question, timeout + GRACE)
        told = json.loads(said)
        return int(told["status"]), base64.b64decode(told["body"])
    except EnvironmentFailure as failure:
        said = failure.message
    except (ValueError, KeyError, TypeError):
        pass
    raise UpstreamError(f"{deployment} does not answer", fix=fix, log=said)


def _said(container: str, question: str, timeout: float) -> str:
    if kept := _kept.take(container):
        # One that is gone by now, with the process that it asked, says nothing of the next one.
        with contextlib.suppress(EnvironmentFailure):
            return _answer_of(kept, container, question, timeout)
    new = Dialogue(["docker", "exec", "--interactive", container, *python(ANSWER)])
    return _answer_of(new, container, question, timeout)


def _answer_of(one: Dialogue, container: str, question: str, timeout: float) -> str:
    answer = one.ask(question, timeout=timeout)
    _kept.give_back(container, one)
    return answer
