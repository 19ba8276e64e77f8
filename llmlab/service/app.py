"""The FastAPI application. One factory: the same app under uvicorn, in a container, in a test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from llmlab import runtimes
from llmlab.models.identity import short_id
from llmlab.runtimes import Generation, Runtime, TextTooLong
from llmlab.service import problems
from llmlab.service.metrics import Metrics
from llmlab.service.middleware import BodyLimit, ClientGone, Observe, RequestId
from llmlab.service.problems import Problem
from llmlab.service.queue import GenerationQueue, QueueFull
from llmlab.service.schemas import (
    ModelInfo,
    SummarizeRequest,
    SummarizeResponse,
    Usage,
    problem_responses,
)
from llmlab.service.settings import Settings

log = logging.getLogger("llmlab.service")
T = TypeVar("T")
WARM_UP = "The lamp is lit. A ship far out at sea reads its light and knows the coast."


@dataclass
class Serving:
    """What is there once the model is loaded; all None before."""

    queue: GenerationQueue | None = None
    info: ModelInfo | None = None


def build_app(settings: Settings, *, on_load_failure: Callable[[], None] | None = None) -> FastAPI:
    """Build the API for one deployment.

    The model is loaded and warmed up in the background after start-up, so that
    liveness can be told from readiness.

    Args:
        on_load_failure: called when the model cannot be loaded, after it was logged.
    """
    serving, metrics = Serving(), Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(settings, serving, metrics, on_load_failure))
        yield
        loading.cancel()
        if serving.queue:
            serving.queue.close()

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
        responses=problem_responses(400, 401, 413, 415, 422, 429, 502, 503, 504),
    )
    @app.post("/summarize", include_in_schema=False)
    async def summarize(request: SummarizeRequest, connection: Request) -> SummarizeResponse:
        if len(request.text) > settings.service.max_text_chars:
            raise Problem(
                413,
                f"The text has {len(request.text)} characters; "
                f"this lab takes {settings.service.max_text_chars} (service.max_text_chars).",
            )
        if serving.queue is None or serving.info is None:
            raise Problem(503, "The model is being loaded.", headers={"Retry-After": "2"})
        generation = Generation(request.max_length, request.min_length, request.strategy)
        try:
            summary = await _while_connected(
                connection, serving.queue.summarize(request.text, generation)
            )
        except QueueFull as full:
            metrics.rejected.labels("queue_full").inc()
            raise Problem(
                429,
                f"Too many requests wait for this model; try again in {full.retry_after} s.",
                headers={"Retry-After": str(full.retry_after)},
            ) from None
        except TimeoutError:
            metrics.rejected.labels("timeout").inc()
            raise Problem(
                504,
                f"No summary within {settings.service.timeout:g} s (service.timeout).",
            ) from None
        except TextTooLong as error:
            raise Problem(422, f"{error.message}; {error.fix}.") from None
        metrics.input_tokens.inc(summary.input_tokens)
        metrics.output_tokens.inc(summary.output_tokens)
        return SummarizeResponse(
            summary=summary.text,
            model=serving.info,
            usage=Usage(
                input_tokens=summary.input_tokens,
                output_tokens=summary.output_tokens,
                truncated=summary.truncated,
            ),
        )

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", summary="Is the process alive?")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @app.head("/health/ready", include_in_schema=False)
    @app.get("/health/ready", summary="Has the model answered?", responses=problem_responses(503))
    async def ready() -> Response:
        if serving.info is None:
            raise Problem(503, "The model is being loaded.", headers={"Retry-After": "2"})
        return JSONResponse({"status": "ready", "model": serving.info.model_dump()})

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> PlainTextResponse:
        metrics.waiting.set(serving.queue.waiting if serving.queue else 0)
        return PlainTextResponse(
            metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8"
        )


async def _while_connected(connection: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work, and drop it when the client hangs up.

    Raises:
        ClientGone: nobody waits for the answer.
    """
    working = asyncio.ensure_future(work)
    # The body was read before; what comes next is the end of the connection.
    leaving = asyncio.ensure_future(connection.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


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
    kind = settings.model.runtime
    serving.queue = GenerationQueue(
        runtime, limit=settings.service.queue, timeout=settings.service.timeout
    )
    serving.info = ModelInfo(name=settings.name, id=model_id, runtime=kind)
    metrics.model.labels(settings.deployment, settings.name, model_id, kind).set(1)
    metrics.ready.set(1)
    log.info("ready: %s %s (%s)", settings.name, short_id(model_id), kind)
