"""The queue in front of a model: who may wait, who is next, and what goes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llmlab.runtimes import Encoded
from llmlab.service.waiting import FairQueue, Job, Place

BUDGET, MOST = 100, 8


def enter(queue: FairQueue, subject: str, *tokens: int, key: Hashable = "same") -> Place:
    """A request with texts of these lengths."""
    place = queue.enter(subject)
    queue.add(place, [Job(Encoded(f"{subject}{n}", n, n, 0, key), place, print) for n in tokens])
    return place


def subjects(batch: list[Job]) -> list[str]:
    return sorted(job.place.subject for job in batch)


def lengths(batch: list[Job]) -> list[int]:
    return [job.encoded.tokens for job in batch]


def drained(queue: FairQueue, budget: int = BUDGET, most: int = MOST) -> list[list[Job]]:
    """All batches until nothing waits."""
    batches = []
    while len(queue):
        batches.append(queue.take(budget, most))
    return batches


# --- What goes together ------------------------------------------------------


def test_texts_that_wait_are_one_batch_the_shortest_first() -> None:
    queue = FairQueue(10)
    for tokens in (9, 3, 5):
        enter(queue, "a", tokens)
    assert lengths(queue.take(BUDGET, MOST)) == [3, 5, 9]
    assert len(queue) == 0


def test_the_budget_counts_padding() -> None:
    queue = FairQueue(10)
    for tokens in (30, 31, 32, 33):
        enter(queue, "a", tokens)
    assert lengths(queue.take(96, MOST)) == [30, 31, 32]  # 3 x 32
    assert lengths(queue.take(96, MOST)) == [33]


def test_a_short_text_fills_the_room_that_a_long_one_would_not_fit_into() -> None:
    queue = FairQueue(10)
    for tokens in (40, 60, 30):
        enter(queue, "a", tokens)
    assert lengths(queue.take(90, MOST)) == [30, 40]


def test_a_text_above_the_budget_goes_alone() -> None:
    queue = FairQueue(10)
    for tokens in (500, 1):
        enter(queue, "a", tokens)
    assert [lengths(batch) for batch in drained(queue)] == [[500], [1]]


def test_short_texts_with_long_summaries_do_not_fill_the_memory_together() -> None:
    queue = FairQueue(10)
    for room in (30, 30, 30, 30, 500):
        place = queue.enter("a")
        queue.add(place, [Job(Encoded("", 1, 1, 0, key=room, room=room), place, print)])
    batches = [[job.encoded.room for job in batch] for batch in drained(queue)]
    assert batches == [[30, 30, 30], [30], [500]]


def test_other_decoding_parameters_are_another_batch_and_keep_their_turn() -> None:
    queue = FairQueue(10)
    enter(queue, "a", 1, key="long")
    enter(queue, "b", 2, key="short")
    enter(queue, "c", 3, key="long")
    enter(queue, "d", 4, key="long")
    assert [lengths(batch) for batch in drained(queue)] == [[1, 3, 4], [2]]


TEXTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 150), st.sampled_from(["one", "other"])),
    min_size=1,
    max_size=40,
)


@given(TEXTS, st.integers(1, 300), st.integers(1, 10))
def test_every_text_is_taken_once_in_batches_within_the_bounds(
    texts: list[tuple[str, int, str]], budget: int, most: int
) -> None:
    queue = FairQueue(1000)
    for subject, tokens, key in texts:
        enter(queue, subject, tokens, key=key)
    batches = drained(queue, budget, most)
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len({job.encoded.key for job in batch}) == 1
        assert lengths(batch) == sorted(lengths(batch))
        assert len(batch) == 1 or max(lengths(batch)) * len(batch) <= budget
    taken = [(job.place.subject, job.encoded.tokens, job.encoded.key) for b in batches for job in b]
    assert Counter(taken) == Counter(texts)
    assert queue.waiting == 0


# --- Whose turn it is --------------------------------------------------------


def test_subjects_take_turns() -> None:
    queue = FairQueue(100)
    for tokens in range(1, 11):
        enter(queue, "flood", tokens)
    enter(queue, "other", 99)
    assert subjects(queue.take(1000, 2)) == ["flood", "other"]


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5))
def test_of_two_subjects_that_wait_neither_is_ever_more_than_one_text_ahead(
    some: int, others: int, most: int
) -> None:
    queue = FairQueue(1000)
    for subject, count in (("a", some), ("b", others)):
        for _ in range(count):
            enter(queue, subject, 1)
    taken: Counter[str] = Counter()
    while True:
        taken.update(subjects(queue.take(BUDGET, most)))
        if taken["a"] == some or taken["b"] == others:
            break
        assert abs(taken["a"] - taken["b"]) <= 1


def test_a_short_text_of_the_same_subject_need_not_wait_for_the_end_of_a_long_one() -> None:
    queue = FairQueue(10)
    enter(queue, "a", *[10] * 20)
    enter(queue, "a", 1)
    places = [index for index, batch in enumerate(drained(queue, most=1)) if lengths(batch) == [1]]
    assert places == [2]


def test_a_long_text_gets_on_although_short_ones_come_faster_than_they_are_read() -> None:
    queue = FairQueue(1000)
    long = enter(queue, "a", *[10] * 5)
    taken = 0
    while long.untaken:
        enter(queue, "a", 1)
        enter(queue, "a", 1)
        taken += len(queue.take(BUDGET, 1))
        assert taken < 99  # it would be for ever


def test_a_text_that_comes_later_is_told_how_many_come_before_it() -> None:
    queue = FairQueue(100)
    enter(queue, "flood", *[1] * 20)
    enter(queue, "b", 1, 1)
    assert queue.ahead("new") == 2  # one of each
    assert queue.ahead("b") == 3 + 2
    assert queue.ahead("flood") == 20 + 2


# --- Who may wait ------------------------------------------------------------


def test_a_full_queue_takes_nobody() -> None:
    queue = FairQueue(1)
    assert queue.admits("a")
    queue.enter("a")
    assert not queue.admits("a")
    assert not queue.admits("b")


@given(st.integers(5, 500))
def test_one_subject_alone_fills_four_fifths_and_leaves_room_for_another(limit: int) -> None:
    queue = FairQueue(limit)
    while queue.admits("flood"):
        queue.enter("flood")
    assert limit * 0.8 <= queue.waiting < limit * 0.8 + 1
    assert queue.admits("other")


@given(st.integers(1, 50), st.lists(st.sampled_from("abcdef"), max_size=100))
def test_never_do_more_wait_than_the_bound(limit: int, arrivals: list[str]) -> None:
    queue = FairQueue(limit)
    for subject in arrivals:
        if queue.admits(subject):
            queue.enter(subject)
        assert queue.waiting <= limit


def test_a_request_counts_until_the_last_of_its_texts_is_taken() -> None:
    queue = FairQueue(10)
    enter(queue, "a", 1, 2)
    assert queue.waiting == 1
    queue.take(BUDGET, 1)
    assert queue.waiting == 1
    queue.take(BUDGET, 1)
    assert queue.waiting == 0


def test_a_second_reading_counts_again() -> None:
    queue = FairQueue(10)
    place = enter(queue, "a", 1)
    queue.take(BUDGET, MOST)
    queue.add(place, [Job(Encoded("again", 1, 1, 0, ""), place, print)])
    assert queue.waiting == 1
    queue.leave(place)
    assert queue.waiting == 0


# --- Who leaves --------------------------------------------------------------


def test_what_a_request_has_in_the_queue_goes_with_it() -> None:
    queue = FairQueue(10)
    gone = enter(queue, "a", 1, 2, 3)
    enter(queue, "a", 4)
    queue.leave(gone)
    assert (len(queue), queue.waiting) == (1, 1)
    assert lengths(queue.take(BUDGET, MOST)) == [4]
    assert gone.given_up


STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "take", "leave"]), st.integers(0, 20)), max_size=60
)


@given(STEPS)
def test_whatever_happens_the_counts_are_those_of_what_is_there(
    steps: list[tuple[str, int]],
) -> None:
    queue = FairQueue(1000)
    places: list[Place] = []
    for step, number in steps:
        if step == "enter":
            places.append(enter(queue, "abc"[number % 3], *range(1, 2 + number % 4)))
        elif step == "take":
            queue.take(BUDGET, 1 + number % 3)
        elif places:
            queue.leave(places.pop(number % len(places)))
    waiting = [place for place in places if place.untaken]
    assert len(queue) == sum(place.untaken for place in waiting)
    assert queue.waiting == len(waiting)
    left: Any = {id(job.place) for batch in drained(queue) for job in batch}
    assert left == {id(place) for place in waiting}
    for place in places:
        queue.leave(place)
    assert (queue.waiting, len(queue)) == (0, 0)


# --- Several answers to one request ------------------------------------------


def test_several_answers_take_as_many_places() -> None:
    queue = FairQueue(32)
    first = queue.enter("a", 16)
    assert queue.waiting == 16
    assert not queue.admits("a", 16)
    assert queue.admits("b", 4)
    queue.leave(first)
    assert queue.waiting == 0 and queue.admits("a", 16)


def test_more_answers_than_places_come_in_when_nothing_else_waits_and_leave_room_for_others() -> (
    None
):
    queue = FairQueue(32)
    assert queue.admits("a", 64)
    one = queue.enter("b")
    assert not queue.admits("a", 64)
    queue.leave(one)
    queue.enter("a", 64)
    assert not queue.admits("a")
    assert queue.admits("b")


@given(st.integers(1, 100), st.integers(1, 200))
def test_an_empty_queue_takes_any_request_and_never_more_than_it_has(
    limit: int, places: int
) -> None:
    queue = FairQueue(limit)
    assert queue.admits("a", places)
    queue.leave(queue.enter("a", places))
    assert queue.waiting == 0
    queue.enter("a", places)
    assert queue.waiting <= limit
