"""What a person may ask of a rollout's rules, as words: the options of a command, the fields of a
form."""

from __future__ import annotations

from typing import Any

from llmlab.rollout.steps import parse_seconds, parse_steps


def asked(
    *,
    steps: str = "",
    interval: str = "",
    bake: str = "",
    progress_deadline: str = "",
    text_gate: str | None = None,
    probe_suite: str | None = None,
    probe_rate: float | None = None,
    min_samples: int | None = None,
    answer_gate: str | None = None,
    pairs: float | None = None,
    pairs_gate: str | None = None,
) -> dict[str, Any]:
    """The rules of a ``Wish``: those that somebody has named; the rest is lab.toml's.

    Raises:
        UsageError: what is no such thing.
    """
    given: dict[str, Any] = {
        "text_gate": text_gate, "probe_suite": probe_suite, "probe_rate": probe_rate,
        "min_samples": min_samples, "answer_gate": answer_gate, "pairs": pairs,
        "pairs_gate": pairs_gate,
    }  # fmt: skip
    if steps:
        given["steps"] = parse_steps(steps)
    if interval:
        given["interval"] = parse_seconds(interval)
    if bake:
        given["bake"] = parse_seconds(bake)
    if progress_deadline:
        given["progress_deadline"] = parse_seconds(progress_deadline)
    return {name: value for name, value in given.items() if value is not None}
