"""(f) CTranslate2 called directly, with perfect batches: the ceiling. A process that reads jobs
from stdin and answers each with what ``benchmarks.load`` would say.

So many threads as replicas, each with a full batch from the first moment to the last; the
texts are tokens already, and nobody turns the summaries into words. With fewer texts at once
than replicas, one thread works on one text.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.load import Job, Result, Shot
from benchmarks.materials import text
from benchmarks.servers.answers import Options


class Ceiling:
    def __init__(self, options: Options) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        from llmlab.runtimes.memory import keep_freed_memory
        from llmlab.runtimes.recipe import Recipe

        keep_freed_memory()  # as llmlab's service does: it is a ceiling for that too
        folder = options.folder
        self._replicas = options.replicas
        self._recipe = Recipe.read(folder)
        self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._translator: Any = ctranslate2.Translator(
            str(folder), compute_type="int8",
            inter_threads=options.replicas, intra_threads=options.threads,
        )  # fmt: skip
        decoding, written = self._recipe.decoding, options.length - 1
        self._how = {
            "beam_size": decoding.num_beams, "length_penalty": decoding.length_penalty,
            "no_repeat_ngram_size": decoding.no_repeat_ngram_size, "patience": 1,
            "max_decoding_length": written, "min_decoding_length": written,
            "max_input_length": 0, "return_end_token": True,
        }  # fmt: skip

    def run(self, job: Job) -> Result:
        words = Path(job.words).read_text(encoding="utf-8").split()
        size = max(1, job.concurrency // self._replicas)
        workers = min(self._replicas, job.concurrency)
        numbers = itertools.count(job.first)
        shots: list[Shot] = []
        begin = time.monotonic()
        until = begin + job.seconds

        def tokens() -> list[str]:
            made = text(words, job.length, next(numbers))
            found: list[str] = self._tokenizer.encode(self._recipe.prefix + made).tokens
            assert len(found) == job.read, len(found)
            return found

        batches = [[tokens() for _ in range(size)] for _ in range(workers)]

        def work(batch: list[list[str]]) -> None:
            while True:
                start = time.monotonic()
                results = self._translator.translate_batch(batch, **self._how)
                end = time.monotonic()
                assert all(len(one.hypotheses[0]) == job.written - 1 for one in results)
                shots.extend(Shot(start, end, 200) for _ in batch)
                if end > until:
                    return

        threads = [threading.Thread(target=work, args=(batch,)) for batch in batches]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return Result(begin, until, shots)


def main() -> None:
    ceiling = Ceiling(Options.parse("CTranslate2, without anything around it."))
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(ceiling.run(Job.of(line)).document()), flush=True)


if __name__ == "__main__":
    main()
