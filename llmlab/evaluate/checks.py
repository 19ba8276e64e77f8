"""What an answer is checked for, beside the facts that it mentions: it passes or it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmlab.evaluate.facts import is_sayable
from llmlab.evaluate.patterns import fits, matches, problem_of_pattern, problem_of_schema
from llmlab.evaluate.text import readings, terms, words
from llmlab.languages import guess, known
from llmlab.near import hint

# As a suite spells them.
FIELDS = ("matches", "json_schema", "equals", "max_words", "language")
MOST_WORDS = 100_000


@dataclass(frozen=True, slots=True)
class Checks:
    """None, or an empty tuple, where it is not checked.

    Args:
        matches: A regular expression that matches somewhere in the answer.
        json_schema: A schema, as JSON, that the whole answer fits.
        equals: The answer in its possible spellings, compared as facts are: without regard to
            case, accents, punctuation and how a number is written.
        max_words: It has no more.
        language: It is in this one (ISO 639-1), as far as its letters tell.
    """

    matches: str | None = None
    json_schema: str | None = None
    equals: tuple[str, ...] = ()
    max_words: int | None = None
    language: str | None = None

    def outcomes(self, answer: str) -> dict[str, bool]:
        """{check: whether an answer that has a word passes it}, of those that there are."""
        found: dict[str, bool] = {}
        if self.matches is not None:
            found["matches"] = matches(self.matches, answer)
        if self.json_schema is not None:
            found["json_schema"] = fits(self.json_schema, answer)
        if self.equals:
            found["equals"] = is_one_of(self.equals, answer)
        if self.max_words is not None:
            found["max_words"] = len(words(answer)) <= self.max_words
        if self.language is not None:
            found["language"] = guess(answer, self.language) == self.language
        return found

    @property
    def named(self) -> tuple[str, ...]:
        """Those that there are."""
        return tuple(name for name in FIELDS if getattr(self, name) not in (None, ()))


def is_one_of(spellings: tuple[str, ...], answer: str) -> bool:
    """Whether an answer says one of these, and nothing else."""
    held = [[term.key for term in reading] for reading in readings(answer)]
    return any([term.key for term in terms(one)] in held for one in spellings)


def checks_of(found: Mapping[str, Any]) -> Checks:
    """From fields without problems."""
    equals, schema = found.get("equals"), found.get("json_schema")
    return Checks(
        matches=found.get("matches"),
        json_schema=None if schema is None else json.dumps(schema, sort_keys=True),
        equals=(equals,) if isinstance(equals, str) else tuple(equals or ()),
        max_words=found.get("max_words"),
        language=found.get("language"),
    )


def problems(found: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with the fields of these, each "FIELD: why"."""
    for name, look in (
        ("matches", _of_matches), ("json_schema", _of_schema), ("equals", _of_equals),
        ("max_words", _of_max_words), ("language", _of_language),
    ):  # fmt: skip
        if found.get(name) is not None and (why := look(found[name])):
            yield f"{name}: {why}"


def _of_matches(found: Any) -> str:
    if not isinstance(found, str) or not found:
        return "should be a regular expression"
    return problem_of_pattern(found)


def _of_schema(found: Any) -> str:
    if not isinstance(found, dict):
        return "should be a JSON schema, an object"
    return problem_of_schema(json.dumps(found, sort_keys=True))


def _of_equals(found: Any) -> str:
    spellings = found if isinstance(found, list) else [found]
    if not spellings or not all(isinstance(one, str) and is_sayable(one) for one in spellings):
        return "should be a text with a word in it, or a list of such spellings"
    return ""


def _of_max_words(found: Any) -> str:
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= MOST_WORDS:
        return f"should be a whole number from 1 to {MOST_WORDS}"
    return ""


def _of_language(found: Any) -> str:
    if not isinstance(found, str) or found not in known():
        said = hint(found, known()) if isinstance(found, str) else ""
        return f"should be the ISO 639-1 code of a language, such as 'en' or 'fr'{said}"
    return ""
