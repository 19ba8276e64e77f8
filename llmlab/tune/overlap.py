"""Whether training data holds texts of the suites that judge the model.

A model that has seen the exam proves nothing. Found are equal texts, whatever their case and
punctuation, and near copies: texts that share half of their runs of ``RUN`` words, as when a
paragraph was changed or left out.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from llmlab.errors import UsageError
from llmlab.evaluate.suite import Case, Suite
from llmlab.evaluate.text import words

RUN = 5  # words side by side; five in common are seldom chance
NEAR = 0.5  # of the runs of the shorter text


@dataclass(frozen=True, slots=True)
class Shared:
    """A text of the data that is in a suite too. ``share``: of the shorter one's runs, 0 to 1."""

    id: str
    suite: str
    case: str
    share: float


def shared(cases: Iterable[Case], suites: Sequence[Suite]) -> list[Shared]:
    """The texts that are in both, each once for every suite, with its nearest case."""
    index = [(suite, _Index.of(suite.cases)) for suite in suites]
    found = []
    for case in cases:
        runs = _runs(case.given)
        for suite, texts in index:
            if nearest := texts.nearest(runs):
                found.append(Shared(case.id, suite.name, *nearest))
    return found


def apart(cases: Iterable[Case]) -> list[Case]:
    """Cases no two of which are near copies: of those that are, the first."""
    index, kept = _Index({}, {}), []
    for case in cases:
        runs = _runs(case.given)
        if index.nearest(runs) is None:
            index.add(case.id, runs)
            kept.append(case)
    return kept


def refuse(found: Sequence[Shared]) -> None:
    """
    Raises:
        UsageError: there are shared texts.
    """
    if not found:
        return
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    raise UsageError(
        f"the training data shares texts with suites that judge the model: {first.id} is "
        f"{first.case} of {first.suite} ({first.share:.0%}){more}",
        fix="take them out of the data; or --force-overlap, which the record will say",
    )


@dataclass(frozen=True)
class _Index:
    """The runs of many texts: which texts have a run, and how many runs each has."""

    holders: dict[int, list[str]]
    sizes: dict[str, int]

    @classmethod
    def of(cls, cases: Iterable[Case]) -> _Index:
        index = cls({}, {})
        for case in cases:
            index.add(case.id, _runs(case.given))
        return index

    def add(self, name: str, runs: set[int]) -> None:
        self.sizes[name] = len(runs)
        for run in runs:
            self.holders.setdefault(run, []).append(name)

    def nearest(self, runs: set[int]) -> tuple[str, float] | None:
        """The case that shares most, if that is enough."""
        common = Counter(one for run in runs for one in self.holders.get(run, ()))
        shares = {one: count / min(len(runs), self.sizes[one]) for one, count in common.items()}
        best = max(shares, key=lambda one: shares[one], default=None)
        return (best, shares[best]) if best is not None and shares[best] >= NEAR else None


def _runs(text: str) -> set[int]:
    """Hashes of a text's runs of words; of all its words, if it has fewer."""
    return {
        int.from_bytes(hashlib.blake2b(" ".join(run).encode(), digest_size=8).digest())
        for run in _windows(words(text))
    }


def _windows(found: list[str]) -> Iterator[list[str]]:
    for at in range(max(1, len(found) - RUN + 1)):
        yield found[at : at + RUN]
