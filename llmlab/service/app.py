"""The FastAPI application. One factory: the same app under uvicorn, in a container, in a test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import FastAPI, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from llmlab import runtimes
from llmlab.models.identity import short_id
from llmlab.runtimes import Generation, Runtime
from llmlab.service import problems
from llmlab.service.batcher import Batcher
from llmlab.service.description import problem_responses, summary_responses
from llmlab.service.endpoint import Endpoint
from llmlab.service.metrics import Metrics
from llmlab.service.middleware import BodyLimit, Observe, RequestId
from llmlab.service.problems import Problem
from llmlab.service.reader import Reader
from llmlab.service.schemas import (
    TIMEOUT,
    ModelInfo,
    SummarizeRequest,
    SummarizeResponse,
)
from llmlab.service.settings import Settings
from llmlab.service.summarizer import Summarizer

log = logging.getLogger("llmlab.service")
Timeout = Annotated[
    float | None,
    Header(alias=TIMEOUT, gt=0, allow_inf_nan=False,
           description="Seconds that the client waits: a text that is not read by then is "
           "dropped. The service may wait less (`service.timeout`)."),
]  # fmt: skip
WARM_UP = "The lamp is lit. A ship far out at sea reads its light and knows the coast."


@dataclass
class Serving:
    """What is there once the model is loaded; all None before."""

    batcher: Batcher | None = None
    endpoint: Endpoint | None = None


def build_app(settings: Settings, *, on_load_failure: Callable[[], None] | None = None) -> FastAPI:
    """Build the API for one deployment.

    The model is loaded and warmed up in the background after start-up, so that
    liveness can be told from readiness.

    Args:
        on_load_failure: called when the model cannot be loaded, after it was logged.
    """
    serving, metrics = Serving(), Metrics(deployment=settings.deployment)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(settings, serving, metrics, on_load_failure))
        yield
        loading.cancel()
        if serving.batcher:
            await serving.batcher.close()

    app = FastAPI(
        title="LLM API",
        version=settings.version,
        summary="Summaries of texts, behind a gateway that wants a token.",
        lifespan=lifespan,
        # The reference lab's notebook posts JSON without a Content-Type.
        strict_content_type=False,
        redirect_slashes=False,
    )
    problems.install(app)
    _add_routes(app, settings, serving, metrics)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, limit=settings.max_body)
    app.add_middleware(Observe, metrics=metrics)
    app.add_middleware(RequestId, model=settings.name)
    return app


def _add_routes(app: FastAPI, settings: Settings, serving: Serving, metrics: Metrics) -> None:
    @app.head("/", include_in_schema=False)
    @app.get("/", summary="Say hello")
    async def hello() -> dict[str, str]:
        return {"message": "Hello World"}

    @app.post(
        "/summarize/",
        summary="Summarize a text",
        response_model=SummarizeResponse,
        responses=summary_responses(),
    )
    @app.post("/summarize", include_in_schema=False)
    async def summarize(
        request: SummarizeRequest, connection: Request, timeout: Timeout = None
    ) -> Response:
        if serving.endpoint is None:
            raise Problem(503, "The model is being loaded.", headers={"Retry-After": "2"})
        return await serving.endpoint(request, connection, timeout)

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", summary="Is the process alive?")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @app.head("/health/ready", include_in_schema=False)
    @app.get("/health/ready", summary="Has the model answered?", responses=problem_responses(503))
    async def ready() -> Response:
        if serving.endpoint is None:
            raise Problem(503, "The model is being loaded.", headers={"Retry-After": "2"})
        return JSONResponse({"status": "ready", "model": serving.endpoint.info.model_dump()})

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> PlainTextResponse:
        if serving.batcher and serving.endpoint:
            metrics.waiting.set(serving.endpoint.summarizer.waiting)
            waiting, running = serving.batcher.texts
            metrics.waiting_texts.set(waiting)
            metrics.running_texts.set(running)
        return PlainTextResponse(
            metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8"
        )


async def _load(
    settings: Settings,
    serving: Serving,
    metrics: Metrics,
    on_failure: Callable[[], None] | None,
) -> None:
    def load_and_warm_up() -> tuple[Runtime, str]:
        service = settings.service
        runtime, model_id = runtimes.load(
            settings.model, settings.folder, replicas=service.replicas, threads=service.threads
        )
        runtime.summarize(WARM_UP, Generation(max_length=8, min_length=1))
        return runtime, model_id

    try:
        runtime, model_id = await asyncio.to_thread(load_and_warm_up)
    except Exception:
        log.exception("the model %s cannot be loaded", settings.name)
        if on_failure:
            on_failure()
        return
    kind, service = settings.model.runtime, settings.service
    serving.batcher = Batcher(
        runtime, metrics, limit=service.queue, budget=service.batch_tokens,
        most=service.batch_texts,
    )  # fmt: skip
    reader = Reader(runtime, serving.batcher, metrics, longest=settings.model.max_length)
    summarizer = Summarizer(reader, serving.batcher, metrics, cache=service.cache)
    info = ModelInfo(name=settings.name, id=model_id, runtime=kind)
    serving.endpoint = Endpoint(summarizer, info, service, metrics)
    metrics.limit.set(service.queue)
    metrics.model.labels(settings.deployment, settings.name, model_id, kind).set(1)
    metrics.ready.set(1)
    log.info("ready: %s %s (%s)", settings.name, short_id(model_id), kind)
