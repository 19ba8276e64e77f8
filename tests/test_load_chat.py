"""llmlab load --chat: what a stream tells, what is made of it, and streams that go wrong."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from llmlab.cli.judge.load_report import _print_figures
from llmlab.errors import UpstreamError, UsageError
from llmlab.probe import page
from llmlab.probe.figures import Figures
from llmlab.probe.load import Generator, Profile, Run
from llmlab.probe.setup import Wishes, described, supply
from llmlab.probe.shots import BROKEN_OFF, NO_ANSWER, Shot
from llmlab.probe.slo import Promise, Search
from llmlab.probe.streams import Streamed, Talk
from llmlab.probe.texts import questions

PATH = "/v1/chat/completions"
Piece = tuple[float, bytes]  # seconds before it, and what it is


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def token(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return event({"model": "fake", "choices": [choice]})


USAGE = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
DONE = b"data: [DONE]\n\n"
WHOLE = [(0.05, token("One")), (0.02, token(" two")), (0.04, token(" three", "length")),
         (0.0, USAGE), (0.0, DONE)]  # fmt: skip


@asynccontextmanager
async def provider(pieces: list[Piece], heard: list[Any], status: int = 200) -> AsyncIterator[str]:
    """Streams the same pieces to everybody."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        heard.append(json.loads(await reader.readexactly(length)))
        kind = "text/event-stream" if status == 200 else "application/json"
        writer.write(f"HTTP/1.1 {status} x\r\nContent-Type: {kind}\r\n"
                     "X-Deployment: fake-1\r\nConnection: close\r\n\r\n".encode())  # fmt: skip
        for seconds, piece in pieces:
            await asyncio.sleep(seconds)
            writer.write(piece)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()


def measured(pieces: list[Piece], status: int = 200, **profile: Any) -> tuple[Run, list[Any]]:
    heard: list[Any] = []

    async def measure() -> Run:
        given = {"warm_up": 0.0, "timeout": 10.0, "concurrency": 1, "requests": 2, "path": PATH,
                 "talk": Talk("chat", 3)}  # fmt: skip
        run = Run(Profile(**(given | profile)))
        async with provider(pieces, heard, status) as url:
            await Generator(url, lambda _: {}, lambda number: f"Question {number}?").run(run)
        return run

    return asyncio.run(measure()), heard


def test_a_stream_tells_its_first_token_its_gaps_and_its_tokens() -> None:
    run, heard = measured(WHOLE)
    assert heard[0] == {
        "model": "chat", "messages": [{"role": "user", "content": "Question 0?"}],
        "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    shot = run.shots[0]
    assert (shot.ok, shot.tokens_in, shot.tokens_out, shot.cut_off) == (True, 7, 3, True)
    assert (shot.model, shot.deployment) == ("fake", "fake-1")
    assert shot.first is not None
    assert 0.04 < shot.first < shot.latency
    assert len(shot.gaps) == 2 and sum(shot.gaps) == pytest.approx(shot.writing, abs=0.001)
    assert shot.gaps[0] >= 0.015 and shot.gaps[1] >= 0.035


def test_pieces_are_told_apart_wherever_the_network_cuts_them() -> None:
    everything = b"".join(piece for _, piece in WHOLE)
    cut = [(0.0, everything[at : at + 7]) for at in range(0, len(everything), 7)]
    run, _ = measured(cut, requests=1)
    assert (run.shots[0].ok, len(run.shots[0].gaps)) == (True, 2)


@pytest.mark.parametrize(
    "pieces",
    [
        WHOLE[:2],
        WHOLE[:-1],
        [*WHOLE[:2], (0.0, event({"error": {"message": "it broke"}})), (0.0, DONE)],
        [(0.0, b"data: {oh\n\n"), (0.0, DONE)],
        [(0.0, USAGE), (0.0, DONE)],
        [],
    ],
)
def test_a_stream_without_its_end_is_no_answer(pieces: list[Piece]) -> None:
    run, _ = measured(pieces)
    assert {shot.status for shot in run.shots} == {BROKEN_OFF}
    assert {shot.kind for shot in run.shots} == {"error"}
    assert Figures.of(run).statuses == {"broken off": 2}
    with pytest.raises(UpstreamError, match="broke off every answer"):
        run.insist("http://lab")


def test_a_stream_that_stalls_ends_with_the_time_that_it_had() -> None:
    run, _ = measured([*WHOLE[:1], (5.0, DONE)], timeout=0.4, requests=1)
    assert run.shots[0].status == BROKEN_OFF
    assert run.shots[0].latency < 2
    silent, _ = measured([(5.0, DONE)], timeout=0.4, requests=1)
    assert silent.shots[0].status == NO_ANSWER


def test_a_refusal_is_told_as_it_is() -> None:
    refused = {"error": {"message": "There is no model of that name.", "code": "model_not_found"}}
    run, _ = measured([(0.0, json.dumps(refused).encode())], status=404)
    assert {shot.status for shot in run.shots} == {404}
    with pytest.raises(UsageError, match="404: There is no model of that name"):
        run.insist("http://lab")


def test_in_an_open_loop_the_first_token_counts_from_when_it_was_due() -> None:
    run, _ = measured(WHOLE, rate=20.0, seconds=0.5, requests=5, seed=3)
    assert run.shots
    for shot in run.shots:
        assert shot.first is not None and shot.late <= shot.first <= shot.latency


# --- figures ------------------------------------------------------------------------------


def talked(*shots: Shot) -> Run:
    return Run(Profile(talk=Talk()), list(shots), seconds=10.0)


SHOTS = (
    Shot(0, 1.5, 200, tokens_in=10, tokens_out=11, first=0.5, writing=1.0, gaps=[0.1] * 10),
    Shot(1, 3.0, 200, tokens_in=10, tokens_out=21, first=1.0, writing=1.0, gaps=[0.05] * 19 + [0.9],
         cut_off=True),
    Shot(2, 0.1, 429),
)  # fmt: skip


def test_figures_of_a_chat() -> None:
    figures = Figures.of(talked(*SHOTS))
    streams = figures.streams
    assert streams
    assert (streams.first_token.p50, streams.first_token.max) == (0.5, 1.0)
    assert (streams.gaps.p50, streams.gaps.p95, streams.gaps.max) == (0.05, 0.1, 0.9)
    assert (streams.rate.mean, streams.rate.p50, streams.rate.slowest_5) == (15, 10, 10)
    assert streams.cut_off == 0.5
    assert figures.tokens_out_per_second == pytest.approx(3.2)


@pytest.mark.parametrize(
    ("promise", "broken_by"),
    [
        ("first_token.p95<1.1s", ""),
        ("first_token.p50<0.6s", ""),
        ("first_token.p95<1s", "first_token.p95 was 1 s"),
        ("gaps.p95<200ms", ""),
        ("gaps.max<200ms", "gaps.max was 0.9 s"),
    ],
)
def test_a_promise_may_be_about_first_tokens_and_gaps(promise: str, broken_by: str) -> None:
    figures = Figures.of(talked(*SHOTS[:2]))
    assert Promise.parse(promise).broken_by(figures) == broken_by


def test_an_answer_of_one_token_has_no_gaps_to_promise_anything_of() -> None:
    one = Shot(0, 0.5, 200, tokens_in=10, tokens_out=1, first=0.5)
    promise = Promise.parse("gaps.p95<1s")
    assert promise.broken_by(Figures.of(talked(one))) == "nothing of gaps was measured"


def test_a_search_for_a_rate_goes_by_the_first_token() -> None:
    search = Search(Promise.parse("first_token.p95<1s"), Profile(talk=Talk(), rate=1.0))
    while (rate := search.next_rate()) is not None:
        first = 0.2 if rate <= 5 else 3.0
        search.add(rate, talked(Shot(0, 9.0, 200, tokens_out=2, first=first)))
    assert search.best and 4.5 <= search.best.rate <= 5


def test_a_run_of_summaries_has_no_figures_of_streams() -> None:
    assert Figures.of(Run(Profile(), [Shot(0, 1, 200)], seconds=1.0)).as_json()["streams"] is None


def test_what_was_not_measured_is_null() -> None:
    told = Figures.of(talked(SHOTS[2])).as_json()
    assert told["streams"]["first_token"]["p50"] is told["streams"]["cut_off"] is None
    assert "NaN" not in json.dumps(told)


def test_the_view_and_the_page_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    run = talked(*SHOTS)
    _print_figures(Figures.of(run), run)
    shown = " ".join(capsys.readouterr().out.split())
    assert "answers/s 0.2" in shown
    assert "the first token 500 ms" in shown and "the next one 50 ms" in shown
    assert "cut off 50.0% of the answers" in shown
    assert "of a stream 10.0 the median; one in twenty 10.0 or less" in shown
    html = page.html(run, "a chat", [])
    ET.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    for words in ("first token, p95", "gap, p99", "longest gap", "tokens/s of a stream", "answer 2",
                  "percentiles of answers"):  # fmt: skip
        assert words in html
    assert "summar" not in html.partition("</style>")[2].replace('class="summary"', "")


# --- what is asked for ---------------------------------------------------------------------


def test_a_chat_goes_to_a_route_or_to_a_deployment() -> None:
    profile = Wishes(chat=True, route="support", max_tokens=9, seed=1).profile()
    assert (profile.path, profile.talk) == (PATH, Talk("support", 9))
    assert Wishes(chat=True, model="smollm2").profile().talk == Talk("smollm2")
    assert Wishes(chat=True).profile().body("Hi?")["messages"][0]["content"] == "Hi?"
    assert "model" not in Wishes(chat=True).profile().body("Hi?")
    assert described(profile)["model"] == "support"
    assert described(Wishes().profile())["max_tokens"] is None


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ({"route": "chat"}, "--route is for a chat"),
        ({"max_tokens": 5}, "--max-tokens is for a chat"),
        (
            {"until": Promise.parse("first_token.p95<1s")},
            "is about streams, and summaries are none",
        ),
        ({"chat": True, "route": "a", "model": "b"}, "--route goes by the split"),
        ({"chat": True, "route": "no name"}, "is no model's name"),
    ],
)
def test_wishes_that_contradict_each_other_are_refused(wishes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Wishes(**wishes).profile()


def test_no_question_is_like_another_and_the_same_seed_gives_the_same() -> None:
    ask = questions(7, "a")
    made = [ask(number) for number in range(200)]
    assert len(set(made)) == 200 and made == [questions(7, "a")(n) for n in range(200)]
    assert all(one.endswith(("?", ".")) and 10 < len(one.split()) < 150 for one in made)
    assert "questions" not in supply([], 0, 1).told
    assert supply([], 0, 1, chat=True).texts(3).startswith("Report 3 of series")


def test_what_comes_after_the_end_changes_nothing() -> None:
    streamed = Streamed()
    streamed.hear(b'{"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]}', 1.0)
    streamed.hear(b"[DONE]", 2.0)
    assert (streamed.whole, streamed.first, streamed.last) == (True, 1.0, 1.0)
