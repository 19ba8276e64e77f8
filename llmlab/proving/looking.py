"""A first look at a gateway: whether it answers, what a token opens, and what can be asked."""

from __future__ import annotations

from dataclasses import replace

from llmlab.errors import AuthError, UpstreamError
from llmlab.proving.answers import Answer
from llmlab.proving.target import CHAT, SUMMARIZE, NoAnswer, Target
from llmlab.proving.wire import Unreached

GUARDED = ("/v1/models", "/", "/openai/v1/models", CHAT)
PREFERRED = ("chat", "summarize")


async def look(target: Target) -> Target:
    """The same, with what was found out.

    Args:
        target: its ``model``, if it is named, is believed.

    Raises:
        UpstreamError: it does not answer, or nothing that can be asked is there.
        AuthError: it refuses the token.
    """
    try:
        token = await target.token("look")
        guarded = await _guarded(target, token)
        found = replace(target, guarded=guarded)
        found.names = await _names(found, token)
        found.model = await _model(found, token)
        told = await replace(found, witness=True).heard(token=token) if found.model else None
        found.witness = told is not None and told[1] is not None
        summary = await found.ask("POST", SUMMARIZE, token=token, body=b'{"text": "Hello."}')
        found.summaries = summary.good
    except Unreached as error:
        raise UpstreamError(
            f"{target.url} cannot be reached: {error}",
            fix="llmlab up; of another gateway, look at its address, its certificate (--ca-file)",
        ) from None
    except NoAnswer as none:
        raise UpstreamError(
            f"{target.url} gives no answer of HTTP: {none.heard.shown}", fix="look at its address"
        ) from None
    return found


async def _guarded(target: Target, token: str) -> str:
    """The first address that a token opens."""
    seen: list[Answer] = []
    for path in GUARDED:
        answer = await target.ask("GET", path, token=token)
        if answer.good:
            return path
        seen.append(answer)
    if any(one.status in (401, 403) for one in seen):
        raise AuthError(
            f"{target.url} refuses the token: {seen[0].status}",
            fix="llmlab up, if it is this lab; else a token that it takes (--token-command), or "
            "the key and the claims that it wants (--key-file, --claim)",
        )
    statuses = ", ".join(f"{path}: {one.status}" for path, one in zip(GUARDED, seen, strict=True))
    raise UpstreamError(
        f"nothing at {target.url} answers a token ({statuses})", fix="look at its address"
    )


async def _names(target: Target, token: str) -> list[str]:
    answer = await target.ask("GET", "/v1/models", token=token)
    document = answer.json()
    listed = document.get("data") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        return []
    found = (one.get("id") for one in listed if isinstance(one, dict))
    return [one for one in found if isinstance(one, str)]


async def _model(target: Target, token: str) -> str:
    """The first name that can be chatted with; "" for none."""
    if target.model:
        return target.model
    preferred = [one for one in PREFERRED if one in target.names]
    for name in [*preferred, *target.names, "default"][:6]:
        answer = await replace(target, model=name).chat("Hello", token=token)
        if answer.good and isinstance(answer.json(), dict) and "choices" in answer.json():
            return name
    return ""
