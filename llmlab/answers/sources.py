"""Where answers come from: a lab's gateway, an API process of one's own, or a rule."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from llmlab.answers.asking import Ask, Asked
from llmlab.answers.process import private_api
from llmlab.client import protocol
from llmlab.client.client import AsyncClient
from llmlab.client.protocol import Summary
from llmlab.evaluate.lead import lead
from llmlab.service.schemas import ModelInfo, Usage
from llmlab.service.settings import Settings

LEAD = "lead-3"  # the rule that every summarizer has to beat


def by_rule() -> Asked:
    """Lead-3: the first three sentences."""

    async def ask(text: str) -> Summary:
        summary = lead(text)
        read, written = len(text.split()), len(summary.split())
        usage = Usage(input_tokens=read, output_tokens=written, windows=1, truncated=False)
        return Summary(summary, ModelInfo(name=LEAD, id="", runtime="rule"), usage, "")

    return Asked(LEAD, ask)


def through_gateway(
    client: AsyncClient, names: Sequence[str], options: Mapping[str, Any]
) -> list[Asked]:
    """Models that run in a lab. Answers kept from before would look like a fast model's."""

    def asker(name: str) -> Ask:
        return lambda text: client.summarize(text, model=name, fresh=True, **options)

    return [Asked(name, asker(name)) for name in names]


@asynccontextmanager
async def without_a_lab(
    settings: Sequence[Settings], options: Mapping[str, Any], say: Callable[[str], None]
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
            found.append(Asked(one.name, _over(http, socket, options)))
        yield found


def _over(http: httpx2.AsyncClient, socket: Path, options: Mapping[str, Any]) -> Ask:
    async def ask(text: str) -> Summary:
        body = protocol.body(text, **options)
        outcome: httpx2.Response | httpx2.RequestError
        try:
            outcome = await http.post("/summarize/", json=body)
        except httpx2.RequestError as error:
            outcome = error
        return protocol.summary_of(outcome, str(socket))

    return ask
