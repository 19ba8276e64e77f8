"""Tokens of every kind: what the gateway takes and what it refuses, and that `--decode` agrees.

Each stands in the table with what is right for it, is judged by ``describe`` alone, and all of
them by one gateway.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab import subjects
from llmlab.auth import Claims, Key, KeySet, KeyStore, demo, describe, mint
from llmlab.auth.tokens import LONGEST_TOKEN
from llmlab.auth.unverified import expires_at, subject_of
from llmlab.errors import AuthError, UsageError
from llmlab.gateway.ended import ended, later
from tests.conftest import LabUnderTest

# Read once, when pytest collects: the distances are those of a run that takes hours.
BEGUN = int(time.time())
LATER = BEGUN + 24 * 3600
PLAIN = {"sub": "ada", "exp": LATER}
TAKEN, REFUSED = True, False


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(key: Key, claims: Any, header: Any) -> str:
    """A token of any content: bytes and text as they are, all else as JSON."""
    header = {"alg": "HS256", "kid": key.kid} | header if isinstance(header, dict) else header
    parts = (
        one if isinstance(one, bytes)
        else one.encode("utf-8", "surrogatepass") if isinstance(one, str)
        else json.dumps(one, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for one in (header, claims)
    )  # fmt: skip
    signing = ".".join(b64(one) for one in parts)
    secret = base64.urlsafe_b64decode(key.jwk["k"] + "==")
    return f"{signing}.{b64(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


def nested(levels: int, of: Callable[[Any], Any], core: Any) -> Any:
    for _ in range(levels):
        core = of(core)
    return core


def claims(**more: Any) -> dict[str, Any]:
    return PLAIN | more


def text(members: str) -> str:
    """Claims as they are written; a valid exp is added."""
    return f'{{"exp":{LATER},{members}}}'


def no_kid(**more: Any) -> str:
    return json.dumps({"alg": "HS256"} | more)


# (what it is, claims, header, whether it is taken)
VECTORS: list[tuple[str, Any, Any, bool]] = [
    ("plain", PLAIN, {}, TAKEN),
    # --- which key ---
    ("no kid", PLAIN, no_kid(), TAKEN),
    ("kid empty", PLAIN, {"kid": ""}, TAKEN),
    ("kid null", PLAIN, {"kid": None}, TAKEN),
    ("kid a number", PLAIN, {"kid": 1}, TAKEN),
    ("kid a list", PLAIN, {"kid": ["a"]}, TAKEN),
    ("kid an object", PLAIN, {"kid": {}}, TAKEN),
    ("kid unknown", PLAIN, {"kid": "nope"}, REFUSED),
    ("kid of another key", PLAIN, {"kid": demo.KID}, REFUSED),
    ("no kid and another algorithm", PLAIN, no_kid(alg="HS512"), REFUSED),
    ("alg in lower case", PLAIN, {"alg": "hs256"}, REFUSED),
    ("alg none", PLAIN, {"alg": "none"}, REFUSED),
    ("alg null", PLAIN, {"alg": None}, REFUSED),
    ("crit empty", PLAIN, {"crit": []}, REFUSED),
    ("crit empty text", PLAIN, {"crit": ""}, REFUSED),
    ("crit null", PLAIN, {"crit": None}, REFUSED),
    ("typ a number", PLAIN, {"typ": 1}, TAKEN),
    # --- subject ---
    ("sub empty", claims(sub=""), {}, TAKEN),
    ("sub a list", claims(sub=["ada"]), {}, REFUSED),
    ("sub a number", claims(sub=7), {}, REFUSED),
    ("sub null", claims(sub=None), {}, REFUSED),
    ("sub true", claims(sub=True), {}, REFUSED),
    ("sub an object", claims(sub={}), {}, REFUSED),
    ("sub with NUL", text(r'"sub":"a\u0000b"'), {}, REFUSED),
    ("sub with DEL", claims(sub="a\x7f"), {}, REFUSED),
    ("sub with U+2028", claims(sub="a\u2028b"), {}, TAKEN),
    ("sub of a surrogate pair", text(r'"sub":"\ud83d\ude00"'), {}, TAKEN),
    ("sub of half a pair", text(r'"sub":"\ud800"'), {}, REFUSED),
    ("sub of half a pair, raw", text('"sub":"\ud800"'), {}, REFUSED),
    # --- times ---
    ("exp a second ago", claims(exp=BEGUN - 1), {}, REFUSED),
    ("exp 2^63", claims(exp=2**63), {}, REFUSED),
    ("exp 2^63 - 1", claims(exp=2**63 - 1), {}, TAKEN),
    ("exp 1e30", '{"sub":"a","exp":1e30}', {}, TAKEN),
    ("exp 1e400", '{"sub":"a","exp":1e400}', {}, REFUSED),
    ("exp of 400 digits", '{"sub":"a","exp":' + "9" * 400 + "}", {}, REFUSED),
    ("exp of 5000 digits", '{"sub":"a","exp":' + "9" * 5000 + "}", {}, REFUSED),
    ("exp with a fraction", claims(exp=LATER + 0.5), {}, TAKEN),
    ("exp true", claims(exp=True), {}, REFUSED),
    ("exp null", claims(exp=None), {}, REFUSED),
    ("exp NaN", '{"sub":"a","exp":NaN}', {}, REFUSED),
    ("exp Infinity", '{"sub":"a","exp":Infinity}', {}, REFUSED),
    ("nbf -2^63", claims(nbf=-(2**63)), {}, TAKEN),
    ("nbf -2^63 - 1", claims(nbf=-(2**63) - 1), {}, REFUSED),
    ("nbf null", claims(nbf=None), {}, REFUSED),
    ("nbf half a day ahead", claims(nbf=BEGUN + 12 * 3600), {}, REFUSED),
    ("iat a text", claims(iat="x"), {}, REFUSED),
    ("iat a text of digits", claims(iat="99999999999"), {}, REFUSED),
    ("iat a list", claims(iat=[1]), {}, REFUSED),
    ("iat null", claims(iat=None), {}, REFUSED),
    ("iat true", claims(iat=True), {}, REFUSED),
    ("iat ahead", claims(iat=LATER), {}, TAKEN),
    ("iat with a fraction", claims(iat=1.5), {}, TAKEN),
    ("iat 2^63", claims(iat=2**63), {}, REFUSED),
    # --- names twice ---
    ("sub twice", text('"sub":"ada","sub":"eve"'), {}, REFUSED),
    ("exp twice", '{"exp":1,"sub":"a",' + f'"exp":{LATER}}}', {}, REFUSED),
    ("another name twice", text('"x":1,"x":2'), {}, REFUSED),
    ("a name twice within", text('"x":{"a":1,"a":2}'), {}, REFUSED),
    ("kid twice", PLAIN, '{"alg":"HS256","kid":"a","kid":"a"}', REFUSED),
    ("alg twice", PLAIN, '{"alg":"HS256","alg":"HS256"}', REFUSED),
    # --- bounds ---
    ("a claim of 4,096", claims(x="a" * 4096), {}, TAKEN),
    ("a claim of 4,097", claims(x="a" * 4097), {}, REFUSED),
    ("a claim of 4,096 bytes", claims(x="é" * 2048), {}, TAKEN),
    ("a claim of 4,098 bytes", claims(x="é" * 2049), {}, REFUSED),
    ("a name of 4,096", claims(**{"a" * 4096: 1}), {}, TAKEN),
    ("a name of 4,097", claims(**{"a" * 4097: 1}), {}, REFUSED),
    ("4,097 in a list", claims(x=["a" * 4097]), {}, REFUSED),
    ("a list of 100", claims(x=list(range(100))), {}, TAKEN),
    ("a list of 101", claims(x=list(range(101))), {}, REFUSED),
    ("256 claims", PLAIN | {f"c{n}": 1 for n in range(254)}, {}, TAKEN),
    ("257 claims", PLAIN | {f"c{n}": 1 for n in range(255)}, {}, REFUSED),
    ("ten lists deep", claims(x=nested(9, lambda one: [one], [])), {}, TAKEN),
    ("eleven lists deep", claims(x=nested(10, lambda one: [one], [])), {}, REFUSED),
    ("nine objects deep", claims(x=nested(9, lambda one: {"a": one}, 1)), {}, TAKEN),
    ("ten objects deep", claims(x=nested(10, lambda one: {"a": one}, 1)), {}, REFUSED),
    ("a header eleven lists deep", PLAIN, {"x": nested(10, lambda one: [one], [])}, REFUSED),
    ("a header with 4,097", PLAIN, {"x": "a" * 4097}, REFUSED),
    ("a header with a large integer", PLAIN, {"x": 2**63}, REFUSED),
    # --- JSON ---
    ("half a pair in a claim", text(r'"x":"\ud800"'), {}, REFUSED),
    ("the halves of a pair in the wrong order", text(r'"x":"\udc00\ud800"'), {}, REFUSED),
    ("NUL in a claim", text(r'"x":"a\u0000b"'), {}, REFUSED),
    ("NUL in a name", text(r'"a\u0000b":1'), {}, REFUSED),
    ("NUL deep inside", text(r'"x":["a\u0000b"]'), {}, REFUSED),
    ("an infinite number", text('"x":1e999'), {}, REFUSED),
    ("a number next to nothing", text('"x":1e-999'), {}, TAKEN),
    ("an integer of 30 digits", text('"x":' + "9" * 30), {}, REFUSED),
    ("white space around", f' \n{{"sub":"a","exp":{LATER}}}\t', {}, TAKEN),
    ("a byte order mark", b"\xef\xbb\xbf" + json.dumps(PLAIN).encode(), {}, REFUSED),
    ("UTF-16", json.dumps(PLAIN).encode("utf-16"), {}, REFUSED),
    ("no UTF-8", text('"x":"').encode()[:-1] + b'\xff"}', {}, REFUSED),
    ("overlong UTF-8", text('"x":"').encode()[:-1] + b'\xc0\xaf"}', {}, REFUSED),
    ("something behind", json.dumps(PLAIN) + "x", {}, REFUSED),
    ("a leading zero", text('"x":01'), {}, REFUSED),
    ("a tab within a text", text('"x":"a\tb"'), {}, REFUSED),
    ("a list", "[1]", {}, REFUSED),
    ("nothing", b"", {}, REFUSED),
    ("an empty object", "{}", {}, REFUSED),
    ("an empty name", claims(**{"": 1}), {}, TAKEN),
]


def demo_tokens() -> Iterator[tuple[str, str, bool]]:
    """The published key may sign without exp, under its name."""
    key = Key(demo.JWK)
    yield "published, no exp", signed(key, {"sub": "quotes"}, {}), TAKEN
    yield "published, no exp, no kid", signed(key, {"sub": "quotes"}, no_kid()), REFUSED
    yield "published, no kid", signed(key, PLAIN, no_kid()), TAKEN
    yield "published, expired", signed(key, {"sub": "quotes", "exp": 1}, {}), REFUSED


def odd_forms(key: Key) -> Iterator[tuple[str, str, bool]]:
    """Of a good token, what was done to its outside."""
    good = signed(key, PLAIN, {})
    head, body, signature = good.split(".")
    yield "padded signature", good + "=", TAKEN
    yield "padded header", f"{head}==.{body}.{signature}", REFUSED
    yield "four parts", good + ".x", REFUSED
    yield "two parts", f"{head}.{body}", REFUSED
    yield "no signature", f"{head}.{body}.", REFUSED
    yield "another signature", f"{head}.{body}.{b64(b'x' * 32)}", REFUSED
    # base64 proper: its two signs where base64url has its own.
    odd = signed(key, PLAIN | {"x": "~~~???"}, {})
    assert {"-", "_"} & set(odd), "the text is chosen so that its base64 has one of them"
    yield "not the alphabet for URLs", odd.replace("-", "+").replace("_", "/"), REFUSED
    at_most = filled(key, LONGEST_TOKEN)
    yield "as long as can be", at_most, TAKEN
    yield "too long", filled(key, LONGEST_TOKEN + 4), REFUSED


def filled(key: Key, length: int) -> str:
    """A token of about that many characters: base64 leaves some lengths out."""
    for size in range(length * 3 // 4 - 4000, 0, -1):
        made = signed(key, PLAIN | {"x": ["a" * 4000, "a" * size]}, {})
        if len(made) <= length:
            return made
    raise AssertionError("it cannot be made")


def all_vectors(key: Key) -> Iterator[tuple[str, str, bool]]:
    for name, content, header, taken in VECTORS:
        yield name, signed(key, content, header), taken
    yield from odd_forms(key)
    yield from demo_tokens()


@pytest.fixture(scope="module")
def guarded(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false")
    one.ok("up", "--demo")
    return one


def test_gateway_and_decode_say_of_every_token_what_is_right(guarded: LabUnderTest) -> None:
    keys: KeySet = KeyStore(guarded.lab.keys_file).read()
    wrong = []
    with httpx2.Client(base_url=guarded.url, timeout=10, trust_env=False) as client:
        for name, token, taken in all_vectors(keys.signing):
            status = client.get("/", headers={"Authorization": f"Bearer {token}"}).status_code
            try:
                told = describe(token, keys).valid
            except AuthError:
                told = False
            refusal = 431 if name == "too long" else 401
            if (status, told) != (200 if taken else refusal, taken):
                wrong.append((name, status, told))
    assert wrong == []


# --- Tokens that are ended ----------------------------------------------------------------


@given(st.integers(0, 10**11), st.integers(0, 10**11))
def test_a_pattern_knows_later_times(than: int, made: int) -> None:
    assert bool(re.fullmatch(later(than), str(made))) == (made > than)


def asking(lab: LabUnderTest, token: str) -> Callable[[], int]:
    """Asks again and again on one connection, for as long as the gateway keeps it open, and tells
    the status."""
    connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=20)

    def ask() -> int:
        for _ in range(2):
            connection.request("GET", "/", headers={"Authorization": f"Bearer {token}"})
            try:
                answer = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                connection.close()  # it was ended with the command
                continue
            break
        answer.read()
        return answer.status

    return ask


def test_the_tokens_of_a_subject_end_when_the_command_returns(guarded: LabUnderTest) -> None:
    key = KeyStore(guarded.lab.keys_file).read().signing
    odd = [signed(key, PLAIN | made, {}) for made in ({}, {"iat": 9e9}, {"iat": 99999999999.5})]
    before = mint(key, Claims(sub="ada"), now=time.time() - 5)
    ada, eve = asking(guarded, before), asking(guarded, guarded.token("Ada"))
    assert {ada(), eve(), *(asking(guarded, one)() for one in odd)} == {200}
    guarded.ok("token", "revoke", "--sub", "ada", "--why", "her laptop is gone")
    assert ada() == 401, "on the connection that was open"
    assert eve() == 200, "another subject, though it looks alike"
    assert {asking(guarded, one)() for one in odd} == {401}, "nobody knows when they were made"
    after = mint(key, Claims(sub="ada"), now=time.time() + 2)
    assert asking(guarded, after)() == 200
    keys = KeyStore(guarded.lab.keys_file).read()
    assert [describe(one, keys).valid for one in (before, after, *odd)] == [
        False,
        True,
        *[False] * 3,
    ]
    assert [one["sub"] for one in guarded.json("token", "revoked")] == ["ada"]
    guarded.ok("keys", "rotate")  # which keeps them ended
    assert asking(guarded, before)() == 401
    guarded.ok("token", "restore", "--sub", "ada")
    assert asking(guarded, before)() == 200
    assert guarded.run("token", "restore", "--sub", "ada").returncode == 2
    told = [one["document"].get("did") for one in guarded.json("ledger", "--kind", "key")]
    assert told[-3:] == ["ended", "made", "restored"]


@pytest.mark.parametrize("sub", ["a\nb", "a\x7f", " ada", "ada ", "a" * 257, "\udcff"])
def test_what_no_gateway_could_be_told_is_not_written_down(tmp_path: Path, sub: str) -> None:
    store = KeyStore(tmp_path / "keys" / "jwks.json")
    before = store.ensure()
    with pytest.raises(UsageError, match="subject"):
        store.end_tokens(sub, now=0)
    assert store.read() == before, "else no change of the keys would reach the gateway any more"


@given(st.text(max_size=64))
def test_every_subject_of_a_valid_token_can_be_told_to_a_gateway(sub: str) -> None:
    if not subjects.problem(sub):
        assert b"$lab_ended" in "".join(ended({sub: 0})).encode()


def test_a_revoked_key_ends_with_the_command_on_connections_that_were_open(
    guarded: LabUnderTest,
) -> None:
    old = KeyStore(guarded.lab.keys_file).read().signing
    ask = asking(guarded, mint(old, Claims(sub="ada")))
    guarded.ok("keys", "rotate")
    assert ask() == 200
    guarded.ok("keys", "revoke", old.kid)
    assert ask() == 401


def test_a_clock_that_is_a_little_ahead_is_let_in(guarded: LabUnderTest) -> None:
    keys = KeyStore(guarded.lab.keys_file).read()
    token = signed(keys.signing, PLAIN | {"nbf": time.time() + 3}, {})
    assert asking(guarded, token)() == 200
    assert describe(token, keys).valid
    assert not describe(token, keys, leeway=0).valid


# --- Texts that are no tokens ------------------------------------------------------------


def test_no_text_at_all_ends_in_a_traceback() -> None:
    key = Key({"kty": "oct", "k": b64(b"k" * 32), "kid": "0002", "alg": "HS256"})
    good = signed(key, PLAIN, {})
    deep = '{"sub":' + "[" * 100_000 + "]" * 100_000 + "}"
    digits = '{"sub":"a","exp":' + "9" * 400 + "}"
    odd = [
        "", ".", "....", "é.é.é", good + "\udcff", f"{good}.\udcff.x", f"{good}.é.x", good + "\0",
        signed(key, deep, {}), signed(key, PLAIN, deep), signed(key, digits, {}),
    ]  # fmt: skip
    for token in (*odd, *(token for _, token, _ in all_vectors(key))):
        expires_at(token)
        subject_of(token)
        with contextlib.suppress(AuthError):
            describe(token, KeySet((key,)))
    for token in odd:
        with contextlib.suppress(AuthError):
            assert not describe(token, KeySet((key,))).valid


# --- What would be refused is not made -------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "why"),
    [
        ({"x": "a" * 4097}, "more than 4,096 bytes"),
        ({"x": "é" * 2049}, "more than 4,096 bytes"),
        ({"x" * 4097: "a"}, "more than 4,096 bytes"),
        ({f"c{n}": "a" for n in range(253)}, "more than 256 members"),
        ({"x": "\ud800"}, "surrogate"),
        ({"x": "a\0b"}, "NUL"),
        ({"x": "a" * 4000, "y": "a" * 4000}, "NGINX takes 8,167"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_token_that_would_be_refused_is_not_made(extra: dict[str, str], why: str) -> None:
    key = Key({"kty": "oct", "k": b64(b"k" * 32), "kid": "0002", "alg": "HS256"})
    with pytest.raises(UsageError, match=why):
        mint(key, Claims(sub="ada", extra=extra))
