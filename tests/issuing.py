"""Keys and tokens of identity providers that say what a test wants, and where they are listed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from llmlab.config.auth import Auth, Issuer
from tests.http_server import Server


@dataclass(frozen=True)
class Signer:
    """A provider's private key, under an id."""

    kid: str
    private: Any
    public: Mapping[str, Any]
    alg: str

    def token(self, claims: Mapping[str, Any], **header: Any) -> str:
        said = {"kid": self.kid, **header}
        alg = str(said.pop("alg", self.alg))
        return jwt.encode(
            dict(claims), self.private, alg, {k: v for k, v in said.items() if v is not None}
        )

    def odd(self, claims: Mapping[str, Any], header: Any) -> str:
        """A token by RS256 whose header is one that no library would make."""
        parts = ({"alg": "RS256", **header}, claims)
        signed = b".".join(base64url_encode(json.dumps(one).encode()) for one in parts)
        signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(signed, self.private)
        return b".".join([signed, base64url_encode(signature)]).decode()


def signer(kid: str, alg: str = "RS256", bits: int = 2048, **more: Any) -> Signer:
    private: Any
    if alg.startswith("ES"):
        curve = {"ES256": ec.SECP256R1, "ES384": ec.SECP384R1, "ES512": ec.SECP521R1}[alg]
        private = ec.generate_private_key(curve())
        public = ECAlgorithm.to_jwk(private.public_key(), as_dict=True)
    elif alg == "EdDSA":
        private = ed25519.Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(private.public_key(), as_dict=True)
    else:
        private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        public = RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
    public.pop("key_ops", None)
    return Signer(kid, private, {**public, "kid": kid, **more}, alg)


def jwks(*keys: Any) -> bytes:
    listed = [one.public if isinstance(one, Signer) else one for one in keys]
    return json.dumps({"keys": listed}).encode()


def issuer(**values: Any) -> Issuer:
    said = {"name": "corp", "issuer": "https://corp.example.com", "audience": "lab"} | values
    return Auth.model_validate({"issuers": [said]}).issuers[0]


def claims(iss: str, **more: Any) -> dict[str, Any]:
    now = int(time.time())
    return {"iss": iss, "aud": "lab", "sub": "alice", "iat": now, "exp": now + 3600} | more


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Website:
    """Answers to GET by path, as a test sets them; ``asked`` are the paths so far."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def discovery(self, **more: Any) -> None:
        document = {"issuer": self.url, "jwks_uri": f"{self.url}/keys"} | more
        self.answers["/.well-known/openid-configuration"] = Answer(json.dumps(document).encode())


@contextmanager
def website() -> Iterator[Website]:
    site = Website()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append(self.path)
            answer = site.answers.get(self.path, Answer(status=404))
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield site
        finally:
            server.shutdown()
