"""`llmlab probe`: what it finds at gateways that are whole, broken, the reference lab's, or behind
TLS; and how it says so."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from llmlab.auth import Key, demo
from llmlab.auth.keys import KeySet
from llmlab.config.budgets import Budget
from llmlab.gateway import find_nginx
from llmlab.issuers.trust import Trust, Trusted
from llmlab.network import port_is_free
from llmlab.proving import catalogue, junit, looking, running, sarif
from llmlab.proving.answers import masked, sent_as_shown, taken_apart
from llmlab.proving.checks import waf
from llmlab.proving.findings import Check, Evidence, Report, Result, Verdict
from llmlab.proving.page import page
from llmlab.proving.setup import Wishes, trusting
from llmlab.proving.target import Facts, Pace, Target, json_of
from llmlab.proving.tokens import Signed, Signer
from llmlab.proving.wire import Wire
from tests import command
from tests.broken_gateways import BROKEN, Broken
from tests.conftest import LabUnderTest, clean_env, free_port
from tests.gateways import (
    RunningGateway,
    ScriptedApi,
    files_of,
    new_keys,
    plan_of,
    reference_files,
    started,
)
from tests.issuing import issuer
from tests.provider import OWN, make_certificate

AT_ONCE = 12  # gateways
# An edit of the whole configuration, so that nobody has to wait for ten seconds.
QUICK = ("client_header_timeout 10s;", "client_header_timeout 1s;")


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedApi]:
    """One API with the scripted model, behind all gateways here."""
    one = ScriptedApi()
    one.start()
    try:
        yield one.until_ready()
    finally:
        one.stop()


def target_of(gateway: RunningGateway, **more: Any) -> Target:
    made = Target(
        gateway.url, Wire("127.0.0.1", gateway.port), Signed(Signer(gateway.keys.signing)),
        Pace(2000, 9000), facts_of(), patience=5.0,
    )  # fmt: skip
    return replace(made, **more)


def facts_of(has: str = "") -> Facts:
    return Facts(
        limited=True, max_body=256 << 10, scoped=True, budgets="budgets" in has,
        issuers=(issuer().issuer,) if "issuers" in has else (),
    )  # fmt: skip


def further(has: str, keys: KeySet) -> dict[str, Any]:
    """What a plan has more."""
    trust = Trust(keys.kids, (Trusted(issuer()),))
    budget = Budget(requests_per_day=10**6, tokens_per_day=10**9)
    return {
        **({"trust": trust} if "issuers" in has else {}),
        **({"budgets": (budget,)} if "budgets" in has else {}),
    }


async def probed(target: Target, checks: Sequence[Check]) -> Report:
    found = await looking.look(target)
    return await running.run(found, checks, deadline=120, known="apart")


def failed(report: Report) -> frozenset[str]:
    return frozenset(one.id for one in report.of(Verdict.FAILED))


def quick(files: dict[str, str]) -> dict[str, str]:
    old, new = QUICK
    assert old in files["nginx.conf"]
    return {**files, "nginx.conf": files["nginx.conf"].replace(old, new)}


# --- gateways with one protection taken out -----------------------------------------------


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(BROKEN[::2], id="every second one"),
        pytest.param(BROKEN[1::2], id="the others", marks=pytest.mark.conformance),
    ],
)
def test_what_is_taken_out_of_the_gateway_is_found_and_nothing_else_is(
    api: ScriptedApi, cases: Sequence[Broken]
) -> None:
    nginx, keys = find_nginx(), new_keys()
    checks = catalogue.chosen(skip="waf,auth.revoked,auth.api-key-ended")

    async def one(broken: Broken, turn: asyncio.Semaphore) -> str:
        async with turn:
            port = free_port()
            plan = plan_of(api, port, **further(broken.has, keys))
            good = Signer(keys.signing).sign(Signer(keys.signing).claims("anybody"))
            files = broken.of(quick(files_of(plan, keys)), good)
            running = started(files, port, keys, nginx)
            gateway = await asyncio.to_thread(running.__enter__)
            try:
                facts = facts_of(broken.has)
                report = await probed(target_of(gateway, facts=facts), checks)
            finally:
                await asyncio.to_thread(running.__exit__, None, None, None)
        odd = [(one.id, one.why) for one in report.of(Verdict.FAILED)]
        return "" if failed(report) == broken.fails else f"{broken.what}: {odd}"

    async def every() -> list[str]:
        turn = asyncio.Semaphore(AT_ONCE)
        found = await asyncio.gather(*(one(broken, turn) for broken in cases))
        # Several at once on a busy machine get into each other's way: those are tried alone.
        odd = [broken for broken, said in zip(cases, found, strict=True) if said]
        return [await one(broken, turn) for broken in odd]

    assert len(cases) >= 15
    assert [one for one in asyncio.run(every()) if one] == []


def test_every_broken_gateway_names_checks_that_there_are() -> None:
    known = {one.id for one in catalogue.every()}
    assert {name for one in BROKEN for name in one.fails} <= known


def test_an_edit_that_matches_nothing_is_no_broken_gateway(api: ScriptedApi) -> None:
    odd = Broken("nothing", (("nginx.conf", "no such line;", ""),), frozenset())
    with pytest.raises(AssertionError, match="does not hold"):
        odd.of(files_of(plan_of(api, 1), new_keys()))


# --- the whole one, the reference lab's, and one behind TLS ----------------------------------


def test_on_the_gateway_as_it_is_everything_passes(api: ScriptedApi) -> None:
    keys, port, has = new_keys("ES256"), free_port(), "budgets and issuers"
    plan = plan_of(api, port, **further(has, keys))
    with started(quick(files_of(plan, keys)), port, keys) as gateway:
        found = target_of(gateway, facts=facts_of(has))
        report = asyncio.run(probed(found, catalogue.every()))
    assert [(one.id, one.why) for one in report.of(Verdict.FAILED)] == []
    apart = {"auth.revoked", "auth.api-key-ended"}
    assert {one.id for one in report.of(Verdict.UNDECIDED)} == apart
    known = {"auth.scope-missing", "auth.foreign-issuer", "limits.budget-told"}
    assert known <= {one.id for one in report.of(Verdict.PASSED)}
    assert report.witness
    (algorithms,) = [one for one in report.results if one.id == "auth.public-key-as-secret"]
    assert algorithms.verdict is Verdict.PASSED, "an asymmetric key has a public part to try"


@pytest.mark.parametrize(
    ("only", "limit", "wrong"),
    [
        ("limits.per-subject,limits.fair,limits.retry-after,limits.body-announced",
         "limit_req zone=per_client;",
         {"limits.per-subject", "limits.fair", "limits.retry-after"}),
        ("auth,identity,protocol", "limit_req zone=per_client burst=5000 nodelay;", {
            "auth.not-yet-valid", "auth.nbf-a-text", "auth.crit", "auth.crit-empty",
            "auth.sub-a-list", "auth.published-key", "auth.guessable-secret", "auth.challenge",
            "identity.spoofed-subject", "identity.spoofed-address", "identity.spoofed-place",
            "identity.spoofed-method", "identity.spoofed-scheme", "identity.spoofed-route",
            "identity.subject-told", "identity.token-stays", "identity.cookies-stay",
            "identity.connection-clears-nothing", "protocol.operators-addresses",
            "protocol.path-tricks", "protocol.problem-documents", "protocol.no-versions",
            "protocol.answers-have-ids", "protocol.head",
        }),
    ],
    ids=["limits", "all else"],
)  # fmt: skip
def test_it_finds_what_is_open_in_the_reference_labs_configuration(
    api: ScriptedApi, only: str, limit: str, wrong: set[str]
) -> None:
    keys, port = KeySet((Key(demo.JWK),)), free_port()
    checks = catalogue.chosen(only=only, skip="protocol.slow-head")
    with started(reference_files(api, port, limit), port, keys) as gateway:
        report = asyncio.run(probed(target_of(gateway, facts=Facts()), checks))
    assert failed(report) == wrong


TLS = """
pid nginx.pid; error_log stderr;
events {{}}
http {{
    access_log off; client_body_temp_path a; proxy_temp_path a; fastcgi_temp_path a;
    uwsgi_temp_path a; scgi_temp_path a;
    server {{
        listen 127.0.0.1:{port} ssl; ssl_certificate {own}; ssl_certificate_key {own}; {more}
        location / {{ return 200 "hello"; }}
    }}
}}
"""
OLD = (
    "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0; "
    'error_page 497 =200 /; add_header Strict-Transport-Security "max-age=9";'
)


@pytest.mark.parametrize(
    ("more", "wrong"),
    [
        ("", set()),
        (OLD, {"tls.old-versions", "tls.version-1.3", "tls.weak-ciphers", "tls.plain-text"}),
        ('add_header Strict-Transport-Security "max-age=9"; '
         'if ($http_authorization = "") { return 401; }', {"tls.hsts"}),
    ],
    ids=["as it comes", "as it was", "said to some"],
)  # fmt: skip
def test_how_tls_is_spoken_is_found_out_without_a_word_on_it(
    tmp_path: Path, more: str, wrong: set[str]
) -> None:
    port, keys = free_port(), new_keys()
    tmp_path.chmod(0o755)
    make_certificate(tmp_path)
    certificate = tmp_path / "provider-ca.pem"
    conf = TLS.format(port=port, own=tmp_path / OWN, more=more)
    with started({"nginx.conf": conf}, port, keys) as gateway:
        target = target_of(gateway, wire=Wire("127.0.0.1", port, trusting(certificate)))
        checks = catalogue.chosen(only="tls")
        report = asyncio.run(running.run(target, checks, deadline=60, known="another"))
        doubted = replace(target, wire=Wire("127.0.0.1", port, ssl.create_default_context()))
        alone = catalogue.chosen(only="tls.certificate")
        strange = asyncio.run(running.run(doubted, alone, deadline=60, known="another"))
    undecided = {one.id for one in report.of(Verdict.UNDECIDED)}
    assert failed(report) == wrong - undecided
    assert failed(strange) == {"tls.certificate"}


# --- the command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gateway(api: ScriptedApi) -> Iterator[RunningGateway]:
    keys, port = new_keys(), free_port()
    with started(quick(files_of(plan_of(api, port), keys)), port, keys) as one:
        yield one


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return command.run(*arguments, cwd=cwd, env=clean_env(), stdin=None, timeout=60)


def probe(gateway: RunningGateway, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("probe", gateway.url, *arguments, cwd=gateway.folder)


def test_another_gateway_is_tried_with_its_key(gateway: RunningGateway) -> None:
    chosen = "--only", "identity,auth.expired,openai.answer"
    done = probe(gateway, "--key-file", str(gateway.key_file), *chosen, "--report", "found.html")
    assert done.returncode == 0, done.stderr
    assert "14 checks, about" in done.stderr, "what it will send is said before"
    assert "another gateway: 14 passed." in done.stdout
    assert gateway.keys.signing.jwk["k"] not in done.stdout + done.stderr
    assert "<script" not in (gateway.folder / "found.html").read_text()


def test_with_one_token_what_needs_a_key_is_undecided(gateway: RunningGateway) -> None:
    token = Signer(gateway.keys.signing).sign(Signer(gateway.keys.signing).claims("ada"))
    (gateway.folder / "token").write_text(token)
    done = probe(
        gateway, "--token-command", "cat token", "-o", "json", "--only",
        "auth.expired,auth.alg-none,limits.fair",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {one["id"]: one["verdict"] for one in report["results"]} == {
        "auth.expired": "undecided", "limits.fair": "undecided", "auth.alg-none": "passed",
    }  # fmt: skip
    assert token not in done.stdout + done.stderr


def test_a_check_that_fails_ends_with_8_in_every_form(gateway: RunningGateway) -> None:
    chosen = "openai.answer,auth.alg-none"
    options = "--key-file", str(gateway.key_file), "--only", chosen, "-m", "none"
    told = probe(gateway, *options)
    assert told.returncode == 8
    assert told.stdout.startswith("✗ openai.answer  ")
    assert "Fix:" in told.stderr
    suites = ElementTree.fromstring(probe(gateway, *options, "-o", "junit").stdout)
    assert [
        one.get("name") for one in suites.iter("testcase") if one.find("failure") is not None
    ] == ["openai.answer"]
    run = json.loads(probe(gateway, *options, "-o", "sarif").stdout)["runs"][0]
    assert [one["ruleId"] for one in run["results"] if one["level"] == "error"] == ["openai.answer"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("http://198.51.100.7",), 2, "--i-may-test-this-host"),
        (("http://127.0.0.1:9", "--key-file", "key"), 5, "cannot be reached"),
        (("http://127.0.0.1:9", "--key-file", "open"), 4, "chmod 600"),
        (("http://127.0.0.1:9", "--key-file", "none"), 4, "no key that signs"),
        (("http://127.0.0.1:9/v1", "--key-file", "key"), 2, "has a path"),
        (("http://127.0.0.1:9", "--claim", "iss=a", "--token-command", "x"), 2, "--key-file"),
        (("--only", "auth.expird"), 2, "auth.expired"),
        (("--only", "auth", "--skip", "auth"), 2, "leave no check"),
    ],
)
def test_what_cannot_be_tried_is_said(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    jwk = json.dumps(dict(new_keys().signing.jwk))
    for name, text, mode in (("key", jwk, 0o600), ("open", jwk, 0o644), ("none", "{}", 0o600)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)
    done = run("probe", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Fix: " in done.stderr


def test_a_wrong_token_is_a_matter_of_authorization(gateway: RunningGateway) -> None:
    done = probe(gateway, "--token-command", f"{sys.executable} -c 'print(\"a.b.c\")'")
    assert done.returncode == 4
    assert "refuses the token: 401" in done.stderr


def test_no_more_is_sent_than_was_agreed_upon(gateway: RunningGateway) -> None:
    done = probe(gateway, "--key-file", str(gateway.key_file), "--requests", "12", "-o", "json",
                 "--only", "protocol.path-tricks")  # fmt: skip
    report = json.loads(done.stdout)
    assert report["requests"] <= 12
    assert [one["verdict"] for one in report["results"]] == ["undecided"]


# --- a lab -------------------------------------------------------------------------------------


# What the copy has not got, or would be in the way of its own requests.
OWN_CERTIFICATE = {
    "gateway__tls__enabled": "true",
    "gateway__tls__certificate": '"own.pem"',
    "gateway__tls__key": '"own.key"',
    "gateway__tls__names": '["llm.example.org"]',
    "gateway__tls__client_ca": '"clients.pem"',
}
ONLY_IN_THE_LAB = """
[[guards]]
kind = "deny"
words = ["request"]
routes = ["support"]

[[budgets]]
requests_per_day = 1

[[auth.issuers]]
name = "okta"
issuer = "http://127.0.0.1:9/"
audience = "llm"
"""


@pytest.mark.slow
def test_a_lab_that_does_not_run_is_tried_as_a_copy_that_is_gone_afterwards(
    make_lab: Callable[..., LabUnderTest], tmp_path: Path
) -> None:
    lab = make_lab(
        gateway__rate_limit__rate='"60r/s"', gateway__rate_limit__burst="20",
        auth__default_scopes="[]", routes__summarize='"textrank"\nsupport = "textrank"',
        gateway__tls__redirect_port=str(free_port()),
        **OWN_CERTIFICATE,
    )  # fmt: skip
    with lab.lab.config_file.open("a") as file:
        file.write(ONLY_IN_THE_LAB)
    lab.env["TMPDIR"] = str(tmp_path)
    wanted = "tls,auth.revoked,auth.api-key-ended,auth.scope-missing,auth.crit,identity,"
    wanted += "limits.budget-told,resilience.client-leaves,limits.fair"
    report = lab.json("probe", "--only", wanted)
    assert {one["verdict"] for one in report["results"]} == {"passed"}
    assert (report["known"], report["witness"]) == ("apart", True)
    assert not lab.lab.state.exists(), "the lab itself was left alone"
    port = int(report["target"].rpartition(":")[2])
    assert port_is_free("127.0.0.1", port), "the copy is gone"
    assert not list(tmp_path.iterdir())


def test_a_lab_that_runs_is_tried_as_it_is(lab: LabUnderTest) -> None:
    report = lab.json("probe", "--only", "auth,limits", "--skip",
                      "auth.revoked,auth.api-key-ended")  # fmt: skip
    assert {one["verdict"] for one in report["results"]} == {"passed", "not applicable"}
    assert (report["known"], report["witness"]) == ("own", False)
    # Nobody tells what the embedded model's API heard.
    told = lab.json("probe", "--only", "identity.token-stays")
    assert [one["verdict"] for one in told["results"]] == ["undecided"]
    assert lab.json("probe", "--apart", "--only", "identity.token-stays")["known"] == "apart"
    lab.ok("down")
    assert lab.json("probe", "--only", "auth.crit")["known"] == "apart", "it does not run"


# --- what is pure ---------------------------------------------------------------------------------


RESULTS = (
    Result("auth.a", "auth", "It holds.", Verdict.FAILED, "it does not\x00", "mend <it>", 0.25,
           (Evidence("GET / \x1b", "200 <b>"),)),
    Result("auth.b", "auth", "It holds, too.", Verdict.PASSED, "it does", "nothing", 0.5),
    Result("tls.c", "tls", "It is secret.", Verdict.NOT_APPLICABLE, "plain HTTP", "speak TLS", 0),
    Result("waf.d", "waf", "It is let through.", Verdict.UNDECIDED, "nobody knows", "look", 0),
)  # fmt: skip
REPORT = Report("http://127.0.0.1:1", "own", True, "2026-11-30T10:00:00+00:00", 9, 1.5, RESULTS)


def test_junit_has_a_case_for_each_check() -> None:
    root = ElementTree.fromstring(junit.document(REPORT))
    cases = {one.get("name"): [inner.tag for inner in one] for one in root.iter("testcase")}
    assert cases == {"auth.a": ["failure"], "auth.b": [], "tls.c": ["skipped"],
                     "waf.d": ["skipped"]}  # fmt: skip
    (auth,) = (one for one in root if one.get("name") == "auth")
    assert (auth.get("tests"), auth.get("failures"), auth.get("skipped")) == ("2", "1", "0")


def test_sarif_says_of_each_check_what_it_is_and_what_was_found() -> None:
    run = sarif.document(REPORT)["runs"][0]
    rules = run["tool"]["driver"]["rules"]
    assert [(one["kind"], one["level"]) for one in run["results"]] == [
        ("fail", "error"), ("pass", "none"), ("notApplicable", "none"), ("open", "none"),
    ]  # fmt: skip
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])


def test_the_page_shows_what_was_found_and_nothing_runs_on_it() -> None:
    told = page(REPORT)
    assert "mend &lt;it&gt;" in told
    assert "200 &lt;b&gt;" in told
    assert "<script" not in told
    assert told.index("What failed") < told.index("auth.b")


def test_secrets_are_shown_to_nobody() -> None:
    token = Signer(new_keys().signing).sign({"sub": "ada", "exp": 1})
    for text in (f"Authorization: Bearer {token}", f"/?token={token}", "Bearer 0123456789abcdef",
                 "key sk-llmlab-0123456789abcdef"):  # fmt: skip
        shown = masked(text)
        assert token not in shown
        assert token.rpartition(".")[2] not in shown
        assert "0123456789abcdef" not in shown
    assert "of sub, exp, signed" in masked(f"Bearer {token}")
    assert len(sent_as_shown(b"a" * 100_000)) < 400


@pytest.mark.parametrize(
    ("raw", "closed", "statuses", "rest"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
         b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", False, [200, 404], b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 413 Big\r\nContent-Length: 0\r\n\r\n",
         False, [413], b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
         False, [200], b""),
        (b"HTTP/1.0 200 OK\r\n\r\nall of it", True, [200], b""),
        (b"<html>no head", True, [], b"<html>no head"),
        (b"", True, [], b""),
    ],
)  # fmt: skip
def test_answers_are_taken_apart(
    raw: bytes, closed: bool, statuses: list[int], rest: bytes
) -> None:
    found, left = taken_apart(raw, ("GET",), closed=closed)
    assert ([one.status for one in found], left) == (statuses, rest)


def test_names_and_sentences_of_checks_are_each_their_own() -> None:
    checks = catalogue.every()
    assert len({one.id for one in checks}) == len(checks)
    assert len(checks) > 150
    for one in checks:
        assert one.proves.endswith("."), one.id
        assert one.fix, one.id


def test_harmless_texts_are_of_many_kinds_and_no_script() -> None:
    texts = waf.texts()
    assert len(texts) >= 400
    assert len({text for _, text in texts}) == len(texts)
    assert len({kind for kind, _ in texts}) >= 30
    assert not [text for _, text in texts if isinstance(json_of(text), dict)]
    assert len(waf.attacks()) == 40


def test_how_much_is_sent_follows_from_where_it_is_sent() -> None:
    checks = catalogue.every()
    here, most = Wishes().pace("http://127.0.0.1:8000", checks)
    there, _ = Wishes().pace("https://gateway.example", checks)
    assert here > there
    assert most < 4000
    assert Wishes(rate=1, requests=7).pace("http://127.0.0.1:8000", checks) == (1, 7)
