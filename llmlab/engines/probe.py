"""Asking a running lab how it is, over HTTP."""

from __future__ import annotations

import os
import socket as socketlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from llmlab.config import Gateway
from llmlab.errors import UpstreamError
from llmlab.gateway.api_keys import END
from llmlab.lab import Lab
from llmlab.names import ASKS_MODEL
from llmlab.upstreams.tls import trusted

LONGEST_NAME = 107  # bytes, of a unix socket
PATIENCE = 2.0  # seconds; a busy API still answers its health check at once


@dataclass(frozen=True)
class Told:
    """What an API says of itself; the defaults when it does not answer.

    ``upstream``: model and fingerprint as the newest answer of a model elsewhere had them.
    """

    ready: bool = False
    model: str = ""
    model_id: str = ""
    runtime: str = ""
    requests: int = 0
    waiting: int = 0
    upstream: tuple[str, str] | None = None


def ready(socket: Path) -> bool:
    """Whether the API on a unix socket has a model that answers."""
    try:
        with _over(socket) as client:
            return client.get("/health/ready").status_code == 200
    except httpx2.HTTPError:
        return False


def gateway_healthy(gateway: Gateway, lab: Lab) -> bool:
    """Whether the gateway answers, and the stable model behind it. Others may have used up what
    it answers in a second: then it is well enough."""
    context: ssl.SSLContext | bool = False  # without TLS, to read certificates takes its time
    if gateway.tls.enabled:
        context = trusted(lab.trusted_ca if lab.trusted_ca.exists() else None)
    # A name of its certificate need not lead anywhere on this machine.
    place = gateway.model_copy(update={"tls": gateway.tls.model_copy(update={"names": []})}).url
    named = urlsplit(gateway.url).hostname or ""
    try:
        with httpx2.Client(verify=context, timeout=PATIENCE, trust_env=False) as client:
            answer = client.get(f"{place}/health", extensions={"sni_hostname": named})
    except httpx2.HTTPError:
        return False
    # 400: it wants a certificate of a client's, which the lab has not; so somebody is there.
    asks = bool(gateway.tls.client_ca) and gateway.tls.client == "required"
    return answer.status_code in ((400,) if asks else (200, 429))


def healthy_behind(front: Path) -> bool:
    """The same, asked on the gateway's own socket, which has no limit."""
    return status_at(front, "/health") == 200


def status_at(front: Path, path: str) -> int | None:
    """The status of the gateway's answer on its own socket, without a token; None for none."""
    try:
        with _over(front) as client:
            return client.get(path).status_code
    except httpx2.HTTPError:
        return None


def can_be_reached(socket: Path) -> bool:
    """Whether somebody takes connections on a unix socket. One that is busy does, in time."""
    try:
        with closing(socketlib.socket(socketlib.AF_UNIX)) as knock, _short(socket) as near:
            knock.settimeout(PATIENCE)
            knock.connect(near)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    except OSError:  # too many wait already
        return True
    return True


@contextmanager
def _short(socket: Path) -> Iterator[str]:
    """A name for it that is short enough: a socket's has at most 107 bytes."""
    if len(str(socket).encode()) <= LONGEST_NAME:
        yield str(socket)
        return
    folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{socket.name}"
    finally:
        os.close(folder)


def gateway_metrics(socket: Path) -> str:
    """The metrics that the gateway tells on a unix socket.

    Raises:
        UpstreamError: it does not.
    """
    try:
        with _over(socket) as client:
            return client.get("/metrics").raise_for_status().text
    except httpx2.HTTPError as error:
        raise UpstreamError(
            f"the gateway does not tell its metrics: {error or type(error).__name__}",
            fix="llmlab up",
        ) from None


def end_api_keys(socket: Path, digests: Sequence[str]) -> None:
    """Tell all workers of the gateway that these have ended.

    Raises:
        UpstreamError: it did not take it.
    """
    try:
        with _over(socket) as client:
            client.post(END, content="\n".join(digests)).raise_for_status()
    except httpx2.HTTPError as error:
        raise UpstreamError(
            f"the gateway did not take it: {error or type(error).__name__}", fix="llmlab up"
        ) from None


def told_by(socket: Path) -> Told:
    """What the API on a unix socket says of itself."""
    try:
        with _over(socket) as client:
            return read_metrics(client.get("/metrics").text)
    except (httpx2.HTTPError, ValueError):
        return Told()


def is_needed(socket: Path) -> bool:
    """Whether requests wait for the API on a unix socket. One that is there but too busy to say
    so is needed as well."""
    try:
        with _over(socket) as client:
            return read_metrics(client.get("/metrics").text).waiting > 0
    except httpx2.TimeoutException:
        return True
    except (httpx2.HTTPError, ValueError):
        return False


def ask(
    socket: Path, path: str, *, method: str, body: bytes, timeout: float,
    headers: Mapping[str, str],
) -> tuple[int, bytes]:  # fmt: skip
    """Status and body of what the API on a unix socket answers.

    Args:
        headers: text as ASGI has it, a character a byte: a caller's name may be any UTF-8.

    Raises:
        UpstreamError: nothing.
    """
    sent = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    try:
        with _over(socket, timeout) as client:
            answer = client.request(method, path, content=body or None, headers=sent)
    except httpx2.HTTPError as error:
        raise UpstreamError(
            f"{socket.stem} does not answer: {error or type(error).__name__}",
            fix=f"llmlab logs api-{socket.stem}",
        ) from None
    return answer.status_code, answer.content


def _over(socket: Path, timeout: float = PATIENCE) -> httpx2.Client:
    # No TLS here, and reading the certificates takes its time.
    transport = httpx2.HTTPTransport(uds=str(socket), verify=False)
    return httpx2.Client(transport=transport, base_url="http://api", timeout=timeout)


def read_metrics(metrics: str) -> Told:
    """What an API's /metrics says of it."""
    labels: dict[str, str] = {}
    upstream: tuple[str, str] | None = None
    is_ready, requests, waiting = False, 0.0, 0.0
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            if sample.name == "llmlab_model_info":
                labels = sample.labels
            elif sample.name == "llmlab_upstream_info":
                upstream = sample.labels["model"], sample.labels["fingerprint"]
            elif sample.name == "llmlab_ready":
                is_ready = sample.value == 1
            elif sample.name == "llmlab_requests_total" and sample.labels["route"] in ASKS_MODEL:
                requests += sample.value
            elif sample.name == "llmlab_queue_waiting":
                waiting = sample.value
    return Told(
        is_ready, labels.get("model", ""), labels.get("model_id", ""), labels.get("runtime", ""),
        int(requests), int(waiting), upstream,
    )  # fmt: skip
