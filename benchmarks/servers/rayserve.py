"""(e) Ray Serve with ``@serve.batch`` around CTranslate2: one replica for each of llmlab's."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from benchmarks.servers.answers import Fast, Options

BATCH = 16
GATHER = 0.01  # seconds that a batch waits for more texts: serve.batch's own default


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # So Ray takes 127.0.0.1 for its own processes too, on every system; else any of this
    # machine's addresses.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray
    from ray import serve
    from starlette.requests import Request

    options = Options.parse("Ray Serve.")
    ray.init(
        num_cpus=options.replicas, include_dashboard=False, _node_ip_address="127.0.0.1",
        object_store_memory=100 * 2**20, log_to_driver=False,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": options.port})

    @serve.deployment(
        num_replicas=options.replicas, max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 1},
    )  # fmt: skip
    class Summaries:
        def __init__(self) -> None:
            self._summarize = Fast(options.folder, options.length, 1, options.threads)

        @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=GATHER)
        async def _batch(self, texts: list[str]) -> list[dict[str, Any]]:
            return await asyncio.to_thread(self._summarize, texts)

        async def __call__(self, request: Request) -> dict[str, Any]:
            if request.method == "GET":
                return {"message": "Hello World"}
            return await self._batch((await request.json())["text"])

    serve.run(Summaries.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
