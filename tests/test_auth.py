"""Keys on disk, and tokens: what is made, what is refused, and what never shows."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest

from llmlab.auth import Claims, Key, KeySet, KeyStore, demo, describe, mint
from llmlab.auth.keys import PRIVATE_MEMBERS, Algorithm, generate
from llmlab.auth.tokens import expiry, parse_ttl
from llmlab.cli.output import duration
from llmlab.errors import AuthError, UsageError
from llmlab.files import write_atomically
from tests.conftest import LabUnderTest

ALGORITHMS = tuple(Algorithm)


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(file_of(tmp_path))


def file_of(folder: Path) -> Path:
    return folder / ".llmlab" / "keys" / "jwks.json"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def python(code: str, *arguments: str, umask: int = 0o022) -> subprocess.Popen[bytes]:
    """Another process that works on the same files."""
    return subprocess.Popen([sys.executable, "-c", code, *arguments], umask=umask)


def secrets_of(keys: KeySet) -> set[str]:
    """Every private value of a key set."""
    return {key.jwk[name] for key in keys.keys for name in PRIVATE_MEMBERS & key.jwk.keys()}


# --- making keys -------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "kty", "curve", "private"),
    [
        ("HS256", "oct", None, {"k"}),
        ("RS256", "RSA", None, {"d", "p", "q", "dp", "dq", "qi"}),
        ("ES256", "EC", "P-256", {"d"}),
        ("EdDSA", "OKP", "Ed25519", {"d"}),
    ],
)
def test_a_key_of_each_algorithm_is_a_jwk_that_signs(
    algorithm: str, kty: str, curve: str | None, private: set[str]
) -> None:
    key = generate(algorithm)
    assert (key.jwk["kty"], key.jwk.get("crv"), key.algorithm) == (kty, curve, algorithm)
    assert private == PRIVATE_MEMBERS & key.jwk.keys()
    assert not PRIVATE_MEMBERS & key.public().keys()
    assert key.created
    token = mint(key, Claims(sub="ada"))
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "kid": key.kid, "typ": "JWT"}
    assert describe(token, KeySet((key,))).valid


def test_a_symmetric_key_has_256_random_bits() -> None:
    first, second = (jwt.utils.base64url_decode(generate("HS256").jwk["k"]) for _ in range(2))
    assert len(first) == 32
    assert first != second


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_the_gateway_gets_only_the_public_part_of_an_asymmetric_key(algorithm: str) -> None:
    handed_over = json.loads(KeySet((generate(algorithm),)).gateway_jwks())
    (key,) = handed_over["keys"]
    assert not PRIVATE_MEMBERS & key.keys()
    assert "key_ops" not in key


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_secret_shows_in_a_repr(algorithm: str) -> None:
    keys = KeySet((generate(algorithm),))
    shown = f"{keys!r} {keys} {keys.signing!r} {keys.signing}"
    assert not [secret for secret in secrets_of(keys) if secret in shown]


def test_a_new_store_is_empty_and_has_nothing_to_sign_with(store: KeyStore) -> None:
    assert store.read() == KeySet()
    with pytest.raises(AuthError, match="no signing key") as caught:
        _ = store.read().signing
    assert caught.value.fix == "llmlab up (or, for a key alone: llmlab keys init)"


def test_the_first_key_is_made_once(store: KeyStore) -> None:
    first = store.ensure(Algorithm.ES256)
    assert first.signing.algorithm == "ES256"
    assert store.ensure(Algorithm.HS256) == first == store.read()


# --- on disk -----------------------------------------------------------------

ENSURE = (
    "import sys, pathlib; from llmlab.auth import KeyStore;"
    "KeyStore(pathlib.Path(sys.argv[1])).ensure()"
)


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_can_reach_the_keys_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    file = file_of(tmp_path)
    assert python(ENSURE, str(file), umask=umask).wait(60) == 0
    assert mode(file) == 0o600
    assert mode(file.parent) == 0o700
    assert mode(file.parent.parent) == 0o700, "who may rename the keys' folder may replace the keys"


def test_a_key_file_that_others_could_read_is_closed_again_by_the_next_change(
    store: KeyStore, tmp_path: Path
) -> None:
    store.ensure()
    file_of(tmp_path).chmod(0o644)
    store.rotate()
    assert mode(file_of(tmp_path)) == 0o600


CRASH = """
import os, pathlib, sys
from llmlab import files
from llmlab.auth import KeyStore
os.replace = lambda *_: os._exit(9)     # as if the power went, after the writing
KeyStore(pathlib.Path(sys.argv[1])).rotate()
"""


def test_a_crash_while_keys_are_written_leaves_the_old_ones(
    store: KeyStore, tmp_path: Path
) -> None:
    before = store.ensure()
    assert python(CRASH, str(file_of(tmp_path))).wait(60) == 9
    assert store.read() == before
    assert len(store.rotate().keys) == 2, "and the store is not locked for ever"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    write_atomically(file, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


ROTATE = """
import pathlib, sys
from llmlab.auth import KeyStore
for _ in range(5):
    KeyStore(pathlib.Path(sys.argv[1])).rotate()
"""


@pytest.mark.slow
def test_rotations_of_many_processes_at_once_lose_nothing(store: KeyStore, tmp_path: Path) -> None:
    store.ensure()
    processes = [python(ROTATE, str(file_of(tmp_path))) for _ in range(6)]
    assert [one.wait(120) for one in processes] == [0] * 6
    keys = store.read().keys
    assert len(keys) == 1 + 6 * 5
    assert len({key.kid for key in keys}) == len(keys)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"\xff\xfe\x00",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": ["text"]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        b'{"keys": [{"kid": "a", "k": "c2VjcmV0"}]}',
        b'{"keys": [], "revoked": 5}',
    ],
)
def test_a_damaged_key_file_is_an_error_that_says_how_to_go_on(
    store: KeyStore, tmp_path: Path, content: bytes
) -> None:
    store.ensure()
    file_of(tmp_path).write_bytes(content)
    with pytest.raises(AuthError, match=r"jwks\.json is not a JWK set") as caught:
        store.read()
    assert caught.value.fix
    assert "c2VjcmV0" not in caught.value.message + caught.value.fix


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct"},
        {"kty": "oct", "alg": "none", "k": "c2VjcmV0"},
        {"kty": "EC", "alg": "ES256", "crv": "P-256", "x": "AA"},
        {"kty": "OKP", "alg": "EdDSA", "crv": "Ed25519", "x": "AA"},
    ],
    ids=json.dumps,
)
def test_a_key_that_cannot_sign_is_an_error_that_names_it(jwk: dict[str, Any]) -> None:
    with pytest.raises(AuthError, match="a-kid") as caught:
        mint(Key({"kid": "a-kid"} | jwk), Claims(sub="ada"))
    assert caught.value.fix
    assert "c2VjcmV0" not in caught.value.message


def test_a_key_file_that_cannot_be_read_is_no_crash(store: KeyStore, tmp_path: Path) -> None:
    file_of(tmp_path).mkdir(parents=True)  # the same OSError as for a file of another user
    with pytest.raises(AuthError, match=r"jwks\.json") as caught:
        store.read()
    assert caught.value.fix


# --- rotation and revocation -------------------------------------------------


def test_rotation_signs_with_a_new_key_and_keeps_the_one_before(store: KeyStore) -> None:
    first = store.ensure(Algorithm.ES256).signing
    keys = store.rotate()
    assert keys.signing.kid != first.kid
    assert keys.signing.algorithm == "ES256"
    assert keys.find(first.kid) == first
    assert describe(mint(first, Claims(sub="ada")), keys).valid


def test_rotation_can_change_the_algorithm(store: KeyStore) -> None:
    store.ensure()
    assert store.rotate(Algorithm.EDDSA).signing.algorithm == "EdDSA"


def test_a_revoked_key_is_known_by_its_id_and_nothing_else(store: KeyStore, tmp_path: Path) -> None:
    old = store.ensure().signing
    store.rotate()
    keys = store.revoke(old.kid)
    assert list(keys.revoked) == [old.kid]
    assert old.jwk["k"] not in file_of(tmp_path).read_text()
    with pytest.raises(AuthError, match="was revoked"):
        keys.find(old.kid)
    told = describe(mint(old, Claims(sub="ada")), keys)
    assert (told.valid, "was revoked" in told.reason) == (False, True)


def test_the_last_key_cannot_be_revoked(store: KeyStore) -> None:
    only = store.ensure().signing
    with pytest.raises(UsageError, match="only key") as caught:
        store.revoke(only.kid)
    assert caught.value.fix == f"llmlab keys rotate && llmlab keys revoke {only.kid}"
    assert store.read().signing == only


def test_the_demo_key_does_not_count_as_a_key_of_ones_own(store: KeyStore) -> None:
    own = store.ensure(demo_key=True).signing
    assert own.kid != demo.KID
    with pytest.raises(UsageError, match="only key"):
        store.revoke(own.kid)


def test_the_demo_key_can_be_revoked_and_added_again(store: KeyStore) -> None:
    store.ensure(demo_key=True)
    assert not store.revoke(demo.KID).has_demo
    keys = store.ensure(demo_key=True)
    assert keys.has_demo
    assert demo.KID not in keys.revoked, "a key is valid or revoked, not both"


def test_a_key_that_does_not_exist_cannot_be_revoked(store: KeyStore) -> None:
    known = store.ensure().signing.kid
    with pytest.raises(AuthError, match=f"'ffff' does not exist; valid keys: {known}"):
        store.revoke("ffff")


# --- tokens ------------------------------------------------------------------


@pytest.fixture(scope="module")
def key() -> Key:
    return generate("HS256")


def payload(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def test_a_token_says_who_until_when_and_nothing_that_was_not_given(key: Key) -> None:
    assert payload(mint(key, Claims(sub="ada"), now=1000.9)) == {
        "sub": "ada",
        "iss": "llmlab",
        "iat": 1000,
        "exp": 4600,
    }


def test_every_claim_can_be_given(key: Key) -> None:
    claims = Claims("ada", "Ada L.", "lab", "api", 90, {"team": "blue"})
    assert payload(mint(key, claims, now=1000)) == {
        "sub": "ada",
        "name": "Ada L.",
        "iss": "lab",
        "aud": "api",
        "iat": 1000,
        "exp": 1090,
        "team": "blue",
    }


@pytest.mark.parametrize("name", ["sub", "name", "iss", "aud", "iat", "exp", "nbf"])
def test_a_claim_of_ones_own_cannot_replace_a_registered_one(key: Key, name: str) -> None:
    with pytest.raises(UsageError, match=f"--claim cannot set {name}"):
        mint(key, Claims(sub="ada", extra={name: "1"}))


@pytest.mark.parametrize(
    "sub",
    ["a\nb", "a\r", "\x00", "\x1b[31m", "\x7f", "a" * 257, "é" * 200],
    ids=["newline", "return", "nul", "escape", "delete", "257 characters", "400 bytes"],
)
def test_a_subject_that_the_gateway_would_refuse_is_not_signed(key: Key, sub: str) -> None:
    with pytest.raises(UsageError, match="subject"):
        mint(key, Claims(sub=sub))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("30s", 30),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604_800),
        (" 5m ", 300),
    ],
)
def test_a_lifetime_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_ttl(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "0", "0h", "-1", "1.5h", "1w", "h", "1h30m", "1H", "1 h", "9" * 30 + "d"]
)
def test_anything_else_is_no_lifetime(text: str) -> None:
    with pytest.raises(UsageError, match="not a duration") as caught:
        parse_ttl(text)
    assert caught.value.fix


def test_an_explained_token_shows_its_parts_and_its_end(key: Key) -> None:
    told = describe(mint(key, Claims(sub="ada", ttl=90)), KeySet((key,)))
    assert told.valid
    assert told.reason == f"signed with key {key.kid}"
    assert told.header["kid"] == key.kid
    assert told.claims["sub"] == "ada"
    assert "(in " in told.expires


def test_how_long_a_token_lives_is_told_in_words_to_people() -> None:
    now = time.time()
    assert expiry({"exp": now + 7 * 86_400 + 30}, duration).endswith("(in 7 d 0 h)")
    assert expiry({"exp": now - 5430}, duration).endswith("(expired 1 h 30 min ago)")
    assert re.search(r"\(in 54\d\d s\)", expiry({"exp": now + 5430})), "to programs in seconds"


def test_an_expired_token_says_since_when(key: Key) -> None:
    told = describe(mint(key, Claims(sub="ada", ttl=60), now=time.time() - 100), KeySet((key,)))
    assert not told.valid
    assert "expired" in told.reason
    assert "s ago)" in told.expires


def test_a_token_of_another_lab_says_that_its_key_is_not_here(key: Key) -> None:
    told = describe(mint(generate("HS256"), Claims(sub="ada")), KeySet((key,)))
    assert not told.valid
    assert "does not exist" in told.reason


@pytest.mark.parametrize(
    "text", ["", "garbage", "a.b.c", "eyJhbGciOiJIUzI1NiJ9.W10.c2ln", "\x00.\x00.\x00", "é.é.é"]
)
def test_what_is_no_token_is_an_error_with_a_way_on(key: Key, text: str) -> None:
    with pytest.raises(AuthError, match="not a JWT") as caught:
        describe(text, KeySet((key,)))
    assert caught.value.fix


@pytest.mark.parametrize("exp", [10**18, -(10**18), 1e400, float("nan"), "soon", True, None])
def test_an_end_that_is_no_date_can_be_explained_too(key: Key, exp: object) -> None:
    token = signed(key, {"sub": "ada", "exp": exp})
    assert describe(token, KeySet((key,))).claims.keys() == {"sub", "exp"}


def signed(key: Key, claims: dict[str, Any], **header: Any) -> str:
    """A token with any content, signed with a key of the lab; for what ``mint`` would not make."""
    headers = {"kid": key.kid} | header
    algorithm = headers.pop("alg", key.algorithm)
    secret = jwt.utils.base64url_decode(key.jwk["k"])
    return jwt.api_jws.encode(json.dumps(claims).encode(), secret, algorithm, headers)


# --- through the command -----------------------------------------------------


@pytest.fixture(scope="module")
def keyed(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A lab that is not running and has a key of each algorithm."""
    one = make_lab()
    one.ok("keys", "init")
    for algorithm in ("rs256", "ES256", "EdDSA", "HS256"):
        one.ok("keys", "rotate", "--alg", algorithm)
    return one


def keys_of(lab: LabUnderTest) -> KeySet:
    return KeyStore(lab.lab.keys_file).read()


def test_token_prints_the_token_and_nothing_else(keyed: LabUnderTest) -> None:
    done = keyed.run("token")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    told = describe(done.stdout.strip(), keys_of(keyed))
    assert told.valid
    assert told.claims["exp"] - told.claims["iat"] == 3600


def test_token_takes_every_claim_as_an_option(keyed: LabUnderTest) -> None:
    options = "--sub ada --name Ada --iss lab --aud api --ttl 5m --claim team=blue --claim eq=a=b"
    claims = payload(keyed.ok("token", *options.split()).strip())
    assert claims.pop("exp") - claims.pop("iat") == 300
    assert claims == {
        "sub": "ada", "name": "Ada", "iss": "lab", "aud": "api", "team": "blue", "eq": "a=b",
    }  # fmt: skip


def test_token_signs_with_the_key_that_is_named(keyed: LabUnderTest) -> None:
    for key in keys_of(keyed).keys:
        token = keyed.ok("token", "--kid", key.kid).strip()
        assert jwt.get_unverified_header(token)["kid"] == key.kid
        assert describe(token, keys_of(keyed)).valid


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--kid", "ffff"), 4, "'ffff' does not exist"),
        (("--ttl", "soon"), 2, "not a duration"),
        (("--claim", "team"), 2, "is not K=V"),
        (("--claim", "sub=root"), 2, "cannot set sub"),
        (("--sub", "a\nb"), 2, "control character"),
    ],
)
def test_token_refuses_what_it_cannot_sign(
    keyed: LabUnderTest, options: tuple[str, ...], code: int, says: str
) -> None:
    done = keyed.run("token", *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr


def test_token_without_a_key_says_how_to_make_one(make_lab: Callable[..., LabUnderTest]) -> None:
    done = make_lab().run("token")
    assert done.returncode == 4
    assert "Fix: llmlab up (or, for a key alone: llmlab keys init)" in done.stderr


def test_a_token_is_explained_from_stdin_and_from_a_file(
    keyed: LabUnderTest, tmp_path: Path
) -> None:
    token = keyed.ok("token", "--sub", "ada")
    file = tmp_path / "token"
    file.write_text(token)
    for source, stdin in (("-", token), (str(file), None)):
        shown = keyed.ok("token", "--decode", source, stdin=stdin)
        assert shown.startswith("valid: signed with key ")
        assert "sub: ada" in shown
        told = json.loads(keyed.ok("token", "--decode", source, "-o", "json", stdin=stdin))
        assert (told["issuer"], told["subject"]) == ("", "ada")
        rest = {"header", "claims", "valid", "reason", "expires"}
        assert told.keys() == rest | {"issuer", "subject"}
        assert told["claims"]["sub"] == "ada"


def test_a_token_whose_signature_is_wrong_is_said_to_be_refused(keyed: LabUnderTest) -> None:
    forger = Key(generate("HS256").jwk | {"kid": keys_of(keyed).signing.kid})
    forged = mint(forger, Claims(sub="ada"))
    told = keyed.run("token", "--decode", "-", stdin=forged)
    assert told.stdout.startswith("refused: ")
    assert told.returncode == 4


@pytest.mark.parametrize("before", ["", "Bearer ", " "])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(
    keyed: LabUnderTest, before: str
) -> None:
    token = keyed.ok("token").strip()
    done = keyed.run("token", "--decode", before + token)
    assert done.returncode == 2
    assert "every user of this machine" in done.stderr
    assert token not in done.stdout + done.stderr


def test_no_command_shows_a_secret(keyed: LabUnderTest) -> None:
    keyed.ok("keys", "rotate")
    secrets = secrets_of(keys_of(keyed))
    assert len(secrets) >= 10
    for arguments in (
        ("keys", "init"), ("keys", "list"), ("keys", "list", "-o", "json"), ("keys", "show"),
        ("keys", "show", "--public"), ("config", "show", "--origin"), ("status", "-o", "json"),
        ("doctor", "-o", "json"), ("keys", "revoke", keys_of(keyed).signing.kid),
    ):  # fmt: skip
        done = keyed.run(*arguments)
        shown = done.stdout + done.stderr
        assert shown
        assert not [secret for secret in secrets if secret in shown], arguments


def test_keys_list_says_which_key_signs_and_which_are_gone(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab()
    assert "Fix: llmlab keys init" in lab.run("keys", "list").stderr
    lab.ok("keys", "init", "--demo")
    first = keys_of(lab).signing.kid
    lab.ok("keys", "rotate", "--alg", "ES256")
    second = keys_of(lab).signing.kid
    lab.ok("keys", "rotate")
    third = keys_of(lab).signing.kid
    lab.ok("keys", "revoke", second)
    rows = {row["kid"]: row for row in lab.json("keys", "list")}
    assert {kid: row["state"].partition(" ")[0] for kid, row in rows.items()} == {
        first: "valid", demo.KID: "valid", second: "revoked", third: "signing",
    }  # fmt: skip
    assert rows[second].keys() == {"kid", "alg", "created", "state", "demo"}
    text = lab.ok("keys", "list")
    assert all(kid in text for kid in rows)
    assert "published demo key" in text


def test_keys_show_is_public_whether_one_says_so_or_not(keyed: LabUnderTest) -> None:
    assert keyed.ok("keys", "show") == keyed.ok("keys", "show", "--public")


def test_the_public_keys_verify_tokens_elsewhere(keyed: LabUnderTest) -> None:
    shown = jwt.PyJWKSet.from_dict(json.loads(keyed.ok("keys", "show", "--public")))
    asymmetric = [key for key in keys_of(keyed).keys if not key.symmetric]
    assert {key.algorithm for key in asymmetric} == {"RS256", "ES256", "EdDSA"}
    for key in asymmetric:
        token = mint(key, Claims(sub="ada"))
        assert jwt.decode(token, shown[key.kid], algorithms=[key.algorithm])["sub"] == "ada"


def test_demo_keys_come_with_a_warning(make_lab: Callable[..., LabUnderTest]) -> None:
    done = make_lab().run("keys", "init", "--demo")
    assert done.returncode == 0
    assert "public" in done.stderr
    assert "llmlab keys revoke 0001" in done.stderr


# --- with the gateway --------------------------------------------------------


@pytest.fixture(scope="module")
def guarded(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    """A running lab with a key of its own and the published demo key."""
    one = make_lab(gateway__rate_limit__enabled="false")
    one.ok("up", "--demo")
    return one


def status_of(lab: LabUnderTest, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(lab.url, headers=headers, timeout=10, trust_env=False).status_code


def test_a_rotated_key_lets_in_until_it_is_revoked(guarded: LabUnderTest) -> None:
    old = keys_of(guarded).signing
    token = mint(old, Claims(sub="ada"))
    guarded.ok("keys", "rotate")
    fresh = guarded.token()
    assert (status_of(guarded, token), status_of(guarded, fresh)) == (200, 200)
    guarded.ok("keys", "revoke", old.kid)
    deadline = time.monotonic() + 10  # a reload is taken over within moments
    while status_of(guarded, token) != 401:
        assert time.monotonic() < deadline, "the revoked key still lets in"
    assert status_of(guarded, fresh) == 200


def test_the_gateways_configuration_shows_no_secret(guarded: LabUnderTest) -> None:
    shown = guarded.ok("config", "gateway")
    assert "auth_jwt" in shown
    assert not [secret for secret in secrets_of(keys_of(guarded)) if secret in shown]


def now(offset: float = 0) -> int:
    return int(time.time() + offset)


TOKENS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # what it is, its claims, its header; `exp` is in an hour unless it is given
    ("plain", {}, {}),
    ("expired", {"exp": now(-60)}, {}),
    ("without exp", {"exp": None}, {}),
    ("exp as text", {"exp": str(now(3600))}, {}),
    ("exp with a fraction", {"exp": now(3600) + 0.5}, {}),
    ("nbf in the past", {"nbf": now(-60)}, {}),
    ("nbf in the future", {"nbf": now(3600)}, {}),
    ("nbf as text", {"nbf": str(now(-60))}, {}),
    ("issued in the future", {"iat": now(3600)}, {}),
    ("for an audience", {"aud": "somebody"}, {}),
    ("without a subject", {"sub": None}, {}),
    ("subject with a control character", {"sub": "a\nb"}, {}),
    ("subject that is too long", {"sub": "a" * 257}, {}),
    ("subject of too many bytes", {"sub": "é" * 200}, {}),
    ("subject in any script", {"sub": "Zoë 李"}, {}),
    ("crit", {}, {"crit": ["x-lab"], "x-lab": 1}),
    ("another key's id", {}, {"kid": "ffff"}),
    ("another algorithm", {}, {"alg": "HS512"}),
]


# The demo key is as short as it was published; HS512 would want a longer one than HS256.
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(("claims", "header"), [t[1:] for t in TOKENS], ids=[t[0] for t in TOKENS])
def test_decode_says_what_the_gateway_says(
    guarded: LabUnderTest, claims: dict[str, Any], header: dict[str, Any]
) -> None:
    keys = keys_of(guarded)
    merged = {"sub": "ada", "exp": now(3600)} | claims
    given = {name: value for name, value in merged.items() if value is not None}
    token = signed(keys.signing, given, **header)
    status = status_of(guarded, token)
    assert status in (200, 401)
    assert describe(token, keys).valid == (status == 200)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_decode_agrees_on_the_published_token_too(guarded: LabUnderTest) -> None:
    published = signed(Key(demo.JWK), demo.CLAIMS)
    assert status_of(guarded, published) == 200
    assert describe(published, keys_of(guarded)).valid


def test_the_short_demo_key_causes_no_noise(guarded: LabUnderTest) -> None:
    made = guarded.run("token", "--kid", demo.KID)
    assert (made.returncode, made.stderr) == (0, "")
    explained = guarded.run("token", "--decode", "-", stdin=made.stdout)
    assert explained.stdout.startswith("valid: ")
    assert explained.stderr == ""
