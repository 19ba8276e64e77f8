"""waf: harmless texts get through, whatever they are about; and where a firewall for requests is
on, attacks on what is no text do not."""

from __future__ import annotations

import json
from collections import Counter
from importlib import resources
from urllib.parse import quote

from llmlab.guards.harmless import prompts
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
from llmlab.proving.target import CHAT, Target, json_of, mark

WAF = Group("waf")
AT_MOST = 24  # texts that a model which may cost money is asked
OPEN = "'; DROP TABLE users;--<script>alert(1)</script>../../etc/passwd"
PLAIN_SIGNS = "/?=&()!*:;@$+,'|"
NO_FIREWALL = "no firewall for requests is on: an open attack in the query is answered as ever"


def texts() -> list[tuple[str, str]]:
    """(kind, text) of the harmless set."""
    # A witness would take an object of JSON for a script.
    return [(one.kind, one.text) for one in prompts() if not isinstance(json_of(one.text), dict)]


def attacks() -> list[tuple[str, str]]:
    """(place, payload) of the attack set."""
    document = resources.files(__package__).joinpath("attacks.txt").read_text(encoding="utf-8")
    return [(place, text) for place, _, text in
            (line.partition("\t") for line in document.splitlines())]  # fmt: skip


def spread(found: list[tuple[str, str]], most: int) -> list[tuple[str, str]]:
    """So many of them, from all over the list."""
    if len(found) <= most:
        return found
    return [found[number * len(found) // most] for number in range(most)]


@WAF.check(
    "harmless",
    "Harmless texts get through: prose, code, SQL, HTML, 28 languages.",
    requests=430,
    fix="leave messages[].content, text and inputs out of the rules that look for signs",
)
async def harmless(target: Target) -> Finding:
    if not target.model:
        return not_applicable("there is no address for chats")
    chosen = spread(texts(), 1000 if target.witness else AT_MOST)
    blocked: list[tuple[str, str, Answer]] = []
    for kind, text in chosen:
        answer = await target.chat(text, max_tokens=1)
        if answer.status in (400, 403, 406, 413, 418) or 500 <= answer.status != 503:
            blocked.append((kind, text, answer))
        elif not answer.good:
            return undecided(f"a text is answered with {answer.status}", answer)
    if not blocked:
        return passed(f"{len(chosen)} of {len(chosen)} get through")
    kinds = ", ".join(f"{kind} ({n})" for kind, n in Counter(one[0] for one in blocked).items())
    return failed(f"{len(blocked)} of {len(chosen)} are refused: {kinds}",
                  *(answer for _, _, answer in blocked[:3]))  # fmt: skip


async def _is_on(target: Target) -> bool:
    if target.facts.waf is not None:
        return target.facts.waf
    token = await target.token("waf")
    plain = await target.open(token)
    odd = await target.ask("GET", f"{target.guarded}?q={quote(OPEN)}", token=token)
    return plain.good and odd.status in (403, 406, 418)


def _told(
    target: Target, place: str, payload: str, planted: str
) -> tuple[str, dict[str, str], bytes]:
    """Path, headers and body of a chat with an attack in this place."""
    path, headers = CHAT, {"X-Request-Purpose": "probe"}
    said = target.chat_body({"say": "x", "mark": planted} if target.witness else "Hello")
    if place == "query":
        path = f"{CHAT}?q={quote(payload, safe=PLAIN_SIGNS + '%')}"
    elif place == "header":
        headers = {"Referer": payload, "X-Note": payload}
    elif place == "path":
        path = payload
    else:
        said = json.dumps({**json.loads(said), "metadata": {"note": payload}}).encode()
    return path, headers, said


def _attacked(place: str) -> None:
    what = {"query": "the query", "header": "a header", "path": "the path",
            "field": "a field that is no text"}[place]  # fmt: skip
    payloads = [payload for one, payload in attacks() if one == place]

    async def run(target: Target) -> Finding:
        if not target.model:
            return not_applicable("there is no address for chats")
        if not await _is_on(target):
            return not_applicable(NO_FIREWALL)
        through: list[tuple[str, Answer]] = []
        for payload in payloads:
            planted = mark()
            path, headers, body = _told(target, place, payload, planted)
            answer = await target.ask("POST", path, token=await target.token("attack"),
                                      headers=headers, body=body)  # fmt: skip
            if answer.good or (target.witness and await target.was("seen", planted)):
                through.append((payload, answer))
        caught = len(payloads) - len(through)
        return insist(not through, f"all {caught} are refused",
                      f"{caught} of {len(payloads)} are refused; not: {through[:1]!r:.80}",
                      *(answer for _, answer in through[:3]))  # fmt: skip

    WAF.add(f"attacks-in-{place}", f"Attacks in {what} do not reach a model.", run,
            requests=len(payloads) + 2,
            fix="turn the rules of that place on, in block mode")  # fmt: skip


for _place in ("query", "header", "path", "field"):
    _attacked(_place)
