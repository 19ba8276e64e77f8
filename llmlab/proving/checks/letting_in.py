"""Adds to the groups auth and limits: API keys, scopes, identity providers and budgets, as a lab's
own gateway has them."""

from __future__ import annotations

from itertools import pairwise

from llmlab.auth import api_keys
from llmlab.proving.answers import Answer
from llmlab.proving.checks.auth import AUTH, NO_KEY, judged
from llmlab.proving.checks.limits import LIMITS
from llmlab.proving.findings import (
    Finding,
    Verdict,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import SUMMARIZE, Target
from llmlab.proving.tokens import subject
from llmlab.scopes import PREFIX

NOBODYS = f"{PREFIX}probe-asks-for-nothing"
LIMIT, LEFT = "x-ratelimit-limit-", "x-ratelimit-remaining-"
UNITS = ("requests", "tokens")
ASKED = 3  # of three requests, at least two are within one window


@AUTH.check("api-key-unknown", "An API key that nobody has made opens nothing.",
            fix="let an unknown key stand for no token")  # fmt: skip
async def api_key_unknown(target: Target) -> Finding:
    key, _ = api_keys.make()
    return judged(await target.open(key))


@AUTH.check("api-key-ended", "An API key that was ended opens nothing any more.", requests=2,
            fix="take the list of what was ended over at once")  # fmt: skip
async def api_key_ended(target: Target) -> Finding:
    if target.api_key is None:
        return undecided("only of a lab apart API keys may be made (--apart)")
    key, end = await target.api_key(subject("key"))
    before = await target.open(key)
    if not before.good:
        return failed("it opens nothing before either", before)
    await end()
    return judged(await target.open(key))


async def _generate(target: Target, token: str) -> Answer:
    """A request that has a model write something."""
    if target.model:
        return await target.chat("Hello", token=token)
    return await target.ask("POST", SUMMARIZE, token=token, body=b'{"text": "Hello."}')


@AUTH.check("scope-missing", "A token that is for something else asks no model.",
            fix="auth_jwt_require $lab_may error=403; in the server")  # fmt: skip
async def scope_missing(target: Target) -> Finding:
    if not target.facts.scoped:
        return not_applicable("nobody knows which scopes it goes by")
    if target.signer is None:
        return undecided(NO_KEY)
    claims = target.signer.claims(subject("scope"), scope=NOBODYS)
    answer = await _generate(target, target.signer.sign(claims))
    if answer.good:
        return failed(f"a token of the scope {NOBODYS} is answered", answer)
    if answer.status != 403:
        return undecided(f"the answer {answer.status} says nothing of a scope", answer)
    told = "insufficient_scope" in answer.header("www-authenticate")
    return insist(told, "it is refused with 403, and is told which scope is missing",
                  "it is refused, and WWW-Authenticate does not say that a scope is missing",
                  answer)  # fmt: skip


@AUTH.check("foreign-issuer", "The lab's own key does not speak for an identity provider.",
            fix="have who made the key be who iss says")  # fmt: skip
async def foreign_issuer(target: Target) -> Finding:
    if not target.facts.issuers:
        return not_applicable("no tokens of identity providers are known to be valid here")
    if target.signer is None:
        return undecided(NO_KEY)
    for one in target.facts.issuers:
        claims = target.signer.claims(subject("issuer"), iss=one)
        found = judged(await target.open(target.signer.sign(claims)))
        if found.verdict is not Verdict.PASSED:
            return found
    return found


@LIMITS.check("budget-told", "What is told to be left of a budget becomes less.",
              requests=ASKED, fix="count each request before it is "
              "passed on, and tell what is left then")  # fmt: skip
async def budget_told(target: Target) -> Finding:
    if target.facts.budgets is False:
        return not_applicable("this lab has no budgets ([[budgets]])")
    token = await target.token("budget")
    answers = [await _generate(target, token) for _ in range(ASKED)]
    told = [unit for unit in UNITS if all(one.header(LEFT + unit) for one in answers)]
    if not told:
        if target.facts.budgets is None:
            return not_applicable("it tells nothing of budgets (x-ratelimit-remaining-...)")
        return undecided("no budget of requests or tokens is for the subjects of a probe")
    for unit in told:
        limits = [one.header(LIMIT + unit) for one in answers]
        left = [one.header(LEFT + unit) for one in answers]
        if not all(one.isdecimal() for one in (*limits, *left)):
            return failed(f"{unit}: no whole numbers", *answers[-1:])
        if any(int(some) > int(most) for some, most in zip(left, limits, strict=True)):
            return failed(f"{unit}: more is left than there is", *answers[-1:])
        # Where a window ends in between, all of it is there again, once.
        if not any(int(after) < int(before) for before, after in pairwise(left)):
            return failed(f"{unit}: {', '.join(left)} are left, request by request", *answers[-1:])
    return passed(f"it does, of {' and '.join(told)}", answers[-1])
