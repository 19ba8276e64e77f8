"""The transformers runtime against plain generate()."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from llmlab.runtimes import Generation, Strategy, TextTooLong
from llmlab.runtimes.seq2seq import Seq2Seq
from tests.tiny import PARAMS


@pytest.fixture(scope="module")
def runtime(tiny_t5: Path) -> Seq2Seq:
    return Seq2Seq(tiny_t5, max_length=40, min_length=5)


def by_hand(folder: Path, text: str, *, max_length: int, min_length: int) -> str:
    """What the model says when transformers is called without llmlab."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    tokens = tokenizer("summarize: " + text, return_tensors="pt", truncation=True, max_length=64)
    output = model.generate(
        **tokens, num_beams=4, no_repeat_ngram_size=3, length_penalty=2.0, early_stopping=True,
        max_length=max_length, min_length=min_length, do_sample=False,
    )[0]  # fmt: skip
    return tokenizer.decode(output, skip_special_tokens=True).strip()


def test_a_summary_is_what_generate_says_with_the_models_own_parameters(
    runtime: Seq2Seq, tiny_t5: Path, article: str
) -> None:
    text = article[:150]
    expected = by_hand(tiny_t5, text, max_length=40, min_length=5)
    assert expected
    assert runtime.summarize(text, Generation()).text == expected


def test_request_parameters_beat_the_models_own(
    runtime: Seq2Seq, tiny_t5: Path, article: str
) -> None:
    text = article[:150]
    expected = by_hand(tiny_t5, text, max_length=12, min_length=3)
    summary = runtime.summarize(text, Generation(max_length=12, min_length=3))
    assert summary.text == expected
    assert summary.output_tokens <= 12


def test_decoding_is_taken_from_task_specific_params(runtime: Seq2Seq) -> None:
    decoding = asdict(runtime.encode("A text.", Generation()).key)
    for name in ("num_beams", "no_repeat_ngram_size", "length_penalty", "early_stopping"):
        assert decoding[name] == PARAMS[name]
    assert (decoding["max_length"], decoding["min_length"]) == (40, 5)


def test_texts_of_one_key_are_summarized_together_as_each_by_itself(
    runtime: Seq2Seq, article: str
) -> None:
    texts = [article[:150], article[200:230], article]
    encoded = [runtime.encode(text, Generation()) for text in texts]
    assert len({one.key for one in encoded}) == 1
    assert runtime.generate(encoded) == [runtime.summarize(text, Generation()) for text in texts]


def test_other_limits_make_another_key(runtime: Seq2Seq) -> None:
    one, other = (runtime.encode("A text.", Generation(max_length=n)) for n in (10, 11))
    assert one.key != other.key


def test_what_is_encoded_says_its_cost_and_what_was_cut(runtime: Seq2Seq, article: str) -> None:
    cut = runtime.encode(article, Generation())
    assert (cut.tokens, cut.window, cut.truncated) == (64, 64, True)
    assert cut.whole > 1000
    short = runtime.encode("A keeper lit the lamp.", Generation())
    assert short.tokens == short.whole < 64
    assert not short.truncated


def test_a_text_that_nobody_waits_for_changes_nothing_for_the_others_of_its_batch(
    runtime: Seq2Seq, article: str
) -> None:
    texts = [article[:150], article[200:350]]
    batch = [runtime.encode(text, Generation()) for text in texts]
    _, second = runtime.generate(batch, lambda place: place == 0)
    assert second == runtime.summarize(texts[1], Generation())


def test_a_batch_that_nobody_waits_for_ends_after_one_token(runtime: Seq2Seq) -> None:
    batch = [runtime.encode(text, Generation()) for text in ("A keeper.", "A lamp at dusk.")]
    summaries = runtime.generate(batch, lambda _: True)
    assert [summary.output_tokens for summary in summaries] == [2, 2]  # the start token is one


def test_a_long_text_is_truncated_to_the_window_and_says_so(runtime: Seq2Seq, article: str) -> None:
    summary = runtime.summarize(article, Generation())
    assert summary.truncated
    assert summary.input_tokens == 64


def test_the_full_strategy_reads_all_of_a_long_text(runtime: Seq2Seq, article: str) -> None:
    summary = runtime.summarize(article[:2000], Generation(strategy=Strategy.FULL))
    assert not summary.truncated
    assert summary.input_tokens > 64


def test_the_full_strategy_refuses_what_would_fill_the_memory(
    runtime: Seq2Seq, article: str
) -> None:
    with pytest.raises(TextTooLong, match="at most 4096"):
        runtime.summarize(article * 10, Generation(strategy=Strategy.FULL))


def test_the_same_text_gives_the_same_summary(runtime: Seq2Seq, article: str) -> None:
    first, second = (runtime.summarize(article, Generation()).text for _ in range(2))
    assert first == second
