"""Flags at the real gateway: on for those for whom Python says that they are, and in force."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from openfeature import api
from openfeature.evaluation_context import EvaluationContext

from llmlab.auth import Claims, KeyStore, mint
from llmlab.flags.evaluate import evaluate
from llmlab.flags.provider import LabProvider
from llmlab.ledger.store import Store
from tests.conftest import LabUnderTest


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest], article: str) -> LabUnderTest:
    """A running lab with flags of all kinds."""
    one = make_lab(gateway__rate_limit__enabled="false")
    one.ok("up")
    set_ = ("flag", "set")
    one.ok(*set_, "some", "--percent", "37.5")
    one.ok(*set_, "few", "--percent", "0.5", "--for", "sub=subject-7", "--for", "plan=trial")
    one.ok(*set_, "everybody", "--on")
    one.ok(*set_, "nobody", "--off")
    one.ok(*set_, "odd", "--for", 'sub=Jürgen "東京" \\$x', "--for", "level=5", "--for", "r=0.1",
           "--for", "https://example.com/role=editor", "--max-length", "6")  # fmt: skip
    return one


def token(lab: LabUnderTest, **claims: Any) -> str:
    """A token with claims of any type."""
    key = KeyStore(lab.lab.keys_file).read().signing
    signed = mint(key, Claims(sub=claims.get("sub", "nobody")))
    payload = jwt.decode(signed, options={"verify_signature": False}) | claims
    if "sub" not in claims:
        payload.pop("sub")
    secret = base64.urlsafe_b64decode(key.jwk["k"] + "==")
    return jwt.encode(payload, secret, headers={"kid": key.kid})


def told(lab: LabUnderTest, client: Any, **claims: Any) -> dict[str, bool]:
    headers = {"Authorization": f"Bearer {token(lab, **claims)}"}
    response = client.get("/flags", headers=headers)
    assert response.status_code == 200, response.text
    flags: dict[str, bool] = response.json()["flags"]
    return flags


def expected(lab: LabUnderTest, **claims: Any) -> dict[str, bool]:
    flags = Store(lab.lab).traffic().flags
    return {flag.name: evaluate(flag, claims, visitor="127.0.0.1").on for flag in flags}


def test_the_gateway_and_python_agree_about_hundreds_of_subjects(lab: LabUnderTest) -> None:
    with lab.client() as client:
        for number in range(400):
            claims = {"sub": f"subject-{number}"}
            assert told(lab, client, **claims) == expected(lab, **claims), claims


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 'Jürgen "東京" \\$x'}, {"sub": 'jürgen "東京" \\$x'}, {"sub": "a", "plan": "trial"},
        {"sub": "a", "plan": "Trial"}, {"sub": "a", "plan": ["trial"]}, {"sub": "a", "plan": None},
        {"sub": "a", "level": 5}, {"sub": "a", "level": "5"}, {"sub": "a", "level": 5.0},
        {"sub": "a", "level": True}, {"sub": "a", "r": 0.1}, {"sub": "a", "r": "0.1"},
        {"sub": "a", "https://example.com/role": "editor"}, {"sub": "a", "role": "editor"}, {},
        {"sub": "subject-7"},
    ],
)  # fmt: skip
def test_the_gateway_and_python_agree_about_claims(
    lab: LabUnderTest, claims: dict[str, Any]
) -> None:
    with lab.client() as client:
        assert told(lab, client, **claims) == expected(lab, **claims)


def test_a_client_cannot_say_which_flags_are_on_for_it(lab: LabUnderTest) -> None:
    with lab.client() as client:
        response = client.get("/flags", headers={"X-Flags": "nobody=on"})
        assert response.json()["flags"]["nobody"] is False


def test_a_flag_decides_what_a_request_does_not_say(lab: LabUnderTest, article: str) -> None:
    with lab.client() as client:

        def words(**claims: Any) -> int:
            headers = {
                "Authorization": f"Bearer {token(lab, **claims)}",
                "X-Decoding": "max_length=3",
            }
            answer = client.post("/summarize/", json={"text": article}, headers=headers).json()
            return int(answer["usage"]["output_tokens"])

        assert words(sub="a", level=5) <= 6
        assert words(sub="a") > 6


def test_a_change_is_in_force_when_the_verb_returns(lab: LabUnderTest) -> None:
    def flags() -> dict[str, bool]:
        # A connection that was open before stays with the worker from before for some seconds.
        with lab.client() as client:
            found: dict[str, bool] = client.get("/flags").json()["flags"]
            return found

    for state in ("on", "off", "on"):
        lab.ok("flag", "set", "quick", f"--{state}")
        assert flags()["quick"] is (state == "on")
    lab.ok("flag", "rm", "quick")
    assert "quick" not in flags()


def test_the_provider_asks_the_gateway_as_anybody(lab: LabUnderTest) -> None:
    api.set_provider_and_wait(LabProvider(lab=lab.root))
    client = api.get_client()
    for number in range(30):
        subject = f"subject-{number}"
        found = client.get_boolean_value("some", False, EvaluationContext(targeting_key=subject))
        assert found is expected(lab, sub=subject)["some"]
    api.shutdown()
    api.clear_providers()


def test_a_trace_tells_of_flags_and_of_the_revision_that_set_them(
    lab: LabUnderTest, article: str
) -> None:
    with lab.client("subject-7") as client:
        response = client.post("/summarize/", json={"text": article})
    found = lab.traced(response.headers["X-Request-ID"])
    assert found["flags"] == expected(lab, sub="subject-7")
    assert found["rule"] == "stable"
    assert found["revision"] == Store(lab.lab).traffic().revision > 0
    assert found["entry"]["kind"] == "flag"
    assert found["timings"]["queue"] is not None
    (line,) = [
        json.loads(text)
        for text in (lab.lab.logs / "api-textrank.log").read_text().splitlines()
        if response.headers["X-Request-ID"] in text
    ]
    assert line["trace_id"] == found["trace_id"]
    assert line["revision"] == found["revision"]
