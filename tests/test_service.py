"""The API as a real process on a unix socket: what it answers, refuses, logs and survives."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import itertools
import json
import math
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from llmlab.models import content_id
from llmlab.runtimes.extractive import identity
from llmlab.service.endpoint import within
from llmlab.service.events import COMMENT
from tests.api import JSON, PROBLEM, SENTENCE, T5, TEXTRANK, Api, as_http, wait_until

CANNOT_LOAD = 78
WINDOW = 64  # tokens that the tiny T5 reads at once
PATIENCE = 2.0  # seconds in which a busy API has to answer a health check

# Many sentences in few bytes: the extractive model works on this for a second or more.
MANY_SENTENCES = "漢。" * 75_000


@pytest.fixture(scope="module")
def textrank(make_api: Callable[..., Api]) -> Api:
    return make_api(TEXTRANK).start().until_ready()


@pytest.fixture(scope="module")
def model(tiny_t5: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny T5 with a flaw: it fails on a word that its tokenizer knows and it does not."""
    from transformers import AutoTokenizer

    folder = tmp_path_factory.mktemp("model") / "tiny"
    shutil.copytree(tiny_t5, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["kaboom"])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def _tiny(make_api: Callable[..., Api], model: Path) -> Api:
    return make_api(T5, model, queue=1).start().until_ready()


@pytest.fixture
def tiny(_tiny: Api) -> Api:
    """The tiny T5, with nothing left to do of what an earlier test asked."""
    wait_until(lambda: _tiny.waiting == 0, "the tiny T5 is idle")
    return _tiny


@pytest.fixture
def together() -> Iterator[Callable[..., Future[httpx2.Response]]]:
    """Run calls in threads: ``together(api.summarize, text)`` gives a future at once."""
    with ThreadPoolExecutor(100) as pool:
        yield pool.submit


def problem(response: httpx2.Response) -> dict[str, Any]:
    """The problem document of a response, after a look at all that each must hold."""
    assert response.headers["content-type"] == PROBLEM, response.text
    assert "Traceback" not in response.text
    document = response.json()
    assert document["status"] == response.status_code
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["message"] == document["detail"] != ""
    assert document["request_id"] == response.headers["x-request-id"]
    assert response.headers["x-model"] in ("textrank", "tiny")
    return document


def status_of(raw: bytes) -> int:
    return int(raw.split(b" ", 2)[1])


def slow(tokens: int, number: int = 0) -> dict[str, Any]:
    """A request for so many tokens, neither more nor fewer, of the tiny T5.

    One with another number is another request: equal ones are answered together.
    """
    return {"text": f"{number} {SENTENCE}", "max_length": tokens, "min_length": tokens}


# --- What it answers -----------------------------------------------------------


def test_it_says_hello(textrank: Api) -> None:
    response = textrank.get("/")
    assert (response.status_code, response.json()) == (200, {"message": "Hello World"})


def test_an_answer_holds_summary_model_and_usage_and_nothing_else(textrank: Api) -> None:
    response = textrank.summarize(SENTENCE)
    assert response.status_code == 200
    assert response.headers["content-type"] == JSON
    assert response.json() == {
        "summary": SENTENCE,
        "model": {"name": "textrank", "id": identity(), "runtime": "extractive"},
        "usage": {"input_tokens": 17, "output_tokens": 17, "windows": 1, "truncated": False},
    }


def test_the_model_is_named_by_the_hash_of_its_files(tiny: Api, model: Path) -> None:
    named = tiny.summarize(SENTENCE).json()["model"]
    assert named == {"name": "tiny", "id": content_id(model), "runtime": "transformers"}


@pytest.mark.parametrize(
    ("parameters", "shortest", "longest"),
    [
        ({}, 5, 40),  # the model's own, from the settings
        ({"max_length": 12}, 5, 12),
        ({"min_length": 30}, 30, 40),
        ({"min_length": 20, "max_length": 20}, 20, 20),
        ({"max_length": 3, "min_length": None}, 1, 3),  # below the model's min_length of 5
        ({"max_length": None, "min_length": 0}, 1, 40),
        ({"max_length": 2, "min_length": 2}, 2, 2),
    ],
)
def test_lengths_of_a_request_beat_the_models_own(
    tiny: Api, parameters: dict[str, Any], shortest: int, longest: int
) -> None:
    response = tiny.summarize(SENTENCE, **parameters)
    assert response.status_code == 200, response.text
    assert shortest <= response.json()["usage"]["output_tokens"] <= longest


def test_the_smallest_max_length_is_answered_although_generate_counts_the_start_token(
    tiny: Api,
) -> None:
    response = tiny.summarize(SENTENCE, max_length=1)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("longest", [1, 7, 30])
def test_the_embedded_model_counts_lengths_in_words(
    textrank: Api, article: str, longest: int
) -> None:
    answer = textrank.summarize(article, max_length=longest, min_length=0).json()
    assert 1 <= answer["usage"]["output_tokens"] <= longest
    assert len(answer["summary"].rstrip(" …").split()) <= longest


def test_truncate_reads_one_window_of_a_long_text_and_says_so(tiny: Api, article: str) -> None:
    usage = tiny.summarize(article, strategy="truncate").json()["usage"]
    assert (usage["input_tokens"], usage["windows"], usage["truncated"]) == (WINDOW, 1, True)


def test_auto_is_the_strategy_of_a_request_that_names_none(tiny: Api, article: str) -> None:
    usage = tiny.summarize(article[:1000]).json()["usage"]
    assert usage["windows"] > 1
    assert usage["input_tokens"] > WINDOW
    assert usage["truncated"] is False


def test_full_reads_all_of_a_long_text(tiny: Api, article: str) -> None:
    usage = tiny.summarize(article[:2000], strategy="full").json()["usage"]
    assert usage["input_tokens"] > WINDOW
    assert usage["windows"] == 1
    assert usage["truncated"] is False


def test_full_refuses_a_text_that_would_fill_the_memory_and_says_what_to_ask(
    tiny: Api, article: str
) -> None:
    response = tiny.summarize(article * 4, strategy="full")
    assert response.status_code == 422
    assert '"strategy": "truncate"' in problem(response)["detail"]


def test_the_address_works_without_its_last_slash(textrank: Api) -> None:
    response = textrank.request("POST", "/summarize", json={"text": SENTENCE})
    assert response.json()["summary"] == SENTENCE


@pytest.mark.parametrize(
    "content_type",
    [None, JSON, "application/json; charset=utf-8", "Application/JSON", "application/ld+json"],
)
def test_json_is_accepted_with_and_without_a_content_type(
    textrank: Api, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = json.dumps({"text": SENTENCE}).encode()
    with textrank.client() as client:
        request = client.build_request("POST", "/summarize/", content=body, headers=headers)
        assert request.headers.get("content-type") == content_type
        assert client.send(request).json()["summary"] == SENTENCE


UNUSUAL = {
    "every character escaped": ('{"text": "\\u0041. \\ud83d\\udea2"}', "A. 🚢"),
    "a byte order mark": ('\ufeff{"text": "A ship."}', "A ship."),
    "a NUL in the text": ('{"text": "A\\u0000ship."}', "A\0ship."),
    "a key twice, of which the last counts": ('{"text": "A.", "text": "B."}', "B."),
    "a text without a word": ('{"text": "!!!"}', "!!!"),
    "lengths of null": ('{"text": "A.", "max_length": null, "min_length": null}', "A."),
    "right-to-left letters": ('{"text": "הספינה הגיעה."}', "הספינה הגיעה."),
    "white space around the object": (' \r\n{"text":"A."}\n\t', "A."),
}


@pytest.mark.parametrize(("body", "summary"), UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_json_is_summarized_all_the_same(textrank: Api, body: str, summary: str) -> None:
    response = textrank.post(body.encode())
    assert response.status_code == 200, response.text
    assert response.json()["summary"] == summary


def test_the_longest_text_is_taken_even_with_every_character_escaped(textrank: Api) -> None:
    response = textrank.post(json.dumps({"text": "🚢" * 200_000}).encode())
    assert response.status_code == 200


def test_a_body_in_chunks_is_taken(textrank: Api) -> None:
    body = json.dumps({"text": SENTENCE}).encode()
    assert textrank.post(iter([body[:9], body[9:]])).json()["summary"] == SENTENCE


def test_a_client_that_waits_for_100_continue_is_told_to_go_on(textrank: Api) -> None:
    body = json.dumps({"text": SENTENCE}).encode()
    with textrank.connect() as bare:
        bare.sendall(
            b"POST /summarize/ HTTP/1.1\r\nHost: api\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)
        )
        assert bare.recv(65536).startswith(b"HTTP/1.1 100 ")
        bare.sendall(body)
        response = http.client.HTTPResponse(bare)
        response.begin()
        assert json.load(response)["summary"] == SENTENCE


def test_concurrent_requests_get_each_their_own_answer(
    textrank: Api, together: Callable[..., Future[httpx2.Response]]
) -> None:
    texts = [f"Lighthouse number {number} stands on its own rock." for number in range(24)]
    answers = [together(textrank.summarize, text) for text in texts]
    assert [answer.result().json()["summary"] for answer in answers] == texts


# --- Headers -------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/summarize/", "/health/ready", "/nothing", "/metrics"])
def test_every_response_names_the_request_and_the_model(textrank: Api, path: str) -> None:
    headers = textrank.get(path, headers={"X-Request-ID": "trace-7.a:b_C"}).headers
    assert (headers["x-request-id"], headers["x-model"]) == ("trace-7.a:b_C", "textrank")


@pytest.mark.parametrize("given", ["", "two words", 'a"b', "a\tb", "x" * 129, "naïve"])
def test_a_request_id_that_could_spoil_a_log_is_replaced(textrank: Api, given: str) -> None:
    headers = {"X-Request-ID": given.encode("latin-1")}
    assert re.fullmatch("[0-9a-f]{32}", textrank.get("/", headers=headers).headers["x-request-id"])


def test_requests_without_an_id_get_different_ones(textrank: Api) -> None:
    assert len({textrank.get("/").headers["x-request-id"] for _ in range(5)}) == 5


# --- What it refuses -----------------------------------------------------------

BAD = {
    "an empty text": ('{"text": ""}', 422, "text: the text is empty"),
    "a blank text": ('{"text": " \\n\\t\\u2003"}', 422, "text: the text is empty or blank"),
    "no text": ('{"max_length": 9}', 422, "text: "),
    "a text of null": ('{"text": null}', 422, "text: Input should be a valid string"),
    "a text that is a number": ('{"text": 7}', 422, "text: Input should be a valid string"),
    "a text that is a list": ('{"text": ["a"]}', 422, "text: Input should be a valid string"),
    "a text that is NaN": ('{"text": NaN}', 422, "text: "),
    "half a surrogate pair": ('{"text": "\\ud800 is half a pair."}', 422, "text: "),
    "half a pair in a key": ('{"text": "A.", "\\udfff": 1}', 422, ""),
    "half a pair in a strategy": ('{"text": "A.", "strategy": "\\ud800"}', 422, "strategy: "),
    "an unknown field": ('{"text": "A.", "txet": 1}', 422, "txet"),
    "max_length 0": ('{"text": "A.", "max_length": 0}', 422, "max_length: "),
    "a negative max_length": ('{"text": "A.", "max_length": -1}', 422, "max_length: "),
    "a negative min_length": ('{"text": "A.", "min_length": -1}', 422, "min_length: "),
    "a max_length in quotes": ('{"text": "A.", "max_length": "9"}', 422, "max_length: "),
    "a fraction": ('{"text": "A.", "max_length": 9.5}', 422, "max_length: "),
    "a float": ('{"text": "A.", "max_length": 9.0}', 422, "max_length: "),
    "true": ('{"text": "A.", "max_length": true}', 422, "max_length: "),
    "a huge max_length": ('{"text": "A.", "max_length": 1000000000}', 422, "4096"),
    "a float beyond all floats": ('{"text": "A.", "max_length": 1e999}', 422, "max_length: "),
    "an infinite max_length": ('{"text": "A.", "max_length": Infinity}', 422, "max_length: "),
    "a number of 5,000 digits": (f'{{"text": "A.", "max_length": {"9" * 5000}}}', 400, ""),
    "min above max": ('{"text": "A.", "max_length": 3, "min_length": 9}', 422, "min_length 9"),
    "an unknown strategy": ('{"text": "A.", "strategy": "best"}', 422, "'truncate' or 'full'"),
    "an array": ('[{"text": "A."}]', 422, "object"),
    "a string": ('"A."', 422, "object"),
    "null": ("null", 422, ""),
    "no body": ("", 422, "body"),
    "a body of spaces": ("   ", 400, "JSON"),
    "broken JSON": ('{"text": "A."', 400, "JSON"),
    "single quotes": ("{'text': 'A.'}", 400, "JSON"),
    "two documents": ('{"text": "A."}{"text": "B."}', 400, "JSON"),
    "plain text": ("A ship.", 400, "JSON"),
    "a NUL byte": ('{"text": "A\0ship."}', 400, "control character"),
    "a line break in a string": ('{"text": "A\nship."}', 400, "control character"),
    "invalid UTF-8": (b'{"text": "\xff\xfe"}', 400, "UTF-8"),
    "UTF-8 cut in a character": (b'{"text": "\xe6\xbc"}', 400, "UTF-8"),
    "100,000 brackets": ("[" * 100_000 + "]" * 100_000, 400, ""),
    "100,000 braces": ('{"text":' * 100_000, 400, ""),
}


@pytest.mark.parametrize(("body", "status", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input_is_a_problem_that_says_what_is_wrong(
    textrank: Api, body: str | bytes, status: int, says: str
) -> None:
    response = textrank.post(body.encode() if isinstance(body, str) else body)
    assert response.status_code == status, response.text
    assert says in problem(response)["detail"]


def test_every_wrong_field_is_listed_with_its_path(textrank: Api) -> None:
    response = textrank.request("POST", "/summarize/", json={"text": 1, "max_length": 0, "x": 2})
    errors = problem(response)["errors"]
    assert {error["path"] for error in errors} == {"text", "max_length", "x"}
    assert all(error["message"] for error in errors)


@pytest.mark.parametrize("body", [b'{"text": A}', b'{"text": "A\nB"}', b'{"text": "A",}'])
def test_broken_json_is_told_where_it_breaks(textrank: Api, body: bytes) -> None:
    assert re.search(r"\d", problem(textrank.post(body))["detail"])


@pytest.mark.parametrize(
    "body", ["[" * 100_000, f'{{"text": "A.", "max_length": {"9" * 5000}}}'], ids=["deep", "digits"]
)
def test_a_body_in_utf_8_is_not_blamed_for_its_encoding(textrank: Api, body: str) -> None:
    assert "UTF-8" not in problem(textrank.post(body.encode()))["detail"]


def test_an_empty_body_is_called_empty(textrank: Api) -> None:
    assert "empty" in problem(textrank.post(b""))["detail"]


@pytest.mark.parametrize(
    "fields",
    [{f"field{number}": 1 for number in range(20_000)}, {"x" * 500_000: 1}],
    ids=["many fields", "one long name"],
)
def test_a_refusal_stays_short_however_much_is_wrong(textrank: Api, fields: dict[str, int]) -> None:
    response = textrank.request("POST", "/summarize/", json={"text": "A."} | fields)
    problem(response)
    assert len(response.content) < 16_384


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/plain; charset=utf-8", "multipart/form-data"],
)
@pytest.mark.parametrize("body", [b'{"text": "A."}', b"text=A.", b""])
def test_what_is_not_declared_as_json_is_told_what_to_send(
    textrank: Api, content_type: str, body: bytes
) -> None:
    response = textrank.post(body, content_type)
    assert response.status_code == 415
    detail = problem(response)["detail"]
    assert "Content-Type: application/json" in detail
    assert content_type.partition(";")[0] in detail


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "x" * 300])
def test_a_compressed_body_is_415_and_told_the_encoding(textrank: Api, encoding: str) -> None:
    body = gzip.compress(json.dumps({"text": SENTENCE}).encode())
    response = textrank.request(
        "POST", "/summarize/", content=body, headers={"Content-Encoding": encoding}
    )
    assert response.status_code == 415
    assert encoding[:80] in problem(response)["detail"]
    assert response.headers["accept-encoding"] == "identity"


def test_a_body_whose_encoding_is_none_is_taken(textrank: Api) -> None:
    body = json.dumps({"text": SENTENCE}).encode()
    response = textrank.request(
        "POST", "/summarize/", content=body, headers={"Content-Encoding": "identity"}
    )
    assert response.json()["summary"] == SENTENCE


def test_a_text_above_the_limit_is_413_and_told_both_numbers(textrank: Api) -> None:
    response = textrank.summarize("漢" * 200_001)
    assert response.status_code == 413
    assert {"200001", "200000"} <= set(problem(response)["detail"].split())


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_above_the_limit_is_413(textrank: Api, chunked: bool) -> None:
    chunks = [b"x" * 65_536] * 48
    response = textrank.post(iter(chunks) if chunked else b"".join(chunks))
    assert response.status_code == 413
    assert "more than 200000 characters (service.max_text_chars)" in problem(response)["detail"]


def test_a_body_announced_above_the_limit_is_refused_before_it_is_sent(textrank: Api) -> None:
    with textrank.connect() as bare:
        bare.sendall(b"POST /summarize/ HTTP/1.1\r\nHost: api\r\nContent-Length: 99999999\r\n\r\n")
        assert status_of(bare.recv(65536)) == 413


@pytest.mark.parametrize(
    ("status", "title"), [(413, "Content Too Large"), (422, "Unprocessable Content")]
)
def test_titles_are_rfc_9110s_as_they_are_at_the_gateway(
    textrank: Api, status: int, title: str
) -> None:
    response = textrank.summarize("" if status == 422 else "x" * 200_001)
    assert problem(response)["title"] == title


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *itertools.product(
            ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"],
            ["/summarize/"],
            ["POST"],
        ),
        *itertools.product(["OPTIONS", "DELETE"], ["/"], ["GET"]),
        *itertools.product(
            ["POST", "OPTIONS", "DELETE"], ["/health/live", "/health/ready"], ["GET"]
        ),
    ],
)
def test_another_method_is_405_with_the_one_to_use(
    textrank: Api, method: str, path: str, allowed: str
) -> None:
    response = textrank.request(method, path)
    assert response.status_code == 405
    assert allowed in response.headers["allow"].split(", ")
    if method == "HEAD":
        assert response.content == b""
    else:
        assert method in problem(response)["detail"]


def test_a_head_request_has_headers_and_no_body(textrank: Api) -> None:
    with textrank.client() as client:  # one connection: a body would spoil the next answer
        head = client.head("/", headers={"X-Request-ID": "head-1"})
        assert head.content == b""
        assert (head.headers["x-request-id"], head.headers["x-model"]) == ("head-1", "textrank")
        assert client.get("/").json() == {"message": "Hello World"}


@pytest.mark.parametrize(
    "path", ["/nothing", "/summarize/x", "/%00%ff", "/../etc/passwd", "/" + "x" * 9000]
)
def test_an_unknown_address_is_404(textrank: Api, path: str) -> None:
    response = textrank.get(path)
    assert response.status_code == 404
    problem(response)


@pytest.mark.parametrize(
    "head",
    [b"GET /nothing HTTP/1.0", b"GET /nothing HTTP/1.1\r\nConnection: close\r\nHost: ["],
    ids=["no Host", "a bad Host"],
)
def test_a_404_names_the_path_asked_for_and_nothing_of_the_machine(
    textrank: Api, head: bytes
) -> None:
    body = textrank.raw(head + b"\r\n\r\n").partition(b"\r\n\r\n")[2]
    assert json.loads(body)["detail"] == "There is nothing at /nothing."


HEAD = b"POST /summarize/ HTTP/1.1\r\nHost: api\r\n"
MALFORMED = {
    "binary": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "a space in a header's name": b"GET / HTTP/1.1\r\nHost: api\r\nX Y: z\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: api\r\nX: a\0b\r\n\r\n",
    "a negative length": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "a chunk without a length": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "an unknown transfer encoding": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a header of 1 MB": b"GET / HTTP/1.1\r\nHost: api\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "a request line of 1 MB": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: api\r\n\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_http_is_refused_and_harms_nobody(textrank: Api, data: bytes) -> None:
    answer = textrank.raw(data)
    assert 400 <= status_of(answer) < 500 or status_of(answer) == 501
    assert b"Traceback" not in answer
    assert textrank.get("/").status_code == 200


ANY_TEXT = st.text(st.characters())  # halves of surrogate pairs too
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
ANY_REQUEST = st.fixed_dictionaries(
    {"text": ANY_TEXT | ANY_JSON},
    optional={
        "max_length": st.integers() | ANY_JSON,
        "min_length": st.integers() | ANY_JSON,
        "strategy": st.sampled_from(["auto", "truncate", "full", ""]) | ANY_JSON,
    },
)


def check_answer(response: httpx2.Response) -> None:
    """Whatever was asked: a summary, or a problem that is the client's."""
    if response.status_code == 200:
        assert isinstance(response.json()["summary"], str)
    else:
        assert 400 <= response.status_code < 500, response.text
        problem(response)


@settings(max_examples=150, deadline=None)
@given(ANY_JSON | ANY_REQUEST)
@example({"text": "\ud800"})
@example({"text": "A.", "max_length": 10**300})
def test_any_json_gets_a_summary_or_a_problem(textrank: Api, body: Any) -> None:
    check_answer(textrank.post(json.dumps(body).encode()))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_any_bytes_get_a_summary_or_a_problem(textrank: Api, body: bytes) -> None:
    check_answer(textrank.post(body))


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1), st.integers(1, 8), st.sampled_from(["auto", "truncate", "full"]))
@example("</s><pad><unk>", 4, "truncate")
def test_any_text_gets_a_summary_or_a_problem_from_a_seq2seq_model(
    _tiny: Api, text: str, longest: int, strategy: str
) -> None:
    response = _tiny.summarize(text, max_length=longest, strategy=strategy)
    assert response.status_code == (200 if text.strip() else 422)
    check_answer(response)


# --- While a text is being summarized ------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "request_body"),
    [("textrank", {"text": MANY_SENTENCES}), ("tiny", slow(500))],
    ids=["textrank", "tiny"],
)
def test_health_is_answered_while_a_text_is_being_summarized(
    request: pytest.FixtureRequest,
    together: Callable[..., Future[httpx2.Response]],
    fixture: str,
    request_body: dict[str, Any],
) -> None:
    api: Api = request.getfixturevalue(fixture)
    answer = together(api.summarize, **request_body)
    wait_until(lambda: api.waiting == 1, "the text is being read")
    for path in ("/health/live", "/health/ready") * 3:
        start = time.monotonic()
        assert api.get(path).status_code == 200
        assert time.monotonic() - start < PATIENCE
    assert not answer.done()
    assert answer.result().status_code == 200


def test_above_the_queues_bound_requests_get_429_at_once_and_the_others_their_summary(
    tiny: Api, together: Callable[..., Future[httpx2.Response]]
) -> None:
    rejected = tiny.metric("llmlab_rejected_total", reason="queue_full")
    with tiny.held():  # one runs, service.queue = 1 more may wait
        answers = [together(tiny.summarize, **slow(8, number)) for number in range(6)]
        wait_until(lambda: sum(answer.done() for answer in answers) == 5, "five are answered")
        assert tiny.metric("llmlab_running_texts") == 1
    responses = [answer.result() for answer in answers]
    assert sorted(response.status_code for response in responses) == [200, *[429] * 5]
    for response in responses:
        if response.status_code == 429:
            assert 1 <= int(response.headers["retry-after"]) <= 60
            assert response.headers["retry-after"] in problem(response)["detail"]
    assert tiny.metric("llmlab_rejected_total", reason="queue_full") == rejected + 5
    assert tiny.waiting == 0


def send_and_leave(api: Api, body: dict[str, Any], waiting: int) -> None:
    """Send a request, and hang up once the API has so many in its queue."""
    with api.connect() as bare:
        bare.sendall(as_http(body))
        wait_until(lambda: api.waiting == waiting, f"{waiting} requests in the queue")


def test_a_client_that_leaves_while_its_text_is_summarized_does_no_harm(tiny: Api) -> None:
    before = tiny.stdout
    send_and_leave(tiny, slow(300), waiting=1)
    assert tiny.summarize(**slow(9)).headers["x-cache"] == "miss"
    wait_until(lambda: tiny.waiting == 0, "the queue is empty")
    assert "error" not in tiny.stdout.removeprefix(before)


def test_a_client_that_leaves_the_queue_gives_its_place_to_another(tiny: Api) -> None:
    with tiny.held():
        send_and_leave(tiny, slow(11), waiting=2)
        wait_until(lambda: tiny.waiting == 1, "the place of the client that left is free", 3)


def test_a_client_that_leaves_before_its_body_is_sent_is_no_error_of_the_api(
    textrank: Api,
) -> None:
    errors = textrank.metric("llmlab_requests_total", status="500")
    with textrank.connect() as bare:
        bare.sendall(HEAD + b'X-Request-ID: left-early\r\nContent-Length: 99\r\n\r\n{"text": "A')
    assert textrank.logged("left-early")[0]["status"] < 500
    assert textrank.metric("llmlab_requests_total", status="500") == errors


@pytest.fixture(scope="module")
def hasty(make_api: Callable[..., Api], tiny_t5: Path) -> Api:
    """A tiny T5 that has 2 s for a summary."""
    return make_api(T5, tiny_t5, timeout=2.0).start().until_ready()


def test_a_summary_that_takes_too_long_is_504(hasty: Api) -> None:
    response = hasty.summarize(**slow(2000))
    assert response.status_code == 504
    assert "2 s (service.timeout)" in problem(response)["detail"]
    assert hasty.metric("llmlab_rejected_total", reason="timeout") == 1


def test_after_a_504_the_model_is_free_for_the_next_request(hasty: Api) -> None:
    assert hasty.summarize(**slow(2000)).status_code == 504
    assert hasty.summarize(**slow(10)).headers["x-cache"] == "miss"


def test_a_model_that_fails_is_a_500_problem_and_one_traceback_in_the_log(tiny: Api) -> None:
    before = tiny.stdout
    with tiny.client() as client:
        body, headers = {"text": "A kaboom at sea."}, {"X-Request-ID": "boom-1"}
        response = client.post("/summarize/", json=body, headers=headers)
        assert response.status_code == 500
        assert problem(response)["request_id"] == "boom-1"
        assert "index" not in response.text  # what torch says belongs into the log
        # The connection is still good, as it has to be for a gateway that keeps it open.
        assert client.post("/summarize/", json={"text": SENTENCE}).status_code == 200
    assert [line["status"] for line in tiny.logged("boom-1") if "status" in line] == [500]
    written = tiny.stdout.removeprefix(before).splitlines()
    (error,) = [json.loads(line) for line in written if "IndexError" in line]
    assert "boom-1" in error["message"]
    assert error["error"].startswith("Traceback")


# --- Metrics and logs ----------------------------------------------------------


def test_metrics_name_the_model_that_answers(tiny: Api, model: Path) -> None:
    response = tiny.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = {one.name: one for one in text_string_to_metric_families(response.text)}
    (info,) = families["llmlab_model_info"].samples
    assert info.labels == {
        "deployment": "tiny-blue",
        "model": "tiny",
        "model_id": content_id(model),
        "runtime": "transformers",
    }
    assert [sample.value for sample in families["llmlab_ready"].samples] == [1]


def test_metrics_count_requests_tokens_and_time(textrank: Api) -> None:
    def counted() -> list[float]:
        return [
            textrank.metric("llmlab_requests_total", route="/summarize/", status="200"),
            textrank.metric("llmlab_requests_total", route="/summarize/", status="422"),
            textrank.metric("llmlab_request_seconds_count", route="/summarize/"),
            textrank.metric("llmlab_input_tokens_total"),
            textrank.metric("llmlab_output_tokens_total"),
        ]

    before = counted()
    usage = textrank.summarize("What the metrics count was not asked before.").json()["usage"]
    assert textrank.summarize("").status_code == 422
    after = [1, 1, 2, usage["input_tokens"], usage["output_tokens"]]
    assert [b - a for a, b in zip(before, counted(), strict=True)] == after


def test_no_client_can_make_a_new_series(textrank: Api) -> None:
    def series() -> set[str]:
        return {line.rpartition(" ")[0] for line in textrank.get("/metrics").text.splitlines()}

    paths = ["/nothing", "/summarize/%0a", "/summarize/x", "/health/", '/a"b']
    methods = ["GET", "BREW", "POST"]
    for path, method in itertools.product(paths, methods):
        textrank.request(method, path)
    before = series()
    for path, method in itertools.product(paths, methods):
        textrank.request(f"{method}X", f"{path}z?page=2", headers={"X-Subject": "mallory"})
    assert series() == before


def test_a_request_is_one_json_line_with_its_id_and_subject(textrank: Api) -> None:
    headers = {"X-Request-ID": "logged-1", "X-Subject": "quotes"}
    textrank.request("POST", "/summarize/", json={"text": SENTENCE}, headers=headers)
    (line,) = textrank.logged("logged-1")
    assert line.pop("time")
    assert 0 <= line.pop("seconds") < 60
    assert line == {
        "request_id": "logged-1", "subject": "quotes", "method": "POST", "path": "/summarize/",
        "status": 200, "deployment": "textrank-blue", "model_id": identity(),
    }  # fmt: skip


def test_a_subject_is_logged_in_its_own_letters(textrank: Api) -> None:
    headers = {"X-Request-ID": "logged-2", "X-Subject": "José 漢".encode()}
    textrank.get("/", headers=headers)
    assert textrank.logged("logged-2")[0]["subject"] == "José 漢"


def test_logs_never_hold_a_text(textrank: Api, tiny: Api) -> None:
    secret = "xylophone"
    for body in (
        {"text": f"The {secret} is at sea."},
        {"text": f"{secret} kaboom"},
        {"text": [secret]},
        {"text": "A.", "strategy": secret},
        {"text": secret * 30_000},
    ):
        for api in (textrank, tiny):
            api.request("POST", "/summarize/", json=body)
            api.post(json.dumps(body).encode(), "text/plain")
            api.post(json.dumps(body).encode()[:-1])
    for api in (textrank, tiny):
        assert api.logged(api.get("/").headers["x-request-id"])  # the rest is written before
        assert secret not in api.stdout + api.stderr


def test_a_line_break_in_an_address_starts_no_new_line_in_the_log(textrank: Api) -> None:
    textrank.get('/%0a{"status":200}%0d%1b[2J', headers={"X-Request-ID": "logged-3"})
    (line,) = textrank.logged("logged-3")
    assert line["path"] == '/\n{"status":200}\r\x1b[2J'


def test_health_checks_and_scrapes_that_succeed_are_not_logged(textrank: Api) -> None:
    for path in ("/health/live", "/health/ready", "/metrics"):
        textrank.get(path, headers={"X-Request-ID": "dull-1"})
    textrank.get("/", headers={"X-Request-ID": "logged-4"})
    assert textrank.logged("logged-4")
    assert "dull-1" not in textrank.stdout


@pytest.mark.parametrize("fixture", ["textrank", "tiny"])
def test_all_that_a_healthy_api_writes_is_json_lines(
    request: pytest.FixtureRequest, article: str, fixture: str
) -> None:
    api: Api = request.getfixturevalue(fixture)
    assert api.summarize(article).status_code == 200  # longer than the tiny T5's window
    assert all(isinstance(json.loads(line), dict) for line in api.stdout.splitlines())
    assert api.stderr == ""


# --- Starting and ending -------------------------------------------------------


def test_an_api_is_alive_before_it_is_ready(_tiny: Api) -> None:
    live, ready, summary = _tiny.waking[:3]
    assert (live.status_code, ready.status_code, summary.status_code) == (200, 503, 503)
    for response in (ready, summary):
        assert "being loaded" in problem(response)["detail"]
        assert int(response.headers["retry-after"]) > 0


def test_ready_names_the_model(textrank: Api) -> None:
    response = textrank.get("/health/ready")
    model = {"name": "textrank", "id": identity(), "runtime": "extractive"}
    assert (response.status_code, response.json()) == (200, {"status": "ready", "model": model})


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def pickled_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file

    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()


@pytest.mark.parametrize(
    ("damage", "why"),
    [(no_folder, "model"), (cut_weights, "safetensor"), (pickled_weights, "safetensor")],
)
def test_a_model_that_cannot_be_loaded_ends_the_process_with_78_and_the_reason_in_the_log(
    make_api: Callable[..., Api],
    tiny_t5: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    why: str,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_t5, folder)
    damage(folder)
    api = make_api(T5, folder).start()
    assert api.process.wait(60) == CANNOT_LOAD
    errors = [json.loads(line) for line in api.stdout.splitlines() if '"error"' in line]
    assert [error["message"] for error in errors] == ["the model tiny cannot be loaded"]
    assert why in errors[0]["error"].splitlines()[-1].lower()


def test_sigterm_lets_the_running_request_finish_and_ends_with_0(
    make_api: Callable[..., Api], together: Callable[..., Future[httpx2.Response]]
) -> None:
    api = make_api(TEXTRANK).start().until_ready()
    answer = together(api.summarize, MANY_SENTENCES)
    api.until_at_work()
    api.process.send_signal(signal.SIGTERM)
    assert answer.result().status_code == 200
    assert api.process.wait(30) == 0
    with pytest.raises(httpx2.ConnectError):
        api.get("/")


def test_sigterm_lets_requests_finish_that_take_long_but_less_than_the_timeout(
    make_api: Callable[..., Api], together: Callable[..., Future[httpx2.Response]]
) -> None:
    api = make_api(TEXTRANK, queue=1000).start().until_ready()
    start = time.monotonic()
    assert api.summarize(MANY_SENTENCES).status_code == 200
    count = math.ceil(12 / (time.monotonic() - start))  # 12 s of work
    answers = [together(api.summarize, MANY_SENTENCES + "灯" * n) for n in range(1, count + 1)]
    wait_until(lambda: api.waiting == count, f"{count} requests in the queue")
    api.process.send_signal(signal.SIGTERM)
    assert [answer.result().status_code for answer in answers] == [200] * count


def test_the_socket_of_a_killed_process_does_not_hinder_the_next_one(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(TEXTRANK).start().until_ready()
    api.process.kill()
    api.process.wait()
    assert api.socket.is_socket()
    assert api.start().until_ready().summarize(SENTENCE).status_code == 200


# --- Events --------------------------------------------------------------------


def test_the_head_of_a_stream_does_not_wait_for_the_model(tiny: Api) -> None:
    body, headers = slow(40), {"Accept": "text/event-stream", "X-Request-Timeout": "3"}
    with (
        tiny.held(),  # the model does nothing for anybody else
        tiny.client() as client,
        client.stream("POST", "/summarize/", json=body, headers=headers) as stream,
    ):
        assert stream.status_code == 200
        lines = stream.iter_lines()
        assert next(lines).startswith(":")
        rest = list(lines)
    assert "event: problem" in rest
    assert ": broken off" not in rest  # it was the client that gave it so little time
    told = json.loads(rest[-2].removeprefix("data: "))
    assert told["status"] == 504
    # The head said 200, but whoever looks after the API hears what became of the request.
    assert tiny.metric("llmlab_requests_total", route="/summarize/", status="504") >= 1


def test_a_stream_that_cannot_be_answered_has_its_status(textrank: Api) -> None:
    headers = {"Accept": "text/event-stream"}
    for body, status in (({"text": ""}, 422), ({"text": "a" * 200_001}, 413)):
        assert textrank.request("POST", "/summarize/", json=body, headers=headers).status_code == (
            status
        )


def test_silence_in_a_stream_is_broken_by_comments() -> None:
    async def heard() -> list[Any]:
        queue: asyncio.Queue[Any] = asyncio.Queue()
        first = [await within(0.01, queue) for _ in range(2)]
        queue.put_nowait(None)
        return [*first, await within(60, queue)]

    assert asyncio.run(heard()) == [COMMENT, COMMENT, None]
    assert COMMENT.startswith(":")
    assert COMMENT.endswith("\n\n")


def test_a_stream_asks_whoever_passes_it_on_not_to_hold_or_keep_it(textrank: Api) -> None:
    headers = {"Accept": "text/event-stream"}
    stream = textrank.request("POST", "/summarize/", json={"text": SENTENCE}, headers=headers)
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.headers["x-accel-buffering"] == "no"
    assert stream.headers["cache-control"] == "no-store"
    assert "event: summary\ndata: {" in stream.text


# --- What it imports -----------------------------------------------------------


def test_serving_the_embedded_model_imports_neither_torch_nor_the_rest_of_llmlab(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(TEXTRANK).start("-X", "importtime").until_ready()
    assert api.summarize(SENTENCE).status_code == 200
    imported = {line.rpartition("|")[2].strip() for line in api.stderr.splitlines()}
    assert {"llmlab.service.app", "llmlab.runtimes.extractive", "numpy"} <= imported
    unwanted = re.compile(
        r"(torch|transformers|tokenizers|huggingface_hub|ctranslate2|typer|rich|docker|supervisor"
        r"|llmlab\.(cli|engines|rollout))(\.|$)"
    )
    assert not sorted(filter(unwanted.match, imported))
