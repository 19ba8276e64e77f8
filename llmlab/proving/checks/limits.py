"""limits: who asks too much is told so, truly, and nobody else suffers for it."""

from __future__ import annotations

import asyncio

from llmlab.proving.answers import Answer, Heard
from llmlab.proving.findings import (
    Finding,
    Group,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import CHAT, LIMITED, LONGEST_WAIT, Target, wait_of
from llmlab.proving.tokens import subject

LIMITS = Group("limits")
AT_ONCE = 64  # requests, within a moment
QUIET = 8  # subjects that ask once
HUGE = 1 << 40  # bytes, announced only
PIECE = 1 << 16
MOST = 16 << 20  # bytes that are really sent
NO_LIMIT = "this lab has no limit (gateway.rate_limit.enabled)"


async def burst(target: Target, token: str, count: int = AT_ONCE) -> list[Answer]:
    """So many requests at once, on connections of their own."""
    data = target.request("GET", target.guarded, token=token)
    await target.pace.turn(count)
    heard = await asyncio.gather(
        *(target.wire.talk(data, patience=target.patience) for _ in range(count))
    )
    return [one.first for one in heard if one.first]


def refused(answers: list[Answer]) -> Answer | None:
    return next((one for one in answers if one.status in LIMITED), None)


@LIMITS.check("per-subject", "A subject that asks without end is told to wait.",
              requests=AT_ONCE + 1,
              fix="limit_req by the subject of the token; limit_req_status 429")  # fmt: skip
async def per_subject(target: Target) -> Finding:
    """And nobody else is, and the wait is told, and is true: see those below."""
    if target.facts.limited is False:
        return not_applicable(NO_LIMIT)
    answers = await burst(target, await target.token("burst"))
    if no := refused(answers):
        several = sum(one.status in LIMITED for one in answers)
        told = f"{several} of {len(answers)} requests at once are refused"
        as_such = any(one.status == 429 for one in answers)
        return insist(as_such, told, f"{told} with 503, as if it were out of order", no)
    return failed(f"{len(answers)} requests at once, and none was refused", *answers[-1:])


@LIMITS.check("fair", "While one subject has to wait, another is answered.",
              requests=AT_ONCE + 1, fix="limit_req_zone by $jwt_claim_sub, after the token "
              "(auth_jwt_phase preaccess)")  # fmt: skip
async def fair(target: Target) -> Finding:
    if target.facts.limited is False:
        return not_applicable(NO_LIMIT)
    if not target.tokens.several:
        return undecided("there is one subject only (--key-file, or {subject} in --token-command)")
    quiet = [
        target.request("GET", target.guarded, token=await target.token("quiet"))
        for _ in range(QUIET)
    ]
    await target.pace.turn(QUIET)  # before, so that they need not wait for theirs behind the burst
    loud = asyncio.create_task(burst(target, await target.token("loud")))
    await asyncio.sleep(0)
    answers: list[Answer] = []
    try:
        for one in quiet:  # while it goes on
            heard = await target.wire.talk(one, patience=target.patience)
            answers += heard.answers[:1]
        several = sum(one.status in LIMITED for one in await loud)
    finally:
        loud.cancel()
    if not several:
        return undecided("nobody had to wait")
    no = refused(answers)
    return insist(no is None, f"{QUIET} quiet subjects are answered meanwhile",
                  "a quiet subject of the same address is refused as well",
                  *([no] if no else ()))  # fmt: skip


@LIMITS.check("retry-after", "The wait that is told is true: behind it one gets through.",
              requests=AT_ONCE + 2, fix="add_header Retry-After ... always, in whole seconds until "
              "one more request is let through")  # fmt: skip
async def retry_after(target: Target) -> Finding:
    if target.facts.limited is False:
        return not_applicable(NO_LIMIT)
    token = await target.tokens.good(subject("waits"))
    no = refused(await burst(target, token))
    if no is None:
        return undecided("nobody had to wait")
    seconds = wait_of(no)
    if seconds < 1:
        return failed("a refusal says no Retry-After in whole seconds", no)
    if seconds > LONGEST_WAIT:
        return undecided(f"it says {seconds:.0f} s, which is longer than a probe waits", no)
    await asyncio.sleep(seconds)
    answer = await target.open(token, retry=False)
    behind = f"after the {seconds:.0f} s that it says one"
    return insist(answer.status not in LIMITED, f"{behind} gets through",
                  f"{behind} is refused again", no, answer)  # fmt: skip


@LIMITS.check("guesses", "Whoever guesses tokens is limited, too.", requests=AT_ONCE,
              fix="limit_req by address in front of the answer 401")  # fmt: skip
async def guesses(target: Target) -> Finding:
    if target.facts.limited is False:
        return not_applicable(NO_LIMIT)
    answers = await burst(target, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA")
    several = sum(one.status in LIMITED for one in answers)
    if not several:
        return failed(f"{len(answers)} wrong tokens at once, and all are looked at", *answers[-1:])
    return passed(f"{several} of {len(answers)} wrong tokens at once are refused unseen")


def _where(target: Target) -> str:
    return CHAT if target.model else target.guarded


@LIMITS.check("body-announced", "A body that is too large is refused before it is sent.",
              fix="client_max_body_size")  # fmt: skip
async def announced(target: Target) -> Finding:
    headers = {"Content-Length": str(HUGE), "Content-Type": "application/json"}
    head = target.request("POST", _where(target), token=await target.token(), headers=headers)
    heard = await target.raw(head, methods=("POST",), patience=min(3.0, target.patience))
    if not heard.answers:
        return failed(f"the gateway waits for a body of {HUGE:,} bytes", heard)
    if heard.status in (413, 400):
        return passed(f"it says {heard.status} to {HUGE:,} bytes", heard)
    return undecided(f"the answer {heard.status} does not say that it is too large", heard)


@LIMITS.check(
    "body-in-pieces",
    "A body without a length is cut off, too.",
    fix="client_max_body_size; and do not pass it on unread (proxy_request_buffering)",
)
async def in_pieces(target: Target) -> Finding:
    most = min(MOST, (target.facts.max_body or MOST) + (1 << 20))
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    head = target.request("POST", _where(target), token=await target.token(), headers=headers)
    piece = f"{PIECE:x}\r\n".encode() + b" " * PIECE + b"\r\n"
    pieces = [piece] * (most // PIECE)
    heard: Heard = await target.raw(head, *pieces, b"0\r\n\r\n", methods=("POST",))
    if heard.status == 413 or (heard.cut and not heard.answers):
        return passed("it is refused on the way", heard)
    if not heard.answers:
        return undecided("no answer came", heard)
    if target.facts.max_body is None and most >= MOST:
        return undecided(f"{most >> 20} MiB are taken; its limit may be higher", heard)
    return failed(f"{most >> 20} MiB are taken, with the answer {heard.status}", heard)
