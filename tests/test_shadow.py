"""Mirrored requests: answered at once, read when nobody else waits, kept for whoever compares."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmlab.runtimes import Encoded
from llmlab.service.shadow import KEPT, WAITING
from llmlab.service.waiting import FairQueue, Job, Place
from tests.api import SENTENCE, T5, TEXTRANK, Api, wait_until

MakeApi = Callable[..., Api]


@pytest.fixture(scope="module")
def textrank(make_api: MakeApi) -> Api:
    return make_api(TEXTRANK).start().until_ready()


@pytest.fixture(scope="module")
def _tiny(make_api: MakeApi, tiny_t5: Path) -> Api:
    return make_api(T5, tiny_t5, queue=1).start().until_ready()


@pytest.fixture
def tiny(_tiny: Api) -> Api:
    """A model with room for one request that waits, and nothing to do."""

    def is_idle() -> bool:
        mirrored = _tiny.metric("llmlab_requests_total", route="/shadow/", status="202")
        return _tiny.waiting == 0 and _tiny.metric("llmlab_shadow_total") == mirrored

    wait_until(is_idle, "it is idle")
    return _tiny


def mirror(api: Api, text: str, **how: Any) -> httpx2.Response:
    headers = how.pop("headers", {})
    return api.request("POST", "/shadow/", json={"text": text, **how}, headers=headers)


def answers(api: Api, after: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/shadow/answers?after={after}").json()["answers"]
    return found


def last(api: Api) -> int:
    return max((one["n"] for one in answers(api)), default=0)


def answer_to(api: Api, text: str) -> dict[str, Any]:
    return wait_until(
        lambda: next((one for one in answers(api) if one["text"] == text), None),
        "the shadow has an answer",
    )


# --- What it answers -----------------------------------------------------------


def test_a_conversation_is_copied_to_a_model_that_only_summarizes_as_well(
    textrank: Api, article: str
) -> None:
    text = f"{article} This is a conversation."
    asked = {"messages": [{"role": "user", "content": text}], "max_tokens": 40}
    whole = textrank.request("POST", "/v1/chat/completions", json=asked).json()
    told = textrank.request("POST", "/shadow/chat", json=asked)
    assert (told.status_code, told.json()) == (202, {"taken": True})
    answer = answer_to(textrank, text)
    assert answer["summary"] == whole["choices"][0]["message"]["content"]
    assert answer["ended"] == {"cut_off": False, "refusal": False, "invalid": None}
    assert answer["pair"] is True


def test_a_mirrored_text_is_answered_as_a_client_would_have_been(
    textrank: Api, article: str
) -> None:
    response = mirror(textrank, article, headers={"X-Request-ID": "mirrored-1"})
    assert (response.status_code, response.json()) == (202, {"taken": True})
    answer = answer_to(textrank, article)
    assert answer["request_id"] == "mirrored-1"
    assert answer["summary"] == textrank.summarize(article).json()["summary"]
    assert answer["truncated"] is False
    assert answer["seconds"] > 0
    assert "error" not in answer


def test_parameters_and_presets_count_as_for_a_client(textrank: Api, article: str) -> None:
    mirror(textrank, f"{article} One.", max_length=9)
    mirror(textrank, f"{article} Two.", headers={"X-Decoding": "max_length=9"})
    for text in (f"{article} One.", f"{article} Two."):
        assert len(answer_to(textrank, text)["summary"].rstrip(" …").split()) <= 9


def test_the_202_does_not_wait_for_the_model(tiny: Api) -> None:
    with tiny.held():
        start = time.monotonic()
        assert mirror(tiny, SENTENCE).status_code == 202
        assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("body", "status"),
    [({"text": ""}, 422), ({"text": "a", "more": 1}, 422), ({"text": "a" * 200_001}, 413)],
)
def test_what_is_no_request_is_refused(textrank: Api, body: dict[str, Any], status: int) -> None:
    assert textrank.request("POST", "/shadow/", json=body).status_code == status


def test_a_text_that_fails_has_its_error_kept(tiny: Api, article: str) -> None:
    text, before = article * 4, tiny.metric("llmlab_shadow_total", outcome="failed")
    mirror(tiny, text, strategy="full")
    answer = answer_to(tiny, text)
    assert "reads at most" in answer["error"]
    assert "summary" not in answer
    assert tiny.metric("llmlab_shadow_total", outcome="failed") == before + 1


def test_only_answers_after_a_number_are_given(textrank: Api) -> None:
    before = last(textrank)
    for number in range(3):
        mirror(textrank, f"{SENTENCE} Number {number}.")
    wait_until(lambda: len(answers(textrank, before)) == 3, "three answers")
    numbers = [one["n"] for one in answers(textrank, before)]
    assert numbers == sorted(set(numbers))
    assert [one["n"] for one in answers(textrank, numbers[1])] == numbers[2:]
    assert textrank.get("/shadow/answers?after=-1").status_code == 422


def test_numbers_go_on_growing_in_the_next_process(make_api: MakeApi) -> None:
    api = make_api(TEXTRANK).start().until_ready()
    mirror(api, SENTENCE)
    before = answer_to(api, SENTENCE)["n"]
    api.process.kill()
    api.process.wait()
    api.start().until_ready()
    assert answers(api) == []  # in memory only
    mirror(api, SENTENCE)
    assert answer_to(api, SENTENCE)["n"] > before


def test_a_copy_of_no_gateway_says_so_whatever_the_request_is_called(
    textrank: Api, article: str
) -> None:
    named = {"X-Request-ID": "pair-1-0-1"}
    for path, text in (("/shadow/", f"{article} Here."), ("/shadow/pair", f"{article} There.")):
        told = textrank.request("POST", path, json={"text": text}, headers=named)
        assert (told.status_code, told.json()) == (202, {"taken": True})
        answer = answer_to(textrank, text)
        assert answer["request_id"] == "pair-1-0-1"
        assert answer.get("pair", False) is (path == "/shadow/pair")


def test_clients_are_not_told_of_it(textrank: Api) -> None:
    assert "/shadow/" not in textrank.get("/openapi.json").text


# --- Nobody waits for it -------------------------------------------------------


def test_it_is_read_only_once_the_model_has_nothing_else_to_do(tiny: Api) -> None:
    before = last(tiny)
    with tiny.held():
        mirror(tiny, SENTENCE)
        time.sleep(0.5)
        assert answers(tiny, before) == []
    (answer,) = wait_until(lambda: answers(tiny, before), "it has its turn")
    assert answer["summary"]


def test_it_takes_no_clients_place_in_the_queue(tiny: Api) -> None:
    with tiny.held():
        for number in range(WAITING):
            mirror(tiny, f"{number} {SENTENCE}")
        # The queue has one place, and it is free: the client is taken, and waits.
        headers = {"X-Request-Timeout": "1"}
        asked = {"text": f"{SENTENCE} Who?"}  # one that no other test has left in the cache
        response = tiny.request("POST", "/summarize/", json=asked, headers=headers)
        assert response.status_code == 504


def test_too_many_are_dropped_and_counted(tiny: Api) -> None:
    before, dropped = last(tiny), tiny.metric("llmlab_shadow_total", outcome="dropped")
    with tiny.held():
        # One has left the queue, and waits for the model.
        taken = [mirror(tiny, f"{n} {SENTENCE}").json()["taken"] for n in range(WAITING + 4)]
        assert taken.count(False) == 3
        assert tiny.get("/shadow/answers").json()["dropped"] == dropped + 3
        assert tiny.metric("llmlab_shadow_total", outcome="dropped") == dropped + 3
        assert tiny.metric("llmlab_shadow_waiting") == WAITING
    wait_until(lambda: len(answers(tiny, before)) == WAITING + 1, "all that were taken are read")


def test_no_more_than_the_newest_are_kept(textrank: Api) -> None:
    for number in range(KEPT + 5):
        wait_until(
            lambda number=number: mirror(textrank, f"The ship {number} came home.").json()["taken"],
            "there is room",
        )
    texts = f"The ship {KEPT + 4} came home."
    answer_to(textrank, texts)
    assert len(answers(textrank)) == KEPT


def test_it_does_not_fill_the_cache_of_clients(textrank: Api) -> None:
    text = f"{SENTENCE} Nobody asked for it."
    mirror(textrank, text)
    answer_to(textrank, text)
    assert textrank.summarize(text).headers["x-cache"] == "miss"


# --- The queue -----------------------------------------------------------------


def job(place: Place) -> Job:
    return Job(Encoded("", 1, 1, 0, "key"), place, lambda _: None)


def test_texts_aside_are_no_part_of_the_queue_that_clients_wait_in() -> None:
    queue = FairQueue(1)
    aside = Place("shadow", waits=False, aside=True)
    queue.add(aside, [job(aside), job(aside)])
    assert (queue.waiting, len(queue), queue.aside) == (0, 0, 2)
    assert queue.admits("alice")
    assert queue.ahead("alice") == 0
    assert queue.take(1000, 16) == []
    assert len(queue.take_aside()) == 1
    assert aside.untaken == 1


def test_texts_aside_that_are_given_up_are_gone() -> None:
    queue = FairQueue(1)
    one, other = (Place("shadow", waits=False, aside=True) for _ in range(2))
    queue.add(one, [job(one), job(one)])
    queue.add(other, [job(other)])
    queue.leave(one)
    assert queue.aside == 1
    assert queue.take_aside()[0].place is other
    assert queue.waiting == 0
