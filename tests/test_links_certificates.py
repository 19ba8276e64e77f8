"""Who signs for the ends of links, for whom, and what is refused."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from llmlab.errors import AuthError, ConfigError, EnvironmentFailure
from llmlab.lab import Lab
from llmlab.links import names, request
from llmlab.links.authority import Authority, due
from llmlab.tls import profile
from tests.certificates import named

MINE = "0123456789ab"
NAME = "2.textrank.replica.llmlab"
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(Lab(tmp_path / "lab"))


def asked(*hosts: str, key: Key | None = None, authority: bool = False) -> bytes:
    """A request as somebody else may make one."""
    built = x509.CertificateSigningRequestBuilder().subject_name(named("gateway"))
    if hosts:
        wanted = x509.SubjectAlternativeName([x509.DNSName(one) for one in hosts])
        built = built.add_extension(wanted, critical=False)
    if authority:
        built = built.add_extension(x509.BasicConstraints(True, None), critical=True)
    signed = built.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return profile.pem(signed).encode()


def signed_for(authority: Authority, pem: bytes, **how: bool) -> x509.Certificate:
    return profile.parsed(authority.sign(pem, "textrank.2", "textrank", MINE, **how).decode())


def purposes(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def hosts(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in found]


@pytest.mark.parametrize(
    ("process", "deployment", "name"),
    [
        ("textrank", "textrank", "1.textrank.replica.llmlab"),
        ("textrank.2", "textrank", NAME),
        ("textrank.spare", "textrank", "spare.textrank.replica.llmlab"),
        ("a" * 63 + ".64", "a" * 63, f"64.{'a' * 63}.replica.llmlab"),
    ],
)
def test_a_replica_is_called_by_its_number_and_its_deployment(
    process: str, deployment: str, name: str
) -> None:
    assert names.replica(process, deployment) == name
    said = names.subject(process, deployment, MINE).rfc4514_string(
        {NameOID.SERIAL_NUMBER: "serialNumber"}
    )
    assert said == names.as_nginx_says(process, deployment, MINE)


@pytest.mark.parametrize(
    ("process", "deployment"),
    [
        ("other", "textrank"), ("other.2", "textrank"), ("textrank", "textrank.2"),
        ("textrank.1", "textrank"), ("textrank.", "textrank"), ("textrank.2.3", "textrank"),
        ("textrank.2\n", "textrank"), ("textrank.2;", "textrank"), ("Textrank", "Textrank"),
        ("textrank.*", "textrank"), ("", ""), ("a" * 64, "a" * 64), ("a,OU=b", "a,OU=b"),
    ],
)  # fmt: skip
def test_no_other_process_has_a_name(process: str, deployment: str) -> None:
    with pytest.raises(ConfigError, match="no name of a process"):
        names.replica(process, deployment)


@pytest.mark.parametrize("said", ["", "0123456789aB", "0123456789ab\n", "0123456789ab0", "a,CN=2"])
def test_nobody_is_told_apart_by_anything_else(authority: Authority, said: str) -> None:
    with pytest.raises(ConfigError, match="no incarnation"):
        authority.sign(asked(NAME), "textrank.2", "textrank", said)


def test_a_replica_gets_a_short_certificate_for_its_own_name_and_key(
    authority: Authority, tmp_path: Path
) -> None:
    wanted = request.make(tmp_path / "node", "textrank.2", "textrank")
    found = signed_for(authority, wanted)
    now = datetime.now(UTC)
    assert hosts(found) == [NAME]
    assert timedelta(days=29) < found.not_valid_after_utc - now <= timedelta(days=30)
    assert due(profile.pem(found)) == found.not_valid_after_utc - timedelta(days=10)
    key = profile.private_key((tmp_path / "node" / request.KEY).read_text())
    assert found.public_key() == key.public_key()
    assert profile.has_signed(authority.trusted, profile.pem(found))
    assert not profile.has_signed(authority.trusted_by_replicas, profile.pem(found))


def test_all_of_it_is_good_to_a_machine_whose_clock_is_hours_behind(authority: Authority) -> None:
    behind = datetime.now(UTC) - timedelta(hours=23)
    own = authority.gateway().certificate, authority.away([]).certificate
    all_of_it = authority.trusted, authority.trusted_by_replicas, *own
    found = [*map(profile.parsed, all_of_it), signed_for(authority, asked(NAME))]
    assert all(one.not_valid_before_utc < behind for one in found)


def test_one_that_tells_nothing_back_is_no_client(authority: Authority) -> None:
    assert purposes(signed_for(authority, asked(NAME))) == [SERVER, CLIENT]
    assert purposes(signed_for(authority, asked(NAME), settles=False)) == [SERVER]


def test_nothing_but_the_key_of_a_request_is_taken_over(authority: Authority) -> None:
    found = signed_for(authority, asked(NAME, authority=True))
    limits = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not limits.ca
    assert found.subject == names.subject("textrank.2", "textrank", MINE)


def tampered() -> bytes:
    """With the signature of another request."""
    from cryptography.hazmat.primitives.serialization import Encoding

    one, other = (x509.load_pem_x509_csr(asked(NAME)) for _ in range(2))
    whole = one.public_bytes(Encoding.DER).replace(
        one.tbs_certrequest_bytes, other.tbs_certrequest_bytes
    )
    return profile.pem(x509.load_der_x509_csr(whole)).encode()


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (lambda: asked("1.textrank.replica.llmlab"), "another name"),
        (lambda: asked(NAME, "lab.gateway.llmlab"), "another name"),
        (lambda: asked("*.textrank.replica.llmlab"), "another name"),
        (asked, "not built as it should be"),
        (lambda: asked(NAME, key=rsa.generate_private_key(65537, 2048)), "EC P-256"),
        (lambda: asked(NAME, key=ec.generate_private_key(ec.SECP384R1())), "EC P-256"),
        (lambda: asked(NAME, key=ec.generate_private_key(ec.SECP256K1())), "EC P-256"),
        (tampered, "not signed with its own key"),
        (lambda: b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA", "not built as it should be"),
        (lambda: b"\xff\x00", "not built as it should be"),
        (lambda: b"A" * 9000, "more than 8192"),
    ],
)
def test_other_requests_are_refused(
    authority: Authority, pem: Callable[[], bytes], why: str
) -> None:
    with pytest.raises(AuthError, match=why):
        authority.sign(pem(), "textrank.2", "textrank", MINE)


def test_authorities_sign_for_nothing_else_in_anybodys_eyes(authority: Authority) -> None:
    for pem, below in (
        (authority.trusted, "replica.llmlab"),
        (authority.trusted_by_replicas, "gateway.llmlab"),
    ):
        found = profile.parsed(pem).extensions.get_extension_for_class(x509.NameConstraints)
        assert found.critical
        assert [one.value for one in found.value.permitted_subtrees or ()] == [below]


def test_the_gateway_has_one_pair_until_that_is_due(tmp_path: Path) -> None:
    lab, first = Lab(tmp_path / "lab"), datetime.now(UTC)
    pair = Authority(lab, lambda: first).gateway()
    assert hosts(profile.parsed(pair.certificate)) == ["lab.gateway.llmlab"]
    assert profile.belong_together(pair)
    trusted = Authority(lab).trusted_by_replicas
    assert profile.has_signed(trusted, pair.certificate)
    assert Authority(lab, lambda: first + timedelta(days=19)).gateway() == pair
    later = Authority(lab, lambda: first + timedelta(days=21))
    assert later.gateway() != pair
    assert later.trusted_by_replicas == trusted  # so no replica hears of it


def test_all_of_it_is_for_its_owner_only_and_made_once(tmp_path: Path) -> None:
    lab = Lab(tmp_path / "lab")
    with ThreadPoolExecutor(4) as several:
        trusted = list(several.map(lambda _: Authority(lab).trusted, range(4)))
    assert len(set(trusted)) == 1
    authority = Authority(lab)
    authority.gateway()
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700
    files = {one.name for one in authority.folder.iterdir()} - {"lock"}
    assert {"replicas.key", "replicas.pem", "gateways.key", "gateway.pem"} <= files
    assert {stat.S_IMODE((authority.folder / one).stat().st_mode) for one in files} == {0o600}
    request.make(tmp_path / "node", "textrank", "textrank")
    key = tmp_path / "node" / request.KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("file", ["replicas.key", "replicas.pem"])
def test_a_damaged_authority_is_told_and_never_replaced(authority: Authority, file: str) -> None:
    assert authority.trusted
    before = (authority.folder / file).read_text()
    for harm in (lambda one: one.write_text("nonsense"), lambda one: one.unlink()):
        harm(authority.folder / file)
        with pytest.raises(EnvironmentFailure, match="cannot be used"):
            authority.sign(asked(NAME), "textrank.2", "textrank", MINE)
    (authority.folder / file).write_text(before)
    assert authority.sign(asked(NAME), "textrank.2", "textrank", MINE)


def test_authorities_that_were_removed_are_made_anew_with_all_that_they_have_signed(
    authority: Authority,
) -> None:
    before = authority.trusted, authority.trusted_by_replicas
    old = authority.gateway(), authority.away([])
    shutil.rmtree(authority.folder)  # as docs/explain/more-machines.md says it of a seen token
    after = authority.trusted, authority.trusted_by_replicas
    assert not {*before} & {*after}
    assert not profile.has_signed(after[1], old[0].certificate)
    assert profile.has_signed(after[1], authority.gateway().certificate)
    assert profile.has_signed(after[0], authority.away([]).certificate)


def test_a_damaged_pair_of_the_gateway_is_made_anew(authority: Authority) -> None:
    before = authority.gateway()
    (authority.folder / "gateway.pem").write_text("nonsense")
    assert authority.gateway() != before


def test_who_answers_for_replicas_that_are_away_has_their_names_and_is_no_client(
    authority: Authority,
) -> None:
    pair = authority.away(["textrank", "chat"])
    found = profile.parsed(pair.certificate)
    assert hosts(found) == ["*.chat.replica.llmlab", "*.textrank.replica.llmlab"]
    assert purposes(found) == [SERVER]
    assert profile.has_signed(authority.trusted, pair.certificate)
    assert authority.away(["chat", "textrank", "chat"]) == pair
    assert authority.away(["chat"]) != pair
    assert authority.away([]) != pair
