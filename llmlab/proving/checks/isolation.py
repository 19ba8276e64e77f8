"""isolation: what is one subject's is no other's."""

from __future__ import annotations

import asyncio
import json
import statistics

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
from llmlab.proving.target import CHAT, SUMMARIZE, Target, json_of, mark, said_in
from llmlab.proving.tokens import opened

ISOLATION = Group("isolation")
ONE_SUBJECT = "there is one subject only (--key-file, or {subject} in --token-command)"
KEPT = ("public", "s-maxage")
TIMES, BOUND = 8, 0.05  # requests of each kind, and seconds


@ISOLATION.check("cache", "No answer is kept for another subject.", requests=3,
                 fix="have the subject in the key of every cache")  # fmt: skip
async def cache(target: Target) -> Finding:
    if not target.tokens.several:
        return undecided(ONE_SUBJECT)
    if not target.summaries:
        return not_applicable("there is no /summarize/, and chats say nothing of a cache")
    text = f"{mark()} is a word that nobody has written before. A ship reads the light."
    body = json.dumps({"text": text}).encode()
    ada, eve = await target.token("ada"), await target.token("eve")
    first, again, other = [
        await target.ask("POST", SUMMARIZE, token=one, body=body) for one in (ada, ada, eve)
    ]
    if not (first.good and again.good and other.good):
        return undecided("a summary was refused", first, again, other)
    if not _hit(again):
        return not_applicable("the same request of the same subject is not answered from a cache")
    return insist(not _hit(other), "the same request of another subject is answered anew",
                  "another subject gets the answer from the cache", other)  # fmt: skip


def _hit(answer: Answer) -> bool:
    said = f"{answer.header('x-cache')} {answer.header('cf-cache-status')}".lower()
    return any(word in said for word in ("hit", "shared")) or answer.header("age") not in ("", "0")


@ISOLATION.check("same-chat", "The same chat of two subjects is two chats.", requests=2,
                 fix="have the subject in the key of every cache")  # fmt: skip
async def same_chat(target: Target) -> Finding:
    if not target.witness:
        return undecided("a model that samples answers otherwise each time anyway")
    ada, eve = await target.token("ada"), await target.token("eve")
    told = [said_in(await target.chat({"tell": "number"}, token=one)) for one in (ada, eve)]
    if not all(one.isdecimal() for one in told):
        return undecided("the chat was refused")
    return insist(told[0] != told[1], "each reaches the model",
                  "the second gets what the first was answered")  # fmt: skip


@ISOLATION.check("one-connection", "Two subjects on one connection stay two.", requests=2,
                 fix="judge each request by itself, and tell the API anew who asks")  # fmt: skip
async def one_connection(target: Target) -> Finding:
    if not target.witness:
        return undecided("nobody tells as whom they are known")
    tokens = [await target.token("ada"), await target.token("eve")]
    body = target.chat_body({"tell": "request"})
    sent = [target.request("POST", CHAT, token=one, body=body) for one in tokens]
    heard = await target.raw(*sent, methods=("POST",), answers=2, requests=2)
    if len(heard.answers) != 2:
        return undecided("the gateway did not answer two requests on one connection", heard)
    for token, answer in zip(tokens, heard.answers, strict=True):
        told = json_of(said_in(answer))
        if not isinstance(told, dict):
            return undecided("a chat was refused", answer)
        as_whom = [value for name, value in told["headers"] if name.lower() == "x-subject"]
        if as_whom != [opened(token)[1].get("sub")]:
            return failed(f"one of them is known as {as_whom}", answer)
    return passed("each is known by its own name")


@ISOLATION.check("many-at-once", "Subjects that ask at once get their own answers.", requests=16,
                 fix="keep nothing of a request where another can read it")  # fmt: skip
async def many_at_once(target: Target) -> Finding:
    if not target.model:
        return not_applicable("there is no address for chats")
    if not target.witness:
        return undecided("nobody knows what a model will say")
    words = [mark() for _ in range(16)]
    answers = await asyncio.gather(*(target.chat({"say": one}) for one in words))
    good = [(one, answer) for one, answer in zip(words, answers, strict=True) if answer.good]
    wrong = [answer for one, answer in good if said_in(answer).strip() != one]
    if len(good) < 8:
        return undecided("most of them were refused", *answers[:1])
    return insist(not wrong, f"{len(good)} at once, each its own",
                  f"{len(wrong)} of {len(good)} got another one's", *wrong[:1])  # fmt: skip


@ISOLATION.check("not-public", "No cache on the way may keep what a token has opened.",
                 fix="Cache-Control: no-store, or private")  # fmt: skip
async def not_public(target: Target) -> Finding:
    answer = await target.open(await target.token("cached"))
    said = answer.header("cache-control").lower()
    return insist(not any(one in said for one in KEPT), f"Cache-Control: {said or 'not said'}",
                  f"Cache-Control: {said}", answer)  # fmt: skip


@ISOLATION.check("names-by-time", "How long a refusal takes does not tell which names there are.",
                 requests=2 * TIMES + 1,
                 fix="answer what there is not as fast as what is refused")  # fmt: skip
async def names_by_time(target: Target) -> Finding:
    """Of somebody without a token: nobody else has a secret to guess here."""
    if not target.names:
        return not_applicable("no names of models are known")
    there, gone = f"/models/{target.names[0]}/", "/models/no-such-model-here/"
    times: dict[str, list[float]] = {there: [], gone: []}
    for _ in range(TIMES):
        for path in (there, gone):
            times[path].append((await target.ask("GET", path)).seconds)
    middle = [statistics.median(times[path]) for path in (there, gone)]
    apart = abs(middle[0] - middle[1])
    overlap = min(max(times[there]), max(times[gone])) > max(min(times[there]), min(times[gone]))
    return insist(apart < BOUND or overlap,
                  f"{middle[0] * 1000:.1f} ms and {middle[1] * 1000:.1f} ms",
                  f"{middle[0] * 1000:.0f} ms for one that there is, {middle[1] * 1000:.0f} ms "
                  "for one that there is not")  # fmt: skip
