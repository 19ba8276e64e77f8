"""The runtime ctranslate2 against transformers' generate(), token for token."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import psutil
import pytest
from tokenizers import Tokenizer

from llmlab.models.convert import convert
from llmlab.models.identity import content_id
from llmlab.runtimes import Generation, Strategy, TextTooLong
from llmlab.runtimes.base import Encoded
from llmlab.runtimes.ct2 import TOKENIZER, CTranslate2
from llmlab.runtimes.decoding import Decoding
from llmlab.runtimes.seq2seq import Seq2Seq
from tests.api import Api
from tests.conftest import clean_env
from tests.sharing import once
from tests.tiny import make_tiny_bart, with_config

# As in the reference lab, and what each of its parts does alone.
GREEDY = Decoding(max_length=40, min_length=5)
BEAMS = Decoding(num_beams=4, early_stopping=True, length_penalty=2.0, max_length=40)
LAB = replace(BEAMS, no_repeat_ngram_size=3, min_length=5)
FREE = {
    "greedy": GREEDY,
    "greedy, 3-grams once": replace(GREEDY, no_repeat_ngram_size=3),
    "greedy, at least 30": replace(GREEDY, min_length=30),
    "greedy, repetitions penalized": replace(GREEDY, repetition_penalty=1.3),
    "beams": BEAMS,
    "beams, no length penalty": replace(BEAMS, length_penalty=0.0),
    "beams, short": replace(BEAMS, max_length=8),
}
CONSTRAINED = {
    "beams, 3-grams once": replace(BEAMS, no_repeat_ngram_size=3),
    "beams, at least 30": replace(BEAMS, min_length=30),
    "beams, as in the lab": LAB,
    "beams, length penalty 1": replace(LAB, length_penalty=1.0),
    "beams, at most 12": replace(LAB, max_length=12),
    "beams, exactly 20": replace(LAB, max_length=20, min_length=20),
}


class Pair:
    """One model in both engines. A T5-small takes seconds for a text, so that what transformers
    writes is kept."""

    def __init__(self, source: Path, converted: Path, compute_type: str) -> None:
        from transformers import AutoModelForSeq2SeqLM

        self.kept: dict[object, list[int]] = {}
        self.source, self.converted = source, converted
        limits = {"max_length": 40, "min_length": 5}
        self.ours = CTranslate2(converted, **limits, compute_type=compute_type, replicas=2)
        self.tokenizing = Seq2Seq(source, **limits)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(source).eval()

    def encoded(self, text: str, decoding: Decoding) -> Encoded:
        return replace(self.ours.encode(text, Generation()), key=decoding)

    def generate(self, text: str, decoding: Decoding, **more: Any) -> list[int]:
        """What transformers writes, without the start token."""
        import torch

        asked = (text, decoding, tuple(more.items()))
        if asked not in self.kept:
            ids = self.tokenizing.encode(text, Generation()).content
            with torch.inference_mode():
                output = self.model.generate(
                    input_ids=torch.tensor([ids]), do_sample=False, **asdict(decoding), **more
                )
            self.kept[asked] = output[0, 1:].tolist()
        return list(self.kept[asked])

    def written(self, text: str, decoding: Decoding) -> list[int]:
        return self.ours.written([self.encoded(text, decoding)])[0]


@pytest.fixture(scope="module", autouse=True)
def _store(tiny_home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMLAB_HOME", str(tiny_home))
        yield


@pytest.fixture(scope="session")
def pair() -> Callable[..., Pair]:
    made: dict[tuple[Path, str], Pair] = {}

    def make(source: Path, compute_type: str = "float32") -> Pair:
        if (source, compute_type) not in made:
            source_id = content_id(source)
            folder = convert("it", source, source_id, compute_type, lambda _: None)
            made[source, compute_type] = Pair(source, folder, compute_type)
        return made[source, compute_type]

    return make


@pytest.fixture(scope="session")
def tiny_bart(tmp_path_factory: pytest.TempPathFactory, article: str) -> Path:
    return once(tmp_path_factory, "tiny-bart", lambda folder: make_tiny_bart(folder, article))


@pytest.fixture(scope="session")
def texts(article: str) -> list[str]:
    """Texts of 40 to 500 characters: some shorter than the tiny model's window, some longer."""
    return [article[300 * n : 300 * n + 40 + 90 * n] for n in range(6)]


@pytest.fixture(params=["tiny_t5", "small_t5"])
def both(request: pytest.FixtureRequest, pair: Callable[..., Pair]) -> Pair:
    return pair(request.getfixturevalue(request.param))


# --- float32: the same tokens ------------------------------------------------


@pytest.mark.parametrize("decoding", FREE.values(), ids=FREE)
def test_it_writes_what_generate_writes(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str], decoding: Decoding
) -> None:
    for text in texts:
        expected = pair(tiny_t5).generate(text, decoding)
        assert pair(tiny_t5).written(text, decoding) == expected


@pytest.mark.parametrize("decoding", CONSTRAINED.values(), ids=CONSTRAINED)
def test_beams_that_are_forbidden_something_are_those_of_generate_with_normalized_scores(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str], decoding: Decoding
) -> None:
    for text in texts:
        expected = pair(tiny_t5).generate(text, decoding, renormalize_logits=True)
        assert pair(tiny_t5).written(text, decoding) == expected


@pytest.mark.parametrize("name", ["greedy, 3-grams once", "beams", "beams, as in the lab"])
def test_so_does_a_model_in_the_shape_of_t5_small(
    small_t5: Path, pair: Callable[..., Pair], texts: list[str], name: str
) -> None:
    decoding = (FREE | CONSTRAINED)[name]
    how = {"renormalize_logits": True} if name in CONSTRAINED else {}
    for text in texts[::2]:  # each takes seconds; all of them are tried with the tiny one
        assert pair(small_t5).written(text, decoding) == pair(small_t5).generate(
            text, decoding, **how
        )


def test_what_is_written_depends_on_the_text_and_ends_by_itself(
    small_t5: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    """Else the tests above would compare little."""
    written = [pair(small_t5).written(text, LAB) for text in texts]
    assert len({tuple(ids) for ids in written}) == len(texts)
    assert len({len(ids) for ids in written}) > 2
    assert sum(len(set(ids)) for ids in written) > 0.5 * sum(map(len, written))


def test_the_tokens_read_are_those_of_transformers(both: Pair, article: str) -> None:
    for text in (article, article[:100], "漢字 and 🙂", " \n x", "</s> <unk><pad>", "<extra_id_0>"):
        ours = both.ours.encode(text, Generation())
        theirs = both.tokenizing.encode(text, Generation())
        assert (ours.content, ours.tokens, ours.whole, ours.window) == (
            theirs.content, theirs.tokens, theirs.whole, theirs.window,
        )  # fmt: skip


def test_a_length_saved_with_the_tokenizer_cuts_nothing(
    tiny_t5: Path, pair: Callable[..., Pair], article: str, tmp_path: Path
) -> None:
    whole = pair(tiny_t5)
    folder = shutil.copytree(whole.converted, tmp_path / "saved")
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    tokenizer.enable_truncation(9)
    tokenizer.enable_padding(length=99)
    tokenizer.save(str(folder / TOKENIZER))
    runtime = CTranslate2(folder, max_length=40, min_length=5, compute_type="float32", replicas=1)
    for text in (article, "A lamp."):
        assert runtime.encode(text, Generation()) == whole.ours.encode(text, Generation())


def test_summaries_read_as_those_of_transformers(both: Pair, texts: list[str]) -> None:
    for text in texts:
        generation = Generation(max_length=30, min_length=20)
        ours, theirs = (one.encode(text, generation) for one in (both.ours, both.tokenizing))
        ours, theirs = (replace(one, key=GREEDY) for one in (ours, theirs))
        assert both.ours.generate([ours]) == both.tokenizing.generate([theirs])


# --- where the definitions differ ----------------------------------------------


def forbidden(written: list[int], step: int, decoding: Decoding, end: int) -> set[int]:
    """The tokens that may not be written after ``written[:step]``."""
    size, before = decoding.no_repeat_ngram_size, written[:step]
    last = tuple(before[len(before) - size + 1 :])
    grams = [tuple(before[n : n + size]) for n in range(len(before) - size + 1)]
    repeated = {gram[-1] for gram in grams if gram[:-1] == last}
    return repeated | ({end} if step < decoding.min_length - 1 else set())


def test_a_hypothesis_scores_higher_than_in_generate_by_what_was_forbidden_on_its_way(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    """score * length ** penalty = log P(y) - Σ log(1 - m), m being the mass that was forbidden."""
    import torch

    one, some_mass = pair(tiny_t5), 0.0
    for text in texts:
        encoded = one.encoded(text, LAB)
        tokens = [one.ours._tokens[token] for token in encoded.content]
        options = one.ours.options(LAB) | {"return_scores": True}
        (result,) = one.ours._translator.translate_batch([tokens], **options)
        y = [one.ours._ids[token] for token in result.hypotheses[0]]
        with torch.inference_mode():
            logits = one.model(
                input_ids=torch.tensor([encoded.content]), decoder_input_ids=torch.tensor([[0, *y]])
            ).logits[0]
        p = logits.double().softmax(-1)
        mass = torch.stack([
            p[step, sorted(forbidden(y, step, LAB, end=1))].sum() for step in range(len(y))
        ])  # fmt: skip
        log_p = p[torch.arange(len(y)), torch.tensor(y)].log()
        expected = float(log_p.sum() - (1 - mass).log().sum())
        assert result.scores[0] * len(y) ** LAB.length_penalty == pytest.approx(expected, abs=1e-3)
        some_mass += float(mass.sum())
    assert some_mass > 1, "nothing likely was forbidden, so nothing was compared"


def test_the_share_of_beams_that_are_those_of_generate_without_normalizing_is_reported(
    tiny_t5: Path,
    small_t5: Path,
    pair: Callable[..., Pair],
    texts: list[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Random weights give much to what is forbidden, trained ones little: this is no forecast."""
    for name, source in (("tiny", tiny_t5), ("small", small_t5)):
        one = pair(source)
        theirs = {text: one.generate(text, LAB) for text in texts}
        unchanged = [
            text
            for text in texts
            if theirs[text] == one.generate(text, LAB, renormalize_logits=True)
        ]
        same = [text for text in texts if one.written(text, LAB) == theirs[text]]
        assert same == unchanged, "no other difference"
        record_property(f"{name}: as generate() writes it", f"{len(same)} of {len(texts)}")
        print(f"{name}: {len(same)} of {len(texts)} as generate() writes it")


def test_bart_starts_and_ends_with_the_tokens_that_are_forced(
    tiny_bart: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    one = pair(tiny_bart)
    for decoding in (GREEDY, replace(GREEDY, max_length=9), BEAMS, replace(LAB, min_length=20)):
        how = {"renormalize_logits": True} if decoding.num_beams > 1 else {}
        for text in texts:
            written = one.written(text, decoding)
            assert written == one.generate(text, decoding, **how)
            assert (written[0], written[-1]) == (3, 1)
            assert len(written) < decoding.max_length


# --- int8 ----------------------------------------------------------------------


def test_int8_stays_close_to_float32_and_by_how_much_is_reported(
    small_t5: Path,
    pair: Callable[..., Pair],
    texts: list[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Nearness is measured on the same words: where two summaries parted once, nothing after it
    can be compared. The attention of this model is three times sharper than that of a fresh T5,
    which multiplies every rounding; a fresh T5-small has 0.014 where this one has 0.5."""
    exact, rounded = pair(small_t5), pair(small_t5, "int8")
    differences, same, steps, prefix = [], 0, 0, 0
    for text in texts:
        written = exact.written(text, GREEDY)
        source = [[exact.ours._tokens[token] for token in exact.encoded(text, GREEDY).content]]
        target = [[exact.ours._tokens[token] for token in written if token != 1]]
        scores = [
            one.ours._translator.score_batch(source, target, max_input_length=0)[0].log_probs
            for one in (exact, rounded)
        ]
        differences += [abs(a - b) for a, b in zip(*scores, strict=True)]
        ours = rounded.written(text, GREEDY)
        same += ours == written
        steps += len(written)
        prefix += len(
            list(takewhile(lambda two: two[0] == two[1], zip(ours, written, strict=False)))
        )
    mean = sum(differences) / len(differences)
    said = (
        f"mean difference of log P(token): {mean:.3f}; same greedy summaries: {same} of "
        f"{len(texts)}; tokens before the first difference: {prefix / steps:.0%}"
    )
    record_property("int8", said)
    print(said)
    assert mean < 1.0


# --- the process that serves it ------------------------------------------------


def test_a_process_that_serves_a_t5_small_takes_less_than_400_mb_and_imports_no_torch(
    small_t5: Path,
    article: str,
    make_api: Callable[..., Api],
    record_property: Callable[[str, object], None],
) -> None:
    """One text at a time, with 4 beams. Full batches take more: see ``cores.REPLICA``."""
    folder = convert("small", small_t5, content_id(small_t5), "int8", lambda _: None)
    model = {"runtime": "ctranslate2", "source": "path:model", "max_length": 60}
    api = make_api(model, folder).start("-X", "importtime").until_ready()
    for n in range(4):
        answer = api.summarize(article[100 * n :] + article, min_length=60, strategy="truncate")
        usage = answer.json()["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (512, 60)
    taken = psutil.Process(api.process.pid).memory_info().rss
    record_property("memory of a T5-small in int8", f"{taken / 1e6:.0f} MB")
    print(f"{taken / 1e6:.0f} MB")
    assert taken < 400e6
    imported = {line.rpartition("|")[2].strip() for line in api.stderr.splitlines()}
    assert "ctranslate2" in imported
    assert imported.isdisjoint({"torch", "transformers", "sentencepiece"})


EXIT = """
import sys
from pathlib import Path
from llmlab.runtimes import Generation
from llmlab.runtimes.ct2 import CTranslate2
limits = {"max_length": 8, "min_length": 1, "compute_type": "float32"}
runtime = CTranslate2(Path(sys.argv[1]), **limits, replicas=2)
key = runtime.encode("The lamp is lit.", Generation()).key
assert key.num_beams == 1
runtime.summarize("The lamp is lit.", Generation())
"""


def test_a_process_ends_well_right_after_a_summary(tiny_t5: Path, tmp_path: Path) -> None:
    """CTranslate2's threads hold callbacks of greedy search for a moment longer than the call."""
    source = Path(shutil.copytree(tiny_t5, tmp_path / "greedy"))
    with_config(source, task_specific_params={})
    folder = convert("greedy", source, content_id(source), "float32", lambda _: None)
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", EXIT, str(folder)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


FREED = """
import ctypes, psutil
from llmlab.runtimes.memory import keep_freed_memory
size, libc = 100_000_000, ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
kept = keep_freed_memory()
block = ctypes.c_void_p(libc.malloc(size))
ctypes.memset(block, 1, size)
full = psutil.Process().memory_info().rss
libc.free(block)
print(kept, psutil.Process().memory_info().rss > full - size / 2)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is about glibc's malloc")
@pytest.mark.parametrize("environ", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}])
def test_freed_memory_is_kept_for_the_next_batch_unless_the_environment_says_otherwise(
    environ: dict[str, str],
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREED], env=clean_env(**environ), capture_output=True, text=True
    )
    assert done.stdout.split() == (["False", "False"] if environ else ["True", "True"])


# --- batches, threads, limits ----------------------------------------------------


@pytest.mark.parametrize("decoding", [GREEDY, LAB], ids=["greedy", "beams"])
def test_a_batch_is_written_as_each_of_its_texts_alone(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str], decoding: Decoding
) -> None:
    one = pair(tiny_t5)
    batch = [one.encoded(text, decoding) for text in texts]
    assert one.ours.written(batch) == [one.written(text, decoding) for text in texts]


def test_many_threads_get_what_one_gets(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    runtime = pair(tiny_t5).ours
    assert runtime.parallel == 2
    expected = [runtime.summarize(text, Generation()) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda text: runtime.summarize(text, Generation()), texts)) == (
                expected
            )


def test_greedy_search_stops_for_those_that_nobody_waits_for(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    one = pair(tiny_t5)
    batch = [one.encoded(text, GREEDY) for text in texts[:3]]
    asked = [0, 0, 0]

    def abandoned(place: int) -> bool:
        asked[place] += 1
        return place == 1 and asked[place] > 4  # once before the start, then after each token

    written = one.ours.written(batch, abandoned)
    assert len(written[1]) == 4
    assert [written[0], written[2]] == [one.written(texts[n], GREEDY) for n in (0, 2)]


def test_beam_search_leaves_out_whom_nobody_waits_for_at_its_start(
    tiny_t5: Path, pair: Callable[..., Pair], texts: list[str]
) -> None:
    one = pair(tiny_t5)
    batch = [one.encoded(text, LAB) for text in texts[:3]]
    written = one.ours.written(batch, lambda place: place == 1)
    assert written == [one.written(texts[0], LAB), [], one.written(texts[2], LAB)]
    assert one.ours.generate(batch, lambda _: True)[0].text == ""


def test_what_is_encoded_says_its_cost_its_key_and_what_was_cut(
    tiny_t5: Path, pair: Callable[..., Pair], article: str
) -> None:
    runtime = pair(tiny_t5).ours
    cut = runtime.encode(article, Generation())
    assert (cut.tokens, cut.window, cut.truncated) == (64, 64, True)
    assert cut.content[-1] == 1, "the end token is there also where the text was cut"
    assert cut.key == runtime.encode("A lamp.", Generation()).key
    assert cut.key != runtime.encode("A lamp.", Generation(min_length=1)).key


def test_the_full_strategy_reads_all_of_a_long_text_up_to_a_limit(
    tiny_t5: Path, pair: Callable[..., Pair], article: str
) -> None:
    one, whole = pair(tiny_t5), Generation(strategy=Strategy.FULL)
    summary = one.ours.summarize(article[:2000], whole)
    assert summary == one.ours.summarize(article[:2000], whole)
    assert (summary.truncated, summary.input_tokens > 64) == (False, True)
    with pytest.raises(TextTooLong, match="at most 4096"):
        one.ours.encode(article * 10, whole)


def test_a_model_with_a_table_of_positions_reads_no_more_than_that(
    tiny_bart: Path, pair: Callable[..., Pair], article: str
) -> None:
    one, whole = pair(tiny_bart), Generation(strategy=Strategy.FULL)
    for runtime in (one.ours, one.tokenizing):
        with pytest.raises(TextTooLong, match="at most 64"):
            runtime.encode(article[:2000], whole)


@pytest.mark.parametrize("longest", [1, 2, 3])
def test_the_shortest_lengths_that_can_be_asked_for_are_kept(
    tiny_t5: Path, pair: Callable[..., Pair], longest: int
) -> None:
    one = pair(tiny_t5)
    limits = Generation(max_length=longest, min_length=longest)
    ours = one.ours.encode("A lamp at sea.", limits)
    assert ours.key == one.tokenizing.encode("A lamp at sea.", limits).key
    assert len(one.ours.written([ours])[0]) == max(longest, 2) - 1


def test_spaces_before_punctuation_go_where_the_tokenizer_asks_for_that(
    tiny_t5: Path, tmp_path: Path, pair: Callable[..., Pair]
) -> None:
    source = tmp_path / "spaced"
    shutil.copytree(tiny_t5, source)
    file = source / "tokenizer_config.json"
    wish = {"clean_up_tokenization_spaces": True}
    file.write_text(json.dumps(json.loads(file.read_text()) | wish))
    one = pair(source)
    ids = one.ours._tokenizer.encode("It is lit , they say . Is n't it ?").ids
    theirs = one.tokenizing._tokenizer.decode(ids, skip_special_tokens=True)
    assert one.ours._text(ids) == theirs.strip()
    assert " ," not in one.ours._text(ids)
    assert " ," in pair(tiny_t5).ours._text(ids)
