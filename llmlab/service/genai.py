"""What is measured of answers in OpenAI's dialect, by the names that OpenTelemetry gives them where
it gives any: semantic conventions for generative AI, of version ``CONVENTIONS``, which call
themselves in development. What has no name there is llmlab's.

https://github.com/open-telemetry/semantic-conventions/blob/v1.41.0/docs/gen-ai/gen-ai-metrics.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

if TYPE_CHECKING:
    from llmlab.answered import Answer
    from llmlab.service.chat.chunks import Kind

CONVENTIONS = "1.41.0"
# Of each what the conventions ask for: https://opentelemetry.io/docs/specs/otel/compatibility/
# prometheus_and_openmetrics/ on how their names are spelled here.
ATTRIBUTES = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
OPERATIONS: dict[Kind, str] = {"chat": "chat", "text": "text_completion"}
FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
GAPS = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
FAULTS = ("cut_off", "refusal", "refusal_words", "invalid")


class GenAi:
    """Measures answers of one API process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._provider = self._model = ""
        said = f"(OpenTelemetry's semantic conventions {CONVENTIONS})"
        self.first = Histogram(
            "gen_ai_server_time_to_first_token_seconds",
            f"Time to the first token, the wait for a turn included {said}.",
            ATTRIBUTES, buckets=FIRST, registry=registry,
        )  # fmt: skip
        self.each = Histogram(
            "gen_ai_server_time_per_output_token_seconds",
            f"Time for each token of a stream after its first {said}.",
            ATTRIBUTES, buckets=EACH, registry=registry,
        )  # fmt: skip
        self.gap = Histogram(
            "llmlab_stream_gap_seconds", "The longest time between two tokens of a stream.",
            buckets=GAPS, registry=registry,
        )  # fmt: skip
        self.answers = Counter(
            "llmlab_chat_answers", "Answers in OpenAI's dialect, whole and streamed.",
            registry=registry,
        )  # fmt: skip
        self.faults = Counter(
            "llmlab_chat_faults",
            "Those that were cut off, refuse (by field, or by words), or are of another format.",
            ["kind"], registry=registry,
        )  # fmt: skip
        for kind in FAULTS:  # a rate is only seen from a counter that was there before it rose
            self.faults.labels(kind)

    def of(self, provider: str, model: str) -> None:
        """Whose answers they are."""
        self._provider, self._model = provider, model

    def began(self, kind: Kind, seconds: float) -> None:
        """Take note of a first token: the conventions count the queue in."""
        self.first.labels(*self._labels(kind)).observe(seconds)

    def answered(self, kind: Kind, answer: Answer) -> None:
        """Take note of one that is over."""
        if answer.rate:
            self.each.labels(*self._labels(kind)).observe(1 / answer.rate)
        if answer.gap is not None:
            self.gap.observe(answer.gap)
        self.answers.inc()
        told = (
            answer.cut_off,
            answer.refusal == "field",
            answer.refusal == "words",
            answer.invalid,
        )
        for name, is_one in zip(FAULTS, told, strict=True):
            if is_one:
                self.faults.labels(name).inc()

    def _labels(self, kind: Kind) -> tuple[str, str, str]:
        return OPERATIONS[kind], self._provider, self._model
