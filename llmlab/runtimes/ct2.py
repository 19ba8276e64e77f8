"""The fast runtime: a T5- or BART-style model, converted once, run by CTranslate2.

It imports neither torch nor transformers: tokens come from the Rust tokenizer that
transformers uses inside, saved at conversion.

In float32 it writes what ``generate()`` writes, token for token, apart from these
differences in definition:

- Beam search with a constraint (``no_repeat_ngram_size``, ``min_length``). A forbidden token
  is taken out before the softmax here, and after it in ``generate()``. So a hypothesis y has
  the score log P(y) - Σ log(1 - m) instead of log P(y), where m is the probability that the
  model gave, at each step of y, to what was forbidden there. That is exactly what
  ``generate(renormalize_logits=True)`` does. Where nothing likely is forbidden, m is near 0
  and both rank alike; greedy search never differs.
- ``generate()`` counts the decoder's start token in n-grams and repetitions. That shows only
  if a model writes its start token again, which a trained one does not.
- Where the last token is forced to be the end token (BART), a summary that is cut at
  ``max_length`` N counts N - 2 tokens instead of N - 1 when hypotheses are compared: its score
  is lower by the factor ((N - 1) / (N - 2)) ** length_penalty, 1.4 % at N = 142, penalty 2.

What cannot be mapped at all is refused at conversion (``recipe.not_mapped``). int8 rounds the
weights, and the activations on their way through each layer, so its output may differ.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmlab.errors import EnvironmentFailure
from llmlab.runtimes.base import (
    AbandonedAt,
    Encoded,
    Generation,
    Runtime,
    Strategy,
    Summary,
    none_of_them,
)
from llmlab.runtimes.decoding import Decoding, too_long
from llmlab.runtimes.recipe import Recipe

VOCABULARY = "shared_vocabulary.json"
TOKENIZER = "tokenizer.json"
# CTranslate2 takes a penalty of exactly 0 as leave to stop at the first hypothesis that ends.
# A score divided by length ** 1e-9 is the same float.
NO_PENALTY = 1e-9
# What transformers does to the output of tokenizers with `clean_up_tokenization_spaces`.
SPACING = (
    (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"),
    (" 'm", "'m"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
)  # fmt: skip


class CTranslate2(Runtime):
    """A converted model.

    ``replicas`` calls of ``generate`` run at once, each on ``threads`` cores; the weights are
    shared. Greedy search stops when it is abandoned; beam search only before it starts.

    Args:
        folder: of a converted model, intact (see ``llmlab.models.store``).
        compute_type: what it was converted to, "int8" or "float32".
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_length: int,
        min_length: int,
        compute_type: str,
        replicas: int,
        threads: int = 1,
    ) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        self.parallel = replicas
        self._recipe = Recipe.read(folder)
        self._decoding = replace(
            self._recipe.decoding, max_length=max_length, min_length=min_length
        )
        self._tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        self._tokenizer.no_truncation()  # a state that may have been saved with it
        self._tokenizer.no_padding()
        self._specials: int = self._tokenizer.num_special_tokens_to_add(is_pair=False)
        self._tokens: list[str] = json.loads((folder / VOCABULARY).read_text(encoding="utf-8"))
        self._ids = {token: place for place, token in enumerate(self._tokens)}
        end = json.loads((folder / "config.json").read_text(encoding="utf-8"))["eos_token"]
        self._end = self._ids[end]
        try:
            translator = ctranslate2.Translator(
                str(folder), device="cpu", compute_type=compute_type,
                inter_threads=replicas, intra_threads=threads,
            )  # fmt: skip
        except ValueError as error:
            raise EnvironmentFailure(
                f"this processor cannot run {compute_type}: {error}",
                fix='set compute_type = "float32" for this model in configs/lab.toml',
            ) from None
        self._held: list[Any] = [translator]
        # A thread of CTranslate2 that lets go of a callback while Python exits aborts the
        # whole process. So its threads end before that.
        weakref.finalize(self, self._held.clear)

    @property
    def _translator(self) -> Any:
        return self._held[0]

    def encode(self, text: str, generation: Generation) -> Encoded:
        recipe = self._recipe
        encoding = self._tokenizer.encode(recipe.prefix + text, add_special_tokens=False)
        whole = len(encoding) + self._specials
        if generation.strategy is Strategy.TRUNCATE and whole > recipe.window:
            encoding.truncate(recipe.window - self._specials)
        elif whole > recipe.longest:
            raise too_long(whole, recipe.longest)
        ids = self._tokenizer.post_process(encoding).ids
        decoding = self._decoding.within(generation)
        return Encoded(ids, len(ids), whole, recipe.window, decoding, decoding.room)

    def generate(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[Summary]:
        return [
            Summary(
                text=self._text(ids),
                input_tokens=one.tokens,
                output_tokens=1 + len(ids),  # and the start token
                truncated=one.truncated,
            )
            for one, ids in zip(batch, self.written(batch, abandoned), strict=True)
        ]

    def written(
        self, batch: Sequence[Encoded], abandoned: AbandonedAt = none_of_them
    ) -> list[list[int]]:
        """What the model writes: token ids from the one after the start token to the end token.
        Nothing for a text that was abandoned before."""
        wanted = [place for place in range(len(batch)) if not abandoned(place)]
        written: list[list[int]] = [[] for _ in batch]
        if not wanted:
            return written
        decoding = batch[0].key
        assert isinstance(decoding, Decoding)
        options = self.options(decoding)
        if decoding.num_beams == 1:
            options["callback"] = lambda step: abandoned(wanted[step.batch_id])
        if self._recipe.first:
            options["target_prefix"] = [[self._recipe.first]] * len(wanted)
        source = [[self._tokens[token] for token in batch[place].content] for place in wanted]
        results = self._translator.translate_batch(source, **options)
        for place, result in zip(wanted, results, strict=True):
            written[place] = self._closed([self._ids[token] for token in result.hypotheses[0]])
        return written

    def options(self, decoding: Decoding) -> dict[str, Any]:
        """The arguments of ``translate_batch`` that mean what ``generate()`` means by these.

        ``generate()`` counts the start token, and the end token where that is forced.
        """
        longest = max(1, decoding.max_length - (2 if self._recipe.ends else 1))
        return {
            "beam_size": decoding.num_beams,
            "patience": 1,  # early_stopping=True: done once num_beams hypotheses have ended
            "length_penalty": decoding.length_penalty or NO_PENALTY,
            "repetition_penalty": decoding.repetition_penalty,
            "no_repeat_ngram_size": decoding.no_repeat_ngram_size,
            "max_decoding_length": longest,
            "min_decoding_length": min(longest, max(0, decoding.min_length - 1)),
            "max_input_length": 0,  # cut by ``encode``, never here
            "return_end_token": True,  # and so counted in the length that scores are divided by
        }

    def _closed(self, ids: list[int]) -> list[int]:
        """With the end token, where it is forced and not there yet."""
        return [*ids, self._end] if self._recipe.ends and ids[-1:] != [self._end] else ids

    def _text(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        if self._recipe.clean_up:
            for spaced, closed in SPACING:
                text = text.replace(spaced, closed)
        return text.strip()
