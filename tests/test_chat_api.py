"""A real language model behind one API process, asked by an unmodified openai client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest

from tests.api import LANGUAGE_MODEL, SENTENCE, Api, wait_until
from tests.conftest import free_port

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKS_FOR_WEATHER: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
# Longer than anybody waits: so the model is at work until its client is gone.
STORY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Write a very long story, and do not stop."}],
    "logit_bias": {"2": -100},  # its token for the end
}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api], smollm2: Path, port: int) -> Api:
    return make_api(LANGUAGE_MODEL, smollm2, timeout=60).start(port=port).until_ready()


@pytest.fixture(scope="module")
def client(api: Api, port: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
    ) as one:
        yield one


def post(api: Api, path: str = "/v1/chat/completions", **body: Any) -> Any:
    return api.request("POST", path, json=body)


def refused(api: Api, **body: Any) -> tuple[int, str | None, str | None]:
    """(status, code, param) of an error in OpenAI's shape."""
    answer = post(api, **{"messages": HELLO, "max_tokens": 4, **body})
    error = answer.json()["error"]
    assert error["message"] and error["type"]
    return answer.status_code, error["code"], error["param"]


# --- what an unmodified client does ----------------------------------------------


def test_a_chat_is_answered_with_its_usage_and_who_answered(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="smollm2", messages=HELLO, max_tokens=4)
    assert answer.model == "smollm2"
    assert answer.id.startswith("chatcmpl-") and isinstance(answer.created, int)
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 4
    name, _, content = (answer.system_fingerprint or "").partition("@")
    assert name == "smollm2-blue" and len(content) == 12
    assert answer._request_id


def test_a_stream_has_one_id_one_role_one_end_and_usage_if_asked(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="smollm2", messages=HELLO, max_tokens=5, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    *said, last = chunks
    assert {(one.id, one.created) for one in chunks} == {(chunks[0].id, chunks[0].created)}
    assert [one.choices[0].delta.role for one in said] == ["assistant", *[None] * (len(said) - 1)]
    reasons = [one.choices[0].finish_reason for one in said]
    assert reasons == [*[None] * (len(said) - 1), "length"]
    assert last.choices == [] and last.usage and last.usage.completion_tokens == 5


def test_usage_is_kept_back_from_a_stream_that_did_not_ask(api: Api) -> None:
    answer = post(api, messages=HELLO, max_tokens=2, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-accel-buffering"] == "no"
    *events, done, _ = answer.text.split("\n\n")
    assert done == "data: [DONE]"
    documents = [json.loads(one.removeprefix("data: ")) for one in events]
    assert all(one["choices"] and "usage" not in one for one in documents)
    assert not {"timings", "prompt_progress"} & {name for one in documents for name in one}
    # ... and is known all the same, for the log.
    (line,) = api.logged(answer.headers["x-request-id"])
    assert line["usage"]["output_tokens"] == 2 and line["usage"]["input_tokens"] > 10


def test_the_asynchronous_client_streams(api: Api, port: int) -> None:
    async def text() -> str:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
        ) as client:
            stream = await client.chat.completions.create(
                model="smollm2", messages=HELLO, max_tokens=4, stream=True
            )
            return "".join([one.choices[0].delta.content or "" async for one in stream])

    assert asyncio.run(text())


def test_a_tool_that_has_to_be_called_is_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=ASKS_FOR_WEATHER, tools=[WEATHER], tool_choice="required",
        temperature=0, max_tokens=60,
    )  # fmt: skip
    (call,) = answer.choices[0].message.tool_calls or ()
    assert answer.choices[0].finish_reason == "tool_calls"
    assert isinstance(call, openai.types.chat.ChatCompletionMessageFunctionToolCall)
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"]


def test_a_streamed_tool_call_has_a_number_and_its_arguments_are_a_text(
    client: openai.OpenAI,
) -> None:
    chosen: Any = {"type": "function", "function": {"name": "get_weather"}}
    chunks = client.chat.completions.create(
        model="smollm2", messages=ASKS_FOR_WEATHER, tools=[WEATHER], tool_choice=chosen,
        temperature=0, max_tokens=60, stream=True,
    )  # fmt: skip
    choices = [one.choices[0] for one in chunks]
    calls = [call for one in choices for call in one.delta.tool_calls or ()]
    assert {call.index for call in calls} == {0}
    assert [call.id for call in calls if call.id] == [calls[0].id]
    assert json.loads("".join((c.function and c.function.arguments) or "" for c in calls))["city"]
    assert choices[-1].finish_reason == "tool_calls"


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    class Person(pydantic.BaseModel):
        name: str
        age: int

    answer = client.beta.chat.completions.parse(
        model="smollm2", messages=[{"role": "user", "content": "Anna is 31 years old."}],
        response_format=Person, temperature=0, max_tokens=60,
    )  # fmt: skip
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_log_probabilities_come_as_asked(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="smollm2", messages=HELLO, max_tokens=2, logprobs=True, top_logprobs=2
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs and logprobs.content and len(logprobs.content) == 2
    assert len(logprobs.content[0].top_logprobs) == 2


def test_several_choices_of_two_requests_at_once_do_not_mix(api: Api, port: int) -> None:
    """One slot fewer than choices, and llama.cpp counts the tokens once for each."""

    async def both() -> list[Any]:
        async with openai.AsyncOpenAI(
            base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0
        ) as client:
            return await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model="smollm2", messages=HELLO, n=3, max_tokens=3, seed=seed
                    )
                    for seed in (1, 2)
                )
            )

    for answer in asyncio.run(both()):
        assert [one.index for one in answer.choices] == [0, 1, 2]
        assert all(one.message.content for one in answer.choices)
        assert answer.usage.completion_tokens == 9
        assert answer.usage.prompt_tokens < 60


def test_completions_of_several_prompts(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="smollm2", prompt=["Once upon a", "The lamp"], max_tokens=2, logprobs=1
    )
    assert [one.index for one in answer.choices] == [0, 1]
    logprobs = answer.choices[0].logprobs
    assert logprobs and logprobs.tokens and len(logprobs.tokens) == 2
    assert answer.usage and answer.usage.completion_tokens == 4


def test_models_are_those_of_this_deployment(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["smollm2"]
    assert client.models.retrieve("smollm2-blue").id == "smollm2-blue"
    (here,) = client.models.list()
    told = here.model_dump()
    assert told["runtime"] == "llamacpp" and told["content_id"].startswith("sha256:")
    with pytest.raises(openai.NotFoundError, match="there is smollm2"):
        client.models.retrieve("gpt-4o")


def test_a_model_of_another_name_is_not_found_unless_it_is_the_route(api: Api) -> None:
    assert refused(api, model="chat") == (404, "model_not_found", "model")
    asked = {"model": "chat", "messages": HELLO, "max_tokens": 1}
    answer = api.request("POST", "/v1/chat/completions", json=asked, headers={"X-Route": "chat"})
    assert answer.json()["model"] == "chat"
    del asked["model"]
    assert post(api, **asked).json()["model"] == "smollm2"


def test_a_model_that_writes_gives_no_embeddings(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no embeddings"):
        client.embeddings.create(model="smollm2", input="a text")


# --- what is refused -------------------------------------------------------------


def test_a_prompt_beyond_the_context_is_refused_and_never_cut(client: openai.OpenAI) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 1000}]
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="smollm2", messages=long, max_tokens=1)
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


def test_a_picture_is_never_fetched(api: Api) -> None:
    port = free_port()  # nobody listens: whoever tried would say so
    for url in (
        f"http://127.0.0.1:{port}/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,aaaa",
    ):
        picture = {"type": "image_url", "image_url": {"url": url}}
        content = [{"type": "text", "text": "What is this?"}, picture]
        where = "messages[0].content[1].type"
        asked = [{"role": "user", "content": content}]
        assert refused(api, messages=asked) == (400, "unsupported_parameter", where)


@pytest.mark.parametrize(
    ("field", "value"),
    [("audio", {}), ("functions", []), ("reasoning_effort", "high"), ("modalities", ["audio"])],
)
def test_what_would_change_the_answer_and_cannot_be_done_is_refused(
    api: Api, field: str, value: Any
) -> None:
    assert refused(api, **{field: value}) == (400, "unsupported_parameter", field)


BIG = f"1{'0' * 400}"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("temperature", "1e400", "temperature"),
        ("temperature", "-1e400", "temperature"),
        ("temperature", '"1"', "temperature"),
        ("max_tokens", "true", "max_tokens"),
        ("max_tokens", "1e400", "max_tokens"),
        ("max_tokens", str(1 << 40), "max_tokens"),
        ("logit_bias", '{"5": 1e400}', "logit_bias.5"),
        ("logit_bias", f'{{"5": {BIG}}}', "logit_bias.5"),
        ("logit_bias", '{"5": 1e300}', "logit_bias.5"),
        ("seed", BIG, "seed"),
        ("seed", "1e400", "seed"),
        ("nobody_knows", "[0, {\"a\": 1e999}]", "nobody_knows[1].a"),
        ("response_format",
         '{"type": "json_schema", "json_schema": {"name": "a", "schema": {"maximum": 1e400}}}',
         "response_format.json_schema.schema.maximum"),
    ],
)  # fmt: skip
def test_a_number_that_is_none_is_refused_by_its_name(
    api: Api, field: str, value: str, param: str
) -> None:
    content = f'{{"messages": {json.dumps(HELLO)}, "{field}": {value}}}'.encode()
    answer = api.request("POST", "/v1/chat/completions", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, "invalid_value", param)


def test_a_token_whose_number_is_none_is_refused(api: Api) -> None:
    asked = {"prompt": [1, 10**30], "max_tokens": 1}
    answer = api.request("POST", "/v1/completions", json=asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")


def test_what_nobody_knows_is_passed_over(api: Api) -> None:
    assert post(api, messages=HELLO, max_tokens=1, nobody_knows=1, user="u").status_code == 200


def test_errors_of_every_kind_have_openais_shape(api: Api) -> None:
    assert refused(api, messages=[]) == (400, "invalid_value", "messages")
    assert refused(api, temperature=9) == (400, "invalid_value", "temperature")
    assert refused(api, tool_choice="required") == (400, "invalid_value", "tool_choice")
    nothing = api.get("/v1/nothing")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "unknown_url")
    assert "/v1/chat/completions" in nothing.json()["error"]["message"]
    broken = api.request("POST", "/v1/chat/completions", content=b"{")
    assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_json")
    squeezed = api.request("POST", "/v1/completions", headers={"Content-Encoding": "gzip"})
    assert squeezed.status_code == 415 and squeezed.json()["error"]["type"]
    assert squeezed.headers["x-should-retry"] == "false" and squeezed.headers["x-request-id"]
    # ... and the API's own shape elsewhere.
    assert "title" in api.get("/nothing").json()


def test_an_answer_that_takes_too_long_is_given_up(api: Api) -> None:
    answer = api.request(
        "POST", "/v1/chat/completions", json=STORY, headers={"X-Request-Timeout": "0.3"}
    )
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    assert answer.headers["x-should-retry"] == "true"
    until_idle(api)


def test_who_asks_for_many_answers_takes_as_many_places(api: Api) -> None:
    many = {**STORY, "n": 16, "max_tokens": 60, "stream": True}
    path, mine = "/v1/chat/completions", {"X-Subject": "many"}
    with api.client() as client, client.stream("POST", path, json=many, headers=mine) as answer:
        told = answer.iter_text()
        next(told)  # its first turns have come, others wait
        refused = api.request("POST", path, json=many, headers=mine)
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            429,
            "rate_limit_exceeded",
        )
        other = {"messages": HELLO, "max_tokens": 1}
        assert api.request("POST", path, json=other, headers={"X-Subject": "one"}).is_success
        assert "".join(told).count('"finish_reason":"length"') == 16
    until_idle(api)


# --- when the client leaves ------------------------------------------------------


def until_idle(api: Api) -> float:
    """Seconds until the model works on nothing."""
    start = time.monotonic()
    wait_until(lambda: not api.metric("llmlab_running_texts"), "the model is idle", 10)
    return time.monotonic() - start


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_written_for_a_client_that_is_gone(api: Api, stream: bool) -> None:
    content = json.dumps({**STORY, "stream": stream}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: api\r\n"
        f"Content-Length: {len(content)}\r\nX-Request-ID: gone-{stream}\r\n\r\n"
    )
    begun = api.metric("llmlab_first_token_seconds_count")
    with api.connect() as bare:
        bare.sendall(head.encode() + content)
        wait_until(
            lambda: api.metric("llmlab_first_token_seconds_count") > begun,
            "a token was written",
            10,
        )
        if stream:
            wait_until(lambda: b'"content":"' in bare.recv(65536), "and told", 10)
    assert until_idle(api) < 1  # the model's own slots: test_llamacpp
    (line,) = api.logged(f"gone-{stream}")
    assert line["status"] == 499
    assert line["usage"]["input_tokens"] > 10
    assert line["usage"]["output_tokens"] >= 1


# --- /summarize/ and Hugging Face's shape ----------------------------------------


def test_a_text_is_summarized_by_the_prompt(api: Api) -> None:
    first = api.summarize(SENTENCE, max_length=12)
    usage = first.json()["usage"]
    assert first.json()["summary"] and first.json()["model"]["runtime"] == "llamacpp"
    assert 0 < usage["output_tokens"] <= 12 and usage["windows"] == 1
    assert (first.headers["x-cache"], api.summarize(SENTENCE, max_length=12).headers["x-cache"]) \
        == ("miss", "hit")  # fmt: skip


def test_a_long_text_is_read_window_by_window(api: Api, article: str) -> None:
    text = article[:2400]  # 500 tokens, and what is left beside prompt and answer is less
    with api.client() as client, client.stream(
        "POST", "/summarize/", json={"text": text, "max_length": 20},
        headers={"Accept": "text/event-stream"},
    ) as answer:  # fmt: skip
        told = "".join(answer.iter_text())
    assert "event: progress" in told and "event: summary" in told
    summary = json.loads(told.split("event: summary\ndata: ")[1].split("\n")[0])
    assert summary["usage"]["windows"] >= 2
    assert not summary["usage"]["truncated"]


def test_hugging_faces_client_reads_a_summary(api: Api, port: int) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(base_url=f"http://127.0.0.1:{port}", token="none")
    found = client.summarization(SENTENCE, generate_parameters={"max_length": 12})
    assert found.summary_text


# --- the end ---------------------------------------------------------------------


def test_what_is_being_written_is_written_to_its_end_before_the_process_ends(
    make_api: Callable[..., Api], smollm2: Path
) -> None:
    api = make_api(LANGUAGE_MODEL, smollm2).start().until_ready()
    body = {"messages": HELLO, "max_tokens": 40, "stream": True, "logit_bias": {"2": -100}}
    with api.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as answer:
        parts = answer.iter_text()
        told = next(parts)
        api.process.terminate()
        told += "".join(parts)
    assert told.endswith("data: [DONE]\n\n") and '"finish_reason":"length"' in told
    assert api.process.wait(20) == 0
    assert "Traceback" not in api.stderr
