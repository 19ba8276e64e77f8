"""Where answers come from: a lab's gateway, an API process of one's own, or a rule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from llmlab.answers.asking import Ask, Asked, Told
from llmlab.answers.process import private_api
from llmlab.client import protocol
from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.client.retry import Outcome
from llmlab.errors import UsageError
from llmlab.evaluate import dialect
from llmlab.evaluate.answer import Answer
from llmlab.evaluate.lead import lead
from llmlab.evaluate.suite import Case
from llmlab.service.schemas import ModelInfo, Usage
from llmlab.service.settings import Settings

LEAD = "lead-3"  # the rule that every summarizer has to beat


def by_rule() -> Asked:
    """Lead-3: the first three sentences."""

    async def ask(case: Case) -> Told:
        if case.messages:
            raise UsageError(f"{LEAD} is a rule for texts, and answers no question")
        summary = lead(case.text)
        read, written = len(case.text.split()), len(summary.split())
        usage = Usage(input_tokens=read, output_tokens=written, windows=1, truncated=False)
        info = ModelInfo(name=LEAD, id="", runtime="rule")
        return Told.of(Summary(summary, info, usage, ""))

    return Asked(LEAD, ask)


@dataclass(frozen=True)
class Manner:
    """How models are asked.

    Args:
        options: for summaries, as ``Client.summarize`` has them.
        seed: of answers in a conversation; each case has its own, made of it.
        own: {id of a case: what it says itself of how it is to be answered}: for a text as
            ``options``, for a conversation as OpenAI's dialect has it. It wins.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def most(self) -> int:
        """Tokens of an answer in a conversation."""
        return int(self.options.get("max_length") or dialect.MOST_TOKENS)

    def of_text(self, case: Case) -> dict[str, Any]:
        return {**self.options, **self.own.get(case.id, {})}

    def of_chat(self, case: Case) -> dict[str, Any]:
        """What a request says beside its messages. One that says itself how it is to be answered,
        and states no limit, has none."""
        said = dialect.sampling(case, self.seed, self.most)
        if case.id in self.own:
            del said["max_tokens"]
        return {**said, **self.own.get(case.id, {})}


def through_gateway(
    client: AsyncClient, names: Mapping[str, tuple[str, str]], manner: Manner
) -> list[Asked]:
    """Models that run in a lab. Answers kept from before would look like a fast model's. A
    deployment is asked for as such: a route may have its name, and lead elsewhere.

    Args:
        names: {deployment: (its model's id, its runtime)}, for those that an answer does not name.
    """

    def asker(name: str, model_id: str, runtime: str) -> Ask:
        async def ask(case: Case) -> Told:
            if not case.messages:
                return Told.of(
                    await client.summarize(
                        case.text, model=name, fresh=True, **manner.of_text(case)
                    )
                )
            asked = manner.of_chat(case)
            reply = await client.chat(dialect.messages(case), deployment=name, fresh=True, **asked)
            answer = Answer(
                reply.text.strip(), 0.0, False, 1, reply.usage.prompt, reply.usage.completion,
                reply.request_id, reply.finish_reason == "length",
            )  # fmt: skip
            return Told(answer, model_id, runtime)

        return ask

    return [Asked(name, asker(name, *about)) for name, about in names.items()]


@asynccontextmanager
async def without_a_lab(
    settings: Sequence[Settings], manner: Manner, say: Callable[[str], None]
) -> AsyncIterator[list[Asked]]:
    """Models that each run in a process of their own while the body runs."""
    async with AsyncExitStack() as stack:
        found: list[Asked] = []
        for one in settings:
            say(f"loading {one.name}")
            socket = stack.enter_context(private_api(one))
            transport = httpx2.AsyncHTTPTransport(uds=str(socket))
            http = await stack.enter_async_context(
                httpx2.AsyncClient(
                    transport=transport, base_url="http://api",
                    timeout=httpx2.Timeout(one.service.timeout + 10, connect=5),
                )
            )  # fmt: skip
            found.append(Asked(one.name, Private(http, socket, manner)))
        yield found


@dataclass
class Private:
    """An API process of one's own, as it is asked.

    Args:
        about: its model's id and runtime; None before it was asked for them.
    """

    http: httpx2.AsyncClient
    socket: Path
    manner: Manner
    about: tuple[str, str] | None = None

    async def __call__(self, case: Case) -> Told:
        if case.messages:
            return await self._chat(case)
        body = protocol.body(case.text, **self.manner.of_text(case))
        outcome = await self._sent("POST", "/summarize/", json=body)
        return Told.of(protocol.summary_of(outcome, str(self.socket)))

    async def _chat(self, case: Case) -> Told:
        if self.about is None:
            (model,) = (await self._document("GET", "/v1/models"))["data"]
            self.about = model["content_id"], model["runtime"]
        body = {"messages": dialect.messages(case), **self.manner.of_chat(case)}
        outcome = await self._sent("POST", dialect.PATH, json=body)
        response = protocol.answered(outcome, str(self.socket))
        try:
            reply = dialect.reply_of(response.json())
        except ValueError:
            raise protocol.refused(outcome, str(self.socket)) from None
        answer = Answer(
            reply.text, 0.0, False, 1, reply.read, reply.written,
            response.headers.get("X-Request-ID", ""), reply.cut_off,
        )  # fmt: skip
        return Told(answer, *self.about)

    async def _document(self, method: str, path: str) -> Any:
        return protocol.answered(await self._sent(method, path), str(self.socket)).json()

    async def _sent(self, method: str, path: str, **how: Any) -> Outcome:
        try:
            return await self.http.request(method, path, **how)
        except httpx2.RequestError as error:
            return error
