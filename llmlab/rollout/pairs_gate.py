"""What a rollout asks of two answers to the same request of a client, of which no right one is
known: ``unsupported<=+0.02 empty<=+0.02 length<=+0.10``.

Each is a number from 0 to 1 of either answer, so that their difference is bounded, and may be bet
on. What a pair cannot tell is not counted there: how a summary ended, or whether an answer is JSON
where none was asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter

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
class Ended:
    """How an answer to a conversation did, as its API has seen it.

    Args:
        invalid: of another format than was asked for; None where nothing is to be said of that.
    """

    cut_off: bool
    refusal: bool
    invalid: bool | None = None

    @classmethod
    def parse(cls, document: object) -> Ended:
        """Raises ValueError: it is none."""
        return _ENDED.validate_json(json.dumps(document), strict=True)


_ENDED = TypeAdapter(Ended)


@dataclass(frozen=True)
class Both:
    """What was measured of both answers, those, how they ended (None of summaries, and of what
    failed), and what was asked."""

    tested: Measures
    base: Measures
    answers: tuple[str, str]
    ended: tuple[Ended | None, Ended | None] = (None, None)
    text: str = ""


# None where a pair cannot tell.
Value = Callable[[Both], tuple[float, float] | None]


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


def _more(factor: float) -> Value:
    """Whether an answer is that many times as long as the other one. Two that are as good may
    both be so by turns, as where a model samples; ``length`` would hold that against one."""

    def value(both: Both) -> tuple[float, float]:
        mine, theirs = (one.values["length"] or 0.0 for one in (both.tested, both.base))
        if factor < 1:
            return float(mine < theirs * factor), float(theirs < mine * factor)
        return float(mine > theirs * factor), float(theirs > mine * factor)

    return value


def _ended(of: Callable[[Ended], bool | None]) -> Value:
    def value(both: Both) -> tuple[float, float] | None:
        mine, theirs = (None if one is None else of(one) for one in both.ended)
        return None if mine is None or theirs is None else (float(mine), float(theirs))

    return value


def _differs(both: Both) -> tuple[float, float]:
    mine, theirs = both.answers
    return 1.0 - rouge(theirs, mine)["rouge1"].f1, 0.0


def _language(both: Both) -> tuple[float, float]:
    mine, theirs = both.answers
    usual = guess(theirs, "")
    return float(bool(usual) and guess(mine, usual) not in ("", usual)), 0.0


def _foreign(both: Both) -> tuple[float, float] | None:
    """Of a few words the guess is poor, of either version's: ``language`` would hold that against
    one."""
    asked = guess(both.text, "")
    if not asked:
        return None
    mine, theirs = (float(guess(one, asked) not in ("", asked)) for one in both.answers)
    return mine, theirs


VALUES: Mapping[str, Value] = {
    "unsupported": _happens("unsupported"),
    "unsupported_names": _happens("unsupported_names"),
    "unsupported_numbers": _happens("unsupported_numbers"),
    "empty": _happens("empty"),
    "repetition": _share("repetition"),
    "novelty": _share("novelty"),
    "length": _length,
    "longer": _more(OTHER_LENGTH),
    "shorter": _more(1 / OTHER_LENGTH),
    "language": _language,
    "foreign": _foreign,
    "differs": _differs,
    "refusals": _ended(lambda one: one.refusal),
    "format": _ended(lambda one: one.invalid),
    "cut_off": _ended(lambda one: one.cut_off),
}
# What holds an answer against the other version's alone: of that one it says nothing, so in these
# two versions that are as good differ too.
ONE_SIDED = frozenset({"length", "language", "differs"})
# What is told of an empty answer too.
OF_SILENCE = frozenset({"empty", "refusals", "format", "cut_off"})
# What is said of one answer of a candidate that is so.
SAID: Mapping[str, str] = {
    "unsupported": "has a name or a number that the text does not have",
    "unsupported_names": "has a name that the text does not have",
    "unsupported_numbers": "has a number that the text does not have",
    "empty": "is empty",
    "repetition": "has word triples that it said before",
    "novelty": "has word pairs that are not in the text",
    "length": "is more than twice, or less than half, as long as the stable version's",
    "longer": "is more than twice as long as the other version's",
    "shorter": "is less than half as long as the other version's",
    "language": "is in another language than the stable version's",
    "foreign": "is in another language than what was asked",
    "differs": "has words that are not the stable version's",
    "refusals": "is a refusal, or begins so",
    "format": "is not of the format that was asked for",
    "cut_off": "is cut off",
    JUDGED: "is worse than the stable version's, by the judge",
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
        untold: of the gate's measures, those that the stable version's answer cannot tell, whatever
            the candidate's does.
    """

    values: Mapping[str, tuple[float, float]]
    unsupported: tuple[tuple[Mention, ...], tuple[Mention, ...]] = ((), ())
    untold: tuple[str, ...] = ()


def measured(
    text: str,
    tested: str,
    base: str,
    gate: tuple[Bound, ...],
    ended: tuple[Ended | None, Ended | None] = (None, None),
) -> Measured:
    """What is measured of both answers to a text. Of an empty one nothing can be told but that, and
    how it ended."""
    case = Case("pair", text)
    both = Both(measure(case, tested), measure(case, base), (tested, base), ended, text)
    silent = any(one.values["empty"] for one in (both.tested, both.base))
    found = {
        one.measure: values
        for one in gate
        if one.measure in VALUES and (one.measure in OF_SILENCE or not silent)
        if (values := VALUES[one.measure](both))
    }
    details = both.tested.details.unsupported, both.base.details.unsupported
    alone = replace(both, tested=both.base, answers=(base, base), ended=(ended[1], ended[1]))
    untold = tuple(
        one.measure
        for one in gate
        if one.measure in VALUES and one.measure not in found
        if (both.base.values["empty"] and one.measure not in OF_SILENCE)
        or VALUES[one.measure](alone) is None
    )
    return Measured(found, details, untold)


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
