"""Tuning: from a file of texts and good summaries, or of questions and good answers, to a
registered model, with proof.

    data, split, overlap    what is learned from, what is held back, and that the two differ
    bases, scratch          where the weights start
    kinds                   what can be tuned: how each kind is loaded, served and registered
    examples, chats         data as the service reads it
    seq2seq, causal         the two kinds of models in memory, behind the face of ``learner``
    layout, merging         where in a GGUF what was learned belongs, and how it gets there
    training, batches       one round, with transformers' trainer, and in which order it learns
    judging, rounds         rounds of tuning and judging until a gate passes
    work                    what is on the disk meanwhile, so that a killed tune goes on
    tune                    all of it in its order, ending in the registry

torch, transformers and peft are imported when a round begins, and nowhere before.
"""

from llmlab.tune.request import Request
from llmlab.tune.result import Outcome, Result

__all__ = ["Outcome", "Request", "Result"]
