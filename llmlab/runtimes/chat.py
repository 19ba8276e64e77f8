"""Asks a model server that speaks OpenAI's dialect, wherever it runs: a child of this process,
or a provider elsewhere. One client for all of them.

What is written is asked for as a stream, always. Its usage is asked for, too, and closing its
connection is the one way by which every server stops to write: one that was asked for a whole
answer goes on to its end.

It does not know who asks, or which names the model has here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

from llmlab.runtimes.base import AnsweredBy
from llmlab.runtimes.sse import Events, TooLarge

Path = Literal["chat/completions", "completions"]
Body = Mapping[str, Any]
Chunk = dict[str, Any]
Message = Mapping[str, Any]

DONE = b"[DONE]"
NOTHING = b"null"  # what llama.cpp begins with, if a request has several prompts
LONGEST_REASON = 2000  # characters of what a server says went wrong
LONGEST_ANSWER, LONGEST_REFUSAL = 64 << 20, 64 << 10  # bytes
# A token of English has some 4 letters; of other scripts, 2 bytes or more.
BYTES_A_TOKEN = 3
AROUND = 4  # tokens that a template says around a message


class ChatFailure(Exception):
    """A model server did not do what it was asked. One tree:

    ChatFailure
        Refused        it says no, and why
        Unreachable    it never received the request: it may be sent again, or elsewhere
        BrokenOff      it had the request, and the answer did not come, or not whole
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(ChatFailure):
    """It says no.

    Args:
        status: of its answer.
        kind, code, param: as in OpenAI's errors; "" if it does not say.
        retry_after: seconds that it asks to wait; None if it does not.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str = "",
        code: str = "",
        param: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.code, self.param = status, kind, code, param
        self.retry_after = retry_after


class Unreachable(ChatFailure):
    """It never received the request."""


class BrokenOff(ChatFailure):
    """It had the request, and the answer did not come, or ended before its end.

    Args:
        begun: whether something of it had come.
    """

    def __init__(self, message: str, *, begun: bool) -> None:
        super().__init__(message)
        self.begun = begun


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model server can be asked for; what it cannot is refused, or done here.

    Args:
        tools: its template knows tools, so that calls of them come as ``tool_calls``.
        images: it reads parts ``image_url``. Nobody here ever fetches one.
        reasoning: it knows how much it is to think (``reasoning_effort``).
        choices: it writes several choices (``n``) for one request.
        embeddings: it has ``embeddings``.
    """

    tools: bool = False
    images: bool = False
    reasoning: bool = False
    choices: bool = False
    embeddings: bool = False


class ModelServer:
    """A model that is asked over HTTP. Its methods belong to one event loop.

    Args:
        client: reaches it. Its base URL ends with /v1, and it carries what keys there are.
        model: its name there.
        context: tokens that one request may have, prompt and answer together.
        slots: requests that it works on at once.
        patience: seconds of silence after which an answer is given up.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        model: str,
        context: int,
        slots: int,
        abilities: Abilities,
        patience: float,
    ) -> None:
        self.client = client
        self.model = model
        self.context, self.slots = context, slots
        self.abilities = abilities
        self._timeout = httpx2.Timeout(patience, connect=min(10.0, patience), pool=None)
        self._addresses: dict[str, httpx2.URL] = {}

    # Whether it has to have answered once before it is ready: one that loads weights has.
    warms_up = True

    # --- what is written ---------------------------------------------------------

    @asynccontextmanager
    async def stream(
        self, path: Path, body: Body, *, whole: bool = False
    ) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """The chunks of an answer. Leaving the block early has the server stop.

        Args:
            whole: nobody reads it before its end, so that it may come as one chunk.

        One at least has the ``usage``, as a rule the last; an earlier one has what is known by
        then.

        Raises:
            Refused: on the way in, or by an event of the stream.
            Unreachable: on the way in.
            BrokenOff: at any time.
        """
        del whole  # by a stream it can be stopped
        asked = {**self.prepared(body), "model": self.model, "stream": True}
        asked["stream_options"] = {"include_usage": True}
        response = await self._sent(self._request(path, asked))
        try:
            if response.status_code != 200:
                raise await self._refusal(response)
            yield self._chunks(response)
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx2.Response) -> AsyncGenerator[Chunk]:
        _refuse_packed(response)
        events, begun = Events(), False
        # Not by aiter_bytes(), which would unpack: each generator in between costs every event.
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        try:
            async for part in stream:
                for data in events.feed(part):
                    if data == DONE:
                        return
                    if data != NOTHING:
                        yield _chunk(data, begun)
                        begun = True
            for data in events.end():
                if data == DONE:
                    return
        except (httpx2.TransportError, TooLarge) as error:
            raise BrokenOff(_reason(error), begun=begun) from error
        raise BrokenOff("the answer ended before its end", begun=begun)

    # --- what is known at once ---------------------------------------------------

    async def ask(self, path: str, body: Body) -> dict[str, Any]:
        """Ask for what is answered as one document, such as ``embeddings``.

        Raises:
            Refused, Unreachable, BrokenOff
        """
        response = await self._sent(self._request(path, {**body, "model": self.model}))
        try:
            if response.status_code != 200:
                raise await self._refusal(response)
            return _object(await whole(response, LONGEST_ANSWER))
        except httpx2.TransportError as error:
            raise BrokenOff(_reason(error), begun=False) from error
        finally:
            await response.aclose()

    def count_text(self, text: str) -> int:
        """Tokens of a text by itself: an estimate from above, where the server cannot say. For
        threads other than the event loop's."""
        return 1 + len(text.encode()) // BYTES_A_TOKEN

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Tokens of a prompt, with all that is said around it. Likewise."""
        said = (json.dumps(one.get("content"), ensure_ascii=False) for one in messages)
        return sum(AROUND + self.count_text(one) for one in said)

    def answered_by(self, chunk: Chunk) -> AnsweredBy | None:
        """What an answer says that it is by; None where that is known better here."""
        del chunk
        return None

    def prepared(self, body: Body) -> Body:
        """A request as this server wants it."""
        return body

    async def close(self) -> None:
        """End what belongs to it."""
        await self.client.aclose()

    # --- the wire ----------------------------------------------------------------

    def _request(self, path: str, asked: Body) -> httpx2.Request:
        """What ``client.build_request`` makes; that puts the address and the headers together
        anew each time, which is a tenth of the work of an answer that is passed on."""
        address = self._addresses.get(path)
        if address is None:
            address = self._addresses[path] = self.client.build_request("POST", path).url
        return httpx2.Request(
            "POST", address, headers=self.client.headers, json=asked,
            extensions={"timeout": self._timeout.as_dict()},
        )  # fmt: skip

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return await self.client.send(request, stream=True)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise Unreachable(_reason(error)) from error
        except httpx2.TransportError as error:
            raise BrokenOff(_reason(error), begun=False) from error

    async def _refusal(self, response: httpx2.Response) -> Refused:
        try:
            document = await whole(response, LONGEST_REFUSAL)
        except (httpx2.TransportError, BrokenOff):
            document = b""
        after = response.headers.get("retry-after", "")
        return refusal(response.status_code, document, after)


async def whole(response: httpx2.Response, most: int) -> bytes:
    """The body of an answer, as it was sent.

    Raises:
        BrokenOff: it is longer than so many bytes, or packed, which nobody has asked for.
    """
    _refuse_packed(response)
    if response.is_stream_consumed:  # it came with its body
        return response.content
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > most:
            raise BrokenOff(f"its answer has more than {most >> 10} KiB", begun=False)
    return bytes(body)


def _refuse_packed(response: httpx2.Response) -> None:
    if response.headers.get("content-encoding", "").lower() not in ("", "identity"):
        raise BrokenOff("its answer is packed, which was not asked for", begun=False)


def refusal(status: int, document: bytes, retry_after: str = "") -> Refused:
    """What a server says by an answer that is none. Providers agree on no form of it."""
    try:
        said = json.loads(document)
    except ValueError:
        said = {"message": document.decode(errors="replace")}
    error = said.get("error", said) if isinstance(said, dict) else {"message": str(said)}
    error = error if isinstance(error, dict) else {"message": str(error)}
    seconds = float(retry_after) if retry_after.strip().isdecimal() else None
    message = str(error.get("message") or error.get("detail") or f"it answered {status}")
    code = error.get("code")
    return Refused(
        message[: 2 * LONGEST_REASON], status=status, kind=str(error.get("type") or ""),
        code=code if isinstance(code, str) else "", param=str(error.get("param") or ""),
        retry_after=seconds,
    )  # fmt: skip


def _chunk(data: bytes, begun: bool) -> Chunk:
    try:
        chunk = _object(data)
    except BrokenOff as error:
        raise BrokenOff(error.message, begun=begun) from error
    if "error" in chunk and not chunk.get("choices"):
        said = chunk["error"] if isinstance(chunk["error"], dict) else {}
        code = said.get("code")
        raise refusal(code if isinstance(code, int) else 500, data)
    return chunk


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise BrokenOff("what it answered is no JSON object", begun=False)
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, TooLarge):
        return "it sent an event without an end"
    if isinstance(error, httpx2.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__
