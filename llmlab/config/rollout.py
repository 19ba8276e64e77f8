"""[rollout] of lab.toml: how a new version takes traffic."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from llmlab.config.section import Percent, Section


class Rollout(Section):
    """How a new version takes traffic, and the gate that it passes at each step
    (`llmlab rollout start --help`)."""

    steps: list[Percent] = Field(
        [5.0, 25.0, 50.0, 100.0],
        min_length=1,
        max_length=100,
        description="Percent of the requests for the candidate, one after the other.",
    )
    interval: float = Field(
        60.0, ge=0, le=86_400, description="Seconds that a step takes at least."
    )
    progress_deadline: float = Field(
        1800.0,
        gt=0,
        le=604_800,
        description="Seconds after which on_deadline happens to a step that nothing decides.",
    )
    on_deadline: Literal["pause", "abort"] = Field(
        "pause",
        description="pause: such a step waits for a person; abort: it gives the traffic back.",
    )
    on_inconclusive: Literal["pause", "wait"] = Field(
        "wait",
        description="wait: a step goes on until the gate decides, at most to the deadline; pause: "
        "for a person, if nothing is decided at the end of the interval.",
    )
    alpha: float = Field(
        0.05,
        ge=0.0001,
        le=0.5,
        description="Of all candidates that are no worse than allowed, at most this share is "
        "aborted.",
    )
    min_samples: int = Field(
        20,
        ge=1,
        le=1_000_000,
        description="Answers of the candidate that a step needs at least.",
    )
    error_margin: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="So many more of its answers may be errors, as a share: 0.01 = 1 point.",
    )
    latency_gate: str = Field(
        "p50<=1.25x p95<=1.5x",
        description="Half of its answers, and 95 % of them, may take so many times as long as "
        'the stable deployment\'s; or p95<=800ms. "" = not judged.',
    )
    holdback: float = Field(
        5.0,
        ge=1,
        le=50,
        description="Percent of the requests that stay where they were, even at 100 %, until a "
        "canary is over.",
    )
    bake: float = Field(
        600.0,
        ge=0,
        le=604_800,
        description="Seconds after the last step in which a candidate is still watched, and taken "
        "back.",
    )
    text_gate: str = Field(
        "coverage>=-0.05 unsupported<=+0.10 empty<=+0.10 length<=2x repetition<=+0.10 "
        "novelty<=+0.20",
        description="As `llmlab evaluate --gate`. A metric that the texts cannot show is left "
        'out; "" = no text is judged. What is counted (empty, unsupported ...) has to be rare in '
        "more texts than these, so a tighter bound takes more of them: 2 % takes 149.",
    )
    probe_suite: str = Field(
        "news",
        min_length=1,
        description="The texts that both versions are asked for it, of configs/suites; the 10 of "
        "founding are quicker, and show nothing but a disaster.",
    )
    chat_gate: str = Field(
        "checks>=-0.10 empty<=+0.10 length<=2x repetition<=+0.10",
        description="In place of text_gate on any other route than summarize.",
    )
    chat_suite: str = Field(
        "chat",
        min_length=1,
        description="In place of probe_suite there: what both are asked, each by the decoding of "
        "its own version.",
    )
    answer_gate: str = Field(
        "first_token:p95<=1.5x gap:p95<=2x cut_off<=+0.05 refusals<=+0.05 invalid<=+0.05",
        description="How its answers come and end, on any other route than summarize: seconds "
        "until the first token and between two, as latency_gate has them; and so many more of its "
        "answers may be cut off, refuse, or be of another format than was asked for, as a share. "
        'refusals_by_words counts those too that only begin so; "" = not judged.',
    )
    pairs: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Of what the stable deployment answers to clients, this share is answered by "
        "the candidate as well, for nobody but the gate; 0 = none. Nothing is paired where "
        "recording.never or pairs_never names the route, and nothing of who asks with no-store.",
    )
    pairs_gate: str = Field(
        "unsupported<=+0.02 empty<=+0.02 repetition<=+0.05 length<=+0.10 language<=+0.05 "
        "novelty<=+0.20",
        description="By how much a share of its answers, or of their words, may be above the "
        'stable deployment\'s, of the same texts; differs<=+0.50 looks at the words of both. "" = '
        "nothing is paired.",
    )
    chat_pairs_gate: str = Field(
        "unsupported<=+0.10 empty<=+0.02 repetition<=+0.05 longer<=+0.10 shorter<=+0.10 "
        "foreign<=+0.05 refusals<=+0.05 format<=+0.05 cut_off<=+0.05",
        description="In place of pairs_gate on any other route than summarize, of answers to the "
        "same conversations.",
    )
    pairs_never: list[str] = Field([], description="Routes of which nothing is ever paired.")
    pairs_required: bool = Field(
        False,
        description="A step passes only once pairs have shown that. Else they can end a rollout, "
        "and hold up a step as long as they lean against the candidate.",
    )
    judge_rate: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Where pairs_gate has judged_worse<=+0.10: so many pairs a minute the judge is "
        "asked about at most, each in both orders. What it has no time for is dropped and counted.",
    )
    probe_rate: float = Field(
        0.0,
        ge=0,
        le=50,
        description="Texts a second that both are asked beside their traffic, and that count as "
        "samples too; 0 = none (blue-green: at least 1).",
    )

    @field_validator("steps")
    @classmethod
    def _rise_to_all(cls, steps: list[float]) -> list[float]:
        if sorted(set(steps)) != steps or steps[-1] != 100:
            raise ValueError("should rise, and end with 100: [5, 25, 50, 100]")
        return steps

    @model_validator(mode="after")
    def _has_time(self) -> Self:
        if self.progress_deadline < self.interval:
            raise ValueError(
                f"progress_deadline {self.progress_deadline:g} is before the end of the interval "
                f"{self.interval:g}"
            )
        return self
