"""resilience: who breaks off, stalls or leaves does no harm to others."""

from __future__ import annotations

import asyncio
import contextlib
import time

from llmlab.proving.answers import Answer
from llmlab.proving.findings import (
    Finding,
    Group,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import CHAT, Target, mark
from llmlab.proving.wire import Unreached

RESILIENCE = Group("resilience")
BROKEN = 20  # connections
STALL, ASKED = 4.0, 0.5  # seconds that a model stalls, and that the client waits
SOON = 5.0  # seconds in which a model has to hear that nobody waits any more
NO_WITNESS = "no model here does what it is told"


async def _still(target: Target) -> Answer:
    return await target.open(await target.token("still"))


@RESILIENCE.check("client-leaves", "When a client leaves, its model hears of it.", requests=6,
                  fix="proxy_ignore_client_abort off; end what nobody reads")  # fmt: skip
async def client_leaves(target: Target) -> Finding:
    if not target.model:
        return not_applicable("there is no address for chats")
    planted = mark()
    said: object = "Tell a long story."
    if target.witness:
        said = {"say": "word " * 400, "pause": 0.1, "mark": planted}
    body = target.chat_body(said, stream=True)  # type: ignore[arg-type]
    data = target.request("POST", CHAT, token=await target.token("leaves"), body=body)
    await target.pace.turn()
    if not await target.wire.leave(data, patience=target.patience):
        return undecided("the stream did not begin")
    if target.witness and not await _left(target, planted):
        return failed(f"{SOON:.0f} s later the model still writes for nobody")
    answer = await _still(target)
    return insist(answer.good, "the next request is answered", "the next request is not", answer)


async def _left(target: Target, planted: str) -> bool:
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        if await target.was("left", planted):
            return True
        await asyncio.sleep(0.1)
    return False


@RESILIENCE.check(
    "broken-connections",
    "Connections that break off do no harm.",
    requests=BROKEN + 1,
    fix="client_header_timeout, client_body_timeout",
)
async def broken(target: Target) -> Finding:
    token = await target.token("breaks")
    whole = target.request("POST", CHAT, token=token, body=b" " * 4096)
    cuts = [len(whole) * (number + 1) // (BROKEN + 1) for number in range(BROKEN)]

    async def break_off(cut: int) -> None:
        with contextlib.suppress(Unreached, OSError):
            async with target.wire.open() as (_, writer):
                writer.write(whole[:cut])
                await writer.drain()

    await target.pace.turn(BROKEN)
    await asyncio.gather(*(break_off(cut) for cut in cuts))
    answer = await _still(target)
    return insist(answer.good, f"{BROKEN} break off, and the next request is answered",
                  f"behind {BROKEN} of them the answer is {answer.status}", answer)  # fmt: skip


@RESILIENCE.check("deadline", "A client that waits for half a second only is told so after that.",
                  fix="hold X-Request-Timeout in the API (service.timeout)")  # fmt: skip
async def deadline(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    answer = await target.chat({"say": "late", "wait": STALL},
                               headers={"X-Request-Timeout": f"{ASKED:g}"})  # fmt: skip
    if answer.good:
        return failed(
            f"it is answered after {answer.seconds:.1f} s, as if nobody had said so", answer
        )
    return insist(answer.status in (408, 503, 504) and answer.seconds < STALL,
                  f"{answer.status} after {answer.seconds:.1f} s",
                  f"{answer.status}, after {answer.seconds:.1f} s", answer)  # fmt: skip


@RESILIENCE.check("model-breaks-off", "A model that breaks off is an error that clients can read.",
                  requests=2, fix="answer 502 as a document")  # fmt: skip
async def model_breaks_off(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    answer = await target.chat({"say": "no", "break_after": 0})
    if answer.status not in (502, 503):
        return failed(f"the answer is {answer.status}", answer)
    if not isinstance(answer.json(), dict):
        return failed("the answer is no document", answer)
    after = await target.chat("Hello")
    return insist(after.good, "502, and the next chat is answered",
                  f"the next chat is answered with {after.status}", after)  # fmt: skip


@RESILIENCE.check("half-a-body", "A client that never ends its body keeps nobody from an answer.",
                  requests=2, fix="client_body_timeout; proxy_request_buffering on")  # fmt: skip
async def half_a_body(target: Target) -> Finding:
    token = await target.token("half")
    half = target.request("POST", CHAT, token=token, headers={"Content-Length": "4096"}) + b"{"
    await target.pace.turn()
    async with target.wire.open() as (_, writer):
        writer.write(half)
        await writer.drain()
        answer = await _still(target)
    return insist(answer.good, "others are answered meanwhile",
                  f"another one is answered with {answer.status}", answer)  # fmt: skip


@RESILIENCE.check("still-there", "After all this it answers as before.", fix="llmlab logs")
async def still_there(target: Target) -> Finding:
    answer = await _still(target)
    return passed("it does", answer) if answer.good else failed(f"it says {answer.status}", answer)
