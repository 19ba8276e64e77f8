"""What a request has to be, whatever it says: type, encoding, depth and numbers of things."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from llmlab.service.chat.errors import ApiError
from llmlab.service.chat.schemas import ChatRequest, parsed
from llmlab.service.structure import is_deeper, wrong_type
from tests.api import PROBLEM, SENTENCE, TEXTRANK, Api


@pytest.fixture(scope="module")
def api(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK).start().until_ready()


@pytest.mark.parametrize(
    "said",
    [[], ["application/json"], ["application/json; charset=UTF-8"], ['a/b+json;charset="utf-8"'],
     ["application/json;charset=us-ascii"], ["application/json", "application/json"], [""]],
)  # fmt: skip
def test_json_in_utf_8_is_read_however_that_is_said(said: list[str]) -> None:
    assert wrong_type(said) == ""


@pytest.mark.parametrize(
    "said",
    [["text/plain"], ["application/json; charset=utf-16"], ["application/json;charset=latin-1"],
     ["application/json", "text/plain"], ["multipart/form-data; boundary=json"],
     ["application/jsonp"], ["application/json; a=b; charset = utf-7"]],
)  # fmt: skip
def test_what_is_declared_as_something_else_is_not(said: list[str]) -> None:
    assert wrong_type(said).startswith("Send JSON")


def test_only_what_is_no_text_nests() -> None:
    deep = b"[" * 5 + b"]" * 5
    assert is_deeper(deep, 4) and not is_deeper(deep, 5)
    assert not is_deeper(b"[" + b"[]," * 500 + b"[]]", 5)
    assert not is_deeper(json.dumps({"text": '[{"' * 500}).encode(), 5)
    assert is_deeper(b'{"a\\\\":' * 6 + b"1" + b"}" * 6, 5)
    assert not is_deeper(b'{"' + b"[" * 5000, 5)  # no JSON at all, as whoever reads it says


@pytest.mark.parametrize("path", ["/summarize/", "/", "/v1/chat/completions", "/v1/embeddings"])
@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-16"])
def test_every_address_reads_json_alone(api: Api, path: str, kind: str) -> None:
    headers = {"Content-Type": kind}
    answer = api.request("POST", path, content=b'{"text": "A."}', headers=headers)
    assert answer.status_code == 415
    if path.startswith("/v1/"):
        assert answer.json()["error"]["code"] == "unsupported_media_type"
    else:
        assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_a_body_in_another_encoding_than_is_said_is_not_read(api: Api, encoding: str) -> None:
    body = json.dumps({"text": SENTENCE}).encode(encoding)
    assert api.post(body).status_code == 400
    assert api.request("POST", "/", content=body).status_code == 400


def test_the_notebook_of_the_reference_lab_says_no_type_and_is_read(api: Api) -> None:
    with api.client() as client:
        request = client.build_request("POST", "/summarize/", content=b'{"text": "A ship."}')
        assert "content-type" not in request.headers
        assert client.send(request).json()["summary"] == "A ship."


@pytest.mark.parametrize(
    ("path", "body"),
    [("/summarize/", {"text": "A."}), ("/", {"inputs": "A."}),
     ("/v1/completions", {"prompt": "A."})],
)  # fmt: skip
def test_a_body_is_nested_no_more_than_a_hundred_deep(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    deep = b"[" * 101 + b"]" * 101
    content = json.dumps(body)[:-1].encode() + b', "parameters": {"generate_parameters": ' + deep
    answer = api.request("POST", path, content=content + b"}}")
    assert answer.status_code == 400 and "nested more than 100 deep" in answer.text


HI = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}
MANY: dict[str, tuple[dict[str, Any], str]] = {
    "messages": ({"messages": [HI] * 2049}, "messages"),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}] * 257}]},
        "messages[0].content",
    ),
    "tools": ({"messages": [HI], "tools": [TOOL] * 129}, "tools"),
    "calls": (
        {"messages": [HI, {"role": "assistant", "tool_calls": [CALL] * 129}]},
        "messages[1].tool_calls",
    ),
    "biases": ({"messages": [HI], "logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
    "stops": ({"messages": [HI], "stop": ["a"] * 5}, "stop"),
    "modalities": ({"messages": [HI], "modalities": ["text"] * 9}, "modalities"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "param"), MANY.values(), ids=MANY.keys())
def test_of_everything_there_is_a_most(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as raised:
        parsed(ChatRequest, json.dumps(body).encode())
    assert (raised.value.status, raised.value.param) == (400, param)
    if isinstance(most := body.get(param), list):
        assert parsed(ChatRequest, json.dumps({**body, param: most[:-1]}).encode())
