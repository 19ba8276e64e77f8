"""The order in which examples are learned."""

from __future__ import annotations

from llmlab.tune.batches import ByLength

LENGTHS = [20 + (place * 37) % 230 for place in range(1000)]


def batches(sampler: ByLength, size: int = 8) -> list[list[int]]:
    places = list(sampler)
    return [places[at : at + size] for at in range(0, len(places), size)]


def test_every_example_comes_once_in_an_epoch() -> None:
    sampler = ByLength(LENGTHS, 8, seed=1)
    assert sorted(sampler) == list(range(len(LENGTHS))) and len(sampler) == len(LENGTHS)


def test_the_texts_of_a_batch_are_of_about_one_length() -> None:
    filled = sum(
        max(LENGTHS[place] for place in one) * len(one)
        for one in batches(ByLength(LENGTHS, 8, seed=1))
    )
    assert filled < 1.1 * sum(LENGTHS)


def test_the_order_is_another_in_each_epoch_and_the_same_for_one_seed() -> None:
    first, same, other = (ByLength(LENGTHS, 8, seed=seed) for seed in (1, 1, 2))
    assert list(first) == list(same) != list(other)
    before = list(first)
    first.set_epoch(1)
    assert list(first) != before
    same.set_epoch(1)
    assert list(first) == list(same)


def test_only_the_last_batch_is_smaller() -> None:
    sizes = {len(one) for one in batches(ByLength(LENGTHS[:997], 8, seed=3))[:-1]}
    assert sizes == {8}
