"""The gateway that is tried: where it is, who may ask, and how politely it is asked."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmlab.proving.answers import Answer, Heard
from llmlab.proving.tokens import Signer, Tokens, subject
from llmlab.proving.wire import Wire

CHAT = "/v1/chat/completions"
SUMMARIZE = "/summarize/"
LONGEST_WAIT = 10.0  # seconds that a Retry-After is waited for
TRIES = 6
# By which a limit is told; the second is what NGINX says of itself.
LIMITED = (429, 503)
SLOWEST = 1.0  # seconds between two requests to who does not say how long to wait


class OutOfBudget(Exception):
    """So many requests were agreed upon, and they are sent."""


class NoAnswer(Exception):
    """What was asked got no answer of HTTP at all."""

    def __init__(self, heard: Heard) -> None:
        super().__init__(heard.shown)
        self.heard = heard


class Pace:
    """How often something is sent.

    Args:
        rate: requests a second.
        most: requests in all.
    """

    def __init__(self, rate: float, most: int) -> None:
        self.gap = self._first = 1 / rate  # seconds between two requests
        self._most = most
        self._next = 0.0
        self.sent = 0

    def slow_down(self) -> None:
        """It was too often, and nobody has said how often it may be."""
        self.gap = min(SLOWEST, max(self.gap * 2, 0.05))
        self._next = max(self._next, time.monotonic() + self.gap)

    async def turn(self, requests: int = 1) -> None:
        """Wait until so many may be sent.

        Raises:
            OutOfBudget: there are none left.
        """
        if self.sent + requests > self._most:
            raise OutOfBudget
        self.sent += requests
        now = time.monotonic()
        due = max(now, self._next)
        # Several at once are to be too many: it is their number that counts, as at the beginning.
        self._next = due + (self.gap if requests == 1 else self._first * requests)
        await asyncio.sleep(due - now)


@dataclass(frozen=True)
class Facts:
    """What is known of a gateway before it is asked; None for what is not.

    Args:
        limited: whether it limits the rate of a subject.
        max_body: bytes.
        published: it takes tokens of the published key on purpose.
        waf: whether a firewall for requests is on.
        scoped: it goes by the scopes of a lab.
        issuers: the ``iss`` of identity providers whose tokens it takes.
        budgets: whether it has budgets.
    """

    limited: bool | None = None
    max_body: int | None = None
    published: bool = False
    waf: bool | None = None
    scoped: bool = False
    issuers: tuple[str, ...] = ()
    budgets: bool | None = None


@dataclass
class Target:
    """
    Args:
        guarded: an address that a token opens, and nothing else.
        model: what `model` says in a chat; "" where there is none.
        witness: that one tells what it hears.
        summaries: /summarize/ is there.
        patience: seconds for one answer, and for a slow client to be shown out.
    """

    url: str
    wire: Wire
    tokens: Tokens
    pace: Pace
    facts: Facts = Facts()
    guarded: str = "/"
    model: str = ""
    witness: bool = False
    summaries: bool = False
    patience: float = 15.0
    revoke: Any = None  # (subject) -> awaitable: ends its tokens
    api_key: Any = None  # (subject) -> awaitable: (a new API key of it, () -> awaitable: ends that)
    names: list[str] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)  # what one check has seen for others

    @property
    def host(self) -> str:
        """As Host says it."""
        host = f"[{self.wire.host}]" if ":" in self.wire.host else self.wire.host
        usual = 443 if self.wire.tls else 80
        return host if self.wire.port == usual else f"{host}:{self.wire.port}"

    @property
    def signer(self) -> Signer | None:
        return self.tokens.signer

    async def token(self, name: str = "anybody") -> str:
        """A good one, of a subject that nobody had before."""
        return await self.tokens.good(subject(name))

    # --- asking ------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str = "",
        headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
    ) -> bytes:
        """A request as honest clients send them."""
        pairs = tuple(headers.items()) if isinstance(headers, Mapping) else headers
        own = [("Host", self.host)]
        own += [("Authorization", f"Bearer {token}")] if token else []
        own += [("Content-Length", str(len(body)))] if body is not None else []
        if body is not None and not any(one.lower() == "content-type" for one, _ in pairs):
            own.append(("Content-Type", "application/json"))
        lines = [f"{method} {path} HTTP/1.1", *(f"{one}: {value}" for one, value in (*own, *pairs))]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + (body or b"")

    async def raw(self, *pieces: bytes, requests: int = 1, retry: bool = True, **how: Any) -> Heard:
        """Bytes as they are; ``how`` as of ``Wire.talk``. Where too much was asked, what comes
        after the wait that is said.

        Raises:
            OutOfBudget, Unreached
        """
        heard = await self._talk(pieces, requests, how)
        for _ in range(TRIES if retry else 0):
            refused = next((one for one in heard.answers if one.status in LIMITED), None)
            if refused is None:
                break
            if wait := wait_of(refused):
                await asyncio.sleep(min(LONGEST_WAIT, wait))
            else:
                self.pace.slow_down()
            heard = await self._talk(pieces, requests, how)
        return heard

    async def _talk(
        self, pieces: tuple[bytes, ...], requests: int, how: Mapping[str, Any]
    ) -> Heard:
        await self.pace.turn(requests)
        return await self.wire.talk(*pieces, **{"patience": self.patience, **how})

    async def ask(self, method: str, path: str, *, retry: bool = True, **more: Any) -> Answer:
        """An answer; where too much was asked, the one after the wait that it says.

        Raises:
            NoAnswer: there is none.
            OutOfBudget, Unreached
        """
        data = self.request(method, path, **more)
        heard = await self.raw(data, methods=(method,), retry=retry)
        if heard.first is None:
            raise NoAnswer(heard)
        return heard.first

    async def open(self, token: str, **more: Any) -> Answer:
        """The guarded address, with a token."""
        return await self.ask("GET", self.guarded, token=token, **more)

    async def open_at(self, path: str) -> Answer:
        """Any address, with a token of its own."""
        return await self.ask("GET", path, token=await self.token("address"))

    async def chat(
        self,
        said: str | Mapping[str, Any],
        *,
        token: str | None = None,
        headers: Mapping[str, str] | tuple[tuple[str, str], ...] = (),
        path: str = CHAT,
        retry: bool = True,
        **fields: Any,
    ) -> Answer:
        """
        Args:
            said: of the user; or a script, where there is a witness.
            fields: further ones of the body; they win.
        """
        token = await self.token("chat") if token is None else token
        body = self.chat_body(said, **fields)
        return await self.ask("POST", path, token=token, headers=headers, body=body, retry=retry)

    def chat_body(self, said: str | Mapping[str, Any], **fields: Any) -> bytes:
        text = said if isinstance(said, str) else json.dumps(said)
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": text}],
        }
        if not self.witness:
            asked["max_tokens"] = 16
        return json.dumps({**asked, **fields}).encode()

    # --- the witness -------------------------------------------------------------

    async def heard(self, **how: Any) -> tuple[Answer, dict[str, Any] | None]:
        """An answer to a request, and what the API heard of that; None if it never got there."""
        answer = await self.chat({"tell": "request"}, **how)
        told = json_of(said_in(answer))
        return answer, told if isinstance(told, dict) and "headers" in told else None

    async def was(self, what: str, mark: str) -> bool:
        """Whether a request with this mark was ``seen`` by the model, or ``left``."""
        return said_in(await self.chat({"tell": what, "of": mark})) == "yes"


def said_in(answer: Answer) -> str:
    """What a model said; "" where it did not."""
    document = answer.json()
    try:
        return str(document["choices"][0]["message"]["content"])
    except (KeyError, IndexError, TypeError):
        return ""


def json_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def wait_of(answer: Answer) -> float:
    """Seconds that it asks to wait; 0 if it does not say."""
    after = answer.header("retry-after")
    return float(after) if after.isdecimal() else 0.0


def mark() -> str:
    return f"mark-{secrets.token_hex(8)}"
