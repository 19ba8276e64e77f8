"""The FastAPI application. One factory: the same app under uvicorn, in a container, in a test."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeVar

from fastapi import FastAPI, Header, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import Field
from pydantic.json_schema import SkipJsonSchema

from llmlab.service import problems
from llmlab.service.chat.errors import OpenAiErrors
from llmlab.service.chat.routes import add_routes
from llmlab.service.documentation import add_documentation
from llmlab.service.drill import Drill, Drills, Kind
from llmlab.service.hugging_face import Inputs, summaries
from llmlab.service.metrics import Metrics
from llmlab.service.middleware import BodyLimit, Observe, PlainBody, RequestId
from llmlab.service.openapi import INTRODUCTION, DescribedApi
from llmlab.service.preset import Told
from llmlab.service.problems import Problem
from llmlab.service.recording.recorder import Recorder, Recording
from llmlab.service.sampling.listening import Remembering
from llmlab.service.sampling.remembering import Memory
from llmlab.service.schemas import (
    TIMEOUT,
    Alive,
    Flags,
    Hello,
    Ready,
    SummarizeRequest,
    SummarizeResponse,
)
from llmlab.service.serving import Parts, Serving, load_into
from llmlab.service.settings import Settings
from llmlab.service.settling import Desk, Settling
from llmlab.service.shadow import Mirrored
from llmlab.service.structure import PlainJson

log = logging.getLogger("llmlab.service")
Timeout = Annotated[
    # Not | None in the document: no header can say null.
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | SkipJsonSchema[None],
    Header(alias=TIMEOUT, examples=[30.0],
           description="Seconds that the client waits: a text that is not read by then is "
           "dropped. The service may wait less (`service.timeout`)."),
]  # fmt: skip
T = TypeVar("T")


def build_app(
    settings: Settings,
    *,
    on_load_failure: Callable[[], None] | None = None,
    drill: Path | None = None,
    settlements: Path | None = None,
    recording: Path | None = None,
    sample: Path | None = None,
) -> FastAPI:
    """Build the API for one deployment.

    The model is loaded and warmed up in the background after start-up, so that
    liveness can be told from readiness.

    Args:
        on_load_failure: called when the model cannot be loaded, after it was logged.
        drill: the file with this deployment's fault drill, while there is one.
        settlements: the socket where the gateway takes what a request has used.
        recording: the file that says what is recorded, while anything is.
        sample: the file that says what is remembered for a rollout, likewise.
    """
    serving, metrics = Serving(), Metrics(deployment=settings.deployment)

    def drilled(now: Drill | None) -> None:
        for kind in Kind:
            metrics.drill.labels(kind).set(now is not None and now.kind == kind)

    drills = Drills(drill, changed=drilled)
    desk = Desk(settlements, settings.deployment)
    recorder = Recorder(recording, settings.deployment, drills, metrics)
    memory = Memory(sample, settings.deployment)
    parts = Parts(settings, metrics, drills, Told(metrics))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        drills.look()
        loading = asyncio.create_task(load_into(serving, parts, on_load_failure))
        watching = asyncio.create_task(drills.watch())
        listening = asyncio.create_task(recorder.watch())
        remembering = asyncio.create_task(memory.watch())
        yield
        loading.cancel()
        watching.cancel()
        listening.cancel()
        remembering.cancel()
        await asyncio.to_thread(recorder.writer.close)
        await serving.close()
        await desk.close()

    app = DescribedApi(
        title="LLM API",
        version=settings.version,
        summary="Summaries of texts, behind a gateway that wants a token.",
        description=INTRODUCTION,
        license_info={"name": "Apache 2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,
        redoc_url=None,
        # The reference lab's notebook posts JSON without a Content-Type.
        strict_content_type=False,
        redirect_slashes=False,
    )
    problems.install(app)
    # First: a router looks at one after the other, and of these there may be thousands a second.
    add_routes(app, lambda: _loaded(serving.chat))
    _add_routes(app, parts, serving)
    _add_operators_routes(app, parts, serving, memory)
    add_documentation(app)
    # The last one added is the outermost.
    app.add_middleware(Remembering, memory=memory)
    app.add_middleware(Recording, recorder=recorder)
    app.add_middleware(PlainJson)
    app.add_middleware(BodyLimit, service=settings.service)
    app.add_middleware(PlainBody)
    app.add_middleware(Observe, metrics=metrics, deployment=settings.deployment)
    app.add_middleware(OpenAiErrors)
    app.add_middleware(Settling, desk=desk)
    app.add_middleware(RequestId, model=settings.name)
    return app


def _add_routes(app: FastAPI, parts: Parts, serving: Serving) -> None:
    @app.head("/", include_in_schema=False)
    @app.get("/", summary="Say hello", tags=["lab"])
    async def hello() -> Hello:
        """The least that a token opens."""
        return Hello()

    @app.post("/", include_in_schema=False)
    async def as_on_hugging_face(
        asked: Inputs, connection: Request, timeout: Timeout = None
    ) -> Response:
        return await summaries(asked, _loaded(serving.endpoint), connection, timeout)

    @app.post(
        "/summarize/",
        summary="Summarize a text",
        tags=["texts"],
        response_model=SummarizeResponse,
    )
    @app.post("/summarize", include_in_schema=False)
    async def summarize(
        request: SummarizeRequest, connection: Request, timeout: Timeout = None
    ) -> Response:
        """The body is JSON, whether or not its `Content-Type` says so."""
        return await _loaded(serving.endpoint)(request, connection, timeout)

    @app.get(
        "/flags",
        summary="Which feature flags are on for me?",
        tags=["lab"],
        response_model=Flags,
    )
    async def flags(connection: Request) -> Response:
        """For the subject of the token, as the gateway knows it."""
        found = Flags(flags=parts.told.flags(connection.headers))
        return JSONResponse(found.model_dump(), headers={"Cache-Control": "no-store"})

    @app.head("/health/live", include_in_schema=False)
    @app.get("/health/live", summary="Is the process alive?", tags=["health"])
    async def live() -> Alive:
        """It may still be loading its model."""
        return Alive()

    @app.head("/health/ready", include_in_schema=False)
    @app.get("/health/ready", summary="Has the model answered?", tags=["health"])
    async def ready() -> Ready:
        """Of the stable deployment; 503 until its model has answered once."""
        return Ready(model=_loaded(serving.endpoint).info)


def _add_operators_routes(app: FastAPI, parts: Parts, serving: Serving, memory: Memory) -> None:
    """What the gateway does not pass on from outside."""
    metrics = parts.metrics

    @app.post("/shadow/", include_in_schema=False)
    async def mirrored(request: SummarizeRequest, connection: Request) -> Response:
        return await taken(request, connection, pair=False)

    @app.post("/shadow/pair", include_in_schema=False)
    async def paired(request: SummarizeRequest, connection: Request) -> Response:
        _refuse_others(connection)  # no gateway sends these
        return await taken(request, connection, pair=True)

    async def taken(request: SummarizeRequest, connection: Request, *, pair: bool) -> Response:
        _loaded(serving.endpoint).check(request)
        request = await _loaded(serving.endpoint).admitted(request, connection)
        generation = parts.told.preset(connection.headers).applied_to(request)
        one = Mirrored(
            connection.scope["state"]["request_id"], request.text, generation,
            connection.headers.get("x-subject", ""), pair,
        )  # fmt: skip
        return JSONResponse({"taken": _loaded(serving.shadow).offer(one)}, 202)

    @app.post("/shadow/chat", include_in_schema=False)
    async def copied(connection: Request) -> Response:
        _refuse_others(connection)  # no gateway sends these
        one = await _loaded(serving.chat).copy(connection)
        return JSONResponse({"taken": _loaded(serving.shadow).offer(one)}, 202)

    @app.get("/shadow/answers", include_in_schema=False)
    async def shadow_answers(
        connection: Request, after: Annotated[int, Query(ge=0)] = 0
    ) -> JSONResponse:
        _refuse_others(connection)
        shadow = _loaded(serving.shadow)
        found = [one.as_json() for one in shadow.answers(after)]
        return JSONResponse({"answers": found, "dropped": shadow.dropped})

    @app.get("/shadow/asked", include_in_schema=False)
    async def asked(
        connection: Request, route: str, after: Annotated[int, Query(ge=0)] = 0
    ) -> JSONResponse:
        _refuse_others(connection)
        return JSONResponse({"asked": [one.as_json() for one in memory.since(route, after)]})

    @app.get("/metrics", include_in_schema=False)
    async def prometheus() -> PlainTextResponse:
        if serving.queued and serving.endpoint:
            metrics.waiting.set(serving.endpoint.summarizer.waiting)
            waiting, running = serving.queued.texts
            metrics.waiting_texts.set(waiting)
            metrics.running_texts.set(running)
        if serving.shadow:
            metrics.shadow_waiting.set(serving.shadow.waiting)
        return PlainTextResponse(
            metrics.text(), media_type="text/plain; version=1.0.0; charset=utf-8"
        )


def _refuse_others(connection: Request) -> None:
    """It is what clients have sent. A port of a container is open to its network."""
    if connection.client and connection.client.host not in ("", "127.0.0.1", "::1"):
        raise Problem(404, "There is nothing at this address.")


def _loaded(part: T | None) -> T:
    """What is there once the model is."""
    if part is None:
        raise Problem(503, "The model is being loaded.", headers={"Retry-After": "2"})
    return part
