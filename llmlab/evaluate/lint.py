"""What is doubtful about a suite that loads, and what is in it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from llmlab.evaluate.facts import Fact, details, find_fact, mentions
from llmlab.evaluate.lead import lead
from llmlab.evaluate.patterns import matches
from llmlab.evaluate.rouge import rouge
from llmlab.evaluate.style import style
from llmlab.evaluate.suite import Case, Suite
from llmlab.evaluate.text import readings, terms, words

FEW_CASES = 10  # below, no gate with its defaults decides anything
SHORT_TEXT = 50  # words, below which there is little to leave out
LONG_REFERENCE = 0.5  # of the text's words, above which it is no summary
TOO_FEW = 3  # words, whose language is a guess
COPIED_REFERENCE = 0.8  # of a reference's words, above which copying is what wins


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something about a case (or, without ``id``, about the suite) to put right or to know."""

    severity: Severity
    id: str | None
    line: int | None
    message: str


def lint(suite: Suite) -> list[Finding]:
    """What makes a suite judge wrongly (errors) or weakly (warnings), in the file's order."""
    return [*_of_suite(suite), *(one for case in suite.cases for one in _of_case(case))]


def _of_suite(suite: Suite) -> Iterator[Finding]:
    if len(suite.cases) < FEW_CASES:
        yield Finding(
            Severity.WARNING, None, None,
            f"has {len(suite.cases)} cases; a gate wants at least {FEW_CASES} to decide",
        )  # fmt: skip
    seen: dict[tuple[str, ...], str] = {}
    for case in suite.cases:
        first = seen.setdefault((*words(case.given), str(len(case.messages))), case.id)
        if first != case.id:
            what = "conversation" if case.messages else "text"
            yield Finding(
                Severity.ERROR, case.id, case.line,
                f"has the {what} of {first}: one {what} would count twice",
            )  # fmt: skip


def _of_case(case: Case) -> Iterator[Finding]:
    of_kind = () if case.messages else _of_text(case)
    for severity, message in (*_of_facts(case), *_of_checks(case), *of_kind):
        yield Finding(severity, case.id, case.line, message)


def _of_facts(case: Case) -> Iterator[tuple[Severity, str]]:
    held = readings(case.text)
    for fact in () if case.messages else case.must_mention:
        if not find_fact(fact, held):
            yield Severity.ERROR, f"must_mention {_said(fact)} is not in the text"
    both = set(_keys(case.must_mention)) & set(_keys(case.must_not_mention))
    if both:
        named = " ".join(min(both))
        yield Severity.ERROR, f"{named!r} is in must_mention and in must_not_mention"
    if not case.reference:
        return
    said = mentions(case.reference, case.must_mention, case.must_not_mention)
    for fact, _, _ in said.forbidden:
        yield Severity.ERROR, f"the reference says {_said(fact)}, which must not be mentioned"
    for fact in said.missing:
        yield Severity.WARNING, f"the reference does not mention {_said(fact)}"
    found = () if case.messages else details(case.text, case.reference).unsupported
    for mention in found:
        yield Severity.WARNING, f"the reference's {mention.text!r} is not in the text"


def _of_checks(case: Case) -> Iterator[tuple[Severity, str]]:
    checks = case.checks
    for name, passes in checks.outcomes(case.reference).items() if case.reference else ():
        if not passes:
            yield Severity.ERROR, f"the reference does not pass {name}"
    for spelling in checks.equals:
        for name, passes in checks.outcomes(spelling).items():
            if not passes and name != "language":
                yield Severity.ERROR, f"equals {spelling!r} does not pass {name}"
        for fact in mentions(spelling, case.must_mention).missing:
            yield Severity.ERROR, f"equals {spelling!r} does not mention {_said(fact)}"
    if checks.matches and matches(checks.matches, ""):
        yield Severity.WARNING, "matches takes anything, an empty answer as well"
    if checks.language and checks.max_words and checks.max_words < TOO_FEW:
        yield Severity.WARNING, "so few words hardly tell their language"
    if case.messages and _passes(case, case.messages[-1].content):
        yield Severity.WARNING, "who repeats the question passes all checks"
    any_check = checks.named or case.must_mention or case.must_not_mention
    if case.messages and not case.reference and not any_check:
        yield Severity.WARNING, "has no check and no reference: nothing says what is good"


def _passes(case: Case, answer: str) -> bool:
    """Whether an answer passes all checks of a case; False if there is none."""
    said = mentions(answer, case.must_mention, case.must_not_mention)
    facts = [not said.missing] if case.must_mention else []
    facts += [not said.forbidden] if case.must_not_mention else []
    passed = [*case.checks.outcomes(answer).values(), *facts]
    return bool(passed) and all(passed)


def _keys(facts: Iterable[Fact]) -> Iterator[tuple[str, ...]]:
    for fact in facts:
        for spelling in fact:
            yield tuple(term.key for term in terms(spelling))


def _of_text(case: Case) -> Iterator[tuple[Severity, str]]:
    length = len(words(case.text))
    if length < SHORT_TEXT:
        yield Severity.WARNING, f"the text has {length} words: little to leave out"
    if not case.reference and not case.must_mention and not case.checks.named:
        yield Severity.WARNING, "has neither reference nor must_mention: nothing says what is good"
    if not case.reference:
        return
    form = style(case.text, case.reference)
    if form.length > LONG_REFERENCE * length:
        yield (
            Severity.WARNING,
            f"the reference has {form.length} words, the text {length}: it is no summary",
        )
    if form.copy_rate > COPIED_REFERENCE:
        yield (
            Severity.WARNING,
            f"{form.copy_rate:.0%} of the reference is copied from the text: copying wins",
        )


def _said(fact: Fact) -> str:
    return " or ".join(map(repr, fact))


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, median and greatest of some numbers."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        known = list(values)
        return cls(min(known), statistics.median(known), max(known)) if known else None


@dataclass(frozen=True, slots=True)
class SuiteStats:
    """What is in a suite, and how far its first three sentences get (lexical proxies).

    Args:
        conversations: How many cases are no texts, but what a chat model is asked.
        checks: How many cases have each check, those of facts aside.
        asked_words: Length of all that is said in a conversation; ``text_words`` of a text.
        text_words, reference_words: Lengths.
        facts: How many facts must be mentioned, in all cases together.
        forbidden: How many must not be.
        fact_position: Where the facts first stand in their texts, in 0..1 of its characters.
        reference_novelty: The share of the references' 2-grams that the texts do not have.
        lead3_rouge1: Mean F1 of lead-3 against the references; None without any.
        lead3_coverage: Mean share of the facts that lead-3 mentions; None without any.
    """

    name: str
    digest: str
    cases: int
    references: int
    facts: int
    forbidden: int
    conversations: int
    checks: dict[str, int]
    asked_words: Spread | None
    text_words: Spread | None
    reference_words: Spread | None
    fact_position: Spread | None
    reference_novelty: float | None
    lead3_rouge1: float | None
    lead3_coverage: float | None


def suite_stats(suite: Suite) -> SuiteStats:
    """Count and measure a suite."""
    texts = [case for case in suite.cases if not case.messages]
    chats = [case for case in suite.cases if case.messages]
    with_reference = [(case, case.reference) for case in texts if case.reference]
    with_facts = [case for case in texts if case.must_mention]
    styles = [style(case.text, reference) for case, reference in with_reference]
    return SuiteStats(
        name=suite.name,
        digest=suite.digest,
        cases=len(suite.cases),
        references=sum(bool(case.reference) for case in suite.cases),
        facts=sum(len(case.must_mention) for case in suite.cases),
        forbidden=sum(len(case.must_not_mention) for case in suite.cases),
        conversations=len(chats),
        checks=dict(Counter(name for case in suite.cases for name in case.checks.named)),
        asked_words=Spread.of(
            sum(len(words(one.content)) for one in case.messages) for case in chats
        ),
        text_words=Spread.of(len(words(case.text)) for case in texts),
        reference_words=Spread.of(one.length for one in styles),
        fact_position=Spread.of(at for case in with_facts for at in _positions(case)),
        reference_novelty=_mean(one.novelty for one in styles),
        lead3_rouge1=_mean(
            rouge(reference, lead(case.text))["rouge1"].f1 for case, reference in with_reference
        ),
        lead3_coverage=_mean(
            mentions(lead(case.text), case.must_mention).coverage for case in with_facts
        ),
    )


def _positions(case: Case) -> Iterator[float]:
    held = readings(case.text)
    for fact in case.must_mention:
        if place := find_fact(fact, held):
            yield place[0] / len(case.text)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
