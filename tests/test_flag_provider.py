"""The OpenFeature provider, through the real SDK, asking over real HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from openfeature.provider import ProviderStatus

from llmlab.auth import Claims, KeyStore, mint
from llmlab.auth.unverified import subject_of
from llmlab.flags.asking import Asker
from llmlab.flags.provider import LabProvider
from llmlab.lab import Lab, init_lab
from tests.http_server import Server


@dataclass
class Gateway:
    """Answers GET /flags as the gateway and the API do together, for the subject of the token."""

    url: str = ""
    on_for: dict[str, set[str]] = field(default_factory=dict)  # flag -> subjects
    answer: bytes | None = None  # instead of flags
    status: int = 200
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)

    def respond(self, token: str) -> tuple[int, bytes]:
        subject = subject_of(token)
        self.asked.append(subject)
        time.sleep(self.delay)
        flags = {name: subject in subjects for name, subjects in self.on_for.items()}
        body = json.dumps({"flags": flags}).encode()
        return self.status, body if self.answer is None else self.answer


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway(on_for={"short": {"alice"}, "new": set()})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            assert self.path == "/flags"
            status, body = gateway.respond(self.headers["Authorization"].removeprefix("Bearer "))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = Server(("127.0.0.1", 0), Handler)
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield gateway
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyStore:
    store = KeyStore(tmp_path_factory.mktemp("keys") / "jwks.json")
    store.ensure()
    return store


def token(keys: KeyStore, sub: str) -> str:
    return mint(keys.read().signing, Claims(sub=sub))


Connect = Callable[..., OpenFeatureClient]


@pytest.fixture
def connect(gateway: Gateway, keys: KeyStore) -> Iterator[Connect]:
    """A client of the SDK with the provider behind it."""

    def made(sub: str = "alice", **options: Any) -> OpenFeatureClient:
        given = {"url": gateway.url, "token": token(keys, sub)} | options
        api.set_provider_and_wait(LabProvider(**given))
        return api.get_client()

    yield made
    api.shutdown()
    api.clear_providers()


def at(subject: str) -> EvaluationContext:
    return EvaluationContext(targeting_key=subject)


# --- What it answers -----------------------------------------------------------


def test_a_flag_is_as_the_gateway_has_it_for_the_tokens_subject(connect: Connect) -> None:
    client = connect("alice")
    assert client.get_boolean_value("short", False) is True
    assert client.get_boolean_value("new", True) is False
    assert connect("bob").get_boolean_value("short", True) is False


def test_reason_and_variant_are_told(connect: Connect) -> None:
    client = connect()
    found = client.get_boolean_details("short", False)
    assert (found.value, found.reason, found.variant) == (True, Reason.TARGETING_MATCH, "on")
    assert found.error_code is None
    again = client.get_boolean_details("new", True)
    assert (again.value, again.reason, again.variant) == (False, Reason.CACHED, "off")


def test_it_is_the_same_for_asyncio(connect: Connect) -> None:
    client = connect()
    assert asyncio.run(client.get_boolean_value_async("short", False)) is True


def test_its_name_is_told(connect: Connect) -> None:
    assert connect().provider.get_metadata().name == "llmlab"


@pytest.mark.parametrize("default", [True, False])
def test_an_unknown_flag_is_the_default_and_flag_not_found(connect: Connect, default: bool) -> None:
    found = connect().get_boolean_details("unknown", default)
    assert (found.value, found.reason) == (default, Reason.ERROR)
    assert found.error_code is ErrorCode.FLAG_NOT_FOUND


def test_a_flag_is_nothing_but_on_or_off(connect: Connect) -> None:
    client = connect()
    for found in (
        client.get_string_details("short", "a"), client.get_integer_details("short", 5),
        client.get_float_details("short", 1.5), client.get_object_details("short", {"a": 1}),
    ):  # fmt: skip
        assert found.error_code is ErrorCode.TYPE_MISMATCH
    assert client.get_string_value("short", "a") == "a"
    assert client.get_string_details("unknown", "a").error_code is ErrorCode.FLAG_NOT_FOUND


# --- Whose flags ---------------------------------------------------------------


def test_the_subject_of_the_token_may_be_named(connect: Connect) -> None:
    assert connect("alice").get_boolean_value("short", False, at("alice")) is True


def test_another_subject_than_the_tokens_is_an_error(connect: Connect, gateway: Gateway) -> None:
    found = connect("alice").get_boolean_details("short", True, at("bob"))
    assert (found.value, found.error_code) == (True, ErrorCode.INVALID_CONTEXT)
    assert "'bob'" in str(found.error_message)
    assert gateway.asked == []


def test_with_a_lab_at_hand_anybodys_flags_can_be_asked_for(
    connect: Connect, gateway: Gateway, tmp_path: Path
) -> None:
    init_lab(tmp_path)
    KeyStore(Lab(tmp_path).keys_file).ensure()
    client = connect(url=gateway.url, token=None, lab=tmp_path)
    assert client.get_boolean_value("short", False, at("alice")) is True
    assert client.get_boolean_value("short", True, at("bob")) is False
    assert gateway.asked == ["alice", "bob"]


def test_attributes_of_the_context_play_no_part(connect: Connect) -> None:
    context = EvaluationContext(attributes={"sub": "bob", "plan": "trial"})
    assert connect("alice").get_boolean_value("short", False, context) is True


# --- When it asks --------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asker(gateway: Gateway, keys: KeyStore, clock: Clock) -> Asker:
    return Asker(gateway.url, token(keys, "alice"), keep=5, stale=60, clock=clock)


def test_an_answer_counts_for_some_seconds(asker: Asker, gateway: Gateway, clock: Clock) -> None:
    assert asker.flags().freshness == "new"
    clock.now += 4.9
    assert asker.flags().freshness == "kept"
    clock.now += 0.2
    gateway.on_for["short"] = set()
    known = asker.flags()
    assert (known.freshness, known.flags["short"]) == ("new", False)
    assert len(gateway.asked) == 2


def test_many_evaluations_at_once_ask_once(connect: Connect, gateway: Gateway) -> None:
    gateway.delay = 0.1
    client = connect()
    threads = [
        threading.Thread(target=client.get_boolean_value, args=("short", False)) for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(gateway.asked) == 1


def test_while_the_gateway_is_away_the_last_answer_counts_for_a_while(
    asker: Asker, gateway: Gateway, clock: Clock
) -> None:
    asker.flags()
    gateway.status = 502
    clock.now += 6
    assert asker.flags().freshness == "stale"
    clock.now += 1
    assert asker.flags().freshness == "stale"
    assert len(gateway.asked) == 2  # it is left alone for a moment
    clock.now += 60
    with pytest.raises(Exception, match="answers 502"):
        asker.flags()
    gateway.status = 200
    clock.now += 6
    assert asker.flags().freshness == "new"


# --- Nothing is raised ---------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (401, b"{}"), (429, b"{}"), (500, b"no"), (302, b""), (200, b""), (200, b"no json"),
        (200, b'{"flags": {"short": "on"}}'), (200, b'{"flags": []}'), (200, b"[]"),
        (200, b"\xff"), (200, b'{"flags": {}, "x": "' + b"a" * 100_000 + b'"}'),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_the_default(
    connect: Connect, gateway: Gateway, status: int, answer: bytes
) -> None:
    gateway.status, gateway.answer = status, answer
    found = connect().get_boolean_details("short", True)
    assert (found.value, found.reason) == (True, Reason.ERROR)
    assert found.error_code is ErrorCode.GENERAL
    assert found.error_message


def test_a_gateway_that_does_not_answer_is_the_default_soon(
    connect: Connect, gateway: Gateway
) -> None:
    gateway.delay = 3.0
    client = connect(timeout=0.3)
    start = time.monotonic()
    for _ in range(5):
        assert client.get_boolean_details("short", True).error_code is ErrorCode.GENERAL
    assert time.monotonic() - start < 1.5


def test_a_gateway_that_is_not_there_is_the_default(connect: Connect) -> None:
    found = connect(url="http://127.0.0.1:9").get_boolean_details("short", True)
    assert (found.value, found.error_code) == (True, ErrorCode.GENERAL)


@pytest.mark.parametrize("options", [{"token": "no token"}, {"url": "no url"}])
def test_wrong_settings_are_the_default_too(connect: Connect, options: dict[str, Any]) -> None:
    client = connect(**options)
    assert client.get_provider_status() is ProviderStatus.READY
    found = client.get_boolean_details("short", True)
    assert (found.value, found.error_code) == (True, ErrorCode.GENERAL)


def test_a_folder_without_a_lab_is_the_default_too(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLMLAB_URL", raising=False)
    found = connect(url=None, token=None, lab=tmp_path).get_boolean_details("short", True)
    assert found.error_code is ErrorCode.GENERAL
    assert "there is no configs/lab.toml" in str(found.error_message)


def test_it_can_be_used_again_after_the_end(connect: Connect) -> None:
    client = connect()
    assert client.get_boolean_value("short", False) is True
    client.provider.shutdown()
    assert client.get_boolean_value("short", False) is True
