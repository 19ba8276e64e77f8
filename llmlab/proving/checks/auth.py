"""auth: what is no good token opens nothing, whichever way it is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from llmlab.proving.answers import Answer
from llmlab.proving.checks.forged import OUTSIDE, SIGNED, Forged, Misused, guessed
from llmlab.proving.findings import (
    Finding,
    Group,
    failed,
    insist,
    not_applicable,
    passed,
    undecided,
)
from llmlab.proving.target import CHAT, SUMMARIZE, Target, mark
from llmlab.proving.tokens import opened, subject

AUTH = Group("auth")
REFUSED = (400, 401, 403, 431)
MODELS = 4  # of those that there are
NO_KEY = "no key to sign it with is at hand (--key-file)"
ONE_PLACE = "take a token from the header Authorization only, and one of them"


def judged(answer: Answer) -> Finding:
    """What an answer to somebody who may not get in says."""
    if answer.status in REFUSED:
        return passed(f"it is refused with {answer.status}", answer)
    if answer.good:
        return failed(f"it is let in: {answer.status}", answer)
    return undecided(f"the answer {answer.status} says neither yes nor no", answer)


def _outside(one: Forged) -> Callable[[Target], Awaitable[Finding]]:
    async def run(target: Target) -> Finding:
        if one.name == "published-key" and target.facts.published:
            return not_applicable("this lab is in demo mode: it takes that key on purpose")
        return judged(await target.open(one.make(await target.token(one.name))))

    return run


def _signed(one: Misused) -> Callable[[Target], Awaitable[Finding]]:
    async def run(target: Target) -> Finding:
        if target.signer is None:
            return undecided(NO_KEY)
        if one.name == "no-exp" and target.signer.key.is_demo:
            return not_applicable("the published key may sign tokens that never end")
        return judged(await target.open(one.make(target.signer, subject(one.name))))

    return run


@AUTH.check("no-token", "Without a token nothing is answered.",
            fix="have auth_jwt in the server, not in single locations")  # fmt: skip
async def no_token(target: Target) -> Finding:
    return judged(await target.ask("GET", target.guarded))


@AUTH.check("empty-token", "An empty token is none.", fix=ONE_PLACE)
async def empty_token(target: Target) -> Finding:
    return judged(await target.ask("GET", target.guarded, headers={"Authorization": "Bearer "}))


@AUTH.check("another-scheme", "A token under another scheme is none.", fix=ONE_PLACE)
async def another_scheme(target: Target) -> Finding:
    said = {"Authorization": f"Basic {await target.token()}"}
    return judged(await target.ask("GET", target.guarded, headers=said))


for _one in OUTSIDE:
    AUTH.add(_one.name, _one.proves, _outside(_one), fix=_one.fix)
for _two in SIGNED:
    AUTH.add(_two.name, _two.proves, _signed(_two), fix=_two.fix)


@AUTH.check("public-key-as-secret", "A public key is no secret that signs.",
            fix="bind each key to its algorithm")  # fmt: skip
async def public_key_as_secret(target: Target) -> Finding:
    import hmac

    import jwt
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from llmlab.proving.tokens import b64, part

    signer = target.signer
    if signer is None:
        return undecided(NO_KEY)
    if signer.key.symmetric:
        return not_applicable("the key is a secret, and has no public part")
    public = jwt.PyJWK(signer.key.public(), signer.key.algorithm).key
    secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    claims = signer.claims(subject("confused"))
    unsigned = f"{part(signer.header(alg='HS256'))}.{part(claims)}"
    forged = f"{unsigned}.{b64(hmac.digest(secret, unsigned.encode(), 'sha256'))}"
    return judged(await target.open(forged))


@AUTH.check("guessable-secret", "The secret is none that everybody tries.", requests=0,
            fix="make a key of 256 random bits: llmlab keys rotate")  # fmt: skip
async def guessable_secret(target: Target) -> Finding:
    token = await target.token()
    if opened(token)[0].get("alg") != "HS256":
        return not_applicable("the token is not signed with a shared secret")
    if target.facts.published and target.signer and target.signer.key.is_demo:
        return not_applicable("this lab is in demo mode: it takes that key on purpose")
    if found := guessed(token):
        return failed(f"the secret is {found!r}, which is among the first that are tried")
    return passed("it is none of those that examples are signed with")


@AUTH.check("sub-twice", "A token that names two subjects is nobody's, or the last one's.",
            fix="refuse names that stand twice, as RFC 7519 4 demands")  # fmt: skip
async def sub_twice(target: Target) -> Finding:
    signer = target.signer
    if signer is None:
        return undecided(NO_KEY)
    first, last = subject("first"), subject("last")
    claims = signer.claims(first)
    rest = ",".join(f'"{name}":{_json(value)}' for name, value in claims.items() if name != "sub")
    token = signer.sign(f'{{"sub":"{first}",{rest},"sub":"{last}"}}')
    if not target.witness:
        found = await target.open(token)
        return judged(found) if found.status in REFUSED else undecided(
            "it is let in, and nobody tells as whom", found
        )  # fmt: skip
    answer, heard = await target.heard(token=token)
    if heard is None:
        return judged(answer)
    everything = str(heard)
    return insist(
        last in everything and first not in everything,
        "it is let in as the last one, as a parser may do",
        "it is let in as the first one, and another parser would read the last",
        answer,
    )


def _json(value: object) -> str:
    import json

    return json.dumps(value)


@AUTH.check("sub-with-line-break", "A name in a token becomes no header of its own.",
            fix="refuse subjects with control characters (auth_jwt_require)")  # fmt: skip
async def line_break(target: Target) -> Finding:
    if target.signer is None:
        return undecided(NO_KEY)
    planted = mark()
    claims = target.signer.claims(f"eve\r\nX-Planted: {planted}")
    token = target.signer.sign(claims)
    if not target.witness:
        answer = await target.open(token)
        return judged(answer) if answer.status in REFUSED else undecided(
            "it is let in, and nobody tells what the API was told", answer
        )  # fmt: skip
    answer, heard = await target.heard(token=token)
    names = [name for name, value in (heard or {}).get("headers", ()) if planted in value]
    if names:
        return failed(f"it reaches the API, in {', '.join(names)}", answer)
    return judged(answer) if heard is None else passed("it reaches the API nowhere", answer)


# --- where a token stands -------------------------------------------------------------------


@AUTH.check("token-in-query", "A token in the address opens nothing.", requests=4,
            fix=f"{ONE_PLACE}: addresses end up in logs")  # fmt: skip
async def in_query(target: Target) -> Finding:
    token = await target.token()
    for name in ("access_token", "token", "jwt", "api_key"):
        answer = await target.ask("GET", f"{target.guarded}?{name}={token}")
        if (found := judged(answer)).verdict != "passed":
            return found
    return found


@AUTH.check("token-in-cookie", "A token in a cookie opens nothing.", requests=1,
            fix=f"{ONE_PLACE}: browsers send cookies along by themselves")  # fmt: skip
async def in_cookie(target: Target) -> Finding:
    token = await target.token()
    cookies = "; ".join(f"{name}={token}" for name in ("token", "jwt", "auth_token", "session"))
    return judged(await target.ask("GET", target.guarded, headers={"Cookie": cookies}))


@AUTH.check("two-authorizations", "Of two tokens in two headers neither is picked.", requests=2,
            fix="refuse a header Authorization that stands twice")  # fmt: skip
async def two_authorizations(target: Target) -> Finding:
    good, bad = f"Bearer {await target.token()}", "Bearer opensesame"
    for pair in ((bad, good), (good, bad)):
        sent = tuple(("Authorization", one) for one in pair)
        answer = await target.ask("GET", target.guarded, headers=sent)
        if (found := judged(answer)).verdict != "passed":
            return found
    return found


@AUTH.check("two-in-one-header", "Of two tokens in one header neither is picked.",
            fix=ONE_PLACE)  # fmt: skip
async def two_in_one(target: Target) -> Finding:
    said = {"Authorization": f"Bearer opensesame, Bearer {await target.token()}"}
    return judged(await target.ask("GET", target.guarded, headers=said))


# --- everywhere -------------------------------------------------------------------------


@AUTH.check("every-address", "There is no address that opens without a token.", requests=14,
            fix="have auth_jwt in the server, and auth_jwt off for single addresses")  # fmt: skip
async def every_address(target: Target) -> Finding:
    planted = mark()
    body = target.chat_body({"say": "x", "mark": planted}, max_tokens=1)
    asked: list[tuple[str, str, bytes | None]] = [("GET", target.guarded, None)]
    asked += [("GET", one, None) for one in ("/v1/models", "/v1/models/x", "/flags", "/models")]
    asked += [
        ("POST", one, body) for one in (
            CHAT, "/v1/completions", "/v1/embeddings", "/openai/v1/chat/completions", SUMMARIZE,
            "/", "//v1/chat/completions", "/v1/./chat/completions", "/V1/chat/completions",
        )
    ]  # fmt: skip
    for name in target.names[:MODELS]:
        asked.append(("GET", f"/models/{name}/", None))
        own = target.chat_body({"say": "x", "mark": planted}, max_tokens=1, model=name)
        asked.append(("POST", f"/models/{name}/v1/chat/completions", own))
    for method, path, content in asked:
        answer = await target.ask(method, path, body=content)
        if answer.good:
            return failed(f"{method} {path} is answered", answer)
    if target.witness and await target.was("seen", planted):
        return failed("a request without a token reached the model")
    return passed(f"{len(asked)} addresses were asked without a token, and none answered")


@AUTH.check("every-method", "There is no method that opens without a token.", requests=6,
            fix="have auth_jwt outside of limit_except")  # fmt: skip
async def every_method(target: Target) -> Finding:
    for method in ("HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"):
        body = b"{}" if method in ("PUT", "PATCH") else None
        answer = await target.ask(method, target.guarded, body=body)
        # A browser that asks first has no token yet, and is told no more than that it may ask.
        if answer.good and not (method == "OPTIONS" and not answer.body):
            return failed(f"{method} is answered with {answer.status}", answer)
    return passed("six other methods open nothing")


@AUTH.check("connection-opens-nothing", "A token opens its own request, not the connection.",
            requests=2, fix="judge each request by itself")  # fmt: skip
async def on_one_connection(target: Target) -> Finding:
    first = target.request("GET", target.guarded, token=await target.token())
    heard = await target.raw(first, target.request("GET", target.guarded), requests=2, answers=2)
    if heard.status != 200 or len(heard.answers) < 2:
        return undecided("the gateway did not answer two requests on one connection", heard)
    return judged(heard.answers[1])


@AUTH.check("challenge", "Whoever is refused is told that a token is wanted.",
            fix="answer 401 with WWW-Authenticate: Bearer (RFC 6750 3)")  # fmt: skip
async def challenge(target: Target) -> Finding:
    answer = await target.ask("GET", target.guarded)
    if answer.status != 401:
        return failed(f"the answer is {answer.status}, not 401", answer)
    said = answer.header("www-authenticate")
    return insist(said.lower().startswith("bearer"), f"it says {said}",
                  "there is no WWW-Authenticate: Bearer", answer)  # fmt: skip


@AUTH.check("revoked", "A token that was ended opens nothing any more.", requests=3,
            fix="take the list of what was revoked over at once")  # fmt: skip
async def revoked(target: Target) -> Finding:
    if target.revoke is None:
        return undecided("only of a lab apart tokens may be ended (--apart)")
    sub = subject("revoked")
    token = await target.tokens.good(sub)
    before = await target.open(token)
    if not before.good:
        return undecided("it opened nothing before either", before)
    await target.revoke(sub)
    return judged(await target.open(token))
