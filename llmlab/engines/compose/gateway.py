"""The gateway's container: have it go by another configuration, and let go of an API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from llmlab.engines.base import Say
from llmlab.engines.compose import mounts
from llmlab.engines.compose.command import Compose
from llmlab.engines.compose.containers import Container, DockerEngine
from llmlab.engines.compose.logs import last_lines, log_name
from llmlab.engines.compose.report import is_api, told_by
from llmlab.errors import EnvironmentFailure, LlmlabError, UpstreamError
from llmlab.gateway.api_keys import END
from llmlab.gateway.metrics import PORT
from llmlab.lab import Lab

GATEWAY = "nginx"
GATEWAY_DEADLINE = 30.0
POLL = 0.3
NGINX = ("nginx", "-p", "/run/llmlab", "-c", f"{mounts.GATEWAY_MOUNT}/current/nginx.conf")
RELOAD = (*NGINX, "-s", "reload")
# NGINX Plus's image has bash, but no curl.
ASK_METRICS = (
    "bash", "-c",
    f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
)  # fmt: skip


def tell_ended(digests: Sequence[str]) -> tuple[str, ...]:
    """What is run in a gateway's container. A digest is nothing that anybody could get in with."""
    body = "\\n".join(digests)
    head = f"POST {END} HTTP/1.0\\r\\nContent-Length: {len(digests) * 65 - 1}\\r\\n\\r\\n"
    told = f"printf '{head}{body}' >&3; cat <&3"
    return ("bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{PORT}; {told}")


class ComposeGateway:
    """Of one lab. There may be several, where a person has scaled the service."""

    def __init__(self, lab: Lab, docker: DockerEngine) -> None:
        self._lab = lab
        self._docker = docker

    def _containers(self) -> list[Container]:
        return [one for one in self._docker.containers(self._lab.root) if one.service == GATEWAY]

    def move(self, compose: Compose, release: str) -> bool:
        """Make a staged release the one that every gateway goes by, and wait until it does.

        It is reloaded also where the release is the same: whether a gateway has read it before
        is not known, and a key that was revoked must not go on.

        Returns:
            Whether it is another one than before.

        Raises:
            EnvironmentFailure: it goes on with the one from before.
        """
        releases = mounts.releases(self._lab)
        previous = releases.active()
        moved = releases.activate(release)
        try:
            self._reload(compose)
        except BaseException:
            if moved and previous:
                releases.activate(previous)
                with contextlib.suppress(LlmlabError):
                    self._reload(compose)
            raise
        releases.mark_taken()
        return moved

    def _reload(self, compose: Compose) -> None:
        for gateway in self._containers():
            if not gateway.alive:
                continue  # what does not run reads it when it starts
            before = self._workers(gateway, leaving=False)
            # Not `kill --signal HUP`: Docker never restarts a container that was sent a signal.
            if gateway.state != "running" or not self._docker.succeeds(gateway, RELOAD):
                raise _not_taken(compose, gateway)
            deadline = time.monotonic() + GATEWAY_DEADLINE
            while before & self._workers(gateway, leaving=False):
                if time.monotonic() > deadline:
                    raise _not_taken(compose, gateway)
                time.sleep(POLL)

    def drain(self, wanted: Sequence[str], seconds: float, say: Say) -> None:
        """Wait until nobody needs the API containers that are not wanted any more; the gateway
        has moved already. First its old workers, then what the APIs have in hand.

        Args:
            wanted: services that stay.
            seconds: after which the others are given up.
        """
        there = self._docker.containers(self._lab.root)
        leaving = [one for one in there if is_api(one) and one.service not in wanted]
        if not leaving:
            return
        say(f"waiting for the last requests of {', '.join(log_name(one) for one in leaving)}")
        deadline = time.monotonic() + seconds
        for gateway in self._containers():
            while self._workers(gateway, leaving=True) and time.monotonic() < deadline:
                time.sleep(POLL)
        for one in leaving:
            while told_by(one, self._docker).waiting and time.monotonic() < deadline:
                time.sleep(POLL)

    def metrics(self) -> str:
        """What it tells of itself.

        Raises:
            UpstreamError: nothing.
        """
        one = next(iter(self._containers()), None)
        answer = self._docker.output_of(one, ASK_METRICS) if one else ""
        head, _, page = answer.replace("\r", "").partition("\n\n")
        if " 200 " not in head.partition("\n")[0]:
            raise UpstreamError("the gateway does not tell its metrics", fix="llmlab up")
        return page

    def end_api_keys(self, digests: Sequence[str]) -> None:
        """See ``Engine.end_api_keys``."""
        for gateway in self._containers():
            if not gateway.alive:
                continue  # what does not run reads the keys when it starts
            answer = self._docker.output_of(gateway, tell_ended(digests))
            if " 204 " not in answer.partition("\n")[0]:
                raise UpstreamError("the gateway did not take it", fix="llmlab up")

    def _workers(self, gateway: Container, *, leaving: bool) -> set[str]:
        """Pids of the workers that take new connections, or of those that end what they had in
        hand at a reload."""
        titles = self._docker.titles(gateway)
        return {
            pid for pid, title in titles.items()
            if title.startswith("nginx: worker") and ("shutting down" in title) is leaving
        }  # fmt: skip


def _not_taken(compose: Compose, gateway: Container) -> EnvironmentFailure:
    return EnvironmentFailure(
        f"the gateway ({gateway.state}) did not take over the new configuration",
        fix="llmlab down && llmlab up",
        log=last_lines(compose, GATEWAY),
    )
