"""Identity providers: what may be configured, which of their keys are taken, how long those are
good for, and who keeps them."""

from __future__ import annotations

import json
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmlab.auth.keys import Key, KeySet, generate
from llmlab.config.auth import Auth, Issuer
from llmlab.config.load import read_config
from llmlab.config.schema import Config
from llmlab.engines.issuer_keys import EAGER, RETRY, Keeper, Running, unknown_in
from llmlab.errors import ConfigError, LlmlabError, UpstreamError
from llmlab.issuers import judging, kept
from llmlab.issuers.fetching import DISCOVERY, LARGEST, fetch
from llmlab.issuers.jwks import MOST_KEYS, Accepted, Fetched, PublicKey, read_jwks
from llmlab.issuers.kept import FIRST_RETRY, Kept
from llmlab.issuers.trust import MOST_KEYS as MOST_IN_ALL
from llmlab.issuers.trust import trust
from llmlab.lab import Lab
from tests.issuing import Answer, Website, claims, issuer, jwks, signer, website

RSA, EC, ED = signer("rsa"), signer("ec", "ES256"), signer("ed", "EdDSA")
DAY = 86_400.0
NOW = 1_800_000_000.0


# --- What may be configured ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "Corp"}, "cannot be its name"),
        ({"name": "lab"}, "none of default, lab"),
        ({"name": "a:b"}, "cannot be its name"),
        ({"issuer": "http://corp.example.com"}, "an https URL"),
        ({"issuer": "https://u:p@corp.example.com"}, "without user and password"),
        ({"issuer": "https://corp.example.com?x=1"}, "without a query"),
        ({"issuer": "corp.example.com"}, "a URL"),
        ({"issuer": "https://corp.example.com:x"}, "a URL"),
        ({"jwks_url": "ftp://127.0.0.1/keys"}, "an https URL"),
        ({"audience": []}, "at least one"),
        ({"audience": ""}, "at least 1 character"),
        ({"algorithms": ["HS256"]}, "'RS256'"),
        ({"algorithms": ["none"]}, "'RS256'"),
        ({"algorithms": []}, "at least 1 item"),
        ({"subject": "a b"}, "match pattern"),
        ({"prefix": " x"}, "match pattern"),
        ({"prefix": "x\n"}, "match pattern"),
        ({"require": {"hd": []}}, "a value or several"),
        ({"require": {"hd": 1.5}}, "valid"),
        ({"audience": None}, "valid string"),
        ({"secret": "x"}, "Extra inputs"),
    ],
)
def test_what_would_let_in_others_cannot_be_configured(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        issuer(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"issuer": "http://127.0.0.1:8080/realms/x"},
        {"issuer": "http://localhost:8080"},
        {"issuer": "https://login.microsoftonline.com/0f1c/v2.0"},
        {"audience": ["a", "api://b"], "algorithms": ["EdDSA", "PS512"]},
        {"require": {"https://example.com/roles": ["a", "b"], "email_verified": True, "n": 3}},
        {"prefix": ""},
    ],
)
def test_what_providers_look_like_can_be(values: dict[str, Any]) -> None:
    assert issuer(**values)


def test_the_prefix_is_the_name_unless_it_is_said() -> None:
    assert (issuer().before, issuer(prefix="").before, issuer(prefix="c/").before) == (
        "corp:", "", "c/",
    )  # fmt: skip


def test_two_providers_are_told_apart_by_name_issuer_and_prefix() -> None:
    one = issuer().model_dump()
    other = {**one, "name": "b", "issuer": "https://b.example"}
    same = ({**other, "name": one["name"]}, {**other, "issuer": one["issuer"]})
    for wrong in (*same, {**other, "prefix": f"{one['name']}:"}):
        with pytest.raises(ValidationError, match="two have the same"):
            Auth.model_validate({"issuers": [one, wrong]})
    for prefix in (one["name"], f"{one['name']}:b"):
        with pytest.raises(ValidationError, match="could not be told apart"):
            Auth.model_validate({"issuers": [one, {**other, "prefix": prefix}]})
    assert Auth.model_validate({"issuers": [one, {**other, "prefix": ""}]})


def test_who_is_an_operator_a_provider_says_only_where_it_may() -> None:
    assert not issuer().operators
    with pytest.raises(ValidationError, match="nobody is an operator"):
        issuer(default_scopes=["operator"])


def test_keys_cannot_be_given_up_before_they_are_fetched_again() -> None:
    with pytest.raises(ValidationError, match="before the keys are fetched again"):
        Auth(refresh=3600, max_stale=600)


TABLE = '[[auth.issuers]]\nname = "corp"\nissuer = "https://corp.example.com"\n'


def test_lab_toml_has_a_table_for_each_and_says_what_is_wrong_with_one(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text(TABLE + 'audience = "lab"\n')
    config = read_config(file).config
    assert config.auth.issuers[0].audiences == ["lab"]
    assert Config.model_validate(json.loads(config.model_dump_json())) == config
    file.write_text(TABLE + 'audience = "lab"\nscope = ["x"]\n')
    with pytest.raises(ConfigError) as refused:
        read_config(file)
    assert "auth.issuers.0.scope: unknown key; did you mean 'scopes'?" in refused.value.message
    assert "(from configs/lab.toml)" in refused.value.message
    file.write_text(TABLE)
    with pytest.raises(ConfigError, match=r"auth.issuers.0.audience: is missing"):
        read_config(file)


def test_nginx_plus_which_could_not_tell_them_apart_has_no_providers(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('[gateway]\nedition = "plus"\n' + TABLE + 'audience = "lab"\n')
    with pytest.raises(ConfigError, match="the edition plus has not"):
        read_config(file)


# --- Which keys are taken -----------------------------------------------------------------

ALL = ["RS256", "RS512", "ES256", "ES384", "EdDSA"]
WEAK = signer("weak", bits=1024)
LEFT_OUT = [
    ({"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, "key s: it is a secret"),
    ({**RSA.public, "use": "enc"}, "not for signatures (use)"),
    ({**RSA.public, "key_ops": ["encrypt"]}, "not for signatures (key_ops)"),
    ({**RSA.public, "alg": "RSA-OAEP"}, "alg is not one"),
    ({**RSA.public, "alg": "HS256"}, "alg is not one"),
    ({**RSA.public, "alg": "PS384"}, "for none of RS256"),
    ({**RSA.public, "kty": "rsa"}, "its type"),
    ({**EC.public, "crv": "secp256k1"}, "its type, curve"),
    ({name: value for name, value in RSA.public.items() if name != "kid"}, "it has no kid"),
    ({**RSA.public, "kid": 7}, "it has no kid"),
    ({**RSA.public, "kid": ""}, "kid is empty"),
    ({**RSA.public, "kid": "a" * 129}, "longer than 128"),
    ({**RSA.public, "kid": "a b\n"}, "not plain ASCII"),
    ({**RSA.public, "n": "!!!"}, "cannot be read"),
    ({"kty": "RSA", "kid": "x", "e": "AQAB"}, "cannot be read"),
    ({**RSA.public, "n": 5}, "cannot be read"),
    ({**EC.public, "x": EC.public["y"]}, "cannot be read"),
    ({**ED.public, "x": "AA"}, "cannot be read"),
    (WEAK.public, "it has 1024 bits"),
    ("a text", "it is no object"),
]


@pytest.mark.parametrize(("jwk", "said"), LEFT_OUT, ids=[said for _, said in LEFT_OUT])
def test_a_key_that_is_not_for_this_is_left_out_and_said_so(jwk: Any, said: str) -> None:
    found = read_jwks(jwks(jwk, ED), ALL)
    assert [key.kid for key in found.keys] == ["ed"], "the others are good for all that"
    assert said in found.dropped[0]


def test_a_key_is_written_anew_with_its_public_members_only() -> None:
    spoiled = {**RSA.public, "d": "private", "x5c": ["..."], "__proto__": "x", "alg": "RS256"}
    (key,) = read_jwks(jwks(spoiled), ALL).keys
    assert key.jwk == {name: RSA.public[name] for name in ("kty", "n", "e", "kid")} | {
        "use": "sig", "alg": "RS256",
    }  # fmt: skip


def test_of_two_keys_of_one_id_the_first_is_taken_and_of_too_many_the_first_ones() -> None:
    many = [{**EC.public, "kid": f"k{number}"} for number in range(MOST_KEYS + 2)]
    found = read_jwks(jwks({**ED.public, "kid": "k0"}, *many), ALL)
    assert [key.kid for key in found.keys] == [f"k{number}" for number in range(MOST_KEYS)]
    assert found.keys[0].jwk["kty"] == "OKP"
    assert found.dropped[0] == "key k0: there is another one of that kid before it"
    assert found.dropped[-1] == f"key k{MOST_KEYS + 1}: there are {MOST_KEYS} before it"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_set_of_keys_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError, match="no JWK set"):
        read_jwks(body, ALL)


# --- Asking for them ----------------------------------------------------------------------


@pytest.fixture
def site() -> Iterator[Website]:
    with website() as one:
        yield one


def test_a_provider_says_itself_where_its_keys_are_and_how_long_they_are_good(
    site: Website, tmp_path: Path
) -> None:
    site.discovery()
    site.answers["/keys"] = Answer(jwks(RSA), headers={"Cache-Control": "public, max-age=22180"})
    found = fetch(issuer(issuer=site.url), tmp_path)
    assert ([key.kid for key in found.accepted.keys], found.good_for) == (["rsa"], 22180)
    assert site.asked == [DISCOVERY, "/keys"]


def test_with_an_address_for_its_keys_nothing_is_asked_but_that(
    site: Website, tmp_path: Path
) -> None:
    site.answers["/jwks"] = Answer(jwks(EC), headers={"Cache-Control": "no-store"})
    found = fetch(issuer(jwks_url=f"{site.url}/jwks"), tmp_path)
    assert ([key.kid for key in found.accepted.keys], found.good_for) == (["ec"], 0)
    assert site.asked == ["/jwks"]


def test_a_provider_that_has_withdrawn_all_keys_is_believed(site: Website, tmp_path: Path) -> None:
    site.answers["/jwks"] = Answer(b'{"keys": []}')
    found = fetch(issuer(jwks_url=f"{site.url}/jwks"), tmp_path)
    assert found.accepted.keys == ()
    auth = Auth()
    kept = Kept("x").after(fetched("a"), auth, NOW)
    assert kept.trusted(auth, NOW)
    assert not kept.after(found, auth, NOW + 1).trusted(auth, NOW + 1)


WRONG: dict[str, tuple[dict[str, Answer], str]] = {
    "another issuer": ({DISCOVERY: Answer(b'{"issuer": "https://e.com", "jwks_uri": "x"}')},
                       "says that it is of 'https://e.com'"),
    "no document": ({DISCOVERY: Answer(b"<html>")}, "no discovery document"),
    "no jwks_uri": ({DISCOVERY: Answer(b'{"issuer": "SITE"}')}, "it has no jwks_uri"),
    "keys elsewhere, in the open": (
        {DISCOVERY: Answer(b'{"issuer": "SITE", "jwks_uri": "http://e.com/keys"}')},
        "should be an https URL"),
    "keys in a file": ({DISCOVERY: Answer(b'{"issuer": "SITE", "jwks_uri": "file:///etc/passwd"}')},
                       "should be a URL"),
    "a redirect": ({DISCOVERY: Answer(status=302, headers={"Location": "/keys"})},
                   "redirects, which is not followed"),
    "an error": ({"/keys": Answer(status=503)}, "answers 503"),
    "keys of no use": ({"/keys": Answer(jwks(WEAK))}, "it has 1024 bits"),
    "too much": ({"/keys": Answer(b" " * (LARGEST + 1))}, "more than 256 KiB"),
    "compressed": ({"/keys": Answer(b"x", headers={"Content-Encoding": "gzip"})}, "compressed"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_provider_that_answers_as_it_should_not_has_no_keys(
    site: Website, tmp_path: Path, what: str
) -> None:
    answers, said = WRONG[what]
    site.discovery()
    site.answers["/keys"] = Answer(jwks(RSA))
    for path, answer in answers.items():
        body = answer.body.replace(b"SITE", site.url.encode())
        site.answers[path] = replace(answer, body=body)
    with pytest.raises(UpstreamError, match=said):
        fetch(issuer(issuer=site.url), tmp_path)


def test_a_provider_that_is_not_there_and_one_without_its_certificate_are_told(
    site: Website, tmp_path: Path
) -> None:
    site.answers["/keys"] = Answer(jwks(RSA))
    tls = site.url.replace("http:", "https:")
    for url in (f"{tls}/keys", "https://a..b/keys", "http://127.0.0.1:1/keys"):
        with pytest.raises(UpstreamError, match="cannot be reached"):
            fetch(issuer(jwks_url=url), tmp_path)
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(LlmlabError, match="holds no certificates"):
        fetch(issuer(jwks_url=f"{tls}/keys", ca_file="ca.pem"), tmp_path)
    assert ssl.create_default_context()  # what is trusted without one


# --- How long they are good ---------------------------------------------------------------

AUTH = Auth.model_validate({"issuers": [issuer().model_dump()]})
CORP = AUTH.issuers[0]


def public(*kids: str) -> tuple[PublicKey, ...]:
    return tuple(PublicKey(kid, {**EC.public, "kid": kid}) for kid in kids)


def fetched(*kids: str, good_for: int | None = None) -> Fetched:
    return Fetched(Accepted(public(*kids)), good_for)


@pytest.mark.parametrize(
    ("good_for", "seconds"),
    [(None, 3600), (0, 300), (1, 300), (900, 900), (10_000_000, DAY / 2)],
)
def test_keys_are_fetched_again_when_their_provider_says_within_bounds(
    good_for: int | None, seconds: float
) -> None:
    after = Kept("x").after(fetched("a", good_for=good_for), AUTH, NOW)
    assert (after.due - NOW, after.until - NOW) == (seconds, DAY)


def test_the_gateway_need_not_be_told_of_every_fetch() -> None:
    first = Kept("x").after(fetched("a"), AUTH, NOW)
    soon = first.after(fetched("a"), AUTH, NOW + 3600)
    assert (soon.until, soon.fetched) == (first.until, NOW + 3600)
    late = soon.after(fetched("a"), AUTH, NOW + DAY / 2 + 1)
    assert late.until == NOW + DAY / 2 + 1 + DAY
    assert first.after(fetched("b"), AUTH, NOW + 3600).until == NOW + 3600 + DAY


def test_keys_outlive_an_outage_for_so_long_and_no_longer() -> None:
    after = Kept("x").after(fetched("a"), AUTH, NOW).after_failure("away", NOW + 3600)
    assert after.trusted(AUTH, NOW + DAY - 1)
    assert not after.trusted(AUTH, NOW + DAY)
    assert not after.trusted(AUTH, NOW - 3600), "a clock that was set back says nothing"
    shorter = Auth(max_stale=7200, issuers=AUTH.issuers)
    assert not after.trusted(shorter, NOW + 7200), "what is configured now holds"


def test_a_provider_that_is_away_is_asked_less_and_less_often() -> None:
    waits, there = [], Kept("x")
    for _ in range(7):
        there = there.after_failure("away", NOW)
        waits.append(there.due - NOW)
    assert waits == [30, 60, 120, 240, 480, 600, 600]


def test_what_is_kept_is_read_again_by_its_owner_only_and_under_the_same_configuration(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path)
    there = Kept(kept.identity(CORP)).after(fetched("a", "b"), AUTH, NOW)
    kept.write(lab, CORP, there)
    assert kept.read(lab, CORP) == there
    file = lab.state / "issuers" / "corp.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    elsewhere = CORP.model_copy(update={"issuer": "https://other.example.com"})
    assert kept.read(lab, elsewhere).keys == ()
    file.write_text(file.read_text()[:-10])
    assert kept.read(lab, CORP) == Kept(kept.identity(CORP))


# --- Whose key is whose -------------------------------------------------------------------


def test_a_key_id_has_one_owner_the_lab_first_then_the_providers_in_their_order() -> None:
    lab = KeySet((Key({**generate("ES256").jwk, "kid": "own"}),))
    said = [issuer().model_dump(), issuer(name="b", issuer="https://b.example").model_dump()]
    auth = Auth.model_validate({"issuers": said})
    there = {
        "corp": Kept("", public("own", "shared", "c"), fetched=NOW, until=NOW + 10),
        "b": Kept("", public("shared", "d"), fetched=NOW, until=NOW + 10),
    }
    told = trust(lab.kids, auth, there, NOW)
    assert [[key.kid for key in one.keys] for one in told.issuers] == [["shared", "c"], ["d"]]
    assert told.dropped == {
        "corp": ("key own: this lab has one of that kid",),
        "b": ("key shared: corp has one of that kid",),
    }
    owners = [one and one.issuer.name for one in map(told.owner, ("own", "shared", "d", "x", 1))]
    assert owners == [None, "corp", "b", None, None]
    handed_over = json.loads(lab.gateway_jwks(told.jwks))["keys"]
    assert [one["kid"] for one in handed_over] == ["own", "shared", "c", "d"]


def test_keys_that_are_too_old_are_nobodys() -> None:
    there = {"corp": Kept("", public("a"), fetched=NOW, until=NOW + 10)}
    assert trust((), AUTH, there, NOW + 9).owner("a")
    old = trust((), AUTH, there, NOW + 10)
    assert (old.owner("a"), old.issuers[0].keys, old.jwks) == (None, (), [])


def test_the_gateway_is_given_no_more_keys_than_it_reads() -> None:
    names = [issuer(name=f"i{n}", issuer=f"https://{n}.example").model_dump() for n in range(4)]
    auth = Auth.model_validate({"issuers": names})
    there = {
        f"i{n}": Kept("", public(*(f"{n}-{k}" for k in range(20))), fetched=NOW, until=NOW + 1)
        for n in range(4)
    }
    told = trust(["own"], auth, there, NOW)
    assert len(told.jwks) == MOST_IN_ALL - 1
    assert len(told.dropped["i3"]) == 17


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("hd", "example.com"), ("realm_access.roles", ["user"]),
        ("realm_access", {"roles": ["user"]}),
        ("https://example.com/role", "x"), ("a.b", "literal"), ("realm_access.none", None),
        ("hd.x", None), ("realm_access.roles.0", None),
    ],
)  # fmt: skip
def test_a_claim_is_found_by_its_name_or_by_the_way_to_it(name: str, found: Any) -> None:
    said = {
        "hd": "example.com", "realm_access": {"roles": ["user"]}, "a.b": "literal",
        "a": {"b": "nested"}, "https://example.com/role": "x",
    }  # fmt: skip
    assert judging.claim(said, name) == found


# --- Who keeps them -----------------------------------------------------------------------


@dataclass
class Place:
    """A lab without files, a network and a gateway."""

    there: dict[str, Kept] = field(default_factory=dict)
    keys: dict[str, Fetched | LlmlabError] = field(default_factory=dict)
    fetches: list[str] = field(default_factory=list)
    reloads: int = 0
    refuses: bool = False

    def read(self, issuer: Issuer) -> Kept:
        return self.there.get(issuer.name, Kept(kept.identity(issuer)))

    def write(self, issuer: Issuer, there: Kept) -> None:
        self.there[issuer.name] = there

    def fetch(self, issuer: Issuer) -> Fetched:
        self.fetches.append(issuer.name)
        found = self.keys[issuer.name]
        if isinstance(found, LlmlabError):
            raise found
        return found

    def reload(self) -> None:
        if self.refuses:
            raise UpstreamError("the gateway is away")
        self.reloads += 1


@pytest.fixture
def place() -> Place:
    return Place(keys={"corp": fetched("a")})


@pytest.fixture
def said() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def keeper(place: Place, said: list[dict[str, Any]]) -> Keeper:
    return Keeper(place, said.append)


def test_keys_are_fetched_once_and_the_gateway_told_once(keeper: Keeper, place: Place) -> None:
    for second in range(60):
        keeper.tick(AUTH, (), NOW + second)
    assert (place.fetches, place.reloads) == (["corp"], 1)
    keeper.tick(AUTH, (), NOW + 3600)
    assert (place.fetches, place.reloads) == (["corp", "corp"], 1)


def test_an_unknown_key_has_them_fetched_at_most_every_30_seconds(
    keeper: Keeper, place: Place
) -> None:
    for second in range(120):
        keeper.tick(AUTH, ["corp"], NOW + second)
    assert len(place.fetches) == 120 / EAGER
    assert place.reloads == 1, "there was nothing new"
    place.keys["corp"] = fetched("b")
    keeper.tick(AUTH, ["corp"], NOW + 150)
    assert (place.there["corp"].keys, place.reloads) == (public("b"), 2)


def test_who_asked_too_early_need_not_ask_again(keeper: Keeper, place: Place) -> None:
    keeper.tick(AUTH, (), NOW)
    keeper.tick(AUTH, ["corp"], NOW + 1)
    for second in range(2, 60):
        keeper.tick(AUTH, (), NOW + second)
    assert len(place.fetches) == 2


def test_names_that_nobody_has_configured_are_not_asked(keeper: Keeper, place: Place) -> None:
    keeper.tick(AUTH, (), NOW)
    keeper.tick(AUTH, ["evil"], NOW + 60)
    assert place.fetches == ["corp"]


def test_an_outage_ends_in_no_keys_and_is_said(
    keeper: Keeper, place: Place, said: list[dict[str, Any]]
) -> None:
    keeper.tick(AUTH, (), NOW)
    place.keys["corp"] = UpstreamError("cannot be reached", fix="x")
    keeper.tick(AUTH, (), NOW + 3600)
    assert "the keys of corp: cannot be reached" in [one["message"] for one in said]
    assert (place.there["corp"].error, place.reloads) == ("cannot be reached", 1)
    keeper.tick(AUTH, (), NOW + DAY - 1)
    assert place.reloads == 1
    keeper.tick(AUTH, (), NOW + DAY)
    assert place.reloads == 2
    assert any("its tokens are refused from now on" in one["message"] for one in said)
    place.keys["corp"] = fetched("a")
    keeper.tick(AUTH, (), NOW + DAY + 700)
    assert (place.reloads, place.there["corp"].error) == (3, "")


def test_one_that_is_away_keeps_no_other_waiting(place: Place, keeper: Keeper) -> None:
    said = [issuer().model_dump(), issuer(name="b", issuer="https://b.example").model_dump()]
    auth = Auth.model_validate({"issuers": said})
    place.keys = {"corp": UpstreamError("away"), "b": fetched("b")}
    keeper.tick(auth, (), NOW)
    assert place.there["b"].keys == public("b")
    assert place.there["corp"].due == NOW + FIRST_RETRY


def test_a_gateway_that_did_not_take_the_keys_is_told_again(
    keeper: Keeper, place: Place, said: list[dict[str, Any]]
) -> None:
    place.refuses = True
    keeper.tick(AUTH, (), NOW)
    keeper.tick(AUTH, (), NOW + 1)
    assert sum("does not take the keys" in one["message"] for one in said) == 1
    place.refuses = False
    keeper.tick(AUTH, (), NOW + RETRY)
    assert place.reloads == 1


def test_without_a_gateway_nobody_has_taken_the_keys(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="not up yet"):
        Running(Lab(tmp_path)).reload()


def test_a_clock_that_was_set_back_stops_nobody(keeper: Keeper, place: Place) -> None:
    keeper.tick(AUTH, (), NOW)
    keeper.tick(AUTH, (), NOW - 3600)
    assert (len(place.fetches), place.there["corp"].fetched) == (2, NOW - 3600)


def test_of_the_log_only_what_names_an_unknown_key_is_heard() -> None:
    lines = [
        '{"status":401,"unknown_key":"corp:k1"}', '{"status":200,"unknown_key":""}',
        '{"status":200}', "no JSON", '["x"]', '{"unknown_key":"b:"}',
    ]  # fmt: skip
    assert unknown_in(lines) == {"corp", "b"}
    assert claims("x")["aud"] == "lab"
