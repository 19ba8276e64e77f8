"""What a deployment has once its model is loaded, and how it comes to have it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace

from llmlab.errors import LlmlabError
from llmlab.guards.loading import load as load_guards
from llmlab.guards.rules import Rule
from llmlab.models.identity import short_id
from llmlab.models.loading import load, load_chat, scripted_id
from llmlab.runtimes import Encoder, Generation, Runtime
from llmlab.runtimes.chat import ModelServer
from llmlab.runtimes.prompt import Prompt
from llmlab.runtimes.prompted import Prompted
from llmlab.runtimes.scripted import Scripted
from llmlab.service.batcher import Batcher
from llmlab.service.chat.admitting import Admitting
from llmlab.service.chat.endpoint import Backend, ChatEndpoint
from llmlab.service.chat.overheard import Overheard
from llmlab.service.chat.summaries import Summaries
from llmlab.service.chat.talking import Talking
from llmlab.service.drill import Drills
from llmlab.service.elsewhere import reach
from llmlab.service.endpoint import Endpoint
from llmlab.service.guarding import Guarding
from llmlab.service.metrics import Metrics
from llmlab.service.preset import Told
from llmlab.service.queued import Queued
from llmlab.service.reader import Reader
from llmlab.service.schemas import ModelInfo
from llmlab.service.settings import Settings
from llmlab.service.shadow import Shadow
from llmlab.service.summarizer import Summarizer
from llmlab.service.turns import Turns

log = logging.getLogger("llmlab.service")
WARM_UP = "The lamp is lit. A ship far out at sea reads its light and knows the coast."
HELLO = [{"role": "user", "content": "Hello"}]
SERVER_DIED = 70  # sysexits.h EX_SOFTWARE; a supervisor starts the process again


@dataclass
class Serving:
    """What is there once the model is loaded; all None before."""

    queued: Queued | None = None
    endpoint: Endpoint | None = None
    chat: ChatEndpoint | None = None
    shadow: Shadow | None = None
    server: ModelServer | None = None

    async def close(self) -> None:
        if self.shadow:
            await self.shadow.close()
        if self.queued:
            await self.queued.close()
        if self.server:
            await self.server.close()


@dataclass(frozen=True)
class Parts:
    """What is there from the start, for all that serves."""

    settings: Settings
    metrics: Metrics
    drills: Drills
    told: Told
    rules: tuple[Rule, ...] = ()

    @property
    def guarding(self) -> Guarding:
        return Guarding(self.rules, self.metrics, (self.settings.deployment, self.settings.name))


async def load_into(serving: Serving, parts: Parts, on_failure: Callable[[], None] | None) -> None:
    """Load the model and have it answer once, and then let requests come to it.

    Args:
        on_failure: called when that cannot be done, after it was logged.
    """
    try:
        parts = replace(parts, rules=load_guards(parts.settings.guards))
    except LlmlabError as error:
        log.error("%s; without its guards %s does not serve", error.message, parts.settings.name)
        if on_failure:
            on_failure()
        return
    try:
        if parts.settings.model.chats:
            await _load_chat(serving, parts)
        else:
            await _load(serving, parts)
    except Exception:
        log.exception("the model %s cannot be loaded", parts.settings.name)
        if on_failure:
            on_failure()


async def _load(serving: Serving, parts: Parts) -> None:
    """A model that only summarizes."""
    settings, service = parts.settings, parts.settings.service

    def load_and_warm_up() -> tuple[Runtime, str]:
        runtime, model_id = load(
            settings.model, settings.folder, replicas=service.replicas, threads=service.threads
        )
        runtime.summarize(WARM_UP, Generation(max_length=8, min_length=1))
        return runtime, model_id

    runtime, model_id = await asyncio.to_thread(load_and_warm_up)
    batcher = Batcher(
        runtime, parts.metrics, limit=service.queue, budget=service.batch_tokens,
        most=service.batch_texts,
    )  # fmt: skip
    summarizer = _ready(serving, parts, runtime, batcher, model_id)
    _ready_to_chat(
        serving, parts, Summaries(summarizer, parts.told, service.max_text_chars), model_id
    )


async def _load_chat(serving: Serving, parts: Parts) -> None:
    """A model that holds a conversation, and summarizes by a prompt."""
    settings, service, model = parts.settings, parts.settings.service, parts.settings.model
    prompt = Prompt.parse(settings.prompt, "the prompt of this deployment")
    server: ModelServer
    talking: type[Talking] = Talking
    if model.runtime == "openai":
        server, model_id = reach(settings, parts.metrics)
    elif model.runtime == "scripted":
        server = Scripted(context=model.context, slots=model.slots)
        model_id, talking = scripted_id(settings.prompt, model.decoding.as_body()), Overheard
    else:
        server, model_id = await asyncio.to_thread(
            load_chat, model, settings.folder, settings.prompt,
            server=service.llama_server, patience=service.timeout, died=_end_with_it,
        )  # fmt: skip
    serving.server, decoding = server, model.decoding.as_body()
    encoder = Prompted(
        server, prompt, max_length=model.max_length, min_length=model.min_length,
        decoding=decoding,
    )  # fmt: skip
    if server.warms_up and not server.abilities.embeddings:  # else it writes nothing
        async with server.stream(
            "chat/completions", {"messages": HELLO, "max_tokens": 1}
        ) as chunks:
            async for _ in chunks:
                pass
    turns = Turns(encoder.write, parts.metrics, slots=server.slots, limit=service.queue)
    _ready(serving, parts, encoder, turns, model_id)
    _ready_to_chat(serving, parts, talking(server, turns, decoding), model_id)


def _ready(
    serving: Serving, parts: Parts, encoder: Encoder, queued: Queued, model_id: str
) -> Summarizer:
    """What answers /summarize/ and the gateway's shadow."""
    settings, metrics, service = parts.settings, parts.metrics, parts.settings.service
    serving.queued = queued
    reader = Reader(encoder, queued, metrics, longest=settings.model.max_length)
    summarizer = Summarizer(reader, queued, metrics, cache=service.cache)
    serving.shadow = Shadow(
        reader, queued, metrics, parts.drills, parts.guarding, seconds=service.timeout
    )
    info = _info(settings, model_id)
    serving.endpoint = Endpoint(
        summarizer,
        info,
        service,
        metrics,
        parts.drills,
        parts.told,
        parts.guarding,
        settings.model.fallback,
    )
    return summarizer


def _ready_to_chat(serving: Serving, parts: Parts, backend: Backend, model_id: str) -> None:
    """What answers under /v1; and now the deployment is ready."""
    settings, metrics = parts.settings, parts.metrics
    info = _info(settings, model_id)
    serving.chat = ChatEndpoint(
        backend, info, settings.deployment, settings.service, metrics, parts.drills,
        settings.model.stream_timeout or settings.service.stream_timeout,
        Admitting(parts.guarding), settings.model.fallback,
    )  # fmt: skip
    kind = settings.model.runtime
    metrics.limit.set(settings.service.queue)
    metrics.model.labels(settings.deployment, settings.name, model_id, kind).set(1)
    metrics.genai.of(kind, settings.name)
    metrics.ready.set(1)
    log.info("ready: %s %s (%s)", settings.name, short_id(model_id), kind)


def _info(settings: Settings, model_id: str) -> ModelInfo:
    return ModelInfo(name=settings.name, id=model_id, runtime=settings.model.runtime)


def _end_with_it(_: int) -> None:
    """Without its model a process is of no use; a supervisor starts it again."""
    for handler in logging.getLogger().handlers:
        handler.flush()
    os._exit(SERVER_DIED)
