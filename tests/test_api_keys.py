"""API keys: what is kept of them, and a real lab that lets their owners in."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from llmlab.auth import KeyStore, api_keys, describe
from llmlab.auth.api_keys import ApiKey
from llmlab.auth.tokens import check_api_key
from llmlab.engines.choice import running_engine
from llmlab.errors import UsageError
from tests.conftest import LabUnderTest

NOW = 1_800_000_000
TEXT = json.dumps({"text": "A lamp stands on the rock. It is lit at night. Ships see it."})


def a_key(**said: object) -> ApiKey:
    return ApiKey(**({"digest": "0" * 64, "sub": "ada", "created": NOW} | said))  # type: ignore[arg-type]


def test_a_key_is_256_random_bits_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    (key, digest), (other, _) = api_keys.make(), api_keys.make()
    assert key != other
    assert api_keys.is_api_key(key)
    assert len(key.removeprefix(api_keys.PREFIX)) * 6 >= api_keys.BITS
    store = KeyStore(tmp_path / "keys" / "keys.json")
    store.ensure()
    store.add_api_key(a_key(digest=digest, claims={"team": "blue"}))
    kept = (tmp_path / "keys" / "keys.json").read_text()
    assert key.removeprefix(api_keys.PREFIX) not in kept
    assert digest in kept
    assert store.read().api == (a_key(digest=digest, claims={"team": "blue"}),)
    assert digest not in repr(store.read())


def test_the_signer_of_keys_signs_nothing_that_people_are_given(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    store.ensure()
    keys = store.add_api_key(a_key())
    assert keys.signer
    assert keys.signing.kid != keys.signer.kid
    assert keys.signer.kid in keys.gateway_jwks()
    again = store.ensure_signer().signer
    assert again, "there is one already"
    assert again.jwk == keys.signer.jwk


def test_a_rotation_of_keys_leaves_api_keys_as_they_are(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.json")
    store.ensure()
    before = store.add_api_key(a_key()).api_tokens()
    store.rotate()
    assert store.read().api_tokens() == before


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"sub": "a\nb"}, "control character"),
        ({"sub": " a"}, "begins or ends with a space"),
        ({"sub": "a" * 257}, "longer than 256 bytes"),
        ({"claims": {"exp": "1"}}, "there is an option for it"),
        ({"claims": {"jti": "1"}}, "there is an option for it"),
        ({"claims": {"team": "\0"}}, "a NUL"),
        ({"claims": {"team": "a" * 3000}}, "too much of its owner"),
    ],
)
def test_a_key_that_the_gateway_would_refuse_is_not_made(said: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_api_key(a_key(**said))


def test_a_damaged_list_of_keys_is_an_error(tmp_path: Path) -> None:
    for wrong in ('[{"digest": "zz"}]', '[{"digest": "00", "sub": "a"}]', "5"):
        file = tmp_path / "keys.json"
        file.write_text(f'{{"keys": [], "api_keys": {wrong}}}')
        with pytest.raises(Exception, match="is not a JWK set"):
            KeyStore(file).read()


# --- with the gateway --------------------------------------------------------


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest]) -> LabUnderTest:
    one = make_lab(gateway__rate_limit__enabled="false")
    one.ok("up")
    return one


@contextlib.contextmanager
def connected(lab: LabUnderTest) -> Iterator[http.client.HTTPConnection]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", lab.port, timeout=30)) as one:
        yield one


def status(
    lab: LabUnderTest, key: str, connection: http.client.HTTPConnection | None = None
) -> int:
    with contextlib.ExitStack() as stack:
        on = connection or stack.enter_context(connected(lab))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        on.request("POST", "/summarize/", TEXT, headers)
        answer = on.getresponse()
        answer.read()
        return answer.status


def made(lab: LabUnderTest, *options: str, sub: str = "ada") -> str:
    return lab.ok("keys", "api", "create", "--sub", sub, *options).strip()


def test_an_unmodified_client_comes_in_with_a_key(lab: LabUnderTest) -> None:
    key = made(lab, "--claim", "team=blue")
    with openai.OpenAI(base_url=f"{lab.url}/v1", api_key=key, max_retries=0) as client:
        assert [one.id for one in client.models.list()] == ["summarize", "textrank"]
        answer = client.chat.completions.create(
            model="summarize", messages=[{"role": "user", "content": json.loads(TEXT)["text"]}]
        )
    assert answer.choices[0].message.content


def test_a_key_is_the_same_subject_as_its_owners_token(lab: LabUnderTest) -> None:
    key = made(lab, sub="Zoë 李")
    seen = []
    for secret in (key, lab.token("Zoë 李")):
        reply = httpx2.post(
            f"{lab.url}/summarize/", content=TEXT, trust_env=False, timeout=20,
            headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
        )  # fmt: skip
        assert reply.status_code == 200
        seen.append(lab.traced(reply.headers["X-Request-ID"])["subject"])
    assert seen == ["Zoë 李", "Zoë 李"]


def test_what_is_no_key_of_the_lab_is_refused(lab: LabUnderTest) -> None:
    key = made(lab)
    body = key.removeprefix(api_keys.PREFIX)
    assert status(lab, key) == 200
    wrong = (key[:-1], key + "A", key.swapcase(), api_keys.PREFIX + body[::-1], body,
             api_keys.PREFIX, api_keys.digest(key), key.replace("llmlab", "openai"))  # fmt: skip
    assert {status(lab, one) for one in wrong} == {401}


def test_what_stands_for_a_key_in_the_configuration_lets_nobody_in(lab: LabUnderTest) -> None:
    key = made(lab)
    shown = lab.ok("config", "gateway")
    assert key not in shown
    tokens = re.findall(rf"{api_keys.digest(key)} \"([^\"]+)\"", shown)
    assert len(tokens) == 1, "the configuration holds it"
    assert (status(lab, tokens[0]), status(lab, key)) == (401, 200)


def test_an_expired_key_is_refused(lab: LabUnderTest) -> None:
    key, digest = api_keys.make()
    past = int(time.time()) - 60
    store = KeyStore(lab.lab.keys_file)
    keys = store.add_api_key(ApiKey(digest, "ada", created=past - 60, expires=past))
    still = made(lab, "--expires", "1h")  # takes over both
    assert (status(lab, key), status(lab, still)) == (401, 200)
    assert describe(key, keys).reason == "it is expired"
    states = {row.split()[0]: row.split()[-1] for row in lab.ok("keys", "api", "list").split("\n")
              if row}  # fmt: skip
    assert states[digest[:8]] == "expired"
    assert states[api_keys.digest(still)[:8]] == "valid"


def test_a_key_that_was_ended_is_refused_on_connections_that_are_open(lab: LabUnderTest) -> None:
    key, other = made(lab), made(lab)
    digest = api_keys.digest(key)
    engine = running_engine(lab.lab)
    assert engine
    with connected(lab) as open_:
        assert status(lab, key, open_) == 200
        # Before the gateway is reloaded: its workers still go by what let the key in.
        engine.end_api_keys([digest])
        assert (status(lab, key, open_), status(lab, other, open_)) == (401, 200)
    told = lab.json("keys", "api", "revoke", digest[:8])
    assert told["sub"] == "ada"
    assert (status(lab, key), status(lab, other)) == (401, 200)
    gone = lab.run("keys", "api", "revoke", digest[:8])
    assert gone.returncode == 2
    assert f"there is no API key '{digest[:8]}'" in gone.stderr
    last = lab.json("ledger")[-1]
    assert last["document"] == {"did": "ended", "api_key": digest[:8], "sub": "ada"}


def test_ending_somebodys_tokens_ends_their_keys(lab: LabUnderTest) -> None:
    key = made(lab, sub="mallory")
    assert status(lab, key) == 200
    lab.ok("token", "revoke", "--sub", "mallory")
    assert status(lab, key) == 401
    reason = describe(key, KeyStore(lab.lab.keys_file).read()).reason
    assert reason == "what its subject had when it was made was ended"
    assert status(lab, made(lab, sub="mallory")) == 200, "made within the same second, it is later"


def test_a_key_may_ask_what_its_scopes_name(lab: LabUnderTest) -> None:
    told = lab.json("keys", "api", "create", "--sub", "ada", "--scope", "textrank")
    assert told["scopes"] == ["textrank"]
    refused = status(lab, told["key"])
    assert refused == 403
    headers = {"Authorization": f"Bearer {told['key']}", "Content-Type": "application/json"}
    with connected(lab) as one:
        one.request("POST", "/models/textrank/summarize/", TEXT, headers)
        assert one.getresponse().status == 200
    wrong = lab.run("keys", "api", "create", "--sub", "ada", "--scope", "Not This")
    assert wrong.returncode == 2
    assert "is no scope" in wrong.stderr


def test_a_key_is_explained_as_the_gateway_judges_it(lab: LabUnderTest) -> None:
    key = made(lab, "--scope", "summarize")
    told = json.loads(lab.ok("token", "--decode", "-", "-o", "json", stdin=key))
    assert (told["valid"], told["claims"]["sub"]) == (True, "ada")
    unknown = lab.run("token", "--decode", "-", stdin=api_keys.make()[0])
    assert unknown.returncode == 4
    assert "no such API key" in unknown.stdout


def test_thousands_of_keys_fit_into_the_gateway(lab: LabUnderTest) -> None:
    store = KeyStore(lab.lab.keys_file)
    before = store.read()
    more = tuple(ApiKey(api_keys.make()[1], f"user-{n}", int(time.time())) for n in range(3000))
    store._write(type(before)(before.keys, before.revoked, before.ended, more, before.signer))
    key = made(lab)
    assert status(lab, key) == 200
