"""The lab's own authority, and what is judged before a gateway has it. Nothing runs here but
openssl, which judges as other clients do."""

from __future__ import annotations

import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmlab.config import Gateway
from llmlab.config.tls import Tls
from llmlab.errors import ConfigError, EnvironmentFailure
from llmlab.lab import Lab
from llmlab.tls.authority import LEAF_LASTS, Authority
from llmlab.tls.pair import Pair, facts_of, judge, read_authorities, read_pair
from llmlab.tls.store import Certificates
from tests.certificates import DAY, Root

NOW = datetime.now(UTC)
NAMES = ("llm.example.org", "192.0.2.7")
MakeFiles = Callable[..., tuple[Path, Path]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make(NAMES, NOW, label="a lab")


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


def verified(authority: Authority, pair: Pair, folder: Path, *asked: str) -> tuple[bool, str]:
    """What openssl says of a certificate to those who trust the authority."""
    (folder / "ca.pem").write_text(authority.certificate)
    (folder / "leaf.pem").write_text(pair.certificate)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile",
         str(folder / "ca.pem"), *asked, str(folder / "leaf.pem")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "asked",
    [("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1"),
     ("-verify_hostname", "llm.example.org"), ("-verify_ip", "192.0.2.7")],
)  # fmt: skip
def test_who_trusts_the_authority_takes_the_lab_for_the_names_it_has(
    authority: Authority, tmp_path: Path, asked: tuple[str, str]
) -> None:
    well, said = verified(authority, authority.sign(NAMES, NOW), tmp_path, *asked)
    assert well, said


@pytest.mark.parametrize("host", ["example.com", "example.org", "10.0.0.1", "192.0.2.8"])
def test_with_a_stolen_key_of_it_nobody_can_be_another_host(
    authority: Authority, tmp_path: Path, host: str
) -> None:
    well, said = verified(authority, authority.sign([*NAMES, host], NOW), tmp_path)
    assert not well
    assert "permitted subtree violation" in said


def test_it_signs_no_further_authority_and_lasts_longer_than_what_it_signs(
    authority: Authority,
) -> None:
    from cryptography import x509

    one = x509.load_pem_x509_certificate(authority.certificate.encode())
    constraints = one.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.critical, constraints.value.path_length) == (True, 0)
    assert one.extensions.get_extension_for_class(x509.NameConstraints).critical
    assert one.public_key().curve.name == "secp256r1"  # type: ignore[union-attr]
    leaf = facts_of(authority.sign(NAMES, NOW).certificate)
    assert leaf.ends - NOW == pytest.approx(LEAF_LASTS, abs=timedelta(seconds=2))
    assert authority.ends - leaf.ends > timedelta(days=3000)


def test_python_takes_it_as_strictly_as_it_can(authority: Authority, tmp_path: Path) -> None:
    pair = authority.sign(NAMES, NOW)
    (tmp_path / "both.pem").write_text(pair.as_text())
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(tmp_path / "both.pem")
    asking = ssl.create_default_context(cadata=authority.certificate)
    asking.verify_flags |= ssl.VERIFY_X509_STRICT
    here, there = socket.socketpair()

    def serve() -> None:
        with serving.wrap_socket(there, server_side=True) as wrapped:
            wrapped.sendall(b"well")

    server = threading.Thread(target=serve)
    server.start()
    with asking.wrap_socket(here, server_hostname="llm.example.org") as wrapped:
        assert wrapped.recv(4) == b"well"
    server.join()


def test_keys_show_in_no_repr(authority: Authority) -> None:
    pair = authority.sign((), NOW)
    for one in (authority, pair):
        assert "PRIVATE" not in repr(one)


# --- a person's own ------------------------------------------------------------------


@pytest.fixture
def make_files(root: Root, tmp_path: Path) -> MakeFiles:
    def make(*hosts: str, **options: object) -> tuple[Path, Path]:
        return root.sign(*(hosts or ("llm.example.org",)), **options).write(tmp_path)  # type: ignore[arg-type]

    return make


def test_a_pair_is_taken_with_what_stands_between_it_and_its_authority(
    root: Root, make_files: MakeFiles
) -> None:
    certificate, key = make_files()
    certificate.write_text(f"{key.read_text()}{certificate.read_text()}{root.certificate}")
    pair = read_pair(certificate, key)
    assert pair.certificate.count("BEGIN CERTIFICATE") == 2
    assert "PRIVATE" not in pair.certificate
    assert judge(pair, ["llm.example.org"], NOW).names == ("llm.example.org",)
    assert Pair.from_text(pair.as_text()) == pair


def test_a_certificate_for_all_below_a_name_is_for_each_of_them(make_files: MakeFiles) -> None:
    pair = read_pair(*make_files("*.example.org"))
    judge(pair, ["llm.example.org"], NOW)
    for host in ("example.org", "a.b.example.org"):
        with pytest.raises(ConfigError, match=r"it is for \*\.example\.org"):
            judge(pair, [host], NOW)


def _spoilt(what: str, certificate: Path, key: Path, root: Root) -> None:
    match what:
        case "no file":
            key.unlink()
        case "others":
            key.chmod(0o644)
        case "no certificate":
            certificate.write_text("a text\n")
        case "half a certificate":
            text = certificate.read_text()
            certificate.write_text(text.replace(text.splitlines()[3], ""))
        case "no key":
            key.write_text("a text\n")
        case "half a key":
            key.write_text(key.read_text()[:80] + "\n-----END PRIVATE KEY-----\n")
        case "another key":
            key.write_text(root.sign("llm.example.org").key)


@pytest.mark.parametrize(
    ("what", "made", "said", "fix"),
    [
        ("no file", {}, "No such file", "ls -l"),
        ("others", {}, "other users can read or change", "chmod 600"),
        ("no certificate", {}, "there is no certificate in", "openssl x509"),
        ("half a certificate", {}, "certificate: it cannot be read", "PEM"),
        ("no key", {}, "there is no key in", "name the file of its key"),
        ("half a key", {}, "key: it cannot be read", "PEM"),
        ("another key", {}, "the key is not the one of the certificate", "belong together"),
        ("", {"ends": -DAY / 2}, "it ended on", "renew it"),
        ("", {"begins": DAY}, "it holds only from", "clock"),
        ("", {"password": b"secret"}, "the key is encrypted", "openssl pkey"),
        ("", {"hosts": ("other.example.org",)}, "it is for other.example.org", "names = "),
    ],
)
def test_what_is_no_good_pair_is_refused_with_why(
    what: str, made: dict[str, object], said: str, fix: str, root: Root, make_files: MakeFiles
) -> None:
    made = dict(made)
    hosts = made.pop("hosts", ())
    certificate, key = make_files(*hosts, **made)  # type: ignore[misc]
    secret = key.read_text().splitlines()[1]
    _spoilt(what, certificate, key, root)
    with pytest.raises(ConfigError) as refused:
        judge(read_pair(certificate, key), ["llm.example.org"], NOW)
    assert said in refused.value.message
    assert fix in (refused.value.fix or "")
    assert secret not in f"{refused.value.message}{refused.value.fix}"


def test_who_signs_for_clients_has_to_be_certificates(tmp_path: Path, root: Root) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(root.certificate * 2)
    assert read_authorities(file, "gateway.tls.client_ca") == root.certificate * 2
    file.write_text(root.certificate.replace("MII", "XXX", 1))
    with pytest.raises(ConfigError, match=r"client_ca: there are no certificates in"):
        read_authorities(file, "gateway.tls.client_ca")


# --- what a lab keeps ---------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def on(**values: object) -> Gateway:
    return Gateway(tls=Tls(enabled=True, **values))  # type: ignore[arg-type]


def test_the_lab_signs_once_and_again_for_other_names_or_near_the_end(lab: Lab) -> None:
    at = [NOW]
    kept = Certificates(lab, clock=lambda: at[0])
    assert kept.keep(on())
    first, authority = kept.kept(), kept.authority()
    assert not kept.keep(on())
    assert not kept.is_due(on())
    at[0] += timedelta(days=19, hours=23)
    assert not kept.is_due(on())
    at[0] += timedelta(hours=2)
    assert kept.is_due(on())
    assert kept.keep(on())
    assert kept.kept() != first
    assert kept.authority() == authority  # nobody has to trust another one

    assert kept.keep(on(names=["llm.example.org"]))
    assert set(facts_of(kept.kept().pair.certificate).names) == {
        "localhost", "127.0.0.1", "::1", "llm.example.org"
    }  # fmt: skip
    assert kept.authority() != authority  # whose constraints did not permit that name
    assert lab.trusted_ca.read_text() == kept.authority_file.read_text()


def test_a_gateway_at_an_address_of_the_network_has_it_in_its_certificate(lab: Lab) -> None:
    kept = Certificates(lab)
    kept.keep(Gateway(host="192.0.2.7", tls=Tls(enabled=True)))
    assert kept.facts().names == ("localhost", "127.0.0.1", "::1", "192.0.2.7")  # type: ignore[union-attr]
    kept.keep(Gateway(host="0.0.0.0", tls=Tls(enabled=True)))
    assert kept.facts().names == ("localhost", "127.0.0.1", "::1")  # type: ignore[union-attr]


def test_the_lab_renews_its_own_whatever_became_of_the_file_of_who_signs_for_clients(
    lab: Lab, root: Root
) -> None:
    at = [NOW]
    kept = Certificates(lab, clock=lambda: at[0])
    file = lab.root / "clients.pem"
    file.write_text(root.certificate)
    gateway = on(client_ca="clients.pem")
    kept.keep(gateway)
    first = kept.kept()
    file.unlink()
    at[0] += timedelta(days=25)
    assert kept.keep(gateway, pair_alone=True)
    assert kept.kept().pair != first.pair
    assert kept.kept().client_ca == root.certificate
    with pytest.raises(ConfigError, match="client_ca"):
        kept.keep(gateway)


def test_only_its_owner_reads_what_the_lab_keeps(lab: Lab) -> None:
    kept = Certificates(lab)
    kept.keep(on())
    assert stat.S_IMODE(kept.folder.stat().st_mode) == 0o700
    for name in ("authority.key", "gateway.pem"):
        assert stat.S_IMODE((kept.folder / name).stat().st_mode) == 0o600


def test_a_pair_of_ones_own_that_went_bad_leaves_the_one_from_before(
    lab: Lab, make_files: MakeFiles
) -> None:
    certificate, key = make_files()
    gateway = on(certificate=certificate.name, key=key.name, names=["llm.example.org"])
    kept = Certificates(lab)
    assert kept.keep(gateway)
    before = kept.kept()
    assert not lab.trusted_ca.exists()  # who signed it, the machine has to know
    certificate.write_text("a text\n")
    with pytest.raises(ConfigError):
        kept.keep(gateway)
    assert kept.kept() == before


def test_what_containers_would_mount_leaves_alone_what_a_gateway_has(lab: Lab) -> None:
    at = [NOW]
    kept = Certificates(lab, clock=lambda: at[0])
    kept.keep_if_none(Gateway())
    assert kept.facts() is None
    kept.keep_if_none(on())
    first, authority = kept.kept(), kept.authority()
    kept.keep_if_none(on(names=["llm.example.org"]))  # which waits for the next `up`
    assert (kept.kept(), kept.authority()) == (first, authority)
    at[0] += timedelta(days=25)
    kept.keep_if_none(on())
    assert kept.kept() != first


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: kept.authority_file.write_text("a text\n"),
        lambda kept: kept.authority_file.write_bytes(b"\xff"),
        lambda kept: (kept.folder / "authority.key").unlink(),
        lambda kept: (kept.folder / "authority.key").write_text(
            Authority.make((), NOW, label="another").key
        ),
    ],
    ids=["a text", "no text", "without its key", "with another's key"],
)
def test_a_damaged_authority_is_told_and_no_other_one_takes_its_place_by_itself(
    lab: Lab, damage: Callable[[Certificates], object]
) -> None:
    kept = Certificates(lab)
    kept.keep(on())
    damage(kept)
    before = contents(kept)
    with pytest.raises(EnvironmentFailure, match="authority cannot be used") as told:
        kept.keep(on(), anew=True)
    assert "llmlab tls renew --authority" in str(told.value.fix)
    with pytest.raises(EnvironmentFailure):
        kept.authority_facts()
    assert contents(kept) == before
    assert kept.keep(on(), anew=True, authority_too=True)
    assert kept.authority_facts()


def test_a_damaged_pair_of_the_labs_is_told_and_signed_again(lab: Lab) -> None:
    kept = Certificates(lab)
    kept.keep(on())
    (kept.folder / "gateway.pem").write_text("a text\n")
    for look in (kept.facts, kept.kept):
        with pytest.raises(EnvironmentFailure, match=r"gateway\.pem is damaged") as told:
            look()
        assert told.value.fix == "llmlab tls renew"
    assert kept.is_due(on())
    kept.keep_if_none(on())
    assert kept.facts() and not kept.is_due(on())


def contents(kept: Certificates) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in kept.folder.iterdir() if one.name != "lock"}


def test_what_a_gateway_does_not_take_is_not_kept_nor_is_who_signed_it(lab: Lab) -> None:
    kept = Certificates(lab)
    kept.keep(on())
    before = contents(kept)
    assert {"authority.pem", "authority.key", "gateway.pem", "trusted.pem"} <= before.keys()
    for gateway, authority_too in ((on(), True), (on(names=["llm.example.org"]), False)):
        with pytest.raises(EnvironmentFailure), kept.or_as_before():
            assert kept.keep(gateway, anew=True, authority_too=authority_too)
            raise EnvironmentFailure("the gateway did not take it")
        assert contents(kept) == before
    assert not kept.keep(on())


def test_a_first_certificate_that_no_gateway_takes_leaves_nothing(lab: Lab) -> None:
    kept = Certificates(lab)
    with pytest.raises(EnvironmentFailure), kept.or_as_before():
        kept.keep(on())
        raise EnvironmentFailure("the gateway did not take it")
    assert not contents(kept)


def test_until_the_gateway_has_moved_both_its_certificates_are_trusted(
    lab: Lab, tmp_path: Path
) -> None:
    kept = Certificates(lab)
    kept.keep(on())
    old = kept.kept().pair
    with kept.or_as_before():
        kept.keep(on(), anew=True, authority_too=True)
        both = Authority(lab.trusted_ca.read_text(), "")
        for pair in (old, kept.kept().pair):
            assert verified(both, pair, tmp_path)[0]
    assert lab.trusted_ca.read_text() == kept.authority_file.read_text()
    new = Authority(lab.trusted_ca.read_text(), "")
    assert [verified(new, one, tmp_path)[0] for one in (old, kept.kept().pair)] == [False, True]


def test_from_the_labs_authority_to_one_of_the_machines_the_first_is_trusted_until_then(
    lab: Lab, make_files: MakeFiles
) -> None:
    certificate, key = make_files()
    own = on(certificate=certificate.name, key=key.name, names=["llm.example.org"])
    kept = Certificates(lab)
    kept.keep(on())
    signed = kept.authority_file.read_text()
    with kept.or_as_before():
        kept.keep(own)
        assert lab.trusted_ca.read_text() == signed
    assert not lab.trusted_ca.exists()
    with kept.or_as_before():
        kept.keep(on())
        assert not lab.trusted_ca.exists(), "with a file, nobody whom the machine trusts counts"
    assert lab.trusted_ca.read_text() == signed


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"certificate": "a.pem"}, "certificate and key belong together"),
        ({"key": "a.key"}, "certificate and key belong together"),
        ({"ca_file": "ca.pem"}, "ca_file is of a certificate of yours"),
        ({"client": "optional"}, "client is of certificates of clients"),
        ({"names": ["https://llm.example.org"]}, "should be host names in small letters"),
        ({"names": ["*.example.org"]}, "should be host names in small letters"),
        ({"names": ["fe80::1%eth0"]}, "should be host names in small letters"),
    ],
)
def test_what_contradicts_itself_in_lab_toml_is_refused(
    values: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        on(**values)


def test_the_port_of_tls_is_no_port_of_plain_http() -> None:
    with pytest.raises(ValueError, match=r"redirect_port is the gateway's own port"):
        Gateway(port=8443, tls=Tls(enabled=True, redirect_port=8443))


@pytest.mark.parametrize(
    ("gateway", "url"),
    [
        (Gateway(), "http://127.0.0.1:8000"),
        (on(), "https://127.0.0.1:8000"),
        (on(names=["llm.example.org"]), "https://127.0.0.1:8000"),
        (on(certificate="c", key="k"), "https://127.0.0.1:8000"),
        (on(certificate="c", key="k", names=["llm.example.org"]), "https://llm.example.org:8000"),
        (on(certificate="c", key="k", names=["2001:db8::1"]), "https://[2001:db8::1]:8000"),
    ],
)
def test_the_labs_own_clients_ask_for_a_name_that_the_certificate_has(
    gateway: Gateway, url: str
) -> None:
    assert gateway.url == url
