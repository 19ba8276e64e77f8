"""Worlds in which everything is judged that ever is: errors, latency, how answers come and end,
pairs of several measures, and a suite. The gate's promise is about all of them together.
"""

from __future__ import annotations

from dataclasses import replace

from llmlab.rollout.made_pairs import MadePairs
from llmlab.rollout.made_texts import MadeTexts
from llmlab.rollout.told import Told
from llmlab.rollout.worlds import World, with_load

_PAIRS = MadePairs(repetition=0.05, other_language=0.01)
WHOLE = World(answers=Told(), pairs=_PAIRS, texts=MadeTexts())
# Equal versions.
ALL_AT_ONCE: dict[str, World] = {
    "all at once, independent": WHOLE,
    "all at once, waves, bursts of errors and refusals": replace(
        WHOLE, memory=0.995, wave=0.8, burst=0.3, topics=True
    ),
    "all at once, 20 subjects by Zipf that differ": replace(
        WHOLE, subjects=20, differ=0.7, failing=2, answers=Told(spread=0.8, brief=2, formal=5),
        pairs=replace(_PAIRS, hard=3),
    ),
    "all at once, a queue at load 0.8": replace(with_load(WHOLE, 0.8), told=True),
    "all at once, traffic that drifts": replace(
        WHOLE, doubling=600.0, pairs=replace(_PAIRS, drift=0.0005)
    ),
    "all at once, 300 subjects, 40 texts again and again": replace(
        WHOLE, subjects=300, pairs=replace(_PAIRS, invented=0.2, popular=40)
    ),
}  # fmt: skip
# No worse than allowed, by a hair: what alpha is about. Equal versions are far from it.
ALLOWED: dict[str, World] = {
    "1 point of errors more": World(more_errors=0.01),
    "half of it 1.25 times as slow": World(slower=1.25),
    "all at once, each as bad as allowed": replace(
        WHOLE, more_errors=0.01, slower=1.25,
        answers=Told(
            later=1.5, stalls=0.048, more_cut=0.05, more_refused=0.05, more_invalid=0.05
        ),
        pairs=MadePairs(
            repetition=0.05, other_language=0.05, more_invented=0.02, more_empty=0.02,
            other_length=0.05, longer=0.05, more_novelty=0.20,
        ),
    ),
}  # fmt: skip
