"""The gateway over TLS: real labs, asked by the clients that people have."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import openai
import pytest
import requests

from llmlab import Client
from llmlab.tls.pair import facts_of, now
from llmlab.tls.store import Certificates, Kept
from tests.certificates import DAY, Root
from tests.conftest import LabUnderTest, answers, clean_env, configure, free_port, wait_until

MakeLab = Callable[..., LabUnderTest]
TEXT = {"text": "The tide comes in. The tide goes out. The moon does it. People watch."}


@pytest.fixture(scope="module")
def plain_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def secure(make_lab: MakeLab, plain_port: int) -> LabUnderTest:
    """A lab with a certificate that it signs itself, by the flag."""
    one = make_lab(
        gateway__rate_limit__enabled="false",
        gateway__tls__redirect_port=str(plain_port),
        gateway__tls__hsts="86400",
    )
    one.ok("up", "--tls")
    return one


def url(lab: LabUnderTest) -> str:
    return f"https://127.0.0.1:{lab.port}"


def headers(lab: LabUnderTest, sub: str = "tester") -> dict[str, str]:
    return {"Authorization": f"Bearer {lab.token(sub)}"}


def context(lab: LabUnderTest) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=lab.lab.trusted_ca)


@contextlib.contextmanager
def over_http2(lab: LabUnderTest) -> Iterator[httpx.Client]:
    with httpx.Client(
        http1=False, http2=True, verify=context(lab), base_url=url(lab), timeout=30,
        trust_env=False, headers=headers(lab),
    ) as client:  # fmt: skip
        yield client


@pytest.fixture(scope="module")
def http2(secure: LabUnderTest) -> Iterator[httpx.Client]:
    with over_http2(secure) as client:
        yield client


def fingerprint(port: int, name: str = "localhost") -> str:
    """Of the certificate that a new connection is shown."""
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE  # whoever has signed it
    with (
        socket.create_connection(("127.0.0.1", port), 5) as plain,
        asking.wrap_socket(plain, server_hostname=name) as wrapped,
    ):
        shown = wrapped.getpeercert(binary_form=True)
    assert shown
    return facts_of(ssl.DER_cert_to_PEM_cert(shown)).fingerprint


# --- clients ----------------------------------------------------------------------------


def test_curl_asks_by_http2(secure: LabUnderTest) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "--cacert", str(secure.lab.trusted_ca), "-H",
         f"Authorization: {headers(secure)['Authorization']}", "--json", json.dumps(TEXT),
         "-w", "\n%{http_version} %{response_code}", f"{url(secure)}/summarize/"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer, said = done.stdout.rsplit("\n", 1)
    assert said == "2 200"
    assert json.loads(answer)["summary"]


def test_requests_and_openai_ask_with_the_labs_authority(secure: LabUnderTest) -> None:
    answer = requests.post(
        f"{url(secure)}/summarize/", json=TEXT, headers=headers(secure),
        verify=str(secure.lab.trusted_ca), timeout=30,
    )  # fmt: skip
    assert answer.json()["summary"]
    with httpx.Client(verify=context(secure), trust_env=False) as http:
        client = openai.OpenAI(
            base_url=f"{url(secure)}/v1", api_key=secure.token(), http_client=http, max_retries=0
        )
        said = client.chat.completions.create(
            model="summarize", messages=[{"role": "user", "content": TEXT["text"]}]
        )
        assert said.choices[0].message.content
        assert [one.id for one in client.models.list()]


def test_a_stream_comes_piece_by_piece_over_http2(
    secure: LabUnderTest, http2: httpx.Client
) -> None:
    client = openai.OpenAI(base_url=f"{url(secure)}/v1", api_key=secure.token(), http_client=http2)
    with client.chat.completions.create(
        model="summarize", messages=[{"role": "user", "content": TEXT["text"]}], stream=True
    ) as stream:
        pieces = [chunk.choices[0].delta.content for chunk in stream if chunk.choices]
    assert stream.response.http_version == "HTTP/2"
    assert "tide" in "".join(one for one in pieces if one)


def test_nobody_takes_the_certificate_without_the_authority(secure: LabUnderTest) -> None:
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{url(secure)}/health", timeout=10)


def test_the_labs_own_clients_trust_it_by_themselves(secure: LabUnderTest, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text(TEXT["text"])
    assert secure.ok("url").strip() == url(secure)
    assert secure.ok("summarize", str(file)).strip()
    assert set(secure.json("load", "--duration", "1s", "--warm-up", "0s")["statuses"]) == {"200"}
    with Client(lab=secure.root) as client:
        assert client.summarize(TEXT["text"]).text
    for language in ("curl", "python", "openai"):
        shown = secure.ok("summarize", str(file), "--as", language)
        runs = ["bash", "-c"] if language == "curl" else [sys.executable, "-c"]
        here = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        done = subprocess.run(
            [*runs, shown], cwd=secure.root, env=clean_env(PATH=here), capture_output=True,
            text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "tide" in done.stdout


def test_a_client_that_is_told_the_labs_own_address_knows_who_signed(secure: LabUnderTest) -> None:
    told = {"LLMLAB_URL": url(secure), "LLMLAB_TOKEN": secure.token()}
    done = secure.run("summarize", "-", stdin=TEXT["text"], env=told)
    assert done.returncode == 0, done.stderr


def test_elsewhere_a_client_is_told_whom_to_trust(secure: LabUnderTest, tmp_path: Path) -> None:
    told = {"LLMLAB_URL": url(secure), "LLMLAB_TOKEN": secure.token(), "LLMLAB_HOME": str(tmp_path)}
    ca = tmp_path / "ca.pem"
    ca.write_text(secure.ok("tls", "trust", "--pem"))
    asked = ("summarize", "-", "--retry", "0")
    there = LabUnderTest(tmp_path, 0)
    done = there.run(*asked, stdin=TEXT["text"], env=told)
    assert done.returncode == 5
    assert "LLMLAB_CA_FILE=FILE" in done.stderr
    done = there.run(*asked, stdin=TEXT["text"], env=told | {"LLMLAB_CA_FILE": str(ca)})
    assert done.returncode == 0, done.stderr
    ca.write_text("a text")
    done = there.run(*asked, stdin=TEXT["text"], env=told | {"LLMLAB_CA_FILE": str(ca)})
    assert done.returncode == 3
    assert "there are no certificates in" in done.stderr


# --- the protocol -------------------------------------------------------------------------


def test_a_probe_knows_who_signed_as_the_labs_own_clients_do(secure: LabUnderTest) -> None:
    report = secure.json("probe", "--only", "tls,auth.no-token")
    assert report["known"] == "own"
    assert {one["verdict"] for one in report["results"]} == {"passed"}


def handshake(lab: LabUnderTest, *options: str) -> str:
    """What openssl says of one, with a client that would take anything."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{lab.port}", "-servername", "localhost",
         *options],
        input="", capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_of_today_is_spoken(secure: LabUnderTest, version: str) -> None:
    assert "Verification error" in handshake(secure, version)  # its authority is not named here
    assert "Cipher is (NONE)" not in handshake(secure, version)


@pytest.mark.parametrize(
    "options",
    [
        ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1", "-cipher", "ALL:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0"),
        ("-tls1_2", "-cipher", "AES128-GCM-SHA256:@SECLEVEL=0"),
    ],
)
def test_what_is_too_old_is_refused(secure: LabUnderTest, options: tuple[str, ...]) -> None:
    said = handshake(secure, *options)
    assert "Cipher is (NONE)" in said
    assert "alert" in said  # it is the gateway that said so


def sent(port: int, request: str) -> http.client.HTTPResponse:
    """What comes back for these bytes, without TLS."""
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(request.encode())
        answer = http.client.HTTPResponse(plain, method=request.split(" ")[0])
        answer.begin()
        answer.length = None if request.startswith("HEAD") else answer.length
        answer.text = b"" if request.startswith("HEAD") else answer.read()  # type: ignore[attr-defined]
    return answer


HOST = "Host: localhost:{port}\r\n"
PLAIN = {
    "a look": ("GET /health?a=1 HTTP/1.1\r\n" + HOST, 308),
    "a head": ("HEAD / HTTP/1.1\r\n" + HOST, 308),
    "a token": ("GET / HTTP/1.1\r\n" + HOST + "Authorization: Bearer x\r\n", 400),
    "a key": ("GET / HTTP/1.1\r\n" + HOST + "X-Api-Key: x\r\n", 400),
    "a body": ("POST /summarize/ HTTP/1.1\r\n" + HOST + "Content-Length: 0\r\n", 400),
    "no host": ("GET / HTTP/1.0\r\n", 400),
    "a host that is none": ("GET / HTTP/1.1\r\nHost: a@evil.example\r\n", 400),
}


@pytest.mark.parametrize("where", ["the same port", "the other port"])
@pytest.mark.parametrize("case", PLAIN)
def test_who_only_looked_is_led_to_https_and_who_sent_a_token_or_a_body_is_told(
    secure: LabUnderTest, plain_port: int, case: str, where: str
) -> None:
    request, status = PLAIN[case]
    port = secure.port if where == "the same port" else plain_port
    answer = sent(port, request.format(port=port) + "\r\n")
    assert answer.status == status
    if status == 308:
        path = request.split(" ")[1]
        assert answer.headers["Location"] == f"https://localhost:{secure.port}{path}"
        assert answer.headers["Cache-Control"] == "no-store"
    elif case in ("a token", "a key", "a body"):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "ask by https" in json.loads(answer.text)["detail"]  # type: ignore[attr-defined]


def test_a_client_of_openais_reads_why_a_plain_request_is_refused(secure: LabUnderTest) -> None:
    with httpx.Client(trust_env=False) as http:
        client = openai.OpenAI(
            base_url=f"http://127.0.0.1:{secure.port}/v1", api_key="x", http_client=http
        )
        with pytest.raises(openai.BadRequestError, match="ask by https"):
            client.chat.completions.create(model="summarize", messages=[])


# --- HTTP/2: what holds for HTTP/1.1 holds there ---------------------------------------------


def test_the_gateways_rules_hold_over_http2(http2: httpx.Client) -> None:
    well = http2.post("/summarize/", json=TEXT)
    assert (well.status_code, well.http_version) == (200, "HTTP/2")
    assert well.headers["Strict-Transport-Security"] == "max-age=86400"
    for asked, status in (
        ({"headers": {"Authorization": "Bearer x"}}, 401),
        ({"headers": {"X-Model": "nobody"}}, 404),
    ):
        answer = http2.post("/summarize/", **{"json": TEXT, **asked})  # type: ignore[arg-type]
        assert answer.status_code == status, asked
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["Strict-Transport-Security"] == "max-age=86400"
    assert http2.get("/metrics").status_code == 403


@pytest.mark.parametrize(
    "long", [{"X-Long": "x" * 20_000}, {f"X-Long-{number}": "x" * 7000 for number in range(6)}]
)
def test_over_http2_headers_that_are_too_long_end_the_connection(
    secure: LabUnderTest, long: dict[str, str]
) -> None:
    with over_http2(secure) as client:
        assert client.get("/health", headers={"X-Long": "x" * 7000}).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="error_code:11"):  # ENHANCE_YOUR_CALM
            client.get("/health", headers=long)


def test_over_http2_a_body_without_a_length_is_measured_as_well(http2: httpx.Client) -> None:
    def pieces(count: int) -> Iterator[bytes]:
        yield b'{"text": "The tide comes in. '
        for _ in range(count):
            yield b"It goes out again. " * 50
        yield b'"}'

    assert http2.post("/summarize/", content=pieces(3)).status_code == 200
    assert http2.post("/summarize/", content=pieces(5000)).status_code == 413


def test_over_http2_there_is_one_host(http2: httpx.Client) -> None:
    """A host beside :authority would be a second one."""
    for authority in ("localhost", "127.0.0.1:1"):
        sets = {"Host": authority}
        assert http2.get("/health", headers=sets).status_code == 200
    asked = [
        (":method", "GET"), (":path", "/health"), (":scheme", "https"),
        (":authority", "localhost"), ("host", "evil.example"),
    ]  # fmt: skip
    assert spoken(http2, asked[:4]) == "200"
    assert spoken(http2, asked) in ("", "400")


def test_over_http2_a_body_that_is_announced_as_too_long_is_not_waited_for(
    http2: httpx.Client,
) -> None:
    asked = [
        (":method", "POST"), (":path", "/summarize/"), (":scheme", "https"),
        (":authority", "localhost"), ("authorization", http2.headers["Authorization"]),
        ("content-length", str(4 << 20)),
    ]  # fmt: skip
    assert spoken(http2, asked, ends=False) == "413"


def spoken(http2: httpx.Client, asked: list[tuple[str, str]], *, ends: bool = True) -> str:
    """The status of an answer to exactly these headers; "" where the stream was ended.

    Args:
        ends: there is no body behind them.
    """
    import h2.config
    import h2.connection
    import h2.events

    verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    verify.check_hostname, verify.verify_mode = False, ssl.CERT_NONE
    verify.set_alpn_protocols(["h2"])
    place = (http2.base_url.host, http2.base_url.port)
    rules = h2.config.H2Configuration(validate_outbound_headers=False)
    connection = h2.connection.H2Connection(rules)
    with (
        socket.create_connection(place, 5) as plain,
        verify.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        connection.initiate_connection()
        connection.send_headers(1, asked, end_stream=ends)
        wrapped.sendall(connection.data_to_send())
        while data := wrapped.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    return str(dict(event.headers)[b":status"].decode())
                if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                    return ""
    return ""


# --- certificates come and go -------------------------------------------------------------


@contextlib.contextmanager
def asked(lab: LabUnderTest, host: str = "127.0.0.1") -> Iterator[list[str]]:
    """Clients that ask again and again, each on a connection that it keeps: what each was told."""
    told: list[str] = []
    ends = threading.Event()
    trusted, sends = context(lab), headers(lab) | {"Content-Type": "application/json"}
    body = json.dumps(TEXT)

    def ask() -> None:
        connection = http.client.HTTPSConnection(host, lab.port, context=trusted, timeout=30)
        while not ends.is_set():
            try:
                connection.request("POST", "/summarize/", body, sends)
                answer = connection.getresponse()
                answer.read()
                told.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                told.append(repr(error))
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    try:
        yield told
    finally:
        ends.set()
        for one in threads:
            one.join()


def more(told: list[str]) -> None:
    """Wait until so many more were answered."""
    before = len(told)
    wait_until(lambda: len(told) > before + 20)


def test_certificates_change_under_load_and_no_request_is_lost(secure: LabUnderTest) -> None:
    shown = {fingerprint(secure.port)}
    with asked(secure) as told:
        for _ in range(3):
            assert secure.json("tls", "renew")["taken_over"]
            shown.add(fingerprint(secure.port))
            more(told)
    assert set(told) == {"200"}
    assert len(shown) == 4
    assert secure.json("tls", "show")["certificate"]["fingerprint"] == fingerprint(secure.port)


def test_the_lab_renews_its_own_before_it_ends(secure: LabUnderTest) -> None:
    kept = Certificates(secure.lab)
    authority = kept.authority()
    assert authority
    # As if the lab had not been looked after for three weeks.
    old = authority.sign((), now() - timedelta(days=25))
    (kept.folder / "gateway.pem").write_text(old.as_text())
    wait_until(lambda: kept.kept() != Kept(old), 30)
    new = facts_of(kept.kept().pair.certificate)
    assert new.days_left(now()) >= 29
    wait_until(lambda: fingerprint(secure.port) == new.fingerprint, 30)
    log = secure.lab.logs / "keeper.log"
    wait_until(lambda: "the gateway has another certificate" in log.read_text())


# --- a certificate of one's own ------------------------------------------------------------


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


@pytest.fixture(scope="module")
def own(make_lab: MakeLab, root: Root) -> LabUnderTest:
    one = make_lab(
        gateway__rate_limit__enabled="false", gateway__tls__enabled="true",
        gateway__tls__certificate='"own.pem"', gateway__tls__key='"own.key"',
        gateway__tls__ca_file='"root.pem"', gateway__tls__names='["localhost"]',
    )  # fmt: skip
    root.sign("localhost").write(one.root)
    (one.root / "root.pem").write_text(root.certificate)
    one.ok("up")
    return one


def test_a_certificate_of_ones_own_is_taken_over_when_it_changes(
    own: LabUnderTest, root: Root
) -> None:
    assert own.json("url")["url"] == f"https://localhost:{own.port}"
    assert own.ok("summarize", "-", stdin=TEXT["text"]).strip()
    signed = root.sign("localhost")
    with asked(own, "localhost") as told:
        signed.write(own.root)
        new = facts_of(signed.certificate).fingerprint
        wait_until(lambda: fingerprint(own.port) == new, 30)
        more(told)
    assert set(told) == {"200"}
    shown = own.json("status")["gateway"]["certificate"]
    assert (shown["ours"], shown["signed_by"]) == (False, "CN=A test's authority")
    assert shown["days_left"] in (89, 90)


def test_a_broken_one_never_reaches_the_gateway_and_is_told(own: LabUnderTest, root: Root) -> None:
    own.ok("keys", "init")  # which lays out what containers would mount, too
    before = fingerprint(own.port)
    (own.root / "own.key").write_text(root.sign("localhost").key)  # of another certificate

    kept = Certificates(own.lab)
    wait_until(lambda: bool(kept.refused()), 30)
    told = own.json("status")
    assert "the key is not the one" in told["gateway"]["certificate"]["refused"]
    assert any("on disk was not taken over" in one and "Fix:" in one for one in told["warnings"])
    assert "the key is not the one" in (own.lab.logs / "keeper.log").read_text()
    refused = own.run("up")
    assert refused.returncode == 2
    assert "the key is not the one" in refused.stderr
    # What else is done to the gateway goes on with the pair from before.
    own.ok("keys", "rotate")
    assert fingerprint(own.port) == before
    assert own.ok("summarize", "-", stdin=TEXT["text"]).strip()
    root.sign("localhost").write(own.root)
    wait_until(lambda: not kept.refused() and fingerprint(own.port) != before, 30)


def test_clients_have_certificates_of_their_own_and_one_that_ends_soon_is_told(
    own: LabUnderTest, root: Root, tmp_path: Path
) -> None:
    clients = Root("Who signs for clients")
    (own.root / "clients.pem").write_text(clients.certificate)
    file = own.lab.config_file
    for rule, bare in (("required", 400), ("optional", 200)):
        text = file.read_text().replace('client_ca = ""', 'client_ca = "clients.pem"')
        file.write_text(text.replace('client = "required"', f'client = "{rule}"'))
        root.sign("localhost", ends=3 * DAY).write(own.root)
        own.ok("up")
        told = own.json("status")
        assert told["gateway"]["certificate"]["clients"] == rule
        assert any("the gateway's certificate ends on" in one for one in told["warnings"])
        place = f"https://localhost:{own.port}/summarize/"
        for made, status in ((clients.sign(name="alice"), 200), (root.sign(name="eve"), 400),
                             (None, bare)):  # fmt: skip
            trusted = ssl.create_default_context(cafile=own.root / "root.pem")
            if made:
                trusted.load_cert_chain(*made.write(tmp_path, "client"))
            with httpx.Client(verify=trusted, trust_env=False) as client:
                answer = client.post(place, json=TEXT, headers=headers(own))
                assert answer.status_code == status, (rule, made and made.certificate)
                if status == 400:
                    said = answer.json()["detail"]
                    assert ("was sent" if made is None else "is not accepted") in said
                # It is no token: that is wanted as well.
                bad = client.post(place, json=TEXT)
                assert bad.status_code == (401 if status == 200 else 400)
    alice = tmp_path / "alice.pem"
    signed = clients.sign(name="alice")
    alice.write_text(signed.certificate + signed.key)
    with_it = {"LLMLAB_CERTIFICATE_FILE": str(alice)}
    done = own.run("summarize", "-", stdin=TEXT["text"], env=with_it)
    assert done.returncode == 0, done.stderr


def test_a_certificate_may_stand_for_a_token(own: LabUnderTest, root: Root, tmp_path: Path) -> None:
    clients = Root("Who signs for clients")
    (own.root / "clients.pem").write_text(clients.certificate)
    file = own.lab.config_file
    text = re.sub(r'(?m)^client_ca = "[^"]*"', 'client_ca = "clients.pem"', file.read_text())
    text = re.sub(r'(?m)^client = "[^"]*"', 'client = "optional"', text)
    file.write_text(
        re.sub(r"(?m)^client_subjects = {}", 'client_subjects = {"CN=orders" = "o"}', text)
    )
    root.sign("localhost").write(own.root)
    own.ok("up")
    place = f"https://localhost:{own.port}/summarize/"

    def asked_by(signer: Root | None, name: str, **headers: str) -> httpx.Response:
        trusted = ssl.create_default_context(cafile=own.root / "root.pem")
        if signer:
            trusted.load_cert_chain(*signer.sign(name=name).write(tmp_path, name))
        with httpx.Client(verify=trusted, trust_env=False) as client:
            return client.post(place, json=TEXT, headers=headers)

    answer = asked_by(clients, "orders")
    assert answer.status_code == 200
    assert own.traced(answer.headers["x-request-id"])["subject"] == "o"
    assert asked_by(clients, "billing").status_code == 401, "it is verified, and stands for nobody"
    assert asked_by(root, "orders").status_code == 400, "somebody else has signed it"
    assert asked_by(None, "").status_code == 401
    # A token that is sent counts, be it a wrong one; and what stands for it is none.
    assert asked_by(clients, "orders", Authorization="Bearer wrong").status_code == 401
    (standing,) = re.findall(r'SUCCESS:CN\S+" "([^"]+)"', own.ok("config", "gateway"))
    assert asked_by(None, "", Authorization=f"Bearer {standing}").status_code == 401
    own.ok("token", "revoke", "--sub", "o")
    assert asked_by(clients, "orders").status_code == 401


def test_a_port_of_plain_http_that_somebody_has_is_told_before_anything_starts(
    make_lab: MakeLab,
) -> None:
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen()
        port = there.getsockname()[1]
        lab = make_lab(gateway__tls__enabled="true", gateway__tls__redirect_port=str(port))
        done = lab.run("up")
        told_so(done, port)


def test_it_is_told_of_a_lab_that_runs_as_well_which_goes_on(secure: LabUnderTest) -> None:
    file = secure.root / "configs" / "lab.toml"
    before = file.read_text()
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen()
        port = there.getsockname()[1]
        configure(secure.root, secure.port, gateway__tls__redirect_port=str(port))
        done = secure.run("up", "--tls")
    file.write_text(before)
    told_so(done, port)
    assert "going back" not in done.stderr, "it was found before anything was begun"
    assert secure.ok("summarize", "-", stdin=TEXT["text"]).strip()


def told_so(done: subprocess.CompletedProcess[str], port: int) -> None:
    assert done.returncode == 3
    assert f"port {port} is taken by" in done.stderr
    assert "another redirect_port" in done.stderr


# --- beyond loopback -------------------------------------------------------------------------


def test_beyond_loopback_a_lab_comes_up_with_tls_or_where_somebody_takes_it_on_them(
    make_lab: MakeLab,
) -> None:
    lab = make_lab()
    refused = lab.run("up", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "everybody on the way could read tokens and texts" in refused.stderr
    assert "Fix: llmlab up --tls; or llmlab up --insecure" in refused.stderr
    assert not answers(lab)
    well = lab.run("up", "--host", "0.0.0.0", "--tls")
    assert well.returncode == 0, well.stderr
    assert "for this machine's loopback alone" in well.stderr  # and whom others may ask for
    assert lab.ok("summarize", "-", stdin=TEXT["text"]).strip()
