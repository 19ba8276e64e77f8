"""python -m benchmarks.servers.rayserve_api SETTINGS PORT FOLDER proxy|haproxy

llmlab's own API as an application of Ray Serve, behind its HTTP proxy or behind HAProxy, until
SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def main() -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # A busy machine takes longer than 30 s. Ray reads it in this very case.
    os.environ.update({"RAY_raylet_start_wait_time_s": "120"})
    # So Ray takes 127.0.0.1 for its own processes too; else any of this machine's addresses.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    file, port, folder, front = sys.argv[1:]
    os.environ["RAY_SERVE_ENABLE_HA_PROXY"] = str(int(front == "haproxy"))
    import ray
    from ray import serve

    ray.init(
        num_cpus=1, include_dashboard=False, _node_ip_address="127.0.0.1", _temp_dir=folder,
        object_store_memory=100 * 2**20, log_to_driver=False,
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})

    def made() -> object:
        from llmlab.service.app import build_app
        from llmlab.service.settings import Settings

        settings = Settings.read(Path(file))
        return build_app(settings, on_load_failure=lambda: None)

    @serve.deployment(max_ongoing_requests=64, ray_actor_options={"num_cpus": 1})
    @serve.ingress(made)
    class Api:
        pass

    serve.run(Api.bind(), route_prefix="/")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
