"""One API process whose model is elsewhere, asked on its own socket."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.service.events import BROKEN, GIVEN_UP
from tests.api import SENTENCE, Api, wait_until
from tests.conftest import free_port
from tests.provider import EXCHANGES, FINGERPRINT, Provider

KEY = "sk-test-4f1c9a77d2e84b0e"
PROMPT = Path(__file__).parents[1] / "configs" / "prompts" / "summarize.md"
CHAT = {"messages": [{"role": "user", "content": "Why a lamp?"}]}
OFFER = {"X-Fallback-To": "@fallback_textrank"}


class Far(Api):
    """Args:
    model: what stands in its table of lab.toml beside runtime and base_url.
    """

    def __init__(self, url: str, *, key: str = "", **model: Any) -> None:
        table = {"runtime": "openai", "base_url": url, "model": "hello", **model}
        super().__init__(table)
        self.name = "far"
        file = self.home / "key"
        if key:
            file.touch(0o600)
            file.write_text(key)
        document = {
            "deployment": "far", "name": "far", "model": table, "prompt": PROMPT.read_text(),
            "key": str(file) if key else None,
        }  # fmt: skip
        (self.home / "settings.json").write_text(json.dumps(document))

    def chat(self, *, headers: dict[str, str] | None = None, **more: Any) -> httpx2.Response:
        body = {**CHAT, **more}
        return self.request("POST", "/v1/chat/completions", json=body, headers=headers or {})


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider(key=KEY) as one:
        yield one


@pytest.fixture(scope="module")
def running(provider: Provider) -> Iterator[Far]:
    api = Far(provider.url, key=KEY, fallback="textrank", timeout=1.0)
    api.start().until_ready()
    yield api
    assert KEY not in api.stdout + api.stderr
    api.stop()


@pytest.fixture
def far(provider: Provider, running: Far) -> Far:
    provider.now, provider.key = "", KEY
    provider.asked.clear()
    return running


def events(response: httpx2.Response) -> list[Any]:
    *parts, done, end = response.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(one.removeprefix("data: ")) for one in parts if not one.startswith(":")]


def test_it_is_ready_without_having_asked_anything(provider: Provider) -> None:
    asked, api = len(provider.chats), Far(provider.url)
    try:
        api.start().until_ready()
    finally:
        api.stop()
    assert len(provider.chats) == asked


def test_it_is_ready_while_nobody_is_there() -> None:
    api = Far(f"http://127.0.0.1:{free_port()}/v1")
    try:
        api.start().until_ready()
        answer = api.chat()
        assert answer.status_code == 503
        assert "cannot be reached" in answer.json()["error"]["message"]
        assert api.summarize(SENTENCE).status_code == 503
    finally:
        api.stop()


def test_a_client_sees_the_name_that_it_asked_for_and_headers_tell_what_answered(
    far: Far, provider: Provider
) -> None:
    provider.now = "renamed"
    answer = far.chat(model="far")
    told = answer.json()
    assert told["model"] == "far"
    assert told["system_fingerprint"].startswith("far@elsewhere:")
    assert told["choices"][0]["message"]["content"] == "A lamp lit at dusk."
    assert told["usage"]["total_tokens"] == 25
    assert answer.headers["x-upstream-model"] == "llama-3.3-70b-0915"
    assert answer.headers["x-upstream-fingerprint"] == "fp_0000000001"
    (request,) = provider.chats
    assert "stream" not in request.body
    (line,) = far.logged(answer.headers["x-request-id"])
    assert line["upstream"] == {"model": "llama-3.3-70b-0915", "fingerprint": "fp_0000000001"}
    assert line["model_id"].startswith("elsewhere:")
    assert far.metric(
        "llmlab_upstream_info", model="llama-3.3-70b-0915", fingerprint="fp_0000000001"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["pieces", "single-bytes", "all-at-once"])
def test_a_stream_comes_event_for_event(far: Far, provider: Provider, name: str) -> None:
    provider.now = name
    answer = far.chat(stream=True)
    told = events(answer)
    words = [one["choices"][0]["delta"].get("content") for one in told]
    assert [word for word in words if word] == list(EXCHANGES[name].words)
    assert {one["model"] for one in told} == {"far"}
    assert answer.headers["x-upstream-fingerprint"] == FINGERPRINT
    assert not any("usage" in one for one in told)  # it asked for none; the lab did
    assert provider.chats[0].body["stream_options"] == {"include_usage": True}


def shown(url: object) -> list[dict[str, Any]]:
    picture = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}]


@pytest.mark.parametrize("url", ["https://example.org/a.png", "data:image/png;base64,aaaa"])
def test_a_picture_is_handed_to_the_provider_and_not_fetched(
    far: Far, provider: Provider, url: str
) -> None:
    asked = shown(url)
    assert far.chat(messages=asked).status_code == 200
    assert provider.chats[0].body["messages"] == asked


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "FILE:/etc/passwd", "ftp://a/b.png", "/etc/passwd", "", None, 1]
)
def test_no_file_of_the_provider_is_asked_for(far: Far, provider: Provider, url: object) -> None:
    answer = far.chat(messages=shown(url))
    param = answer.json()["error"]["param"]
    assert (answer.status_code, param) == (400, "messages[0].content[1].image_url")
    assert not provider.chats


def test_a_picture_is_no_longer_than_a_body_may_be(far: Far, provider: Provider) -> None:
    answer = far.chat(messages=shown(f"data:image/png;base64,{'a' * 3_000_000}"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert not provider.chats


def test_usage_is_told_to_who_asks_for_it(far: Far) -> None:
    last = events(far.chat(stream=True, stream_options={"include_usage": True}))[-1]
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 25)


def test_it_summarizes_by_its_prompt(far: Far, provider: Provider) -> None:
    answer = far.summarize(SENTENCE)
    told = answer.json()
    assert told["summary"] == "A lamp lit at dusk."
    assert told["model"]["id"].startswith("elsewhere:")
    assert answer.headers["x-upstream-model"] == "hello"
    (request,) = provider.chats
    assert SENTENCE in request.body["messages"][1]["content"]
    assert far.summarize(SENTENCE).headers["x-cache"] == "hit"
    assert len(provider.chats) == 1


def test_a_long_text_is_read_by_windows_of_an_estimated_size(
    far: Far, provider: Provider, article: str
) -> None:
    told = far.summarize(article * 10).json()
    assert told["usage"]["windows"] > 1
    assert len(provider.chats) >= told["usage"]["windows"]


def test_the_client_s_own_token_and_headers_stay_here(far: Far, provider: Provider) -> None:
    far.chat(headers={"Authorization": "Bearer mine", "Cookie": "a=b", "X-Subject": "me"})
    (request,) = provider.chats
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert not {"cookie", "x-subject", "x-request-id"} & request.headers.keys()


def test_none_of_the_provider_s_headers_reaches_the_gateway(far: Far, provider: Provider) -> None:
    provider.now = "meddling"
    for answer in (far.chat(), far.chat(stream=True)):
        assert answer.status_code == 200
        assert not {"x-accel-redirect", "set-cookie"} & answer.headers.keys()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("name", "status", "code", "again"),
    [
        ("unauthorized", 502, "upstream_key", "false"),
        ("forbidden", 502, "upstream_key", "false"),
        ("missing", 502, "upstream_model", "false"),
        ("moved", 502, "upstream_redirect", "false"),
        ("too-long", 400, "context_length_exceeded", "false"),
        ("too-many", 429, "rate_limit_exceeded", "true"),
        ("broken", 502, "upstream_failed", "true"),
    ],
)
def test_what_goes_wrong_there_is_told_in_openai_s_shape(
    far: Far, provider: Provider, name: str, status: int, code: str, again: str, stream: bool
) -> None:
    provider.now = name
    answer = far.chat(stream=stream)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-should-retry"] == again
    assert len(provider.chats) == 1
    assert "sk-" not in answer.text


def test_the_time_to_wait_passes(far: Far, provider: Provider) -> None:
    provider.now = "too-many"
    assert far.chat().headers["retry-after"] == "7"
    answer = far.summarize("Too many lamps are lit.")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    provider.now = "overloaded"
    assert far.chat().headers["retry-after"] == "11"


def test_a_failure_in_the_middle_of_a_stream_is_an_event(far: Far, provider: Provider) -> None:
    provider.now = "cut"
    answer = far.chat(stream=True, headers=OFFER)
    assert answer.status_code == 200
    assert "x-accel-redirect" not in answer.headers
    told = events(answer)
    assert told[-1]["error"]["code"] == "upstream_error"
    assert BROKEN + 'data: {"error"' in answer.text  # for the gateway's log


@pytest.mark.parametrize(
    ("bound", "asked", "whose"), [(0.7, "60", "stream_timeout"), (60, "0.7", "X-Request-Timeout")]
)
def test_a_stream_that_hardly_goes_on_ends_in_time_and_holds_no_turn(
    provider: Provider, bound: float, asked: str, whose: str
) -> None:
    """Each of its tokens comes before the patience with a silence is over."""
    provider.now, gone = "dripping", provider.gone
    api = Far(provider.url, key=KEY, stream_timeout=bound)
    try:
        api.start().until_ready()
        start = time.monotonic()
        answer = api.chat(stream=True, headers={"X-Request-Timeout": asked})
        assert 0.6 < time.monotonic() - start < 5
        *told, last = events(answer)
        assert " 0" in [one["choices"][0]["delta"].get("content") for one in told]
        assert (last["error"]["code"], last["error"]["type"]) == ("timeout", "server_error")
        assert f"0.7 s ({whose})" in last["error"]["message"]
        # That a client gives little time is no fault of the model's.
        assert (BROKEN if whose == "stream_timeout" else GIVEN_UP) in answer.text
        wait_until(lambda: provider.gone == gone + 1, "the provider is told to stop", 5)
        (line,) = api.logged(answer.headers["x-request-id"])
        assert line["status"] == 504 and line["usage"]["output_tokens"] > 0
        assert api.metric("llmlab_rejected_total", reason="timeout") == 1
        assert not api.metric("llmlab_running_texts")
    finally:
        api.stop()


# --- another one answers ---------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("name", ["broken", "overloaded", "silent", "late", "no-beginning"])
def test_a_request_is_handed_on_before_the_first_token(
    far: Far, provider: Provider, name: str, stream: bool
) -> None:
    if name == "no-beginning" and not stream:
        return  # only a stream has a beginning
    provider.now = name
    answer = far.chat(stream=stream, headers=OFFER)
    assert answer.headers["x-accel-redirect"] == "@fallback_textrank"
    assert answer.status_code == 502
    assert far.summarize(f"{name} {stream}").headers.get("x-accel-redirect") is None
    body = {"text": f"{SENTENCE} {name} {stream}"}
    if name != "no-beginning":
        again = far.request("POST", "/summarize/", json=body, headers=OFFER)
        assert again.headers["x-accel-redirect"] == "@fallback_textrank"


@pytest.mark.parametrize(
    "name", ["unauthorized", "too-many", "too-long", "missing", "moved", "cut"]
)
def test_a_wrong_key_too_many_requests_and_a_wrong_request_are_never_handed_on(
    far: Far, provider: Provider, name: str
) -> None:
    provider.now = name
    assert "x-accel-redirect" not in far.chat(stream=True, headers=OFFER).headers


@pytest.mark.parametrize("offer", ["", "/metrics", "@fallback_another", "@limit"])
def test_only_where_the_gateway_offers_the_one_that_lab_toml_names(
    far: Far, provider: Provider, offer: str
) -> None:
    provider.now = "broken"
    assert "x-accel-redirect" not in far.chat(headers={"X-Fallback-To": offer}).headers


def test_who_leaves_ends_the_stream_there(far: Far, provider: Provider) -> None:
    provider.now = "slow"
    gone = provider.gone
    with (
        far.client() as client,
        client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer,
    ):
        next(answer.iter_bytes())
    wait_until(lambda: provider.gone > gone, "the provider's stream is closed", 5)
