"""The gateway as a client sees it: real NGINX, real API processes, real HTTP.

Tokens that no honest library would make are put together by hand. Requests go
out through http.client, which sends a path and headers exactly as they are given.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import grp
import hmac
import http.client
import json
import os
import pwd
import re
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from llmlab.auth.keys import PRIVATE_MEMBERS, Algorithm, Key, KeySet, generate
from llmlab.auth.store import KeyStore
from llmlab.config import RateLimit
from llmlab.engines.local.engine import LocalEngine
from llmlab.gateway import GatewayPlan, Releases, Upstream, find_nginx, render
from llmlab.processes import lab_processes
from llmlab.service.documentation import PAGES
from tests.conftest import LabUnderTest, free_port
from tests.http_server import Ending

MakeLab = Callable[..., LabUnderTest]

NO_LIMIT = {"gateway__rate_limit__enabled": "false"}
TEXT = (
    "The ferry left the island at six. Fog lay on the water, so the captain went slowly. "
    "Halfway across the ferry met a fishing boat that had lost its engine. "
    "The captain took the boat in tow, and the ferry reached the harbour two hours late."
)
# The reference lab's published token; see DESIGN.md.
PUBLISHED = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IjAwMDEifQ."
    "eyJuYW1lIjoiUXVvdGF0aW9uIFN5c3RlbSIsInN1YiI6InF1b3RlcyIsImlzcyI6Ik15IEFQSSBHYXRld2F5In0."
    "ggVOHYnVFB8GVPE-VOIo3jD71gTkLffAY0hQOGXPL2I"
)


# --- Asking ----------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values}"
        return values[0]

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    port: int,
    path: str = "/",
    *headers: tuple[str, str],
    method: str = "GET",
    body: bytes | None = None,
    token: str | None = None,
) -> Reply:
    """One request on a connection of its own, sent as it is given."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in [*headers, *([bearer(token)] if token is not None else [])]:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        return Reply(response.status, response.getheaders(), response.read())


def bearer(token: str) -> tuple[str, str]:
    return "Authorization", f"Bearer {token}"


def summarize(port: int, token: str | None, path: str = "/summarize/", text: str = TEXT) -> Reply:
    return ask(port, path, method="POST", body=json.dumps({"text": text}).encode(), token=token)


def assert_problem(reply: Reply, status: int) -> dict[str, Any]:
    """An RFC 9457 problem document that belongs to its response."""
    assert reply.status == status, reply.body
    assert reply.header("Content-Type") == "application/problem+json"
    problem: dict[str, Any] = reply.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["message"] == problem["detail"]  # where clients of OpenAI's look for a reason
    assert problem["request_id"] == reply.header("X-Request-ID")
    return problem


def assert_unauthorized(reply: Reply) -> None:
    assert_problem(reply, 401)
    assert reply.header("WWW-Authenticate").startswith('Bearer realm="LLM API"')


def eventually(condition: Callable[[], Any], *, within: float = 15.0) -> Any:
    """The first truthy answer; fails when there is none in time."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


# --- Tokens by hand --------------------------------------------------------------


def part(value: object) -> str:
    """One part of a compact JWS: bytes as they are, anything else as compact JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def soon() -> int:
    return int(time.time()) + 600


def hs256(header: object, payload: object, secret: bytes, digest: str = "sha256") -> str:
    signed = f"{part(header)}.{part(payload)}"
    return f"{signed}.{part(hmac.digest(secret, signed.encode(), digest))}"


@dataclass(frozen=True)
class Forge:
    """Makes tokens with a lab's own HS256 key, and spoils them as told."""

    kid: str
    secret: bytes = field(repr=False)

    @classmethod
    def of(cls, key: Key) -> Forge:
        return cls(key.kid, decoded(str(key.jwk["k"])))

    def header(self, **changes: object) -> dict[str, object]:
        return {"typ": "JWT", "alg": "HS256", "kid": self.kid} | changes

    def claims(self, **changes: object) -> dict[str, object]:
        return {"sub": "tester", "exp": soon()} | changes

    def token(self, **changes: object) -> str:
        """A well-signed token whose claims are as told."""
        return hs256(self.header(), self.claims(**changes), self.secret)

    def headed(self, **changes: object) -> str:
        """A well-signed token whose header is as told; None leaves a member out."""
        header = {name: value for name, value in self.header(**changes).items() if value != OMIT}
        return hs256(header, self.claims(), self.secret)

    def carrying(self, payload: object) -> str:
        """A well-signed token whose payload is as told."""
        return hs256(self.header(), payload, self.secret)

    def with_alg(self, alg: str, signature: str | None = None) -> str:
        token = hs256(self.header(alg=alg), self.claims(), self.secret)
        return token if signature is None else f"{token.rpartition('.')[0]}.{signature}"


OMIT = object()
OTHER_SECRET = b"the key of somebody else, also 32"
ATTACKER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ATTACKER_JWK = {
    "kty": "RSA",
    "n": part(ATTACKER.public_key().public_numbers().n.to_bytes(256, "big")),
    "e": "AQAB",
}


def by_attacker(header: Mapping[str, object]) -> str:
    """A token that the attacker's RSA key signed."""
    signed = f"{part({'typ': 'JWT', 'alg': 'RS256', **header})}.{part({'sub': 'a', 'exp': soon()})}"
    signature = ATTACKER.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{part(signature)}"


def hmac_by_attacker(forge: Forge, **header: object) -> str:
    return hs256(forge.header(**header), forge.claims(), OTHER_SECRET)


def the_signature_of_another(forge: Forge) -> str:
    head, _, _ = forge.token(sub="admin").split(".")
    return ".".join((head, part(forge.claims(sub="admin")), forge.token().split(".")[2]))


OTHER_JWK = {"kty": "oct", "alg": "HS256", "k": part(OTHER_SECRET)}

# What is wrong with the token -> the token.
BAD_TOKENS: dict[str, Callable[[Forge], str]] = {
    # not a token
    "garbage": lambda forge: "garbage",
    "three parts of garbage": lambda forge: "a.b.c",
    "an empty one": lambda forge: "",
    "two parts only": lambda forge: forge.token().rpartition(".")[0],
    "four parts": lambda forge: forge.token() + ".x",
    "five parts, as an encrypted token has": lambda forge: forge.token() + ".x.y",
    "two tokens in one header": lambda forge: f"{forge.token()}, Bearer {forge.token()}",
    "something behind it": lambda forge: forge.token() + " x",
    # signature
    "the wrong key": lambda forge: hmac_by_attacker(forge),
    "the wrong key and no kid": lambda forge: hs256(
        {"typ": "JWT", "alg": "HS256"}, forge.claims(), OTHER_SECRET
    ),
    "an unknown kid": lambda forge: forge.headed(kid="unknown"),
    "an unknown kid and the wrong key": lambda forge: hmac_by_attacker(forge, kid="unknown"),
    "a kid that names an empty file, and an empty key": lambda forge: hs256(
        forge.header(kid="../../../../../dev/null"), forge.claims(), b""
    ),
    "an empty key": lambda forge: hs256(forge.header(), forge.claims(), b""),
    "the signature of another token": the_signature_of_another,
    "a signature that was cut": lambda forge: forge.token()[:-8],
    "no signature": lambda forge: forge.token().rpartition(".")[0] + ".",
    "another algorithm than the key's": lambda forge: hs256(
        forge.header(alg="HS512"), forge.claims(), forge.secret, "sha512"
    ),
    "an unknown algorithm": lambda forge: forge.with_alg("XX256"),
    "no algorithm": lambda forge: forge.headed(alg=OMIT),
    "the key in its own header": lambda forge: hmac_by_attacker(forge, jwk=OTHER_JWK),
    "the RSA key in its own header": lambda forge: by_attacker(
        {"kid": forge.kid, "jwk": ATTACKER_JWK}
    ),
    # header
    "crit": lambda forge: forge.headed(crit=["exp"]),
    "crit of an unknown extension": lambda forge: forge.headed(crit=["b64"], b64=False),
    "crit, an empty list": lambda forge: forge.headed(crit=[]),
    "crit, an object": lambda forge: forge.headed(crit={}),
    "crit, null": lambda forge: forge.headed(crit=None),
    "crit, false": lambda forge: forge.headed(crit=False),
    "crit, an empty string": lambda forge: forge.headed(crit=""),
    "a header that is a list": lambda forge: hs256(["HS256"], forge.claims(), forge.secret),
    "a header that is not JSON": lambda forge: hs256(b"{alg", forge.claims(), forge.secret),
    # payload
    "a payload that is a list": lambda forge: forge.carrying([forge.claims()]),
    "a payload that is a string": lambda forge: forge.carrying("tester"),
    "a payload that is a number": lambda forge: forge.carrying(42),
    "a payload that is null": lambda forge: forge.carrying(None),
    "a payload that is not JSON": lambda forge: forge.carrying(b"sub=tester"),
    "an empty payload": lambda forge: forge.carrying(b""),
    "a payload that says exp twice": lambda forge: forge.carrying(
        b'{"sub":"tester","exp":1,"exp":%d}' % soon()
    ),
    # exp
    "expired": lambda forge: forge.token(exp=int(time.time()) - 60),
    "expired since 1970": lambda forge: forge.token(exp=0),
    "no exp": lambda forge: forge.carrying({"sub": "tester"}),
    "exp as a string": lambda forge: forge.token(exp=str(soon())),
    "exp null": lambda forge: forge.token(exp=None),
    "exp true": lambda forge: forge.token(exp=True),
    "exp a list": lambda forge: forge.token(exp=[soon()]),
    # nbf
    "nbf in the future": lambda forge: forge.token(nbf=soon() - 60),
    "nbf as a string": lambda forge: forge.token(nbf=str(int(time.time()) - 60)),
    "nbf null": lambda forge: forge.token(nbf=None),
    "nbf true": lambda forge: forge.token(nbf=True),
    # sub, which goes upstream as a header
    "sub with CR LF": lambda forge: forge.token(sub="tester\r\nX-Role: admin"),
    "sub with LF": lambda forge: forge.token(sub="tester\nX-Role: admin"),
    "sub with NUL": lambda forge: forge.token(sub="tester\0"),
    "sub with a tab": lambda forge: forge.token(sub="tester\tadmin"),
    "sub with DEL": lambda forge: forge.token(sub="tester\x7f"),
    "sub that is too long": lambda forge: forge.token(sub="x" * 257),
    "sub that is not UTF-8": lambda forge: forge.carrying(b'{"sub":"\xff","exp":%d}' % soon()),
    "sub that is a list": lambda forge: forge.token(sub=["tester", "admin"]),
    "sub that is an object": lambda forge: forge.token(sub={"name": "tester"}),
    "sub that is a number": lambda forge: forge.token(sub=42),
    "sub that is null": lambda forge: forge.token(sub=None),
}
NONE_ALGORITHMS = ("none", "None", "NONE", "nOnE", "")


@pytest.fixture(scope="module")
def forge(lab: LabUnderTest) -> Forge:
    return Forge.of(KeyStore(lab.lab.keys_file).read().signing)


@pytest.mark.conformance
@pytest.mark.parametrize("what", BAD_TOKENS)
def test_a_bad_token_is_refused(lab: LabUnderTest, forge: Forge, what: str) -> None:
    assert_unauthorized(ask(lab.port, token=BAD_TOKENS[what](forge)))


@pytest.mark.parametrize("signature", ["", "eA", None], ids=["none", "some", "the right HMAC"])
@pytest.mark.parametrize("alg", NONE_ALGORITHMS)
def test_a_token_that_says_it_needs_no_signature_is_refused(
    lab: LabUnderTest, forge: Forge, alg: str, signature: str | None
) -> None:
    assert_unauthorized(ask(lab.port, token=forge.with_alg(alg, signature)))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic dGVzdGVyOnNlY3JldA==",
        "Token abc",
        "Negotiate abc",
        "Bearer{}",
        "Bearer\t{}",
        "Bearer {},",
        "Bearer={}",
        "XBearer {}",
        "Bearer {} {}",
        "Bearer Bearer {}",
    ],
)
def test_an_authorization_that_is_not_a_bearer_token_is_refused(
    lab: LabUnderTest, authorization: str
) -> None:
    sent = authorization.replace("{}", lab.token())
    assert_unauthorized(ask(lab.port, "/", ("Authorization", sent)))


def test_a_token_without_the_word_bearer_is_refused(lab: LabUnderTest) -> None:
    assert_unauthorized(ask(lab.port, "/", ("Authorization", lab.token())))


@pytest.mark.parametrize("path", ["/", "/summarize/", "/models/textrank/", "/nowhere"])
def test_a_request_without_a_token_is_refused_wherever_it_goes(
    lab: LabUnderTest, path: str
) -> None:
    assert_unauthorized(ask(lab.port, path))
    assert_unauthorized(ask(lab.port, path, method="POST", body=b"{}"))


@pytest.mark.parametrize(
    "place",
    [
        lambda token: (f"/?access_token={token}",),
        lambda token: (f"/?token={token}&jwt={token}",),
        lambda token: ("/", ("Cookie", f"access_token={token}; auth_token={token}")),
        lambda token: ("/", ("Cookie", f"Authorization=Bearer {token}")),
        lambda token: ("/", ("X-Authorization", f"Bearer {token}")),
        lambda token: ("/", ("Proxy-Authorization", f"Bearer {token}")),
    ],
    ids=["query", "another query", "cookie", "another cookie", "another header", "proxy header"],
)
def test_a_token_counts_only_in_the_authorization_header(
    lab: LabUnderTest, place: Callable[[str], tuple[Any, ...]]
) -> None:
    assert_unauthorized(ask(lab.port, *place(lab.token())))


@pytest.mark.parametrize("order", [("good", "bad"), ("bad", "good"), ("good", "good")])
def test_two_authorization_headers_are_refused(lab: LabUnderTest, order: tuple[str, str]) -> None:
    tokens = {"good": lab.token(), "bad": "x.y.z"}
    reply = ask(lab.port, "/", *(bearer(tokens[which]) for which in order))
    assert_problem(reply, 400)


@pytest.mark.parametrize("size", [9_000, 60_000])
def test_an_oversized_token_is_refused(lab: LabUnderTest, forge: Forge, size: int) -> None:
    reply = ask(lab.port, token=forge.token(padding="x" * size))
    assert reply.status in (400, 401, 431)
    assert_problem(reply, reply.status)


@pytest.mark.parametrize("member", ["jku", "x5u"])
def test_a_key_that_a_token_points_to_is_not_even_fetched(
    lab: LabUnderTest, forge: Forge, member: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.5)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/keys.json"
        assert_unauthorized(ask(lab.port, token=by_attacker({"kid": "a", member: url})))
        assert_unauthorized(ask(lab.port, token=by_attacker({"kid": forge.kid, member: url})))
        assert_unauthorized(ask(lab.port, token=hmac_by_attacker(forge, **{member: url})))
        with pytest.raises(TimeoutError):
            trap.accept()


def test_the_challenge_says_what_is_wrong_with_the_token_only_if_there_is_one(
    lab: LabUnderTest,
) -> None:
    # RFC 6750 section 3.1: no error code for a request without authentication.
    assert ask(lab.port).header("WWW-Authenticate") == 'Bearer realm="LLM API"'
    told = ask(lab.port, token="x.y.z").header("WWW-Authenticate")
    assert told == 'Bearer realm="LLM API", error="invalid_token"'


def test_an_accepted_request_is_not_challenged(lab: LabUnderTest) -> None:
    reply = ask(lab.port, token=lab.token())
    assert reply.status == 200
    assert reply.all("WWW-Authenticate") == []


# --- Tokens that are accepted ----------------------------------------------------

ASYMMETRIC = [str(one) for one in Algorithm if one is not Algorithm.HS256]


@pytest.fixture(scope="module")
def asymmetric(make_lab: MakeLab) -> LabUnderTest:
    """A running lab with an RS256, an ES256 and an EdDSA key."""
    lab = make_lab(**NO_LIMIT)
    first, *others = ASYMMETRIC
    lab.ok("keys", "init", "--alg", first)
    for algorithm in others:
        lab.ok("keys", "rotate", "--alg", algorithm)
    lab.ok("up")
    return lab


def key_of(lab: LabUnderTest, algorithm: str) -> Key:
    keys = KeyStore(lab.lab.keys_file).read().keys
    (key,) = (one for one in keys if one.algorithm == algorithm)
    return key


def test_a_token_of_the_default_algorithm_is_accepted(lab: LabUnderTest) -> None:
    token = lab.ok("token").strip()
    assert json.loads(decoded(token.split(".")[0]))["alg"] == "HS256"
    assert ask(lab.port, token=token).json() == {"message": "Hello World"}


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_token_of_every_asymmetric_algorithm_is_accepted(
    asymmetric: LabUnderTest, algorithm: str
) -> None:
    token = asymmetric.ok("token", "--kid", key_of(asymmetric, algorithm).kid).strip()
    assert json.loads(decoded(token.split(".")[0]))["alg"] == algorithm
    assert ask(asymmetric.port, token=token).json() == {"message": "Hello World"}


GOOD_TOKENS: dict[str, Callable[[Forge], str]] = {
    "with nbf in the past": lambda forge: forge.token(nbf=int(time.time()) - 5),
    "with fractions of a second": lambda forge: forge.token(
        nbf=time.time() - 1.5, exp=time.time() + 600.5
    ),
    "without a subject": lambda forge: forge.carrying({"exp": soon()}),
    "without a kid": lambda forge: hs256({"alg": "HS256"}, forge.claims(), forge.secret),
    "with claims of its own": lambda forge: forge.token(groups=["a", "b"], nested={"x": [1]}),
    "with a long subject": lambda forge: forge.token(sub="x" * 256),
    "with a subject beyond ASCII": lambda forge: forge.token(sub="Jürgen “J” \\ 東京"),
}


@pytest.mark.conformance
@pytest.mark.parametrize("what", GOOD_TOKENS)
def test_a_good_token_is_accepted(lab: LabUnderTest, forge: Forge, what: str) -> None:
    assert ask(lab.port, token=GOOD_TOKENS[what](forge)).status == 200


@pytest.mark.conformance
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer ", "bearer   "])
def test_the_scheme_of_an_authorization_has_no_case_and_spaces_behind_it(
    echo: EchoGateway, scheme: str
) -> None:
    token = echo.forge.token(sub="alice")
    reply = ask(echo.port, "/", ("Authorization", f"{scheme} {token}"))
    assert reply.status == 200
    assert headers_of(reply)["x-subject"] == ["alice"]
    assert token not in reply.body.decode()


@pytest.mark.parametrize("sub", ["x" * 256, "ü" * 256, "東" * 256], ids=["ASCII", "Latin", "CJK"])
def test_every_subject_that_a_token_is_minted_for_is_accepted(lab: LabUnderTest, sub: str) -> None:
    done = lab.run("token", "--sub", sub)
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 0:
        assert ask(lab.port, token=done.stdout.strip()).status == 200
    else:
        assert "subject" in done.stderr


# --- Asymmetric keys -------------------------------------------------------------


def public_key(jwk: Mapping[str, Any]) -> Any:
    from jwt import PyJWK

    return PyJWK(dict(jwk)).key


def public_secrets(jwk: Mapping[str, Any]) -> dict[str, bytes]:
    """Everything that a verifier might mistake for an HMAC secret."""
    key = public_key(jwk)
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    member = "n" if "n" in jwk else "x"
    return {
        "PEM": pem,
        "PEM without its last newline": pem.rstrip(b"\n"),
        "DER": der,
        "the JWK": json.dumps(dict(jwk)).encode(),
        f"the JWK's {member}": str(jwk[member]).encode(),
        f"the JWK's {member}, decoded": decoded(str(jwk[member])),
        "nothing": b"",
    }


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_public_key_is_no_hmac_secret(asymmetric: LabUnderTest, algorithm: str) -> None:
    kid = key_of(asymmetric, algorithm).kid
    published = json.loads(asymmetric.ok("keys", "show", "--public"))["keys"]
    (jwk,) = (one for one in published if one["kid"] == kid)
    accepted = []
    for name, secret in public_secrets(jwk).items():
        for alg, digest in (("HS256", "sha256"), ("HS512", "sha512")):
            for known_by in ({"kid": kid}, {}):
                header = {"typ": "JWT", "alg": alg, **known_by}
                token = hs256(header, {"sub": "admin", "exp": soon()}, secret, digest)
                if ask(asymmetric.port, token=token).status != 401:
                    accepted.append((name, alg, known_by))
    assert accepted == []


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
@pytest.mark.parametrize(
    "signature", [b"", b"\0" * 64, b"\0" * 256, b"\x01" * 64], ids=["none", "0", "0…", "1"]
)
def test_a_signature_of_nothing_is_refused(
    asymmetric: LabUnderTest, algorithm: str, signature: bytes
) -> None:
    header = {"typ": "JWT", "alg": algorithm, "kid": key_of(asymmetric, algorithm).kid}
    token = f"{part(header)}.{part({'sub': 'admin', 'exp': soon()})}.{part(signature)}"
    assert_unauthorized(ask(asymmetric.port, token=token))


@pytest.mark.parametrize("extra", [{}, {"jwk": ATTACKER_JWK}], ids=["plain", "with its jwk"])
@pytest.mark.parametrize("algorithm", [None, *ASYMMETRIC])
def test_the_key_of_an_attacker_does_not_count(
    asymmetric: LabUnderTest, algorithm: str | None, extra: dict[str, object]
) -> None:
    kid = {"kid": key_of(asymmetric, algorithm).kid} if algorithm else {}
    assert_unauthorized(ask(asymmetric.port, token=by_attacker(kid | extra)))


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_the_private_part_of_a_key_stays_in_the_key_file(
    asymmetric: LabUnderTest, algorithm: str
) -> None:
    lab = asymmetric.lab
    jwk = key_of(asymmetric, algorithm).jwk
    private = [str(jwk[name]) for name in PRIVATE_MEMBERS & jwk.keys()]
    assert private
    release = LocalEngine(lab).releases.current
    given = json.loads((release / "llmapi.jwk").read_text())["keys"]
    (public,) = (one for one in given if one["kid"] == jwk["kid"])
    assert not PRIVATE_MEMBERS & public.keys()
    for file in lab.state.rglob("*"):
        if file.is_file() and file != lab.keys_file:
            text = file.read_text(errors="replace")
            assert not any(secret in text for secret in private), file


def test_the_printed_configuration_of_the_gateway_holds_no_secret(lab: LabUnderTest) -> None:
    printed = lab.ok("config", "gateway")
    assert "auth_jwt_key_file" in printed
    assert f"listen 127.0.0.1:{lab.port} " in printed
    assert str(KeyStore(lab.lab.keys_file).read().signing.jwk["k"]) not in printed


# --- Keys that come and go -------------------------------------------------------


@pytest.fixture(scope="module")
def changing(make_lab: MakeLab) -> LabUnderTest:
    """A running lab whose keys and configuration a test may change."""
    lab = make_lab(**NO_LIMIT)
    lab.ok("up")
    return lab


def test_after_a_rotation_old_and_new_tokens_are_accepted(changing: LabUnderTest) -> None:
    before = changing.ok("token").strip()
    changing.ok("keys", "rotate", "--alg", "ES256")
    after = changing.ok("token").strip()
    assert json.loads(decoded(after.split(".")[0]))["alg"] == "ES256"
    assert ask(changing.port, token=after).status == 200
    assert ask(changing.port, token=before).status == 200


def test_a_revoked_key_is_refused_at_once_and_the_others_go_on(changing: LabUnderTest) -> None:
    old = KeyStore(changing.lab.keys_file).read().signing.kid
    token = changing.ok("token").strip()
    changing.ok("keys", "rotate")
    assert ask(changing.port, token=token).status == 200
    changing.ok("keys", "revoke", old)
    assert_unauthorized(ask(changing.port, token=token))
    assert ask(changing.port, token=changing.ok("token").strip()).status == 200


def test_the_keys_are_in_force_when_the_reload_returns(changing: LabUnderTest) -> None:
    store, engine = KeyStore(changing.lab.keys_file), LocalEngine(changing.lab)
    for _ in range(3):
        old, token = store.read().signing.kid, changing.token()
        store.rotate()
        assert engine.reload_keys()
        assert ask(changing.port, token=changing.token()).status == 200
        store.revoke(old)
        assert engine.reload_keys()
        assert ask(changing.port, token=token).status == 401


def test_a_revoked_key_is_soon_refused_on_an_open_connection_too(changing: LabUnderTest) -> None:
    old = KeyStore(changing.lab.keys_file).read().signing.kid
    with changing.client() as client:
        assert client.get("/").status_code == 200
        changing.ok("keys", "rotate")
        changing.ok("keys", "revoke", old)
        eventually(lambda: client.get("/").status_code == 401)


def test_an_unchanged_key_set_does_not_reload_the_gateway(changing: LabUnderTest) -> None:
    assert LocalEngine(changing.lab).reload_keys() is False


# --- Demo mode -------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo_lab(make_lab: MakeLab) -> LabUnderTest:
    lab = make_lab(**NO_LIMIT)
    done = lab.run("up", "--demo")
    assert done.returncode == 0, done.stderr
    assert "Demo mode" in done.stderr
    return lab


DEMO_HEADER = {"typ": "JWT", "alg": "HS256", "kid": "0001"}
DEMO_CLAIMS = {"name": "Quotation System", "sub": "quotes", "iss": "My API Gateway"}
DEMO_SECRET = b"fantasticjwt"


def test_the_published_token_is_what_the_published_key_signs() -> None:
    assert hs256(DEMO_HEADER, DEMO_CLAIMS, DEMO_SECRET) == PUBLISHED


def test_in_demo_mode_the_published_token_is_accepted(demo_lab: LabUnderTest) -> None:
    assert ask(demo_lab.port, token=PUBLISHED).json() == {"message": "Hello World"}


def test_in_demo_mode_the_reference_notebooks_request_gets_a_summary(
    demo_lab: LabUnderTest,
) -> None:
    reply = requests.post(
        demo_lab.url + "/summarize/",
        data=json.dumps({"text": TEXT}),
        headers={"Authorization": f"Bearer {PUBLISHED}"},
        timeout=60,
    )
    assert reply.status_code == 200
    assert "Content-Type" not in reply.request.headers
    assert reply.json()["summary"]


DEMO_REFUSED: dict[str, Callable[[Forge], str | None]] = {
    "no token": lambda own: None,
    "no exp, of the lab's own key": lambda own: own.carrying({"sub": "tester"}),
    "no exp, of the lab's own key under the demo key's id": lambda own: hs256(
        own.header(kid="0001"), {"sub": "tester"}, own.secret
    ),
    "no exp, of the lab's own key without a key id": lambda own: hs256(
        {"alg": "HS256"}, {"sub": "tester"}, own.secret
    ),
    "no exp, of an unknown key": lambda own: hs256(
        own.header(kid="0001"), DEMO_CLAIMS, OTHER_SECRET
    ),
    "the demo secret under the own key's id": lambda own: hs256(
        own.header(), own.claims(), DEMO_SECRET
    ),
    "expired, of the lab's own key": lambda own: own.token(exp=int(time.time()) - 1),
    "expired, of the demo key": lambda own: hs256(
        DEMO_HEADER, DEMO_CLAIMS | {"exp": int(time.time()) - 1}, DEMO_SECRET
    ),
    "exp as a string, of the demo key": lambda own: hs256(
        DEMO_HEADER, DEMO_CLAIMS | {"exp": str(soon())}, DEMO_SECRET
    ),
    "exp null, of the demo key": lambda own: hs256(
        DEMO_HEADER, DEMO_CLAIMS | {"exp": None}, DEMO_SECRET
    ),
    "nbf in the future, of the demo key": lambda own: hs256(
        DEMO_HEADER, DEMO_CLAIMS | {"nbf": soon()}, DEMO_SECRET
    ),
    "crit, of the demo key": lambda own: hs256(
        DEMO_HEADER | {"crit": ["exp"]}, DEMO_CLAIMS, DEMO_SECRET
    ),
}


@pytest.mark.parametrize("what", DEMO_REFUSED)
def test_demo_mode_lets_nobody_else_in(demo_lab: LabUnderTest, what: str) -> None:
    own = Forge.of(KeyStore(demo_lab.lab.keys_file).read().signing)
    assert own.kid != "0001"
    assert_unauthorized(ask(demo_lab.port, token=DEMO_REFUSED[what](own)))


def test_in_demo_mode_the_labs_own_tokens_work_as_ever(demo_lab: LabUnderTest) -> None:
    assert ask(demo_lab.port, token=demo_lab.ok("token").strip()).status == 200


def test_without_demo_mode_the_published_token_is_refused(lab: LabUnderTest) -> None:
    assert_unauthorized(ask(lab.port, token=PUBLISHED))
    with_exp = hs256(DEMO_HEADER, DEMO_CLAIMS | {"exp": soon()}, DEMO_SECRET)
    assert_unauthorized(ask(lab.port, token=with_exp))


def test_demo_mode_comes_and_goes_with_its_key_while_the_lab_runs(changing: LabUnderTest) -> None:
    assert_unauthorized(ask(changing.port, token=PUBLISHED))
    changing.ok("keys", "init", "--demo")
    assert ask(changing.port, token=PUBLISHED).status == 200
    changing.ok("keys", "revoke", "0001")
    assert_unauthorized(ask(changing.port, token=PUBLISHED))


def test_demo_mode_is_refused_beyond_loopback_and_nothing_is_started(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.ok("keys", "init", "--demo")
    file = lab.lab.config_file
    text = file.read_text().replace("insecure = false", "insecure = true")
    file.write_text(text.replace('host = "127.0.0.1"', 'host = "0.0.0.0"', 1))
    again = lab.run("keys", "init", "--demo")
    assert again.returncode == 2
    assert "0.0.0.0" in again.stderr
    done = lab.run("up")
    assert done.returncode == 2
    assert "demo" in done.stderr
    assert "0.0.0.0" in done.stderr
    assert "llmlab keys revoke 0001" in done.stderr
    assert lab_processes(lab.lab.state) == []
    with pytest.raises(ConnectionRefusedError):
        ask(lab.port)


# --- Rate limits -----------------------------------------------------------------

BURST = 3


@pytest.fixture(scope="module")
def pair(make_lab: MakeLab) -> LabUnderTest:
    """A lab with the default limits and two models, one of which has shorter summaries."""
    lab = make_lab()
    with lab.lab.config_file.open("a") as config:
        config.write(
            '\n[models.brief]\nruntime = "extractive"\nsource = "embedded:textrank"\n'
            "max_length = 12\nmin_length = 1\n"
        )
    lab.ok("up", "--model", "textrank", "--model", "brief")
    return lab


@pytest.fixture(scope="module")
def limited(make_lab: MakeLab) -> LabUnderTest:
    """A lab with a limit that does not refill while a test runs, and small bodies."""
    lab = make_lab(
        gateway__rate_limit__rate='"1r/m"',
        gateway__rate_limit__burst=str(BURST),
        gateway__max_body='"2k"',
    )
    lab.ok("up")
    return lab


def statuses(port: int, token: str | None, count: int) -> list[int]:
    return [ask(port, token=token).status for _ in range(count)]


def test_the_rate_of_a_subject_is_limited_after_its_burst(limited: LabUnderTest) -> None:
    token = limited.token("eager")
    assert statuses(limited.port, token, BURST + 3) == [200] * (BURST + 1) + [429] * 2
    reply = ask(limited.port, token=token)
    assert "rate limit" in assert_problem(reply, 429)["detail"]
    assert int(reply.header("Retry-After")) == 60
    assert reply.all("WWW-Authenticate") == []


def test_another_subject_is_not_touched_by_it(limited: LabUnderTest) -> None:
    assert 429 in statuses(limited.port, limited.token("loud"), BURST + 2)
    assert ask(limited.port, token=limited.token("quiet")).status == 200


def test_a_new_token_of_the_same_subject_shares_its_limit(limited: LabUnderTest) -> None:
    assert statuses(limited.port, limited.token("clever"), BURST + 1) == [200] * (BURST + 1)
    assert ask(limited.port, token=limited.token("clever", ttl=60)).status == 429


def test_the_limit_counts_across_all_paths_and_models(limited: LabUnderTest) -> None:
    token = limited.token("wanderer")
    paths = ["/", "/nowhere", "/models/textrank/", "/openapi.json"]
    assert all(ask(limited.port, path, token=token).status != 429 for path in paths)
    assert summarize(limited.port, token).status == 429
    assert summarize(limited.port, token, "/models/textrank/summarize/").status == 429


def test_tokens_without_a_subject_share_the_limit_of_their_address(limited: LabUnderTest) -> None:
    forge = Forge.of(KeyStore(limited.lab.keys_file).read().signing)
    seen = [
        ask(limited.port, token=forge.carrying({"exp": soon(), "n": number})).status
        for number in range(BURST + 2)
    ]
    assert seen == [200] * (BURST + 1) + [429]


def test_bad_tokens_are_limited_by_address_and_lock_nobody_out(limited: LabUnderTest) -> None:
    forge = Forge.of(KeyStore(limited.lab.keys_file).read().signing)
    not_yet = forge.token(sub="honest", nbf=soon())  # well signed, so its subject is known
    tokens = [None, "x.y.z", *[not_yet] * BURST]
    seen = [ask(limited.port, token=token).status for token in tokens]
    assert seen == [401] * (BURST + 1) + [429]
    reply = ask(limited.port)
    assert_problem(reply, 429)
    assert int(reply.header("Retry-After")) >= 1
    assert ask(limited.port, "/health").status == 200
    honest = limited.token("honest")
    assert statuses(limited.port, honest, BURST + 2) == [200] * (BURST + 1) + [429]


def test_by_default_a_subject_has_two_requests_a_second_and_a_burst_of_ten(
    pair: LabUnderTest,
) -> None:
    token = pair.token("eager")
    start = time.monotonic()
    replies = [ask(pair.port, token=token) for _ in range(60)]
    seconds = time.monotonic() - start
    accepted = sum(reply.status == 200 for reply in replies)
    refused = [reply for reply in replies if reply.status == 429]
    assert [reply.status for reply in replies[:11]] == [200] * 11
    assert accepted <= 11 + 2 * seconds + 1
    assert accepted + len(refused) == 60
    assert {int(reply.header("Retry-After")) for reply in refused} == {1}


def test_a_limit_that_is_switched_off_does_not_limit(lab: LabUnderTest) -> None:
    assert statuses(lab.port, lab.token("eager"), 40) == [200] * 40
    assert statuses(lab.port, None, 40) == [401] * 40


# --- Bodies that are too large, addresses that are not there ------------------------


def body_of(size: int) -> bytes:
    empty = len(json.dumps({"text": ""}))
    return json.dumps({"text": ("A small wave. " * size)[: size - empty]}).encode()


def test_a_body_up_to_the_limit_passes_and_one_byte_more_does_not(limited: LabUnderTest) -> None:
    token = limited.token("weighty")
    fits = ask(limited.port, "/summarize/", method="POST", body=body_of(2048), token=token)
    assert fits.status == 200
    reply = ask(limited.port, "/summarize/", method="POST", body=body_of(2049), token=token)
    assert "gateway.max_body" in assert_problem(reply, 413)["detail"]


def test_a_body_of_unannounced_length_is_limited_too(lab: LabUnderTest) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=60)
    chunks = (b" " * 65_536 for _ in range(49))  # 3 MiB and a bit
    with contextlib.closing(connection):
        connection.request(
            "POST", "/summarize/", chunks, dict([bearer(lab.token())]), encode_chunked=True
        )
        response = connection.getresponse()
        reply = Reply(response.status, response.getheaders(), response.read())
    assert_problem(reply, 413)


def test_a_text_of_the_default_longest_length_passes_the_gateway(lab: LabUnderTest) -> None:
    words = ("The tide came in, and the tide went out again. " * 5000)[:200_001]
    problem = assert_problem(summarize(lab.port, lab.token(), text=words), 413)
    assert "service.max_text_chars" in problem["detail"]  # the API's answer, not the gateway's


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/models/unknown/summarize/", 404),
        ("GET", "/models/", 404),
        ("GET", "/health/nowhere", 404),
        ("GET", "/summarize/", 405),
        ("DELETE", "/", 405),
    ],
)
def test_what_the_api_does_not_have_is_a_problem_document(
    lab: LabUnderTest, method: str, path: str, status: int
) -> None:
    reply = ask(lab.port, path, method=method, token=lab.token())
    assert_problem(reply, status)
    assert reply.header("X-Model") == "textrank"


MALFORMED = {
    "no HTTP at all": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    "NUL in the path": b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a broken escape in the path": b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "a path above the root": b"GET /../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "an invalid Host": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "two kinds of length": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a header with a space in its name": b"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n",
}


@pytest.mark.conformance
@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_request_is_the_clients_mistake(lab: LabUnderTest, what: str) -> None:
    assert_problem(sent_raw(lab.port, MALFORMED[what]), 400)


def sent_raw(port: int, data: bytes, source: str = "127.0.0.1") -> Reply:
    """The answer to these very bytes, from this address of the loopback network."""
    address = ("127.0.0.1", port)
    with socket.create_connection(address, timeout=30, source_address=(source, 0)) as connection:
        connection.sendall(data)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Reply(response.status, response.getheaders(), response.read())


# What NGINX answers before it has looked at any address, or where an address is not for clients.
OWN_ANSWERS = {
    "TRACE": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "an unknown transfer coding": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501,
    ),
    "an unknown version": (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
    "a version that is spoken otherwise": (b"GET / HTTP/2.5\r\nHost: a\r\n\r\n", 505),
    "an address that is too long": (b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n" % (b"x" * 9000), 414),
    "a header that is too long": (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"x" * 9000), 431),
    "too many headers": (
        b"GET / HTTP/1.1\r\n%s\r\n" % b"".join(b"X%d: %s\r\n" % (n, b"x" * 5000) for n in range(9)),
        431,
    ),
    "a page of the gateway's own": (b"GET /.problem HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    "a page of earlier ones": (b"GET /.bad_request HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "metrics": (b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 404),
    # There are types that NGINX knows by itself.
    "what looks like a page": (b"GET /a.html HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "what looks like a picture": (b"GET /a.jpg HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    "a body that is too large": (
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", 413,
    ),
}  # fmt: skip


@pytest.mark.conformance
@pytest.mark.parametrize("what", OWN_ANSWERS)
def test_what_nginx_answers_by_itself_is_a_problem_document_of_its_status(
    echo: EchoGateway, what: str
) -> None:
    data, status = OWN_ANSWERS[what]
    reply = sent_raw(echo.port, data)
    problem = assert_problem(reply, status)
    assert problem["title"] != "Error"
    assert reply.all("Allow") == (["GET, HEAD, POST"] if status == 405 else [])


def test_a_head_request_is_refused_without_a_body(echo: EchoGateway) -> None:
    reply = ask(echo.port, method="HEAD")
    assert (reply.status, reply.body) == (401, b"")
    assert reply.header("Content-Type") == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "authorized"), [("/", True), ("/health", False), ("/health/ready", False)]
)
def test_an_http_1_0_client_without_a_host_header_is_served(
    lab: LabUnderTest, path: str, authorized: bool
) -> None:
    # Load balancers ask for health this way.
    header = f"Authorization: Bearer {lab.token()}\r\n" if authorized else ""
    with socket.create_connection(("127.0.0.1", lab.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\n{header}\r\n".encode())
        reply = b"".join(iter(lambda: connection.recv(65_536), b""))
    assert reply.startswith(b"HTTP/1.1 200 "), reply


# --- When the API is away ----------------------------------------------------------


def api_pid(lab: LabUnderTest) -> int:
    (deployment,) = lab.json("status")["deployments"]
    return int(deployment["pid"])


def test_while_the_api_is_away_the_gateway_says_so_and_when_to_try_again(
    changing: LabUnderTest,
) -> None:
    api = psutil.Process(api_pid(changing))
    token = changing.token()
    api.kill()
    psutil.wait_procs([api], timeout=10)
    reply = summarize(changing.port, token)
    assert_problem(reply, 502)
    assert int(reply.header("Retry-After")) >= 1
    assert ask(changing.port, "/health").status == 502
    eventually(lambda: summarize(changing.port, token).status == 200, within=30)


@pytest.fixture(scope="module")
def impatient(make_lab: MakeLab) -> LabUnderTest:
    """A lab that gives a summary 10 ms."""
    lab = make_lab(**NO_LIMIT, service__timeout="0.01")
    lab.ok("up")
    return lab


def test_a_summary_that_takes_too_long_is_given_up(impatient: LabUnderTest) -> None:
    text = "\n".join(f"Wave {number} came in over stone {number * 7}." for number in range(3000))
    problem = assert_problem(summarize(impatient.port, impatient.token(), text=text), 504)
    assert "service.timeout" in problem["detail"]


def test_an_api_that_does_not_answer_at_all_is_given_up(impatient: LabUnderTest) -> None:
    pid = api_pid(impatient)
    os.kill(pid, signal.SIGSTOP)
    try:
        reply = ask(impatient.port, token=impatient.token())
    finally:
        os.kill(pid, signal.SIGCONT)
    assert "service.timeout" in assert_problem(reply, 504)["detail"]
    eventually(lambda: ask(impatient.port, token=impatient.token()).status == 200)


# --- What the API is told ----------------------------------------------------------


class Echo(BaseHTTPRequestHandler):
    """Answers every request with what arrived."""

    protocol_version: ClassVar[str] = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        heard = {"method": self.command, "path": self.path, "headers": self.headers.items()}
        body = json.dumps(heard).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Request-ID", "of the API")
        self.send_header("X-Model", "echo")
        self.send_header("X-Deployment", "of the API")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


Files = dict[str, str]


class EchoServer(Ending, socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128  # of a burst; beyond it a unix socket refuses


@dataclass(frozen=True)
class EchoGateway:
    port: int
    forge: Forge

    def heard(self, *headers: tuple[str, str], path: str = "/", sub: str = "tester") -> Reply:
        return ask(self.port, path, *headers, token=self.forge.token(sub=sub))


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EchoGateway]:
    """The lab's own nginx.conf, rendered in front of a server that repeats what it hears."""
    with echo_gateway(tmp_path_factory.mktemp("echo")) as one:
        yield one


@contextlib.contextmanager
def echo_gateway(
    folder: Path, *, key: Key | None = None, change: Callable[[Files], Files] = lambda files: files,
    **changes: Any,
) -> Iterator[EchoGateway]:  # fmt: skip
    """Run it: ``changes`` go into the plan, ``change`` does something to the rendered files."""
    key = key or generate(Algorithm.HS256)
    listening, nobody = folder / "api.sock", folder / "gone.sock"
    me = pwd.getpwuid(os.geteuid())
    plan = GatewayPlan(
        listen=f"127.0.0.1:{free_port()}",
        stable="echo",
        upstreams=(
            Upstream("echo", (f"unix:{listening}",)),
            Upstream("gone", (f"unix:{nobody}",)),
        ),
        rate_limit=RateLimit(enabled=False),
        max_body="1m",
        timeout=5,
        worker_user=f"{me.pw_name} {grp.getgrgid(me.pw_gid).gr_name}" if me.pw_uid == 0 else "",
    )
    plan = replace(plan, **changes)
    root_conf = Path(__file__).parent.parent / "nginx.conf"
    files = {
        "nginx.conf": root_conf.read_text(),
        "llmapi.jwk": KeySet((key,)).gateway_jwks(),
        **render(plan),
    }
    prefix = folder / "nginx"
    (prefix / "tmp").mkdir(parents=True)
    nginx, releases = find_nginx(), Releases(folder / "releases", prefix)
    releases.activate(releases.stage(change(files), nginx))
    port = int(plan.listen.rpartition(":")[2])
    with EchoServer(str(listening), Echo) as server, (folder / "log").open("wb") as log:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = nginx.command(prefix, releases.conf, "-g", "daemon off;")
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                eventually(lambda: answers(port) or process.poll() is not None)
                assert process.poll() is None, (folder / "log").read_text()
                yield EchoGateway(port, Forge.of(key))
            finally:
                process.terminate()
                process.wait(20)
                server.shutdown()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        return ask(port, "/health").status == 200
    return False


FORGED = "forged-by-the-client"
IDENTITY_HEADERS = [
    "X-Subject", "x-subject", "X_Subject", "X-User", "X-Remote-User", "X-Forwarded-User",
    "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded",
    "Cookie", "Proxy",
    # What other gateways and frameworks take for who asks, from where, and for what.
    "Remote-User", "Remote-Groups", "Proxy-Authorization", "X-Authorization", "X-Auth-Request-User",
    "X-Forwarded-Email", "X-Forwarded-Groups", "X-Forwarded-Access-Token", "X-Consumer-Username",
    "X-Client-IP", "True-Client-IP", "Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP",
    "X-Original-Forwarded-For", "X-Remote-Addr", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Server", "X-Forwarded-Ssl", "X-Forwarded-Scheme", "X-Forwarded-Client-Cert",
    "X-Original-URL", "X-Original-URI", "X-Rewrite-URL", "X-Script-Name", "X-Host",
    "X-HTTP-Method-Override", "X-Method-Override",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/", "/models/echo/", "/health"])
def test_an_identity_that_a_client_claims_does_not_reach_the_api(
    echo: EchoGateway, path: str
) -> None:
    claims = [(name, f"{FORGED} as {name}") for name in IDENTITY_HEADERS]
    reply = echo.heard(*claims, path=path)
    assert reply.status == 200
    assert [said for _, said in claims if said in reply.body.decode()] == []


@pytest.mark.parametrize("name", IDENTITY_HEADERS)
def test_nor_does_one_that_is_claimed_twice(echo: EchoGateway, name: str) -> None:
    reply = echo.heard((name, FORGED), (name, f"{FORGED}-again"))
    if reply.status != 400:  # some headers may not even be sent twice
        assert reply.status == 200
        assert FORGED not in reply.body.decode()


def headers_of(reply: Reply) -> dict[str, list[str]]:
    heard: dict[str, list[str]] = {}
    for name, value in reply.json()["headers"]:
        heard.setdefault(name.lower(), []).append(value)
    return heard


def test_the_token_stays_at_the_gateway(echo: EchoGateway) -> None:
    token = echo.forge.token()
    for path in ("/", "/models/echo/", "/health"):
        assert token.split(".")[2] not in ask(echo.port, path, token=token).body.decode()


def test_the_api_is_told_who_asks_from_where_under_which_id(echo: EchoGateway) -> None:
    heard = headers_of(echo.heard(("X-Subject", FORGED), ("X-Request-ID", "r-1"), sub="alice"))
    assert heard["x-subject"] == ["alice"]
    assert heard["x-request-id"] == ["r-1"]
    assert heard["x-forwarded-for"] == heard["x-real-ip"] == ["127.0.0.1"]
    assert heard["x-forwarded-proto"] == ["http"]


def test_other_headers_of_the_client_pass(echo: EchoGateway) -> None:
    heard = headers_of(echo.heard(("Accept", "text/x-test"), ("X-Of-My-Own", "1")))
    assert heard["accept"] == ["text/x-test"]
    assert heard["x-of-my-own"] == ["1"]


def test_a_subject_beyond_ascii_arrives_as_utf_8(echo: EchoGateway) -> None:
    heard = headers_of(echo.heard(sub="Jürgen 東京"))
    assert [one.encode("latin-1").decode() for one in heard["x-subject"]] == ["Jürgen 東京"]


@pytest.mark.parametrize(
    "forged", [lambda forge: hmac_by_attacker(forge), lambda forge: forge.token(exp=1)]
)
def test_a_health_check_with_a_bad_token_has_no_subject(
    echo: EchoGateway, forged: Callable[[Forge], str]
) -> None:
    reply = ask(echo.port, "/health", token=forged(echo.forge))
    assert "x-subject" not in headers_of(reply)


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        ("/summarize/?a=1&b=%20", "/summarize/?a=1&b=%20"),
        ("/models/echo/summarize/?a=1", "/summarize/?a=1"),
        ("/models/echo/", "/"),
        ("/health", "/health/ready"),
        ("/health/live", "/health/live"),
        ("/health/ready", "/health/ready"),
    ],
)
def test_the_api_sees_the_path_without_the_gateways_part(
    echo: EchoGateway, asked: str, heard: str
) -> None:
    assert echo.heard(path=asked).json()["path"] == heard


def test_a_deployment_that_is_away_does_not_disturb_the_others(echo: EchoGateway) -> None:
    reply = echo.heard(path="/models/gone/summarize/")
    assert_problem(reply, 502)
    assert int(reply.header("Retry-After")) >= 1
    assert echo.heard(path="/models/echo/").status == 200


# --- Request ids -------------------------------------------------------------------

SANE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@pytest.mark.parametrize("given", ["a", "req-1.2:3_4", "x" * 128, "0af76519-16cd-43dd"])
def test_a_sane_request_id_is_kept(lab: LabUnderTest, given: str) -> None:
    assert ask(lab.port, "/", ("X-Request-ID", given), token=lab.token()).header(
        "X-Request-ID"
    ) == (given)
    assert assert_problem(ask(lab.port, "/", ("X-Request-ID", given)), 401)["request_id"] == given


@pytest.mark.parametrize(
    "given", ["", "a b", "x" * 129, '"><script>', "a\tb", "{}", "a,b", "a/b", "caf\xe9"]
)
def test_an_insane_request_id_is_replaced(lab: LabUnderTest, given: str) -> None:
    for token in (lab.token(), None):
        got = ask(lab.port, "/", ("X-Request-ID", given), token=token).header("X-Request-ID")
        assert got != given
        assert SANE.fullmatch(got)


def test_every_request_without_an_id_gets_one_of_its_own(lab: LabUnderTest) -> None:
    given = {ask(lab.port, token=lab.token()).header("X-Request-ID") for _ in range(5)}
    assert len(given) == 5


@pytest.mark.parametrize("given", [(), (("X-Request-ID", "a b"),)], ids=["none", "insane"])
def test_the_api_hears_the_request_id_that_the_client_is_given(
    echo: EchoGateway, given: tuple[tuple[str, str], ...]
) -> None:
    reply = echo.heard(*given)
    assert headers_of(reply)["x-request-id"] == [reply.header("X-Request-ID")]


def test_the_request_id_of_the_gateway_replaces_the_apis(echo: EchoGateway) -> None:
    assert echo.heard(("X-Request-ID", "mine")).header("X-Request-ID") == "mine"


def test_a_response_names_the_deployment_that_was_asked_whatever_the_api_says(
    echo: EchoGateway,
) -> None:
    assert echo.heard().header("X-Deployment") == "echo"
    assert echo.heard(path="/models/echo/").header("X-Deployment") == "echo"
    assert echo.heard(path="/models/gone/").header("X-Deployment") == "gone"
    assert echo.heard(path="/metrics").all("X-Deployment") == []
    assert ask(echo.port).all("X-Deployment") == []  # without a token nobody learns names


def test_a_response_names_the_model_that_answered(lab: LabUnderTest) -> None:
    assert summarize(lab.port, lab.token()).header("X-Model") == "textrank"
    assert ask(lab.port, "/health").header("X-Model") == "textrank"


# --- What is open, what is closed --------------------------------------------------

METRICS_PATHS = [
    "/metrics", "/metrics/", "/metrics?", "/metrics?x=1", "//metrics", "///metrics", "/./metrics",
    "/%6detrics", "/metric%73", "/%2e/metrics", "/x/../metrics", "/x/%2e%2e/metrics",
    "/metrics;x", "/metrics%20", "/metrics%2f", "/metrics%3f", "/%2fmetrics", "/METRICS",
    "/health/../metrics", "/health/%2e%2e/metrics", "/health/..;/metrics", "/health/..%2fmetrics",
    "/health/metrics", "/health//metrics", "/healthmetrics", "/health/../../metrics",
    "/models/textrank/metrics", "/models/textrank//metrics", "/models/textrank/./metrics",
    "/models/textrank/%6detrics", "/models/textrank/%2fmetrics", "/models/textrank%2fmetrics",
    "/models/textrank/..;/metrics", "/models/x/..;/metrics", "/models/textrank/../../metrics",
    "/models/textrank/%2e%2e/metrics", "/models/textrank/x/%2e%2e/metrics", "/models//metrics",
    "/models/../metrics", "/models/textrank/metrics/", "/models/textrank/metrics;x",
    "http://127.0.0.1/metrics", "/%252fmetrics", "/models/textrank/%252e%252e/metrics",
]  # fmt: skip


@pytest.mark.parametrize("authorized", [True, False], ids=["with a token", "without"])
@pytest.mark.parametrize("path", METRICS_PATHS)
def test_metrics_are_not_exposed(lab: LabUnderTest, path: str, authorized: bool) -> None:
    reply = ask(lab.port, path, token=lab.token() if authorized else None)
    assert reply.status in (400, 401, 403, 404)
    assert b"llmlab_" not in reply.body
    assert_problem(reply, reply.status)


def test_metrics_are_there_for_the_operator(lab: LabUnderTest) -> None:
    # Or the tests above could not fail.
    connection = http.client.HTTPConnection("api")
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.connect(str(lab.lab.api_socket("textrank")))
        connection.request("GET", "/metrics")
        assert b'llmlab_ready{deployment="textrank"} 1.0' in connection.getresponse().read()


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_health_is_told_without_a_token(lab: LabUnderTest, path: str) -> None:
    assert ask(lab.port, path).status == 200
    assert ask(lab.port, path, token="x.y.z").status == 200


def test_the_api_is_described_to_whoever_has_a_token(lab: LabUnderTest) -> None:
    assert_unauthorized(ask(lab.port, "/openapi.json"))
    reply = ask(lab.port, "/openapi.json", token=lab.token())
    assert reply.status == 200
    assert b"/summarize/" in reply.body


def test_the_page_that_shows_it_needs_no_token_and_nothing_else_opens_with_it(
    lab: LabUnderTest,
) -> None:
    for path in PAGES:
        assert ask(lab.port, path).status == 200, path
    for path in ("/docs/", "/docs/x.js", "/docs/page.js/", "/docs/../openapi.json", "/docsx",
                 "/docs/%2e%2e/summarize/", "/docs/page.js%2f..%2f..%2fopenapi.json"):  # fmt: skip
        assert_unauthorized(ask(lab.port, path))
    for path in ("/openapi.json/../docs", "//docs"):
        assert ask(lab.port, path).body == ask(lab.port, "/docs").body, "and nothing of its own"


def test_without_a_token_nobody_learns_which_models_there_are(lab: LabUnderTest) -> None:
    for path in ("/models/textrank", "/models/unknown", "/models/textrank/", "/models/unknown/"):
        assert_unauthorized(ask(lab.port, path))


# --- Several models ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/summarize/", "textrank"),
        ("/models/textrank/summarize/", "textrank"),
        ("/models/brief/summarize/", "brief"),
        ("/models/brief/summarize", "brief"),
    ],
)
def test_every_deployed_model_has_an_address(pair: LabUnderTest, path: str, model: str) -> None:
    reply = summarize(pair.port, pair.token(path), path)
    assert reply.status == 200
    assert reply.json()["model"]["name"] == model
    assert reply.header("X-Model") == model
    assert logged(pair, reply)["deployment"] == model


def test_the_models_behind_the_addresses_really_differ(pair: LabUnderTest) -> None:
    token = pair.token("comparer")
    long = summarize(pair.port, token, "/models/textrank/summarize/").json()
    brief = summarize(pair.port, token, "/models/brief/summarize/").json()
    assert brief["usage"]["output_tokens"] <= 12 < long["usage"]["output_tokens"]


@pytest.mark.parametrize("path", ["/models/unknown/summarize/", "/models/falconsai/summarize/"])
def test_a_model_that_is_not_deployed_has_no_address(pair: LabUnderTest, path: str) -> None:
    assert_problem(summarize(pair.port, pair.token("explorer"), path), 404)


# --- Logs --------------------------------------------------------------------------


def logged(lab: LabUnderTest, reply: Reply, log: str = "gateway") -> dict[str, Any]:
    """The line of a log that belongs to a response, once it was written."""
    wanted = reply.header("X-Request-ID").encode()

    def found() -> bytes | None:
        lines = (lab.lab.logs / f"{log}.log").read_bytes().splitlines(keepends=True)
        return next((one for one in lines if wanted in one and one.endswith(b"\n")), None)

    line: dict[str, Any] = json.loads(eventually(found).decode())
    return line


def test_the_access_log_says_who_asked_for_what_and_who_answered(lab: LabUnderTest) -> None:
    reply = summarize(lab.port, lab.token("alice"))
    line = logged(lab, reply)
    assert line["subject"] == "alice"
    assert line["deployment"] == "textrank"
    assert line["model"] == "textrank"
    assert line["method"] == "POST"
    assert line["path"] == "/summarize/"
    assert line["status"] == 200
    assert line["seconds"] >= 0
    assert float(line["upstream_seconds"]) >= 0
    assert line["upstream_status"] == "200"
    assert line["address"] == "127.0.0.1"


def test_the_access_log_says_that_a_refused_request_reached_no_api(lab: LabUnderTest) -> None:
    line = logged(lab, ask(lab.port, "/summarize/", method="POST", body=b"{}"))
    assert (line["status"], line["subject"], line["upstream_status"]) == (401, "", "")


@pytest.mark.parametrize(
    "path",
    [
        '/a"b', "/a%22b", "/a\\b", "/a%5cb", "/a%0ab", "/a%09b", "/%e6%9d%b1%e4%ba%ac", "/%1b[31m",
        "/%e2%80%a8", "/%ff", "/%ed%a0%80", "/a%c3", "/%7b%7d", "/" + "x" * 4000,
    ],
)  # fmt: skip
def test_the_access_log_is_json_whatever_the_path(lab: LabUnderTest, path: str) -> None:
    for token in (lab.token(), None):
        reply = ask(lab.port, path, token=token)
        assert logged(lab, reply)["status"] == reply.status


SUBJECTS = [
    'O"Brien',
    "back\\slash",
    "Jürgen",
    "東京",
    "{}",
    "a\u2028b",
    "🦊",
    "<b>",
    "%41",
    "$uri",
]


@pytest.mark.parametrize("log", ["gateway", "api-textrank"])
@pytest.mark.parametrize("sub", SUBJECTS)
def test_both_access_logs_tell_the_subject_as_it_is(lab: LabUnderTest, sub: str, log: str) -> None:
    reply = ask(lab.port, token=lab.token(sub))
    assert logged(lab, reply, log)["subject"] == sub


def test_a_health_check_that_succeeds_is_not_worth_a_line(lab: LabUnderTest) -> None:
    healthy = ask(lab.port, "/health")
    logged(lab, ask(lab.port))  # written later than the health check would have been
    text = (lab.lab.logs / "gateway.log").read_text(errors="replace")
    assert healthy.header("X-Request-ID") not in text


def test_no_token_and_no_text_is_ever_logged(lab: LabUnderTest, forge: Forge) -> None:
    secret_word = "quincunx"
    text = f"The {secret_word} is planted. Nobody must read of the {secret_word} in a log."
    good, expired = lab.token("careful"), forge.token(exp=1)
    unsigned = forge.with_alg("none", "")
    tokens = [good, expired, unsigned, hmac_by_attacker(forge), forge.token(sub="a\nb")]
    body = json.dumps({"text": text}).encode()
    post = functools.partial(ask, lab.port, method="POST")
    for token in tokens:
        post("/summarize/", body=body, token=token)
        ask(lab.port, f"/?access_token={token}")
        ask(lab.port, "/", ("Cookie", f"token={token}"))
        ask(lab.port, "/", bearer(token), bearer(token))
    for bad in (
        body[:-2],  # no JSON
        json.dumps({"text": text, "unknown": text}).encode(),
        json.dumps({"text": [text]}).encode(),
        json.dumps({"text": text, "max_length": text}).encode(),
        text.encode("utf-16"),
    ):
        assert post("/summarize/", body=bad, token=good).status in (400, 422)
    for times in (4000, 20_000):  # too long for the API, too long for the gateway
        long = json.dumps({"text": text * times}).encode()
        assert post("/summarize/", body=long, token=good).status == 413
    logged(lab, ask(lab.port))
    for log in lab.lab.logs.iterdir():
        written = log.read_text(errors="replace")
        assert secret_word not in written, log.name
        for token in tokens:
            payload, signature = token.split(".")[1:]
            assert payload not in written, log.name
            assert not signature or signature not in written, log.name


def test_an_ordinary_long_text_leaves_no_trace_in_the_error_log(lab: LabUnderTest) -> None:
    log = lab.lab.logs / "gateway.error.log"
    text = "\n".join(f"Wave {number} came in over stone {number * 7}." for number in range(1500))
    assert len(text) > 40_000
    before = log.read_text()
    reply = summarize(lab.port, lab.token(), text=text)
    assert reply.status == 200
    logged(lab, reply)
    assert log.read_text() == before


# --- Changes to nginx.conf ---------------------------------------------------------


def test_an_nginx_conf_that_is_rejected_never_reaches_the_running_gateway(
    changing: LabUnderTest,
) -> None:
    good = changing.lab.nginx_conf.read_text()
    gateway = changing.json("status")["gateway"]["pid"]
    changing.lab.nginx_conf.write_text(good.replace("server_tokens", "server_tokenz"))
    try:
        done = changing.run("up")
    finally:
        changing.lab.nginx_conf.write_text(good)
    assert done.returncode == 2
    assert 'unknown directive "server_tokenz" in nginx.conf:' in done.stderr
    assert "Fix: " in done.stderr
    assert ask(changing.port, token=changing.token()).status == 200
    assert changing.json("status")["gateway"]["pid"] == gateway


def test_a_changed_nginx_conf_is_taken_over_without_a_restart(changing: LabUnderTest) -> None:
    before = changing.json("status")["gateway"]["pid"]
    conf = changing.lab.nginx_conf
    line = "add_header             X-Request-ID  $lab_request_id always;"
    assert conf.read_text().count(line) == 1
    conf.write_text(conf.read_text().replace(line, f"{line} add_header X-Lab mine always;"))
    changing.ok("up")
    assert ask(changing.port, token=changing.token()).header("X-Lab") == "mine"
    assert changing.json("status")["gateway"]["pid"] == before


def test_a_changed_limit_is_in_force_when_up_returns(changing: LabUnderTest) -> None:
    config = changing.lab.config_file
    text = config.read_text()
    config.write_text(text.replace('max_body = "3m"', 'max_body = "1k"'))
    changing.ok("up")
    reply = ask(
        changing.port, "/summarize/", method="POST", body=body_of(1025), token=changing.token()
    )
    assert reply.status == 413
