"""A traced request in sentences."""

from __future__ import annotations

from textwrap import shorten

from llmlab.answered import Answer
from llmlab.delivery.tracing import Traced
from llmlab.models.identity import short_id

LONGEST = 100  # letters of a reason; -o json has all of it
# What X-Cache said. Of an answer that was computed for its request there is nothing to tell.
CACHE = {
    "hit": "hit: the answer to an equal request before",
    "coalesced": "coalesced: read once, together with an equal request",
}
WAF = {
    "found": "found something", "unreadable": "could not read it", "unavailable": "did not answer",
}  # fmt: skip


def facts(one: Traced) -> dict[str, str]:
    """What is known of it, each under its name."""
    rows = {
        "served by": served_by(one),
        "routed by": routed_by(one),
        "routes of": made_by(one),
        "flags": ", ".join(f"{name} {'on' if on else 'off'}" for name, on in one.flags.items()),
        "subject": one.subject,
        "trace id": one.trace_id,
        "took": timings(one),
        "answer": told(one.answer) if one.answer else "",
        "cache": CACHE.get(one.cache, ""),
        "tokens": charged(one),
        "besides": "; ".join(besides(one)),
    }
    return {name: text for name, text in rows.items() if text}


def served_by(one: Traced) -> str:
    by = one.served_by
    if not by.deployment:
        return "nobody: the gateway answered by itself"
    model_id = f"@{short_id(by.model_id)}" if by.model_id else ""
    version = f", registered as {by.version}" if by.version else ""
    itself = " ".join(one for one in (by.upstream, by.fingerprint) if one)
    called = f", which called itself {itself}" if itself else ""
    return f"{by.deployment}: {by.model or 'which did not answer'}{model_id}{version}{called}"


def routed_by(one: Traced) -> str:
    """The rule, and the shares only where it went by them."""
    if one.rule in ("stable", "split"):
        return f"{one.route}: {one.rule} ({_weights(one)})"
    if _is_by_name(one):
        return f"{one.rule}: it asks for {one.served_by.deployment} itself"
    return f"{one.route}: {one.rule}, whatever the shares are" if one.rule else ""


def _is_by_name(one: Traced) -> bool:
    """In the body; in X-Model as well."""
    return one.rule == "model" or bool(one.rule and not one.route)


def _weights(one: Traced) -> str:
    return ", ".join(f"{name} {percent:g} %" for name, percent in one.weights.items()) or "unknown"


def made_by(one: Traced) -> str:
    """The routes that were in force; why they are so, only where the request went by them."""
    if not one.revision:
        return "configs/lab.toml"
    if one.entry is None:
        return f"entry {one.revision} of another ledger"
    step = f", step {one.step}" if one.step else ""
    by = f"rollout {one.rollout}{step}, " if one.rollout else ""
    reason = shorten(one.entry["why"], LONGEST, placeholder=" …")
    why = f": {reason}" if reason and one.rule and not _is_by_name(one) else ""
    return f"{by}entry {one.entry['seq']} ({one.entry['kind']}) by {one.entry['who']}{why}"


def timings(one: Traced) -> str:
    took = one.timings
    # NGINX rounds each of its times: a part may come out a millisecond longer than the whole.
    tries = " + ".join(f"{min(seconds, took.total):.3f}" for seconds in took.upstream)
    parts = [f"{took.total:.3f} s", f"upstream {tries} s" if tries else ""]
    parts += [f"in the queue {took.queue * 1000:.1f} ms"] if took.queue is not None else []
    tried = f" ({', '.join(one.upstream_status)})" if len(one.upstream_status) > 1 else ""
    return ", ".join(part for part in parts if part) + tried


def told(answer: Answer) -> str:
    """How it came and ended."""
    parts = [
        f"first token {answer.first:.3f} s" if answer.first is not None else "",
        f"longest gap {answer.gap:.3f} s" if answer.gap is not None else "",
        f"{answer.tokens} token{'s' * (answer.tokens != 1)}",
        f"{answer.rate:.1f} a second" if answer.rate else "",
        "cut off" if answer.cut_off else "",
        {"field": "a refusal", "words": "begins as refusals do"}.get(answer.refusal or "", ""),
        "not of the format that was asked for" if answer.invalid else "",
    ]
    return ", ".join(part for part in parts if part)


def charged(one: Traced) -> str:
    """What it has used, and what that cost."""
    used = one.charged
    if used is None or not (used.tokens_in or used.tokens_out or used.cost):
        return ""
    cost = f", cost {used.cost:,.6f}" if used.cost else ""
    counted = "" if used.settled else ", as reserved: nobody has counted them"
    return f"{used.tokens_in:,} in, {used.tokens_out:,} out{cost}{counted}"


def besides(one: Traced) -> list[str]:
    """What was not as it mostly is."""
    kinds = f" ({one.waf_kinds})" if one.waf_kinds else ""
    sentences = [
        "its model broke off after the head of the answer" if one.broken else "",
        f"{one.handed_on} did not answer, and this one did in its place" if one.handed_on else "",
        f"the WAF {WAF[one.waf]}{kinds}" if one.waf in WAF else "",
        f"it did not fit the budget {one.over}" if one.over else "",
        f"its client asks for the {_times(one.retry)} time again" if one.retry else "",
    ]
    return [sentence for sentence in sentences if sentence]


def _times(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
