"""What a rollout asks of two answers to the same request of a client, of which no right one is
known: ``unsupported<=+0.02 empty<=+0.02 length<=+0.10``.

Each is a number from 0 to 1 of either answer, so that their difference is bounded, and may be bet
on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llmlab.errors import UsageError
from llmlab.evaluate.facts import Mention
from llmlab.evaluate.measures import Measures, measure
from llmlab.evaluate.rouge import rouge
from llmlab.evaluate.suite import Case
from llmlab.languages import guess

BOUND = re.compile(r"(\w+)<=\+(\d+(?:\.\d+)?)", re.ASCII)
JUDGED = "judged_worse"  # said by a judge, later (``judged_pairs``)
OTHER_LENGTH = 2.0  # times as many words as the other's, or a part of them


@dataclass(frozen=True)
class Both:
    """What was measured of both answers, and those."""

    tested: Measures
    base: Measures
    answers: tuple[str, str]


Value = Callable[[Both], tuple[float, float]]


def _happens(column: str) -> Value:
    """Whether there is any: of five invented names in one answer one is enough."""
    return lambda both: (_hit(both.tested, column), _hit(both.base, column))


def _hit(one: Measures, column: str) -> float:
    return float((one.values[column] or 0.0) > 0)


def _share(column: str) -> Value:
    return lambda both: (both.tested.values[column] or 0.0, both.base.values[column] or 0.0)


def _length(both: Both) -> tuple[float, float]:
    mine, theirs = (one.values["length"] or 0.0 for one in (both.tested, both.base))
    return float(not theirs / OTHER_LENGTH <= mine <= theirs * OTHER_LENGTH), 0.0


def _differs(both: Both) -> tuple[float, float]:
    mine, theirs = both.answers
    return 1.0 - rouge(theirs, mine)["rouge1"].f1, 0.0


def _language(both: Both) -> tuple[float, float]:
    mine, theirs = both.answers
    usual = guess(theirs, "")
    return float(bool(usual) and guess(mine, usual) not in ("", usual)), 0.0


VALUES: Mapping[str, Value] = {
    "unsupported": _happens("unsupported"),
    "unsupported_names": _happens("unsupported_names"),
    "unsupported_numbers": _happens("unsupported_numbers"),
    "empty": _happens("empty"),
    "repetition": _share("repetition"),
    "novelty": _share("novelty"),
    "length": _length,
    "language": _language,
    "differs": _differs,
}
# How a verdict says that a candidate's answers are so.
SAID: Mapping[str, str] = {
    "unsupported": "have a name or a number that their text does not have",
    "unsupported_names": "have a name that their text does not have",
    "unsupported_numbers": "have a number that their text does not have",
    "empty": "are empty",
    "repetition": "of the word triples were said before",
    "novelty": "of the word pairs are not in the text",
    "length": "are more than twice, or less than half, as long as the stable version's",
    "language": "are in another language than the stable version's",
    "differs": "of the words are not the stable version's",
    JUDGED: "are worse than the stable version's, by the judge",
}


@dataclass(frozen=True, slots=True)
class Bound:
    """That the candidate's mean of a measure may be above the other's by so much."""

    measure: str
    margin: float


@dataclass(frozen=True)
class Measured:
    """What a pair shows.

    Args:
        values: (the candidate's, the stable version's) of each measure that can be told.
        unsupported: names and numbers of either's answer that the text does not have, with places.
    """

    values: Mapping[str, tuple[float, float]]
    unsupported: tuple[tuple[Mention, ...], tuple[Mention, ...]] = ((), ())


def measured(text: str, tested: str, base: str, gate: tuple[Bound, ...]) -> Measured:
    """What is measured of both answers to a text. Of an empty one nothing can be told but that."""
    case = Case("pair", text)
    both = Both(measure(case, tested), measure(case, base), (tested, base))
    silent = any(one.values["empty"] for one in (both.tested, both.base))
    found = {
        one.measure: VALUES[one.measure](both)
        for one in gate
        if one.measure == "empty" or (one.measure in VALUES and not silent)
    }
    details = both.tested.details.unsupported, both.base.details.unsupported
    return Measured(found, details)


def parse_pairs_gate(text: str) -> tuple[Bound, ...]:
    """Bounds with a space between; none of "".

    Raises:
        UsageError: it is none; says what is wrong.
    """
    found = tuple(map(_bound, text.split()))
    names = [one.measure for one in found]
    if twice := {one for one in names if names.count(one) > 1}:
        raise _wrong(f"{', '.join(sorted(twice))} stands there twice")
    return found


def _bound(text: str) -> Bound:
    match = BOUND.fullmatch(text)
    if not match or match[1] not in SAID:
        raise _wrong(f"{text!r} is nothing that pairs show")
    if not 0 < float(match[2]) < 1:
        raise _wrong(f"{text!r}: a share is above 0 and below 1")
    return Bound(match[1], float(match[2]))


def _wrong(message: str) -> UsageError:
    return UsageError(
        f"{message}; there are {', '.join(SAID)}",
        fix='write it as "unsupported<=+0.02 empty<=+0.02 length<=+0.10"',
    )
