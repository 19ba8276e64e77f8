"""Clients that people have already, unmodified, against a real lab: a summarizer, and a language
model for chats. Beside them the lab's own client, and its verbs."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import requests

from llmlab.client import AsyncClient, Client
from llmlab.errors import UsageError
from tests.conftest import LabUnderTest, wait_until
from tests.terminal import CTRL_C, CTRL_D, Seen, type_into

HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
STORY = "Write a very long story about a lamp, in many chapters."
SENTENCES = (
    "The keeper lit the lamp at dusk. A ship far out at sea read its light. "
    "The lamp of the keeper burned until the ship was home. The gulls slept."
)
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
        },
    },
}  # fmt: skip
SHADE = {
    "type": "object", "properties": {"shade": {"enum": ["dark", "light"]}}, "required": ["shade"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., LabUnderTest], smollm2: Path) -> LabUnderTest:
    one = make_lab(
        routes__chat='"smollm2"', models__smollm2__source=f'"path:{smollm2}"',
        gateway__rate_limit__enabled="false",
    )  # fmt: skip
    one.ok("up")
    return one


@pytest.fixture(scope="module")
def key(lab: LabUnderTest) -> str:
    return lab.ok("token", "--ttl", "1h").strip()


@pytest.fixture(autouse=True)
def _on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of the environment comes between."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def client(lab: LabUnderTest, key: str, _on_this_machine: None) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{lab.url}/v1", api_key=key) as one:
        yield one


# --- openai ----------------------------------------------------------------------


def test_the_commands_of_the_issue_work_as_they_are_written(lab: LabUnderTest, key: str) -> None:
    program = (
        "from openai import OpenAI; print(OpenAI().chat.completions.create(model='chat', "
        "messages=[{'role':'user','content':'Hi'}], max_tokens=4).choices[0].message.content)"
    )
    env = lab.env | {
        "OPENAI_BASE_URL": f"{lab.ok('url').strip()}/v1", "OPENAI_API_KEY": key,
        "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_openai_names_what_there_is(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["summarize", "chat", "textrank", "smollm2"]
    assert client.models.retrieve("chat").id == "chat"


@pytest.mark.parametrize("model", ["chat", "smollm2"])
def test_openai_asks_a_route_or_a_deployment(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=4)
    assert answer.model == model
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "length"
    assert answer.usage and answer.usage.completion_tokens == 4
    assert (answer.system_fingerprint or "").startswith("smollm2@")
    assert answer._request_id


def test_openai_asks_a_model_that_only_summarizes(client: openai.OpenAI) -> None:
    asked: list[Any] = [{"role": "user", "content": SENTENCES}]
    answer = client.chat.completions.create(model="summarize", messages=asked, max_tokens=20)
    assert answer.choices[0].message.content in (one for one in _extracts())


def _extracts() -> Iterator[str]:
    """All that an extractive model may say of the sentences."""
    parts = re.findall(r"[^.]+\.", SENTENCES)
    for chosen in range(1, 1 << len(parts)):
        yield "".join(one for n, one in enumerate(parts) if chosen >> n & 1).strip()


def test_openai_streams_with_usage_in_a_last_chunk(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="chat", messages=HELLO, max_tokens=4, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    *said, last = list(stream)
    assert "".join(one.choices[0].delta.content or "" for one in said)
    assert said[-1].choices[0].finish_reason == "length"
    assert not last.choices and last.usage and last.usage.completion_tokens == 4


def test_openai_streams_asynchronously(lab: LabUnderTest, key: str) -> None:
    async def text() -> str:
        async with openai.AsyncOpenAI(base_url=f"{lab.url}/v1", api_key=key) as client:
            stream = await client.chat.completions.create(
                model="chat", messages=HELLO, max_tokens=4, stream=True
            )
            return "".join([one.choices[0].delta.content or "" async for one in stream])

    assert asyncio.run(text())


def test_openai_has_a_tool_called(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "The weather in Paris?"}],
        tools=[WEATHER], tool_choice="required", max_tokens=60, temperature=0,
    )  # fmt: skip
    (call,) = answer.choices[0].message.tool_calls or ()
    assert answer.choices[0].finish_reason == "tool_calls"
    assert call.type == "function" and call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["city"] in ("Paris", "Rome")


def test_openai_has_an_answer_that_fits_a_schema(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "The shade of soot?"}], max_tokens=30,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": SHADE}},
    )  # fmt: skip
    assert json.loads(answer.choices[0].message.content or "")["shade"] in ("dark", "light")


def test_openai_parses_an_answer_into_a_class(client: openai.OpenAI) -> None:
    class Number(pydantic.BaseModel):
        is_even: bool

    answer = client.beta.chat.completions.parse(
        model="chat", messages=[{"role": "user", "content": "Is 4 an even number?"}],
        response_format=Number, max_tokens=30,
    )  # fmt: skip
    assert isinstance(answer.choices[0].message.parsed, Number)


def test_openai_raises_what_it_has_for_each_refusal(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there are: summarize, chat") as missing:
        client.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    with pytest.raises(openai.AuthenticationError, match="llmlab token") as refused:
        client.with_options(api_key="sk-123").models.list()
    assert refused.value.request_id
    with pytest.raises(openai.BadRequestError) as long:
        said = "A lamp was lit. " * 2000
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": said}])
    assert long.value.code == "context_length_exceeded"


def test_openai_waits_as_long_as_the_gateway_says(make_lab: Callable[..., LabUnderTest]) -> None:
    lab = make_lab(gateway__rate_limit__rate='"40r/m"', gateway__rate_limit__burst="0")
    lab.ok("up")
    asked: Any = {"model": "summarize", "messages": [{"role": "user", "content": SENTENCES}]}
    with openai.OpenAI(base_url=f"{lab.url}/v1", api_key=lab.token(), max_retries=0) as client:
        client.chat.completions.create(**asked)
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(**asked)
        assert limited.value.code == "rate_limit_exceeded"
        seconds = float(limited.value.response.headers["retry-after"])
        began = time.monotonic()
        client.with_options(max_retries=2).chat.completions.create(**asked)
        assert 0.5 * seconds <= time.monotonic() - began < seconds + 10


# --- langchain, llm, Hugging Face, curl, requests -----------------------------------


def test_langchain_invokes_and_streams_with_usage(lab: LabUnderTest, key: str) -> None:
    from langchain_openai import ChatOpenAI

    chat: Any = ChatOpenAI
    model = chat(
        base_url=f"{lab.url}/v1", api_key=key, model="chat", max_tokens=4, stream_usage=True
    )
    answer = model.invoke("Say hello.")
    assert answer.content and answer.usage_metadata["output_tokens"] == 4
    first, *others = model.stream("Say hello.")
    whole = sum(others, first)
    assert whole.content and whole.usage_metadata["output_tokens"] == 4


def test_llm_asks_a_model_of_its_file(lab: LabUnderTest, key: str, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: lab\n  model_name: chat\n  api_base: {lab.url}/v1\n  api_key_name: lab\n"
    )
    (tmp_path / "keys.json").write_text(json.dumps({"lab": key}))
    done = subprocess.run(
        [sys.executable, "-m", "llm", "-m", "lab", "-o", "max_tokens", "4", "Say hello."],
        env=lab.env | {"LLM_USER_PATH": str(tmp_path), "NO_PROXY": "127.0.0.1"}, text=True,
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("parameter", ["base_url", "model"])
def test_hugging_faces_client_summarizes_and_chats(
    lab: LabUnderTest, key: str, parameter: str
) -> None:
    from huggingface_hub import InferenceClient

    def at(path: str) -> Any:
        where: Any = {parameter: f"{lab.url}{path}"}
        return InferenceClient(token=key, **where)

    assert at("/models/textrank").summarization(SENTENCES).summary_text in _extracts()
    for path in ("/models/smollm2", "/v1" if parameter == "base_url" else ""):
        answer = at(path).chat_completion(HELLO, max_tokens=4)  # it is told of no model
        assert answer.choices[0].message.content
    client = at("/models/smollm2")  # gone, it would close the stream
    pieces = client.chat_completion(HELLO, max_tokens=4, stream=True)
    assert "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_streams(lab: LabUnderTest, key: str) -> None:
    asked = json.dumps({"model": "chat", "messages": HELLO, "max_tokens": 4, "stream": True})
    printed = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", "-N", "-H", f"Authorization: Bearer {key}", "--json",
         asked, f"{lab.url}/v1/chat/completions"],
        text=True, capture_output=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    *events, done, rest = printed.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(one.removeprefix("data: ")) for one in events]
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
    assert all("usage" not in one for one in chunks)


def test_the_notebook_cell_of_the_seventh_objective_works(lab: LabUnderTest, key: str) -> None:
    """No Content-Type, as the reference lab's cells have it."""
    url = f"{lab.url}/openai/v1/chat/completions"
    data = {"model": "chat", "messages": HELLO, "max_tokens": 4}
    headers = {"Authorization": f"Bearer {key}"}
    response = requests.post(url, headers=headers, data=json.dumps(data), timeout=60)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["content"]


# --- the lab's own client ---------------------------------------------------------


def left(lab: LabUnderTest) -> int:
    """Requests whose client had left before their end, by the API's log."""
    log = (lab.lab.state / "logs" / "api-smollm2.log").read_text()
    return sum(json.loads(one).get("status") == 499 for one in log.splitlines() if one[:1] == "{")


def test_the_client_answers_with_who_answered_and_what_it_cost(lab: LabUnderTest) -> None:
    with Client(lab=lab.root) as client:
        reply = client.chat("Say hello.", max_tokens=4, temperature=0, system="You are polite.")
        assert str(reply) and reply.finish_reason == "length" and reply.usage.completion == 4
        assert (reply.model, reply.deployment) == ("chat", "smollm2")
        assert reply.fingerprint.startswith("smollm2@") and reply.request_id
        assert lab.traced(reply.request_id)["served_by"]["deployment"] == "smollm2"
        with pytest.raises(UsageError, match="there are: summarize, chat"):
            client.chat("Say hello.", model="nobody")


def test_whoever_leaves_a_stream_early_ends_the_models_work(lab: LabUnderTest) -> None:
    before = left(lab)
    with Client(lab=lab.root) as client, client.stream(STORY, max_tokens=2000) as stream:
        assert next(iter(stream))
    assert wait_until(lambda: left(lab) == before + 1, 20) < 5


def test_the_asynchronous_client_answers_and_may_leave(lab: LabUnderTest) -> None:
    before = left(lab)

    async def ask() -> str:
        async with AsyncClient(lab=lab.root) as client:
            async with client.stream(STORY, max_tokens=2000) as stream:
                async for _ in stream:
                    break
            return str(await client.chat("Say hello.", max_tokens=4))

    assert asyncio.run(ask())
    wait_until(lambda: left(lab) == before + 1, 20)


# --- chat and url -------------------------------------------------------------------


def in_a_terminal(lab: LabUnderTest, *arguments: str, **how: Any) -> Seen:
    return type_into(*arguments, cwd=lab.root, env=lab.env, **how)


def test_url_is_where_the_gateway_is(lab: LabUnderTest) -> None:
    assert lab.ok("url") == f"{lab.url}\n"
    assert lab.json("url") == {"url": lab.url}


def test_an_answer_in_a_pipe_is_plain(lab: LabUnderTest) -> None:
    asked = ("--temperature", "0", "--max-tokens", "4")
    done = lab.run("chat", *asked, "Say hello.")
    assert done.returncode == 0
    assert re.fullmatch(r"[^\x1b]+\n", done.stdout)
    assert done.stderr == "Note: the answer was cut off (--max-tokens).\n"
    reply = lab.json("chat", *asked, "Say hello.")
    assert reply["text"] + "\n" == done.stdout
    assert reply["usage"]["completion"] == 4
    # Of stdin, as part of the question.
    assert lab.ok("chat", *asked, "-", stdin="Say hello.") == done.stdout


def test_an_answer_may_have_to_fit_a_schema(lab: LabUnderTest) -> None:
    (lab.root / "shade.json").write_text(json.dumps(SHADE))
    said = lab.ok("chat", "--json-schema", "shade.json", "--max-tokens", "30", "The shade of soot?")
    assert json.loads(said)["shade"] in ("dark", "light")
    (lab.root / "shade.json").write_text("[]")
    assert lab.run("chat", "--json-schema", "shade.json", "The shade of soot?").returncode == 2


def test_without_a_question_there_is_nothing_to_send(lab: LabUnderTest) -> None:
    for arguments in ((), ("  ",), ("-",)):
        done = lab.run("chat", *arguments, stdin="")
        assert done.returncode == 2
        assert "Fix: llmlab chat" in done.stderr


@pytest.mark.parametrize("columns", [80, 120])
def test_an_answer_on_a_terminal_has_its_lines_and_nothing_else(
    lab: LabUnderTest, columns: int
) -> None:
    seen = in_a_terminal(
        lab, "chat", "--temperature", "0", "--max-tokens", "40", "What is a lighthouse?",
        columns=columns,
    )  # fmt: skip
    assert seen.code == 0
    *answer, who, note, _ = seen.screen
    assert answer[0] and answer[-1] and len(answer) >= 2
    assert all(len(line) <= columns for line in seen.screen)
    assert len(answer[0]) > columns - 20, "a line is as long as the terminal has columns"
    assert re.fullmatch(r"chat by smollm2, \d+ tokens in, 40 out", who)
    assert note == "Note: the answer was cut off (--max-tokens)."


def test_a_conversation_goes_on_until_there_is_no_question(lab: LabUnderTest) -> None:
    seen = in_a_terminal(
        lab, "chat", "-i", "--temperature", "0", "--max-tokens", "6",
        keys=[(">", "Say hello.\n"), (">", "And in French?\n"), (">", CTRL_D)],
    )  # fmt: skip
    assert seen.code == 0
    asked = [line for line in seen.screen if line.startswith(">")]
    assert asked[:2] == ["> Say hello.", "> And in French?"]
    first, second = re.findall(r"(\d+) tokens in, \d+ out", seen.written)
    assert int(second) > int(first) + 6, "it is told what was said before"
    # The same through a pipe, without a prompt.
    done = lab.run("chat", "-i", "--max-tokens", "4", stdin="Say hello.\nSay bye.\n")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 2 and ">" not in done.stdout + done.stderr


def test_ctrl_c_ends_the_answer_and_the_models_work(lab: LabUnderTest) -> None:
    before = left(lab)
    seen = in_a_terminal(
        lab, "chat", "--temperature", "0", "--max-tokens", "2000", STORY, keys=[("lamp", CTRL_C)]
    )
    assert seen.code == 130
    *answer, last, _ = seen.screen
    assert last == "Interrupted" and "lamp" in "".join(answer)
    wait_until(lambda: left(lab) == before + 1, 20)
