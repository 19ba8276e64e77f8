"""Training data as a language model reads it where it serves: by llama.cpp itself.

It renders each conversation by the model's own template, and cuts it into tokens; so no other
reading of template and vocabulary can differ from what the service does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llmlab.evaluate import dialect
from llmlab.evaluate.suite import Case
from llmlab.runtimes.base import Generation
from llmlab.runtimes.chat import Message
from llmlab.runtimes.llamacpp import LlamaCpp
from llmlab.runtimes.prompted import Prompted
from llmlab.tune.examples import Examples
from llmlab.tune.learner import Row, Rows

UNJUDGED = -100  # in the place of a token of the prompt: the loss passes over it


@dataclass(frozen=True)
class Reading:
    """
    Args:
        prompted: how the model is asked for a summary.
        server: with the context that an example may have.
        end: the token with which an answer ends.
    """

    server: LlamaCpp
    prompted: Prompted
    end: int

    def rows(self, cases: Sequence[Case]) -> Rows:
        """Examples that fit, each with its answer whole."""
        made: list[Row] = []
        left_out = 0
        for case in cases:
            found = [self._row(*one) for one in self._exchanges(case)]
            fitting = [row for row in found if len(row["input_ids"]) <= self.server.context]
            made += fitting
            left_out += not fitting
        return Rows(tuple(made), left_out)

    def _exchanges(self, case: Case) -> Iterator[tuple[Sequence[Message], str]]:
        """What is said to the model, and what it should answer."""
        assert case.reference is not None
        if case.messages:
            yield dialect.messages(case), case.reference
            return
        bare = self.prompted.encode(".", Generation())
        around = bare.whole - self.server.count_text(".")

        def count(text: str) -> int:
            return around + self.server.count_text(text)

        for one in Examples.of([case], bare.window, count).all:
            yield self.prompted.encode(one.source, Generation()).content["messages"], one.target

    def _row(self, messages: Sequence[Message], answer: str) -> Row:
        asked = self.server.read_prompt(messages)
        answered = [*self.server.read_text(answer), self.end]
        return {
            "input_ids": [*asked, *answered],
            "attention_mask": [1] * (len(asked) + len(answered)),
            "labels": [UNJUDGED] * len(asked) + answered,
        }
