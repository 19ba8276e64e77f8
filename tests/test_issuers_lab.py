"""Identity providers at a real gateway: one that is real as well, and others whose tokens say what
no honest one does. What the gateway says of each, `token --decode` says too."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx2
import psutil
import pytest
from cryptography.hazmat.primitives import serialization

from llmlab.auth import Claims, KeyStore, describe, mint
from llmlab.config.load import read_config
from llmlab.engines.issuer_keys import EAGER
from llmlab.engines.issuers import NAME
from llmlab.engines.local.supervisor import Supervisor
from llmlab.issuers.trust import trust_of
from llmlab.processes import lab_processes
from tests.conftest import LabUnderTest, wait_until
from tests.identity import CLIENT, IdentityProvider
from tests.issuing import Answer, Signer, Website, claims, jwks, signer, website

STRICT, PLAIN = "https://strict.example.com/", "https://plain.example.com"
RS, ES, ED = signer("rs"), signer("es", "ES256"), signer("ed", "EdDSA")
SEVEN = signer("7")
OF_PLAIN = signer("of-plain")
TAKEN_ID = signer("rs")  # of another provider, under an id that was there before
ROLES = {"realm_access": {"roles": ["viewer", "user"]}, "email_verified": True, "scp": ["a", "use"]}
STRICT_TABLE = f"""
[[auth.issuers]]
name = "strict"
issuer = "{STRICT}"
jwks_url = "SITE/strict"
audience = ["lab", "api://lab"]
algorithms = ["RS256", "ES256", "EdDSA"]
subject = "email"
scopes = ["use"]
default_scopes = []
require = {{ "realm_access.roles" = ["admin", "user"], email_verified = true }}
"""
PLAIN_TABLE = f"""
[[auth.issuers]]
name = "plain"
issuer = "{PLAIN}"
jwks_url = "SITE/plain"
audience = "lab"
prefix = ""
operators = true
"""
CORP_TABLE = f"""
[[auth.issuers]]
name = "corp"
issuer = "CORP"
audience = "{CLIENT}"
algorithms = ["RS512"]
"""


@pytest.fixture(scope="module")
def corp() -> Iterator[IdentityProvider]:
    one = IdentityProvider()
    yield one
    one.stop()


@pytest.fixture(scope="module")
def site() -> Iterator[Website]:
    with website() as one:
        one.answers["/strict"] = Answer(
            jwks(
                RS,
                {**ES.public, "alg": "ES256"},
                ED,
                SEVEN,
                {"kty": "oct", "k": "c2VjcmV0c2VjcmV0"},
            )
        )
        yield one


@pytest.fixture(scope="module")
def lab(
    make_lab: Callable[..., LabUnderTest], corp: IdentityProvider, site: Website
) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false")
    own = KeyStore(one.lab.keys_file).ensure().signing.kid
    site.answers["/plain"] = Answer(jwks(TAKEN_ID, {**OF_PLAIN.public, "kid": own}, OF_PLAIN))
    with (one.root / "configs" / "lab.toml").open("a") as file:
        tables = STRICT_TABLE + PLAIN_TABLE + CORP_TABLE
        file.write(tables.replace("SITE", site.url).replace("CORP", corp.url))
    one.ok("up")
    return one


def ask(lab: LabUnderTest, token: str, **headers: str) -> httpx2.Response:
    sent = {"Authorization": f"Bearer {token}", **headers}
    return httpx2.get(f"{lab.url}/", headers=sent, timeout=20, trust_env=False)


def logged(lab: LabUnderTest, request: str) -> dict[str, Any]:
    """The line of a request, which comes once it is over."""
    log = lab.lab.logs / "gateway.log"
    wait_until(lambda: f'"{request}"' in log.read_text())
    lines = log.read_text().splitlines()
    found: dict[str, Any] = json.loads(next(one for one in lines if f'"{request}"' in one))
    return found


def strict(**more: Any) -> dict[str, Any]:
    return claims(STRICT, email="alice@example.com", **ROLES) | more


def without(said: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in names}


def plain(**more: Any) -> dict[str, Any]:
    return claims(PLAIN) | more


def confused(of: Signer, said: dict[str, Any], secret: bytes) -> str:
    """A token by HS256, whose secret is what everybody knows of a key."""
    parts = ({"alg": "HS256", "kid": of.kid}, said)
    encoded = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in parts]
    signature = hmac.new(secret, b".".join(encoded), hashlib.sha256).digest()
    return b".".join([*encoded, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def pem(of: Signer) -> bytes:
    return bytes(
        of.private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def nothing(of: dict[str, Any]) -> str:
    parts = ({"alg": "none", "kid": "rs"}, of)
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts
    ) + "."  # fmt: skip


def vectors(own: Callable[..., str]) -> Iterator[tuple[str, str, str]]:
    """(what it is, the token, whose it is; "" for one that is refused)."""
    now, alice = int(time.time()), "strict:alice@example.com"
    yield "as it should be, RS256", RS.token(strict()), alice
    yield "ES256", ES.token(strict()), alice
    yield "EdDSA", ED.token(strict()), alice
    # --- which key ---
    yield "no kid", RS.token(strict(), kid=None), ""
    yield "kid empty", RS.token(strict(), kid=""), ""
    # Whoever reads 7 as "7" takes a key of plain for one of strict.
    yield "kid a number", OF_PLAIN.odd(strict(), {"kid": 7}), ""
    yield "kid a list", OF_PLAIN.odd(strict(), {"kid": ["rs"]}), ""
    yield "kid null", OF_PLAIN.odd(strict(), {"kid": None}), ""
    yield "kid unknown", RS.token(strict(), kid="x"), ""
    yield "kid of another key of its own", RS.token(strict(), kid="es"), ""
    yield "kid of another's key", RS.token(strict(), kid="of-plain"), ""
    yield "key of another", OF_PLAIN.token(strict()), ""
    yield "key of another, its kid", OF_PLAIN.token(strict(), kid="rs"), ""
    yield "another's key of the same id", TAKEN_ID.token(plain()), ""
    yield "no signature", nothing(strict()), ""
    yield "RSA's public key as a secret", confused(RS, strict(), pem(RS)), ""
    yield "its number as a secret", confused(RS, strict(), str(RS.public["n"]).encode()), ""
    yield "the secret that it lists", confused(RS, strict(), b"secretsecret"), ""
    yield "RS384", RS.token(strict(), alg="RS384"), ""
    yield "PS256", RS.token(strict(), alg="PS256"), ""
    yield "crit", RS.token(strict(), crit=["x"]), ""
    # --- who made it ---
    yield "iss of another", RS.token(strict(iss=PLAIN)), ""
    yield "iss of nobody", RS.token(strict(iss="https://evil.example.com")), ""
    yield "iss without its slash", RS.token(strict(iss=STRICT.rstrip("/"))), ""
    yield "iss in capitals", RS.token(strict(iss=STRICT.upper())), ""
    yield "no iss", RS.token(without(strict(), "iss")), ""
    # --- for whom ---
    yield "another aud of ours", RS.token(strict(aud="api://lab")), alice
    yield "aud among others", RS.token(strict(aud=["account", "lab"])), alice
    yield "aud of another", RS.token(strict(aud="account")), ""
    yield "aud of others", RS.token(strict(aud=["account", "lab2"])), ""
    yield "aud that reads the same", RS.token(strict(aud=["account,lab"])), ""
    yield "aud a list in a list", RS.token(strict(aud=[["lab"]])), ""
    yield "no aud", RS.token(without(strict(), "aud")), ""
    # --- what it needs ---
    yield "another of its roles", RS.token(strict(realm_access={"roles": ["admin"]})), alice
    yield "role as a text", RS.token(strict(realm_access={"roles": "user"})), alice
    yield "no such role", RS.token(strict(realm_access={"roles": ["viewer"]})), ""
    yield "no roles", RS.token(without(strict(), "realm_access")), ""
    yield "roles where it is no object", RS.token(strict(realm_access="user")), ""
    yield "true as a text", RS.token(strict(email_verified="true")), ""
    yield "true as a number", RS.token(strict(email_verified=1)), ""
    yield "scope as a text", RS.token(without(strict(scope="a use b"), "scp")), alice
    yield "a part of its name", RS.token(without(strict(scope="user reuse"), "scp")), ""
    yield "no scope", RS.token(without(strict(), "scp")), ""
    # --- whose it is ---
    yield "no subject", RS.token(without(strict(), "email")), ""
    yield "an empty subject", RS.token(strict(email="")), ""
    yield "a subject that is a list", RS.token(strict(email=["a"])), ""
    yield "a subject with a line feed", RS.token(strict(email="a\nb")), ""
    yield "a subject with a space behind", RS.token(strict(email="a ")), ""
    yield "too long with what is before it", RS.token(strict(email="a" * 250)), ""
    yield "as long as can be", RS.token(strict(email="a" * 249)), "strict:" + "a" * 249
    yield "another's", RS.token(strict(email="corp:alice")), "strict:corp:alice"
    # --- when ---
    yield "expired", RS.token(strict(exp=now - 1)), ""
    yield "no exp", RS.token(without(strict(), "exp")), ""
    yield "not yet", RS.token(strict(nbf=now + 600)), ""
    yield "nbf now", RS.token(strict(nbf=now)), alice
    # --- without a prefix, and the lab's own ---
    yield "no prefix", OF_PLAIN.token(plain()), "alice"
    yield "no prefix, called as one of another provider", OF_PLAIN.token(plain(sub="strict:a")), ""
    yield "no prefix, called as one of nobody", OF_PLAIN.token(plain(sub="other:a")), "other:a"
    yield "the lab's own", own(), "tester"
    yield "the lab's, iss of nobody", own(iss="https://evil.example.com"), "tester"
    yield "the lab's, iss of a provider", own(iss=STRICT), ""
    yield "a provider's, kid of the lab's", OF_PLAIN.token(plain(), kid=own("kid")), ""


def test_gateway_and_decode_say_of_every_token_whose_it_is(lab: LabUnderTest) -> None:
    keys = KeyStore(lab.lab.keys_file).read()
    auth = read_config(lab.lab.config_file).config.auth
    trust = trust_of(lab.lab, auth, keys.kids, time.time())

    def own(what: str = "token", **more: str) -> str:
        if what == "kid":
            return keys.signing.kid
        return mint(keys.signing, Claims(sub="tester", **more))

    wrong, seen = [], 0
    for name, token, whose in vectors(own):
        answer = ask(lab, token, **{"X-Request-ID": f"vector-{seen}"})
        told = describe(token, keys, trust=trust)
        subject = logged(lab, f"vector-{seen}")["subject"] if answer.status_code == 200 else ""
        if (answer.status_code, subject) != (200 if whose else 401, whose):
            wrong.append((name, answer.status_code, subject))
        if (told.valid, told.subject) != (bool(whose), whose):
            wrong.append((name, "decode", told.reason))
        seen += 1
    assert wrong == []
    assert seen > 50


def test_a_provider_says_what_its_users_may_as_far_as_the_lab_lets_it(lab: LabUnderTest) -> None:
    def status(path: str, said: dict[str, Any], of: Signer = RS) -> int:
        sent = {"Authorization": f"Bearer {of.token(said)}"}
        method = "GET" if path == "/metrics" else "POST"
        return httpx2.request(
            method, lab.url + path, headers=sent, json={"text": "A lamp."}, timeout=20,
            trust_env=False,
        ).status_code  # fmt: skip

    # Strict has a default of its own, none; plain may say who is an operator.
    assert status("/summarize/", strict()) == 403
    assert status("/summarize/", strict(scp=["use", "llmlab:summarize"])) == 200
    assert status("/metrics", strict(scp=["use", "llmlab:operator"])) == 403
    assert status("/summarize/", plain(), OF_PLAIN) == 200
    assert status("/metrics", plain(), OF_PLAIN) == 403
    assert status("/metrics", plain(roles=["llmlab:operator"]), OF_PLAIN) == 200


def test_a_token_of_a_real_provider_is_its_users_and_nobody_elses(
    lab: LabUnderTest, corp: IdentityProvider
) -> None:
    token = corp.token("alice")
    assert ask(lab, token, **{"X-Request-ID": "of-corp"}).status_code == 200
    assert logged(lab, "of-corp")["subject"] == "corp:alice"
    told = json.loads(lab.ok("token", "--decode", "-", "-o", "json", stdin=token))
    assert (told["valid"], told["issuer"], told["subject"]) == (True, "corp", "corp:alice")
    said = lab.ok("token", "--decode", "-", stdin=token)
    assert "of corp" in said
    assert "subject here corp:alice" in said
    # The lab's own alice is another one, and so are the tokens that she has.
    lab.ok("token", "revoke", "--sub", "alice")
    assert ask(lab, token).status_code == 200
    lab.ok("token", "revoke", "--sub", "corp:alice")
    assert ask(lab, token).status_code == 401
    assert ask(lab, corp.token("bob")).status_code == 200
    lab.ok("token", "restore", "--sub", "corp:alice")
    assert ask(lab, token).status_code == 200


def test_status_and_doctor_say_how_the_keys_are_and_which_are_left_out(
    lab: LabUnderTest, corp: IdentityProvider
) -> None:
    told = {one["name"]: one for one in lab.json("status")["issuers"]}
    assert {name: (one["state"], len(one["keys"])) for name, one in told.items()} == {
        "strict": ("ok", 4), "plain": ("ok", 1), "corp": ("ok", 1),
    }  # fmt: skip
    assert "it is a secret (oct)" in " ".join(told["strict"]["left_out"])
    assert [one.partition(": ")[2] for one in told["plain"]["left_out"]] == [
        "strict has one of that kid", "this lab has one of that kid",
    ]  # fmt: skip
    shown = lab.ok("status")
    assert f"issuer corp {corp.url}" in shown
    assert "ok, 1 key, 2 left out, fetched" in shown
    checks = {one["name"]: one for one in json.loads(lab.run("doctor", "-o", "json").stdout)}
    assert checks["issuer corp"]["message"] == f"1 key of {corp.url}"
    ledger = lab.json("ledger")
    entry = next(one for one in ledger if one["kind"] == "issuers")
    assert entry["document"]["now"]["strict"]["issuer"] == STRICT


def keepers(lab: LabUnderTest) -> list[psutil.Process]:
    """Who keeps its keys, found otherwise than the lab finds its processes."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = process.cmdline()
            if "llmlab.engines.issuer_keys" in line and line[-1] == str(lab.root):
                found.append((process, process.ppid()))
    # One that is about to become another program, such as nginx -t, still looks like its parent.
    own = {process.pid for process, _ in found}
    return [process for process, parent in found if parent not in own]


def aged(lab: LabUnderTest, name: str, seconds: float) -> None:
    """So much time has passed since its keys were fetched."""
    file = lab.lab.state / "issuers" / f"{name}.json"
    there = json.loads(file.read_text())
    moved = {one: there[one] - seconds for one in ("fetched", "until", "tried", "due")}
    file.write_text(json.dumps(there | moved))


def test_a_key_that_nobody_knows_is_fetched_and_the_one_before_is_no_good_any_more(
    lab: LabUnderTest, corp: IdentityProvider
) -> None:
    before = corp.token()
    corp.rotate()
    new = corp.token()
    aged(lab, "corp", EAGER)
    assert ask(lab, new, **{"X-Request-ID": "unknown"}).status_code == 401
    assert logged(lab, "unknown")["unknown_key"] == f"corp:{corp.key['kid']}"
    wait_until(lambda: ask(lab, new).status_code == 200)
    wait_until(lambda: ask(lab, before).status_code == 401)
    assert '"corp has 1 key"' in (lab.lab.logs / "issuers.log").read_text()


def test_keys_outlive_a_restart_while_their_provider_is_away_but_not_for_ever(
    lab: LabUnderTest, corp: IdentityProvider
) -> None:
    token = corp.token()
    corp.stop()
    lab.ok("down")
    assert lab_processes(lab.lab.state) == []
    assert not keepers(lab)
    lab.ok("up")
    assert len(keepers(lab)) == 1
    assert ask(lab, token).status_code == 200
    aged(lab, "corp", 7200)
    file = lab.lab.state / "issuers" / "corp.json"
    wait_until(lambda: bool(json.loads(file.read_text())["error"]))
    assert "stale" in {one["state"] for one in lab.json("status")["issuers"]}
    assert ask(lab, token).status_code == 200
    aged(lab, "corp", 86_400)
    wait_until(lambda: ask(lab, token).status_code == 401)
    done = lab.run("status")
    assert done.returncode == 1
    assert "issuer corp:" in done.stdout
    assert "its tokens are refused" in done.stdout
    assert ask(lab, RS.token(strict())).status_code == 200, "nobody else's are"
    failed = lab.run("token", "--decode", "-", stdin=token)
    assert failed.returncode == 4
    checks = {one["name"]: one for one in json.loads(lab.run("doctor", "-o", "json").stdout)}
    assert checks["issuer corp"]["verdict"] == "fail"
    corp.start()
    aged(lab, "corp", 600)
    wait_until(lambda: ask(lab, token).status_code == 200)
    assert lab.run("status").returncode == 0


def test_containers_are_told_of_the_same_keys_and_rules(lab: LabUnderTest) -> None:
    done = lab.run("keys", "init")
    assert "nobody fetches the keys of identity providers" in " ".join(done.stderr.split())
    here = lab.lab.state / "gateway" / "current"
    mounted = lab.lab.state / "compose" / "nginx" / "current"
    for name in ("llmapi.jwk", "lab/issuers.js", "lab/whose.js"):
        assert (mounted / name).read_text() == (here / name).read_text()
    assert {"rs", "es", "ed"} < {
        one["kid"] for one in json.loads((mounted / "llmapi.jwk").read_text())["keys"]
    }


def test_a_lab_whose_keys_nobody_keeps_is_not_well(lab: LabUnderTest) -> None:
    Supervisor(lab.lab).drop(NAME)
    done = lab.run("status")
    assert done.returncode == 1
    assert "nobody keeps the keys of identity providers" in " ".join(done.stdout.split())
    # The gateway gives up its keys by itself.
    file = lab.lab.state / "issuers" / "strict.json"
    aged(lab, "strict", json.loads(file.read_text())["until"] - time.time() - 5)
    lab.ok("token", "revoke", "--sub", "nobody")
    wait_until(lambda: ask(lab, RS.token(strict())).status_code == 401)
    assert '"rs"' in (lab.lab.state / "gateway" / "current" / "llmapi.jwk").read_text()
    lab.ok("up")
    done = lab.run("status")
    assert done.returncode == 0, done.stdout


def test_a_provider_that_is_taken_out_of_lab_toml_has_no_keys_here_any_more(
    lab: LabUnderTest, corp: IdentityProvider
) -> None:
    token = corp.token()
    file = lab.lab.config_file
    file.write_text(file.read_text().partition('[[auth.issuers]]\nname = "strict"')[0])
    lab.ok("up")
    assert ask(lab, token).status_code == 401
    assert ask(lab, lab.token()).status_code == 200
    assert lab.json("status")["issuers"] == []
