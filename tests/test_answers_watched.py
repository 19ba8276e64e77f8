"""What an answer is like, seen where its chunks come from the model, and the word that tells it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterable
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmlab.answered import MOST, WORD, Answer
from llmlab.gateway.budgets import ANSWER
from llmlab.runtimes.chat import BrokenOff, Chunk
from llmlab.service.chat.chunks import Usage
from llmlab.service.chat.formats import Format, fits
from llmlab.service.chat.schemas import ChatRequest
from llmlab.service.chat.watching import Watched, refuses
from llmlab.service.spending import Reading

# --- the word ---------------------------------------------------------------------------

SECONDS = st.none() | st.integers(0, MOST).map(lambda ms: ms / 1000)
FLAGS = st.none() | st.booleans()
ANSWERS = st.builds(
    Answer, SECONDS, SECONDS, SECONDS, st.integers(0, MOST), FLAGS,
    st.sampled_from([None, "", "field", "words"]), FLAGS,
)  # fmt: skip


@given(ANSWERS)
def test_a_word_says_all_of_an_answer(answer: Answer) -> None:
    assert Answer.parse(str(answer)) == answer


@pytest.mark.parametrize(
    "word",
    ["", "-", None, 7, "first:1", f"{Answer()} ", f"{Answer()}\n", f"x{Answer()}",
     str(Answer(tokens=3)).replace("3", "12345678"), str(Answer()).replace("cut:-", "cut:2"),
     str(Answer()).replace("refused:-", "refused:3"), str(Answer(tokens=1)).replace("1", "١")],
)  # fmt: skip
def test_any_other_word_is_none(word: object) -> None:
    assert Answer.parse(word) is None


@pytest.mark.parametrize("answer", [Answer(), Answer(9e9, 1e-9, 2.0, 10**9, True, "field", False)])
def test_gateway_and_script_read_the_same_word_as_everybody(answer: Answer) -> None:
    """What is beyond all bounds is told as the most that there can be."""
    script = resources.files("llmlab.gateway").joinpath("usage.js").read_text()
    found = re.search(r"const ANSWER = /(.*)/;", script)
    assert found
    for pattern in (WORD.pattern, ANSWER, found[1]):
        assert re.search(f"^(?:{pattern.strip('^$')})$", str(answer)), pattern
        assert not re.search(f"^(?:{pattern.strip('^$')})$", f"{answer}0"), pattern


# --- watching ---------------------------------------------------------------------------


class Clock:
    """Of a model that takes its time, and a client that takes its own."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def piece(text: str = "", reason: str | None = None, **said: Any) -> Chunk:
    delta = {"content": text, **said}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}


def watched(
    chunks: Iterable[tuple[float, Chunk | Exception]], *, asked: dict[str, Any] | None = None,
    streams: bool = True, reads: float = 0.0, stops_after: int = 99, turn: float | None = None,
    kept: bool = False,
) -> Answer | None:  # fmt: skip
    """What is told of an answer.

    Args:
        chunks: seconds that the model takes for each, and the chunk.
        reads: seconds that the client takes for each.
        turn: seconds that it waited for its turn.
        kept: it was there already.
    """
    clock = Clock()
    request = ChatRequest.model_validate(
        {"messages": [{"role": "user", "content": "a"}]} | (asked or {})
    )
    usage = Usage(seen={0: 3}, turn=turn, reading=Reading() if kept else None)
    one = Watched(usage, streams, Format.of(request), clock=clock)

    async def model() -> AsyncGenerator[Chunk]:
        for seconds, chunk in chunks:
            clock.now += seconds
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def client() -> None:
        seen = one.chunks(model())
        number = 0
        async for _ in seen:
            clock.now += reads
            number += 1
            if number == stops_after:
                await seen.aclose()
                return

    with contextlib.suppress(BrokenOff):
        asyncio.run(client())
    return one.answer


SAID = [(0.4, piece("a")), (0.1, piece("b")), (0.3, piece("c")), (0.2, piece("", "stop"))]


def test_times_are_those_that_the_model_took() -> None:
    answer = watched(SAID)
    assert answer and answer.first == pytest.approx(0.4) and answer.gap == pytest.approx(0.3)
    assert answer.writing == pytest.approx(0.4) and answer.rate == pytest.approx(5)


def test_a_client_that_reads_slowly_changes_none_of_them() -> None:
    assert str(watched(SAID, reads=9.0)) == str(watched(SAID))


def test_how_long_it_waited_for_its_turn_is_not_in_its_first_token() -> None:
    answer = watched(SAID, turn=0.3)
    assert answer and answer.first == pytest.approx(0.1)


def test_a_whole_answer_has_no_times_nor_has_one_that_was_kept_from_before() -> None:
    for answer in (watched(SAID, streams=False), watched(SAID, kept=True)):
        assert answer and (answer.first, answer.gap, answer.writing) == (None, None, None)


@pytest.mark.parametrize(("ran_out", "cut_off"), [(False, None), (True, True)])
def test_who_leaves_while_it_waits_for_a_token_has_cut_off_nothing(
    ran_out: bool, cut_off: bool | None
) -> None:
    """Both end the same way; a limit of the service's own is held against the model."""
    request = ChatRequest.model_validate({"messages": [{"role": "user", "content": "a"}]})
    one = Watched(Usage(seen={0: 3}), True, Format.of(request))

    async def model() -> AsyncGenerator[Chunk]:
        yield piece("a")
        await asyncio.Event().wait()

    async def client() -> None:
        chunks = one.chunks(model())
        await anext(chunks)
        waiting = asyncio.ensure_future(anext(chunks))
        await asyncio.sleep(0)  # it waits now
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting

    asyncio.run(client())
    if ran_out:
        one.ran_out()
    assert one.answer and one.answer.cut_off is cut_off


def test_of_one_of_which_nothing_came_nothing_is_told() -> None:
    assert watched([(0.1, BrokenOff("reset", begun=False))]) is None


@pytest.mark.parametrize(
    ("chunks", "stops_after", "cut_off"),
    [
        ([(0, piece("a")), (0, piece("", "stop"))], 99, False),
        ([(0, piece("a")), (0, piece("", "length"))], 99, True),
        ([(0, piece("a")), (0, BrokenOff("reset", begun=True))], 99, True),
        ([(0, piece("a")), (0, piece("b")), (0, piece("", "stop"))], 1, None),  # its reader's doing
    ],
)
def test_what_ends_at_its_limit_or_breaks_off_is_cut_off(
    chunks: Any, stops_after: int, cut_off: bool | None
) -> None:
    answer = watched(chunks, stops_after=stops_after)
    assert answer and answer.cut_off is cut_off


@pytest.mark.parametrize(
    ("chunk", "refusal"),
    [
        (piece("", "stop", refusal="No."), "field"),
        (piece("x", "content_filter"), "field"),
        (piece("I cannot help with that.", "stop"), "words"),
        (piece("Of course.", "stop"), ""),
    ],
)
def test_a_refusal_says_so_or_begins_as_one(chunk: Chunk, refusal: str) -> None:
    answer = watched([(0, chunk)])
    assert answer and answer.refusal == refusal


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("I'm sorry, but I can't assist with that request.", True),
        ("Sorry, I cannot do this.", True),
        ("I am unable to help with this.", True),
        ("As an AI language model, I cannot have opinions.", True),
        ("Es tut mir leid, aber dabei kann ich Ihnen nicht helfen.", True),
        ("Je suis désolé, mais je ne peux pas vous aider.", True),
        ("Lo siento, pero no puedo ayudar con eso.", True),
        ("Sorry to hear that. Here is what you can do:", False),
        ("He said: I'm sorry, but I can't help with that.", False),
        ("I can help with that.", False),
        ("Unfortunately, the museum is closed.", False),
        ("The keeper cannot sleep.", False),
        ("", False),
    ],
)
def test_what_begins_as_refusals_do(text: str, is_one: bool) -> None:
    assert refuses(text) is is_one


# --- formats ----------------------------------------------------------------------------

FORMAT = {"response_format": {"type": "json_object"}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "add"}}]}


def call(name: str, arguments: str) -> Chunk:
    parts = [{"index": 0, "function": {"name": name, "arguments": arguments}}]
    return piece("", "tool_calls", tool_calls=parts)


@pytest.mark.parametrize(
    ("asked", "chunk", "invalid"),
    [
        ({}, piece("no JSON", "stop"), None),
        (FORMAT, piece("no JSON", "stop"), True),
        (FORMAT, piece('{"a": 1}', "stop"), False),
        (FORMAT, piece('```json\n{"a": 1}\n```', "stop"), True),
        (FORMAT, piece('{"a": NaN}', "stop"), True),
        (FORMAT, piece('{"a"', "length"), None),  # it was cut off, and is counted as that
        (FORMAT, piece("", "stop", refusal="No."), None),
        (TOOLS, call("add", '{"a": 1}'), False),
        (TOOLS, call("add", '{"a": '), True),
        (TOOLS, call("add", "[1]"), True),
        (TOOLS, call("drop", "{}"), True),
        (TOOLS, piece("in words", "stop"), None),  # it need not call one
    ],
)
def test_an_answer_is_invalid_where_another_format_was_asked_for(
    asked: dict[str, Any], chunk: Chunk, invalid: bool | None
) -> None:
    answer = watched([(0, chunk)], asked=asked)
    assert answer and answer.invalid is invalid


@pytest.mark.parametrize(
    ("schema", "text", "is_fit"),
    [
        ({"type": "integer"}, "1", True),
        ({"type": "integer"}, '"1"', False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, '"1"', False),
        ({"type": "string", "pattern": "^(a+)+$"}, json.dumps("a" * 50_000 + "b"), False),
        # What is not taken is looked at no further than whether it is JSON: see test_json_schemas.
        ({"properties": {"next": {"$ref": "#"}}, "type": "object"}, "1", True),
        ({"type": "none"}, "no JSON", False),
    ],
)
def test_a_schema_is_held_against_as_far_as_that_is_bounded(
    schema: dict[str, Any], text: str, is_fit: bool
) -> None:
    assert fits(text, json.dumps(schema)) is is_fit
