"""The runtime ``scripted``: it does what a request says, and tells what it heard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from llmlab.config import Model
from llmlab.models.loading import scripted_id
from llmlab.runtimes.scripted import Script, limited
from tests.api import wait_until
from tests.gateways import ScriptedApi


@pytest.fixture(scope="module")
def api() -> Iterator[ScriptedApi]:
    one = ScriptedApi()
    one.start()
    try:
        yield one.until_ready()
    finally:
        one.stop()


def chat(api: ScriptedApi, said: Any, **fields: Any) -> Any:
    text = said if isinstance(said, str) else json.dumps(said)
    body = {"messages": [{"role": "user", "content": text}], **fields}
    return api.request("POST", "/v1/chat/completions", json=body)


def word(api: ScriptedApi, said: Any) -> str:
    return str(chat(api, said).json()["choices"][0]["message"]["content"])


def test_it_says_again_what_it_is_told_and_counts_its_words(api: ScriptedApi) -> None:
    answer = chat(api, "one two three").json()
    assert answer["choices"][0]["message"]["content"] == "one two three"
    counted = answer["usage"]
    assert (counted["prompt_tokens"], counted["completion_tokens"]) == (3, 3)
    assert api.summarize("A ship reads the light.").json()["model"]["runtime"] == "scripted"


def test_it_tells_what_the_api_heard(api: ScriptedApi) -> None:
    heard = json.loads(word(api, {"tell": "request"}))
    assert (heard["method"], heard["path"]) == ("POST", "/v1/chat/completions")
    assert ["content-type", "application/json"] in heard["headers"]


def test_it_knows_what_it_was_asked_and_who_has_left(api: ScriptedApi) -> None:
    assert word(api, {"tell": "seen", "of": "a"}) == "no"
    chat(api, {"say": "x", "mark": "a"})
    assert word(api, {"tell": "seen", "of": "a"}) == "yes"
    assert word(api, {"tell": "left", "of": "a"}) == "no"
    body = {"stream": True, "messages": [{"role": "user", "content": json.dumps(
        {"say": "word " * 100, "pause": 0.1, "mark": "b"})}]}  # fmt: skip
    with api.client() as client, client.stream("POST", "/v1/chat/completions", json=body) as came:
        next(came.iter_lines())
    wait_until(lambda: word(api, {"tell": "left", "of": "b"}) == "yes", "it hears that", 10)


def test_it_breaks_off_and_refuses_on_demand(api: ScriptedApi) -> None:
    streamed = chat(api, {"say": "a b c", "break_after": 2}, stream=True).text
    assert '"a "' in streamed and '"b "' in streamed and '"c"' not in streamed
    assert "broke off" in streamed
    assert chat(api, {"break_after": 0}).status_code == 502
    assert chat(api, {"refuse": 429}).status_code == 429


def test_what_is_no_script_is_refused_by_name(api: ScriptedApi) -> None:
    refused = chat(api, {"shout": "x"})
    assert refused.status_code == 400
    assert "shout" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("text", "body", "said"),
    [
        ("a b c", {}, (["a ", "b ", "c"], "stop")),
        ("a b c", {"max_tokens": 2}, (["a ", "b "], "length")),
        ("a b c", {"max_tokens": 3}, (["a ", "b ", "c"], "stop")),
        ("a b c", {"stop": ["b"]}, (["a "], "stop")),
        ("a b c", {"stop": "c"}, (["a ", "b "], "stop")),
        ("", {}, ([], "stop")),
    ],
)
def test_an_answer_ends_where_it_has_to(text: str, body: Any, said: Any) -> None:
    assert limited(text, body) == said


def test_text_is_a_script_only_if_it_is_an_object() -> None:
    assert Script.of_text("{not json").say == "{not json"
    assert Script.of_text(' {"say": "x"}').say == "x"
    for wrong in ('{"wait": 1e9}', '{"pause": -1}', '{"say": 1}', '{"tell": "all"}'):
        with pytest.raises(ValidationError):
            Script.of_text(wrong)


def test_its_id_is_that_of_its_prompt_and_its_decoding() -> None:
    assert scripted_id("a", {}) == scripted_id("a", {})
    assert len({scripted_id("a", {}), scripted_id("b", {}), scripted_id("a", {"seed": 1})}) == 3


@pytest.mark.parametrize(
    ("runtime", "source"),
    [("scripted", ""), ("scripted", "embedded:textrank"), ("extractive", "embedded:script"),
     ("scripted", "path:x")],
)  # fmt: skip
def test_it_comes_from_nowhere_else(runtime: Any, source: str) -> None:
    with pytest.raises(ValidationError):
        Model(runtime=runtime, source=source)
