"""LitServe with batching: (c) around ``generate()``, or (d) with ``--fast`` around CTranslate2.

(c) is one worker with all threads. (d) is one worker for each replica, as LitServe scales;
each takes batches of its own from the queue they share.
"""

from __future__ import annotations

import sys
from typing import Any

import litserve

from benchmarks.servers.answers import Fast, Generate, Options

BATCH = 16
GATHER = 0.02  # seconds that a batch waits for more texts; what a batch takes is 50 times that


class Summaries(litserve.LitAPI):
    def __init__(self, options: Options, fast: bool) -> None:
        super().__init__(max_batch_size=BATCH, batch_timeout=GATHER, api_path="/summarize/")
        self._options, self._fast = options, fast

    def setup(self, device: str) -> None:
        options = self._options
        self._summarize = (
            Fast(options.folder, options.length, 1, options.threads)
            if self._fast
            else Generate(options.folder, options.threads)
        )

    def decode_request(self, request: dict[str, str], **_: Any) -> str:
        return request["text"]

    def batch(self, inputs: list[str]) -> list[str]:
        return inputs

    def predict(self, texts: list[str], **_: Any) -> list[dict[str, Any]]:
        return self._summarize(texts)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return output

    def encode_response(self, output: dict[str, Any], **_: Any) -> dict[str, Any]:
        return output


def main() -> None:
    fast = "--fast" in sys.argv
    if fast:
        sys.argv.remove("--fast")
    options = Options.parse("LitServe.")

    workers = options.replicas if fast else 1
    server = litserve.LitServer(
        Summaries(options, fast), accelerator="cpu", workers_per_device=workers, timeout=600
    )
    server.run(host="127.0.0.1", port=options.port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main()
