"""A model that only summarizes answers OpenAI's clients too: the last message is the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.api import SENTENCE, TEXTRANK, Api
from tests.conftest import free_port

TEXT = f"{SENTENCE} The crew had seen no land for eleven days. The captain slept at last."
ASKED: list[Any] = [
    {"role": "system", "content": "You summarize."},
    {"role": "user", "content": "An older text."},
    {"role": "assistant", "content": "A summary."},
    {"role": "user", "content": [{"type": "text", "text": TEXT}]},
]


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api], port: int) -> Api:
    return make_api(TEXTRANK, max_text_chars=5000).start(port=port).until_ready()


@pytest.fixture(scope="module")
def client(api: Api, port: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
    ) as one:
        yield one


def test_the_last_message_of_the_user_is_summarized(api: Api, client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="textrank", messages=ASKED, max_tokens=20)
    summary = api.summarize(TEXT, max_length=20).json()
    assert answer.choices[0].message.content == summary["summary"]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage and answer.usage.prompt_tokens == summary["usage"]["input_tokens"]
    assert answer.usage.completion_tokens == summary["usage"]["output_tokens"]


def test_a_stream_of_it_is_one_delta(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="textrank", messages=ASKED, max_tokens=20, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert [bool(one.choices and one.choices[0].delta.content) for one in chunks].count(True) == 1
    assert chunks[-1].usage and chunks[-1].usage.prompt_tokens > 20


def test_a_completion_summarizes_its_prompt(client: openai.OpenAI) -> None:
    assert client.completions.create(model="textrank", prompt=TEXT, max_tokens=20).choices[0].text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}), ("n", 2), ("stop", "."), ("logprobs", True),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_refused(api: Api, field: str, value: Any) -> None:
    answer = api.request("POST", "/v1/chat/completions", json={"messages": ASKED, field: value})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field)


def test_how_to_sample_is_passed_over(client: openai.OpenAI) -> None:
    assert (
        client.chat.completions.create(
            model="textrank", messages=ASKED, temperature=0.7, seed=1, top_p=0.9
        )
        .choices[0]
        .message.content
    )


def test_a_text_that_is_too_long_or_missing_is_refused(api: Api) -> None:
    def refused(content: str, role: str = "user") -> tuple[int, str]:
        body = {"messages": [{"role": role, "content": content}]}
        answer = api.request("POST", "/v1/chat/completions", json=body)
        return answer.status_code, answer.json()["error"]["param"]

    assert refused("a " * 3000) == (413, "messages")
    assert refused(" ") == (400, "messages")
    assert refused("Hi", role="system") == (400, "messages")


def test_hugging_faces_shape(api: Api) -> None:
    body = {"inputs": [TEXT, SENTENCE], "parameters": {"max_length": 20}}
    answer = api.request("POST", "/", json=body)
    assert [set(one) for one in answer.json()] == [{"summary_text"}] * 2
    # As the reference lab's notebook posts: without a Content-Type.
    assert api.request("POST", "/", content=json.dumps({"inputs": TEXT})).status_code == 200
    assert api.request("POST", "/", json={"inputs": " "}).status_code == 422
    wrong = {"inputs": TEXT, "parameters": {"max_length": 2, "min_length": 5}}
    assert "is above" in api.request("POST", "/", json=wrong).json()["detail"]


def test_a_drill_strikes_a_chat_too(make_api: Callable[..., Api], tmp_path: Path) -> None:
    api = make_api(TEXTRANK)
    (api.home / "drill.json").write_text(json.dumps({"kind": "errors"}))
    api.start().until_ready()
    body = {"messages": ASKED}
    answer = api.request("POST", "/v1/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error")
    streamed = api.request("POST", "/v1/chat/completions", json={**body, "stream": True})
    assert streamed.status_code == 500  # nothing had begun
