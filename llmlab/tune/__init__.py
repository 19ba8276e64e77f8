"""Tuning: from a file of texts and good summaries to a registered model, with proof.

    data, split, overlap    what is learned from, what is held back, and that the two differ
    bases, scratch          where the weights start
    examples, batches       texts as the service reads them, and in which order
    training                one round, with transformers' trainer
    judging, rounds         rounds of tuning and judging until a gate passes
    work                    what is on the disk meanwhile, so that a killed tune goes on
    tune                    all of it in its order, ending in the registry

torch, transformers and peft are imported when a round begins, and nowhere before.
"""

from llmlab.tune.request import Request
from llmlab.tune.result import Outcome, Result

__all__ = ["Outcome", "Request", "Result"]
