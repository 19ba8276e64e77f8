"""(a) FastAPI with ``generate()`` inside ``async def``, as in the reference lab; (b) with
``--pool``, the same behind a pool of threads, so that the event loop stays free.

One text at a time and all threads for it (a); one text for each core (b).
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.servers.answers import Generate, Options


class Request(BaseModel):
    text: str


def build(generate: Generate, pool: ThreadPoolExecutor | None) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"message": "Hello World"}

    @app.post("/summarize/")
    async def summarize(request: Request) -> dict[str, Any]:
        if pool is None:
            return generate([request.text])[0]
        loop = asyncio.get_running_loop()
        return (await loop.run_in_executor(pool, generate, [request.text]))[0]

    return app


def main() -> None:
    pooled = "--pool" in sys.argv
    if pooled:
        sys.argv.remove("--pool")
    options = Options.parse("The reference lab's API.")
    pool = ThreadPoolExecutor(options.replicas) if pooled else None
    app = build(Generate(options.folder, options.threads), pool)
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
