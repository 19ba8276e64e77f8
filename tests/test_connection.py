"""How a lab is reached: what is an address of one, and what the environment may say of the way."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from llmlab.client import AsyncClient, Client, UpstreamError
from llmlab.client.connection import Trust, check_environment, checked_url, proxy_variable
from llmlab.client.protocol import summary_of
from llmlab.client.snippets import as_curl, as_openai, as_python
from llmlab.errors import EnvironmentFailure, UsageError
from llmlab.flags.asking import Asker
from llmlab.probe.load import Profile
from llmlab.probe.target import Target
from tests.conftest import LabUnderTest
from tests.test_cli import TIDES, Start, Upstream, start, with_commands

__all__ = ["start"]
PASSWORD = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000\r",
        "http://127.0.0.1:8000\nHost: elsewhere",
        "http://127.0.0.1\t:8000",
        "http://127.0.0.1:8000 ",
        "http://a b",
        "http://127.0.0.1:8000\x00",
        "http://127.0.0.1:8000\u2028",
        f"http://user:{PASSWORD}@127.0.0.1:8000",
        "http://user@127.0.0.1:8000",
        "http://@127.0.0.1:8000",
        "http://127.0.0.1:8000?model=x",
        "http://127.0.0.1:8000?",
        "http://127.0.0.1:8000#top",
        "http://☃.example",
        "http://xn--.example",
        "http://a..b",
        f"http://{'a' * 64}.example",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:port",
        "http://[::1",
        "http://[::1]x",
        "http://",
        "ftp://lab",
        "127.0.0.1:8000",
        "localhost",
        "",
    ],
)
def test_what_is_no_address_of_a_lab_is_a_usage_error_that_says_why(url: str) -> None:
    with pytest.raises(UsageError, match=r"is no URL of a lab: .") as caught:
        checked_url(url)
    assert caught.value.message.isprintable()
    assert PASSWORD not in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000", "http://[::1]:8000", "https://lab.example.com", "http://nginx",
        "HTTP://localhost:8000", "https://münchen.example", "https://xn--mnchen-3ya.example",
        "https://example.com/labs/one", "http://my_service:80",
    ],
)  # fmt: skip
def test_an_address_of_a_lab_is_taken_as_it_is(url: str) -> None:
    assert checked_url(f"{url}/") == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALL_PROXY", f"socks5://me:{PASSWORD}@127.0.0.1:1080"),
        ("all_proxy", "socks5h://127.0.0.1:1080"),
        ("http_proxy", "foo:bar://"),
        ("HTTP_PROXY", "ftp://127.0.0.1"),
        ("https_proxy", "http://127.0.0.1:99999"),
        ("https_proxy", "http://127.0.0.1:0"),
        ("HTTPS_PROXY", f"http://me:{PASSWORD}@"),
        ("http_proxy", "127.0.0.1:port"),
        ("http_proxy", "http://a\r\nb"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_DIR", "/nowhere"),
    ],
)
def test_a_variable_that_leads_nowhere_is_named_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(EnvironmentFailure, match=f"^{name}: .") as caught:
        check_environment({name: value})
    assert name in str(caught.value.fix)
    assert PASSWORD not in caught.value.message


def test_variables_that_can_be_used_are() -> None:
    check_environment(
        {"http_proxy": "proxy:3128", "HTTPS_PROXY": "http://me:x@proxy:3128", "NO_PROXY": "*",
         "ALL_PROXY": "", "SSL_CERT_DIR": "/"}
    )  # fmt: skip


def test_every_client_of_a_lab_elsewhere_says_which_variable_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LLMLAB_TOKEN", "a.b.c")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/ca.pem")
    url = "https://lab.invalid"
    for ask in (
        lambda: Client(url),
        lambda: AsyncClient(url),
        lambda: Asker(url).flags(),
        lambda: Target.find(url, None, 1).check(Profile(timeout=1)),
    ):
        with pytest.raises(EnvironmentFailure, match="SSL_CERT_FILE"):
            ask()


def test_who_stands_in_between_is_said_when_a_lab_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "near.example")
    assert proxy_variable("http://lab.example") == "ALL_PROXY"
    assert proxy_variable("http://near.example") == ""
    assert proxy_variable("http://127.0.0.1:8000") == ""
    with pytest.raises(UpstreamError, match="through the proxy of ALL_PROXY") as caught:
        summary_of(httpx2.ConnectError("refused"), "http://lab.example")
    assert "check ALL_PROXY" in str(caught.value.fix)


@pytest.mark.parametrize("language", ["curl", "python"])
def test_a_printed_request_goes_past_proxies_and_netrc(
    lab: LabUnderTest, start: Start, tmp_path: Path, language: str
) -> None:
    if language == "curl" and not (shutil.which("curl") and shutil.which("jq")):
        pytest.skip("needs curl and jq")
    proxy = start(Upstream())
    (tmp_path / "text.txt").write_text(TIDES)
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1\nlogin somebody\npassword else\n")
    netrc.chmod(0o600)
    env = with_commands(lab.env) | {"HOME": str(tmp_path), "NETRC": str(netrc)}
    env |= dict.fromkeys(("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"), proxy.url)
    shown = (as_curl if language == "curl" else as_python)(
        lab.url, Path("text.txt"), {}, lab=lab.root
    )
    interpreter = ["bash", "-c"] if language == "curl" else [sys.executable, "-c"]
    done = subprocess.run(
        [*interpreter, shown], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60
    )
    assert "The harbour master reads" in done.stdout, done.stdout + done.stderr
    assert proxy.times == []


@pytest.mark.slow
def test_a_printed_request_to_a_lab_elsewhere_keeps_its_token_whatever_netrc_says(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = start(Upstream())
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password else\n")
    netrc.chmod(0o600)
    # As if it were another machine's: its address is put in afterwards.
    shown = as_python("http://lab.example", Path("text.txt"), {})
    shown = shown.replace("http://lab.example", upstream.url)
    shown = shown.replace("subprocess.check_output(['llmlab', 'token'], text=True)", "'a.b.c'")
    (tmp_path / "text.txt").write_text(TIDES)
    env = os.environ | {"NETRC": str(netrc)}
    subprocess.run([sys.executable, "-c", shown], cwd=tmp_path, env=env, timeout=60, check=True)
    assert upstream.tokens == ["Bearer a.b.c"]


@pytest.mark.parametrize("url", ["https://127.0.0.1:8000", "https://lab.example"])
def test_a_printed_request_names_who_signed_and_the_clients_own_certificate(url: str) -> None:
    trust, text = Trust(Path("/a b/ca.pem"), Path("own.pem")), Path("text.txt")
    assert "--cacert '/a b/ca.pem' --cert own.pem " in as_curl(url, text, {}, trust=trust)
    shown = as_python(url, text, {}, trust=trust)
    compile(shown, "shown", "exec")
    assert re.search(r"\bverify ?= ?'/a b/ca.pem'", shown)
    assert re.search(r"\bcert ?= ?'own.pem'", shown)
    shown = as_openai(url, text, {}, trust=trust)
    compile(shown, "shown", "exec")
    assert "create_default_context(cafile='/a b/ca.pem')" in shown
    assert "context.load_cert_chain('own.pem')" in shown
    assert "verify=context" in shown
    for made in (as_curl, as_python, as_openai):  # which has none
        plain = url.replace("https", "http")
        assert made(plain, text, {}, trust=trust) == made(plain, text, {})


def test_nothing_that_is_shown_to_be_copied_leads_through_a_proxy() -> None:
    root = Path(__file__).parent.parent
    for file in (root / "README.md", *root.glob("docs/**/*.md"), *root.glob("notebooks/*.ipynb")):
        for line in file.read_text().splitlines():
            if "curl " in line and "token --header" in line:
                assert "--noproxy" in line, f"{file.name}: {line}"
            assert "requests.post(" not in line, f"{file.name}: {line}"
