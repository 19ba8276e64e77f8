"""Prometheus metrics of one API process, in a registry of its own."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from llmlab.runtimes.base import AnsweredBy
from llmlab.service.drill import Kind
from llmlab.service.genai import GenAi
from llmlab.service.labels import Labelled

STAGES = ("encode", "queue", "generate")
SOURCES = ("miss", "coalesced", "hit")
REASONS = ("queue_full", "deadline", "timeout")
SHADOWS = ("answered", "failed", "dropped")
IGNORED = ("X-Decoding", "X-Flags")
RECORDED = ("taken", "dropped", "opted_out")
SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120)


class Metrics:
    """
    Args:
        labels: of every metric: so that those of all APIs of a lab can be told apart wherever
            they are put together.
    """

    def __init__(self, **labels: str) -> None:
        registry = CollectorRegistry()
        self._all = Labelled(registry, labels)
        ProcessCollector(registry=registry)  # memory and processor time, where there is a /proc
        self.model = Gauge(
            "llmlab_model_info", "The model that answers; always 1.",
            ["deployment", "model", "model_id", "runtime"], registry=registry,
        )  # fmt: skip
        self._by: AnsweredBy | None = None
        self.upstream = Gauge(
            "llmlab_upstream_info",
            "What the model elsewhere called itself in its newest answer; always 1.",
            ["model", "fingerprint"], registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            "llmlab_ready", "1 once the model answered a warm-up.", registry=registry
        )
        self.requests = Counter(
            "llmlab_requests",
            "Requests by route and status.",
            ["route", "status"],
            registry=registry,
        )
        self.in_flight = Gauge(
            "llmlab_in_flight", "Requests to the model, from their arrival to the end of their "
            "answers.", registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "llmlab_request_seconds", "Time to answer a request.", ["route"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.first_token = Histogram(
            "llmlab_first_token_seconds", "Time to the first token of a chat model's answer.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.genai = GenAi(registry)
        self.input_tokens = Counter("llmlab_input_tokens", "Tokens read.", registry=registry)
        self.output_tokens = Counter("llmlab_output_tokens", "Tokens written.", registry=registry)
        self.rejected = Counter(
            "llmlab_rejected",
            "Requests turned away: queue_full and deadline at once (429), timeout later (504).",
            ["reason"],
            registry=registry,
        )
        self.answers = Counter(
            "llmlab_answers", "Summaries: made (miss), shared (coalesced) or kept (hit).",
            ["source"], registry=registry,
        )  # fmt: skip
        self.stage = Histogram(
            "llmlab_stage_seconds",
            "Time in a stage: encode (of a request), queue (of a text), generate (of a batch).",
            ["stage"], buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.batch_texts = Histogram(
            "llmlab_batch_texts", "Texts in a batch.",
            buckets=(1, 2, 4, 8, 16, 32, 64), registry=registry,
        )  # fmt: skip
        self.batch_tokens = Histogram(
            "llmlab_batch_tokens", "Tokens in a batch, without padding.",
            buckets=(64, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768), registry=registry,
        )  # fmt: skip
        self.windows = Histogram(
            "llmlab_windows", "Windows in which a text was read; 1 for one that was read whole.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024), registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "llmlab_queue_waiting", "Requests that wait or run.", registry=registry
        )
        self.limit = Gauge(
            "llmlab_queue_limit", "Requests that may wait.", registry=registry
        )  # fmt: skip
        self.waiting_texts = Gauge(
            "llmlab_queue_texts", "Texts that wait for their turn; of a long one, its windows.",
            registry=registry,
        )  # fmt: skip
        self.running_texts = Gauge(
            "llmlab_running_texts", "Texts that the model works on.", registry=registry
        )
        self.shadow = Counter(
            "llmlab_shadow",
            "Texts that were mirrored here: answered, failed, or dropped for want of time.",
            ["outcome"],
            registry=registry,
        )
        self.shadow_waiting = Gauge(
            "llmlab_shadow_waiting", "Mirrored texts that wait.", registry=registry
        )
        self.ignored = Counter(
            "llmlab_headers_ignored", "Headers of the gateway that were malformed.",
            ["header"], registry=registry,
        )  # fmt: skip
        self.guard_findings = Counter(
            "llmlab_guard_findings", "What guards found in texts of requests and answers.",
            ["guard", "kind", "where", "action"], registry=registry,
        )  # fmt: skip
        self.guard_failures = Counter(
            "llmlab_guard_failures", "Looks of a guard that told nothing: the request was refused.",
            ["guard"], registry=registry,
        )  # fmt: skip
        self.recorded = Counter(
            "llmlab_recorded",
            "Requests of a recorded route: taken, dropped for want of room or time, or opted_out.",
            ["outcome"],
            registry=registry,
        )
        self.drill = Gauge(
            "llmlab_drill", "1 for the kind of fault drill that is on.", ["kind"], registry=registry
        )
        for kind in Kind:
            self.drill.labels(kind)
        # A rate is only seen from a counter that was there before it rose.
        for counter, values in (
            (self.stage, STAGES),
            (self.answers, SOURCES),
            (self.rejected, REASONS),
            (self.shadow, SHADOWS),
            (self.ignored, IGNORED),
            (self.recorded, RECORDED),
        ):
            for value in values:
                counter.labels(value)

    def answered_by(self, by: AnsweredBy) -> None:
        """Take note of what a model elsewhere calls itself."""
        if by != self._by:
            self._by = by
            self.upstream.clear()
            self.upstream.labels(by.model, by.fingerprint).set(1)

    def batch(self, texts: int, read: int, written: int, seconds: float) -> None:
        """Take note of a batch that the model has worked on; lengths in its tokens."""
        self.batch_texts.observe(texts)
        self.batch_tokens.observe(read)
        self.input_tokens.inc(read)
        self.output_tokens.inc(written)
        self.stage.labels("generate").observe(seconds)

    def text(self) -> bytes:
        """The exposition format that Prometheus scrapes."""
        return generate_latest(self._all)
