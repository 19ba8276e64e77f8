"""The runtime ``openai``: a model elsewhere, behind any server that speaks OpenAI's dialect.

What is asked reaches it at most once: only what it never received is sent again. It gets the
lab's key and no header of a client; of its answers nothing is passed on but their documents. What
it says of the lab itself, such as that its key is wrong, is no matter of the client's: that
becomes a 502 in words of our own.

It does not know how the model elsewhere splits a text into tokens, nor whether that is today the
model that it was yesterday: it takes note of what that calls itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path as File
from typing import Any

import httpx2

from llmlab.config import Model
from llmlab.errors import AuthError, unreadable
from llmlab.runtimes.base import AnsweredBy
from llmlab.runtimes.chat import (
    LONGEST_REASON,
    Abilities,
    Body,
    BrokenOff,
    ChatFailure,
    Chunk,
    ModelServer,
    Path,
    Refused,
    Unreachable,
)
from llmlab.runtimes.wire import Wire
from llmlab.upstreams.keys import OURS, KeyFile
from llmlab.upstreams.tls import trusted
from llmlab.version import __version__

log = logging.getLogger("llmlab.service")
LOGGED = "the log of this deployment says why"
CONTEXT, SLOTS = 8192, 512  # where lab.toml says nothing
# Seconds until what never reached it is sent again.
AGAIN = (0.1, 0.4)
# Seconds for which a connection is kept that nobody uses. Less than uvicorn's 5: a server that
# ends a connection while a request is on its way leaves it open whether that was received.
IDLE = 4.0
LONGEST_NAME = 128  # characters of what a model calls itself


class Failed(Refused):
    """It cannot answer, whoever asks.

    Args:
        answered: the status that it gave.
    """

    def __init__(
        self, message: str, *, answered: int, code: str, retry_after: float | None
    ) -> None:
        super().__init__(
            message, status=502, kind="upstream_error", code=code, retry_after=retry_after
        )
        self.answered = answered


def another_may_answer(failure: ChatFailure) -> bool:
    """Whether a request may go to another deployment: this one could not be reached, failed, or
    took too long, and nothing of its answer has come. Never for a fault of the request, a wrong
    key or too many requests, which would stay unseen."""
    match failure:
        case Unreachable():
            return True
        case BrokenOff(begun=begun):
            return not begun
        case Failed(answered=answered):
            return answered >= 500 or answered == 408
    return False


class Upstream(ModelServer):
    """
    Args:
        key: None where it asks for none.
        noticed: told what an answer is by, once for each.
    """

    # A request costs money, and the lab comes up whether or not it answers.
    warms_up = False

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        name: str,
        model: Model,
        key: KeyFile | None,
        patience: float,
        noticed: Callable[[AnsweredBy], None],
    ) -> None:
        super().__init__(
            client,
            model=model.model,
            context=model.context or CONTEXT,
            slots=model.slots or SLOTS,
            # What it cannot do it says itself.
            abilities=Abilities(
                tools=True, images=True, reasoning=True, choices=True, embeddings=True
            ),
            patience=patience,
        )
        self._name, self._key, self._noticed = name, key, noticed

    @asynccontextmanager
    async def stream(
        self, path: Path, body: Body, *, whole: bool = False
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """As of every server; a whole answer is asked for as one. It is passed on as it came, and
        one document is a tenth of the work of its chunks."""
        if whole:
            yield _once(as_chunk(await self.ask(path, body)))
            return
        async with super().stream(path, body) as chunks:
            yield chunks

    async def ask(self, path: str, body: Body) -> dict[str, Any]:
        document = await super().ask(path, body)
        self._noticed(self.answered_by(document))
        return document

    def answered_by(self, chunk: Chunk) -> AnsweredBy:
        return AnsweredBy(_name(chunk.get("model")), _name(chunk.get("system_fingerprint")))

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[Chunk]:
        first = True
        try:
            async with aclosing(super()._chunks(response)) as chunks:
                async for chunk in chunks:
                    if first:
                        self._noticed(self.answered_by(chunk))
                        first = False
                    yield chunk
        except Refused as said:  # within a stream, whose head has said 200
            raise self._told(said) from None

    # --- the wire ----------------------------------------------------------------

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        if self._key:
            try:
                request.headers["Authorization"] = f"Bearer {self._key.current()}"
            except (AuthError, OSError) as error:
                # Where it stands, and whose it is, is no matter of the client's.
                log.error(
                    "%s", error.message if isinstance(error, AuthError) else unreadable(error)
                )
                said = f"{self._name} cannot be asked: this lab cannot read its key ({LOGGED})"
                raise Failed(said, answered=0, code="upstream_key", retry_after=None) from None
        for pause in AGAIN:
            try:
                return await super()._sent(request)
            except Unreachable:
                await asyncio.sleep(pause)
        try:
            return await super()._sent(request)
        except Unreachable as error:
            raise Unreachable(f"{self._name} cannot be reached: {error.message}") from None

    async def _refusal(self, response: httpx2.Response) -> Refused:
        return self._told(await super()._refusal(response))

    def _told(self, said: Refused) -> Refused:
        """A refusal as a client may hear it: nothing of it is about the lab's own key."""
        if isinstance(said, Failed):
            return said
        status = said.status
        if status < 500 and status not in (*OURS, 404, 408) and not 300 <= status < 400:
            said.message = self._without_key(said.message)[:LONGEST_REASON]
            said.args = (said.message,)
            said.code, said.param = _plain(said.code), _plain(said.param)
            return said
        return Failed(
            f"{self._name} {_why(status)}", answered=status, code=_code(status),
            retry_after=said.retry_after,
        )  # fmt: skip

    def _without_key(self, text: str) -> str:
        """Some servers tell again what they were sent."""
        key = self._key.last if self._key else ""
        return text.replace(key, "[key]") if key else text


def _plain(word: str) -> str:
    """A code or a field's name, if it is one."""
    return word if re.fullmatch(r"[A-Za-z0-9_.\[\]-]{1,64}", word) else ""


def _why(status: int) -> str:
    if status in OURS:
        return (
            f"refuses the key or the account of this lab ({status}). This is none of your token's "
            "business; whoever runs the lab finds more by `llmlab doctor`."
        )
    if status == 404:
        return "does not know the model, or the address, that this lab asks it for (404)."
    if 300 <= status < 400:
        return f"sends this lab elsewhere ({status}), and redirects are not followed."
    return f"failed ({status})."


def _code(status: int) -> str:
    if status in OURS:
        return "upstream_key"
    if 300 <= status < 400:
        return "upstream_redirect"
    return "upstream_model" if status == 404 else "upstream_failed"


def as_chunk(document: Chunk) -> Chunk:
    """A whole answer as the one chunk of a stream."""
    choices = [
        {**{key: value for key, value in one.items() if key != "message"}, "delta": one["message"]}
        if "message" in one
        else one
        for one in document.get("choices") or ()
    ]
    return {**document, "choices": choices}


async def _once(chunk: Chunk) -> AsyncIterator[Chunk]:
    yield chunk


def _name(value: object) -> str:
    """As it may go into a log, a label or a header."""
    text = value if isinstance(value, str) else ""
    return "".join(letter for letter in text if 32 < ord(letter) < 127)[:LONGEST_NAME]


def client_of(model: Model, ca: File | None) -> httpx2.AsyncClient:
    """What reaches a model elsewhere: by TLS that is verified, by no proxy of the environment,
    and to no other address than the one in lab.toml.

    Args:
        ca: a bundle of the certificates to trust; None for those that the machine trusts.

    Raises:
        EnvironmentFailure: there is no such bundle, or it is none.
    """
    most = model.slots or SLOTS
    return httpx2.AsyncClient(
        transport=Wire(most=most, idle=IDLE, trusted=trusted(ca)),
        base_url=model.base_url,
        headers={
            **model.headers,
            "Accept-Encoding": "identity",
            "User-Agent": f"llmlab/{__version__}",
        },
        follow_redirects=False,
        trust_env=False,
    )
