"""identity: who asks is what the token says, and nothing that a client writes beside it.

What the API was told can only be seen where a witness tells it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from llmlab.proving.answers import masked, shortened
from llmlab.proving.findings import Evidence, Finding, Group, failed, insist, passed, undecided
from llmlab.proving.target import Target, mark
from llmlab.proving.tokens import opened

IDENTITY = Group("identity")
NO_WITNESS = "nobody tells what reached the API"
CLEARED = "set or clear these headers in the gateway, in every location (proxy_set_header)"

# What gateways, proxies and frameworks believe. One table for each thing that is claimed.
CLAIMED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "spoofed-subject": (
        "Nobody becomes another one by a header.", "who asks",
        ("X-Subject", "X-User", "X-User-ID", "X-Remote-User", "Remote-User", "X-Auth-User",
         "X-Auth-Request-User", "X-Auth-Request-Email", "X-Authenticated-User",
         "X-Forwarded-User", "X-Forwarded-Email", "X-Forwarded-Groups",
         "X-Forwarded-Preferred-Username", "X-Forwarded-Access-Token", "X-Consumer-ID",
         "X-Consumer-Username", "Remote-Email", "Remote-Groups", "Remote-Name",
         "X-Authorization", "Proxy-Authorization"),
    ),
    "spoofed-address": (
        "Nobody comes from elsewhere by a header.", "where from",
        ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "Client-IP",
         "True-Client-IP", "X-Cluster-Client-IP", "CF-Connecting-IP", "Fastly-Client-IP",
         "X-Remote-IP", "X-Remote-Addr", "X-Originating-IP", "X-Original-Forwarded-For"),
    ),
    "spoofed-place": (
        "Nobody asks for another address by a header.", "what for",
        ("X-Original-URL", "X-Rewrite-URL", "X-Original-URI", "X-Forwarded-Host",
         "X-Forwarded-Path", "X-Forwarded-Prefix", "X-Forwarded-Uri", "X-Script-Name", "X-Host",
         "X-Original-Host", "X-Forwarded-Server"),
    ),
    "spoofed-method": (
        "Nobody asks by another method by a header.", "how",
        ("X-HTTP-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-Original-Method",
         "X-Forwarded-Method"),
    ),
    "spoofed-scheme": (
        "Nobody comes by another scheme, or with another certificate, by a header.", "by what",
        ("X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-Port",
         "X-Forwarded-Client-Cert", "Proxy"),
    ),
    "spoofed-route": (
        "What the gateway tells its API, no client tells it.", "the gateway's own",
        ("X-Route", "X-Fallback-To", "X-Revision", "X-Flags", "X-Decoding"),
    ),
    "hidden-names": (
        "A header that is spelled with an underscore is not taken for another one.", "spelling",
        ("X_Subject", "X_User", "Remote_User", "X_Forwarded_For", "X_Route"),
    ),
}  # fmt: skip


def _claimed(name: str) -> Callable[[Target], Awaitable[Finding]]:
    _, what, headers = CLAIMED[name]

    async def run(target: Target) -> Finding:
        if not target.witness:
            return undecided(NO_WITNESS)
        planted = mark()
        answer, heard = await target.heard(headers=dict.fromkeys(headers, planted))
        if heard is None and target.facts.waf and answer.status == 403:
            return passed(f"the firewall for requests refuses them ({what})")
        if heard is None:
            return undecided("the request did not reach the API", answer)
        there = [one for one, value in heard["headers"] if planted in value]
        if not there:
            return passed(f"of {len(headers)} headers ({what}) none reaches the API")
        seen = told_again(f"{', '.join(headers)}: {planted}", heard["headers"], planted)
        return failed(f"the API is told what the client wrote: {', '.join(there)}", seen)

    return run


for _name, (_proves, _, _headers) in CLAIMED.items():
    IDENTITY.add(_name, _proves, _claimed(_name), fix=f"{CLEARED}: {', '.join(_headers[:3])}, ...")


def told_again(sent: str, heard: list[tuple[str, str]], planted: str) -> Evidence:
    """What was sent, and in which headers the API heard of it."""
    got = (f"{name}: {masked(value)}" for name, value in heard if planted in value)
    return Evidence(shortened(masked(sent)), shortened(f"the API heard {'; '.join(got)}"))


async def _told(target: Target, **how: Any) -> list[tuple[str, str]] | None:
    """Headers as the API heard them; None where a request did not reach it."""
    _, heard = await target.heard(**how)
    return [(name.lower(), value) for name, value in heard["headers"]] if heard else None


@IDENTITY.check("subject-told", "The API is told the subject of the token, once.",
                fix="proxy_set_header X-Subject $jwt_claim_sub;")  # fmt: skip
async def subject_told(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    token = await target.token("told")
    sub = str(opened(token)[1].get("sub"))
    heard = await _told(target, token=token, headers={"X-Subject": "mallory"})
    if heard is None:
        return undecided("the request did not reach the API")
    told = [value for name, value in heard if name == "x-subject"]
    return insist(told == [sub], "X-Subject is the subject of the token",
                  f"X-Subject is {told or 'not there'}, not the subject of the token")  # fmt: skip


@IDENTITY.check("token-stays", "The token stays at the gateway.",
                fix='proxy_set_header Authorization "";')  # fmt: skip
async def token_stays(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    token = await target.token()
    heard = await _told(target, token=token)
    there = [name for name, value in heard or () if token in value]
    return insist(not there, "no header that the API hears holds it",
                  f"the API is told it: {', '.join(there)}",
                  told_again(f"Authorization: Bearer {token}", heard or [], token))  # fmt: skip


@IDENTITY.check("cookies-stay", "Cookies stay at the gateway.",
                fix='proxy_set_header Cookie "";')  # fmt: skip
async def cookies_stay(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    planted = mark()
    heard = await _told(target, headers={"Cookie": f"session={planted}"})
    there = [name for name, value in heard or () if planted in value]
    return insist(not there, "the API is told none", "the API is told those of the client",
                  told_again(f"Cookie: session={planted}", heard or [], planted))  # fmt: skip


@IDENTITY.check("connection-clears-nothing", "No client can have the gateway drop its headers.",
                fix="set Connection yourself (proxy_set_header Connection)")  # fmt: skip
async def hop_by_hop(target: Target) -> Finding:
    if not target.witness:
        return undecided(NO_WITNESS)
    asked = {"Connection": "close, X-Subject, X-Real-IP, X-Request-ID"}
    heard = await _told(target, headers=asked)
    if heard is None:
        return undecided("the request did not reach the API")
    names = [name for name, _ in heard]
    passed_on = [
        value for name, value in heard if name == "connection" and "subject" in value.lower()
    ]
    return insist("x-subject" in names and not passed_on, "X-Subject still reaches the API",
                  "it is dropped, or its being dropped is passed on")  # fmt: skip


@IDENTITY.check("request-id", "A request id is the client's, if it is a sane one.",
                requests=2, fix="map $http_x_request_id by a pattern, and return it")  # fmt: skip
async def request_id(target: Target) -> Finding:
    token, sane = await target.token(), mark()
    kept = await target.open(token, headers={"X-Request-ID": sane})
    odd = await target.open(token, headers={"X-Request-ID": "a'\"<b>" + "x" * 300})
    if not kept.header("x-request-id"):
        return failed("answers have no X-Request-ID", kept)
    if "<b>" in odd.header("x-request-id"):
        return failed("an id of any characters is taken over, into logs and answers", odd)
    return insist(kept.header("x-request-id") == sane, "a sane one is kept, an odd one replaced",
                  "the id of the client is not kept", kept)  # fmt: skip
