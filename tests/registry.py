"""An image registry in memory, as much of it as `docker push` and `docker pull` use.

The protocol: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.http_server import Server

MANIFEST = re.compile(r"/v2/(.+)/manifests/(.+)")
UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([^?]*)(?:\?(.*))?")
BLOB = re.compile(r"/v2/.+/blobs/(sha256:[0-9a-f]{64})")


@dataclass
class Registry:
    """What was pushed. ``manifests`` has both names of one: NAME:TAG and NAME:sha256:..."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)


@contextmanager
def running_registry() -> Iterator[Registry]:
    """A registry on a free port of loopback, where Docker asks for no TLS."""
    registry = Registry()
    handler = type("Handler", (_Handler,), {"registry": registry})
    server = Server(("127.0.0.1", 0), handler)
    registry.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: Registry

    def do_GET(self) -> None:
        if self.path == "/v2/":
            return self._answer(200, b"{}")
        if found := MANIFEST.fullmatch(self.path):
            kind, body = self.registry.manifests.get(":".join(found.groups()), ("", b""))
            headers = {"Content-Type": kind, "Docker-Content-Digest": _digest(body)}
            return self._answer(200, body, **headers) if body else self._answer(404)
        if (found := BLOB.fullmatch(self.path)) and (blob := self.registry.blobs.get(found[1])):
            return self._answer(200, blob, **{"Docker-Content-Digest": found[1]})
        return self._answer(404)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        found = UPLOAD.fullmatch(self.path)
        if not found:
            return self._answer(404)
        name = uuid.uuid4().hex
        self.registry.uploads[name] = bytearray()
        return self._answer(202, Location=f"/v2/{found[1]}/blobs/uploads/{name}")

    def do_PATCH(self) -> None:
        upload = self.registry.uploads[UPLOAD.fullmatch(self.path)[2]]  # type: ignore[index]
        upload += self._body()
        self._answer(202, Location=self.path, Range=f"0-{len(upload) - 1}")

    def do_PUT(self) -> None:
        body = self._body()
        if found := MANIFEST.fullmatch(self.path):
            name, reference = found.groups()
            stored = (self.headers["Content-Type"], body)
            self.registry.manifests[f"{name}:{reference}"] = stored
            self.registry.manifests[f"{name}:{_digest(body)}"] = stored
            return self._answer(201, **{"Docker-Content-Digest": _digest(body)})
        found = UPLOAD.fullmatch(self.path)
        assert found
        content = bytes(self.registry.uploads.pop(found[2]) + body)
        self.registry.blobs[_digest(content)] = content
        return self._answer(201, Location=f"/v2/{found[1]}/blobs/{_digest(content)}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: the tests print what matters."""


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
