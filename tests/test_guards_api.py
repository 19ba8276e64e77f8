"""Guards at an API: what is asked, what is answered, and what nobody gets to see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import fakes
from tests.api import PROBLEM, PROMPT, SENTENCE, TEXTRANK, Api, wait_until
from tests.conftest import LabUnderTest
from tests.provider import EXCHANGES, Exchange, Provider

KEY = next(fakes.samples(fakes.SECRETS["github"], 1, 11))
CARD = next(fakes.samples(fakes.card, 1, 11))
GUARDS = [
    {"kind": "secrets"},
    {"kind": "pii", "action": "redact"},
    {"kind": "deny", "name": "words", "words": ["project falcon"], "on": ["answer"]},
    {"kind": "deny", "name": "seen", "patterns": ["(?i)keeper"], "action": "allow", "longest": 6},
    {"kind": "deny", "name": "of-chat", "words": ["zeppelin"], "routes": ["chat"]},
    {"kind": "odd", "on": ["request"], "timeout": 0.5, "options": {"word": "trip"}},
]
# A guard of somebody else's, as it lies once it is installed.
ODD = """
import time
from llmlab.guards.base import Finding, Guard

class Odd(Guard):
    def __init__(self, word):
        self.word = word

    def find(self, text, about):
        if "raise yourself" in text:
            raise RuntimeError(text)
        if "hang yourself" in text:
            time.sleep(2)
        start = text.find(self.word)
        return [Finding(start, start + len(self.word), "odd-word")] if start >= 0 else []
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path in which a distribution is installed."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "odd_guards.py").write_text(ODD)
    about = folder / "odd_guards-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-guards\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[llmlab.guards]\nodd = odd_guards:Odd\n")
    return folder


@pytest.fixture(scope="module")
def textrank(make_api: Callable[..., Api], installed: Path) -> Api:
    api = make_api(TEXTRANK, guards=GUARDS)
    return api.start(env={"PYTHONPATH": str(installed)}).until_ready()


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as one:
        yield one


@pytest.fixture(scope="module")
def far(make_api: Callable[..., Api], installed: Path, provider: Provider) -> Api:
    table = {"runtime": "openai", "base_url": provider.url, "model": "hello"}
    api = make_api(table)
    api.name = "far"
    settings = {"deployment": "far", "name": "far", "model": table, "guards": GUARDS,
                "prompt": PROMPT.read_text()}  # fmt: skip
    (api.home / "settings.json").write_text(json.dumps(settings))
    return api.start(env={"PYTHONPATH": str(installed)}).until_ready()


def problem(response: httpx2.Response) -> str:
    assert response.headers["content-type"] == PROBLEM
    return str(response.json()["detail"])


def chat(far: Api, content: Any, *, route: str = "", **more: Any) -> httpx2.Response:
    headers = {"X-Route": route} if route else {}
    body = {"messages": [{"role": "user", "content": content}], **more}
    return far.request("POST", "/v1/chat/completions", json=body, headers=headers)


def events(response: httpx2.Response) -> list[Any]:
    *parts, done, _ = response.text.split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(one.removeprefix("data: ")) for one in parts if not one.startswith(":")]


def said(told: list[Any]) -> str:
    return "".join(
        one["choices"][0]["delta"].get("content") or "" for one in told if one["choices"]
    )


# --- requests ------------------------------------------------------------------------


def test_a_text_with_a_key_is_refused_and_nothing_of_it_is_told(textrank: Api) -> None:
    before = textrank.metric(
        "llmlab_guard_findings_total", guard="secrets", kind="github", where="request"
    )
    response = textrank.summarize(f"{SENTENCE} The token is {KEY}.")
    assert response.status_code == 403
    assert (
        problem(response) == "The guard 'secrets' of this lab refuses this text: it holds github."
    )
    (line, *_) = textrank.logged(response.headers["x-request-id"])
    assert {name: line[name] for name in ("guard", "found", "count", "lengths", "action")} == {
        "guard": "secrets", "found": "github", "count": 1, "lengths": [40], "action": "block",
    }  # fmt: skip
    assert KEY not in textrank.stdout + textrank.stderr and KEY[4:] not in response.text
    assert before + 1 == textrank.metric(
        "llmlab_guard_findings_total", guard="secrets", kind="github", where="request"
    )


def test_a_number_in_a_text_is_replaced_before_the_model_reads_it(textrank: Api) -> None:
    response = textrank.summarize(f"The keeper paid the lamp by card {CARD} at dusk.")
    assert response.json()["summary"] == "The keeper paid the lamp by card [card] at dusk."
    assert response.headers["x-guard"] == "redacted"
    assert "x-guard" not in textrank.summarize(SENTENCE).headers


def test_what_was_kept_of_another_time_goes_past_the_guards_again(textrank: Api) -> None:
    text = "Nobody is to hear of Project  Falcon here."
    for cache in ("miss", "hit"):
        response = textrank.summarize(text)
        assert response.status_code == 403 and "refuses this summary" in problem(response), cache


def test_hugging_faces_shape_and_events_are_looked_at_as_well(textrank: Api) -> None:
    posted = textrank.request("POST", "/", json={"inputs": [SENTENCE, f"A card: {CARD}."]})
    assert posted.json()[1] == {"summary_text": "A card: [card]."}
    assert posted.headers["x-guard"] == "redacted"
    for text, status in ((KEY, 403), ("Say project falcon.", 403), ("raise yourself", 500)):
        headers = {"Accept": "text/event-stream"}
        body = {"text": f"{SENTENCE} {text}"}
        streamed = textrank.request("POST", "/summarize/", json=body, headers=headers)
        assert streamed.status_code == status, streamed.text


def test_copies_for_a_shadow_are_looked_at_as_a_client_s(textrank: Api) -> None:
    assert textrank.request("POST", "/shadow/", json={"text": KEY}).status_code == 403
    for text in (f"Shadow pays with {CARD}.", "Shadow says project falcon."):
        assert textrank.request("POST", "/shadow/", json={"text": text}).status_code == 202

    def kept() -> Any:
        found = textrank.get("/shadow/answers").json()["answers"]
        return found if len(found) == 2 else None

    paid, told = wait_until(kept, "both were read")
    assert paid["text"] == paid["summary"] == "Shadow pays with [card]."
    assert "summary" not in told and "'words'" in told["error"]


@pytest.mark.parametrize("what", ["raise yourself", "hang yourself"])
def test_a_guard_that_fails_refuses_the_request(textrank: Api, far: Api, what: str) -> None:
    before = textrank.metric("llmlab_guard_failures_total", guard="odd")
    response = textrank.summarize(f"{SENTENCE} {what}")
    assert (response.status_code, problem(response)) == (
        500, "The guard 'odd' of this lab could not look at the text.",
    )  # fmt: skip
    assert textrank.metric("llmlab_guard_failures_total", guard="odd") == before + 1
    assert what not in textrank.stdout + textrank.stderr
    answer = chat(far, what)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["type"]) == (
        500,
        "guard_failed",
        "server_error",
    )
    assert answer.headers["x-should-retry"] == "false"


def test_a_guard_of_an_installed_package_is_as_good_as_one_of_ours(textrank: Api) -> None:
    response = textrank.summarize("A trip to the lamp.")
    assert response.status_code == 403 and "'odd'" in problem(response)
    assert textrank.metric("llmlab_guard_findings_total", guard="odd", kind="odd-word") >= 1


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "a part of a message": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": KEY}]}]},
        "messages[0].content[0].text",
    ),
    "a system message": (
        {"messages": [{"role": "system", "content": KEY}, {"role": "user", "content": "Hi"}]},
        "messages[0].content",
    ),
    "the arguments of a call": (
        {"messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": json.dumps({"k": KEY})}}]},
        ]},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "a number where JSON wants one": (
        {"messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "tool_calls": [
                {"id": "1", "function": {"name": "f", "arguments": '{"k": 4111111111111111}'}}]},
        ]},
        "messages[1].tool_calls[0].function.arguments",
    ),
    "what a tool says": (
        {"messages": [{"role": "user", "content": "Hi"},
                      {"role": "tool", "tool_call_id": "1", "content": KEY}]},
        "messages[1].content",
    ),
    "how a tool is described": (
        {"messages": [{"role": "user", "content": "Hi"}],
         "tools": [{"type": "function", "function": {"name": "f", "description": KEY}}]},
        "tools[0].function.description",
    ),
    "the name of a parameter": (
        {"messages": [{"role": "user", "content": "Hi"}],
         "tools": [{"type": "function", "function": {
             "name": "f", "parameters": {"type": "object", "properties": {KEY: {}}}}}]},
        "tools[0].function.parameters.properties",
    ),
    "a field that nobody knows": (
        {"messages": [{"role": "user", "content": "Hi"}], "context": [{"text": KEY}]},
        "context[0].text",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("body", "param"), FIELDS.values(), ids=FIELDS.keys())
def test_every_text_of_a_chat_is_looked_at(
    far: Api, provider: Provider, body: dict[str, Any], param: str
) -> None:
    provider.asked.clear()
    answer = far.request("POST", "/v1/chat/completions", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (403, "invalid_request_error")
    assert (error["code"], error["param"]) == ("guard_blocked", param)
    assert provider.asked == []


def test_a_completion_and_embeddings_are_looked_at_too(far: Api, textrank: Api) -> None:
    for path, field in (("completions", "prompt"), ("embeddings", "input")):
        for sent, status, param in (
            ([f"a {KEY}"], 403, f"{field}[0]"), ([1, 2], 400, field), ([[1], [2]], 400, field),
        ):  # fmt: skip
            answer = far.request("POST", f"/v1/{path}", json={field: sent})
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    answer = textrank.request("POST", "/v1/chat/completions",
                              json={"messages": [{"role": "user", "content": KEY}]})  # fmt: skip
    assert answer.json()["error"]["code"] == "guard_blocked"


def test_what_is_redacted_is_all_that_the_provider_gets(far: Api, provider: Provider) -> None:
    provider.asked.clear()
    answer = chat(far, f"Charge {CARD}, please.", user=CARD)
    assert answer.status_code == 200 and answer.headers["x-guard"] == "redacted"
    assert provider.chats[0].body["messages"][0]["content"] == "Charge [card], please."
    assert CARD not in json.dumps(provider.chats[0].body)


def test_a_guard_of_one_route_sees_that_route_and_deployments_by_name(
    far: Api, textrank: Api
) -> None:
    assert chat(far, "A zeppelin.", route="chat").status_code == 403
    assert chat(far, "A zeppelin.", route="far").status_code == 403  # the deployment's own name
    assert chat(far, "A zeppelin.", route="support").status_code == 200
    assert textrank.summarize("A zeppelin.").status_code == 200


# --- answers ---------------------------------------------------------------------------


@pytest.fixture
def answering(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def answer(*words: str, **how: Any) -> None:
        monkeypatch.setitem(EXCHANGES, "now", Exchange(words=words, **how))
        monkeypatch.setattr(provider, "now", "now")

    return answer


@pytest.mark.parametrize("cut", [1, 3, 7])
def test_a_key_that_is_spread_over_tokens_ends_a_stream_before_any_of_it(
    far: Api, answering: Callable[..., None], cut: int
) -> None:
    pieces = [KEY[place : place + cut] for place in range(0, len(KEY), cut)]
    answering("The", " token", " is ", *pieces, " and", " more")
    response = chat(far, "Tell me", stream=True, stream_options={"include_usage": True})
    told = events(response)
    assert "The token is ".startswith(said(told))
    *_, last, usage = told
    assert last["choices"][0]["finish_reason"] == "content_filter"
    assert "'secrets'" in last["choices"][0]["delta"]["refusal"]
    assert usage["usage"]["completion_tokens"] > 0  # what was written is paid for all the same
    assert KEY[4:12] not in response.text


def test_a_number_in_a_stream_is_replaced_and_the_rest_comes(
    far: Api, answering: Callable[..., None]
) -> None:
    answering("Pay", " with ", *CARD, ", my", " friend", ".")
    told = events(chat(far, "How?", stream=True))
    assert said(told) == "Pay with [card], my friend."
    assert told[-1]["choices"][0]["finish_reason"] == "stop"
    assert [one["choices"][0]["delta"].get("role") for one in told].count("assistant") == 1


def test_of_a_whole_answer_that_is_blocked_nothing_is_left(
    far: Api, answering: Callable[..., None]
) -> None:
    answering("It", " is ", "project", " falcon", ".")
    (choice,) = chat(far, "Tell me").json()["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"] == "" and "'words'" in choice["message"]["refusal"]
    answering("Pay with ", CARD)
    answer = chat(far, "How?")
    assert answer.json()["choices"][0]["message"]["content"] == "Pay with [card]"
    assert answer.headers["x-guard"] == "redacted"


def test_log_probabilities_would_tell_the_text_around_a_guard(far: Api) -> None:
    error = chat(far, "Hi", logprobs=True).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_parameter", "logprobs")


def test_the_end_of_a_stream_that_its_provider_breaks_off_is_as_before(
    far: Api, answering: Callable[..., None]
) -> None:
    answering("A", " lamp", " lit", ends_after=2)
    assert events(chat(far, "Tell me", stream=True))[-1]["error"]["code"] == "upstream_error"


# --- what cannot be loaded ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("guard", "said"),
    [
        ({"kind": "gone"}, "there is no kind 'gone'"),
        ({"kind": "odd", "options": {"words": "a"}}, "unexpected keyword argument 'words'"),
        ({"kind": "deny", "patterns": ["("]}, "is no pattern of RE2"),
    ],
)
def test_a_deployment_without_a_guard_that_it_was_to_have_does_not_serve(
    make_api: Callable[..., Api], installed: Path, guard: dict[str, Any], said: str
) -> None:
    api = make_api(TEXTRANK, guards=[guard])
    api.start(env={"PYTHONPATH": str(installed)})
    assert api.process.wait(30) == 78
    assert said in api.stdout and "does not serve" in api.stdout


# --- in a lab ------------------------------------------------------------------------------


def test_a_labs_guards_are_those_of_its_lab_toml_once_up_has_run(
    make_lab: Callable[..., LabUnderTest],
) -> None:
    lab = make_lab(gateway__rate_limit__enabled="false")
    file = lab.root / "configs" / "lab.toml"
    without = file.read_text()

    def posted(text: str) -> httpx2.Response:
        with lab.client() as client:
            return client.post("/summarize/", json={"text": text})

    file.write_text(without + '\n[[guards]]\nkind = "secrets"\n')
    lab.ok("up")
    refused = posted(f"{SENTENCE} {KEY}")
    assert refused.status_code == 403 and "'secrets'" in problem(refused)
    assert posted(f"A card: {CARD}.").json()["summary"] == f"A card: {CARD}."

    file.write_text(without + '\n[[guards]]\nkind = "pii"\naction = "redact"\n')
    lab.ok("up")
    told = posted(f"A card: {CARD}.")
    assert told.json()["summary"] == "A card: [card]." and told.headers["x-guard"] == "redacted"
    with lab.client() as client:
        body = {"model": "summarize", "messages": [{"role": "user", "content": f"My {CARD}."}]}
        chatted = client.post("/v1/chat/completions", json=body).json()
    assert chatted["choices"][0]["message"]["content"] == "My [card]."

    file.write_text(without + '\n[[guards]]\nkind = "deny"\npatterns = ["(?=a)"]\n')
    done = lab.run("up")
    assert done.returncode == 2 and "is no pattern of RE2" in done.stderr
    assert "Fix: correct [[guards]]" in done.stderr
    assert posted(f"Another card: {CARD}.").json()["summary"] == "Another card: [card]."
