"""The benchmark of chat: what it makes of its measurements, and that its load generator and its
provider tell the truth."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from benchmarks import conversations, upstream
from benchmarks.asking import ask
from benchmarks.chat import markdown
from benchmarks.conversations import Talk, talk_of
from benchmarks.programs import Program
from benchmarks.systems import Failed
from benchmarks.talk import Answer, Task
from benchmarks.upstream import Events, Found, Rate, events_of
from tests.conftest import clean_env, free_port

TOP = Path(__file__).parents[1]
SAY = {"messages": [{"role": "user", "content": "200"}]}  # tokens/s


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port, folder = free_port(), tmp_path_factory.mktemp("provider")
    command = [sys.executable, "-m", "benchmarks.servers.provider", "--port", str(port)]
    with Program(command, port, folder / "log"):
        yield port


def streams(port: int, clients: int, tokens: int) -> list[Answer]:
    body = json.dumps({**SAY, "stream": True, "max_tokens": tokens})
    return ask(Task([body], port=port, clients=clients, rounds=1))


# --- The load generator, and the provider ----------------------------------------------


def test_each_request_has_a_connection_of_its_own_if_that_is_asked_for() -> None:
    connections = 0

    async def run(anew: bool) -> list[Answer]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while await reader.readuntil(b"\r\n\r\n{}"):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            writer.close()

        port = free_port()
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            return await asyncio.to_thread(ask, Task(["{}"] * 3, port=port, anew=anew))

    assert [one.status for one in asyncio.run(run(anew=False))] == [200] * 3
    assert connections == 1
    assert [one.status for one in asyncio.run(run(anew=True))] == [200] * 3
    assert connections == 4


def test_every_event_of_a_stream_is_seen_with_its_number_and_its_moments(provider: int) -> None:
    answers = streams(provider, clients=5, tokens=20)
    assert len(answers) == 5
    for one in answers:
        assert (one.status, one.tokens, one.done) == (200, 20, True)
        assert [number for number, _, _ in one.stamps] == list(range(20))
        assert all(sent <= came < sent + 1 for _, sent, came in one.stamps)
        assert one.start <= one.first <= one.end
    # 20 tokens at 200/s: the last one comes 95 ms after the first.
    assert answers[0].stamps[-1][1] - answers[0].stamps[0][1] == pytest.approx(0.095, abs=0.04)


def test_whole_answers_are_asked_for_one_after_the_other_for_as_long_as_is_said(
    provider: int,
) -> None:
    answers = ask(Task([json.dumps(SAY)], port=provider, clients=2, seconds=0.3))
    assert len(answers) > 10
    assert {(one.status, one.tokens) for one in answers} == {(200, 20)}
    assert max(one.start for one in answers) < min(one.start for one in answers) + 0.4


def test_a_client_goes_on_after_a_connection_that_the_server_ends() -> None:
    """One by its own word, one in the middle of an answer, and one that it does not even read."""
    taken = 0

    async def run() -> list[Answer]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal taken
            taken += 1
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b": ")[2]))
            if taken == 1:
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            elif taken == 2:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
            writer.close()

        port = free_port()
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            return await asyncio.to_thread(ask, Task(["{}"] * 3, port=port))

    assert [one.status for one in asyncio.run(run())] == [200, 0, 200]
    assert taken == 3


def test_a_program_that_does_not_come_up_says_why(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with (
        pytest.raises(Failed, match="no such model"),
        Program(command, free_port(), tmp_path / "log"),
    ):
        pass


# --- Figures -----------------------------------------------------------------------------


def stream(*numbers: int, late: float = 0.001, done: bool = True) -> Answer:
    stamps = [(number, number / 10, number / 10 + late) for number in numbers]
    return Answer(0.0, end=1.0, status=200, done=done, stamps=stamps)


def test_events_that_are_lost_come_twice_or_in_another_order_are_counted() -> None:
    assert events_of([stream(0, 1, 2, 3)] * 2, 10, 4).lost == 0
    assert events_of([stream(0, 1, 2, 3)] * 2, 10, 4).merged == 0
    assert events_of([stream(0, 1, 3), stream(0, 1, 2, 3)], 10, 4).lost == 1
    assert events_of([stream(0, 1, 1, 2, 3)], 10, 4).merged > 0
    assert events_of([stream(0, 2, 1, 3)], 10, 4).merged > 0
    assert events_of([stream(0, 1, 2, 3, done=False)], 10, 4).broken == 1


def test_an_event_is_late_by_the_time_from_its_writing_to_its_reading() -> None:
    found = events_of([stream(*range(100)), stream(0, late=0.5)], 10, 100)
    assert (found.p50, found.p99) == (pytest.approx(1.0), pytest.approx(1.0))
    assert events_of([stream(*range(10), late=0.5)], 10, 10).p99 == pytest.approx(500)


def test_the_tokens_of_a_talk_are_those_of_answers_that_came_whole() -> None:
    well = [Answer(0.0, end=4.0, status=200, first=1.0, tokens=60, done=True),
            Answer(0.0, end=5.0, status=200, first=3.0, tokens=40, done=True)]  # fmt: skip
    cut = Answer(0.0, end=9.0, status=200, first=1.0, tokens=0)
    assert talk_of([*well, cut]) == Talk(rate=20.0, first=1.0, tokens=100, failed=1)


@pytest.mark.parametrize(("rate", "first", "met"), [
    (97.0, 0.5 * 1.05 + 0.004, [True, True, True]),
    (96.0, 0.5 * 1.05 + 0.006, [False, False, True]),
])  # fmt: skip
def test_chat_is_judged_by_pairs_of_one_round(rate: float, first: float, met: list[bool]) -> None:
    # A machine that was half as fast in the second round changes nothing.
    found = {
        ("llmlab", 8): [Talk(rate, first, 1, 0), Talk(rate / 2, first, 1, 0)],
        ("llama.cpp", 8): [Talk(100.0, 0.5, 1, 0), Talk(50.0, 0.5, 1, 0)],
    }
    assert [one.met for one in conversations.judged(found)] == met


def test_an_upstream_is_judged_by_what_is_added_to_the_plain_way() -> None:
    def of(p50: float, p99: float, rate: float, late: float, lost: int) -> Found:
        events = [Events(100, 50_000, 0, lost, 0, 1.0, late), Events(2, 1000, 0, 0, 0, 1.0, 1.0)]
        return Found([p50], [p99], [Rate(rate, 0, {})], events)

    plain = of(0.5, 1.0, 20_000, 3.0, 0)
    good = upstream.judged({"llmlab": of(3.4, 15.9, 1500, 20.0, 0), "plain": plain})
    bad = upstream.judged({"llmlab": of(3.6, 16.1, 1499, 20.1, 1), "plain": plain})
    assert [one.met for one in good] == [True] * 5
    assert [one.met for one in bad] == [False] * 5


# --- A small run -------------------------------------------------------------------------


@pytest.mark.slow
def test_a_small_run_measures_an_upstream_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.chat", "--quick", "--only", "upstream",
         "--to", str(tmp_path)],
        cwd=TOP, env=clean_env(), capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "chat.json").read_text())
    assert set(document["upstream"]) == {"llmlab", "plain"}
    for found in document["upstream"].values():
        assert 0 < found["p50"][0] <= found["p99"][0]
        assert found["rates"][0]["answers"] > 0 and found["rates"][0]["failed"] == 0
        for events in found["events"]:
            assert events["rate"] > 0 and events["broken"] == events["lost"] == 0
    text = (tmp_path / "CHAT.md").read_text()
    assert text == markdown(document)
    assert "A smoke run" in text and "whole answers/s | ≥ 1500" in text
    left = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
    folder = done.stderr.partition("in ")[2].split()[0]
    assert folder.startswith("/tmp/bench-") and not Path(folder).exists()
    assert not [line for line in left if any(folder in word for word in line)]
