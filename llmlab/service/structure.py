"""What a body has to be before anybody reads it: JSON in UTF-8, and no deeper than it may be.

Always on. It costs a look at a header, at the first bytes of a body, and a count of its brackets.
"""

from __future__ import annotations

import json
import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llmlab.service.chat.bodies import DEEPEST
from llmlab.service.chat.errors import PREFIX
from llmlab.service.problems import answer

LONGEST_TOLD = 80  # characters of a header that are told again
# RFC 8259, 8.1: JSON that travels is UTF-8, of which ASCII is a part.
CHARSETS = ("", "utf-8", "utf8", "us-ascii")
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([^";\s]*)', re.IGNORECASE)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_OPENS = re.compile(rb"[\[{]")


def wrong_type(content_types: list[str]) -> str:
    """Why a body with these Content-Types is not read; "" if it is. None at all is as good as
    JSON: the reference lab's notebook says none."""
    for said in content_types:
        kind = said.partition(";")[0].strip().lower()
        if kind and kind != "application/json" and not kind.endswith("+json"):
            told = kind[:LONGEST_TOLD]
            return f"Send JSON: Content-Type: application/json, not {told}."
        charset = _CHARSET.search(said)
        if charset and charset[1].lower() not in CHARSETS:
            return f"Send JSON in UTF-8, not in {charset[1][:LONGEST_TOLD]}."
    return ""


def is_deeper(body: bytes, levels: int) -> bool:
    """Whether JSON is nested deeper than so many levels. Brackets in its texts are no levels."""
    if body.count(b"[") + body.count(b"{") <= levels:
        return False
    bare = _STRING.sub(b"", body)
    if len(_OPENS.findall(bare)) <= levels:
        return False
    depth = 0
    for byte in bare:
        if byte in b"[{":
            depth += 1
            if depth > levels:
                return True
        elif byte in b"]}":
            depth -= 1
    return False


class PlainJson:
    """Refuses a body that is declared as something else, or that would be read in another
    encoding than whoever looked at it before has read it in. It has to be there in one piece."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        request_id = scope["state"]["request_id"]
        if why := wrong_type(Headers(scope=scope).getlist("content-type")):
            return await answer(request_id, 415, why)(scope, receive, send)
        message = await receive()
        if why := _wrong_body(message.get("body", b""), scope["path"]):
            said = f"The body is not valid JSON: {why}."
            return await answer(request_id, 400, said)(scope, receive, send)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return message

        await self.app(scope, replay, send)


def _wrong_body(body: bytes, path: str) -> str:
    # json would read other encodings as well, unasked: whoever looked before has read UTF-8.
    if json.detect_encoding(body) not in ("utf-8", "utf-8-sig"):
        return "it is not in UTF-8"
    # Under /v1 the error says more than this one could.
    if not path.startswith(PREFIX) and is_deeper(body, DEEPEST):
        return f"it is nested more than {DEEPEST} deep"
    return ""
