"""The two clients: one blocking, one for asyncio. They differ in how they wait, nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

import httpx2

from llmlab.client import credentials, protocol
from llmlab.client.bounds import Bounds
from llmlab.client.chat import PATH, Message, Reply, Talking, body_of, messages_of
from llmlab.client.connection import connect
from llmlab.client.events import Listening, Tell, is_stream
from llmlab.client.pace import Pace
from llmlab.client.protocol import Question, Summary
from llmlab.client.retry import Attempts, Outcome, RetryPolicy
from llmlab.client.stream import AsyncStream, Stream

TIMEOUT = 150.0  # seconds; above the gateway's own limit, so that its answer is what one sees
# Seconds for the way there and back: the service is told of the timeout, and it is its answer
# that one sees then.
GRACE = 1.0


class _Base:
    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        lab: str | Path | None = None,
        timeout: float = TIMEOUT,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Args:
        url: the gateway, such as ``http://127.0.0.1:8000``.
        token: a JWT.
        lab: folder of a lab to take URL and token from; default: the one around here.
        timeout: seconds for one try. The service drops a text that takes longer.
        retry: when to ask again; default: for up to 60 s.
        """
        found = credentials.resolve(url, token, Path(lab) if lab else None)
        self.url = found.url
        self._token = found.token
        self._trust = found.trust
        self._timeout = timeout
        self._retry = retry or RetryPolicy()
        self.pace = Pace()
        self._patience = httpx2.Timeout(timeout + GRACE, connect=5.0)

    def headers(self) -> dict[str, str]:
        """The Authorization header, with a token that is valid now, for a request of one's own."""
        return {"Authorization": f"Bearer {self._token()}"}

    @property
    def ca_file(self) -> str | None:
        """Who may have signed the lab's certificate, for ``verify`` of a client of one's own; None
        for whom the machine trusts."""
        return str(self._trust.ca) if self._trust.ca else None

    def _sent(self, question: Question) -> dict[str, Any]:
        headers = self.headers() | question.headers(self._timeout)
        return {"url": question.path, "json": question.body, "headers": headers}

    def _conversation(
        self,
        said: str | Sequence[Message],
        *,
        model: str | None = None,
        deployment: str = "",
        fresh: bool = False,
        system: str = "",
        json_schema: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Question:
        messages = messages_of(said, system)
        # Named in the body as well, it is counted for no route.
        named = deployment or model
        body = body_of(messages, model=named, json_schema=json_schema, options=options)
        return Question(PATH, body, fresh=fresh, deployment=deployment)

    @property
    def _bounds(self) -> Bounds:
        return Bounds(self._timeout + GRACE)


class Client(_Base):
    """A blocking client. Threads may share it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = connect(httpx2.Client, self.url, trust=self._trust, timeout=self._patience)
        self._line = threading.Lock()

    def summarize(
        self,
        text: str,
        *,
        model: str | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        strategy: str | None = None,
        progress: Tell | None = None,
        fresh: bool = False,
    ) -> Summary:
        """Summarize a text with the stable model, or with a named one.

        Args:
            max_length, min_length: in the model's tokens (words for the extractive runtime).
            strategy: for a text longer than the model's window. ``auto``: read all of it,
                window by window; ``truncate``: the first window; ``full``: all of it at once.
            progress: called with a ``Progress`` while a text of several windows is read.
            fresh: have the model answer, even if the lab keeps an answer to the same request.

        Raises:
            AuthError: the token was refused.
            UsageError: the text or a parameter was refused.
            UpstreamError: no answer within the timeout and the retry policy.
        """
        body = protocol.body(text, max_length=max_length, min_length=min_length, strategy=strategy)
        question = Question(protocol.path_for(model), body, progress, fresh)
        self._turn()
        attempts = self._retry.attempts(self.pace)
        while True:
            with attempts.trying():
                outcome = self._try(question, attempts)
            pause = attempts.pause_after(outcome, self._token)
            if pause is None:
                return protocol.summary_of(outcome, self.url, self._token.advice)
            time.sleep(pause)
            self._turn()

    def chat(self, said: str | Sequence[Message], **options: Any) -> Reply:
        """Have a model answer; ``stream`` gives the answer piece by piece.

        Args:
            said: a question, or the messages of a conversation so far.
            options: ``model`` (a route or a deployment; default: the route chat), ``deployment``
                (one of them, whatever routes are called; it wins), ``fresh`` (for who measures,
                and is no traffic: nothing of it is recorded), ``system``,
                ``json_schema`` (which the answer then fits), ``temperature``, ``top_p``,
                ``max_tokens``, ``seed``, ``stop``.

        Raises:
            AuthError: the token was refused.
            UsageError: the conversation or an option was refused.
            UpstreamError: no answer within the timeout and the retry policy, or it broke off.
        """
        with self.stream(said, **options) as stream:
            for _ in stream:
                pass
            return stream.reply()

    @contextmanager
    def stream(self, said: str | Sequence[Message], **options: Any) -> Iterator[Stream]:
        """The pieces of an answer, as they come. Whoever leaves the block early ends the model's
        work. Options and errors as of ``chat``."""
        question = self._conversation(said, **options)
        self._turn()
        attempts = self._retry.attempts(self.pace)
        while True:
            with ExitStack() as stack:
                with attempts.trying():
                    outcome = self._open(question, stack)
                if isinstance(outcome, httpx2.Response) and is_stream(outcome):
                    yield Stream(Talking(outcome, attempts), self.url)
                    return
            pause = attempts.pause_after(outcome, self._token)
            if pause is None:
                raise protocol.refused(outcome, self.url, self._token.advice)
            time.sleep(pause)
            self._turn()

    def _open(self, question: Question, stack: ExitStack) -> Outcome:
        """An answer: whole, or a stream that is open as long as the stack is."""
        try:
            response = stack.enter_context(self._http.stream("POST", **self._sent(question)))
            answer = self._bounds.bounded(response)
            if not is_stream(answer):
                answer.read()
            return answer
        except httpx2.RequestError as error:
            return error

    def _turn(self) -> None:
        """Wait until a request may start, one after the other in the order they came."""
        with self._line:
            while (seconds := self.pace.claim()) > 0:
                time.sleep(seconds)

    def _try(self, question: Question, attempts: Attempts) -> Outcome:
        bounds = self._bounds
        try:
            with self._http.stream("POST", **self._sent(question)) as response:
                answer = bounds.bounded(response)
                if question.progress and is_stream(answer):
                    return self._listen(Listening(answer, question.progress, attempts))
                answer.read()
                return answer
        except httpx2.RequestError as error:
            return error

    def _listen(self, listening: Listening) -> Outcome:
        try:
            for event in httpx2.EventSource(listening.head):
                listening.hear(event)
        except httpx2.RequestError as error:
            return listening.outcome(error)
        return listening.outcome()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Base):
    """The same for asyncio."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = connect(
            httpx2.AsyncClient, self.url, trust=self._trust, timeout=self._patience
        )
        self._line = asyncio.Lock()

    async def summarize(
        self,
        text: str,
        *,
        model: str | None = None,
        max_length: int | None = None,
        min_length: int | None = None,
        strategy: str | None = None,
        progress: Tell | None = None,
        fresh: bool = False,
    ) -> Summary:
        """See ``Client.summarize``."""
        body = protocol.body(text, max_length=max_length, min_length=min_length, strategy=strategy)
        question = Question(protocol.path_for(model), body, progress, fresh)
        await self._turn()
        attempts = self._retry.attempts(self.pace)
        while True:
            with attempts.trying():
                outcome = await self._try(question, attempts)
            pause = attempts.pause_after(outcome, self._token)
            if pause is None:
                return protocol.summary_of(outcome, self.url, self._token.advice)
            await asyncio.sleep(pause)
            await self._turn()

    async def chat(self, said: str | Sequence[Message], **options: Any) -> Reply:
        """See ``Client.chat``."""
        async with self.stream(said, **options) as stream:
            async for _ in stream:
                pass
            return stream.reply()

    @asynccontextmanager
    async def stream(
        self, said: str | Sequence[Message], **options: Any
    ) -> AsyncIterator[AsyncStream]:
        """See ``Client.stream``."""
        question = self._conversation(said, **options)
        await self._turn()
        attempts = self._retry.attempts(self.pace)
        while True:
            async with AsyncExitStack() as stack:
                with attempts.trying():
                    outcome = await self._open(question, stack)
                if isinstance(outcome, httpx2.Response) and is_stream(outcome):
                    yield AsyncStream(Talking(outcome, attempts), self.url)
                    return
            pause = attempts.pause_after(outcome, self._token)
            if pause is None:
                raise protocol.refused(outcome, self.url, self._token.advice)
            await asyncio.sleep(pause)
            await self._turn()

    async def _open(self, question: Question, stack: AsyncExitStack) -> Outcome:
        """An answer: whole, or a stream that is open as long as the stack is."""
        try:
            response = await stack.enter_async_context(
                self._http.stream("POST", **self._sent(question))
            )
            answer = self._bounds.abounded(response)
            if not is_stream(answer):
                await answer.aread()
            return answer
        except httpx2.RequestError as error:
            return error

    async def _turn(self) -> None:
        """Wait until a request may start, one after the other in the order they came."""
        async with self._line:
            while (seconds := self.pace.claim()) > 0:
                await asyncio.sleep(seconds)

    async def _try(self, question: Question, attempts: Attempts) -> Outcome:
        bounds = self._bounds
        try:
            async with self._http.stream("POST", **self._sent(question)) as response:
                answer = bounds.abounded(response)
                if question.progress and is_stream(answer):
                    return await self._listen(Listening(answer, question.progress, attempts))
                await answer.aread()
                return answer
        except httpx2.RequestError as error:
            return error

    async def _listen(self, listening: Listening) -> Outcome:
        try:
            async for event in httpx2.EventSource(listening.head):
                listening.hear(event)
        except httpx2.RequestError as error:
            return listening.outcome(error)
        return listening.outcome()

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
